# SPDX-License-Identifier: MIT
"""What the command prints, held against the texts in cli/.

SCTMEM_GOLDEN_COMMAND and SCTMEM_GOLDEN_CAPTURES name the command and the program that writes the captures.
SCTMEM_GOLDEN_UPDATE=1 writes the texts anew: then read the difference before you keep it.
"""
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TEXTS = HERE / "cli"
COMMAND = os.path.abspath(os.environ.get("SCTMEM_GOLDEN_COMMAND", "sctmem"))
WRITER = os.path.abspath(os.environ.get("SCTMEM_GOLDEN_CAPTURES", "golden_captures"))


def environment(**more):
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("SCTMEM_", "LD_", "DEBUGINFOD")) and name not in ("NO_COLOR", "LANG", "LC_CTYPE")}
    kept.update(LC_ALL="C.UTF-8", TERM="xterm", **more)
    return kept


def sctmem(folder, *arguments, **more):
    return subprocess.run([COMMAND, *arguments], cwd=folder, env=environment(**more), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


def output(folder, *arguments, **more):
    done = sctmem(folder, *arguments, **more)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode()


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures")
    subprocess.run([WRITER, str(folder)], check=True)
    return folder


def compare(name, text):
    path = TEXTS / name
    if os.environ.get("SCTMEM_GOLDEN_UPDATE"):
        path.write_text(text)
    assert text == path.read_text(), "SCTMEM_GOLDEN_UPDATE=1 writes {} anew".format(path)


CASES = {
    "stats": ["stats", "sample.bin"],
    "stats-killed": ["stats", "killed.bin"],
    "stats-family": ["stats", "sample.bin", "child.bin"],
    "stats-thread": ["stats", "--thread", "4243", "sample.bin"],
    "summary": ["summary", "sample.bin"],
    "table": ["table", "sample.bin"],
    "table-module": ["table", "--by", "module", "--metric", "total", "sample.bin"],
    "table-thread": ["table", "--by", "thread", "sample.bin"],
    "table-stack": ["table", "--by", "stack", "--metric", "temporary", "sample.bin"],
    "tree": ["tree", "sample.bin"],
    "tree-at": ["tree", "--at", "600ms", "--min-percent", "10", "sample.bin"],
    "leaks": ["leaks", "sample.bin"],
    "diff": ["diff", "leaky.bin", "leakier.bin"],
    "diff-stack": ["diff", "--by", "stack", "-m", "total", "leaky.bin", "leakier.bin"],
    "diff-same": ["diff", "leaky.bin", "leaky.bin"],
    "diff-hostile": ["diff", "sample.bin", "hostile.bin"],
    "leaks-evidence": ["leaks", "--all", "leaky.bin"],
    "leaks-late": ["leaks", "--late", "leaky.bin"],
    "leaks-all": ["leaks", "--all", "--frames", "1", "-n", "2", "killed.bin"],
    "hostile": ["tree", "hostile.bin"],
    "dump-hostile": ["dump", "hostile.bin"],
    "windows": ["windows", "-n", "2", "--kept", "1", "windows.bin"],
    "windows-marks": ["windows", "--marks", "windows.bin"],
    "windows-none": ["windows", "sample.bin"],
    "insights-resident": ["insights", "-a", "resident", "pages.bin"],
    "insights-resident-at": ["insights", "-a", "resident", "--at", "full", "pages.bin"],
    "insights-swapped": ["insights", "-a", "resident", "swapped.bin"],
    "dump-pages": ["dump", "pages.bin"],
    "dump-swapped": ["dump", "swapped.bin"],
    "insights": ["insights", "sample.bin"],
    "insights-all": ["insights", "-a", "all", "-n", "2", "--at", "peak", "sample.bin"],
    "insights-family": ["insights", "--analysis", "temporary,cross_thread", "sample.bin", "child.bin"],
    "help": ["help"],
    "help-check": ["help", "check"],
    "help-leaks": ["help", "leaks"],
    "help-diff": ["help", "diff"],
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_text_is_as_agreed(captures, name):
    compare(name + ".txt", output(captures, *CASES[name]))


@pytest.mark.parametrize("verb", ["stats", "table", "tree", "leaks"])
def test_json_is_as_agreed(captures, verb):
    text = output(captures, verb, "--json", "sample.bin")
    json.loads(text)
    compare(verb + ".json", text)


def test_json_keys_are_documented(captures):
    documented = set(re.findall(r"`([a-z_0-9]+)`", (ROOT / "docs" / "json.md").read_text()))

    def keys(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    for verb in ("stats", "table", "tree", "leaks"):
        used = set(keys(json.loads(output(captures, verb, "--json", "sample.bin"))))
        assert used - documented == set(), verb
    used = set(keys(json.loads(sctmem(captures, "check", "--json", "--max-peak", "1", "--max-growth", "1%", "--baseline",
                                      "child.bin", "sample.bin").stdout)))
    assert used - documented == set()
    for options in (["--marks"], ["-n", "2", "--kept", "2"]):
        used = set(keys(json.loads(output(captures, "windows", "--json", *options, "windows.bin"))))
        assert used - documented == set(), options
    used = set(keys(json.loads(output(captures, "insights", "--json", "sample.bin"))))
    assert used - documented == set()
    used = set(keys(json.loads(output(captures, "diff", "--json", "--by", "stack", "leaky.bin", "leakier.bin"))))
    assert used - documented == set()
    for option in ("stack", "thread", "function"):
        used = set(keys(json.loads(output(captures, "table", "--by", option, "--json", "sample.bin"))))
        assert used - documented == set(), option


@pytest.mark.parametrize("selection", [[], ["--thread", "4243"], ["--function", "load"], ["--domain", "heap"]])
def test_insights_agree_with_stats(captures, selection):
    # The last is a sample, of which each block stands for several.
    for name in ("sample.bin", "killed.bin", "hostile.bin", str(HERE / "capture_v3.bin")):
        stats = json.loads(output(captures, "stats", "--json", *selection, name))
        insights = json.loads(output(captures, "insights", "--json", "-n", "1000", *selection, name))["analyses"]
        total = {key: analysis["places"]["total"] for key, analysis in insights.items() if analysis["available"]}
        assert total["temporary"]["by_distance_count"] == stats["temporary"]["count"]
        assert total["temporary"]["by_distance_bytes"] == stats["temporary"]["bytes"]
        for key in ("temporary", "rates"):
            assert total[key]["total_count"] == stats["total_num_allocations"]
            assert total[key]["total_bytes"] == stats["total_bytes_allocated"]
        assert total["lifetimes"]["alive_bytes"] == stats["live_at_end"]["bytes"]
        assert total["lifetimes"]["alive_count"] == stats["live_at_end"]["count"]
        assert total["lifetimes"]["freed_count"] == sum(total["lifetimes"]["freed"])
        if selection == []:
            assert total["lifetimes"]["freed_count"] <= stats["total_num_frees"]
        blocks = [stats["by_domain"][domain] for domain in ("heap", "python")]
        unknown = total["slop"]["unknown_bytes"]
        assert total["slop"]["total_bytes"] + unknown == sum(cost["total_bytes"] for cost in blocks)
        if unknown == 0:
            assert total["slop"]["peak_bytes"] == sum(cost["peak_bytes"] for cost in blocks)
        # Rows that have nothing of what they are sorted by may be left out, so only that sums up.
        for key, column in (("temporary", "temporary_count"), ("churn", "churn_count"), ("growth", "copied_bytes"),
                            ("slop", "peak_slop_bytes"), ("cross_thread", "elsewhere_count"), ("pairs", "count")):
            if insights[key]["available"]:
                assert sum(row[column] for row in insights[key]["places"]["rows"]) == total[key][column], key


def test_insights_of_a_compacted_capture_say_what_is_lost(captures, tmp_path):
    output_path = tmp_path / "compacted.bin"
    assert sctmem(captures, "compact", "-o", str(output_path), "sample.bin").returncode == 0
    whole, compacted = (json.loads(output(captures, "insights", "--json", "--at", "peak", "-n", "100", str(name)))["analyses"]
                        for name in ("sample.bin", output_path))
    for key in whole:
        assert compacted[key]["available"] == (key in ("arenas", "pages", "untouched")), key
    assert compacted["pages"] == whole["pages"] and compacted["arenas"] == whole["arenas"]
    assert "compacted" in compacted["lifetimes"]["headline"]


def test_views_agree_to_the_byte(captures):
    for name in ("sample.bin", "killed.bin", "hostile.bin"):
        stats = json.loads(output(captures, "stats", "--json", name))
        leaks = json.loads(output(captures, "leaks", "--all", "-n", "0", "--json", name))
        tree = json.loads(output(captures, "tree", "--json", "--min-percent", "0", "-v", name))
        table = json.loads(output(captures, "table", "--by", "stack", "-n", "0", "--json", name))
        live, peak = stats["live_at_end"]["bytes"], stats["metadata"]["peak_memory"]
        assert leaks["total"]["bytes"] == live == sum(leak["bytes"] for leak in leaks["leaks"])
        assert live == sum(group["bytes"] for group in leaks["groups"].values())
        assert tree["total_bytes"] == peak == sum(node["own_bytes"] for node in tree["nodes"])
        assert table["total_bytes"] == peak == sum(row["own_bytes"] for row in table["rows"])
        histogram = sum(size["count"] for size in stats["allocation_size_histogram"])
        assert stats["total_num_allocations"] == stats["total"]["total_count"] == histogram


SUPPRESSIONS = "# known\nleak:^worker$\n\n  leak:libdemo\nleak:nothing*here\n"
CHECKS = {
    "check": ["--max-peak", "1MB", "--max-total", "2MB", "--max-leak", "0", "--max-allocations", "30", "sample.bin"],
    "check-growth": ["--max-growth", "5%", "--baseline", "child.bin", "--growth-of", "peak,leak", "sample.bin"],
    "check-suppressed": ["--max-leak", "4000", "--suppressions", "SUPPRESSIONS", "sample.bin"],
    "check-hostile": ["--max-peak", "10", "hostile.bin"],
}


def check(folder, *arguments, status, **more):
    done = sctmem(folder, "check", *arguments, **more)
    assert (done.returncode, done.stderr.decode()) == (status, "")
    return done.stdout.decode()


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_budgets_are_judged_as_agreed(captures, tmp_path, name):
    (tmp_path / "supp").write_text(SUPPRESSIONS)
    arguments = [str(tmp_path / "supp") if word == "SUPPRESSIONS" else word for word in CHECKS[name]]
    status = 0 if name == "check-suppressed" else 1
    junit = tmp_path / "junit.xml"
    compare(name + ".txt", check(captures, *arguments, "--github", "--junit", str(junit), status=status,
                                 GITHUB_WORKSPACE="/usr/lib"))
    compare(name + ".xml", junit.read_text())
    suite = xml.etree.ElementTree.parse(junit).getroot().find("testsuite")
    exceeded = [row for row in json.loads(sctmem(captures, "check", "--json", *arguments).stdout)["budgets"]
                if row["verdict"] == "exceeded"]
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) == len(exceeded)
    assert bool(exceeded) == (status == 1)
    assert int(suite.get("tests")) == len(suite.findall("testcase"))


def test_budgets_use_the_numbers_of_the_other_views(captures):
    for filters in ([], ["--thread", "4243"], ["--domain", "heap"], ["--function", "load"], ["--time", "0.4..0.6"],
                    ["--at", "600ms"]):
        for name in ("sample.bin", "killed.bin"):
            stats = json.loads(output(captures, "stats", "--json", *filters, name))
            leaks = json.loads(output(captures, "leaks", "--json", *filters, name))
            real = {"peak": stats["peak"]["bytes"], "total": stats["total_bytes_allocated"],
                    "allocations": stats["total_num_allocations"], "leak": leaks["groups"]["program"]["bytes"]}
            limits = [word for figure, value in real.items() for word in ("--max-" + figure, str(value))]
            report = json.loads(check(captures, "--json", *limits, *filters, name, status=0))
            assert {row["figure"]: row["measured"] for row in report["budgets"]} == real
            # One byte less is exceeded, and says where all of it is.
            for figure, value in real.items():
                if value == 0:
                    continue
                report = json.loads(check(captures, "--json", "--max-" + figure, str(value - 1), "-n", "10000", *filters,
                                          name, status=1))
                row, = report["budgets"]
                assert sum(place[row["unit"]] for place in row["places"]) == row["measured"] == value
            every = json.loads(check(captures, "--json", "--all", "--max-leak", "1GB", *filters, name, status=0))
            assert every["budgets"][0]["measured"] == leaks["total"]["bytes"] == stats["live_at_end"]["bytes"]


def test_a_window_has_the_numbers_of_the_other_views(captures):
    report = json.loads(output(captures, "windows", "--json", "-n", "100", "--kept", "100", "windows.bin"))
    names = [(window["name"], window["level"], window["closed"]) for window in report["windows"]]
    assert names == [("test_\x1b[2Ja", 0, True), ("test_b", 0, False), ("load", 1, True)]
    for window in report["windows"]:
        marks = ["--from", "begin " + window["name"]] + (["--to", "end " + window["name"]] if window["closed"] else [])
        stats = json.loads(output(captures, "stats", "--json", *marks, "windows.bin"))
        leaks = json.loads(output(captures, "leaks", "--json", "--all", *marks, "windows.bin"))
        table = json.loads(output(captures, "table", "--json", *marks, "windows.bin"))
        tree = json.loads(output(captures, "tree", "--json", *marks, "windows.bin"))
        assert (window["peak"]["bytes"], window["peak"]["count"]) == (stats["peak"]["bytes"], stats["peak"]["count"])
        assert window["total"] == {"bytes": stats["total_bytes_allocated"], "count": stats["total_num_allocations"]}
        assert window["kept"] == leaks["total"]
        assert window["kept"]["bytes"] == stats["live_at_end"]["bytes"]
        for leak in leaks["leaks"]:
            leak.pop("evidence", None)     # where the window lasts to the end
        assert window["leaks"] == leaks["leaks"] and window["groups"] == leaks["groups"]
        assert window["peak"]["bytes"] == table["total_bytes"] == tree["total_bytes"]
        assert window["peak"]["bytes"] == sum(place["peak_bytes"] for place in window["places"])
        check(captures, "--max-peak", str(window["peak"]["bytes"]), *marks, "windows.bin", status=0)
        check(captures, "--max-peak", str(window["peak"]["bytes"] - 1), *marks, "windows.bin", status=1)
    # At the end of the run, not of the window, when that is asked for.
    assert json.loads(output(captures, "leaks", "--json", "--from", "begin load", "--to", "end load", "--at", "end",
                             "windows.bin"))["total"] == {"bytes": 0, "count": 0}


def test_evidence_of_leaks_is_what_replays_of_its_times_say(captures):
    leaks = json.loads(output(captures, "leaks", "--json", "--all", "-n", "0", "leaky.bin"))
    ends, late = leaks["part_ends_s"], leaks["late"]
    assert len(ends) == 16
    stacks = {(leak["group"], *leak["stack"]): leak["evidence"] for leak in leaks["leaks"]}
    for part, end in enumerate(ends[:-1]):
        then = json.loads(output(captures, "leaks", "--json", "--all", "-n", "0", "--at", "{:.9f}".format(end),
                                 "leaky.bin"))
        held = {(leak["group"], *leak["stack"]): leak["bytes"] for leak in then["leaks"]}
        for stack, evidence in stacks.items():
            assert evidence["held_bytes"][part] == held.get(stack, 0)
    for leak in leaks["leaks"]:
        evidence, held = leak["evidence"], [0] + leak["evidence"]["held_bytes"]
        steps = list(zip(held, held[1:]))
        assert evidence["parts_grown"] == sum(after > before for before, after in steps)
        assert evidence["parts_shrunk"] == sum(after < before for before, after in steps)
        score = (max(0, evidence["parts_grown"] - evidence["parts_shrunk"]) + 1) / 18
        assert evidence["score"] == pytest.approx(score, abs=1e-4)
        grew = [part for part, (before, after) in enumerate(steps) if after > before]
        word = "once" if grew[-1] - grew[0] <= 1 else "growing" if grew[-1] >= 12 else "stopped"
        assert evidence["growth"] == word, (word, held)
        assert held[-1] == leak["bytes"]
        # Nothing of it is older than the first, and something is.
        for time, there in (("oldest_from_s", 0), ("oldest_to_s", 1)):
            old = json.loads(output(captures, "leaks", "--json", "--all", "-n", "0", "--time",
                                    "..{:.9f}".format(evidence[time]), "leaky.bin"))
            assert sum(other["stack"] == leak["stack"] for other in old["leaks"]) == there
    born = ["--time", "..{:.9f}".format(late["born_before_s"])]
    held = json.loads(output(captures, "stats", "--json", *born, "--at", "{:.9f}".format(late["freed_after_s"]),
                             "leaky.bin"))["live_at_end"]
    left = json.loads(output(captures, "stats", "--json", *born, "leaky.bin"))["live_at_end"]
    assert (late["bytes"], late["count"]) == (held["bytes"] - left["bytes"], held["count"] - left["count"])
    assert late["count"] == 24


def sums_by_name(captures, metric, name):
    """What each function allocated itself, wherever its lines lie."""
    sums = {}
    for row in json.loads(output(captures, "table", "--json", "-n", "0", "-m", metric, name))["rows"]:
        bytes_, count = sums.get((row["function"], row["file"], row.get("module", "")), (0, 0))
        sums[row["function"], row["file"], row.get("module", "")] = (bytes_ + row["own_bytes"], count + row["own_count"])
    return sums


def test_differences_are_those_of_the_tables(captures):
    for metric in ("peak", "leaked", "total", "temporary"):
        for before, after in (("leaky.bin", "leakier.bin"), ("leakier.bin", "leaky.bin"), ("sample.bin", "killed.bin"),
                              ("sample.bin", "hostile.bin"), ("leaky.bin", "leaky.bin")):
            old, new = sums_by_name(captures, metric, before), sums_by_name(captures, metric, after)
            for by in ("place", "function", "stack"):
                diff = json.loads(output(captures, "diff", "--json", "-n", "0", "--by", by, "-m", metric, before, after))
                key = {"leaked": "live"}.get(metric, metric) + "_bytes"
                growth = [row["after_bytes"] - row["before_bytes"] for row in diff["rows"]]
                assert growth == sorted(growth, reverse=True)
                assert sum(growth) == diff["after"][key] - diff["before"][key]
                assert diff["before"] == json.loads(output(captures, "stats", "--json", before))["total"]
                assert diff["after"] == json.loads(output(captures, "stats", "--json", after))["total"]
            diff = json.loads(output(captures, "diff", "--json", "-n", "0", "--by", "function", "-m", metric, before, after))
            rows = {(row["function"], row["file"], row["module"]): row for row in diff["rows"]}
            for name in set(old) | set(new):
                (old_bytes, old_count), (new_bytes, new_count) = old.get(name, (0, 0)), new.get(name, (0, 0))
                if (old_bytes, old_count) == (new_bytes, new_count):
                    assert name not in rows
                    continue
                row = rows.pop(name)
                assert (row["before_bytes"], row["before_count"]) == (old_bytes, old_count)
                assert (row["after_bytes"], row["after_count"]) == (new_bytes, new_count)
            assert not rows


def test_differences_of_families_are_those_of_their_merged_captures(captures):
    old, new = ["leaky.bin", "child.bin"], ["leakier.bin", "sample.bin", "child.bin"]
    for metric in ("peak", "leaked", "total"):
        asked = ["diff", "--json", "-n", "0", "--by", "stack", "-m", metric, *old, "--after", *new]
        diff = json.loads(output(captures, *asked))
        assert (diff["before_paths"], diff["after_paths"]) == (old, new)
        assert diff["before"] == json.loads(output(captures, "stats", "--json", *old))["total"]
        assert diff["after"] == json.loads(output(captures, "stats", "--json", *new))["total"]
        # The option may stand among others, and the order of sides is that of the operands.
        back = json.loads(output(captures, "diff", "-m", metric, *new, "--json", "--after", *old, "--by", "stack", "-n", "0"))
        # Lines are those of the run after, where they are told.
        stack = lambda row: tuple(frame.rsplit(":", 1)[0] for frame in row["stack"])
        assert sorted((stack(row), row["before_bytes"], row["after_bytes"]) for row in diff["rows"]) == sorted(
            (stack(row), row["after_bytes"], row["before_bytes"]) for row in back["rows"])
    assert output(captures, "diff", "leaky.bin", "--after", "leakier.bin") == \
        output(captures, "diff", "leaky.bin", "leakier.bin")
    for arguments in (["--after", *new], [*old, "--after"], ["leaky.bin", "--after", "child.bin", "--after", "leakier.bin"]):
        refused = sctmem(captures, "diff", *arguments)
        assert refused.returncode == 2 and b"--after" in refused.stderr


def test_differences_are_the_change_that_was_made(captures):
    diff = json.loads(output(captures, "diff", "--json", "--by", "function", "-m", "total", "leaky.bin", "leakier.bin"))
    changes = {row["function"]: (row["state"], row["after_bytes"] - row["before_bytes"],
                                 row["after_count"] - row["before_count"]) for row in diff["rows"]}
    # 200 blocks of 2000 in the place of 1000; 200 blocks of 300 no more; one of 7000 in the thread.
    assert changes == {"JSONDecoder.raw_decode": ("grown", 200000, 0), "libdemo.so+0x1234": ("gone", -60000, -200),
                       "worker": ("new", 7000, 1)}


def test_differences_fail_a_build_at_their_limit(captures):
    diff = json.loads(output(captures, "diff", "--json", "leaky.bin", "leakier.bin"))
    before, after = diff["before"]["peak_bytes"], diff["after"]["peak_bytes"]
    percent = (after - before) / before * 100
    for limit, status in ((str(after - before), 0), (str(after - before - 1), 1), ("0", 1), ("{:.2f}%".format(percent + .01), 0),
                          ("{:.2f}%".format(percent - .01), 1)):
        assert sctmem(captures, "diff", "--max-growth", limit, "leaky.bin", "leakier.bin").returncode == status, limit
        assert sctmem(captures, "diff", "--max-growth", limit, "leakier.bin", "leaky.bin").returncode == 0
    for arguments in (["leaky.bin"], ["leaky.bin", "leakier.bin", "sample.bin"], ["--html", "leaky.bin", "leakier.bin"],
                      ["--max-growth", "much", "leaky.bin", "leakier.bin"]):
        assert sctmem(captures, "diff", *arguments).returncode == 2


def test_leaks_can_fail_a_build(captures, tmp_path):
    (tmp_path / "supp").write_text("leak:^JSONDecoder.raw_decode$\nleak:nowhere\n")
    program = json.loads(output(captures, "leaks", "--json", "leaky.bin"))["groups"]["program"]["bytes"]
    for limit, status in ((program, 0), (program - 1, 1)):
        assert sctmem(captures, "leaks", "--max-leak", str(limit), "leaky.bin").returncode == status
    done = sctmem(captures, "leaks", "--max-leak", "64KB", "--suppressions", str(tmp_path / "supp"), "leaky.bin")
    assert done.returncode == 0
    assert "leak:nowhere  (nothing: it can go)" in done.stdout.decode()
    assert sctmem(captures, "leaks", "--late", "--at", "1", "leaky.bin").returncode == 2
    scored = json.loads(output(captures, "leaks", "--json", "--min-score", "80", "leaky.bin"))
    assert [leak["stack"][0].split(":")[0] for leak in scored["leaks"]] == ["JSONDecoder.raw_decode"]


def test_what_is_suppressed_is_counted(captures, tmp_path):
    (tmp_path / "supp").write_text(SUPPRESSIONS)
    before = json.loads(output(captures, "leaks", "--json", "sample.bin"))
    after = json.loads(output(captures, "leaks", "--json", "--suppressions", str(tmp_path / "supp"), "sample.bin"))
    report = json.loads(check(captures, "--json", "--max-leak", "4000", "--suppressions", str(tmp_path / "supp"),
                              "sample.bin", status=0))
    hits = {rule["pattern"]: (rule["bytes"], rule["count"]) for rule in report["suppressions"]}
    assert hits == {"^worker$": (100000, 1), "libdemo": (65536, 1), "nothing*here": (0, 0)}
    assert after["groups"]["suppressed"] == {"bytes": 165536, "count": 2}
    assert before["total"] == after["total"]
    assert before["groups"]["program"]["bytes"] - 165536 == after["groups"]["program"]["bytes"]
    assert report["budgets"][0]["measured"] == after["groups"]["program"]["bytes"] == 4000


def test_growth_is_measured_against_the_baseline(captures):
    same = json.loads(check(captures, "--json", "--max-growth", "0", "--baseline", "sample.bin", "sample.bin", status=0))
    assert [row["figure"] for row in same["budgets"]] == ["peak", "total", "leak", "allocations"]
    assert all(row["measured"] == row["limit"] == row["baseline"] for row in same["budgets"])
    report = json.loads(check(captures, "--json", "--max-growth", "12.5%", "--baseline", "child.bin", "-n", "10000",
                              "sample.bin", status=1))
    for row in report["budgets"]:
        assert row["limit"] == row["baseline"] + row["baseline"] // 8
        assert row["verdict"] == ("exceeded" if row["measured"] > row["limit"] else "within")
    # Nothing is at the same place in both, but for worker in app.py, which has less here: all the rest is growth.
    peak = report["budgets"][0]
    assert sum(place["bytes"] for place in peak["places"]) == peak["measured"] - 100000


def test_a_damaged_capture_proves_nothing(captures, tmp_path):
    bytes_ = bytearray((captures / "sample.bin").read_bytes())
    at = bytes_.rindex(b"SBLK")
    bytes_[at + 8] ^= 0xff
    (tmp_path / "damaged.bin").write_bytes(bytes_)
    done = sctmem(tmp_path, "check", "--max-peak", "1TB", "damaged.bin")
    assert done.returncode == 1 and b"incomplete, which fails the check" in done.stdout
    done = sctmem(tmp_path, "check", "--max-peak", "1TB", "--allow-incomplete", "--github", "damaged.bin")
    assert done.returncode == 0 and b"::warning title=sctmem%3A incomplete::" in done.stdout


def test_dump_has_each_record_once(captures):
    lines = [json.loads(line) for line in output(captures, "dump", "--json", "sample.bin").splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds[:2] == ["header", "status"]
    assert kinds.count("pyobject_malloc") == 31 and kinds.count("free_python") == 21 and kinds.count("map") == 2
    late = output(captures, "dump", "--time", "1.4..", "sample.bin").splitlines()
    assert [line.split()[3] for line in late[2:]] == ["free_python", "unmap", "free", "pyobject_malloc"]


def test_hostile_names_never_reach_the_terminal(captures):
    for arguments in (["stats"], ["leaks"], ["table"], ["table", "--by", "thread"], ["summary"], ["dump"], ["tree"]):
        text = output(captures, *arguments, "hostile.bin")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), arguments


def test_a_terminal_gets_colours_and_its_width(captures):
    def on_terminal(**more):
        master, slave = pty.openpty()
        subprocess.run(["stty", "cols", "60"], stdin=slave, check=True)
        with subprocess.Popen([COMMAND, "table", "sample.bin"], cwd=captures, env=environment(**more), stdout=slave,
                              stdin=subprocess.DEVNULL) as process:
            os.close(slave)
            text = b""
            while True:
                try:
                    got = os.read(master, 65536)
                except OSError:
                    got = b""
                if not got:
                    break
                text += got
        os.close(master)
        assert process.returncode == 0
        return text.decode()

    coloured = on_terminal()
    assert "\x1b[1m" in coloured
    plain = on_terminal(NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines()[3:])) <= 70


def test_a_reader_that_leaves_is_no_error(captures):
    for dispose in (signal.SIG_DFL, signal.SIG_IGN):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([COMMAND, "dump", "sample.bin"], cwd=captures, env=environment(), stdout=write,
                              stderr=subprocess.PIPE, restore_signals=False,
                              preexec_fn=lambda: signal.signal(signal.SIGPIPE, dispose))
        os.close(write)
        assert done.stderr == b"" and done.returncode == -signal.SIGPIPE


def test_a_full_disk_is_said(captures):
    done = subprocess.run([COMMAND, "stats", "sample.bin"], cwd=captures, env=environment(),
                          stdout=open("/dev/full", "wb"), stderr=subprocess.PIPE)
    assert done.returncode == 6
    assert done.stderr.decode().startswith("sctmem: cannot write standard output: No space left on device")


ERRORS = [
    (["statz"], 2, "unknown command statz; did you mean stats?"),
    (["--json"], 2, "the command comes before its options: sctmem VERB --json; see: sctmem help"),
    (["stats", "--jsno"], 2, "unknown option --jsno; did you mean --json?"),
    (["table", "--by", "colour"], 2, "--by colour: not one of function, file, module, line, stack, thread"),
    (["tree", "--at", ""], 2, "--at : not peak, end, a mark, or a time like 90, 1.5s or 1m30s"),
    (["tree", "--at", "noon", "sample.bin"], 2, "--at: no mark 'noon' in the capture (and not peak, end or a time like "
     "90, 1.5s or 1m30s); sctmem windows --marks lists them"),
    (["stats", "--time", "5..1"], 2, "--time 5..1: it ends before it begins"),
    (["stats", "--domain", "heap,stack"], 2,
     "--domain heap,stack: not a list of heap, python, mapped, arena, file, reserved"),
    (["stats", "--function", "("], 2, "--function (: not a regular expression: missing closing parenthesis, at byte 1"),
    (["tree", "--metric", "leaked", "--at", "1", "sample.bin"], 2,
     "leaked is what lives at the end; with --at use --metric live"),
    (["stats", "-o", "sample.bin", "sample.bin"], 6, "sample.bin exists; -f replaces it"),
    (["stats", "-o", "no/such/folder", "sample.bin"], 6, "cannot write no/such/folder: No such file or directory"),
    (["check", "sample.bin"], 2, "no budget to check: give --max-peak, --max-total, --max-leak, --max-allocations or "
     "--max-growth"),
    (["run", "--sample", "0" * 31 + "4096", "true"], 2, "--sample " + "0" * 31 + "4096: not a size like 512KiB or 4M, "
     "of less than 1 TiB"),
    (["check", "--max-peak", "12 parsecs"], 2, "--max-peak 12 parsecs: not a size like 0, 4096, 64KB, 1.5MiB or 2GB"),
    (["check", "--max-allocations", "1KB"], 2, "--max-allocations 1KB: not a number of allocations like 10000"),
    (["check", "--max-growth", "-1%"], 2, "--max-growth -1%: not a percentage like 5% or 2.5%"),
    (["check", "--max-growth", "1%", "sample.bin"], 2, "--max-growth and --baseline belong together: give both"),
    (["check", "--max-peak", "1", "--growth-of", "peak", "sample.bin"], 2,
     "--growth-of needs --max-growth and --baseline"),
    (["check", "--max-growth", "1%", "--growth-of", "weight", "--baseline", "sample.bin"], 2,
     "--growth-of weight: not a list of peak, total, leak, allocations"),
    (["check", "--max-peak", "1", "--github", "--json", "sample.bin"], 2,
     "--github and --json would mix on standard output: give -o FILE for the JSON"),
    (["check", "--max-leak", "1", "--suppressions", "missing", "sample.bin"], 3,
     "cannot read missing: No such file or directory"),
    (["windows", "--at", "peak", "windows.bin"], 2,
     "windows says by itself from where to where: leave --at, --from and --to out"),
    (["insights", "-a", "slop,nothing", "sample.bin"], 2,
     "--analysis slop,nothing: not a list of temporary, lifetimes, rates, churn, growth, slop, arenas, pages, "
     "resident, untouched, cross_thread, pairs, or all"),
    (["insights", "--temporary-time", "soon", "sample.bin"], 2,
     "--temporary-time soon: not a time like 10ms or 1.5s"),
    (["windows", "--name", "(", "windows.bin"], 2, "--name (: not a regular expression: missing closing parenthesis, at byte 1"),
    (["stats", "--from", "nowhere", "windows.bin"], 2,
     "no mark 'nowhere' in the capture; sctmem windows --marks lists them"),
    (["stats", "--to", "begin load", "--from", "end load", "windows.bin"], 2,
     "no mark 'begin load' after 'end load'; without --to the end is taken"),
    (["help", "cook"], 2, "no verb cook; see: sctmem help"),
    (["run"], 2, "no program to run: sctmem run -- python3 app.py"),
    (["run", "--", "no-such-program"], 127, "no-such-program: no such program in PATH"),
    (["run", "--", "./sample.bin"], 126,
     "./sample.bin cannot be executed: Permission denied; try chmod +x, or name its interpreter"),
    (["run", "--follow", "all", "--", "true"], 2, "--follow all: not none, fork, exec or exec:GLOB"),
]


@pytest.mark.parametrize("arguments,status,text", ERRORS, ids=[" ".join(row[0]) for row in ERRORS])
def test_errors_are_one_line_with_a_remedy(captures, arguments, status, text):
    done = sctmem(captures, *arguments)
    assert done.stderr.decode() == "sctmem: {}\n".format(text)
    assert done.returncode == status
    assert done.stdout == b""


def test_files_that_are_no_captures_have_their_statuses(captures, tmp_path):
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "empty").write_text("")
    for name, status in (("text", 4), ("empty", 4), ("missing", 3)):
        done = sctmem(tmp_path, "stats", name)
        assert done.returncode == status, (name, done.stderr)
        assert re.fullmatch(r"sctmem: .*{}.*\n".format(name), done.stderr.decode())
    newer = bytearray((captures / "sample.bin").read_bytes())
    newer[8] = 99
    (tmp_path / "newer").write_bytes(newer)
    assert sctmem(tmp_path, "stats", "newer").returncode in (4, 5)


def test_the_newest_capture_is_taken_and_named(captures, tmp_path):
    done = sctmem(tmp_path, "stats")
    assert done.returncode == 3 and b"no capture in this folder" in done.stderr
    for age, name in enumerate(["hostile.bin", "sample.bin", "killed.bin"]):
        (tmp_path / name).write_bytes((captures / name).read_bytes())
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "later.txt").write_text("not a capture")
    os.mkfifo(tmp_path / "pipe")
    done = sctmem(tmp_path, "summary")
    assert done.returncode == 0
    assert done.stderr == b"sctmem: reading hostile.bin, the newest capture here\n"


def test_output_files_are_whole_or_not_there(captures, tmp_path):
    target = tmp_path / "report.txt"
    sample = str(captures / "sample.bin")
    assert sctmem(tmp_path, "stats", "-o", str(target), sample).returncode == 0
    assert "By kind of memory" in target.read_text()
    target.write_text("old")
    assert sctmem(tmp_path, "stats", "-o", str(target), sample).returncode == 6
    assert target.read_text() == "old"
    assert sctmem(tmp_path, "stats", "-f", "-o", str(target), "missing.bin").returncode == 3
    assert target.read_text() == "old"
    assert sctmem(tmp_path, "stats", "-f", "-o", str(target), sample).returncode == 0
    assert "By kind of memory" in target.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report.txt"]


def verbs():
    listed = subprocess.run([COMMAND, "help", "--man"], stdout=subprocess.PIPE, check=True).stdout.decode()
    return re.findall(r"sctmem\\-([a-z]+)", listed), listed


def test_the_manual_page_lists_what_there_is():
    page = (ROOT / "docs" / "man" / "sctmem.1").read_text()
    _, listed = verbs()
    assert listed in page, "docs/man/sctmem.1, VERBS: put the output of sctmem help --man there"
    statuses = {int(value) for value in
                re.findall(r"STATUS_[A-Z_]+ = (\d+)", (ROOT / "reader" / "error.h").read_text())}
    assert statuses == {int(value) for value in re.findall(r"^\.B (\d+)$", page, re.MULTILINE)}
    variables = re.findall(r'X\("(SCTMEM_[A-Z_]+)"', (ROOT / "preload" / "config.h").read_text())
    assert variables
    for name in variables:
        assert ".B " + name + "\n" in page, name


def test_each_verb_has_help_a_page_and_completions(captures):
    names, _ = verbs()
    completions = {shell: output(captures, "help", "--completion", shell) for shell in ("bash", "zsh", "fish")}
    building = (ROOT / "docs" / "meson.build").read_text()
    for verb in names:
        text = output(captures, verb, "--help")
        assert text == output(captures, "help", verb)
        page = output(captures, "help", "--man", verb).replace("\\-", "-")
        assert "'{}'".format(verb) in building, "docs/meson.build lacks " + verb
        for option in re.findall(r"--([a-z-]+)", "\n".join(re.findall(r"^ .{3,5}--[a-z-]+", text, re.MULTILINE))):
            assert "--{}\\fR".format(option) in page, (verb, option)
            for shell, completion in completions.items():
                assert re.search(r"(--|-l ){}\b".format(option), completion), (shell, verb, option)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_sound(captures, tmp_path, shell):
    if subprocess.run(["sh", "-c", "command -v " + shell], stdout=subprocess.DEVNULL).returncode != 0:
        pytest.skip("no {} on this machine".format(shell))
    script = tmp_path / "completion"
    script.write_text(output(captures, "help", "--completion", shell))
    subprocess.run([shell, "-n", str(script)], check=True)
    if shell == "bash":
        words = subprocess.run(["bash", "-c", 'source "$0"; COMP_WORDS=(sctmem table --metric t); COMP_CWORD=3; _sctmem; '
                                'echo "${COMPREPLY[@]}"', str(script)], stdout=subprocess.PIPE, check=True).stdout
        assert words.split() == [b"total", b"temporary"]
    if shell == "fish":
        words = subprocess.run(["fish", "-c", "source {}; complete -C 'sctmem sta'".format(script)],
                               stdout=subprocess.PIPE, check=True, env=environment(HOME=str(tmp_path))).stdout
        assert words.startswith(b"stats\t")


class TestRun:
    """sctmem run, with the library of the build."""

    def run(self, folder, *arguments, **more):
        if b"FAIL" in sctmem(folder, "doctor", sys.executable).stdout:
            pytest.skip("the library is not built: see sctmem doctor")
        return sctmem(folder, "run", *arguments, **more)

    def test_the_exit_status_is_passed_on(self, tmp_path):
        done = self.run(tmp_path, "-o", "a.bin", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (done.returncode, done.stdout) == (7, b"out\n")
        lines = done.stderr.decode().splitlines()
        assert lines[0] == "err" and re.fullmatch(r"sctmem: wrote a\.bin: peak .*, .* allocations of .*, .* never freed",
                                                  lines[1]), lines

    def test_quiet_says_nothing(self, tmp_path):
        done = self.run(tmp_path, "-q", "-o", "a.bin", "--", "true")
        assert (done.returncode, done.stderr) == (0, b"")
        assert (tmp_path / "a.bin").exists()

    def test_a_signal_ends_both(self, tmp_path):
        for name in ("SIGKILL", "SIGABRT", "SIGTERM"):
            done = self.run(tmp_path, "-q", "--", "sh", "-c", "kill -{} $$".format(name[3:]))
            assert done.returncode == -getattr(signal, name)

    def test_signals_are_forwarded(self, tmp_path):
        self.run(tmp_path, "-q", "--", "true")
        process = subprocess.Popen([COMMAND, "run", "-q", "-o", "t.bin", "--", "sh", "-c",
                                    "trap 'exit 33' TERM; echo ready; while :; do sleep 0.05; done"],
                                   cwd=tmp_path, env=environment(), stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 33
        process.stdout.close()

    def test_an_existing_file_is_kept_without_force(self, tmp_path):
        assert self.run(tmp_path, "-q", "-o", "a.bin", "--", "true").returncode == 0
        first = (tmp_path / "a.bin").read_bytes()
        done = self.run(tmp_path, "-o", "a.bin", "--", "touch", "ran")
        assert done.returncode == 6 and not (tmp_path / "ran").exists()
        assert self.run(tmp_path, "-f", "-q", "-o", "a.bin", "--", "touch", "ran").returncode == 0
        assert (tmp_path / "ran").exists()
        assert sctmem(tmp_path, "stats", "a.bin").returncode == 0
        assert (tmp_path / "a.bin").read_bytes() != first

    def test_force_replaces_captures_only(self, tmp_path):
        (tmp_path / "a.bin").write_text("mine")
        assert self.run(tmp_path, "-f", "-q", "-o", "a.bin", "--", "touch", "ran").returncode == 6
        assert not (tmp_path / "ran").exists() and (tmp_path / "a.bin").read_text() == "mine"

    def test_a_script_needs_no_interpreter(self, tmp_path):
        (tmp_path / "app.py").write_text("import sys; print(sys.argv)")
        done = self.run(tmp_path, "-q", "app.py", "-o", "--json", PATH="/usr/bin:/bin")
        assert done.stdout == b"['app.py', '-o', '--json']\n", done.stderr

    def test_the_preload_of_others_stays(self, tmp_path):
        done = self.run(tmp_path, "-q", "--", "sh", "-c", "echo $LD_PRELOAD", LD_PRELOAD="libm.so.6")
        assert re.fullmatch(rb".*/libsctmem\.so:libm\.so\.6\n", done.stdout)


def test_doctor_tells_what_is_wrong(tmp_path):
    (tmp_path / "static.c").write_text("int main(void) { return 0; }\n")
    if subprocess.run(["gcc", "-static", "-o", "static", "static.c"], cwd=tmp_path, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no static linking here")
    subprocess.run(["gcc", "-o", "dynamic", "static.c"], cwd=tmp_path, check=True)
    (tmp_path / "setuid").write_bytes((tmp_path / "dynamic").read_bytes())
    os.chmod(tmp_path / "setuid", 0o755)
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    os.chmod(tmp_path / "script", 0o755)
    (tmp_path / "garbage").write_bytes(b"\x7fELF" + b"\xff" * 60)
    os.chmod(tmp_path / "garbage", 0o755)
    for name, word in (("static", "linked statically"), ("script", "no such program"), ("missing", "no such program"),
                       ("garbage", "another machine")):
        done = sctmem(tmp_path, "doctor", "./" + name)
        assert done.returncode == 8, name
        assert word in done.stdout.decode(), (name, done.stdout)
    if os.geteuid() == 0:
        os.chown(tmp_path / "setuid", 1, 1)
        os.chmod(tmp_path / "setuid", 0o4755)
        assert "setuid" in sctmem(tmp_path, "doctor", "./setuid").stdout.decode()
    # Whatever bytes: an answer, no crash.
    whole = (tmp_path / "dynamic").read_bytes()
    for cut in (4, 17, 63, 64, 100, 500, len(whole) // 2):
        (tmp_path / "cut").write_bytes(whole[:cut])
        os.chmod(tmp_path / "cut", 0o755)
        assert sctmem(tmp_path, "doctor", "./cut").returncode in (0, 8)
    report = json.loads(sctmem(tmp_path, "doctor", "--json", "./static").stdout)
    assert report["works"] is False
