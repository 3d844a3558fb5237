# SPDX-License-Identifier: MIT
"""Threads that come and go: what they allocate in their last moments is recorded, exactly."""
import pytest


@pytest.mark.parametrize("mode, status", [("tls", 0), ("short", 0), ("detached", 0), ("leave", 7), ("many", 0),
                                          ("cancel", 0)])
def test_counts_equal_the_programs_own(victim, trace, mode, status):
    recording = trace(victim("threads"), mode)
    assert recording.ended.status == status and recording.ended.stderr == b"", recording.ended
    allocations, frees, live = map(int, recording.ended.stdout.split())
    capture = recording.only()
    capture.check_whole()
    allocated, freed = capture.counted()
    assert (len(allocated), len(freed)) == (allocations, frees)
    assert sum(allocated) - sum(freed) == live


def test_each_thread_is_told_apart(victim, trace):
    recording = trace(victim("threads"), "many")
    events = [event for event in recording.only().events() if 70000 <= event.size < 71000]
    assert len({event.thread for event in events}) == 500


def test_short_threads_share_few_streams(victim, trace):
    """2,000 threads one after another must not take 2,000 windows of the file."""
    recording = trace(victim("threads"), "short")
    capture = recording.only()
    assert len({event.stream for event in capture.events()}) < 50
    assert capture.path.stat().st_size < 64 << 20
