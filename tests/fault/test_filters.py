# SPDX-License-Identifier: MIT
"""Programs that have their system calls filtered (seccomp): what we would do is no reason to end one."""
import pytest

import faults

COUNTED, BEFORE, AFTER = 7919, 100, 300000


def check_before(capture):
    """What the program did before is all there, and nothing of it is freed."""
    assert sum(event.size == COUNTED for event in capture.events()) == BEFORE
    assert capture.stats()["live_at_end"]["bytes"] >= BEFORE * COUNTED


@pytest.mark.parametrize("how", ["prctl", "syscall", "indirect", "strict"])
@pytest.mark.parametrize("action", ["kill", "errno"])
def test_recording_ends_at_a_filter(trace, victim, how, action):
    recording = faults.compare(trace, victim("filters"), how, action, whole=False)
    assert recording.ended == (0, b"done\n", b"")
    assert recording.only().header["state"] == "stopped_filter", recording.only().header
    check_before(recording.only())


@pytest.mark.parametrize("turn", range(faults.attempts(3, 100)))
def test_threads_that_are_made_to_follow(trace, victim, turn):
    recording = faults.compare(trace, victim("filters"), "syscall", "kill", 4, whole=False)
    assert recording.ended == (0, b"done\n", b"")
    assert recording.only().header["state"] == "stopped_filter"
    check_before(recording.only())


def test_who_only_asks_is_recorded_on(trace, victim):
    recording = faults.compare(trace, victim("filters"), "probe", "kill")
    assert recording.only().header["state"] == "finished"
    assert recording.only().stats()["total_num_allocations"] > AFTER


def test_a_child_under_a_filter_ends_its_own_capture_alone(trace, victim):
    recording = faults.compare(trace, victim("filters"), "child", "kill", whole=False)
    states = sorted(capture.header["state"] for capture in recording.captures)
    assert states in (["finished"], ["finished", "stopped_filter"])
