# SPDX-License-Identifier: MIT
"""A target goes on as it was, whatever happens to it, to the command, or to the attempt."""
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time

import pytest

from recording import Capture
from targets import HERE, Target, pythons, times

DICE = random.Random("attach")


@pytest.mark.parametrize("name, python", [("native", None)] + pythons()[:1])
def test_many_attachments_under_load(attacher, victim, name, python):
    argv = [victim("served"), 3] if name == "native" else python + [HERE / "victims/asked.py", 2]
    with Target(argv) as target:
        for _ in range(times(4)):
            path = attacher.path()
            done = attacher.run("attach", "-q", "-o", path, target.pid)
            assert (done.returncode, done.stderr) == (0, b"")
            target.ask("work 100")
            done = attacher.run("detach", "-q", target.pid)
            assert (done.returncode, done.stderr) == (0, b"")
            target.ask("drop")
            path.unlink()
        target.end()


def test_waits_are_not_disturbed(attacher, victim):
    with Target([victim("served"), 0]) as target:
        for _ in range(times(2)):
            target.tell("wait")
            for _ in range(6):
                attacher.attach(target.pid)
                attacher.detach(target.pid)
            assert target.hear() == ["waited", "0"], target.process.kill() or target.process.stderr.read()
        target.end()


def test_each_signal_ends_its_wait(attacher, victim):
    """One that the program waits for with a mask of its own is seen, also when it comes while a thread is looked at."""
    count = 60 * times(4)
    with Target([victim("served"), 0]) as target:
        assert target.ask("signals {}".format(count)) == ["waits"]
        stopped = threading.Event()

        def send():
            while not stopped.wait(DICE.uniform(0, 0.004)):
                os.kill(target.pid, signal.SIGUSR1)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            for _ in range(times(4)):
                attacher.run("attach", "-q", "-o", attacher.path(), target.pid)
                attacher.run("detach", "-q", target.pid)
            heard = target.hear()
        finally:
            stopped.set()
            sender.join()
        assert heard == ["signals", str(count), "unnoticed", "0"]
        target.end()


def test_the_load_goes_on(attacher, victim):
    """Also while it is attached: each thread makes rounds before, meanwhile and after."""
    with Target([victim("served"), 3]) as target:
        def rounds():
            return int(target.ask("load")[1])

        def moves_on():
            seen = rounds()
            for _ in range(600):
                if rounds() >= seen + 6:
                    return True
                time.sleep(0.01)
            return False

        assert moves_on()
        attacher.attach(target.pid)
        assert moves_on()
        attacher.detach(target.pid)
        assert moves_on()
        target.end()


def kill_library(victim):
    return victim("kill_at", "-shared", "-fPIC", suffix=".so")


def killed_at_steps(attacher, victim, target, verb):
    """Killed at each of its calls of ptrace, before and after the kernel has done it; yields after each."""
    library = kill_library(victim)

    def prepare():
        """Into the state that the verb begins from, whatever the last kill has left."""
        if verb == "detach":
            done = attacher.run("attach", "-q", "-o", attacher.path(), target.pid)
            assert done.returncode == 0 or b"recorded already" in done.stderr, done.stderr
        else:
            done = attacher.run("detach", "-q", target.pid)
            assert done.returncode in (0, 3), done.stderr

    def go(**variables):
        arguments = ["-q", "-o", attacher.path()] if verb == "attach" else ["-q"]
        return attacher.run(verb, *arguments, target.pid, environment=dict(LD_PRELOAD=str(library), **variables))

    prepare()
    count = attacher.folder / "count"
    assert go(KILL_COUNT=str(count)).returncode == 0
    calls = int(count.read_text())
    assert calls > 10
    steps = [(step, when) for step in range(1, calls + 1) for when in ("before", "after")]
    if times(0) == 0:
        steps = DICE.sample(steps, 10)
    for step, when in steps:
        prepare()
        done = go(KILL_AT=str(step), KILL_WHEN=when)
        # A thread in another state takes other steps: the last of them may not come.
        assert done.returncode in (0, -signal.SIGKILL), (step, when, done)
        yield step, when


@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_the_command_may_be_killed_at_every_step(attacher, victim, verb):
    with Target([victim("served"), 2]) as target:
        for _ in killed_at_steps(attacher, victim, target, verb):
            target.ask("work 20")
            target.ask("drop")
        assert target.ask("wait") == ["waited", "0"]
        target.end()


def test_the_largest_registers_are_kept(attacher, victim):
    """Also where the command was killed, and the thread's own frame brings them back."""
    program = victim("tiles")
    if subprocess.run([str(program)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 77:
        pytest.skip("this processor, or its kernel, has no tiles (AMX)")
    with Target([program]) as target:
        for _ in range(times(2)):
            attacher.attach(target.pid)
            assert target.ask("check") == ["tiles", "0"]
            attacher.detach(target.pid)
            assert target.ask("check") == ["tiles", "0"]
        for step in killed_at_steps(attacher, victim, target, "detach"):
            assert target.ask("check") == ["tiles", "0"], step
        target.end()


def test_the_command_may_be_killed_at_any_time(attacher, victim):
    with Target([victim("served"), 2]) as target:
        for verb in ["attach", "detach"] * times(5):
            arguments = ["-o", str(attacher.path())] if verb == "attach" else []
            process = subprocess.Popen([str(attacher.tools.command), verb, *arguments, str(target.pid)],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(DICE.random() * 0.06)
            process.kill()
            process.wait()
            target.ask("work 20")
            target.ask("drop")
        target.end()


def test_the_target_may_die_at_any_time(attacher, victim):
    for _ in range(times(6)):
        with Target([victim("served"), 2]) as target:
            process = subprocess.Popen([str(attacher.tools.command), "attach", "-o", str(attacher.path()),
                                        str(target.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(DICE.random() * 0.05)
            target.process.kill()
            _, errors = process.communicate(timeout=30)
            assert process.returncode in (0, 3), (process.returncode, errors)
            assert b"\n" == errors[-1:] and errors.startswith(b"sctmem: "), errors


def test_there_is_no_memory(attacher, victim):
    """Less and less address space is left: each step of it fails somewhere, and the target goes on."""
    outcomes = set()
    for spare in [DICE.randrange(0, 4 << 20, 16 << 10) for _ in range(times(6))]:
        with Target([victim("served"), 1]) as target:
            with open("/proc/{}/status".format(target.pid)) as status:
                size = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmSize"))
            limit = size + spare
            resource.prlimit(target.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            path = attacher.path()
            done = attacher.run("attach", "-o", path, target.pid)
            assert done.returncode in (0, 6, 8), done
            outcomes.add(done.returncode)
            resource.prlimit(target.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            target.ask("work 100")
            target.ask("drop")
            if done.returncode == 0:
                attacher.detach(target.pid)
                assert not Capture(attacher.tools, path).header["damaged"]
            else:
                assert b"goes on as it was" in done.stderr or done.returncode == 6, done.stderr
            target.end()
    assert 8 in outcomes or times(0) == 0


def test_a_disk_that_is_full(attacher, victim):
    """The capture cannot be made, or not go on: the target does."""
    with Target([victim("served"), 1]) as target:
        resource.prlimit(target.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        path = attacher.path()
        done = attacher.run("attach", "-o", path, target.pid)
        assert done.returncode in (6, 8), done
        resource.prlimit(target.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        capture = attacher.attach(target.pid)
        for _ in range(100):
            target.ask("work 3000")
            target.ask("drop")
        done = attacher.run("detach", target.pid)
        assert done.returncode == 0, done.stderr
        assert capture.header["state"] == "stopped_storage", capture.header["state"]
        resource.prlimit(target.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        target.end()


def test_a_target_under_another_root(attacher, victim, tmp_path):
    """The library reaches it through memory; the capture is in its own root."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("not root, or no unshare: no other root can be made")
    root = tmp_path / "root"
    program = victim("served")
    files = subprocess.run(["ldd", str(program)], stdout=subprocess.PIPE, check=True).stdout.decode()
    for word in files.split():
        if word.startswith("/"):
            (root / word[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, root / word[1:])
    for name in ("proc", "data"):
        (root / name).mkdir()
    shutil.copy(program, root / "served")
    inside = "mount -t proc proc {0}/proc && exec chroot {0} /served 1".format(root)
    probe = subprocess.run(["unshare", "-m", "sh", "-c", inside.replace("/served 1", "/served 0")],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if probe.returncode != 42:
        pytest.skip("no other root can be made here: {}".format(probe.stderr.decode()))
    with Target(["unshare", "-m", "sh", "-c", inside]) as target:
        done = attacher.run("attach", "-o", "/data/capture.bin", target.pid)
        assert done.returncode == 0, done.stderr
        target.ask("work 200")
        assert attacher.run("detach", target.pid).returncode == 0
        target.end()
    capture = Capture(attacher.tools, root / "data/capture.bin")
    capture.check_whole()
    assert len([event for event in capture.events() if event.size == 7919]) == 200
