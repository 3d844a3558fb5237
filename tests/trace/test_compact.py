# SPDX-License-Identifier: MIT
"""sctmem compact: the smaller capture answers the same, to the byte."""
import json
import sys

import pytest

FIGURES = ["total_num_allocations", "total_bytes_allocated", "allocation_size_histogram", "allocator_type_distribution",
           "top_allocations_by_size", "top_allocations_by_count", "peak", "live_at_end", "temporary", "total_num_frees",
           "total", "by_domain", "by_allocator", "threads"]
PYTHON = """
import json
kept = []
for turn in range(20):
    text = json.dumps([{"a": i, "b": str(i) * 3} for i in range(400)])
    data = json.loads(text)
    kept.append(data[:20])
    grown = bytearray()
    for i in range(500):
        grown.extend(b"x" * 30)
"""
MARKS = """
import ctypes
mark = ctypes.CDLL(None).sctmem_mark
kept = []
for turn in range(6):
    mark(b"begin turn %d" % turn)
    kept.append([str(i) * 10 for i in range(500)])
    del kept[::2]
    mark(b"end turn %d" % turn)
"""


def output(tools, *arguments):
    return tools.run_command(*arguments).stdout


def compact(tools, capture, tmp_path, *options):
    small = tmp_path / "small.bin"
    done = tools.run_command("compact", *options, capture.path, "-f", "-o", small)
    assert b"events kept" in done.stderr
    return small


def in_order(found):
    """What is as large as its neighbour may stand before or behind it."""
    return sorted(json.dumps(row, sort_keys=True) for row in found)


def rows(tools, path, *options):
    found = json.loads(output(tools, "table", "--by", "stack", "-n", "0", "--json", "--no-symbols", *options, path))
    return in_order(found["rows"])


def assert_same(tools, old, new):
    stats = [json.loads(output(tools, "stats", "--json", "-n", "1000", "--no-symbols", path)) for path in (old, new)]
    for found in stats:
        found["threads"] = in_order(found["threads"])   # those that began in one tick of the clock have no order
    for key in FIGURES:
        assert stats[0][key] == stats[1][key], key
    for key in ("contradictions", "unknown_frees", "state", "lost_events"):
        assert stats[0]["captures"][0][key] == stats[1]["captures"][0][key], key
    assert stats[1]["captures"][0]["compacted_ns"] > 0 and not stats[1]["captures"][0]["damaged"]
    leaks = [json.loads(output(tools, "leaks", "--all", "-n", "0", "--json", "--no-symbols", path))
             for path in (old, new)]
    for found in leaks:
        for leak in found["leaks"]:
            leak.pop("evidence", None)   # how it grew is told by moments in between, too
        found["leaks"] = in_order(found["leaks"])
    assert leaks[0] == leaks[1]
    for metric in ("total", "peak", "leaked", "temporary"):
        assert rows(tools, old, "--metric", metric) == rows(tools, new, "--metric", metric), metric


@pytest.mark.parametrize("mode", ["plain", "threads"])
def test_native_programs_and_threads(victim, trace, tools, tmp_path, mode):
    capture = trace(victim("sampled"), "5", mode).only()
    small = compact(tools, capture, tmp_path, "--points", "20")
    assert_same(tools, capture.path, small)
    assert small.stat().st_size < capture.path.stat().st_size / 2
    assert "compacted" in output(tools, "tree", small).decode()
    again = tools.run_command("compact", small, "-f", "-o", tmp_path / "again.bin", check=False)
    assert again.returncode != 0 and b"compact already" in again.stderr


def test_python_and_the_heap_at_each_border(trace, tools, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PYTHON)
    capture = trace(sys.executable, program, environment={"SCTMEM_NATIVE": "leaf"}).only()
    small = compact(tools, capture, tmp_path, "--points", "10")
    assert_same(tools, capture.path, small)
    width = json.loads(output(tools, "stats", "--json", small))["captures"][0]["compacted_ns"]
    for border in range(1, 10, 2):
        moment = "{}ns".format(border * width)
        live = [json.loads(output(tools, "stats", "--json", "--no-symbols", "--at", moment, path))["live_at_end"]
                for path in (capture.path, small)]
        assert live[0] == live[1], moment


def test_windows_between_marks(trace, tools, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(MARKS)
    capture = trace(sys.executable, program, environment={"SCTMEM_NATIVE": "leaf"}).only()
    small = compact(tools, capture, tmp_path, "--points", "5")
    assert_same(tools, capture.path, small)
    windows = [json.loads(output(tools, "windows", "--json", "--no-symbols", path))["windows"]
               for path in (capture.path, small)]
    assert len(windows[0]) == len(windows[1]) == 6
    for old, new in zip(*windows):
        for key in ("name", "total", "temporary", "kept", "groups", "start_s", "end_s"):
            assert old[key] == new[key], key


def test_a_sample_is_refused(victim, trace, tools, tmp_path):
    capture = trace(victim("sampled"), "5", "plain", environment={"SCTMEM_SAMPLE": "8KiB"}).only()
    done = tools.run_command("compact", capture.path, "-o", tmp_path / "small.bin", check=False)
    assert done.returncode != 0 and b"holds a sample" in done.stderr
    assert not (tmp_path / "small.bin").exists()
