# SPDX-License-Identifier: MIT
"""Memory that is short, for the program or for the recorder; stacks that are small, and threads that are many."""
import contextlib
import os
import pathlib
import re

import pytest

from faults import attempts, check_true, compare, sizes
from fixtures import require_program

END = ([1, 2], [2])


def test_many_short_threads(victim, trace):
    threads = attempts(1000, 10000)
    recording = compare(trace, victim("crowd", "-DTHREADS={}".format(threads)), "short")
    capture = recording.only()
    assert sizes(capture) == ([1, 2] + [10] * threads, [2] + [10] * threads)
    assert len({event.stream for event in capture.events()}) < 300


def test_many_live_threads_with_small_stacks(victim, trace):
    threads = attempts(500, 5000)
    recording = compare(trace, victim("crowd", "-DTHREADS={}".format(threads)), "live")
    if recording.ended.status == 77:
        pytest.skip("this machine does not allow {} threads".format(threads))
    capture = recording.only()
    assert sizes(capture) == ([1, 2] + [10] * threads, [2] + [10] * threads)
    print("{} threads: {} bytes of capture".format(threads, capture.path.stat().st_size))


@pytest.mark.parametrize("native", ["full", "leaf", "no"])
def test_the_smallest_stacks(victim, trace, native):
    recording = compare(trace, victim("crowd"), "tiny", environment={"SCTMEM_NATIVE": native})
    assert recording.ended.status == 0
    assert sizes(recording.only()) == ([1, 2] + [10] * 50, [2] + [10] * 50)


def test_the_program_takes_all_memory_that_it_may(victim, trace):
    recording = compare(trace, victim("crowd"), "limit", whole=False)
    assert recording.ended.status == 0
    capture = recording.only()
    # The new thread finds no memory for the recorder only if there is none: then it is counted.
    lost = capture.header["lost_memory"] + capture.header["lost_threads"]
    assert sizes(capture) == ([1, 2, 10, 10], [2, 10, 10]) or lost, capture.header


@pytest.mark.parametrize("mebibytes", [8, 12, 16, 24, 32, 64])
def test_a_limit_of_address_space_from_the_start(victim, trace, mebibytes):
    argv = ["/usr/bin/prlimit", "--as={}".format(mebibytes << 20), victim("crowd"), "exhaust"]
    recording = compare(trace, *argv, environment={"SCTMEM_PROGRAM": "crowd"}, whole=False)
    assert recording.ended.status == 0
    for capture in recording.captures:
        check_true(capture, whole=False)
        if capture.header["state"] == "finished" and not capture.header["lost_events"]:
            assert sizes(capture) == END
    assert recording.captures or mebibytes < 16


@contextlib.contextmanager
def strict_commit(mebibytes):
    """The whole system may promise so much more memory than it has promised now, and not a page beyond."""
    folder = pathlib.Path("/proc/sys/vm")
    names = ("overcommit_ratio", "overcommit_kbytes", "overcommit_memory")
    before = {name: (folder / name).read_text() for name in names}
    committed = int(re.search(r"Committed_AS: +(\d+) kB", pathlib.Path("/proc/meminfo").read_text()).group(1))
    try:
        (folder / "overcommit_kbytes").write_text(str(committed + mebibytes * 1024))
        (folder / "overcommit_memory").write_text("2")
        yield
    finally:
        (folder / "overcommit_memory").write_text(before["overcommit_memory"])
        # The two numbers are one: to write the one makes the other 0.
        name = "overcommit_ratio" if before["overcommit_kbytes"].strip() == "0" else "overcommit_kbytes"
        (folder / name).write_text(before[name])


@pytest.mark.parametrize("mebibytes", [32, 64, 256])
@pytest.mark.parametrize("native", ["full", "no"])
def test_memory_is_not_promised_beyond_what_there_is(victim, trace, mebibytes, native):
    """vm.overcommit_memory=2: what is mapped counts, whether it is touched or not."""
    if os.environ.get("SCTMEM_FAULT_SYSTEM") != "1" or os.geteuid() != 0:
        pytest.skip("changes a setting of the whole system for some seconds: as root with SCTMEM_FAULT_SYSTEM=1")
    program = victim("crowd")
    with strict_commit(mebibytes):
        recording = compare(trace, program, "exhaust", environment={"SCTMEM_NATIVE": native}, whole=False, deep=False)
    assert recording.ended.status == 0
    for capture in recording.captures:
        check_true(capture, whole=False)
    header = recording.only().header
    assert sizes(recording.only()) == END or header["lost_events"] or header["state"].startswith("stopped"), header
    # What the recorder takes is far less than this: then all must be there.
    if mebibytes >= 64:
        assert sizes(recording.only()) == END, header


def own_calls(trace, strace, log, *argv):
    """The places, among the mmap calls of the process, of those that the recorder makes."""
    trace(strace, "-i", "-o", log, "-e", "trace=mmap,openat", *argv,
          environment={"SCTMEM_PROGRAM": argv[-2].name})
    library, number, places = None, 0, []
    opened = False
    for line in log.read_bytes().splitlines():
        call = re.match(rb"\[([0-9a-f]+)\] (\w+)\((.*)= (\S+)", line)
        if not call:
            continue
        if call.group(2) == b"openat":
            opened = b"libsctmem.so" in call.group(3)
            continue
        number += 1
        if opened and library is None:
            size = int(call.group(3).split(b",")[1])
            library = range(int(call.group(4), 16), int(call.group(4), 16) + size)
        elif library and int(call.group(1), 16) in library:
            places.append(number)
    return places


def test_the_nth_mapping_of_the_recorder_fails(victim, trace, tmp_path):
    """Each mmap call that comes from the library, found by its address, is made to fail in a run of its own."""
    strace = require_program("strace")
    argv = [victim("jumpy"), "plain"]
    places = own_calls(trace, strace, tmp_path / "log", *argv)
    assert len(places) > 5, places
    bare = None
    for place in places:
        recording = trace(strace, "-o", "/dev/null", "-e", "trace=mmap",
                          "-e", "inject=mmap:error=ENOMEM:when={}".format(place), *argv,
                          environment={"SCTMEM_PROGRAM": "jumpy"})
        status, stdout, stderr = recording.ended
        bare = bare or recording.ended.stdout
        assert (status, stdout) == (0, bare) and (not stderr or stderr.startswith(b"sctmem: ")), recording.ended
        for capture in recording.captures:
            check_true(capture, whole=False)
            header = capture.header
            if header["state"] == "finished" and not header["lost_events"]:
                assert sizes(capture) == END, header
    print("{} calls failed, one in each run".format(len(places)))
