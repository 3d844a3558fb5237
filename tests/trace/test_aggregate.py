# SPDX-License-Identifier: MIT
"""Captures that are aggregated as they are recorded, against what the program itself has counted.

SCTMEM_AGGREGATE_RUNS=64 in front runs the storm more often than usual.
"""
import json
import os
import signal
import subprocess
import time

import pytest

from recording import clean_environment, run
from segments import segments, start

RUNS = int(os.environ.get("SCTMEM_AGGREGATE_RUNS", "2"))
THREADS, ROUNDS = 4, 6


def stats(tools, *words):
    return json.loads(tools.run_command("stats", "--json", *words).stdout.decode())


def costs(found):
    total = found["total"]
    return [total[name] for name in ("total_count", "total_bytes", "live_count", "live_bytes")]


def taken(tools, *words):
    """What take() of the victim comes to, and the capture's own figures."""
    found = stats(tools, "--function", "^take$", *words)
    return costs(found), found["captures"][0]


def accounts(said):
    return [[int(word) for word in line.split()] for line in said.decode().splitlines()]


def record(tools, folder, program, *words, **settings):
    environment = clean_environment(LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(folder / "%p.bin"),
                                    SCTMEM_AGGREGATE="yes", SCTMEM_NATIVE="full", **settings)
    ended = run([program] + [str(word) for word in words], environment)
    assert (ended.status, ended.stderr) == (0, b"")
    return accounts(ended.stdout)


def check_whole(capture, threads=THREADS):
    for name in ("lost_events", "contradictions", "unknown_frees", "damaged_bytes"):
        assert capture[name] == 0, (name, capture[name])
    assert not capture["damaged"] and capture["aggregated_blocks"] > 1000


@pytest.mark.parametrize("turn", range(RUNS))
def test_the_program_and_its_capture_agree_at_each_mark(tools, victim, tmp_path, turn):
    said = record(tools, tmp_path, victim("passing"), THREADS, ROUNDS, "plain")
    path, = tmp_path.iterdir()
    found, capture = taken(tools, path)
    assert found == said[-1]
    check_whole(capture)
    for number in range(ROUNDS):
        assert taken(tools, path, "--to", "round {}".format(number))[0] == said[number]


def test_of_one_thread_alone_too(tools, victim, tmp_path):
    said = record(tools, tmp_path, victim("passing"), 1, ROUNDS, "plain")
    path, = tmp_path.iterdir()
    found, capture = taken(tools, path)
    assert found == said[-1]
    check_whole(capture)
    assert capture["aggregated_blocks"] > found[0] / 2


@pytest.mark.parametrize("mode", ["fork", "exec"])
def test_children_agree_as_well(tools, victim, tmp_path, mode):
    lines = record(tools, tmp_path, victim("passing"), THREADS, ROUNDS, mode)
    captures = {}
    for path in tmp_path.iterdir():
        found, capture = taken(tools, path)
        captures[capture["parent_pid"] in [int(other.stem.split(".")[0]) for other in tmp_path.iterdir()]] = found
        assert capture["contradictions"] == 0 and not capture["damaged"]
        assert capture["aggregated_blocks"] > 1000
    assert captures[False] == lines[-1]
    if mode == "fork":
        assert len(captures) == 2 and captures[True][:2] == lines[0][:2]
    # Of the family the views add up what each allocated.
    whole = stats(tools, "--function", "^take$", *tmp_path.iterdir())["total"]
    assert whole["total_count"] == sum(found[0] for found in captures.values())


def test_what_is_done_while_recording_is_off_is_left_out(tools, victim, tmp_path):
    said = record(tools, tmp_path, victim("passing"), THREADS, ROUNDS + 1, "stop")
    path, = tmp_path.iterdir()
    found, capture = taken(tools, path)
    assert found[:2] == said[-1][:2]
    assert capture["contradictions"] == 0 and capture["gaps"] > 0 and capture["aggregated_blocks"] > 1000


def test_segments_are_read_as_one(tools, victim, tmp_path):
    process = start(tools, tmp_path, victim("passing"), THREADS, 4 * ROUNDS, "plain", SCTMEM_AGGREGATE="yes",
                    SCTMEM_ROTATE="256K", SCTMEM_NATIVE="full")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and len(segments(tmp_path)) > 4
    found, capture = taken(tools, tmp_path / "capture.bin")
    assert found == accounts(said)[-1]
    check_whole(capture)
    # Without the first ones, what is left does not contradict itself.
    whole = [tmp_path / "capture.bin"] + sorted(tmp_path.glob("capture.0*.bin"))
    for path in whole[:2]:
        path.unlink()
    found, capture = taken(tools, *whole[2:])
    assert 0 < found[0] < accounts(said)[-1][0] and capture["contradictions"] == 0


@pytest.mark.parametrize("after", [0, 3])
def test_nothing_is_lost_by_sigkill(tools, victim, tmp_path, after):
    process = start(tools, tmp_path, victim("passing"), THREADS, ROUNDS, "kill", SCTMEM_AGGREGATE="yes",
                    SCTMEM_NATIVE="full")
    said = process.stdout.readline()
    for _ in range(after):
        process.stdin.write(b"x")
        process.stdin.flush()
        said = process.stdout.readline()
    # Read while it runs, and when it was killed.
    running = taken(tools, tmp_path / "capture.bin")[0]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found, capture = taken(tools, tmp_path / "capture.bin")
    assert running == found == accounts(said)[0]
    assert capture["contradictions"] == 0 and capture["unknown_frees"] == 0 and not capture["damaged"]


@pytest.mark.parametrize("rounds", [5, 17])
@pytest.mark.parametrize("rotate", ["no", "256K"])
def test_killed_at_any_moment_it_does_not_contradict_itself(tools, victim, tmp_path, rounds, rotate):
    process = start(tools, tmp_path, victim("passing"), THREADS, 1000, "plain", SCTMEM_AGGREGATE="yes",
                    SCTMEM_NATIVE="full", SCTMEM_ROTATE=rotate)
    said = [accounts(process.stdout.readline())[0] for _ in range(rounds)]
    # They go on meanwhile.
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found, capture = taken(tools, tmp_path / "capture.bin")
    check_whole(capture)
    assert found[0] >= said[-1][0]
    assert taken(tools, tmp_path / "capture.bin", "--to", "round {}".format(rounds - 1))[0] == said[-1]


def test_the_peak_lies_within_what_is_said(tools, tmp_path):
    """One thread does the same each time, so the peak of a run that keeps all is the truth."""
    program = "import json\nfor i in range(30):\n json.loads(json.dumps([{'a': k, 'b': str(k)} for k in range(900)]))"
    peaks = {}
    for mode in ("no", "yes"):
        folder = tmp_path / mode
        folder.mkdir()
        ended = run(["/usr/bin/python3", "-S", "-E", "-c", program], clean_environment(
            LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(folder / "run.bin"), SCTMEM_AGGREGATE=mode,
            SCTMEM_NATIVE="no", PYTHONHASHSEED="0"))
        assert ended.status == 0, ended.stderr
        peaks[mode] = stats(tools, "--no-symbols", folder / "run.bin")
    exact, found = peaks["no"], peaks["yes"]
    capture = found["captures"][0]
    assert capture["aggregated_blocks"] > 10000 and capture["contradictions"] == 0
    # Hashes of addresses decide where a few blocks go.
    assert found["peak"]["bytes"] <= exact["peak"]["bytes"] * 1.01
    assert found["peak"]["bytes"] + capture["aggregated_peak_bytes"] >= exact["peak"]["bytes"] * 0.99
    assert abs(found["total"]["total_count"] - exact["total"]["total_count"]) < exact["total"]["total_count"] / 1000
    text = tools.run_command("summary", "--no-symbols", tmp_path / "yes" / "run.bin").stdout.decode()
    assert "note: aggregated: of " in text
    # The records themselves say the same.
    lines = tools.run_command("dump", "--json", tmp_path / "yes" / "run.bin").stdout.decode().splitlines()
    dumped = [json.loads(line) for line in lines if '"culled"' in line or '"held"' in line]
    assert sum(line["count"] for line in dumped if line["kind"] == "culled") == capture["aggregated_blocks"]
    assert sum(line["dropped"] for line in dumped if line["kind"] == "held") == capture["aggregated_blocks"]


def check_watched(tools, shown, path, state):
    """What top says, against the other views of the same file."""
    found = stats(tools, path)
    table = json.loads(tools.run_command("table", "--by", "line", "--metric", "live", "--json", path).stdout.decode())
    churn = json.loads(tools.run_command("table", "--by", "line", "--metric", "total", "--json", path).stdout.decode())

    def places(rows, *names):
        return sorted((row["function"], row["file"], row["line"]) + tuple(row[name] for name in names)
                      for row in rows if row[names[0]])
    assert (shown["state"], shown["lost_events"]) == (state, 0)
    assert (shown["live_bytes"], shown["live_count"]) == (found["live_at_end"]["bytes"], found["live_at_end"]["count"])
    assert places(shown["rows"], "own_bytes", "own_count", "total_bytes") == \
        places(table["rows"], "own_bytes", "own_count", "total_bytes")
    # It lists what lives.
    assert set(places(shown["rows"], "allocated_bytes")) <= set(places(churn["rows"], "own_bytes"))
    # It has seen some of what is only in sums.
    low = found["peak"]["bytes"]
    assert low <= shown["peak_bytes"] <= low + found["captures"][0]["aggregated_peak_bytes"]


@pytest.mark.parametrize("rotate", ["no", "512K"])
def test_it_can_be_watched(tools, victim, tmp_path, rotate):
    """Of each look, and of what comes between two looks of one, the figures are those of the whole file."""
    process = start(tools, tmp_path, victim("passing"), THREADS, 4 * ROUNDS, "kill", SCTMEM_AGGREGATE="yes",
                    SCTMEM_NATIVE="full", SCTMEM_ROTATE=rotate)
    path = tmp_path / "capture.bin"
    words = [str(tools.command), "top", "--json", "-n", "100000", "--interval", "600ms", str(path)]
    process.stdout.readline()
    for turn in range(ROUNDS):
        watching = subprocess.Popen(words, stdout=subprocess.PIPE)
        time.sleep(0.25)
        # Several windows are handed on between the two looks, of which the first has taken words.
        for _ in range(1 + turn % 3 // 2):
            process.stdin.write(b"x")
            process.stdin.flush()
            said = accounts(process.stdout.readline())[0]
        shown = json.loads(watching.communicate(timeout=120)[0].decode())
        check_watched(tools, shown, path, "recording")
        assert taken(tools, path)[0] == said
    watching = subprocess.Popen(words, stdout=subprocess.PIPE)
    time.sleep(0.25)
    process.communicate(b"x" * (4 * ROUNDS), timeout=120)
    shown = json.loads(watching.communicate(timeout=120)[0].decode())
    # On a slow machine it was not over by then.
    if shown["state"] != "finished":
        shown = json.loads(subprocess.check_output(words).decode())
    check_watched(tools, shown, path, "finished")
    assert process.returncode == 0 and (rotate == "no" or len(segments(tmp_path)) > 2)
    check_whole(stats(tools, path)["captures"][0])


@pytest.mark.parametrize("aggregate, looks", [("no", 6), ("yes", 30)])
def test_looks_at_a_storm_do_not_contradict_themselves(tools, victim, tmp_path, aggregate, looks):
    """While one thread's window is read, others free what it has allocated since: none of that is looked at."""
    process = start(tools, tmp_path, victim("passing"), THREADS, 1000, "plain", SCTMEM_AGGREGATE=aggregate,
                    SCTMEM_NATIVE="full")
    process.stdout.readline()
    before = 0
    for _ in range(looks):
        found, capture = taken(tools, tmp_path / "capture.bin")
        assert capture["state"] == "recording" and found[0] > before
        assert capture["contradictions"] == capture["unknown_frees"] == 0 and not capture["damaged"]
        before = found[0]
    process.kill()
    process.communicate()
    found, capture = taken(tools, tmp_path / "capture.bin")
    assert found[0] > before and capture["contradictions"] == capture["unknown_frees"] == 0
    (tmp_path / "capture.bin").unlink()


def test_a_sample_is_not_aggregated(tools, tmp_path):
    words = ["--aggregate", "--sample", "1M", "-o", tmp_path / "x.bin"]
    done = tools.run_command("run", *words, "--", "true", check=False)
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert "--aggregate and --sample do not go together" in done.stderr.decode()


NEARS = "the capture nears SCTMEM_MAX_SIZE: from here on "


def dump(tools, path):
    return [json.loads(line) for line in tools.run_command("dump", "--json", path).stdout.splitlines()]


def record_limited(tools, folder, program, *words, aggregate="no", before=()):
    environment = clean_environment(LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(folder / "x.bin"),
                                    SCTMEM_MAX_SIZE="4M", SCTMEM_NATIVE="full", SCTMEM_AGGREGATE=aggregate)
    ended = run([*before, program] + [str(word) for word in words], environment)
    assert (ended.status, ended.stderr) == (0, b"") and (folder / "x.bin").stat().st_size <= 4 << 20
    return accounts(ended.stdout), folder / "x.bin"


@pytest.mark.parametrize("aggregate", ["no", "yes"])
def test_a_capture_of_a_limited_size_comes_to_sums_first(tools, victim, tmp_path, aggregate):
    """On one processor, where few blocks are freed by another thread: those take the room of events."""
    before = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    said, path = record_limited(tools, tmp_path, victim("passing"), THREADS, 4 * ROUNDS, "plain", aggregate=aggregate,
                                before=before)
    found, capture = taken(tools, path)
    assert found == said[-1] and "sample" not in stats(tools, path)
    check_whole(capture)
    for number in range(0, 4 * ROUNDS, 4):
        assert taken(tools, path, "--to", "round {}".format(number))[0] == said[number]
    dumped = dump(tools, path)
    notes = [line["text"] for line in dumped if line["kind"] == "note"]
    events = sum(line["kind"] == "malloc" for line in dumped)
    if aggregate == "no":
        assert notes == [NEARS + "blocks that are soon freed again are recorded as sums"] and events > 50000
    else:
        assert notes == [] and events < 50000


def test_and_then_it_is_a_sample_that_no_sum_stands_in(tools, victim, tmp_path):
    said, path = record_limited(tools, tmp_path, victim("passing"), THREADS, 12 * ROUNDS, "plain")
    found = stats(tools, "--function", "^take$", path)
    whole = stats(tools, path)
    assert whole["sample"]["steps"][0]["mean_bytes"] == 1024
    check_whole(found["captures"][0])
    for name, truth in zip(("total_count", "total_bytes"), said[-1]):
        low, high = whole["sample"]["interval_95"][name]
        assert abs(found["total"][name] - truth) < 2 * (high - low), name
    text = tools.run_command("stats", path).stdout.decode()
    assert "the peak too, are low by at most" in text and "sampled" in text
    dumped = dump(tools, path)
    assert {line["text"] for line in dumped if line["kind"] == "note"} >= {
        NEARS + "blocks that are soon freed again are recorded as sums",
        NEARS + "one block is recorded about every 1024 bytes"}
    order = {}
    for line in dumped:
        if line["kind"] in ("culled", "sampling") and line.get("mean_bytes", 1):
            order.setdefault(line["stream"], []).append(line["kind"])
    assert any("culled" in kinds and "sampling" in kinds for kinds in order.values())
    assert all(kinds == sorted(kinds) for kinds in order.values())


def test_by_the_environment_the_sample_wins_and_the_capture_says_so(tools, victim, tmp_path):
    environment = clean_environment(LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(tmp_path / "x.bin"),
                                    SCTMEM_AGGREGATE="yes", SCTMEM_SAMPLE="4KiB,seed=1")
    ended = run([victim("passing"), "1", "1", "plain"], environment)
    assert (ended.status, ended.stderr) == (0, b"")
    assert stats(tools, "--no-symbols", tmp_path / "x.bin")["captures"][0]["aggregated_blocks"] == 0
    dumped = tools.run_command("dump", tmp_path / "x.bin").stdout.decode()
    assert dumped.count("SCTMEM_AGGREGATE has no effect") == 1
