# SPDX-License-Identifier: MIT
"""Clocks that jump, stand still or run backwards: times may then be of little use, the order of events is as ever."""
import os
import shutil
import signal
import subprocess
import time

import pytest

from decoder import decode
from faults import PYTHON, check_true, require_file, sizes
from recording import run_bare

COUNT = 100


@pytest.fixture
def crowd(victim):
    """Threads that pass memory among each other, one after the other and together."""
    return [victim("crowd", "-DTHREADS={}".format(COUNT)), "short"]


def check_crowd(tools, recording, bare):
    assert recording.ended == bare
    capture = recording.only()
    check_true(capture)
    assert sizes(capture) == ([1, 2] + [10] * COUNT, [2] + [10] * COUNT)
    for verb in (["export", "--format", "chrome"], ["flamegraph", "-f", "-o", os.devnull]):
        tools.run_command(*verb, capture.path)


@pytest.mark.parametrize("jump", ["1", "2", "3", "4"], ids=["jumps", "backwards", "stands", "anything"])
def test_a_clock_that_jumps(victim, trace, tools, crowd, jump):
    clock = victim("clocks", "-shared", "-fPIC", "-DJUMP=" + jump, suffix=".so")
    bare = run_bare(crowd, environment={"LD_PRELOAD": str(clock)})
    for order in ("{0}:{1}", "{1}:{0}"):
        recording = trace(*crowd, environment={"LD_PRELOAD": order.format(tools.library, clock)})
        check_crowd(tools, recording, bare)


def test_faketime(trace, tools, crowd):
    """libfaketime allocates and takes locks in clock_gettime()."""
    library = require_file("/usr/lib/*/faketime/libfaketimeMT.so.1", "libfaketime")
    for rate in ("-2d", "+1y x1000"):
        environment = {"FAKETIME": rate, "LD_PRELOAD": str(library)}
        bare = run_bare(crowd, environment=environment)
        recording = trace(*crowd, environment=dict(environment, LD_PRELOAD="{}:{}".format(tools.library, library)))
        check_crowd(tools, recording, bare)


@pytest.mark.parametrize("offset", ["864000", "-100"])
def test_another_name_space_of_clocks(trace, tools, crowd, offset):
    """As after a move to another machine: time since the start of the machine is another."""
    unshare = shutil.which("unshare") or pytest.skip("no unshare on this machine")
    command = [unshare, "--time", "--monotonic", offset, "--boottime", offset]
    if subprocess.run(command + ["true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no name space of clocks can be made on this machine")
    bare = run_bare(command + crowd)
    check_crowd(tools, trace(*command, *crowd, environment={"SCTMEM_PROGRAM": "crowd*"}), bare)


MARKS = """
import random, threading, time
def coarse():
    return time.clock_gettime_ns(6)
def mark(size, seconds):
    end = coarse() + int(seconds * 1e9)
    while coarse() < end:
        bytes(600)
    before = coarse()
    bytes(size)
    print(size + 33, before, coarse())
def work(number):
    mark(100000 * number, 0.4)
    for i in range(1, 40):
        if i % 3 == 0:
            time.sleep(random.random() / 20)
        mark(100000 * number + i, random.random() / 50)
threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_times_are_those_of_the_kernels_clock(trace):
    """Also once it is not asked any more as long as its page says that it has not moved.  What is between the answers
    before and behind an allocation is told by the capture, but for its own beginning, which is the same for all."""
    recording = trace(PYTHON, "-I", "-S", "-c", MARKS)
    capture = recording.only()
    check_true(capture, deep=False)
    marks = {int(size): (int(before), int(after)) for size, before, after in (
        line.split() for line in recording.ended.stdout.split(b"\n") if line)}
    assert len(marks) == 80
    times = {event.size: event.time_ns for event in decode(capture.path, 100000, 300000).events
             if event.size in marks}
    assert times.keys() == marks.keys()
    earliest = max(before - times[size] for size, (before, after) in marks.items())
    latest = min(after - times[size] for size, (before, after) in marks.items())
    assert earliest <= latest


def test_a_process_that_is_suspended(trace):
    """Stopped for a while again and again; what came before and after is there, in order."""
    process, recorded = trace.start(PYTHON, "-I", "-S", "-c", "for i in range(300000): bytes(i % 5000)")
    for _ in range(5):
        time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 0
    process.stdout.close()
    check_true(recorded().only())
