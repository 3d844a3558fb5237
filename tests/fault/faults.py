# SPDX-License-Identifier: MIT
"""What the families share: comparing with the bare run, how much to try, and what the machine allows."""
import collections
import contextlib
import ctypes
import os
import pathlib
import random
import subprocess

import pytest

import model
from decoder import decode
from recording import run_bare

FULL = os.environ.get("SCTMEM_FAULT_FULL") == "1"
PYTHON = "/usr/bin/python3"


def attempts(few, many):
    """How often to try: a sample, or the full count."""
    return many if FULL else few


def dice(name):
    """The same numbers in each run, so that what failed can be tried again."""
    return random.Random(name)


def compare(trace, *argv, environment=None, whole=True, deep=True, cwd=None, stdin=None):
    """Runs bare and traced: the same output, errors and status.  The captures are whole unless told otherwise."""
    bare = run_bare(argv, environment=environment or {}, cwd=cwd, stdin=stdin)
    recording = trace(*argv, environment=environment, cwd=cwd, stdin=stdin)
    assert recording.ended == bare
    for capture in recording.captures:
        check_true(capture, whole, deep)
    return recording


def check_true(capture, whole=True, deep=True):
    """The command reads it, and nothing in it contradicts anything else; deep: so does the slow replay, and they agree
    on what is there."""
    if whole:
        capture.check_whole()
        assert not capture.header["state"].startswith("stopped"), capture.header
    assert capture.header["contradictions"] == 0, capture.header
    assert not capture.header["damaged"], capture.header
    if not deep:
        return
    account = model.replay(model.in_order(capture.events()))
    stats = capture.stats()
    assert stats["total_num_allocations"] == account.total_count
    assert stats["total_bytes_allocated"] == account.total_bytes
    assert stats["live_at_end"]["bytes"] == account.live_bytes


def sizes(capture):
    """(sizes allocated, sizes freed) of the counted blocks, sorted, less their base."""
    allocated, freed = capture.counted()
    base = model.COUNTED_SIZES[0]
    return sorted(size - base for size in allocated), sorted(size - base for size in freed)


def python_sizes(capture, ordinary=100):
    """The same of a Python program, whose imports have objects of any size: those below `ordinary` are its own.  What
    number 1, which is kept, becomes while the interpreter ends differs among versions: its free is left out."""
    allocated, freed, live = [], [], {}
    for event in sorted(capture.events(), key=lambda one: one.stamp):
        number = event.size - model.COUNTED_SIZES[0]
        if event.kind in model.ALLOCATIONS:
            live[event.address] = number
            if 0 <= number < ordinary:
                allocated.append(number)
        elif event.kind in model.FREES or event.kind in model.MOVES:
            number = live.pop(event.address, 1)
            if 0 <= number < ordinary and number != 1:
                freed.append(number)
    return sorted(allocated), sorted(freed)


def notes(capture):
    return [data for kind, data in decode(capture.path).metadata if kind == "note"]


def require_root():
    if os.getuid() != 0:
        pytest.skip("only root can do this")


@contextlib.contextmanager
def mounted(kind, folder, options):
    require_root()
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", kind, "-o", options, "sctmem-test", str(folder)], stderr=subprocess.PIPE)
    if done.returncode != 0:
        pytest.skip("cannot mount {} here: {}".format(kind, done.stderr.decode(errors="replace").strip()))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def require_file(pattern, package):
    """The newest file that matches a pattern of absolute paths; else the test is skipped and names the package."""
    found = sorted(pathlib.Path("/").glob(pattern.lstrip("/")))
    if not found:
        pytest.skip("no {}: apt-get install {}".format(pattern, package))
    return found[-1]


def require_module(name, package):
    done = subprocess.run([PYTHON, "-c", "import " + name], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        pytest.skip("{} has no module {}: apt-get install {}".format(PYTHON, name, package))


def count_by_thread(events, wanted):
    counted = collections.Counter()
    for event in events:
        if event.size in wanted:
            counted[event.thread] += 1
    return counted


def libc():
    return ctypes.CDLL(None, use_errno=True)


def run_in_cgroup(trace, memory_bytes, *argv):
    """Runs traced in a memory cgroup of its own; version 1 or 2, whichever this machine has."""
    require_root()
    for root, limit in ((pathlib.Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
                        (pathlib.Path("/sys/fs/cgroup"), "memory.max")):
        group = root / "sctmem-test.{}".format(os.getpid())
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not (group / limit).exists():
                continue
            (group / limit).write_text(str(memory_bytes))
            enter = "echo $$ > {}/cgroup.procs && exec \"$@\"".format(group)
            return trace("/bin/sh", "-c", enter, "sh", *argv,
                         environment={"SCTMEM_PROGRAM": pathlib.Path(argv[0]).name})
        finally:
            group.rmdir()
    pytest.skip("no memory cgroup can be made on this machine")
