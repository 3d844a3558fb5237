# SPDX-License-Identifier: MIT
"""What is recorded between two handshakes is what the target says it did, block for block."""
import json
import re
import subprocess

import pytest

import model
from recording import Capture
from targets import HERE, Target, pythons, times

SIZE = 7919
BYTES_SIZE = 397 + 33     # the payload, the head of a bytes object, its final NUL: no size of a list


def blocks_of(capture, size):
    """(allocated, freed of these, their addresses) of the blocks of that size."""
    allocated = freed = 0
    live = set()
    for event in model.in_order(capture.events()):
        if event.kind in model.ALLOCATIONS:
            live.discard(event.address)
            if event.size == size:
                allocated += 1
                live.add(event.address)
        elif (event.kind in model.FREES or event.kind in model.MOVES) and event.address in live:
            freed += 1
            live.remove(event.address)
    return allocated, freed, live


def check_attached(capture):
    capture.check_whole()
    assert capture.header["attached"] is True
    assert capture.header["state"] == "stopped_user", capture.header["state"]


def check_blocks(capture, size, *counts):
    """Of the blocks of that size so many were allocated, freed and still live; the capture is whole."""
    allocated, freed, live = blocks_of(capture, size)
    assert (allocated, freed, len(live)) == counts
    check_attached(capture)


@pytest.mark.parametrize("interrupted", ["sigprocmask", "siglongjmp", "raise", "kill"])
def test_a_program_that_lives_in_a_signal_handler(attacher, victim, interrupted):
    """It stands there for good: what the handler has interrupted holds nothing that a call could need."""
    with Target([victim("served"), 0, interrupted]) as target:
        capture = attacher.attach(target.pid, "--native", "full")
        target.ask("work 1000")
        attacher.detach(target.pid)
        target.ask("drop")
        target.end()
    check_blocks(capture, SIZE, 1000, 500, 500)


@pytest.mark.parametrize("threads", [0, 3])
def test_native_blocks_are_counted_exactly(attacher, victim, threads):
    with Target([victim("served"), threads]) as target:
        target.ask("work 300")                 # before: 150 of them are kept
        capture = attacher.attach(target.pid, "--native", "full")
        target.ask("work 1000")
        target.ask("drop")                     # 150 unknown ones with them
        target.ask("work 500")
        attacher.detach(target.pid)
        target.ask("work 77")                  # after
        target.ask("drop")
        target.end()
    check_blocks(capture, SIZE, 1500, 1250, 250)
    stats = capture.stats()["captures"][0]
    assert stats["unknown_frees"] >= 150
    if threads == 0:
        assert stats["unknown_frees"] == 150
        assert capture.stats()["live_at_end"]["bytes"] == 250 * SIZE
    table = attacher.tools.run_command("table", "--by", "function", "--metric", "total", capture.path).stdout.decode()
    assert re.search(r"\bwork\b", table), table


@pytest.mark.parametrize("how", [[], ["waiting"]], ids=["answering", "waiting"])
@pytest.mark.parametrize("name, python", pythons(), ids=[name for name, path in pythons()])
def test_python_blocks_are_counted_exactly(attacher, name, python, how):
    if how and name not in ("system", "3.8", "3.13") and times(0) == 0:
        pytest.skip("the main thread waits: with a choice of Pythons, unless SCTMEM_ATTACH_TIMES is set")
    with Target(python + [HERE / "victims/asked.py", 2] + how) as target:
        target.ask("work 100")
        capture = attacher.attach(target.pid)
        for _ in range(4):
            target.ask("work 500")
        target.ask("drop")
        target.ask("work 500")
        attacher.detach(target.pid)
        target.ask("work 50")
        target.end()
    check_blocks(capture, BYTES_SIZE, 2500, 2250, 250)
    assert capture.header["python_version"].startswith("3."), capture.header
    table = attacher.tools.run_command("table", "--by", "function", "--metric", "total", capture.path).stdout.decode()
    assert "make_block" in table, table


def test_a_library_that_comes_later_is_recorded_from_its_first_constructor(attacher, victim):
    late = victim("late", "-shared", "-fPIC", "-Wl,-z,lazy", suffix=".so")
    with Target([victim("served"), 1]) as target:
        capture = attacher.attach(target.pid)
        assert target.ask("open {}".format(late)) == ["opened", "1"]
        attacher.detach(target.pid)
        target.end()
    check_blocks(capture, SIZE, 10, 1, 9)


def test_each_attachment_has_a_capture_of_its_own(attacher, victim):
    with Target([victim("served"), 2]) as target:
        captures = []
        for count in range(10, 10 + times(3)):
            captures.append((count, attacher.attach(target.pid)))
            target.ask("work {}".format(2 * count))
            attacher.detach(target.pid)
            target.ask("work 20")
        target.end()
    for count, capture in captures:
        check_blocks(capture, SIZE, 2 * count, count, count)


def test_a_duration_ends_by_itself_and_with_the_process(attacher, victim, tools):
    with Target([victim("served"), 1]) as target:
        path = attacher.path()
        done = attacher.run("attach", "-d", "0.2", "-o", path, target.pid)
        assert done.returncode == 0, done.stderr
        assert b"wrote" in done.stderr and b"allocations" in done.stderr, done.stderr
        check_attached(Capture(tools, path))
        target.end()


def test_a_fork_child_goes_on_in_its_own_capture(attacher):
    script = ("import os, sys\nprint('ready', flush=True)\nsys.stdin.readline()\nchild = os.fork()\n"
              "blocks = [bytes(397) for i in range(100)]\n"
              "if child:\n    os.waitpid(child, 0)\n    print('forked', flush=True)\n    sys.stdin.readline()\n"
              "os._exit(42)\n")
    with Target(["/usr/bin/python3", "-c", script]) as target:
        capture = attacher.attach(target.pid)
        assert target.ask("fork") == ["forked"]
        target.end()
    children = list(capture.path.parent.glob(capture.path.name + ".*"))
    assert len(children) == 1, children
    for path in [capture.path] + children:
        allocated, _, _ = blocks_of(Capture(attacher.tools, path), BYTES_SIZE)
        assert allocated == 100


def test_a_program_that_was_started_with_recording_off(attacher, victim, tools, tmp_path):
    """The library is there already, and has its file: attach and detach only switch it."""
    path = tmp_path / "own.bin"
    variables = dict(LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(path), SCTMEM_START="off", SCTMEM_NATIVE="full")
    with Target([victim("served"), 1], environment=variables) as target:
        target.ask("work 100")
        done = attacher.run("attach", target.pid)
        assert done.returncode == 0 and b"SCTMEM_START=off" in done.stderr and b"own.bin" in done.stderr, done
        target.ask("work 200")
        assert attacher.run("detach", target.pid).returncode == 0
        target.ask("work 100")
        target.end()
    allocated, freed, live = blocks_of(Capture(tools, path), SIZE)
    assert (allocated, freed, len(live)) == (200, 100, 100)


def depth_of(capture):
    """The deepest stack of the capture, as its tree shows it."""
    done = capture.tools.run_command("export", "--format", "folded", "--metric", "total", "-o", "-", capture.path)
    return max(line.count(b";") + 1 for line in done.stdout.splitlines())


def test_each_recording_option_reaches_a_running_process(attacher):
    """They are those of sctmem run, of one table; here that each does its work in a process that runs already."""
    with Target(["/usr/bin/python3", HERE / "victims/asked.py", 0]) as target:
        def record(*options):
            capture = attacher.attach(target.pid, *options)
            target.ask("work 500")
            target.ask("drop")
            attacher.detach(target.pid)
            check_attached(capture)
            return capture

        plain = record()
        assert blocks_of(plain, BYTES_SIZE)[0] == 500
        assert plain.stats().get("sample") is None and plain.stats()["metadata"]["trace_python_allocators"] is True

        sampled = record("--sample", "4KiB,seed=5").stats()
        assert sampled["sample"]["mean_bytes"] == 4096
        assert sampled["sample"]["recorded"] > 0 and sampled["sample"]["not_recorded"] >= 400, sampled["sample"]

        arenas = record("--no-python-allocators")
        assert blocks_of(arenas, BYTES_SIZE)[0] == 0
        assert arenas.stats()["metadata"]["trace_python_allocators"] is False

        full, none = record("--native", "full"), record("--native", "no")
        assert depth_of(full) > depth_of(plain) >= depth_of(none)

        assert plain.stats()["metadata"]["resident_peak_bytes"] > 0
        assert record("--sample-ms", "0").stats()["metadata"]["resident_peak_bytes"] == 0
        target.end()


def test_a_largest_size_holds_in_a_running_process(attacher):
    # Sizes and lifetimes at random, so that it cannot be compressed away.
    script = ("import random, sys\nslots = [None] * 1000\nprint('ready', flush=True)\nfor line in sys.stdin:\n"
              "    if line == 'end\\n':\n        sys.exit(42)\n"
              "    for i in range(800000):\n        slots[random.randrange(1000)] = bytes(random.randrange(500))\n"
              "    print('worked', flush=True)\n")
    with Target(["/usr/bin/python3", "-c", script]) as target:
        capture = attacher.attach(target.pid, "--max-size", "4M", "--depth", "16")
        target.ask("work")
        attacher.detach(target.pid)
        target.end()
    assert capture.path.stat().st_size <= 4 << 20
    assert capture.stats()["sample"]["not_recorded"] > 0
    capture.check_whole()


def test_children_are_left_alone_when_asked(attacher):
    script = ("import os, sys\nprint('ready', flush=True)\nsys.stdin.readline()\nchild = os.fork()\n"
              "if child:\n    os.waitpid(child, 0)\n    print('forked', flush=True)\n    sys.stdin.readline()\n"
              "os._exit(42)\n")
    with Target(["/usr/bin/python3", "-c", script]) as target:
        capture = attacher.attach(target.pid, "--follow", "none")
        assert target.ask("fork") == ["forked"]
        target.end()
    assert not list(capture.path.parent.glob(capture.path.name + ".*"))


def test_what_can_be_done_next_is_said_and_works(attacher, tools):
    with Target(["/usr/bin/python3", HERE / "victims/asked.py", 0]) as target:
        path = attacher.path()
        begun = attacher.run("attach", "-o", path, target.pid).stderr.decode()
        pid = str(target.pid)
        for verb in ("sctmem top " + pid, "sctmem ctl " + pid, "sctmem detach " + pid):
            assert verb in begun, begun
        target.ask("work 100")
        shown = tools.run_command("top", "--once", "--json", "-i", "0.1", pid)
        assert json.loads(shown.stdout)["pid"] == target.pid
        for action in ("stop", "start", "mark here"):
            asked = subprocess.Popen([str(tools.command), "ctl", "-w", "30", pid] + action.split(),
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while asked.poll() is None:
                target.ask("work 10")
            assert asked.returncode == 0, (action, asked.stderr.read())
        ended = attacher.detach(target.pid)
        assert "sctmem attach " + pid in ended and "sctmem top " + pid in ended and "wrote" in ended, ended
        # Nothing more is said where the command ends it itself, nor to who wants it quiet.
        done = attacher.run("attach", "-d", "0.1", "-o", attacher.path(), target.pid).stderr.decode()
        assert "sctmem top" not in done and "wrote" in done, done
        target.end()
    Capture(tools, path).check_whole()
