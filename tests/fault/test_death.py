# SPDX-License-Identifier: MIT
"""Death at any instant: the capture opens, contradicts nothing, and has every event that had returned to its caller.

tests/trace/test_kill.py kills between two lines of output, test_processes.py has the ordinary ways to end; here the
instant is random, and the ends are the odd ones.
"""
import collections
import os
import struct
import time

import pytest

from decoder import decode
from faults import PYTHON, attempts, check_true, compare, dice, run_in_cgroup, sizes
from recording import signal_status

HEADER = 33   # of a bytes object, with its final NUL


def read_journal(path):
    """{tid: (allocated, freed)}, the numbers of calls that had returned."""
    data = path.read_bytes()
    slots = struct.iter_unpack("<4Q", data[:len(data) // 32 * 32])
    return {tid: (allocated, freed) for tid, allocated, freed, _ in slots if tid}


def counted_by_tid(path, base):
    """{tid: ([numbers of blocks allocated], [of those freed])}, each in the order of the thread."""
    contents = decode(path)
    tids = {struct.unpack_from("<II", data)[0]: struct.unpack_from("<II", data)[1]
            for kind, data in contents.metadata if kind == "thread_info"}
    result = collections.defaultdict(lambda: ([], []))
    live = {}
    for event in sorted(contents.events, key=lambda one: one.stamp):
        own = result[tids.get(event.thread)]
        if 0 <= event.size - base < 1000:
            own[0].append(event.size - base)
            live[event.address] = event.size - base
        elif event.kind in ("free", "free_python") and event.address in live:
            own[1].append(live.pop(event.address))
    return result


def check_against(journal, capture, base):
    """Each thread's events are those it accounted for, in their order, and at most the one that was under way."""
    seen = counted_by_tid(capture.path, base)
    for tid, (allocated, freed) in journal.items():
        for numbers, returned in zip(seen[tid], (allocated, freed)):
            assert returned <= len(numbers) <= returned + 1, (tid, returned, len(numbers))
            assert numbers == [i % 1000 for i in range(len(numbers))], tid
    return sum(sum(counts) for counts in journal.values())


def kill_after(trace, argv, seconds, journal):
    process, recording = trace.start(*argv, journal)
    try:
        assert process.stdout.read(1) == b"r"
        time.sleep(seconds)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return recording().only()


@pytest.mark.parametrize("language", ["c", "python"])
def test_sigkill_at_random_instants_loses_nothing(victim, trace, tmp_path, language):
    random = dice("kill " + language)
    base = 70000 if language == "c" else 370000 + HEADER
    argv = [victim("busy")] if language == "c" else [PYTHON, "-I", "-S", victim("busy_python")]
    kills = attempts(25, 500)
    events = 0
    for number in range(kills):
        journal = tmp_path / "journal{}".format(number)
        capture = kill_after(trace, argv, random.random() * random.choice([0.002, 0.01, 0.04]), journal)
        events += check_against(read_journal(journal), capture, base)
        assert capture.header["contradictions"] == 0 and not capture.header["damaged"], capture.header
        assert capture.header["lost_events"] == 0
        if number % 10 == 0:
            check_true(capture)
        capture.path.unlink()
    print("{}: {} kills survived, {} events, 0 lost".format(language, kills, events))


def test_sigkill_while_the_program_starts(victim, trace, tmp_path):
    """From the first instruction on: no capture yet, an empty one, or one that is whole."""
    random = dice("start")
    whole = 0
    for number in range(attempts(25, 500)):
        process, recording = trace.start(victim("busy"), tmp_path / "journal{}".format(number))
        time.sleep(random.random() * 0.01)
        process.kill()
        process.wait()
        process.stdout.close()
        for capture in recording().captures:
            if not capture.path.read_bytes()[:8].strip(b"\0"):
                done = capture.tools.run_command("stats", capture.path, check=False)
                assert done.returncode > 0 and str(capture.path).encode() in done.stderr, done
                continue
            capture.check_whole()
            whole += 1
    assert whole


@pytest.mark.parametrize("mode, status, allocated, freed", [
    ("term", signal_status("SIGTERM"), [1, 2], [2]),
    ("term_handled", 7, [1, 2, 11, 12], [2, 12]),
    ("segv_handled", signal_status("SIGSEGV"), [1, 2, 11, 12], [2, 12]),
    ("overflow", signal_status("SIGSEGV"), [1, 2], [2]),
    ("overflow_handled", 6, [1, 2, 13, 13, 13, 20, 21, 22], [2, 13, 13, 13]),
    ("quick_handlers", 5, [1, 2, 30, 31], [2, 31]),
])
def test_an_end_is_the_programs_own(victim, trace, mode, status, allocated, freed):
    recording = compare(trace, victim("ends"), mode)
    assert recording.ended.status == status
    assert sizes(recording.only()) == (allocated, freed)


def test_a_thread_exits_while_others_allocate(victim, trace):
    recording = compare(trace, victim("ends"), "thread_exits")
    assert recording.ended.status == 4
    assert sizes(recording.only()) == ([1, 2, 40], [2, 40])


def test_an_exit_handler_forks(victim, trace):
    recording = compare(trace, victim("ends"), "exit_twice")
    assert recording.ended.status == 9
    assert sorted(map(sizes, recording.captures)) == [([1, 2, 51], [2]), ([50], [50])]


def test_abort_in_the_destructor_of_a_static_object(victim, trace):
    recording = compare(trace, victim("destructor"))
    assert recording.ended.status == signal_status("SIGABRT")
    assert sizes(recording.only()) == ([1, 2], [1])


def test_python_ends_without_ceremony(trace):
    script = "import os, threading\nkept = bytes(70000 - 33 + 5)\n" \
        "threading.Thread(target=os._exit, args=(3,)).start()\nthreading.Event().wait()"
    recording = compare(trace, PYTHON, "-I", "-c", script)
    assert recording.ended.status == 3
    assert sizes(recording.only()) == ([5], [])


def test_the_oom_killer(victim, trace):
    """In a memory cgroup of 64 MiB: the kill is the program's own, and what it took until then is recorded."""
    recording = run_in_cgroup(trace, 64 << 20, victim("ends"), "memory")
    assert recording.ended.status == signal_status("SIGKILL"), recording.ended
    capture = recording.only()
    check_true(capture)
    taken = sum(event.size == 1 << 20 for event in capture.events())
    assert 20 <= taken <= 64
