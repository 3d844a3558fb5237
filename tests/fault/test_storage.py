# SPDX-License-Identifier: MIT
"""Storage that ends, shrinks, moves or vanishes: the program goes on, and the capture is the past until then.

When the file cannot grow, recording stops at one instant for all threads: each thread's events are the first ones of
that thread, without a gap, and no event that is there depends on one that is not.
"""
import subprocess

import pytest

import model
from faults import attempts, mounted, require_root
from fixtures import require_program
from recording import Recording, run_bare

BLOCKS = 15000
DONE = (0, b"done\n", b"")


def blocks_by_thread(capture):
    """{thread: the numbers of its counted blocks, in its own order}"""
    numbers = {}
    for event in capture.events():
        if event.size in model.COUNTED_SIZES:
            numbers.setdefault(event.thread, []).append(event.size - model.COUNTED_SIZES[0])
    return numbers


def check_past(capture, complete=None, blocks=BLOCKS):
    """Each thread's blocks are its first ones; returns how many there are in all."""
    assert capture.header["contradictions"] == 0 and not capture.header["damaged"], capture.header
    total = 0
    for numbers in blocks_by_thread(capture).values():
        assert numbers == [i % 1000 for i in range(len(numbers))]
        total += len(numbers)
    account = model.replay(model.in_order(capture.events()))
    assert account.contradictions == 0 and account.unknown_frees == 0
    if complete is not None:
        assert (total == 3 * blocks) == complete, (total, capture.header["state"])
    stopped = capture.header["state"] == "stopped_storage"
    assert stopped == (total != 3 * blocks), (total, capture.header)
    return total


def run_into(trace, folder, *argv, environment=None):
    """A traced run whose captures go into `folder`."""
    variables = dict(environment or {}, SCTMEM_OUT=str(folder / "capture.bin"))
    return Recording(trace.tools, folder, trace(*argv, environment=variables).ended)


def check_unharmed(recording):
    """The program did all it had to; where nothing could be recorded at all, one line says why."""
    status, stdout, stderr = recording.ended
    assert (status, stdout) == DONE[:2], recording.ended
    if stderr:
        assert stderr.startswith(b"sctmem: ") and stderr.count(b"\n") == 1 and not recording.captures, recording.ended


def test_a_disk_that_is_full_at_any_page(victim, trace, tmp_path):
    """A small file system of N pages, for N from nothing to enough."""
    grower, folder = victim("grower"), tmp_path / "small"
    assert run_bare([grower, "plain"]) == DONE
    totals = []
    for pages in range(1, 320, attempts(29, 1)):
        with mounted("tmpfs", folder, "size={}".format(pages * 4096)):
            recording = run_into(trace, folder, grower, "plain")
            check_unharmed(recording)
            totals.append(check_past(recording.only()) if recording.captures else 0)
    print("{} sizes, {} whole, events of the others: {}".format(len(totals), totals.count(3 * BLOCKS), totals))
    assert totals[0] == 0 and totals[-1] == 3 * BLOCKS and any(0 < total < 3 * BLOCKS for total in totals)


def test_a_file_system_that_cannot_reserve_room(victim, trace, tmp_path):
    """ramfs has no fallocate: the room is made of zeros that are really written."""
    with mounted("ramfs", tmp_path / "ram", "mode=0700") as folder:
        recording = run_into(trace, folder, victim("grower"), "plain")
        check_unharmed(recording)
        check_past(recording.only(), complete=True)


def test_a_limit_of_file_size_sends_no_signal(victim, trace, tmp_path):
    """The default action of SIGXFSZ would end the program."""
    grower = victim("grower")
    for pages in range(1, 260, attempts(51, 5)):
        folder = tmp_path / "limit{}".format(pages)
        folder.mkdir()
        argv = ["/usr/bin/prlimit", "--fsize={}".format(pages * 4096), grower, "plain"]
        recording = run_into(trace, folder, *argv, environment={"SCTMEM_PROGRAM": "grower"})
        check_unharmed(recording)
        for capture in recording.captures:
            check_past(capture)
    assert check_past(recording.only()) > 0


def test_a_read_only_file_system(victim, trace, tmp_path):
    with mounted("tmpfs", tmp_path / "fixed", "ro") as folder:
        recording = run_into(trace, folder, victim("grower"), "plain")
    check_unharmed(recording)
    assert b"read-only file system" in recording.ended.stderr


def test_a_folder_that_is_not_there(victim, trace, tmp_path):
    recording = trace(victim("grower"), "plain", environment={"SCTMEM_OUT": str(tmp_path / "no/such/capture.bin")})
    check_unharmed(recording)
    assert b"no such folder" in recording.ended.stderr


def test_a_current_folder_that_has_vanished(victim, trace, tmp_path):
    """The name of the capture is relative, and nothing is left for it to be relative to."""
    enter = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\""
    recording = trace("/bin/sh", "-c", enter, "sh", victim("grower"), "plain", cwd=str(tmp_path),
                      environment={"SCTMEM_OUT": "capture.bin", "SCTMEM_PROGRAM": "grower"})
    check_unharmed(recording)
    assert recording.ended.stderr


@pytest.mark.parametrize("mode", ["remove", "rename", "replace", "folder"])
def test_the_file_is_moved_away_under_us(victim, trace, tmp_path, mode):
    """The descriptor still leads to it; what the program puts in its place is left alone."""
    folder = tmp_path / "inner"
    folder.mkdir()
    recording = trace(victim("grower"), mode, folder / "capture.bin",
                      environment={"SCTMEM_OUT": str(folder / "capture.bin")})
    assert recording.ended == DONE
    if mode == "rename":
        check_past(Recording(trace.tools, folder, recording.ended).only(), complete=True)
    elif mode == "replace":
        assert (folder / "capture.bin").read_bytes() == b"own"
    else:
        assert not (folder / "capture.bin").exists()


def test_other_files_take_the_place_of_our_descriptors(victim, trace, tmp_path):
    """The capture is then found again by its name, and nothing is ever written into the program's file."""
    recording = trace(victim("grower"), "dup2", tmp_path / "own")
    assert recording.ended == DONE
    check_past(recording.only(), complete=True)


def test_no_descriptor_is_left(victim, trace):
    argv = ["/usr/bin/prlimit", "--nofile=64", victim("grower"), "descriptors"]
    recording = trace(*argv, environment={"SCTMEM_PROGRAM": "grower"})
    assert recording.ended == DONE
    check_past(recording.only(), complete=True)


def test_one_descriptor_is_left_at_the_start(victim, trace):
    """With fewer the loader cannot work.  The recorder's own takes it: the mappings and the samples cannot be read."""
    argv = ["/usr/bin/prlimit", "--nofile=4", victim("grower"), "plain"]
    assert run_bare(argv) == DONE
    recording = trace(*argv, environment={"SCTMEM_PROGRAM": "grower"})
    assert recording.ended == DONE
    check_past(recording.only(), complete=True)


def injected(trace, strace, what, *argv):
    """A run in which strace makes some of our system calls fail."""
    recording = trace(strace, "-f", "-o", "/dev/null", "-e", "trace=" + what.split(":")[0], "-e", "inject=" + what,
                      *argv, environment={"SCTMEM_PROGRAM": argv[0].name})
    return recording


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO"])
def test_any_reservation_fails(victim, trace, error):
    """A thread's n-th fallocate and all that follow; nobody but the recorder calls it.  EDQUOT is a quota's answer."""
    strace = require_program("strace")
    grower, totals = victim("grower"), []
    for number in (1, 2):
        recording = injected(trace, strace, "fallocate:error={}:when={}+".format(error, number), grower, "plain")
        check_unharmed(recording)
        totals += [check_past(capture) for capture in recording.captures]
    print("{}: {}".format(error, totals))
    assert any(total < 3 * BLOCKS for total in totals)


def test_a_file_system_without_shared_mappings(victim, trace, tmp_path):
    """ENODEV is what such a file system answers to mmap.  -P: only calls on this path are made to fail."""
    strace = require_program("strace")
    path = tmp_path / "capture.bin"
    recording = trace(strace, "-f", "-o", "/dev/null", "-P", path, "-e", "trace=mmap",
                      "-e", "inject=mmap:error=ENODEV", victim("grower"), "plain",
                      environment={"SCTMEM_PROGRAM": "grower", "SCTMEM_OUT": str(path)})
    check_unharmed(recording)
    assert recording.ended.stderr and not path.exists()
