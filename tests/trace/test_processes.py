# SPDX-License-Identifier: MIT
"""Processes that fork, execute and die in every way: each has its capture, and the program does what it did bare."""
import collections

import pytest

from recording import run_bare, signal_status


def counted_by_capture(recording):
    return counted(recording.captures)


def counted(captures):
    """The sizes allocated and freed, less the base, of each capture; as sorted lists of pairs."""
    result = []
    for capture in captures:
        capture.check_whole()
        allocated, freed = capture.counted()
        result.append((sorted(size - 70000 for size in allocated), sorted(size - 70000 for size in freed)))
    return sorted(result)


@pytest.mark.parametrize("mode, status", [("fork", 0), ("inherited", 0), ("busy", 0), ("exec", 8), ("spawn", 0),
                                          ("leave", 5), ("quick", 6), ("handlers", 9),
                                          ("abort", signal_status("SIGABRT")), ("segv", signal_status("SIGSEGV"))])
def test_output_and_status_are_as_bare(victim, trace, mode, status):
    bare = run_bare([victim("process"), mode])
    recording = trace(victim("process"), mode)
    assert bare.status == status
    assert recording.ended == bare


def test_forked_children_have_captures_of_their_own(victim, trace):
    recording = trace(victim("process"), "fork")
    assert counted_by_capture(recording) == [([1], []), ([11, 12], [12]), ([21], [])]
    by_pid = recording.by_pid()
    assert len(by_pid) == 3
    parents = collections.Counter(capture.header["parent_pid"] in by_pid for capture in recording.captures)
    assert parents == {True: 2, False: 1}


def test_no_child_records_when_told_so(victim, trace):
    recording = trace(victim("process"), "fork", environment={"SCTMEM_FOLLOW": "none"})
    assert recording.ended.status == 0
    assert counted_by_capture(recording) == [([1], [])]


def test_a_child_may_free_what_it_inherited(victim, trace):
    recording = trace(victim("process"), "inherited")
    by_pid = recording.by_pid()
    child = next(capture for capture in recording.captures if capture.header["parent_pid"] in by_pid)
    parent = next(capture for capture in recording.captures if capture is not child)
    allocated, freed = parent.counted()
    assert (len(allocated), len(freed)) == (10, 3)
    addresses = {event.address for event in parent.events() if event.size in range(70000, 70010)}
    frees = [event for event in child.events() if event.kind == "free" and event.address in addresses]
    assert len(frees) == 6


def test_forks_while_threads_allocate(victim, trace):
    recording = trace(victim("process"), "busy")
    assert recording.ended.status == 0
    assert len(recording.captures) == 41
    by_pid = recording.by_pid()
    # Not the parent's: its threads make millions of events.
    children = [capture for capture in recording.captures if capture.header["parent_pid"] in by_pid]
    assert counted(children) == sorted(([i, 500], [500]) for i in range(40))
    for capture in recording.captures:
        capture.check_whole()


def test_executing_in_place_begins_another_capture(victim, trace):
    recording = trace(victim("process"), "exec")
    assert recording.ended.status == 8
    assert counted_by_capture(recording) == [([1, 2], []), ([61, 62], [62])]
    assert len({capture.header["pid"] for capture in recording.captures}) == 1


def test_executed_children_record_only_when_asked(victim, trace):
    recording = trace(victim("process"), "spawn")
    assert counted_by_capture(recording) == [([1, 2], [])]
    followed = trace(victim("process"), "spawn", environment={"SCTMEM_FOLLOW": "exec"})
    assert followed.ended.status == 0
    executed = [pair for pair in counted_by_capture(followed) if pair == ([61, 62], [62])]
    assert len(executed) == 3


@pytest.mark.parametrize("mode", ["leave", "quick", "abort", "segv"])
def test_what_was_recorded_before_a_sudden_end_is_there(victim, trace, mode):
    recording = trace(victim("process"), mode)
    assert counted_by_capture(recording) == [([61, 62], [62])]


def test_exit_handlers_and_destructors_are_recorded(victim, trace):
    recording = trace(victim("process"), "handlers")
    assert counted_by_capture(recording) == [([51, 52, 53, 61, 62], [51, 62])]


def test_closing_all_descriptors_harms_neither_side(victim, trace, tmp_path):
    recording = trace(victim("process"), "close", tmp_path)
    assert recording.ended == (0, b"", b""), recording.ended
    allocated, freed = recording.only().counted()
    assert (len(allocated), len(freed)) == (205002, 205000)
    for i in range(20):
        assert (tmp_path / "own.{}".format(i)).stat().st_size == 10


def test_the_program_and_its_children_see_the_descriptors_that_they_would(trace):
    """The library's own is kept high (from 900 up), where no program counts on numbers, and no child inherits it."""
    script = "import os, subprocess, sys\n" \
        "print(sorted(fd for fd in map(int, os.listdir('/proc/self/fd')) if fd < 900))\n" \
        "print(os.open('/dev/null', os.O_RDONLY), os.pipe())\n" \
        "print(sorted(name for name in os.environ if 'SCTMEM' not in name), flush=True)\n" \
        "os.spawnv(os.P_WAIT, '/bin/ls', ['ls', '/proc/self/fd'])\n" \
        "os.execv('/bin/ls', ['ls', '/proc/self/fd'])\n"
    argv = ["/usr/bin/python3", "-c", script]
    bare = run_bare(argv, environment={"LD_PRELOAD": ""})
    recording = trace(*argv, environment={"SCTMEM_FOLLOW": "none"})
    own = [capture for capture in recording.captures if capture.header["executable"].endswith("ls")]
    traced = recording.ended
    # ls executed in place records, and so has a descriptor of its own: the only line that may differ.
    lines = [line for line in traced.stdout.splitlines() if not (own and line.isdigit() and int(line) >= 900)]
    assert (traced.status, lines, traced.stderr) == (bare.status, bare.stdout.splitlines(), bare.stderr)
