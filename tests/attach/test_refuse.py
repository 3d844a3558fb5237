# SPDX-License-Identifier: MIT
"""What cannot be attached is told why, and what to do about it; the target notices nothing."""
import ctypes
import os
import shutil
import signal
import subprocess
import time

import pytest

from targets import HERE, Target

NO_INPUT, USAGE, OUTPUT, CANNOT_TRACE = 3, 2, 6, 8
SMALL = """#include <stdio.h>
#include <unistd.h>
int main(void)
{
	char c;
	puts("ready");
	fflush(stdout);
	return read(0, &c, 1) == 1 ? 42 : 1;
}
"""


def test_there_is_no_such_process(attacher):
    child = subprocess.Popen(["true"])
    child.wait()
    attacher.refused(child.pid, NO_INPUT, "there is no process")
    attacher.refused("python", USAGE, "not the number of a process")
    attacher.refused("-5", USAGE)
    attacher.refused("99999999999999999999", USAGE)


def test_a_process_that_has_ended_and_one_of_the_kernel(attacher):
    zombie = subprocess.Popen(["true"])
    for _ in range(500):
        with open("/proc/{}/stat".format(zombie.pid)) as stat:
            if stat.read().split()[2] == "Z":
                break
        time.sleep(0.01)
    attacher.refused(zombie.pid, NO_INPUT, "has ended already")
    zombie.wait()
    kernel = [pid for pid in os.listdir("/proc") if pid.isdigit() and
              not os.path.exists("/proc/{}/exe".format(pid)) and os.path.exists("/proc/{}/root".format(pid))]
    if kernel and os.geteuid() == 0:
        attacher.refused(kernel[0], CANNOT_TRACE, "part of the kernel")


def test_a_static_program(attacher, victim):
    program = victim("served", "-static")
    with Target([program, 0]) as target:
        attacher.refused(target.pid, CANNOT_TRACE, "static program")
        target.end()


def test_a_program_of_32_bits(attacher, tmp_path):
    source = tmp_path / "small.c"
    source.write_text(SMALL)
    built = subprocess.run(["gcc", "-m32", source, "-o", tmp_path / "small"], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    if built.returncode:
        pytest.skip("no 32-bit C library on this machine")
    with Target([tmp_path / "small"]) as target:
        attacher.refused(target.pid, CANNOT_TRACE, "32-bit")
        target.end()


def test_a_program_on_musl(attacher, tmp_path):
    if not shutil.which("musl-gcc"):
        pytest.skip("no musl-gcc on this machine")
    subprocess.run(["musl-gcc", "-x", "c", "-", "-o", str(tmp_path / "small")], check=True,
                   input=SMALL.encode())
    with Target([tmp_path / "small"]) as target:
        attacher.refused(target.pid, CANNOT_TRACE, "musl")
        target.end()


def test_a_handler_that_has_interrupted_what_may_hold_a_lock(attacher, victim):
    with Target([victim("served"), 0, "sort"]) as target:
        attacher.refused(target.pid, CANNOT_TRACE, "came to a safe place", arguments=["--wait", "1"])
        target.end()


def test_a_process_that_is_stopped(attacher, victim):
    with Target([victim("served"), 0]) as target:
        os.kill(target.pid, signal.SIGSTOP)
        os.waitpid(target.pid, os.WUNTRACED)
        attacher.refused(target.pid, CANNOT_TRACE, "is stopped", "kill -CONT {}".format(target.pid))
        os.kill(target.pid, signal.SIGCONT)
        target.end()


def test_another_one_traces_it(attacher, victim):
    with Target([victim("served"), 0]) as target:
        code = ("import ctypes, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                "assert libc.ptrace(0x4206, {}, 0, 0) == 0\nprint('traced', flush=True)\nsys.stdin.read()\n")
        tracer = subprocess.Popen(["/usr/bin/python3", "-c", code.format(target.pid)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        assert tracer.stdout.readline() == b"traced\n"
        attacher.refused(target.pid, CANNOT_TRACE, "is traced by process {}".format(tracer.pid), "python3")
        tracer.communicate()
        target.end()


def test_another_user(attacher, victim, open_folder):
    if os.geteuid() != 0:
        pytest.skip("not root: nobody else can be")
    # Its own folders may be closed to others.
    command = shutil.copy(attacher.tools.command, open_folder)
    shutil.copy(attacher.tools.library, open_folder)
    with Target([victim("served"), 0]) as target:
        attacher.refused(target.pid, CANNOT_TRACE, "belongs to user 0", "sudo", command=command, user=65534)
        target.end()


def test_a_target_of_another_user_is_attached_by_root(attacher, victim, open_folder):
    """It cannot read our library, nor write in our folder: the first is no matter, the second is told."""
    if os.geteuid() != 0:
        pytest.skip("not root: nobody else can be")
    program = shutil.copy(victim("served"), open_folder)
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    command = shutil.copy(attacher.tools.command, closed)
    shutil.copy(attacher.tools.library, closed)
    with Target([program, 1], user=65534) as target:
        attacher.folder = closed
        attacher.refused(target.pid, OUTPUT, "user 65534", "cannot create", "-o", command=command)
        path = open_folder / "capture.bin"
        done = attacher.run("attach", "-o", path, target.pid, command=command)
        assert done.returncode == 0, done.stderr
        target.ask("work 100")
        attacher.detach(target.pid)
        assert path.stat().st_uid == 65534
        target.end()


@pytest.mark.parametrize("mode, words", [("strict", "seccomp strict"), ("filter", "--any-seccomp")])
def test_a_process_under_seccomp(attacher, victim, mode, words):
    with Target([victim("filtered"), mode]) as target:
        attacher.refused(target.pid, CANNOT_TRACE, words)
        target.end()


def test_a_filter_that_is_known_to_be_harmless(attacher, victim):
    """The user says so: all is done with the one call that is certain to be permitted."""
    with Target([victim("filtered"), "filter"]) as target:
        attacher.attach(target.pid, "--any-seccomp")
        done = attacher.run("detach", "--any-seccomp", target.pid)
        assert done.returncode == 0, done.stderr
        target.end()


def test_the_loader_refuses_the_library(attacher, victim, tmp_path):
    """It needs what is not there: the loader's own words are passed on, and all that it did is undone."""
    command = shutil.copy(attacher.tools.command, tmp_path / "sctmem")
    needed = victim("late", "-shared", "-fPIC", "-Wl,-soname,libneeded.so", suffix=".so")
    source = tmp_path / "needs.c"
    source.write_text("int needs; void missing(void); void (*pointer)(void) = missing;\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wl,--no-as-needed", source, needed, "-o", tmp_path / "libsctmem.so"],
                   check=True)
    with Target([victim("served"), 2]) as target:
        text = attacher.refused(target.pid, CANNOT_TRACE, "cannot be loaded", "goes on as it was", command=command)
        assert "libneeded.so" in text or "missing" in text, text
        target.ask("work 100")
        target.end()


@pytest.mark.parametrize("size", [0, 100, 3000, 100000])
def test_the_library_is_cut_short(attacher, victim, tmp_path, size):
    """A loader would map what is not there, and the target would end: it is not asked."""
    command = shutil.copy(attacher.tools.command, tmp_path / "sctmem")
    (tmp_path / "libsctmem.so").write_bytes(attacher.tools.library.read_bytes()[:size])
    with Target([victim("served"), 1]) as target:
        attacher.refused(target.pid, CANNOT_TRACE, "is damaged", command=command)
        target.end()


def test_the_place_for_the_capture(attacher, victim):
    with Target([victim("served"), 0]) as target:
        done = attacher.run("attach", "-o", "/nowhere/at/all.bin", target.pid)
        assert done.returncode == OUTPUT and b"No such file" in done.stderr and b"-o" in done.stderr, done.stderr
        # What failed once does not stand in the way of the next attempt.
        attacher.attach(target.pid)
        attacher.detach(target.pid)
        target.end()


def test_twice_and_never(attacher, victim):
    with Target([victim("served"), 1]) as target:
        done = attacher.run("detach", target.pid)
        assert done.returncode == NO_INPUT and b"is not recorded" in done.stderr, done.stderr
        capture = attacher.attach(target.pid)
        text = attacher.refused(target.pid, CANNOT_TRACE, "recorded already")
        assert str(capture.path) in text
        attacher.detach(target.pid)
        done = attacher.run("detach", target.pid)
        assert done.returncode == NO_INPUT and b"not recorded any more" in done.stderr, done.stderr
        target.end()


def test_a_program_that_was_started_with_the_library(attacher, victim, tools, tmp_path):
    variables = dict(LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(tmp_path / "own.bin"))
    with Target([victim("served"), 1], environment=variables) as target:
        attacher.refused(target.pid, CANNOT_TRACE, "was started with the library", "own.bin")
        target.end()
