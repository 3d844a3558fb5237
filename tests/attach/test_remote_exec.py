# SPDX-License-Identifier: MIT
"""Attaching by the interpreter's own remote execution (CPython 3.14 and later): --method remote-exec."""
import glob
import subprocess
import time

import pytest

from fixtures import require_program
from recording import Capture
from targets import HERE, Target, pythons
from test_record import BYTES_SIZE, check_blocks

NEW = [(name, words) for name, words in pythons() if name.startswith("sid-") or name == "3.14"]
NEW = NEW or [pytest.param("none", [], marks=pytest.mark.skip(reason="no Python 3.14 or later on this machine"))]


def folders():
    return set(glob.glob("/tmp/sctmem-*/call.py"))


def status_of(pid, key):
    with open("/proc/{}/status".format(pid)) as file:
        return next(line.split()[1] for line in file if line.startswith(key + ":"))


def wait_until_at_rest(pid):
    """The main thread has not run for a while: it is in its call, not before it, and waits for no lock."""
    before, now = None, "?"
    while now != before or status_of(pid, "State") != "S":
        time.sleep(0.3)
        before, now = now, status_of(pid, "voluntary_ctxt_switches")


def poked(attacher, target, *arguments):
    """The command, while the target's main thread is given lines to read, and so comes by its loop."""
    argv = [str(word) for word in (attacher.tools.command, *arguments, target.pid)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None:
        target.ask("work 0")
        time.sleep(0.005)
    return process.returncode, process.communicate()[1].decode()


def work(attacher, target, method):
    """Between attach and detach the target makes blocks, which are all found."""
    target.ask("work 100")
    path = attacher.path()
    status, text = poked(attacher, target, "attach", "-o", path, *method)
    assert status == 0, text
    assert ("by itself" in text) == (method != ["--method", "ptrace"]), text
    for _ in range(4):
        target.ask("work 500")
    target.ask("drop")
    target.ask("work 500")
    status, text = poked(attacher, target, "detach", *method)
    assert status == 0, text
    target.ask("work 50")
    capture = Capture(attacher.tools, path)
    check_blocks(capture, BYTES_SIZE, 2500, 2250, 250)
    table = attacher.tools.run_command("table", "--by", "function", "--metric", "total", capture.path).stdout.decode()
    assert "make_block" in table, table


@pytest.mark.parametrize("name, python", NEW)
def test_blocks_are_counted_exactly(attacher, name, python):
    before = folders()
    with Target(python + [HERE / "victims/asked.py", 2]) as target:
        work(attacher, target, ["--method", "remote-exec"])
        # What an earlier attachment left cannot be judged without stopping threads; a borrowed one can.
        status, text = poked(attacher, target, "attach", "-o", attacher.path(), "--method", "remote-exec")
        assert status == 8 and "was recorded before" in text and "--method ptrace" in text, (status, text)
        work(attacher, target, ["--method", "ptrace"])
        target.end()
    assert folders() == before


@pytest.mark.parametrize("name, python", NEW)
def test_a_process_that_is_traced_already_does_it_by_itself(attacher, name, python):
    strace = require_program("strace")
    with Target(python + [HERE / "victims/asked.py", 1]) as target:
        tracer = subprocess.Popen([strace, "-f", "-qq", "-e", "trace=none", "-o", "/dev/null", "-p", str(target.pid)])
        try:
            for _ in range(500):
                if status_of(target.pid, "TracerPid") == str(tracer.pid):
                    break
                time.sleep(0.02)
            assert status_of(target.pid, "TracerPid") == str(tracer.pid)
            attacher.refused(target.pid, 8, "strace", arguments=["--method", "ptrace"])
            work(attacher, target, [])
            assert status_of(target.pid, "TracerPid") == str(tracer.pid)
        finally:
            tracer.terminate()
            tracer.wait()
        target.end()


@pytest.mark.parametrize("name, python", NEW)
def test_what_does_not_come_by_is_withdrawn(attacher, name, python):
    """The main thread waits in a call: nothing is run, then or later, and nothing is left behind."""
    before = folders()
    with Target(python + [HERE / "victims/asked.py", 1, "waiting"]) as target:
        wait_until_at_rest(target.pid)
        attacher.refused(target.pid, 8, "interpreter's loop", arguments=["--method", "remote-exec", "--wait", 1])
        assert folders() == before
        target.ask("work 100")
        with open("/proc/{}/maps".format(target.pid)) as file:
            assert "libsctmem" not in file.read()
        # By a borrowed thread it can be done all the same, which is why that comes first.
        attacher.attach(target.pid)
        attacher.detach(target.pid)
        target.end()


@pytest.mark.parametrize("name, python", NEW)
def test_an_interpreter_that_does_not_allow_it_says_so(attacher, name, python):
    with Target(python + [HERE / "victims/asked.py", 1], environment={"PYTHON_DISABLE_REMOTE_DEBUG": "1"}) as target:
        attacher.refused(target.pid, 8, "remote debugging disabled", arguments=["--method", "remote-exec"])
        target.end()


def test_what_is_no_new_python_says_so(attacher, victim):
    for words in ([victim("served"), 1], ["/usr/bin/python3", HERE / "victims/asked.py", 1]):
        with Target(words) as target:
            attacher.refused(target.pid, 8, "no Python of version 3.14", arguments=["--method", "remote-exec"])
            target.end()
