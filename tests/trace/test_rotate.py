# SPDX-License-Identifier: MIT
"""Captures in segments: read as one they say what one file would; and each by itself, and without the oldest.

SCTMEM_ROTATE_KILLS=50 in front kills the storm more often than usual.
"""
import json
import os
import resource
import shutil
import struct
import time

import pytest

from segments import check_whole, read, segments, start, stats, trace_to_end, wait_for_segment

KILLS = int(os.environ.get("SCTMEM_ROTATE_KILLS", "4"))
SIZE = "256K"


@pytest.fixture(scope="module")
def rotated(tools, victim, tmp_path_factory):
    """One program, recorded into one file and into many."""
    folder = tmp_path_factory.mktemp("rotated")
    for name, variable in (("plain", "SCTMEM_ROTATX"), ("pieces", "SCTMEM_ROTATE")):
        (folder / name).mkdir()
        trace_to_end(tools, folder / name, victim("rotating"), 1, 800000, SCTMEM_SAMPLE_MS="0", SCTMEM_NATIVE="full",
                     **{variable: SIZE})
    assert len(segments(folder / "plain")) == 1 and len(segments(folder / "pieces")) > 20
    return folder


@pytest.mark.parametrize("verb", [["tree", "--at", "peak"], ["leaks"], ["table"], ["summary"], ["export", "folded"]])
def test_every_view_is_the_same_as_of_one_file(tools, rotated, verb, tmp_path):
    texts = []
    for name in ("plain", "pieces"):
        arguments = list(verb)
        if verb[0] == "export":
            arguments = ["export", "--format", "folded", "-o", str(tmp_path / name)]
        text = tools.run_command(*arguments, str(rotated / name / "capture.bin")).stdout.decode()
        texts.append((tmp_path / name).read_text() if verb[0] == "export" else text.replace(name, ""))
    # When things happened is another time each run.
    keep = [[line for line in text.splitlines() if " s" not in line and " ms" not in line] for text in texts]
    assert keep[0] == keep[1]
    assert len(keep[0]) > 5 or verb[0] == "leaks"


def test_the_totals_are_the_same_to_the_byte_also_when_compacted(tools, rotated, tmp_path):
    plain, pieces = (stats(tools, str(rotated / name / "capture.bin")) for name in ("plain", "pieces"))
    capture = pieces["captures"][0]
    check_whole(capture)
    assert capture["unknown_frees"] == plain["captures"][0]["unknown_frees"]
    assert capture["segment_first"] == 1 and capture["segment_last"] == len(segments(rotated / "pieces"))
    assert pieces["total"] == plain["total"]
    assert pieces["total"]["total_count"] >= 800000
    # Named one by one, in any order, they are the same run.
    assert stats(tools, *map(str, segments(rotated / "pieces")))["total"] == plain["total"]
    tools.run_command("compact", str(rotated / "pieces" / "capture.bin"), "-o", str(tmp_path / "compact.bin"))
    compacted = stats(tools, str(tmp_path / "compact.bin"))
    assert compacted["total"] == plain["total"]
    assert compacted["captures"][0]["segment_first"] == 0


def test_each_segment_is_read_by_itself(tools, rotated):
    sums = 0
    paths = segments(rotated / "pieces")
    for path in paths[::7]:
        alone = stats(tools, str(path)) if path.name != "capture.bin" else None
        if alone:
            check_whole(alone["captures"][0])
            sums += alone["total"]["total_count"]
    assert sums > 0
    # Its stacks are complete: nothing is under "unknown stack".
    assert "unknown stack" not in read(tools, "tree", str(paths[10]))


def copy(rotated, tmp_path):
    shutil.copytree(str(rotated / "pieces"), str(tmp_path / "copy"))
    return tmp_path / "copy"


def test_a_segment_missing_in_the_middle_is_said(tools, rotated, tmp_path):
    folder = copy(rotated, tmp_path)
    (folder / "capture.000005.bin").unlink()
    (folder / "capture.000006.bin").unlink()
    capture = stats(tools, str(folder / "capture.bin"))["captures"][0]
    assert capture["segments_missing"] == 2 and capture["damaged"]
    assert "2 of the segments 1 to" in capture["problem"]


def test_a_damaged_segment_is_left_out_and_said(tools, rotated, tmp_path):
    folder = copy(rotated, tmp_path)
    with open(str(folder / "capture.000004.bin"), "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8)
    capture = stats(tools, str(folder / "capture.bin"))["captures"][0]
    assert capture["segments_missing"] == 1 and capture["damaged"]


def test_two_segments_of_one_number_are_refused(tools, rotated, tmp_path):
    folder = copy(rotated, tmp_path)
    shutil.copy(str(folder / "capture.000003.bin"), str(folder / "capture.copy.bin"))
    result = tools.run_command("stats", str(folder / "capture.bin"), check=False)
    assert result.returncode != 0 and "both segment 3" in result.stderr.decode()


def test_one_file_by_two_names_is_one_segment(tools, rotated, tmp_path):
    folder = copy(rotated, tmp_path)
    os.link(str(folder / "capture.000003.bin"), str(folder / "capture.hard.bin"))
    os.symlink("capture.000007.bin", str(folder / "capture.soft.bin"))
    whole = stats(tools, str(rotated / "pieces" / "capture.bin"))
    assert stats(tools, str(folder / "capture.bin"))["total"] == whole["total"]
    twice = [str(path) for path in segments(folder)] * 2
    assert stats(tools, *twice)["total"] == whole["total"]


def test_without_the_oldest_nothing_is_a_leak_that_was_not_seen(tools, rotated, tmp_path):
    folder = copy(rotated, tmp_path)
    for path in segments(folder)[:9] + [folder / "capture.bin"]:
        path.unlink()
    rest = stats(tools, str(folder / "capture.bin"))
    capture = rest["captures"][0]
    check_whole(capture)
    assert capture["segment_first"] == 11 and capture["unknown_frees"] > 0
    whole = stats(tools, str(rotated / "pieces" / "capture.bin"))["total"]
    assert 0 < rest["total"]["total_count"] < whole["total_count"]
    assert rest["total"]["live_count"] <= whole["live_count"]
    assert "the first are not here" in read(tools, "stats", str(folder / "capture.bin"))
    for verb in ("tree", "table", "leaks"):
        assert "the segments before number 11 are not here" in read(tools, verb, str(folder / "capture.bin")), verb


def test_without_the_newest_the_end_is_that_of_the_last_that_is_here(tools, rotated, tmp_path):
    folder = copy(rotated, tmp_path)
    newest = max(int(path.name.split(".")[1]) for path in folder.glob("capture.0*.bin"))
    (folder / "capture.{:06}.bin".format(newest)).unlink()
    capture = stats(tools, str(folder / "capture.bin"))["captures"][0]
    check_whole(capture)
    assert capture["segment_last"] == newest - 1
    text = read(tools, "stats", str(folder / "capture.bin"))
    assert "the run goes on in its next segment, which was not read" in text
    for verb in ("tree", "table", "leaks"):
        text = read(tools, verb, str(folder / "capture.bin"))
        assert "the run goes on in segments that are not here" in text, verb
        assert "number {} ended".format(newest - 1) in text, verb
        assert "that are not here" not in read(tools, verb, str(rotated / "pieces" / "capture.bin"))


def test_keep_bounds_the_bytes_at_every_instant(tools, victim, tmp_path):
    process = start(tools, tmp_path, victim("rotating"), 2, 0, SCTMEM_ROTATE="512K", SCTMEM_KEEP="3",
                    SCTMEM_FOLLOW="none", SCTMEM_NATIVE="no")
    most, newest = 0, ""
    deadline = time.time() + 60
    while newest < "capture.000040.bin" and time.time() < deadline:
        sizes = []
        for path in segments(tmp_path):
            try:
                sizes.append(path.stat().st_blocks * 512)
            except FileNotFoundError:
                pass
        most = max(most, sum(sizes))
        newest = max([path.name for path in segments(tmp_path) if path.name != "capture.bin"], default="")
    process.kill()
    process.communicate()
    assert newest >= "capture.000040.bin"
    left = segments(tmp_path)
    # Three, and one more between its making and the removal of the oldest.
    assert len(left) in (3, 4) and not (tmp_path / "capture.bin").exists()
    # Each ends at 512 KiB, or at most an extent or window beyond.
    assert most <= 4 * (512 + 128) * 1024
    rest = stats(tools, str(tmp_path / "capture.bin"))["captures"][0]
    check_whole(rest)
    assert rest["unknown_frees"] > 0


def test_what_is_asked_while_files_change_is_done_once(tools, victim, tmp_path):
    process = start(tools, tmp_path, victim("rotating"), 2, 0, SCTMEM_ROTATE=SIZE, SCTMEM_NATIVE="no",
                    SCTMEM_FOLLOW="none")
    wait_for_segment(tmp_path, 3)
    names = ["moment {}".format(i) for i in range(60)]
    before = len(segments(tmp_path))
    for name in names:
        done = tools.run_command("ctl", process.pid, "mark", name, check=False)
        assert done.returncode == 0, done.stderr.decode()
    after = len(segments(tmp_path))
    process.kill()
    process.communicate()
    assert after > before + 10
    marks = json.loads(read(tools, "windows", "--marks", "--json", tmp_path / "capture.bin"))["marks"]
    assert [mark["name"] for mark in marks] == names


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_storm_has_lost_nothing(tools, victim, tmp_path, kill):
    counts = tmp_path / "counts"
    process = start(tools, tmp_path, victim("rotating"), 16, 0, counts, SCTMEM_ROTATE=SIZE, SCTMEM_NATIVE="full")
    time.sleep(0.2 + 0.037 * kill)
    process.kill()
    process.communicate()
    done = struct.unpack("<128Q", counts.read_bytes()[:1024])
    made, freed = sum(done[0:32:2]), sum(done[1:32:2])
    result = stats(tools, "--function", "^take$", str(tmp_path / "capture.bin"))
    capture = stats(tools, str(tmp_path / "capture.bin"))["captures"][0]
    check_whole(capture)
    assert capture["pid"] == process.pid and capture["unknown_frees"] == 0
    total = result["total"]
    # And the idle thread's block; of each thread at most one call was under way.
    assert made + 1 <= total["total_count"] <= made + 1 + 16
    assert freed <= total["total_count"] - total["live_count"] <= freed + 16
    for path in tmp_path.glob("capture.bin.*"):
        if path.stat().st_size:
            check_whole(stats(tools, str(path))["captures"][0])


def test_the_run_goes_on_in_its_file_where_no_other_can_be_made(tools, victim, tmp_path):
    """Its folder is gone: one file is all there is, and its name too; the program is unharmed."""
    folder = tmp_path / "gone"
    folder.mkdir()
    process = start(tools, folder, victim("rotating"), 1, 300000, SCTMEM_ROTATE=SIZE, SCTMEM_NATIVE="no")
    wait_for_segment(folder, 2)
    shutil.rmtree(str(folder), ignore_errors=True)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_a_run_that_may_not_open_files_goes_on(tools, victim, tmp_path):
    process = start(tools, tmp_path, victim("rotating"), 1, 800000, SCTMEM_ROTATE=SIZE, SCTMEM_NATIVE="full")
    wait_for_segment(tmp_path, 3)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (0, 0))
    assert process.wait(timeout=120) == 0
    result = stats(tools, str(tmp_path / "capture.bin"))
    check_whole(result["captures"][0])
    assert result["captures"][0]["state"] == "finished"
    assert result["total"]["total_count"] >= 800000
    assert "could not be begun" in read(tools, "dump", str(tmp_path / "capture.bin"))


def test_what_cannot_be_combined_is_refused(tools, tmp_path):
    for options, text in ((["--rotate", "1M", "--max-size", "8M"], "exclude"), (["--keep", "3"], "--rotate"),
                          (["--rotate", "12x"], "neither a size")):
        result = tools.run_command("run", "-o", str(tmp_path / "no.bin"), *options, "--", "true", check=False)
        assert result.returncode != 0 and text in result.stderr.decode()
