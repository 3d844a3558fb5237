# SPDX-License-Identifier: MIT
"""Every view and export of the command on every kind of capture: statuses, notes, and one number everywhere.

The views are those of views.py, which takes them from the command itself.  Each kind of capture is made once.
Native frames are shown without their names, which takes a tenth of the time; SCTMEM_MATRIX_FULL=1 in front shows
everything with names, and each metric in each format.
"""
import base64
import collections
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from recording import clean_environment, run
from views import OTHERS, VIEWS, Grammar

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "export"))
import readers  # noqa: E402

FULL = bool(os.environ.get("SCTMEM_MATRIX_FULL"))
METRICS = {"peak": "peak", "leaked": "live", "total": "total", "temporary": "temporary"}
PYTHON = "kept = [{'a': [i, str(i) * 3]} for i in range(500)]; del kept[::2]"

# What a view may and must say, by kind: a warning or note that is not expected fails, one that is missing too.
SAMPLED = r"^note: sampled, .* figures of blocks are estimates, mappings are exact"
DAMAGED = r"^warning: [^:]+: damaged: .* is in no figure, and what was freed there counts as live$"
# Windows have nothing that is forgotten, and say how long the gaps were.
FORGOTTEN = r"^warning: [^:]+: recording was stopped (meanwhile; what lived then, .* is not followed|for .* in all)"
CONTRADICTED = r"^warning: [^:]+: \d+ events contradict the others"
STOPPED = r"^warning: [^:]+: recording was stopped before the end; what lives at the end is what lived then"
NEVER = r"^warning: [^:]+: recording was never started: nothing is known"
FIRST_GONE = r"^warning: [^:]+: the segments before number \d+ are not here: what was allocated in them"
COMPACTED = r"^note: [^:]+: compacted: live memory is exact at the peak"
AGGREGATED = r"^note: aggregated: of .* there are sums only; totals, and what is live at samples of resident memory"


class Kind:
    """How captures of one kind are made, and what is documented of them."""

    def __init__(self, make, says=(), may=(), compact=None, symbolize=None, top=None, incomplete=False, account=True,
                 exact=True):
        self.make, self.says, self.may, self.account, self.exact = make, list(says), list(may), account, exact
        self.refused = {"compact": compact, "symbolize": symbolize, "top": top}     # (status, text)
        self.incomplete = incomplete


Made = collections.namedtuple("Made", "paths account")     # account: (allocations, bytes, live blocks, live bytes)


class Maker:
    """Makes each capture once, in a folder of its own."""

    def __init__(self, tools, victim, folder):
        self.tools, self.folder, self.program, self.made = tools, folder, victim("matrix"), {}

    def __call__(self, name):
        if name not in self.made:
            (self.folder / name).mkdir()
            self.made[name] = KINDS[name].make(self, self.folder / name)
        return self.made[name]

    def environment(self, folder, **settings):
        return clean_environment(LD_PRELOAD=str(self.tools.library), SCTMEM_OUT=str(folder / "%e.%p.bin"),
                                 SCTMEM_NATIVE=settings.pop("SCTMEM_NATIVE", "full"), **settings)

    def run(self, folder, *words, program=None, **settings):
        ended = run([program or self.program] + list(words), self.environment(folder, **settings))
        assert (ended.status, ended.stderr) == (0, b""), ended
        return Made(sorted(folder.iterdir()), self.account(ended.stdout))

    @staticmethod
    def account(said):
        """Of a family: what was allocated adds up; what lived at a fork is an inheritance, and not added."""
        lines = [tuple(map(int, line.split())) for line in said.decode().splitlines()]
        return lines[0] if len(lines) == 1 else lines

    def start(self, folder, *words, traced=True):
        environment = self.environment(folder) if traced else clean_environment()
        return subprocess.Popen([str(self.program)] + list(words), env=environment, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)

    def copy(self, name, folder):
        for path in self(name).paths:
            shutil.copy(str(path), str(folder / path.name))
        return sorted(folder.iterdir())

    def end(self, process):
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


def killed(maker, folder):
    process = maker.start(folder, "wait")
    said = process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    maker.end(process)
    return Made(sorted(folder.iterdir()), maker.account(said))


def attached(maker, folder):
    process = maker.start(folder, "asked", traced=False)
    process.stdout.readline()
    path = folder / "attached.bin"
    done = maker.tools.run_command("attach", "--native", "full", "-o", path, process.pid, check=False)
    if done.returncode != 0:
        process.kill()
        maker.end(process)
        pytest.skip("attaching does not work here: " + done.stderr.decode())
    process.stdin.write(b"x")
    process.stdin.flush()
    said = process.stdout.readline()
    maker.tools.run_command("detach", process.pid)
    maker.end(process)
    return Made([path], maker.account(said))


def steered(maker, folder):
    """Stopped by sctmem ctl, and not started again."""
    process = maker.start(folder, "wait")
    said = process.stdout.readline()
    control = subprocess.Popen([str(maker.tools.command), "ctl", str(process.pid), "stop"], stdout=subprocess.DEVNULL)
    while control.poll() is None:
        process.stdin.write(b"x")       # it allocates, and so sees to what was asked
        process.stdin.flush()
        time.sleep(0.002)
    assert control.returncode == 0
    maker.end(process)
    return Made(sorted(folder.iterdir()), maker.account(said))


def compacted(maker, folder):
    maker.tools.run_command("compact", "--points", "20", maker("exact").paths[0], "-o", folder / "small.bin")
    return Made([folder / "small.bin"], maker("exact").account)


def symbolized(maker, folder):
    maker.tools.run_command("symbolize", maker("exact").paths[0], "-o", folder / "named.bin")
    return Made([folder / "named.bin"], maker("exact").account)


def truncated(maker, folder):
    """In the middle of a word of the window that had the newest events."""
    data = maker("exact").paths[0].read_bytes()
    (folder / "cut.bin").write_bytes(data[:data.index(b"SBLK\1") + 64 + 64 + 8 * 1001 + 3])
    return Made([folder / "cut.bin"], None)


def rotated(maker, folder):
    # Under one name, as the command records a run in segments.
    ended = run([maker.program, "plain", "130000"], clean_environment(
        LD_PRELOAD=str(maker.tools.library), SCTMEM_OUT=str(folder / "run.bin"), SCTMEM_NATIVE="full",
        SCTMEM_ROTATE="256K"))
    assert ended.status == 0 and len(list(folder.iterdir())) >= 4
    return Made([folder / "run.bin"], maker.account(ended.stdout))


def segments(folder):
    return [folder / "run.bin"] + sorted(folder.glob("run.0*.bin"))


def rotated_named(maker, folder):
    whole = maker("rotated")
    return Made(segments(whole.paths[0].parent)[::-1], whole.account)


def without(which):
    def make(maker, folder):
        for path in segments(maker("rotated").paths[0].parent):
            shutil.copy(str(path), str(folder / path.name))
        for path in segments(folder)[which]:
            path.unlink()
        return Made([folder / "run.bin"] if which.start is None else segments(folder), None)
    return make


SAMPLE = (2, b"holds a sample")
KINDS = {
    "exact": Kind(lambda maker, folder: maker.run(folder, "plain")),
    "empty": Kind(lambda maker, folder: maker.run(folder, "nothing")._replace(account=None)),
    "killed": Kind(killed),
    "truncated": Kind(truncated, [DAMAGED], symbolize=(4, b"cut within"), incomplete=True),
    "attached": Kind(attached),
    "family": Kind(lambda maker, folder: maker.run(folder, "fork")),
    "python": Kind(lambda maker, folder: maker.run(folder, "-S", "-E", "-c", PYTHON, program="/usr/bin/python3",
                                                   SCTMEM_NATIVE="leaf")._replace(account=None)),
    "python without its allocators": Kind(lambda maker, folder: maker.run(
        folder, "-S", "-E", "-c", PYTHON, program="/usr/bin/python3", SCTMEM_NATIVE="no",
        SCTMEM_PYTHON_ALLOCATORS="no")._replace(account=None)),
    "sampled": Kind(lambda maker, folder: maker.run(folder, "plain", SCTMEM_SAMPLE="4KiB,seed=3"), [SAMPLED],
                    compact=SAMPLE, account=False, exact=False),
    "below its size": Kind(lambda maker, folder: maker.run(folder, "plain", SCTMEM_MAX_SIZE="4M"), compact=SAMPLE),
    "capped, in sums": Kind(lambda maker, folder: maker.run(folder, "plain", "350000", SCTMEM_MAX_SIZE="4M"),
                            [AGGREGATED], compact=SAMPLE),
    "capped": Kind(lambda maker, folder: maker.run(folder, "plain", "3000000", SCTMEM_MAX_SIZE="4M"),
                   [SAMPLED, AGGREGATED], compact=SAMPLE, account=False, exact=False),
    "stopped and started": Kind(lambda maker, folder: maker.run(folder, "stops"), [FORGOTTEN]),
    "stopped": Kind(lambda maker, folder: maker.run(folder, "stopped"), [STOPPED]),
    "stopped from outside": Kind(steered, [STOPPED]),
    "never started": Kind(lambda maker, folder: maker.run(folder, "plain", SCTMEM_START="off")._replace(account=None),
                          [NEVER]),
    "compacted": Kind(compacted, [COMPACTED], compact=(2, b"compact already"), top=(2, b"is compacted")),
    "aggregated": Kind(lambda maker, folder: maker.run(folder, "plain", "150000", SCTMEM_AGGREGATE="yes"), [AGGREGATED],
                       compact=(2, b"aggregated as it was recorded")),
    "aggregated, a family": Kind(lambda maker, folder: maker.run(folder, "fork", "150000", SCTMEM_AGGREGATE="yes"),
                                 [AGGREGATED]),
    "aggregated, stopped and started": Kind(
        lambda maker, folder: maker.run(folder, "stops", "150000", SCTMEM_AGGREGATE="yes"), [AGGREGATED, FORGOTTEN],
        compact=(2, b"aggregated as it was recorded")),
    "symbolized": Kind(symbolized),
    "rotated": Kind(rotated),
    "rotated, each file named": Kind(rotated_named, symbolize=(2, b"takes one")),
    "rotated, the first gone": Kind(without(slice(None, 2)), [FIRST_GONE]),
    "rotated, some between gone": Kind(without(slice(1, 2)), [DAMAGED], [CONTRADICTED], symbolize=(2, b"takes one"),
                                       incomplete=True),
}


@pytest.fixture(scope="module")
def maker(tools, victim, tmp_path_factory):
    return Maker(tools, victim, tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module")
def grammar(tools):
    return Grammar(tools)


def test_each_verb_and_each_format_has_its_line(grammar):
    assert set(grammar.verbs) == set(VIEWS) | set(OTHERS) and not set(VIEWS) & set(OTHERS)
    assert set(grammar.choices["export", "format"]) == set(EXPORTS)
    # The fuzz targets run the same verbs, but top, which they do not wait for.
    text = (ROOT / "tests" / "fuzz" / "verbs.h").read_text()
    fuzzed = re.findall(r'"([a-z]+)"', text[text.index("reading[]"):text.index("};")])
    assert set(fuzzed) == set(VIEWS) - {"top"} | {"help"}


# What came of the views of one kind ----------------------------------------------------------------------------------

class Shown:
    """The views of one kind of capture, each run once; what they said is held against the stats of the same."""

    def __init__(self, tools, grammar, kind, made, folder):
        self.tools, self.grammar, self.kind, self.made, self.folder = tools, grammar, kind, made, folder
        self.stats = self.json("stats", "--json")
        self.total = self.stats["total"]

    def options(self, verb):
        return ["--no-symbols"] if not FULL and "--no-symbols" in self.grammar.options[verb] else []

    def json(self, verb, *words):
        return json.loads(self.tools.run_command(verb, *words, *self.options(verb), *self.made.paths).stdout.decode())

    def figures(self, metric):
        name = METRICS[metric]
        return self.total[name + "_bytes"], self.total[name + "_count"]

    def wanted_status(self, view):
        if self.kind.refused.get(view.verb):
            return self.kind.refused[view.verb][0]
        if view.verb in ("compact", "symbolize", "top") and len(self.made.paths) > 1:
            return 2
        if view.verb == "check":
            over = self.total["total_count" if "--json" in view.words else "peak_bytes"] > 0
            return 1 if over or self.kind.incomplete else 0
        return 0

    def run(self, view):
        out = self.folder / "out"
        shutil.rmtree(str(out), ignore_errors=True)
        out.mkdir()
        words = view.arguments(self.made.paths, out / "out.bin", self.options(view.verb))
        if "pair" in view.flags:
            words = words[:len(words) - len(self.made.paths) - 1] + self.made.paths + ["--after"] + self.made.paths
        done = self.tools.run_command(*words, check=False)
        status = self.wanted_status(view)
        assert done.returncode == status, (view.name, done.returncode, done.stderr)
        if status > 1:
            assert re.fullmatch(rb"sctmem: [^\n]*\n", done.stderr) and done.stdout == b"", (view.name, done.stderr)
            assert (self.kind.refused.get(view.verb) or (0, b""))[1] in done.stderr, (view.name, done.stderr)
            assert not list(out.iterdir())
            return None
        self.check_said(view, done.stdout.decode("utf-8", "replace"), done.stderr.decode())
        # A run in segments is several files.
        return sorted(out.iterdir())[0].read_bytes() if "file" in view.flags else done.stdout

    def check_said(self, view, out, err):
        if view.verb == "export":
            self.check_notes(view, err.splitlines(), err.splitlines())
        elif view.verb == "compact":
            assert re.fullmatch(r"sctmem: \S+ \S+ of \S+ \S+, \S+ of \S+ events kept\n", err), err
        else:
            assert err == "", (view.name, err)
        if "file" in view.flags or "--json" in view.words or view.verb in ("dump", "top"):
            return
        notes = [line for line in out.splitlines() if re.match("warning: |note: ", line)]
        # stats tells the same in rows of its own, beside each capture.
        self.check_notes(view, notes, out.splitlines() if view.verb == "stats" else notes)

    def check_notes(self, view, notes, where):
        for line in notes:
            assert any(re.match(pattern, line) for pattern in self.kind.says + self.kind.may), (view.name, line)
        if view.verb == "stats":
            return
        for pattern in self.kind.says:
            assert any(re.match(pattern, line) for line in where), (view.name, pattern, where)

    def is_sample(self, found):
        """Whether an object says that it holds estimates."""
        return "sample" in found and "interval_95" in found["sample"]


def check_stats(shown):
    stats, total = shown.stats, shown.total
    assert stats["total_num_allocations"] == total["total_count"] == \
        sum(row["count"] for row in stats["allocation_size_histogram"]) == \
        sum(stats["allocator_type_distribution"].values()) == stats["metadata"]["total_allocations"]
    assert stats["total_bytes_allocated"] == total["total_bytes"] == \
        sum(row["bytes"] for row in stats["allocation_size_histogram"])
    assert (stats["peak"]["bytes"], stats["peak"]["count"]) == shown.figures("peak")
    assert (stats["live_at_end"]["bytes"], stats["live_at_end"]["count"]) == shown.figures("leaked")
    assert (stats["temporary"]["bytes"], stats["temporary"]["count"]) == shown.figures("temporary")
    assert stats["metadata"]["peak_memory"] == total["peak_bytes"]
    arenas = [] if all(capture["trace_python_allocators"] for capture in stats["captures"]) else ["arena"]
    for key, value in total.items():
        assert value == sum(thread["cost"][key] for thread in stats["threads"]), key
        assert value == sum(stats["by_domain"][domain][key] for domain in ["heap", "python", "mapped"] + arenas), key
        assert value == sum(cost[key] for cost in stats["by_allocator"].values()), key


def check_account(shown):
    """What the program itself has counted."""
    taken = shown.json("stats", "--json", "--function", "^take$") if FULL else json.loads(shown.tools.run_command(
        "stats", "--json", "--function", "^take$", *shown.made.paths).stdout.decode())
    account = shown.made.account
    if isinstance(account, list):
        account = (sum(line[0] for line in account), sum(line[1] for line in account))
    else:
        forgotten = sum(capture["forgotten_count"] + capture["gaps"] for capture in taken["captures"])
        account = account[:2] if forgotten else account
    costs = taken["total"]
    said = (costs["total_count"], costs["total_bytes"], costs["live_count"], costs["live_bytes"])
    assert said[:len(account)] == account


def read_page(data):
    """(meta data, sites as lists of eight costs) of a page: formats/report.md."""
    text = data.decode("utf-8")
    meta = json.loads(re.search(r'<script type="application/json" id="meta">(.*?)</script>', text, re.DOTALL).group(1))
    packed = re.search(r'id="columns">(.*?)</script>', text, re.DOTALL).group(1)
    columns = gzip.decompress(base64.b64decode("".join(packed.split())))
    assert columns[:5] == b"SCTR\1" and columns.endswith(b"END.")
    at = 5

    def row(count):
        nonlocal at
        values = []
        for _ in range(count):
            value, at = readers.varint(columns, at)
            values.append(value)
        return values
    strings, frames, nodes, threads, sites = row(17)[:5]
    sizes = row(strings)
    at += sum(sizes)
    for count in (frames, frames, frames, frames):
        row(count)
    at += 2 * frames
    for count in (nodes - 1, nodes - 1, threads, threads, threads, threads, sites, sites):
        row(count)
    domains = columns[at:at + sites]
    at += 2 * sites
    costs = [row(sites) for _ in range(8)]
    return meta, [[column[i] for column in costs] for i in range(sites) if domains[i] < 128]


def check_page(shown, data):
    meta, sites = read_page(data)
    wanted = list(shown.total.values())
    assert meta["total"] == wanted and meta["clamped"] == 0
    assert [sum(column) for column in zip(*sites)] == (wanted if sites else []) and (sites or not any(wanted))


def check_rows(shown, found, metric="peak"):
    assert (found["total_bytes"], found["total_count"]) == shown.figures(metric)
    if found.get("by") == "thread":
        sums = [sum(row[key] for row in found["rows"]) for key in ("total_bytes", "total_count")]
    else:
        sums = [sum(row[key] for row in found["rows"]) for key in ("own_bytes", "own_count")]
    assert tuple(sums) == shown.figures(metric), found["by"]
    assert found["row_count"] == len(found["rows"])


def check_tree(shown, found):
    assert found["total_bytes"] == sum(node["own_bytes"] for node in found["nodes"]) == shown.total["peak_bytes"]


def check_leaks(shown, found):
    live = shown.figures("leaked")
    assert (found["total"]["bytes"], found["total"]["count"]) == live
    for rows in (found["leaks"], list(found["groups"].values())):
        assert (sum(row["bytes"] for row in rows), sum(row["count"] for row in rows)) == live


def check_diff(shown, found):
    assert found["before"] == found["after"] == shown.total and found["rows"] == []


def check_budgets(shown, found):
    measured = {row["figure"]: row["measured"] for row in found["budgets"]}
    assert measured == {"peak": shown.total["peak_bytes"], "allocations": shown.total["total_count"]}
    assert found["incomplete"] == shown.kind.incomplete


def check_windows(shown, found):
    """Those of the first: what the other views say between its marks."""
    for window in found.get("windows", [])[:1]:
        marks = ["--from", "begin " + window["name"]]
        marks += ["--to", "end " + window["name"]] if window["closed"] else []
        stats = shown.json("stats", "--json", *marks)
        assert (window["total"]["bytes"], window["total"]["count"]) == (
            stats["total"]["total_bytes"], stats["total"]["total_count"])
        assert (window["kept"]["bytes"], window["kept"]["count"]) == (
            stats["total"]["live_bytes"], stats["total"]["live_count"])
        assert window["peak"]["bytes"] == stats["total"]["peak_bytes"]


def check_insights(shown, found):
    total = {name: analysis["places"]["total"] for name, analysis in found["analyses"].items()
             if analysis["available"] and "places" in analysis}
    if "temporary" in total:
        assert (total["temporary"]["total_bytes"], total["temporary"]["total_count"]) == shown.figures("total")
        assert (total["rates"]["total_bytes"], total["rates"]["total_count"]) == shown.figures("total")
    if "lifetimes" in total:
        assert (total["lifetimes"]["alive_bytes"], total["lifetimes"]["alive_count"]) == shown.figures("leaked")


def check_top(shown, found):
    # One process; of a run in segments the one that was named.  A window that is cut is left out by what follows a
    # capture that grows.
    if shown.stats["captures"][0]["segment_first"] == 0 and not shown.stats["captures"][0]["damaged"]:
        assert (found["live_bytes"], found["live_count"]) == shown.figures("leaked")
        assert found["peak_bytes"] == shown.total["peak_bytes"]
        assert sum(row["own_bytes"] for row in found["rows"]) == shown.total["live_bytes"]


JSON_CHECKS = {"stats": lambda shown, found: check_stats(shown), "summary": check_rows, "table": check_rows,
               "tree": check_tree, "leaks": check_leaks, "diff": check_diff, "check": check_budgets,
               "windows": check_windows, "insights": check_insights, "top": check_top}


# Exports -------------------------------------------------------------------------------------------------------------

def check_all_metrics(read):
    def check(shown, data):
        found = read(data)
        assert {name: found[short] for name, short in METRICS.items()} == {
            name: shown.figures(name) for name in METRICS}
    return check


def check_one_metric(read):
    def check(shown, data, metric="peak"):
        size, count = read(data)
        wanted = shown.figures(metric)
        assert (size, wanted[1] if count is None else count) == wanted
    return check


def check_chrome(shown, data):
    events = readers.read_chrome(data)
    peaks = [event["args"]["bytes"] for event in events.get("i", []) if event["name"] == "peak" and "args" in event]
    assert peaks == [shown.total["peak_bytes"]] or shown.total["total_bytes"] == 0
    assert sum(event["args"]["bytes"] for event in events["C"]
               if event["name"] == "allocated since the point before") == shown.total["total_bytes"]


def check_firefox(shown, data):
    found = readers.read_firefox(data)
    assert found == {short: shown.figures(name)[0] for name, short in METRICS.items()}


def check_massif(shown, data):
    snapshots = readers.Massif(data.decode()).snapshots
    for kind, metric in (("peak", "peak"), ("detailed", "leaked")):
        found = [size for _, size, which, _ in snapshots if which == kind]
        assert found == [shown.figures(metric)[0]] or (found == [] and shown.total["total_bytes"] == 0), kind


def check_events(read):
    """Formats of each event have those that were recorded: of a sample, a compacted or aggregated capture not all."""
    def check(shown, data):
        found = read(data)
        capture = shown.stats["captures"][0]
        if shown.kind.exact and not capture["compacted_ns"] and not capture["aggregated_blocks"]:
            for metric, value in found.items():
                assert value == shown.figures(metric), metric
    return check


def read_heaptrack(data):
    file = readers.Heaptrack(data)
    return {"leaked": (file.live, file.live_count)}


def read_dhat(data):
    found = readers.read_dhat(data)
    return {"peak": found["peak"], "leaked": found["live"], "total": found["total"]}


EXPORTS = dict({name: check_all_metrics(read) for name, read in readers.ALL_METRICS.items()},
               **{name: check_one_metric(read) for name, read in readers.ONE_METRIC.items()})
EXPORTS.update(chrome=check_chrome, firefox=check_firefox, massif=check_massif, dhat=check_events(read_dhat),
               heaptrack=check_events(read_heaptrack))


def check_view(shown, view, data):
    if view.verb in ("report", "flamegraph"):
        check_page(shown, data)
    elif view.verb == "export" and "--table" in view.words:
        if view.words[-1] == "sites":
            assert readers.read_csv_sites(data)["peak"] == shown.figures("peak")
        readers.read_csv(data)
    elif view.verb == "export":
        EXPORTS[view.words[-1]](shown, data)
    elif view.verb in ("compact", "symbolize") and "file" in view.flags:
        copies = sorted((shown.folder / "out").iterdir())
        assert len(copies) == 1 or view.verb == "symbolize"
        stats = json.loads(shown.tools.run_command("stats", "--json", "--no-symbols", *copies).stdout.decode())
        assert stats["total"] == shown.total
    elif view.verb == "dump" and "--json" in view.words:
        rows = data.decode().splitlines()
        lines = [json.loads(line) for line in rows[:1000] + rows[-1000:]]
        assert [line["kind"] for line in lines[:2]] == ["header", "status"]
    elif "--json" in view.words:
        found = json.loads(data.decode())
        if "--marks" not in view.words:
            assert shown.is_sample(found) != shown.kind.exact, (
                view.name, "what is an estimate is said to be one")
        JSON_CHECKS[view.verb](shown, found)


def check_metrics(shown):
    """Each metric in each view that takes one."""
    for metric in METRICS:
        check_rows(shown, shown.json("table", "--by", "stack", "-n", "0", "--json", "-m", metric), metric)
        found = shown.json("tree", "--json", "--min-percent", "0", "-b", "1000000", "-m", metric)
        assert found["total_bytes"] == sum(node["own_bytes"] for node in found["nodes"]) == shown.figures(metric)[0]
        for name in readers.ONE_METRIC if FULL else ["folded"]:
            done = shown.tools.run_command("export", "--format", name, "-m", metric, *shown.options("export"),
                                           *shown.made.paths)
            EXPORTS[name](shown, done.stdout, metric)


@pytest.mark.parametrize("name", list(KINDS))
def test_every_view_of_every_kind(tools, grammar, maker, tmp_path, name):
    kind = KINDS[name]
    shown = Shown(tools, grammar, kind, maker(name), tmp_path)
    check_stats(shown)
    if kind.account and shown.made.account:
        check_account(shown)
    wrong = []
    for view in grammar.views():
        try:
            data = shown.run(view)
            if data is not None:
                check_view(shown, view, data)
        except AssertionError as error:
            wrong.append((view.name, str(error)[:1000]))
    assert not wrong, "\n".join("{}: {}".format(*row) for row in wrong)
    check_metrics(shown)
