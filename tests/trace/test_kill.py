# SPDX-License-Identifier: MIT
"""Killed at any moment: every event that had returned to the program is in the capture.

The victim writes a line to a pipe after each hundred allocations.  What a line says happened, happened before it could
be read here; then comes SIGKILL, at a moment that the number of lines read beforehand decides.
"""
import collections
import os
import signal

import pytest


def read_lines(pipe, count):
    """The highest number each pid has told, after at least `count` lines in all."""
    highest = collections.Counter()
    data = b""
    while data.count(b"\n") < count:
        more = os.read(pipe, 65536)
        assert more, "the victim ended by itself"
        data += more
    # A line that is cut off here is no promise.
    for line in data[:data.rindex(b"\n")].split(b"\n"):
        pid, number = map(int, line.split())
        highest[pid] = max(highest[pid], number)
    return highest


def check(capture, promised):
    allocated, freed = capture.counted()
    assert len(allocated) >= promised
    # In order and without gaps: the n-th block has the n-th size, each odd one was freed.
    assert allocated == [70000 + i % 1000 for i in range(1, len(allocated) + 1)]
    assert len(freed) >= (promised + 1) // 2
    assert capture.stats()["metadata"]["lost_events"] == 0


@pytest.mark.parametrize("lines", [1, 2, 3, 10, 33, 100, 250, 1000])
def test_nothing_is_lost_by_sigkill(victim, trace, lines):
    process, recording = trace.start(victim("process"), "write")
    try:
        promised = read_lines(process.stdout.fileno(), lines)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    check(recording().only(), promised[process.pid])


@pytest.mark.parametrize("lines", [5, 60, 400])
def test_nothing_is_lost_when_the_whole_group_is_killed(victim, trace, lines):
    process, recording = trace.start(victim("process"), "group", start_new_session=True)
    try:
        promised = read_lines(process.stdout.fileno(), lines)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    # A process that was killed while it started has promised nothing, and its file may be empty.
    captures = {capture.header["pid"]: capture for capture in recording().captures if capture.path.stat().st_size}
    for pid, number in promised.items():
        check(captures[pid], number)


def test_a_running_program_can_be_read(victim, trace):
    process, recording = trace.start(victim("process"), "write")
    try:
        promised = read_lines(process.stdout.fileno(), 300)
        check(recording().only(), promised[process.pid])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
