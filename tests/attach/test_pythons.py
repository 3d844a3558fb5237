# SPDX-License-Identifier: MIT
"""attach, ctl, top and detach, seen from outside: newer Pythons, one without the global lock, containers."""
import json
import os
import subprocess

import pytest

from recording import Capture
from targets import HERE, Target, pythons
from test_record import BYTES_SIZE, blocks_of, check_attached

NOGIL = "/opt/python-nogil/bin/python3.13t"


def interpreters():
    """(name, words) of each that is wanted here; the line of one that is absent says so."""
    found = dict(pythons())
    if os.path.exists(NOGIL):
        found["3.13t"] = [NOGIL]
    for name in ("sid-3.14", "sid-3.15", "3.13t"):
        absent = pytest.mark.skip(reason="no Python {} on this machine".format(name))
        yield pytest.param(found.get(name), id=name, marks=[] if name in found else [absent])


def ctl(attacher, target, pid, *words):
    """It is asked while the target works, since it sees to it when it allocates."""
    process = subprocess.Popen([str(attacher.tools.command), "ctl", "-w", "30", "--json", str(pid), *words],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None:
        target.ask("work 0")
    output, errors = process.communicate()
    assert process.returncode == 0, (words, errors)
    return json.loads(output)


def steer(attacher, target, pid, **how):
    """All verbs on a process that is called `pid` here; what is recorded is what it did while it was recorded."""
    target.ask("work 100")
    path = attacher.path()
    done = attacher.run("attach", "-o", path, pid)
    assert done.returncode == 0, done.stderr
    target.ask("work 1000")
    assert ctl(attacher, target, pid, "mark", "full")["changed"] is True
    shown = attacher.tools.run_command("top", "--once", "--json", "-i", "0.1", "--by", "functions", str(pid))
    top = json.loads(shown.stdout)
    assert top["pid"] == pid and top["state"] == "recording", top
    row = next(row for row in top["rows"] if row.get("function") == "make_block")
    assert row["own_count"] >= 500 and row["own_bytes"] >= 500 * 397, row
    assert ctl(attacher, target, pid, "stop")["changed"] is True
    target.ask("work 300")
    assert json.loads(attacher.tools.run_command("ctl", "--json", str(pid), "status").stdout)["state"] == "stopped"
    assert ctl(attacher, target, pid, "start")["changed"] is True
    target.ask("work 700")
    done = attacher.run("detach", pid)
    assert done.returncode == 0, done.stderr
    target.ask("work 50")
    capture = Capture(attacher.tools, how.get("seen", path))
    check_attached(capture)
    table = attacher.tools.run_command("table", "--json", "--by", "function", "--metric", "total", capture.path)
    assert b"make_block" in table.stdout, table
    return capture


@pytest.mark.parametrize("python", interpreters())
def test_a_python_is_steered_and_watched(attacher, python):
    with Target(python + [HERE / "victims/asked.py", 1]) as target:
        capture = steer(attacher, target, target.pid)
        target.end()
    # An object's head is larger without the global lock.
    whole = int(subprocess.run(python + ["-c", "import sys; print(sys.getsizeof(bytes(397)))"], check=True,
                               stdout=subprocess.PIPE).stdout)
    assert blocks_of(capture, whole)[0] == 1700


@pytest.mark.parametrize("python", [["/usr/bin/python3"]], ids=["system"])
def test_a_process_in_a_container_is_steered_from_outside(attacher, python, tmp_path):
    """Its own process and mount name spaces, its own /proc and /tmp: it is process 1 there."""
    if os.geteuid() != 0:
        pytest.skip("not root: no name spaces can be made")
    inside = tmp_path / "inside"
    inside.mkdir()
    words = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "sh", "-c",
             'mount --bind "$0" /mnt && exec "$@"', str(inside)] + python + [HERE / "victims/asked.py", 1]
    with Target(words) as target:
        with open("/proc/{0}/task/{0}/children".format(target.pid)) as file:
            pid = int(file.read().split()[0])
        with open("/proc/{}/status".format(pid)) as file:
            assert next(line.split()[-1] for line in file if line.startswith("NSpid")) == "1"
        # A path that only the container has.
        attacher.folder = type(inside)("/mnt")
        capture = steer(attacher, target, pid, seen=inside / "capture1.bin")
        assert capture.header["pid"] == 1, capture.header
        target.end()
    assert blocks_of(capture, BYTES_SIZE)[0] == 1700
