# SPDX-License-Identifier: MIT
"""What docs/reliability.md promises about files of others, and about captures from strangers."""
import os
import shutil
import stat

import pytest

from fixtures import require_program


@pytest.fixture
def somewhere(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def run_at(trace, victim, path, **environment):
    """A short program whose capture is to be at `path`."""
    recording = trace(victim("ends"), "quick_handlers", environment=dict(environment, SCTMEM_OUT=str(path)))
    assert recording.ended == (5, b"", b""), recording.ended
    return recording


def test_a_capture_is_its_owners_only(trace, victim, somewhere):
    before = os.umask(0)
    try:
        run_at(trace, victim, somewhere / "capture")
    finally:
        os.umask(before)
    assert stat.S_IMODE((somewhere / "capture").stat().st_mode) == 0o600


@pytest.mark.parametrize("force", ["no", "yes"])
@pytest.mark.parametrize("target", ["file", "nothing", "capture"])
def test_a_link_in_the_place_of_the_capture_is_not_followed(trace, victim, somewhere, force, target):
    """Whoever may write in the folder must not choose which file we write."""
    if target == "file":
        (somewhere / "target").write_bytes(b"precious")
    elif target == "capture":
        run_at(trace, victim, somewhere / "target")
    before = (somewhere / "target").read_bytes() if target != "nothing" else None
    (somewhere / "capture").symlink_to(somewhere / "target")
    run_at(trace, victim, somewhere / "capture", SCTMEM_FORCE=force)
    assert (somewhere / "capture").is_symlink() and (somewhere / "capture.1").stat().st_size > 4096
    assert ((somewhere / "target").read_bytes() if (somewhere / "target").exists() else None) == before


def test_only_captures_are_replaced_when_told_to(trace, victim, somewhere):
    (somewhere / "capture").write_bytes(b"precious")
    run_at(trace, victim, somewhere / "capture", SCTMEM_FORCE="yes")
    assert (somewhere / "capture").read_bytes() == b"precious"


def test_a_pipe_in_the_place_of_the_capture_blocks_nobody(trace, victim, somewhere):
    os.mkfifo(str(somewhere / "capture"))
    run_at(trace, victim, somewhere / "capture", SCTMEM_FORCE="yes")
    assert stat.S_ISFIFO((somewhere / "capture").stat().st_mode) and (somewhere / "capture.1").exists()


def test_reading_executes_nothing_and_asks_nobody(trace, victim, tools, tmp_path):
    """No program is started and no socket opened for what a capture says, whatever the environment offers."""
    strace = require_program("strace")
    capture = trace(victim("ends"), "quick_handlers").only()
    for verb in (["stats"], ["tree"], ["leaks"], ["table"], ["flamegraph", "-f", "-o", tmp_path / "page.html"]):
        log = tmp_path / "log"
        argv = [strace, "-f", "-o", log, "-e", "trace=execve,socket,connect", tools.command] + verb + [capture.path]
        ended = trace(*argv, environment={"LD_PRELOAD": None, "DEBUGINFOD_URLS": "http://127.0.0.1:9/"}).ended
        assert ended.status == 0, ended
        calls = [line for line in log.read_text().splitlines() if "execve(" in line or "socket(" in line]
        assert len(calls) == 1 and "execve(" in calls[0], calls


def test_hostile_names_do_not_reach_the_terminal(trace, victim, tools, tmp_path):
    program = tmp_path / "evil\x1b]0;owned\x07\x1b[2J<script>"
    shutil.copy(str(victim("ends")), str(program))
    recording = trace(program, "quick_handlers", environment={"SCTMEM_OUT": str(tmp_path / "capture")})
    assert recording.ended.status == 5
    for verb in ("stats", "tree", "leaks", "table"):
        done = tools.run_command(verb, tmp_path / "capture")
        assert b"\x1b" not in done.stdout + done.stderr and b"\x07" not in done.stdout, done
    tools.run_command("flamegraph", "-f", "-o", tmp_path / "page.html", tmp_path / "capture")
    assert b"owned\x07" not in (tmp_path / "page.html").read_bytes()
    assert b"[2J<script>" not in (tmp_path / "page.html").read_bytes()
