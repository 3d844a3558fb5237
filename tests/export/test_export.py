# SPDX-License-Identifier: MIT
"""Every export holds what stats says, to the byte, and is well-formed, also with hostile names."""
import gzip
import json
import os
import pathlib
import pty
import re
import subprocess

import pytest

import readers
from conftest import COMMAND, HERE, environment, sctmem

FORMATS = re.findall(r"^\tX\((\w+)\)", (HERE.parents[1] / "reader" / "export.h").read_text(), re.MULTILINE)
BINARY = {"pprof", "pstats", "arrow", "heaptrack"}
NO_FILTERS = {"chrome"}
COMMENTS = {"callgrind", "chrome", "massif"}


def test_every_format_has_a_reader_here():
    assert FORMATS
    others = {"chrome", "firefox", "massif", "dhat", "heaptrack"}
    assert set(FORMATS) == set(readers.ALL_METRICS) | set(readers.ONE_METRIC) | others


@pytest.mark.parametrize("name", sorted(readers.ALL_METRICS))
def test_all_metrics_agree_with_stats(recorded, name):
    assert readers.ALL_METRICS[name](recorded.export(name)) == recorded.totals()


@pytest.mark.parametrize("metric", readers.METRICS)
@pytest.mark.parametrize("name", sorted(readers.ONE_METRIC))
def test_one_metric_agrees_with_stats(recorded, name, metric):
    size, count = readers.ONE_METRIC[name](recorded.export(name, "--metric", metric))
    wanted = recorded.totals()[metric]
    assert (size, wanted[1] if count is None else count) == wanted


FILTERS = (["--domain", "heap"], ["--function", "load|churn|main"], ["--at", "peak"], ["-v"])


@pytest.mark.parametrize("options", FILTERS, ids=" ".join)
def test_filters_mean_the_same_as_in_stats(recorded, options):
    wanted = recorded.totals(*options)
    for name in ("pprof", "callgrind", "csv"):
        assert readers.ALL_METRICS[name](recorded.export(name, *options)) == wanted, name
    for name, read in readers.ONE_METRIC.items():
        assert read(recorded.export(name, "--metric", "total", *options))[0] == wanted["total"][0], name


def test_massif_has_the_peak_and_the_end(recorded):
    snapshots = readers.Massif(recorded.export("massif").decode()).snapshots
    totals = recorded.totals()
    peaks = [snapshot for snapshot in snapshots if snapshot[2] == "peak"]
    ends = [snapshot for snapshot in snapshots if snapshot[2] == "detailed"]
    assert [snapshot[1] for snapshot in peaks] == [totals["peak"][0]]
    assert [snapshot[1] for snapshot in ends] == [totals["live"][0]]
    assert max(size for _, size, _, _ in snapshots) == totals["peak"][0]
    times = [snapshot[0] for snapshot in snapshots]
    assert times == sorted(times)

    def check(tree, depth):
        size, _, children = tree
        # Nothing is lost on the way down but what massif's depth limit cuts.
        assert not children or sum(child[0] for child in children) <= size
        assert depth > 0 or size == 0 or sum(child[0] for child in children) == size
        for child in children:
            check(child, depth + 1)
    check(peaks[0][3], 0)
    check(ends[0][3], 0)


def test_chrome_has_the_time_line(recorded):
    events = readers.read_chrome(recorded.export("chrome"))
    counters = [event for event in events["C"] if event["name"] == "memory"]
    assert len(counters) > 1
    times = [event["ts"] for event in counters]
    assert times == sorted(times)
    assert sum(counters[-1]["args"].values()) == recorded.totals()["live"][0] or "arena" in counters[-1]["args"]
    peaks = [event for event in events["i"] if event["name"] == "peak"]
    assert [event["args"]["bytes"] for event in peaks] == [recorded.totals()["peak"][0]]
    highest = max(event["args"]["bytes"] for event in events["C"] if event["name"] == "counted memory, highest")
    assert highest == recorded.totals()["peak"][0]
    allocated = sum(event["args"]["bytes"] for event in events["C"]
                    if event["name"] == "allocated since the point before")
    assert allocated == recorded.totals()["total"][0]


def test_callgrind_counts_recursion_once(recorded):
    """What a function's callers pay for it is what `table` says that it and its callees allocated."""
    file = readers.Callgrind(recorded.export("callgrind", "-m", "total").decode())
    table = sctmem("table", "--by", "function", "-m", "total", "-n", "0", "--json", *recorded.paths).stdout
    by_name = {}
    for row in json.loads(table.decode())["rows"]:
        by_name.setdefault(row["function"], []).append(row["total_bytes"])
    checked = 0
    for (_, _, name) in {callee for _, callee in file.calls}:
        functions = [key for _, key in file.calls if key[2] == name]
        if len(set(functions)) == 1 and len(by_name.get(name, [])) == 1:
            assert file.total_of(functions[0])[0] == by_name[name][0], name
            checked += 1
    assert checked > 0


TABLES = ("sites", "stacks", "frames", "threads", "timeline", "marks", "blocks")


def test_dhat_agrees_with_stats(recorded):
    totals = recorded.totals()
    del totals["temporary"]
    assert readers.read_dhat(recorded.export("dhat")) == totals


def test_firefox_agrees_with_stats(recorded):
    data = recorded.export("firefox")
    assert readers.read_firefox(data) == {metric: total[0] for metric, total in recorded.totals().items()}
    counted = readers.parse_json(data)["counters"][0]
    assert counted["name"] == "Counted memory" and sum(counted["samples"]["count"]) == recorded.totals()["live"][0]
    filtered = recorded.export("firefox", "--domain", "heap")
    assert readers.parse_json(filtered)["counters"] == [], "the time line knows no filters"
    assert readers.read_firefox(filtered)["total"] == recorded.totals("--domain", "heap")["total"][0]


def test_heaptrack_replays_to_what_stats_says(recorded):
    file, totals = readers.Heaptrack(recorded.export("heaptrack")), recorded.totals()
    assert file.peak == totals["peak"][0]
    assert (file.live, file.live_count) == totals["live"]
    # What is resized in place counts once more there, as in heaptrack's own recordings.
    assert file.count >= totals["total"][1] and file.total >= totals["total"][0]
    if recorded.name in ("sample", "hostile", "family"):
        assert (file.total, file.count) == totals["total"]


def test_blocks_add_up(recorded):
    """Each block once; what lives at each instant, made from the rows, reaches the peak that stats has."""
    rows, stats = readers.Arrow(recorded.export("arrow", "--table", "blocks")).rows, recorded.stats()
    totals = recorded.totals()
    assert (sum(row["bytes"] for row in rows), len(rows)) == totals["total"]
    left = [row for row in rows if row["freed_ns"] is None]
    assert sum(row["live_bytes"] for row in left) == totals["live"][0]
    assert len(left) == totals["live"][1]
    assert all(row["live_bytes"] <= row["bytes"] for row in rows)
    freed = [row for row in rows if row["freed_ns"] is not None]
    assert all(row["live_bytes"] == 0 and row["freed_ns"] >= row["born_ns"] for row in freed)
    for thread, cost in enumerate(stats["threads"]):
        assert sum(row["bytes"] for row in rows if row["thread"] == thread) == cost["cost"]["total_bytes"]
    end = stats["metadata"]["duration_s"] * 1e9
    assert all(row["born_ns"] <= end + 1 for row in rows)


def test_lifetimes_are_those_of_the_blocks(recorded):
    """DHAT's sum of lifetimes, made anew from the table of blocks."""
    page = readers.parse_json(recorded.export("dhat"))
    rows = readers.Arrow(recorded.export("arrow", "--table", "blocks")).rows
    lives = sum((page["te"] if row["freed_ns"] is None else row["freed_ns"] // 1000) - row["born_ns"] // 1000
                for row in rows)
    assert sum(point["tl"] for point in page["pps"]) == lives


def test_events_need_a_folder(sample, tmp_path):
    done = subprocess.run([COMMAND, "export", "-F", "dhat", str(sample.paths[0])], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment(TMPDIR=str(tmp_path / "none")))
    assert done.returncode == 6 and b"set TMPDIR to a folder with room" in done.stderr


def test_csv_and_arrow_hold_the_same_tables(recorded):
    for table in TABLES:
        arrow = readers.Arrow(recorded.export("arrow", "--table", table))
        rows = readers.read_csv(recorded.export("csv", "--table", table))
        assert ("table", table) in arrow.metadata
        assert len(rows) == len(arrow.rows)
        for row, other in zip(rows, arrow.rows):
            assert row == {name: "" if value is None else str(value) for name, value in other.items()}


def test_tables_refer_to_each_other(recorded):
    tables = {table: readers.Arrow(recorded.export("arrow", "--table", table)).rows for table in TABLES}
    for table in ("stacks", "frames", "threads"):
        assert [row["id"] for row in tables[table]] == list(range(len(tables[table])))
    for row in tables["stacks"]:
        assert (row["parent"] is None) == (row["id"] == 0) and (row["parent"] or 0) <= row["id"]
        assert 0 <= row["frame"] < len(tables["frames"])
    for row in tables["sites"]:
        assert 0 <= row["stack"] < len(tables["stacks"]) and 0 <= row["thread"] < len(tables["threads"])
    wanted = recorded.stats()
    for thread, row in zip(wanted["threads"], tables["threads"]):
        own = [site for site in tables["sites"] if site["thread"] == row["id"]]
        assert row["tid"] == thread["tid"] and sum(site["peak_bytes"] for site in own) == thread["cost"]["peak_bytes"]
    for domain, cost in wanted["by_domain"].items():
        if domain in ("heap", "python", "mapped"):
            own = [site for site in tables["sites"] if site["domain"] == domain]
            assert cost["total_bytes"] == sum(site["total_bytes"] for site in own)
    assert max(point["live_max_bytes"] for point in tables["timeline"]) == wanted["peak"]["bytes"]


def test_no_cell_of_csv_is_a_formula(folder, sample):
    """Names that a spreadsheet would run get an apostrophe."""
    for row in readers.read_csv(sample.export("csv", "--table", "frames")):
        assert not row["function"].startswith(("=", "+", "-", "@"))
    path = folder / "formula.bin"
    capture = (folder / "hostile.bin").read_bytes()
    assert b"\x1b[31mred\x1b" in capture
    path.write_bytes(capture.replace(b"\x1b[31mred\x1b", b"=1+\"red\"|"))
    rows = readers.read_csv(sctmem("export", "-F", "csv", path).stdout)
    assert [row["function"] for row in rows if "red" in row["function"]] == ["'=1+\"red\"|[0m\\x0d\\x0a"]


def test_names_are_safe_everywhere(hostile):
    unsafe = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffd]")
    for name in FORMATS:
        data = hostile.export(name)
        if name == "pprof":
            texts = readers.Pprof(data).strings
        elif name == "pstats":
            texts = [text for key in readers.marshal.loads(data) for text in key if isinstance(text, str)]
        elif name == "arrow":
            texts = [str(value) for row in readers.Arrow(data).rows for value in row.values()]
        elif name == "heaptrack":
            texts = [gzip.decompress(data).decode("utf-8")]
        else:
            texts = [data.decode("utf-8")]
            if name not in ("folded", "callgrind", "massif", "csv"):
                texts.append(json.dumps(readers.parse_json(data), ensure_ascii=False))
        for text in texts:
            assert not unsafe.search(text), (name, unsafe.search(text))
        joined = "".join(texts).replace("\\\\", "\\")
        assert name in NO_FILTERS or "\\xff\\xfe.py" in joined, name


def test_two_exports_are_the_same_to_the_byte(recorded):
    for name in FORMATS:
        again = sctmem("export", "--format", name, *recorded.paths).stdout
        assert recorded.export(name) == again, name


def test_losses_are_told(sample, tmp_path):
    """A capture that lost events says so, also in the file where the format has comments."""
    capture = bytearray(sample.paths[0].read_bytes())
    lost_memory = 528   # formats/capture.md, Status
    capture[lost_memory:lost_memory + 8] = (7).to_bytes(8, "little")
    (tmp_path / "lossy.bin").write_bytes(capture)
    for name in FORMATS:
        done = sctmem("export", "-F", name, tmp_path / "lossy.bin")
        assert b"7 events were lost" in done.stderr, name
        if name == "pprof":
            assert any("7 events were lost" in comment for comment in readers.Pprof(done.stdout).comments)
        elif name == "arrow":
            assert ("warning", "7 events were lost") in [
                (key, value.split(": ")[-1].split(";")[0]) for key, value in readers.Arrow(done.stdout).metadata]
        elif name in COMMENTS:
            assert b"7 events were lost" in done.stdout, name


def test_the_ending_names_the_format(sample, tmp_path):
    text = sctmem("help", "export").stdout.decode()
    for name in FORMATS:
        ending = re.search(r"\b{}\s+\((\.[\w.]+)\)".format(name), " ".join(text.split()))
        assert ending, "sctmem help export does not name " + name
        path = tmp_path / ("x" + ending.group(1))
        sctmem("export", "-o", path, *sample.paths)
        assert path.read_bytes() == sample.export(name), name


ERRORS = [
    ([], 2, "which format? name it: --format pprof; see: sctmem help export"),
    (["-o", "x.txt"], 2, "the ending of x.txt names no format; use --format, or an ending of: sctmem help export"),
    (["-F", "pprof", "--table", "sites"], 2, "pprof has no tables to choose from: --table goes with csv and arrow"),
    (["-F", "massif", "-m", "peak"], 2, "massif carries all metrics: --metric cannot go with it"),
    (["-F", "chrome", "--function", "x"], 2, "the time line is of all memory: --thread, --domain, --function, --file "
     "and --module cannot go with --format chrome"),
]


@pytest.mark.parametrize("options,status,text", ERRORS, ids=[" ".join(row[0]) or "none" for row in ERRORS])
def test_errors_are_one_line(sample, options, status, text):
    done = sctmem("export", *options, *sample.paths, check=False)
    assert (done.returncode, done.stderr.decode(), done.stdout) == (status, "sctmem: " + text + "\n", b"")


def test_a_file_that_exists_is_kept_without_force(sample, tmp_path):
    path = tmp_path / "x.pb.gz"
    path.write_text("mine")
    assert sctmem("export", "-o", path, *sample.paths, check=False).returncode == 6
    assert path.read_text() == "mine"
    sctmem("export", "-f", "-o", path, *sample.paths)
    assert readers.read_pprof(path.read_bytes())


def test_a_full_disk_is_an_error(sample):
    for name in FORMATS:
        with open("/dev/full", "wb") as full:
            done = subprocess.run([COMMAND, "export", "-F", name, str(sample.paths[0])], env=environment(), stdout=full,
                                  stderr=subprocess.PIPE)
        assert done.returncode == 6, name


def test_binary_does_not_go_to_a_terminal(sample):
    for name in FORMATS:
        master, slave = pty.openpty()
        process = subprocess.Popen([COMMAND, "export", "-F", name, str(sample.paths[0])], env=environment(),
                                   stdout=slave, stderr=subprocess.PIPE)
        os.close(slave)
        try:
            while os.read(master, 65536):
                pass
        except OSError:
            pass
        os.close(master)
        message = process.stderr.read()
        process.stderr.close()
        assert process.wait() == (2 if name in BINARY else 0), (name, message)


def test_the_document_has_each_format():
    document = pathlib.Path(HERE.parents[1] / "docs" / "exports.md").read_text()
    # The tables of formats name a suffix in the second column; that of consumers does not.
    assert re.findall(r"^\| `(\w+)` \| `\.", document, re.MULTILINE) == FORMATS
