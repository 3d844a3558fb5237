# SPDX-License-Identifier: MIT
"""Segments that begin when they are asked for (sctmem ctl PID rotate): of a busy process, of one whose recording is
stopped, with and without room for them."""
import json
import shutil
import subprocess
import sys

import pytest

from segments import check_whole, end, read, segments, start, stats, wait_for_segment, wait_until_recorded

# Blocks that are kept, of the size that each line says, and an answer; nothing else is allocated meanwhile.
ASKED = """
import sys
kept = []
for line in sys.stdin:
    for i in range(100):
        kept.append(bytes(int(line)))
    print("made", flush=True)
"""


BYTES_HEAD = sys.getsizeof(b"")


class Asked:
    """A Python program that does nothing unless it is asked to."""

    def __init__(self, tools, folder, **settings):
        self.tools, self.folder = tools, folder
        settings = dict(dict(SCTMEM_ROTATE="365d"), **settings)
        self.process = start(tools, folder, sys.executable, "-c", ASKED, **settings)
        self.make(10)                 # it is up

    def make(self, size):
        self.process.stdin.write(b"%d\n" % size)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"made\n", self.process.communicate()

    def ctl(self, *words, sizes=()):
        """Asks, and gives the process something to do meanwhile; what JSON says of it, or what went wrong."""
        asking = subprocess.Popen([str(self.tools.command), "ctl", "--json", "-w", "20", str(self.process.pid)] +
                                  list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while asking.poll() is None:
            self.make(20)
        out, err = asking.communicate()
        return json.loads(out.decode()) if asking.returncode == 0 else (asking.returncode, err.decode())

    def end(self):
        out, err = self.process.communicate(timeout=60)
        assert (self.process.returncode, out, err) == (0, b"", b"")


def blocks_of(tools, capture, sizes):
    """How many blocks there are of each of the sizes, which only kept ones have."""
    lines = [json.loads(line) for line in read(tools, "dump", "--json", capture).splitlines()]
    return [sum(line.get("size") == BYTES_HEAD + size for line in lines) for size in sizes]


def test_each_that_is_asked_for_begins_and_says_which_it_is(tools, victim, tmp_path):
    process = start(tools, tmp_path, victim("rotating"), 4, 0, SCTMEM_ROTATE="365d", SCTMEM_NATIVE="no",
                    SCTMEM_FOLLOW="none")
    wait_until_recorded(tools, process)
    try:
        for number in range(2, 30):
            told = json.loads(read(tools, "ctl", "--json", process.pid, "rotate"))
            path = tmp_path / "capture.{:06}.bin".format(number)
            assert told == dict(pid=process.pid, path=str(path), action="rotate", changed=True, segment=number), told
            assert len(segments(tmp_path)) == number
        status = json.loads(read(tools, "ctl", "--json", process.pid, "status"))
        assert (status["segment"], status["path"], status["state"]) == (29, str(path), "recording")
        text = read(tools, "ctl", process.pid, "rotate")
        assert text == "process {}: goes on in {}, segment 30\n".format(process.pid, tmp_path / "capture.000030.bin")
    finally:
        end(process)
    capture = stats(tools, tmp_path / "capture.bin")["captures"][0]
    check_whole(capture)
    assert (capture["segment_first"], capture["segment_last"], capture["unknown_frees"]) == (1, 30, 0), capture


def test_several_who_ask_at_once_are_each_answered(tools, victim, tmp_path):
    process = start(tools, tmp_path, victim("rotating"), 2, 0, SCTMEM_ROTATE="256K", SCTMEM_NATIVE="no",
                    SCTMEM_FOLLOW="none")
    wait_for_segment(tmp_path, 3)
    asking = [subprocess.Popen([str(tools.command), "ctl", "-w", "20", "--json", str(process.pid)] + words,
                               stdout=subprocess.PIPE) for words in [["rotate"], ["mark", "here"]] * 6]
    told = [json.loads(one.communicate(timeout=60)[0].decode()) for one in asking]
    end(process)
    # One asked again, in another's file, is told of the newest segment there is.
    assert min(one["segment"] for one in told if one["action"] == "rotate") > 3
    marks = json.loads(read(tools, "windows", "--marks", "--json", tmp_path / "capture.bin"))["marks"]
    assert [mark["name"] for mark in marks] == ["here"] * 6
    check_whole(stats(tools, tmp_path / "capture.bin")["captures"][0])


def test_what_was_recorded_before_can_be_taken_away(tools, tmp_path):
    """The segments before hold what was made before, to the last block, and the rest is read by itself."""
    asked = Asked(tools, tmp_path)
    asked.make(33333)
    assert asked.ctl("rotate")["segment"] == 2
    (tmp_path / "away").mkdir()
    shutil.move(str(tmp_path / "capture.bin"), str(tmp_path / "away"))
    asked.make(44444)
    asked.end()
    away = tmp_path / "away" / "capture.bin"
    check_whole(stats(tools, away)["captures"][0])
    table = json.loads(read(tools, "table", "--by", "function", "--metric", "live", "--json", away))
    assert max(row["own_bytes"] for row in table["rows"] if row["function"] == "<module>") >= 100 * 33333
    rest = stats(tools, tmp_path / "capture.bin")["captures"][0]
    check_whole(rest)
    assert (rest["segment_first"], rest["state"]) == (2, "finished")
    table = json.loads(read(tools, "table", "--by", "line", "--metric", "total", "--json", tmp_path / "capture.bin"))
    kept = [row for row in table["rows"] if row["line"] == 6]
    assert sum(row["own_bytes"] for row in kept) >= 100 * 44444 and kept[0]["function"] == "<module>"


def test_it_begins_also_while_nothing_is_recorded(tools, tmp_path):
    asked = Asked(tools, tmp_path, SCTMEM_START="off")
    assert asked.ctl("rotate")["segment"] == 2
    asked.make(30001)
    assert asked.ctl("start")["changed"]
    asked.make(30002)
    assert asked.ctl("stop")["changed"]
    asked.make(30003)
    assert asked.ctl("rotate")["segment"] == 3
    assert asked.ctl("rotate")["segment"] == 4
    assert json.loads(read(tools, "ctl", "--json", asked.process.pid, "status"))["state"] == "stopped"
    assert asked.ctl("start")["changed"]
    asked.make(30004)
    asked.end()
    capture = stats(tools, tmp_path / "capture.bin")["captures"][0]
    check_whole(capture)
    assert (capture["segment_first"], capture["segment_last"], capture["gaps"]) == (1, 4, 2), capture
    assert blocks_of(tools, tmp_path / "capture.bin", range(30001, 30005)) == [0, 100, 0, 100]
    # The last one by itself: what was stopped before it is not known to it, and its own stretch is whole.
    last = stats(tools, tmp_path / "capture.000004.bin")["captures"][0]
    check_whole(last)
    assert not last["paused"]
    assert blocks_of(tools, tmp_path / "capture.000004.bin", [30004]) == [100]


def test_only_the_newest_are_kept_also_of_those_asked_for(tools, victim, tmp_path):
    process = start(tools, tmp_path, victim("rotating"), 2, 0, SCTMEM_ROTATE="365d", SCTMEM_KEEP="2",
                    SCTMEM_NATIVE="no", SCTMEM_FOLLOW="none")
    wait_until_recorded(tools, process)
    for number in range(2, 8):
        assert json.loads(read(tools, "ctl", "--json", process.pid, "rotate"))["segment"] == number
    # The run is asked by its name, also when the file of that name is gone, and by any of its files.
    for name in ("capture.bin", "capture.000006.bin", "capture.000007.bin"):
        told = json.loads(read(tools, "ctl", "--json", tmp_path / name, "status"))
        assert (told["segment"], told["state"], told["pid"]) == (7, "recording", process.pid), told
        assert json.loads(read(tools, "ctl", "--json", tmp_path / name, "mark", name))["changed"]
    end(process)
    assert json.loads(read(tools, "ctl", "--json", tmp_path / "capture.bin", "status"))["state"] == "killed"
    assert [path.name for path in segments(tmp_path)] == ["capture.000006.bin", "capture.000007.bin"]
    check_whole(stats(tools, tmp_path / "capture.bin")["captures"][0])


def problem(tools, *words):
    done = tools.run_command("ctl", *words, check=False)
    assert done.returncode not in (0, 9) and done.stdout == b"", done
    return done.stderr.decode()


def test_a_recording_in_one_file_has_none_and_it_is_said_how_to_have_them(tools, victim, tmp_path):
    process = start(tools, tmp_path, victim("rotating"), 1, 0, SCTMEM_NATIVE="no", SCTMEM_FOLLOW="none")
    wait_until_recorded(tools, process)
    try:
        text = problem(tools, process.pid, "rotate")
        assert "records into one file" in text and "--rotate SIZE|TIME (SCTMEM_ROTATE)" in text
        assert "nothing after it" in problem(tools, process.pid, "rotate", "name")
        assert json.loads(read(tools, "ctl", "--json", process.pid, "status"))["segment"] == 0
    finally:
        end(process)
    assert len(segments(tmp_path)) == 1


def test_one_that_cannot_be_made_is_said_and_recording_goes_on(tools, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    asked = Asked(tools, folder)
    shutil.rmtree(str(folder))
    status, text = asked.ctl("rotate")
    assert status == 3 and "could not begin the next segment" in text, (status, text)
    assert json.loads(read(tools, "ctl", "--json", asked.process.pid, "status"))["state"] == "recording"
    assert asked.ctl("mark", "still")["changed"]
    asked.end()
