# SPDX-License-Identifier: MIT
"""Starting, stopping and marking: by the program itself, by sctmem ctl, in threads, children and signal handlers."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from recording import run_bare

NOT_YET = 9


class Running:
    """A victim that is up and waits for its standard input."""

    def __init__(self, trace, argv, **environment):
        folder, variables = trace.prepare(environment)
        self.tools = trace.tools
        self.folder = folder
        self.process = subprocess.Popen([str(word) for word in argv], env=variables, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def allocate(self):
        self.process.stdin.write(b"x")
        self.process.stdin.flush()
        assert self.process.stdout.read(1) == b"x"

    def ctl(self, *words):
        """(status, standard output, standard error) of sctmem ctl PID WORDS."""
        done = self.tools.run_command("ctl", self.process.pid, *words, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def state(self):
        return json.loads(self.ctl("status", "--json")[1])

    def stats(self, *options):
        capture, = self.folder.iterdir()
        return json.loads(self.tools.run_command("stats", "--json", *options, capture).stdout.decode())


def counted(capture):
    """Allocations and frees of the sizes that victims count."""
    allocated, freed = capture.counted()
    return len(allocated), len(freed)


@pytest.mark.parametrize("start", ["on", "off"])
def test_what_a_program_does_between_its_starts_and_stops_is_recorded_and_nothing_else(victim, trace, start):
    program = victim("control")
    assert run_bare([program, "self"]).status == 0
    recording = trace(program, "self", environment={"SCTMEM_START": start})
    assert recording.ended.status == 0
    capture = recording.only()
    capture.check_whole()
    allocated = [event for event in capture.events() if 70000 <= event.size < 71000]
    assert len(allocated) == int(recording.ended.stdout.split()[0])
    own = capture.header
    assert own["paused"] and own["gaps"] == (20 if start == "on" else 21)
    assert own["forgotten_count"] > 0
    stats = capture.stats()
    live, ended = stats["live_at_end"]["count"], stats["total_num_frees"]
    assert live + ended + own["forgotten_count"] == stats["total_num_allocations"]
    # A moment that was named is the same however it is asked for.
    at = json.loads(trace.tools.run_command("stats", "--json", "--at", "round", capture.path).stdout.decode())
    to = json.loads(trace.tools.run_command("stats", "--json", "--to", "round", capture.path).stdout.decode())
    assert at["live_at_end"]["bytes"] == to["live_at_end"]["bytes"] > 0


@pytest.mark.parametrize("mode", ["threads", "signal"])
@pytest.mark.parametrize("start", ["on", "off"])
def test_no_moment_is_a_wrong_one_to_stop_or_start(victim, trace, mode, start):
    recording = trace(victim("control"), mode, environment={"SCTMEM_START": start})
    assert recording.ended.status == 0 and recording.ended.stderr == b""
    capture = recording.only()
    capture.check_whole()
    stats = capture.stats()
    assert not capture.header["paused"] and capture.header["gaps"] > 20
    assert stats["live_at_end"]["count"] + stats["total_num_frees"] + capture.header["forgotten_count"] == \
        stats["total_num_allocations"]


def test_children_are_as_stopped_as_their_parents(victim, trace):
    recording = trace(victim("control"), "fork", environment={"SCTMEM_START": "off"})
    assert recording.ended.status == 0
    sizes = sorted((sorted(event.size for event in capture.events() if 70000 <= event.size < 71000),
                    capture.header["paused"]) for capture in recording.captures)
    # The parent and the last child never started; the one that started stopped again; its child went on recording.
    assert sizes == [([], True), ([], True), ([70001], True), ([70002], False)]
    for capture in recording.captures:
        capture.check_whole()


def test_what_was_never_started_is_a_capture_that_says_so(victim, trace):
    recording = trace(victim("threads"), "many", environment={"SCTMEM_START": "off"})
    assert recording.ended.status == 0
    capture = recording.only()
    assert capture.path.stat().st_size == 4096
    capture.check_whole()
    assert capture.header["paused"] and capture.header["events"] == 0 and capture.header["state"] == "finished"
    for verb in ("tree", "leaks", "table", "summary"):
        done = trace.tools.run_command(verb, capture.path)
        assert b"recording was never started" in done.stdout + done.stderr, verb


def test_a_busy_process_is_steered_from_outside(victim, trace):
    with Running(trace, [victim("control"), "busy"], SCTMEM_START="off") as running:
        assert running.state()["state"] == "stopped"
        status, _, problem = running.ctl("mark", "early")
        assert status == 3 and "records nothing at present" in problem
        assert running.ctl("start")[0] == 0 and running.state()["state"] == "recording"
        assert "was recording already" in running.ctl("start")[1]
        assert running.ctl("mark", "one")[0] == 0
        assert running.ctl("snapshot", "two \x1b[31m")[:2] == (
            0, "process {}: snapshot taken 'two \\x1b[31m'; look at it with --at 'two \\x1b[31m'\n".format(
                running.process.pid))
        assert running.ctl("snapshot")[0] == 0
        assert running.ctl("stop")[0] == 0
        assert "was stopped already" in running.ctl("stop")[1]
        before = running.stats()["metadata"]["events"]
        assert before > 0 and running.stats("--at", "one")["live_at_end"]["count"] < 10
        assert running.stats()["metadata"]["events"] == before
        assert running.ctl("start")[0] == 0 and running.ctl("mark", "three")[0] == 0
        marks = trace.tools.run_command("windows", "--marks", next(running.folder.iterdir())).stdout.decode()
        assert [line.split("  ")[-1].split(" 2")[0] for line in marks.splitlines()] == \
            ["one", "two \\x1b[31m", "snapshot", "three"]
    assert running.process.returncode == 0
    status, _, problem = running.ctl("start")
    assert status == 3 and "no process" in problem


def test_an_idle_process_sees_to_it_at_its_next_allocation(victim, trace):
    with Running(trace, [victim("control"), "idle"]) as running:
        started = time.monotonic()
        status, _, problem = running.ctl("stop", "--wait", "100ms")
        assert status == NOT_YET and "neither allocated nor freed" in problem and time.monotonic() - started < 30
        state = running.state()
        assert state["state"] == "recording" and state["pending"]
        # While it records it looks when the coarse clock has moved since the last event.
        time.sleep(0.05)
        running.allocate()
        assert running.state()["state"] == "stopped" and not running.state()["pending"]
        # What was asked before, and is asked no more, is not done.
        assert running.ctl("mark", "never", "--wait", "20ms")[0] == NOT_YET
        assert running.ctl("start", "--wait", "20ms")[0] == NOT_YET
        running.allocate()
        assert running.state()["state"] == "recording"
        os.kill(running.process.pid, signal.SIGSTOP)
        status, _, problem = running.ctl("stop", "--wait", "20ms")
        assert status == NOT_YET and "stopped by a signal" in problem
        os.kill(running.process.pid, signal.SIGCONT)


def test_a_process_that_dies_while_it_is_asked_is_reported(victim, trace):
    with Running(trace, [victim("control"), "idle"]) as running:
        asked = subprocess.Popen([str(trace.tools.command), "ctl", str(running.process.pid), "stop", "--wait", "60"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.2)
        running.process.kill()
        _, problem = asked.communicate(timeout=60)
        assert asked.returncode == 3 and b"has ended before it saw to it" in problem


def test_processes_that_cannot_be_asked_are_told_apart(victim, trace, tmp_path):
    tools = trace.tools

    def problem(*words):
        done = tools.run_command("ctl", *words, check=False)
        assert done.returncode in (2, 3, 4) and done.stdout == b""
        return done.stderr.decode()
    assert "is not being recorded" in problem(os.getpid(), "start")
    assert "no process 4194300" in problem(4194300, "start")
    assert "say what to do" in problem()
    assert "did you mean start?" in problem(os.getpid(), "strat")
    assert "mark needs a name" in problem(os.getpid(), "mark")
    (tmp_path / "text").write_text("no capture")
    assert "is not a capture" in problem(tmp_path / "text", "start")
    recording = trace(victim("control"), "self")
    assert "the process has ended" in problem(recording.only().path, "start")
    golden = pathlib.Path(__file__).resolve().parents[1] / "golden" / "capture_v1.bin"
    assert "cannot be asked" in problem(golden, "start")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_users_process_is_left_alone_with_the_reason(victim, trace, tmp_path):
    command = tmp_path / "sctmem"
    command.write_bytes(trace.tools.command.read_bytes())
    command.chmod(0o755)
    for folder in [tmp_path] + list(tmp_path.parents)[:2]:
        folder.chmod(0o755)
    with Running(trace, [victim("control"), "busy"]) as running:
        done = subprocess.run([str(command), "ctl", str(running.process.pid), "stop"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, preexec_fn=lambda: os.setuid(65534))
        assert done.returncode == 3 and b"which is root's" in done.stderr, done
        assert running.state()["state"] == "recording"


PYTHON = r"""
import os, sys
print("ready", flush=True)
kept = []
while os.read(0, 1):
    kept.append([bytes(100 + i) for i in range(50)] + [bytearray(5000)])
    os.write(1, b"x")
"""


def pythons():
    found = {"system": "/usr/bin/python3"}
    root = pathlib.Path(os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))) / "versions"
    for path in sorted(root.glob("3.*/bin/python3")):
        found[".".join(path.parts[-3].split(".")[:2])] = str(path)
    return found


@pytest.mark.parametrize("version", ["system", "3.8", "3.10", "3.12", "3.13"])
def test_a_python_program_that_began_stopped_has_its_objects_and_lines(trace, version):
    python = pythons().get(version)
    if not python or not os.path.exists(python):
        pytest.skip("no Python {} here".format(version))
    with Running(trace, [python, "-c", PYTHON], SCTMEM_START="off") as running:
        running.allocate()
        assert running.state()["capture_bytes"] == 4096
        # Started within its next allocation; from the interpreter's next rest on, with objects and lines.
        assert running.ctl("start", "--wait", "50ms")[0] == NOT_YET
        for _ in range(20):
            running.allocate()
        assert running.state()["state"] == "recording"
        table = trace.tools.run_command("table", "--by", "line", "--metric", "live", "--json",
                                        next(running.folder.iterdir()))
        rows = json.loads(table.stdout.decode())["rows"]
        assert any(row["file"] == "<string>" and row["line"] == 6 and row["own_count"] > 500 for row in rows), rows[:5]
        stats = running.stats()
        assert stats["captures"][0]["contradictions"] == 0 and stats["by_domain"]["python"]["live_count"] > 500
    assert running.process.returncode == 0


PACKAGE = r"""
import sctmem
assert sctmem.is_recorded() and not sctmem.is_recording()
assert not sctmem.snapshot("before"), "nothing is recorded yet"
first = [bytes(300) for _ in range(1000)]
with sctmem.recording():
    assert sctmem.is_recording()
    second = [bytes(400) for _ in range(1000)]
    with sctmem.recording():
        pass
    assert sctmem.is_recording()
    assert sctmem.snapshot("within")
assert not sctmem.is_recording()
third = [bytes(500) for _ in range(1000)]
assert sctmem.start() and sctmem.start()
with sctmem.paused():
    assert not sctmem.is_recording()
assert sctmem.stop() and not sctmem.is_recording()
"""


def test_the_package_starts_and_stops(trace, tmp_path):
    package = pathlib.Path(__file__).resolve().parents[2] / "python"
    recording = trace("/usr/bin/python3", "-c", PACKAGE, environment={
        "SCTMEM_START": "off", "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"})
    assert recording.ended.status == 0, recording.ended.stderr
    capture = recording.only()
    capture.check_whole()
    sizes = [event.size for event in capture.events()]
    # bytes(n) is n + 33.
    assert sizes.count(433) == 1000 and sizes.count(333) < 10 and sizes.count(533) < 10
    bare = run_bare(["/usr/bin/python3", "-c", "import sctmem; assert not sctmem.start(); assert not sctmem.stop()\n"
                     "with sctmem.recording(): assert not sctmem.is_recording()"],
                    environment={"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"})
    assert bare.status == 0, bare.stderr
