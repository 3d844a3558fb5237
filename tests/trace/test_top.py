# SPDX-License-Identifier: MIT
"""sctmem top in a real terminal (tmux), with keys pressed and the screen read; and once, as text and JSON."""
import json
import os
import signal
import subprocess
import time

import pytest

from fixtures import require_program
from recording import clean_environment

SECONDS_MAX = 30


class Watched:
    """The victim, running under the library."""

    def __init__(self, victim, trace, **environment):
        self.folder, variables = trace.prepare(environment)
        self.process = subprocess.Popen(["/usr/bin/python3", str(victim("top"))], env=variables, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        self.process.stdout.close()

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)


class Screen:
    """A terminal of its own, with a shell that says how the command in it ended."""

    def __init__(self, folder, command, width=80, height=24, **environment):
        self.socket = folder / "tmux"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height),
                  "echo before; {}; echo ended $?; stty -a | grep -o '.echo ' | head -1; cat".format(command),
                  environment=environment)

    def tmux(self, *words, environment=None):
        variables = dict(clean_environment(TERM="xterm-256color", NO_COLOR=None), **(environment or {}))
        done = subprocess.run(["tmux", "-S", str(self.socket)] + list(words), env=variables, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, (words, done.stdout)
        return done.stdout.decode("utf-8", "replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tmux("kill-server")

    def text(self, *options):
        return self.tmux("capture-pane", "-p", *options)

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def wait_for(self, found, what):
        """The screen once `found` of its text is true."""
        end = time.monotonic() + SECONDS_MAX
        while time.monotonic() < end:
            text = self.text()
            if found(text):
                return text
            time.sleep(0.05)
        pytest.fail("no {} on the screen:\n{}".format(what, text))

    def wait_text(self, *wanted):
        return self.wait_for(lambda text: all(word in text for word in wanted), wanted)


def rows(text):
    """The lines between the titles and the last one."""
    lines = text.rstrip("\n").split("\n")
    first = next(i for i, line in enumerate(lines) if "OWN" in line)
    return lines[first + 1:-1]


@pytest.fixture
def screen_of(tmp_path, trace):
    require_program("tmux")
    if b"without ncursesw" in subprocess.run(
            ["script", "-qc", "{} top 1".format(trace.tools.command), "/dev/null"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE).stdout:
        pytest.skip("this sctmem was built without ncursesw")

    def start(process, *options, **more):
        command = "{} top {} {}".format(trace.tools.command, " ".join(options), process)
        return Screen(tmp_path, command, **more)
    return start


def test_the_screen_follows_the_process_and_obeys_keys(victim, trace, screen_of):
    with Watched(victim, trace) as watched, \
            screen_of(watched.process.pid, "--interval", "100ms", width=200, LC_ALL="C.UTF-8") as screen:
        text = screen.wait_text("sctmem top {}".format(watched.process.pid), "recording", "live", "RSS", "threads 2",
                                "\\x1b", "\\u{202e}")
        # A hostile name is shown, and does nothing.
        assert "\\x1b" in text and "\\u{202e}" in text and "\x1b" not in text
        screen.press("g")
        text = screen.wait_for(lambda text: "grow" in rows(text)[0] and "+" in rows(text)[0], "growth first")
        screen.press("/")
        screen.press("-l", "steady-not-there")
        screen.wait_text("search: steady-not-there", "nothing matches")
        screen.press("Escape")
        screen.wait_text("q quit")
        screen.press("/")
        screen.press("-l", "TOP.py")
        screen.press("Enter")
        text = screen.wait_for(lambda text: "search 'TOP.py'" in text and all("top.py" in row for row in rows(text)
                                                                            if row.strip()), "the search")
        screen.press("Escape")
        screen.press("v")
        screen.wait_text("view: functions", "FUNCTION")
        screen.press("T")
        screen.wait_text("STACK", "- <all>")
        open_rows = len([row for row in rows(screen.text()) if row.strip()])
        screen.press("Enter")
        screen.wait_for(lambda text: "+ <all>" in text and len([row for row in rows(text) if row.strip()]) == 1,
                        "the closed tree")
        screen.press("Enter")
        screen.wait_for(lambda text: len([row for row in rows(text) if row.strip()]) >= open_rows, "the open tree")
        screen.press("v")
        screen.wait_text("view: lines")
        screen.press(">", ">")
        screen.wait_for(lambda text: " thread " in text.split("\n")[-2], "one thread")
        screen.press("m", "l", "l")
        screen.wait_text("only native")
        screen.press("l", "?")
        screen.wait_text("sctmem top: keys", "any key goes back")
        screen.press("x")
        screen.wait_text("q quit")
        screen.press("Space")
        frozen = screen.wait_text("[paused]").split("\n")[1]
        time.sleep(0.5)
        assert screen.text().split("\n")[1] == frozen
        screen.press("Space")
        screen.wait_for(lambda text: text.split("\n")[1] != frozen, "going on")
        for width, height in ((40, 8), (20, 4), (10, 2), (200, 50), (80, 24)):
            screen.tmux("resize-window", "-x", str(width), "-y", str(height))
            screen.wait_for(lambda text: "sctmem to" in text.split("\n")[0], "a title at {}x{}".format(width, height))
        watched.end()
        screen.wait_text("the process has ended (finished)")
        time.sleep(0.3)
        screen.press("o")
        screen.wait_text("the process has ended (finished)", "OWN")
        screen.press("q")
        # The terminal is as before: what stood there, and echo.
        assert "sctmem top" not in screen.wait_text("before", "ended 0", " echo")


def test_it_goes_on_in_the_next_segments_and_says_so(victim, trace, screen_of):
    with Watched(victim, trace, SCTMEM_ROTATE="365d", SCTMEM_KEEP="2") as watched:
        pid = watched.process.pid

        def begin_segment(number):
            told = json.loads(trace.tools.run_command("ctl", "--json", "-w", "20", pid, "rotate").stdout.decode())
            assert told["segment"] == number
            return told["path"]
        begin_segment(2)
        with screen_of(pid, "--interval", "100ms", width=160, LC_ALL="C.UTF-8") as screen:
            screen.wait_text("segments 1 to 2", "recording", "live")
            assert "not known" not in screen.text()
            # The first file is removed; what lives since then is known all the same, since it was read.
            begin_segment(3)
            screen.wait_text("the run goes on in segment 3", "segments 1 to 3")
            newest = begin_segment(4)
            text = screen.wait_text("the run goes on in segment 4", "segments 1 to 4")
            frozen = text.split("\n")[1]
            screen.wait_for(lambda text: text.split("\n")[1] != frozen and "q quit" in text, "the process going on")
            assert sorted(path.suffixes[-2] for path in watched.folder.iterdir()) == [".000003", ".000004"]
            screen.press("q")
            screen.wait_text("ended 0")
        # Who comes later knows less, and is told.
        text = trace.tools.run_command("top", "--once", "--interval", "100ms", pid).stdout.decode()
        assert "segments 3 to 4 of the run: what was allocated before is not known" in text
        shown = json.loads(trace.tools.run_command("top", "--json", "--interval", "100ms", newest).stdout.decode())
        assert (shown["segment_first"], shown["segment_last"], shown["state"]) == (4, 4, "recording")
        watched.end()
    run = str(newest).replace(".000004", "")
    shown = json.loads(trace.tools.run_command("top", "--json", "-n", "100000", run).stdout.decode())
    stats = json.loads(trace.tools.run_command("stats", "--json", run).stdout.decode())
    assert (shown["segment_first"], shown["segment_last"], shown["state"]) == (3, 4, "finished")
    assert shown["live_bytes"] == stats["live_at_end"]["bytes"] and shown["live_count"] == stats["live_at_end"]["count"]
    assert shown["peak_bytes"] == stats["peak"]["bytes"]
    assert sum(row["own_bytes"] for row in shown["rows"]) == shown["live_bytes"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_it_and_the_terminal_is_as_before(victim, trace, screen_of, name):
    with Watched(victim, trace) as watched, screen_of(watched.process.pid) as screen:
        screen.wait_text("recording")
        top = subprocess.run(["pgrep", "-f", "{} top .*{}$".format(trace.tools.command, watched.process.pid)],
                             stdout=subprocess.PIPE).stdout.split()
        number = getattr(signal, name)
        os.kill(int(top[-1]), number)
        screen.wait_text("before", "ended {}".format(128 + number), " echo")
        assert watched.process.poll() is None


@pytest.mark.parametrize("environment, plain", [
    (dict(LC_ALL="C"), True), (dict(LC_ALL="C.UTF-8", NO_COLOR="1"), True), (dict(LC_ALL="C.UTF-8"), False)])
def test_without_colours_or_utf8_it_is_plain(victim, trace, screen_of, environment, plain):
    with Watched(victim, trace) as watched, screen_of(watched.process.pid, **environment) as screen:
        text = screen.wait_text("recording", "grow")
        if environment["LC_ALL"] == "C":
            assert all(ord(character) < 128 for character in text)
        else:
            assert "\u2588" in text
        coloured = any("\x1b[3{}".format(digit) in screen.text("-e") for digit in range(1, 8))
        assert coloured == (not plain or environment["LC_ALL"] == "C")
        screen.press("q")
        screen.wait_text("ended 0")


def test_a_terminal_that_can_show_nothing_gets_a_word(victim, trace, screen_of):
    with Watched(victim, trace) as watched:
        with screen_of(watched.process.pid, TERM="no-such-terminal") as screen:
            # tmux itself sets TERM in its panes.
            screen.wait_text("recording")
        done = subprocess.run(["script", "-qc", "TERM=no-such-terminal {} top {}".format(
            trace.tools.command, watched.process.pid), "/dev/null"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert b"(TERM=no-such-terminal) cannot show a screen: use top --once" in done.stdout


def test_once_says_what_the_other_verbs_say(victim, trace):
    with Watched(victim, trace) as watched:
        done = trace.tools.run_command("top", "--json", "--interval", "200ms", "-n", "100000", watched.process.pid)
        shown = json.loads(done.stdout.decode())
        assert shown["state"] == "recording" and shown["growth_bytes"] > 0 and shown["allocations_per_s"] > 0
        assert shown["threads"] == 2 and sum(row["own_bytes"] for row in shown["rows"]) == shown["live_bytes"]
        grown = max(shown["rows"], key=lambda row: row["growth_bytes"])
        assert grown["language"] == "python" and grown["function"].startswith("grow") and grown["line"] == 2
        text = trace.tools.run_command("top", "--once", "--interval", "100ms", "--only", "python", watched.process.pid)
        assert b"\x1b" not in text.stdout and b"grow\\x1b[31m" in text.stdout
        watched.end()
    capture, = watched.folder.iterdir()

    def read(*words):
        return json.loads(trace.tools.run_command(*words).stdout.decode())
    shown = read("top", "--json", "-n", "100000", "--sort", "total", capture)
    stats = read("stats", "--json", capture)
    table = read("table", "--by", "line", "--metric", "live", "--json", capture)
    assert shown["state"] == "finished" and shown["allocations_per_s"] is None
    assert shown["live_bytes"] == stats["live_at_end"]["bytes"] and shown["live_count"] == stats["live_at_end"]["count"]
    assert shown["peak_bytes"] == stats["peak"]["bytes"]
    assert shown["resident_peak_bytes"] == stats["metadata"]["resident_peak_bytes"]

    def places(rows):
        return sorted((row["function"], row["file"], row["line"], row["own_bytes"], row["own_count"],
                       row["total_bytes"]) for row in rows if row["own_count"])
    assert places(shown["rows"]) == places(table["rows"])


@pytest.mark.parametrize("environment, estimated, partial", [
    ({}, False, False), ({"SCTMEM_SAMPLE": "4KiB"}, True, False), ({"SCTMEM_START": "off"}, False, True)])
def test_once_says_what_lives_in_each_process_of_the_family(victim, trace, environment, estimated, partial):
    process, recorded = trace.start("/usr/bin/python3", victim("started"), environment=environment)

    def look(pid):
        done = trace.tools.run_command("top", "--json", "--interval", "50ms", pid)
        return json.loads(done.stdout.decode())
    try:
        end = time.monotonic() + SECONDS_MAX
        while b" terminal" not in process.stdout.readline():
            assert time.monotonic() < end
        while True:
            shown = look(process.pid)
            if len(shown["processes"]) == 2 and (partial or shown["processes"][1]["live_bytes"] > 4500000):
                break
            assert time.monotonic() < end, shown["processes"]
        us, child = shown["processes"]
        assert (us["pid"], us["shown"], us["alive"]) == (process.pid, True, True)
        assert us["live_bytes"] == shown["live_bytes"] and us["resident_bytes"] > 1000000
        assert (child["parent_pid"], child["shown"], child["alive"]) == (process.pid, False, True)
        for one in (us, child):
            assert (one["live_estimated"], one["live_partial"]) == (estimated, partial)
            assert 0 <= one["live_age_s"] < SECONDS_MAX and "started.py" in one["command"]
        # The child rests: looked at by itself it says the same.
        alone = look(child["pid"])
        assert alone["live_bytes"] == child["live_bytes"] and alone["path"] == child["path"]
        assert [one["shown"] for one in alone["processes"]] == [False, True]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS_MAX)
    # What has ended holds nothing.
    ended = look(next(capture.path for capture in recorded().captures))["processes"]
    assert [(one["alive"], one["live_bytes"], one["resident_bytes"]) for one in ended] == [(False, None, None)] * 2


def test_names_that_were_looked_up_are_kept_and_found_again(victim, trace, tmp_path):
    kept = tmp_path / "cache" / "sctmem"

    def look(*words):
        command = [str(trace.tools.command), "top", "--json", "-n", "100000"] + [str(word) for word in words]
        done = subprocess.run(command, env=clean_environment(XDG_CACHE_HOME=str(kept.parent)), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout.decode())["rows"]

    def files():
        return {path: path.stat() for path in kept.glob("*")}
    with Watched(victim, trace) as watched:
        look("--interval", "100ms", "--no-cache", watched.process.pid)
        look("--interval", "100ms", "--no-symbols", watched.process.pid)
        assert not kept.exists()
        look("--interval", "100ms", watched.process.pid)
        assert files() and all(path.suffix == ".names" for path in files())
        watched.end()
    capture, = watched.folder.iterdir()
    anew = look("--no-cache", capture)
    assert [row for row in anew if row["language"] == "native" and row["function"]]
    assert look(capture) == anew
    # What is read is marked as used, once a day; what had to be looked up would be another file.
    before = files()
    for path in before:
        os.utime(str(path), (1, 1))
    assert look("--no-cache", capture) == anew
    assert all(status.st_mtime == 1 for status in files().values())
    assert look(capture) == anew
    used = {path: status for path, status in files().items() if status.st_mtime > 1}
    assert used and all(before[path].st_ino == status.st_ino for path, status in used.items())


def test_what_cannot_be_shown_is_said(trace, tmp_path):
    def problem(*words):
        done = trace.tools.run_command("top", *words, check=False)
        assert done.returncode in (2, 3, 4) and done.stdout == b""
        return done.stderr.decode()
    assert "without one use top --once" in problem()
    assert "is not being recorded" in problem("--once", os.getpid())
    assert "one too many" in problem("--once", "1", "2")
    (tmp_path / "text").write_text("no capture")
    assert "is not a capture" in problem("--once", tmp_path / "text")
