# SPDX-License-Identifier: MIT
"""The benchmarks' driver: that it measures what it says, on small inputs.  No test looks at how fast anything is."""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import document        # noqa: E402
import goals           # noqa: E402
import instructions    # noqa: E402
import measure         # noqa: E402
import micro           # noqa: E402
import reading         # noqa: E402
import suite           # noqa: E402
import tables          # noqa: E402
import workloads       # noqa: E402

BUILD = pathlib.Path(os.environ["SCTMEM_TRACE_LIBRARY"]).parents[1]


def run(*arguments):
    argv = [sys.executable, str(HERE / "run"), "--no-build", "--build", str(BUILD), *map(str, arguments)]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=300)


def launched(tmp_path, *arguments):
    result = tmp_path / "result.json"
    done = subprocess.run([str(BUILD / "tests/bench/bench_launch"), *arguments[:-1], str(result), *arguments[-1]],
                          stdout=subprocess.PIPE, universal_newlines=True, check=True)
    return done.stdout, json.loads(result.read_text())


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_one_workload_measured_for_real(tmp_path):
    kept = tmp_path / "results.json"
    done = run("--quick", "--rounds", "2", "--no-peers", "--place", "host", "--json", kept, "pairs-4")
    assert done.returncode == 0, done.stderr
    results = json.loads(kept.read_text())
    result, = results["workloads"]
    bare, traced = result["variants"]
    assert [bare["name"], traced["name"], result["place"]] == ["bare", "sctmem", "host"]
    assert [run["round"] for run in traced["runs"]] == [0, 1]
    for one in traced["runs"]:
        # 500,000 pairs, and what the start of a program takes.
        assert 1000000 <= one["capture"]["events"] < 1001000
        assert one["capture"]["lost"] == 0
        assert 0 < one["capture"]["raw_events"] <= one["capture"]["events"]
        assert one["capture"]["bytes"] > 0 and one["cpu_s"] > 0 and one["peak_bytes"] > 100000
    # The table shows those very numbers.
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    head, row = cells_of(lines[0]), cells_of(lines[3])
    ratios = sorted(one["wall_s"] / other["wall_s"] for one, other in zip(traced["runs"], bare["runs"]))
    assert row[head.index("wall")] == "{:.2f} ({:.2f} to {:.2f})".format(sum(ratios) / 2, *ratios)
    assert row[head.index("runs")] == "2"
    # The page would get them too, and what was wanted stands beside what was reached.
    texts = document.sections(results)
    assert sorted(texts) == ["machine", "pairs-4"] and lines[3] in texts["pairs-4"].splitlines()
    goals_rows = [cells_of(line) for line in goals.table(results).splitlines()]
    assert [row[3] for row in goals_rows[2:]] == ["2.00", "25 ns an event", "2.0 B an event"]
    assert goals_rows[2][4] == "{:.2f}".format(sum(ratios) / 2)
    last = traced["runs"][1]["capture"]
    assert goals_rows[4][4] == "{:.2f}".format(last["bytes"] / last["events"])
    # And once more from the file.
    assert lines == [line for line in run("--results", kept).stdout.splitlines() if line.startswith("|")]


def test_what_is_launched_gets_the_environment_and_is_measured(tmp_path):
    said, took = launched(tmp_path, "-e", "BENCH_A=1 2", "-e", "BENCH_B=3",
                          ["sh", "-c", 'echo "$BENCH_A$BENCH_B"; exit 7'])
    assert said == "1 23\n" and took["status"] == 7 and took["wall_ns"] > 0
    _, took = launched(tmp_path, [sys.executable, "-c", "b = bytearray(50000000)"])
    assert took["status"] == 0 and 50000 < took["peak_kib"] < 150000
    _, took = launched(tmp_path, ["sh", "-c", "kill -9 $$"])
    assert took["status"] == 128 + 9
    _, took = launched(tmp_path, ["/nonexistent"])
    assert took["status"] == 127


def test_a_process_left_behind_is_waited_for_and_counted(tmp_path):
    busy = "import resource, time\nwhile resource.getrusage(resource.RUSAGE_SELF).ru_utime < 0.2: pass"
    _, took = launched(tmp_path, ["sh", "-c", '"$0" -c "$1" & exit 0', sys.executable, busy])
    assert took["user_us"] >= 200000


def test_ratios_are_taken_within_a_round():
    bare = [{"round": number, "wall_s": wall} for number, wall in enumerate((1.0, 10.0, 2.0))]
    slow = [{"round": 2, "wall_s": 6.0}, {"round": 1, "wall_s": 20.0}]
    assert tables.ratios(slow, bare, "wall_s") == [3.0, 2.0]


def test_callgrinds_self_costs_without_those_of_callees():
    text = """
ob=(1) /x/libsctmem.so
fl=(1) /src/preload/hooks.c
fn=(1) malloc
10 5
+2 7
fi=(2) /src/preload/record.h
4 3
fe=(1)
cfi=(3) /src/preload/stack.c
cob=(1)
cfn=(2) stack_capture
calls=1 9
10 1000
* 1

fl=(3)
fn=(2)
9 1000
ob=(2) /lib/libc.so.6
fl=(4) ???
fn=(3) memcpy
0 40
"""
    costs = instructions.self_costs(text.splitlines())
    assert costs == {("/x/libsctmem.so", "/src/preload/hooks.c", "malloc"): 13,
                     ("/x/libsctmem.so", "/src/preload/record.h", "malloc"): 3,
                     ("/x/libsctmem.so", "/src/preload/stack.c", "stack_capture"): 1000,
                     ("/lib/libc.so.6", "???", "memcpy"): 40}
    assert instructions.part_of("/src/preload/record.h", "malloc") == "record"
    assert instructions.part_of("/src/preload/novel.c", "f") == "novel"
    assert instructions.part_of("???", "LZ4_compress_fast") == "compress"


def test_a_renewed_page_keeps_what_was_not_measured():
    page = "a\n<!-- bench: one -->\nold\n<!-- /bench -->\nb\n<!-- bench: two -->\nold\n<!-- /bench -->\n"
    new, homeless = document.renewed(page, {"one": "new", "three": "x"})
    assert new == "a\n<!-- bench: one -->\n\nnew\n\n<!-- /bench -->\nb\n<!-- bench: two -->\nold\n<!-- /bench -->\n"
    assert homeless == ["three"]


def test_later_results_replace_earlier_ones_of_the_same_name_and_place():
    def result(name, place, seconds):
        return {"name": name, "place": place, "seconds": seconds}
    first = {"quick": False, "workloads": [result("a", "host", 1), result("a", "sid", 2)]}
    second = {"quick": False, "workloads": [result("a", "host", 3)], "instructions": [{"name": "a"}]}
    whole = document.joined([first, second])
    assert whole["workloads"] == [result("a", "sid", 2), result("a", "host", 3)]
    assert whole["instructions"] == [{"name": "a"}]
    assert document.joined([first, {"quick": True}])["quick"]


def test_the_page_has_a_place_for_everything_that_is_measured():
    page = document.PAGE.read_text(encoding="utf-8")
    placed = set(re.findall(r"<!-- bench: ([\w-]+) -->", page))
    every = {item.name for item in workloads.WORKLOADS + suite.SUITES + reading.READINGS + micro.MICROS}
    assert placed == every | {"machine", "instructions", "goals"}
    assert len(document.BETWEEN.findall(page)) == len(placed)


@pytest.mark.parametrize("arguments, said", [
    (["nonsense"], "no workload nonsense; there are:"),
    (["--rounds", "0"], "--rounds takes a number from 1 on"),
    (["--results", "/nonexistent/file"], "/nonexistent/file"),
    (["--tools", "/nonexistent.so", "pairs-1"], "/nonexistent.so does not exist"),
])
def test_what_cannot_be_done_is_said(arguments, said):
    done = run(*arguments)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_a_library_that_records_nothing_is_a_failure(tmp_path):
    done = run("--quick", "--no-peers", "--place", "host", "--tools", "{},{}".format(
        BUILD / "tests/bench/bench_module.so", BUILD / "reader/sctmem"), "threads")
    assert done.returncode == 1 and done.stderr.endswith("run: failed: sctmem\n")
    assert re.search(r"^\| sctmem, full native stacks \(default\) \| +failed \|", done.stdout, re.M), done.stdout


def test_names_choose_by_their_beginnings():
    def names(*given):
        return [workload.name for workload in workloads.choose(given, workloads.WORKLOADS)]
    assert names("pairs-1") == ["pairs-1"]
    assert names("recursion", "json") == ["json", "recursion-50", "recursion-200", "recursion-1000"]
    assert len(names()) == len(workloads.WORKLOADS)


def test_a_program_that_fails_is_an_error(tmp_path):
    class Tools:
        programs, work = BUILD / "tests/bench", tmp_path

    class Place:
        enter, environment = [], dict(os.environ)
    with pytest.raises(measure.Failed, match="ended with 3: bad news"):
        measure.launch(["sh", "-c", "echo bad news; exit 3"], Place, Tools)


def test_a_suite_is_the_geometric_mean_of_its_programs():
    def program(name, bare, traced):
        return {"name": name, "variants": [
            {"name": variant, "title": title, "tool": None, "runs": [
                {"round": number, "wall_s": seconds, "cpu_s": 2 * seconds} for number, seconds in enumerate(walls)]}
            for variant, title, walls in (("bare", "bare", bare), ("sctmem-pymem", "sctmem, + PyMem", traced))]}
    result = {"name": "pyperformance", "title": "programs", "place": "host", "place_title": "here", "programs": [
        program("slow", [1.0, 2.0, 1.0], [8.0, 16.0, 1.0]), program("quick", [1.0], [2.0])]}
    assert suite.ratios(result, "sctmem-pymem", "wall_s") == {"slow": 8.0, "quick": 2.0}
    row = cells_of(suite.table(result).splitlines()[-1])
    assert row == ["sctmem, + PyMem", "2", "4.00", "1.40", "4.00", "2.00 (quick)", "8.00 (slow)", ""]
    goal, = suite.goal_rows(result)
    assert goal[3:6] == ["1.40", "4.00", "4.00"]
