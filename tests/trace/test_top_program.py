# SPDX-License-Identifier: MIT
"""sctmem top -- PROGRAM in a real terminal: the screen stays whole, the program is what it would be without one, and
its other processes can be chosen."""
import os
import re
import signal
import subprocess

import pytest

from recording import clean_environment
from test_top import Screen, rows, screen_of  # noqa: F401  (the fixture says where there is no screen)

PYTHON = "/usr/bin/python3"


@pytest.fixture
def started(victim, trace, tmp_path, screen_of):  # noqa: F811
    """start(command, options) -> a screen in which top has started it; its files are in .folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    terminals = []

    def start(*command, options=()):
        terminals.append(tmp_path / "terminal{}".format(len(terminals)))
        terminals[-1].mkdir()
        words = [str(trace.tools.command), "top", "--interval", "100ms", "-o", "%p.bin"] + list(options) + ["--"]
        line = " ".join(words + ["'{}'".format(word) for word in command])
        screen = Screen(terminals[-1], "cd {}; {}".format(folder, line), width=150, height=40, LC_ALL="C.UTF-8")
        screen.folder = folder
        return screen
    return start


def outputs(screen):
    return sorted(screen.folder.glob("*.out"))


def test_the_program_has_no_terminal_and_its_end_is_told(victim, started):
    with started(PYTHON, victim("started")) as screen:
        screen.wait_text("recording", "hold", "q quit")
        screen.press("w")
        text = screen.wait_text("the program's output, in", "first words \\x1b[2J", "input: ''", "no terminal",
                                "any key goes back")
        assert "title" in text and "there is a terminal" not in text
        screen.press("x")
        screen.wait_text("q quit")
        # Ctrl-C is the program's, not ours.
        screen.press("C-c")
        screen.wait_text("the program has ended with status 3: these are its last figures")
        screen.press("q")
        text = screen.wait_text("before", "ended 3", " echo", "last words", "its output is in", "wrote")
        assert "and 1 more of its other processes" in text and "first words \\x1b[2J" in text
    output, = outputs(screen)
    assert b"first words \x1b[2J" in output.read_bytes() and output.stat().st_mode & 0o777 == 0o600


def test_leaving_while_it_runs_is_asked_about(victim, started):
    with started(PYTHON, victim("started")) as screen:
        screen.wait_text("hold", "q quit")
        screen.press("q")
        screen.wait_text("the program still runs: e ends it, w waits for it")
        screen.press("Escape")
        screen.wait_text("q quit")
        screen.press("q")
        screen.wait_text("the program still runs")
        screen.press("w")
        screen.wait_text("sctmem: waiting for {} to end".format(PYTHON))
        # As with sctmem run: it is the program that Ctrl-C ends.
        screen.press("C-c")
        screen.wait_text("ended 3", "last words")


def test_it_can_be_ended(victim, started):
    with started(PYTHON, victim("started")) as screen:
        screen.wait_text("hold", "q quit")
        screen.press("q")
        screen.wait_text("the program still runs")
        screen.press("e")
        screen.wait_text("the program was ended by signal 15: these are its last figures")
        screen.press("q")
        screen.wait_text("before", "ended 143", " echo", "its output is in")


def test_a_signal_for_top_is_the_programs(victim, trace, started):
    with started(PYTHON, victim("started")) as screen:
        screen.wait_text("hold", "q quit")
        top = subprocess.run(["pgrep", "-f", "{} top .*{}".format(trace.tools.command, victim("started").name)],
                             stdout=subprocess.PIPE).stdout.split()
        os.kill(int(top[-1]), signal.SIGTERM)
        screen.wait_text("before", "ended 143", " echo")


def test_what_its_processes_are_can_be_seen_and_each_be_shown(victim, started):
    with started(PYTHON, victim("started")) as screen:
        first = re.search(r"sctmem top (\d+)", screen.wait_text("hold", "q quit")).group(1)
        screen.press("f")
        text = screen.wait_for(lambda text: text.count("started.py") >= 3 and "STATE" in text, "two processes")
        lines = [line for line in text.split("\n") if " runs " in line]
        assert len(lines) == 2 and lines[0].lstrip("*").split()[0] == first, text
        child = lines[1].split()[0]
        assert lines[1].index(PYTHON) == lines[0].index(PYTHON) + 2
        # What lives in each: of the child 50 blocks of 100,000 bytes, and what Python has with them.
        screen.wait_for(lambda text: re.search(r" {}  runs +4\.8M  ".format(child), text), "the heap of the child")
        assert re.search(r"\*{:>7}  runs +[0-9.]+[KM]  ".format(first), screen.text())
        # Nothing is looked at while it pauses: so the figures say how old they are.
        screen.press("Escape")
        screen.wait_text("q quit")
        screen.press("Space", "f")
        for pid in (child, first):
            old = r"{}  runs +[0-9.]+[KM] [2-9]s  ".format(pid)
            screen.wait_for(lambda text: re.search(old, text), "an old figure")
        screen.press("Escape", "Space", "f")
        screen.wait_for(lambda text: re.search(r" {}  runs +4\.8M  ".format(child), text), "a new figure")
        screen.press("Down", "Enter")
        text = screen.wait_text("sctmem top {} ".format(child), "hold_in_child")
        assert not any("hold (" in row for row in rows(text))
        screen.press("f")
        screen.wait_for(lambda text: "*{:>7}".format(child) in text, "the child marked")
        screen.press("Up", "Enter")
        screen.wait_text("sctmem top {} ".format(first), "hold (")
        screen.press("C-c")
        screen.wait_text("has ended with status 3")
        screen.press("q")
        screen.wait_text("ended 3")


def test_a_program_that_executes_another_is_followed_into_it(victim, started):
    script = "sleep 1; exec {} {}".format(PYTHON, victim("started"))
    with started("/bin/sh", "-c", script, options=["--follow", "exec"]) as screen:
        screen.wait_text("the process has executed another program, which is shown now")
        screen.wait_text("started.py", "recording", "hold")
        screen.press("C-c")
        screen.wait_text("has ended with status 3")
        screen.press("q")
        screen.wait_text("ended 3")


def test_programs_that_end_at_once_or_cannot_be_started(started):
    with started("/bin/sh", "-c", "exit 5") as screen:
        screen.wait_for(lambda text: "ended 5" in text or "has ended with status 5" in text, "its end")
        screen.press("q")
        screen.wait_text("ended 5")
    for command, status, text in (("/not/there", 127, "there"), ("/etc/passwd", 126, "passwd")):
        with started(command) as screen:
            screen.wait_text("ended {}".format(status), text)
    assert not outputs(screen)


def test_its_output_goes_where_it_is_told_to_and_never_over_a_file(victim, started):
    with started(PYTHON, victim("started"), options=["--program-output", "told.txt"]) as screen:
        screen.wait_text("hold", "q quit")
        screen.press("C-c")
        screen.wait_text("has ended with status 3")
        screen.press("q")
        screen.wait_text("its output is in told.txt")
        before = (screen.folder / "told.txt").read_bytes()
        assert b"last words" in before
    with started(PYTHON, "-c", "print(1)", options=["--program-output", "told.txt"]) as screen:
        screen.wait_text("cannot make told.txt", "--program-output", "ended")
        assert (screen.folder / "told.txt").read_bytes() == before


def test_what_does_not_go_together_is_refused(trace, tmp_path):
    for words, text in ((["--force", "123"], "for a program that top starts"),
                        (["1", "--", "ls"], "either a process or"),
                        (["--"], "no program after --"), (["--once", "--", "ls"], "look at a process that runs"),
                        (["--keep", "3", "--", "ls"], "--rotate")):
        done = subprocess.run([str(trace.tools.command), "top"] + words, env=clean_environment(), cwd=str(tmp_path),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 2 and text in done.stderr.decode(), (words, done)
    assert not list(tmp_path.glob("sctmem*"))
