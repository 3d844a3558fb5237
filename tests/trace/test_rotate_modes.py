# SPDX-License-Identifier: MIT
"""Runs in segments together with the other ways to record: samples, stops and starts, exec, fork and vfork."""
import json
import os
import random
import re

import pytest

from segments import check_whole, end, read, segments, start, stats, trace_to_end, wait_until_recorded

STEPS = int(os.environ.get("SCTMEM_ROTATE_STEPS", "60"))
SIZE = "256K"
KEPT, KEPT_SIZE = 1000, 30000


def read_twice(tools, folder, victim, *arguments, **settings):
    """(stats of one file, stats of the same run in segments)"""
    found = []
    for name, variable in (("plain", "SCTMEM_ROTATX"), ("pieces", "SCTMEM_ROTATE")):
        (folder / name).mkdir()
        trace_to_end(tools, folder / name, victim, *arguments, SCTMEM_SAMPLE_MS="0",
                     **dict(settings, **{variable: SIZE}))
        found.append(stats(tools, folder / name / "capture.bin"))
    assert len(segments(folder / "plain")) == 1
    return found


@pytest.mark.parametrize("mean", ["1KiB", "64KiB"])
def test_a_sample_in_segments_is_the_sample_in_one_file(tools, victim, tmp_path, mean):
    plain, pieces = read_twice(tools, tmp_path, victim("rotating"), 1, 1500000, SCTMEM_SAMPLE=mean + ",seed=7",
                               SCTMEM_NATIVE="full", SCTMEM_FOLLOW="none")
    paths = segments(tmp_path / "pieces")
    check_whole(pieces["captures"][0])
    # The same draws, so the same bytes; counts are rounded by lot, which addresses draw, and those are the kernel's.
    for found in (plain, pieces):
        found["bytes"] = {name: value for name, value in found["total"].items() if name.endswith("bytes")}
    assert pieces["bytes"] == plain["bytes"]
    for key in ("mean_bytes", "recorded", "not_recorded", "not_recorded_bytes"):
        assert pieces["sample"][key] == plain["sample"][key] > 0, key
    if mean == "1KiB":
        assert len(paths) > 5
        # One by itself is a sample, too, and its figures are estimates of its own stretch.
        alone = stats(tools, paths[3])
        check_whole(alone["captures"][0])
        whole = stats(tools, paths[3], paths[4])
        assert alone["sample"]["mean_bytes"] == 1024
        assert 0 < alone["total"]["total_bytes"] < whole["total"]["total_bytes"] < plain["total"]["total_bytes"]
        # What it was recorded from is estimated to have been larger than what was recorded.
        assert alone["total"]["total_count"] > alone["sample"]["recorded"] > 0


def test_stops_starts_marks_and_segments_in_any_order(tools, victim, tmp_path):
    """Nothing contradicts itself, whatever is asked of busy threads, and what was recorded is what was asked for."""
    process = start(tools, tmp_path, victim("rotating"), 3, 0, SCTMEM_ROTATE="365d", SCTMEM_NATIVE="no",
                    SCTMEM_FOLLOW="none", SCTMEM_START="off")
    wait_until_recorded(tools, process)
    draw, running, starts, stops, marks, rotates = random.Random(5), False, 0, 0, [], 0
    for step in range(STEPS):
        word = draw.choice(["start", "stop", "rotate", "rotate", "mark"])
        words = [word] + (["moment {}".format(step)] if word == "mark" else [])
        done = tools.run_command("ctl", "-w", "20", process.pid, *words, check=False)
        if word == "mark" and not running:
            assert done.returncode == 3 and b"records nothing at present" in done.stderr, done
            continue
        assert done.returncode == 0, done
        starts += word == "start" and not running
        stops += word == "stop" and running
        rotates += word == "rotate"
        marks += words[1:]
        running = word == "start" or (running and word != "stop")
    end(process)
    capture = stats(tools, tmp_path / "capture.bin")["captures"][0]
    check_whole(capture)
    assert (capture["segment_first"], capture["segment_last"]) == (1, rotates + 1)
    # Each stretch without recording begins with a stop, or with the process.
    assert capture["gaps"] == stops + 1 and capture["paused"] == (not running)
    assert [mark["name"] for mark in json.loads(
        read(tools, "windows", "--marks", "--json", tmp_path / "capture.bin"))["marks"]] == marks
    for path in segments(tmp_path):
        if path.name != "capture.bin":
            alone = stats(tools, path)["captures"][0]
            check_whole(alone)


def runs(folder):
    """The first files of the runs in a folder: of the program, of children, and of what it was before an exec."""
    return sorted(path for path in folder.glob("capture*") if re.match(r"capture\.bin(\.\d{1,5})?$", path.name))


def test_a_program_that_executes_itself_has_a_run_for_each(tools, victim, tmp_path):
    trace_to_end(tools, tmp_path, victim("rotating_family"), "exec", SCTMEM_ROTATE=SIZE, SCTMEM_NATIVE="no",
                 SCTMEM_SAMPLE_MS="0")
    found = [stats(tools, path) for path in runs(tmp_path)]
    assert len(found) == 4, sorted(path.name for path in tmp_path.iterdir())
    for one in found:
        capture, = one["captures"]
        check_whole(capture)
        assert capture["segment_first"] == 1 and capture["segment_last"] > 1 and capture["unknown_frees"] == 0
        assert one["live_at_end"]["bytes"] >= KEPT_SIZE
    assert len({one["captures"][0]["pid"] for one in found}) == 1
    assert len({one["total"]["total_count"] // 1000 for one in found}) == 1
    states = sorted(one["captures"][0]["state"] for one in found)
    assert states.count("finished") == 1, states


def test_children_have_runs_of_their_own_and_know_what_they_have_from_their_parents(tools, victim, tmp_path):
    trace_to_end(tools, tmp_path, victim("rotating_family"), "fork", SCTMEM_ROTATE=SIZE, SCTMEM_NATIVE="no",
                 SCTMEM_SAMPLE_MS="0")
    paths = runs(tmp_path)
    assert len(paths) == 3, sorted(path.name for path in tmp_path.iterdir())
    for path in paths:
        capture, = stats(tools, path)["captures"]
        check_whole(capture)
        assert capture["segment_first"] == 1 and capture["segment_last"] > 1, capture
    family = stats(tools, *paths)
    assert len(family["captures"]) == 3
    for capture in family["captures"]:
        check_whole(capture)
    # What a child has from its parent it did not allocate: its frees of that are those, and no others.
    assert sorted(capture["unknown_frees"] for capture in family["captures"]) == [0, 1, KEPT // 2]
    assert family["live_at_end"]["bytes"] >= KEPT // 2 * KEPT_SIZE
    # Named by all of their files in any order they are the same three.
    everything = sorted(tmp_path.glob("capture*"), key=lambda path: path.name[::-1])
    assert stats(tools, *everything)["total"] == family["total"]


def test_a_family_of_which_the_oldest_segments_are_gone(tools, victim, tmp_path):
    trace_to_end(tools, tmp_path, victim("rotating_family"), "fork", SCTMEM_ROTATE=SIZE, SCTMEM_KEEP="2",
                 SCTMEM_NATIVE="no", SCTMEM_SAMPLE_MS="0")
    everything = sorted(tmp_path.glob("capture*"))
    assert len(everything) == 6 and not runs(tmp_path), everything
    family = stats(tools, *everything)
    assert len(family["captures"]) == 3
    for capture in family["captures"]:
        check_whole(capture)
        assert capture["segment_first"] > 1
    # What was kept from before is known of nobody: it is no leak, and its frees are unknown.
    assert family["live_at_end"]["bytes"] < KEPT_SIZE and sum(
        capture["unknown_frees"] for capture in family["captures"]) >= KEPT // 2


def test_children_by_vfork_while_segments_begin(tools, victim, tmp_path):
    trace_to_end(tools, tmp_path, victim("rotating_family"), "vfork", SCTMEM_ROTATE=SIZE, SCTMEM_NATIVE="no",
                 SCTMEM_SAMPLE_MS="0")
    capture, = stats(tools, tmp_path / "capture.bin")["captures"]
    check_whole(capture)
    assert capture["segment_last"] > 3 and capture["unknown_frees"] == 0 and len(runs(tmp_path)) == 1
