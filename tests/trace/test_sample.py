# SPDX-License-Identifier: MIT
"""Samples of real programs, held against the exact capture of the same program.

SCTMEM_SAMPLE_SEEDS=1000 in front draws more samples than the usual number.
"""
import json
import os
import signal
import subprocess
import sys

import pytest

from recording import clean_environment

PYTHON = "/usr/bin/python3"
WINDOWS = """
import ctypes
mark = ctypes.CDLL(None).sctmem_mark
kept = []
for number in range(20):
    mark(b"begin %d" % number)
    for size in range(400):
        bytes(size * 10)
        kept.append(bytearray(size * number))
    mark(b"end %d" % number)
"""
SEEDS = int(os.environ.get("SCTMEM_SAMPLE_SEEDS", "40"))
FIGURES = ["total_bytes", "total_count", "live_bytes", "live_count", "peak_bytes", "peak_count", "temporary_bytes",
           "temporary_count"]


def sample(trace, program, mode, size):
    recording = trace(program, "7", mode, environment={"SCTMEM_SAMPLE": size, "SCTMEM_NATIVE": "no"})
    assert recording.ended.status == 0 and recording.ended.stderr == b"", recording.ended
    return recording


def binomial_least(trials, share):
    """So many successes that fewer would come once in a million experiments."""
    probability, below, least = (1 - share) ** trials, 0.0, 0
    while below + probability < 1e-6:
        below += probability
        probability *= (trials - least) / (least + 1) * share / (1 - share)
        least += 1
    return least


def test_intervals_hold_the_truth_of_the_exact_capture(victim, trace):
    """One program, many samples of it, each with a seed of its own, so that the outcome is the same each time."""
    program = victim("sampled")
    exact = trace(program, "7", "plain", environment={"SCTMEM_NATIVE": "no"}).only()
    exact.check_whole()
    truth = exact.stats()["total"]
    held, sums, recorded = dict.fromkeys(FIGURES, 0), dict.fromkeys(FIGURES, 0), 0
    for seed in range(1, SEEDS + 1):
        capture = sample(trace, program, "plain", "32KiB,seed={}".format(seed)).only()
        capture.check_whole()
        stats = capture.stats()
        assert stats["captures"][0]["unknown_frees"] == 0
        recorded += stats["sample"]["recorded"]
        for name in FIGURES:
            low, high = stats["sample"]["interval_95"][name]
            assert low <= stats["total"][name] <= high
            held[name] += low <= truth[name] <= high
            sums[name] += stats["total"][name]
    if os.environ.get("SCTMEM_SAMPLE_SHOW"):
        print("exact events", exact.header["events"], "recorded blocks a sample", recorded / SEEDS)
        for name in FIGURES:
            print("{:16} truth {:12} mean {:15.1f} held {:.1f} %".format(
                name, truth[name], sums[name] / SEEDS, 100 * held[name] / SEEDS))
    for name in FIGURES:
        assert held[name] >= binomial_least(SEEDS, 0.95), (name, held[name])
        # The highest of an estimate is above the highest of what is estimated: docs/long-runs.md.
        assert 0.9 < sums[name] / SEEDS / truth[name] < (1.25 if name.startswith("peak") else 1.1), name
    # What is counted although it is not recorded: all, but reallocs that grow within the room that the block has.
    counted = stats["sample"]["recorded"] + stats["sample"]["not_recorded"]
    assert 0.98 * truth["total_count"] < counted <= truth["total_count"]


@pytest.mark.parametrize("mode", ["threads", "fork"])
def test_threads_and_children(victim, trace, mode):
    recording = sample(trace, victim("sampled"), mode, "8KiB")
    assert len(recording.captures) == (2 if mode == "fork" else 1)
    for capture in recording.captures:
        capture.check_whole()
        stats = capture.stats()
        assert stats["sample"]["recorded"] > 200
        # Only a child frees what it has not allocated: what it inherited.
        assert stats["captures"][0]["unknown_frees"] == 0 or stats["captures"][0]["parent_pid"] in recording.by_pid()


def test_a_killed_program_leaves_a_whole_sample(victim, trace):
    environment = {"SCTMEM_SAMPLE": "4KiB", "SCTMEM_NATIVE": "no"}
    process, recorded = trace.start(victim("sampled"), "3", "loop", environment=environment)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    capture = recorded().only()
    capture.check_whole()
    assert capture.header["state"] == "killed"
    assert capture.header["unknown_frees"] == 0
    assert capture.stats()["sample"]["recorded"] > 200


def test_every_view_says_that_it_is_a_sample(victim, trace, tools, tmp_path):
    capture = sample(trace, victim("sampled"), "plain", "32KiB,seed=1").only()
    for verb in (["stats"], ["tree"], ["table"], ["summary"], ["leaks"]):
        text = tools.run_command(*verb, capture.path).stdout.decode()
        assert "sampled, one block about every 32.0 KiB (" in text, verb
        assert "95 %" in text, verb
        if verb != ["summary"]:
            found = json.loads(tools.run_command(*verb, "--json", capture.path).stdout.decode())
            assert "interval_95" in found["sample"], verb
    assert "sampled" in tools.run_command("windows", capture.path).stdout.decode()
    assert "sampled" in tools.run_command("check", "--max-peak", "1G", capture.path).stdout.decode()
    page = tmp_path / "page.html"
    tools.run_command("flamegraph", "-o", page, capture.path)
    assert "A sample, one block about every 32768 bytes" in page.read_text()
    done = tools.run_command("export", "--format", "folded", "-o", tmp_path / "folded.txt", capture.path)
    assert b"sampled" in done.stderr


def interval_of(found, *keys):
    return [found["interval_95"][key] for key in keys]


def test_rows_have_intervals_that_add_up_to_those_of_all(victim, trace, tools):
    program = victim("sampled")
    exact = trace(program, "7", "plain", environment={"SCTMEM_NATIVE": "full"}).only().path
    sampled = trace(program, "7", "plain", environment={"SCTMEM_SAMPLE": "32KiB,seed=5"}).only().path

    def read(*words):
        return json.loads(tools.run_command(*words, "--json").stdout.decode())
    known = read("stats", sampled)["sample"]["interval_95"]
    for metric in ("peak", "total", "temporary", "leaked"):
        name = "live" if metric == "leaked" else metric
        whole = interval_of(dict(interval_95=known), name + "_bytes", name + "_count")
        options = ["--metric", metric, sampled]
        root = read("tree", *options)["nodes"][0]
        assert interval_of(root, "total_bytes", "total_count") == whole, metric
        # Each stack begins with the one function by which the process enters the program.
        rows = read("table", "--by", "function", "-n", "0", *options)["rows"]
        assert interval_of(max(rows, key=lambda row: row["total_bytes"]), "total_bytes", "total_count") == whole, metric
        for row in rows:
            for figure in ("total_bytes", "total_count", "own_bytes", "own_count"):
                low, high = row["interval_95"][figure]
                assert low <= row[figure] <= high, (metric, row)
        assert any(row["interval_95"]["own_bytes"][1] > row["own_bytes"] for row in rows)
    leaks = read("leaks", "--all", "-n", "0", sampled)
    assert interval_of(leaks["total"], "bytes", "count") == [known["live_bytes"], known["live_count"]]
    assert all(low <= leak["bytes"] <= high for leak in leaks["leaks"] for low, high in interval_of(leak, "bytes"))
    # What was recorded as a whole has no interval to show.
    for words in (["tree", exact], ["table", exact], ["leaks", exact], ["diff", exact, exact]):
        assert "interval_95" not in tools.run_command(*words, "--json").stdout.decode()
        assert "95 %" not in tools.run_command(*words).stdout.decode()


def test_differences_of_samples_say_what_is_chance(victim, trace, tools):
    """The same run again and again: nothing grew, and that is in 95 of 100 intervals; exact against a sample, too."""
    program = victim("sampled")
    exact = trace(program, "7", "plain", environment={"SCTMEM_NATIVE": "no"}).only().path
    samples = [sample(trace, program, "plain", "32KiB,seed={}".format(seed)).only().path for seed in range(1, 22)]
    held = trials = 0
    for before, after in [(exact, path) for path in samples] + list(zip(samples, samples[1:])):
        for metric in ("total", "leaked"):
            done = json.loads(tools.run_command("diff", "--json", "--metric", metric, before, after).stdout.decode())
            for row in done["rows"]:
                growth = row["after_bytes"] - row["before_bytes"]
                low, high = row["interval_95"]["growth_bytes"]
                assert low <= growth <= high, row
                held += low <= 0 <= high
                trials += 1
    print("{} of {} intervals hold the truth".format(held, trials))
    assert trials > 60 and held >= binomial_least(trials, 0.95), (held, trials)
    text = tools.run_command("diff", samples[0], samples[1]).stdout.decode()
    assert text.count("95 % interval") >= 2 and " to +" in text


def test_windows_of_a_sample_have_intervals(trace, tools, tmp_path):
    script = tmp_path / "windows.py"
    script.write_text(WINDOWS)
    found = []
    for size in ("no", "16KiB,seed=3"):
        path = trace(PYTHON, script, environment={"SCTMEM_SAMPLE": size}).only().path
        found.append(json.loads(tools.run_command("windows", "--json", path).stdout.decode())["windows"])
        assert ("95 % interval" in tools.run_command("windows", path).stdout.decode()) == (size != "no")
    held = trials = 0
    for exact, sampled in zip(*found):
        assert exact["name"] == sampled["name"] and "interval_95" not in exact
        for figure, key in (("total", "total"), ("peak", "peak"), ("kept", "live")):
            low, high = sampled["interval_95"][key + "_bytes"]
            assert low <= sampled[figure]["bytes"] <= high
            held += low <= exact[figure]["bytes"] <= high
            trials += 1
            known = sum(group["interval_95"]["bytes"][0] for group in sampled["groups"].values())
            assert known <= sampled["kept"]["bytes"]
    assert trials == 60 and held >= binomial_least(trials, 0.95), held


def test_python_blocks_are_sampled(trace, tmp_path):
    """Lists and bytes that grow by realloc, strings, and their ends."""
    program = tmp_path / "grow.py"
    program.write_text("""
kept = []
for turn in range(40):
    text = bytearray()
    for i in range(3000):
        text.extend(b"x" * 40)
    kept.append([{"a": i, "b": str(i) * 5} for i in range(600)][:80])
""")
    exact = trace(sys.executable, program, environment={"SCTMEM_NATIVE": "leaf", "PYTHONHASHSEED": "0"}).only()
    truth = exact.stats()["by_domain"]["python"]
    held = dict.fromkeys(FIGURES, 0)
    for seed in range(1, 11):
        capture = trace(sys.executable, program, environment={
            "SCTMEM_NATIVE": "leaf", "PYTHONHASHSEED": "0", "SCTMEM_SAMPLE": "64KiB,seed={}".format(seed)}).only()
        capture.check_whole()
        stats = capture.stats()
        assert stats["captures"][0]["unknown_frees"] == 0
        for name in FIGURES:
            low, high = stats["by_domain_interval_95"]["python"][name]
            held[name] += low <= truth[name] <= high
    if os.environ.get("SCTMEM_SAMPLE_SHOW"):
        print(held, truth)
    for name in ("total_bytes", "total_count", "live_bytes", "peak_bytes", "temporary_bytes"):
        assert held[name] >= binomial_least(10, 0.95), (name, held)


def test_run_takes_the_size_and_refuses_what_is_none(victim, tools, tmp_path):
    program = victim("sampled")

    def run(size):
        return subprocess.run([str(tools.command), "run", "-o", str(tmp_path / "run.bin"), "-f", "--sample", size, "--",
                               program, "1"], env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done = run("1.5MiB,seed=3")
    assert done.returncode == 0 and b"a sample; about peak" in done.stderr, done.stderr
    stats = json.loads(tools.run_command("stats", "--json", tmp_path / "run.bin").stdout.decode())
    assert stats["sample"]["mean_bytes"] == 3 << 19
    for size in ("0", "much", "1K,seed=", "2T", "1K,speed=3", "512KiB,seed=1x"):
        done = run(size)
        assert done.returncode != 0 and b"--sample" in done.stderr, (size, done.stderr)


CAP = 4 << 20


def test_a_capture_that_stays_below_its_size_is_exact(victim, trace):
    program = victim("sampled")
    exact = trace(program, "7", "plain", environment={"SCTMEM_NATIVE": "no"}).only()
    capped = trace(program, "7", "plain", environment={"SCTMEM_NATIVE": "no", "SCTMEM_MAX_SIZE": "64M"}).only()
    capped.check_whole()
    assert "sample" not in capped.stats()
    for key in ("total", "total_num_frees", "allocation_size_histogram", "by_allocator"):
        assert capped.stats()[key] == exact.stats()[key], key


def test_a_capture_that_nears_its_size_becomes_a_sample(victim, trace, tools):
    program = victim("sampled")
    truth = trace(program, "7", "long", environment={"SCTMEM_NATIVE": "no"}).only()
    assert truth.path.stat().st_size > CAP
    held = dict.fromkeys(FIGURES, 0)
    for seed in range(1, 6):
        capture = trace(program, "7", "long", environment={
            "SCTMEM_NATIVE": "no", "SCTMEM_MAX_SIZE": "4M", "SCTMEM_SAMPLE": "no,seed={}".format(seed)}).only()
        capture.check_whole()
        assert capture.path.stat().st_size <= CAP
        stats = capture.stats()
        assert stats["captures"][0]["state"] == "finished" and stats["captures"][0]["unknown_frees"] == 0
        steps = stats["sample"]["steps"]
        means = [step["mean_bytes"] for step in steps]
        # At last the file grows by more than a step at a time.
        assert means[:3] == [1024, 4096, 16384] and set(means) <= {1024 * 4 ** i for i in range(14)}, steps
        assert means == sorted(set(means)), steps
        assert steps[0]["time_s"] > 0 and sorted(step["time_s"] for step in steps) == [step["time_s"] for step in steps]
        for name in FIGURES:
            low, high = stats["sample"]["interval_95"][name]
            held[name] += low <= truth.stats()["total"][name] <= high
    if os.environ.get("SCTMEM_SAMPLE_SHOW"):
        print(held, steps)
    for name in ("total_bytes", "total_count", "live_bytes", "live_count", "temporary_bytes"):
        assert held[name] >= binomial_least(5, 0.95), (name, held)
    text = tools.run_command("tree", capture.path).stdout.decode()
    assert "one block about every 1.0 KiB from " in text and ", 4.0 KiB from " in text
    assert "SCTMEM_MAX_SIZE" in tools.run_command("dump", capture.path).stdout.decode()


def test_a_storm_of_threads_and_children_stays_within_the_size(victim, trace):
    environment = {"SCTMEM_NATIVE": "no", "SCTMEM_MAX_SIZE": "4M"}
    for capture in trace(victim("sampled"), "7", "fork", environment=environment).captures:
        capture.check_whole()
    process, recorded = trace.start(victim("sampled"), "3", "loop", environment=environment)
    process.stdout.readline()
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    capture = recorded().only()
    capture.check_whole()
    assert capture.path.stat().st_size <= CAP
    assert capture.header["state"] == "killed" and capture.header["unknown_frees"] == 0
    assert capture.stats()["sample"]["steps"]
