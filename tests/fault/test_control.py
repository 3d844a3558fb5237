# SPDX-License-Identifier: MIT
"""Control flow that a recorder does not expect: handlers, forks, jumps, threads and processes of every make.

tests/trace has the plain forms: forks while threads allocate, exec in place, spawn, handlers that jump, cancelled
threads, destructors of thread-specific data.
"""
import os
import shutil
import tempfile

import pytest

from faults import PYTHON, attempts, check_true, compare, notes, require_root, sizes
from fixtures import require_program
from recording import run_bare

UNRECORDED = b"a child was forked while a signal handler had interrupted the recorder: it is not recorded"


@pytest.mark.parametrize("mode", ["fork", "_Fork", "exec"])
def test_a_signal_handler_forks_on_top_of_the_recorder(victim, trace, mode):
    forks = attempts(30, 300)
    recording = compare(trace, victim("handlers", "-DFORKS={}".format(forks)), mode, whole=False)
    assert recording.ended.status == 0
    by_pid = recording.by_pid()
    parents = [capture for capture in recording.captures if capture.header["parent_pid"] not in by_pid]
    children = [capture for capture in recording.captures if capture not in parents]
    assert len(parents) == 1 and parents[0].header["lost_events"] == 0
    assert sizes(parents[0]) == ([1, 2], [2])
    # A child without a capture of its own is told of; one that has a capture, as the last one must, has it whole.
    assert UNRECORDED in notes(parents[0]) and 1 <= len(children) <= forks
    for capture in children:
        capture.check_whole()
        assert sizes(capture) == ([1, 2], [2]) or (mode == "exec" and capture is not children[-1])


def test_a_vfork_child_killed_while_the_file_grows(victim, trace):
    recording = compare(trace, victim("vforks"), "killed")
    assert recording.ended.status == 0
    assert sizes(recording.only()) == ([1, 2], [2])


@pytest.mark.parametrize("mode, blocks", [("allocates", 20), ("cloned", 0), ("spawned", 0)])
def test_children_that_share_their_parents_memory(victim, trace, mode, blocks):
    recording = compare(trace, victim("vforks"), mode)
    assert recording.ended.status == 0
    # What such a child allocates is in the memory of both, and in the capture of it.
    assert sizes(recording.only()) == ([1, 2] + [10] * blocks, [2] + [10] * blocks)


END = ([1, 2], [2])


def family(recording):
    """(parent, children) by who is whose parent."""
    by_pid = recording.by_pid()
    children = [capture for capture in recording.captures if capture.header["parent_pid"] in by_pid]
    parents = [capture for capture in recording.captures if capture not in children]
    assert len(parents) == 1, [capture.header for capture in parents]
    return parents[0], children


def test_many_children_at_once(victim, trace):
    count = attempts(40, 1000)
    recording = compare(trace, victim("flow", "-DCHILDREN={}".format(count)), "storm")
    parent, children = family(recording)
    assert sizes(parent) == END
    expected = sorted(([1, 2, 10 + i % 50], [2, 10 + i % 50]) for i in range(count))
    assert sorted(map(sizes, children)) == expected


def test_a_daemon_by_double_fork(victim, trace):
    recording = compare(trace, victim("flow"), "daemon")
    found = sorted(map(sizes, recording.captures))
    assert found == sorted([END, ([1, 2, 10, 11], [2, 11])]), found


def test_handlers_of_fork_allocate(victim, trace):
    recording = compare(trace, victim("flow"), "atfork")
    assert sorted(map(sizes, recording.captures)) == sorted([
        ([1, 2, 10, 11], [2, 10, 11]), ([1, 2, 10, 11, 12], [2, 10, 11, 12]), ([1, 2, 12], [2, 12])])


def test_a_child_by_the_bare_system_call(victim, trace):
    recording = compare(trace, victim("flow"), "raw")
    assert list(map(sizes, recording.captures)) == [END, END]


@pytest.mark.parametrize("mode, extra", [
    ("contexts", sorted([10, 11, 12, 13] * 100)), ("jumps", [10] * 5050), ("cancel", [])])
def test_jumps_between_stacks(victim, trace, mode, extra):
    recording = compare(trace, victim("flow"), mode)
    allocated, freed = sizes(recording.only())
    assert (allocated, freed) == ([1, 2] + extra, [2] + extra) or mode == "contexts"
    # The coroutines that main leaves for good have not freed their last block.
    assert allocated == [1, 2] + extra


@pytest.mark.parametrize("mode", ["namespaces", "root", "identity"])
def test_what_the_process_may_see_changes(victim, trace, mode):
    recording = compare(trace, victim("flow"), mode)
    if recording.ended.status == 77:
        pytest.skip("this machine does not allow it: {}".format(mode))
    assert recording.ended.status == 0
    # The child is the first of its name space: its pid is 1, and so is its place in the capture's name.
    assert [sizes(capture) for capture in recording.captures] == [END] * (2 if mode == "namespaces" else 1)


@pytest.mark.parametrize("mode", ["closed_root", "closed_identity"])
def test_nothing_leads_to_the_file_any_more(victim, trace, mode):
    """No descriptor and no path: the file cannot grow.  Recording stops, says so, and what it has is a true past."""
    recording = compare(trace, victim("flow"), mode, whole=False)
    if recording.ended.status == 77:
        pytest.skip("this machine does not allow it: {}".format(mode))
    capture = recording.only()
    assert recording.ended.status == 0 and capture.header["state"] == "stopped_storage", capture.header
    text = capture.tools.run_command("stats", capture.path).stdout.decode()
    assert "recording stopped before the end: the file could not grow" in text


def test_exceptions_that_begin_beneath_malloc(victim, trace):
    recording = compare(trace, victim("thrower"))
    assert recording.ended.stdout == b"50 50\n"
    assert sizes(recording.only()) == ([1, 2] + [10] * 300, [2] + [10] * 300)


@pytest.mark.parametrize("mode, allocated, freed", [
    ("constructor", [10] * 20 + [11] * 20 + [20] * 20 + [21] * 20, [11] * 20 + [20] * 20 + [21] * 20),
    ("iterate", None, None)])
def test_inside_the_loader(victim, trace, mode, allocated, freed):
    library = victim("plugged", "-shared", "-fPIC", suffix=".so")
    recording = compare(trace, victim("loading"), mode, library)
    found = sizes(recording.only())
    if allocated is None:
        # How often the other thread loads is not told; each of its blocks is freed again.
        assert found[0].count(10) >= 1000 and sorted(found[0]) == sorted(found[1] + [1])
    else:
        assert found == ([1, 2] + allocated, [2] + freed)


def watched_by(trace, watcher, *argv):
    """(bare run, traced run with another tool attached from the start)."""
    bare = run_bare(argv)
    return bare, trace(*watcher, *argv, environment={"SCTMEM_PROGRAM": argv[0].name})


def test_under_strace(victim, trace, tmp_path):
    strace = require_program("strace")
    bare, recording = watched_by(trace, [strace, "-f", "-o", tmp_path / "log"], victim("threads"), "tls")
    assert recording.ended == bare
    check_true(recording.only())


def test_under_gdb(victim, trace):
    gdb = require_program("gdb")
    commands = ["-ex", "break destroy", "-ex", "run", "-ex", "delete", "-ex", "backtrace", "-ex", "continue"]
    bare, recording = watched_by(trace, [gdb, "-q", "-batch", "-nx"] + commands + ["--args"], victim("threads"), "tls")
    assert recording.ended.status == 0
    assert bare.stdout in recording.ended.stdout and b"#0  destroy" in recording.ended.stdout, recording.ended
    check_true(recording.only())


def test_a_setuid_program_ignores_the_library(victim, trace):
    """The loader leaves out what a user preloads into another user's program: it runs as bare, and is not recorded."""
    require_root()
    # Where the other user gets to: pytest's own folders are closed to him.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = shutil.copy(str(victim("ends")), os.path.join(folder, "raised"))
        os.chmod(program, 0o4755)
        script = "import os, sys\nos.setgid(65534); os.setuid(65534)\nos.execv(sys.argv[1], sys.argv[1:])"
        argv = [PYTHON, "-c", script, program, "quick_handlers"]
        bare = run_bare(argv)
        assert bare.status == 5
        recording = trace(*argv, environment={"SCTMEM_PROGRAM": "raised"})
        assert recording.ended.status == bare.status and not recording.captures, recording.ended
