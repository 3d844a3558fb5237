# SPDX-License-Identifier: MIT
"""The tools that exports are for open them, and show the same figures."""
import json
import os
import pathlib
import pstats
import re
import shutil
import subprocess

import pytest

import readers
from conftest import HERE, RUN_SECONDS_MAX

CONSUMERS = pathlib.Path(os.environ.get("SCTMEM_CONSUMERS", os.path.expanduser("~/.cache/sctmem-consumers")))
INSTALL = "tests/peers/install-consumers brings it"


def require(name, package):
    return shutil.which(name) or pytest.skip("no {} on this machine: apt-get install {}".format(name, package))


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=RUN_SECONDS_MAX, **options)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


@pytest.fixture
def save(recorded, tmp_path):
    def write(name, *options):
        path = tmp_path / ("export." + name)
        path.write_bytes(recorded.export(name, *options))
        return path
    return write


def test_go_reads_pprof(fixed, tmp_path):
    go = require("go", "golang-go")
    pprof = [go, "tool", "pprof"]
    # Newer ones would build it each time.
    if subprocess.run([go, "build", "-o", str(tmp_path / "pprof"), "cmd/pprof"], stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL, env=dict(os.environ, CGO_ENABLED="0")).returncode == 0:
        pprof = [tmp_path / "pprof"]
    for recorded in fixed:
        path = tmp_path / (recorded.name + ".pb.gz")
        path.write_bytes(recorded.export("pprof"))
        text, _ = run(*pprof, "-raw", path, env=dict(os.environ, PPROF_TMPDIR=str(tmp_path)))
        types = re.search(r"Samples:\n(.*)", text).group(1).replace("[dflt]", "").split()
        rows = [line.split(":")[0].split() for line in text.split("Locations\n")[0].split("\n")]
        rows = [row for row in rows if len(row) == len(types) and all(map(str.isdigit, row))]
        names = {"peak": "peak", "live": "inuse", "total": "alloc", "temporary": "temporary"}
        for metric, name in names.items():
            columns = types.index(name + "_space/bytes"), types.index(name + "_objects/count")
            assert tuple(sum(int(row[column]) for row in rows) for column in columns) == recorded.totals()[metric]


def test_pstats_loads_it(recorded, save, capsys):
    stats = pstats.Stats(str(save("pstats", "-m", "total")))
    assert stats.total_tt == recorded.totals()["total"][0]
    assert stats.total_calls == recorded.totals()["total"][1]
    stats.strip_dirs().sort_stats("tottime").print_stats(5)
    stats.print_callers(5)
    assert "function calls" in capsys.readouterr().out


def require_consumer(name):
    """A tool of tests/peers/install-consumers, or the machine's own."""
    found = CONSUMERS / "python/bin" / name
    return found if found.exists() else shutil.which(name) or pytest.skip("no {}: {}".format(name, INSTALL))


@pytest.fixture
def save_all(fixed, tmp_path):
    """Exports of all the fixed captures, for tools that take long to start."""
    def write(file, *options):
        paths = []
        for recorded in fixed:
            paths.append(tmp_path / recorded.name / file)
            paths[-1].parent.mkdir(exist_ok=True)
            paths[-1].write_bytes(recorded.export(*options))
        return paths
    return write


def consume(tool, module, paths):
    """What consumers.py reads there with a module that only the consumers' own Python may have."""
    for python in (CONSUMERS / "python/bin/python3", pathlib.Path("/usr/bin/python3")):
        if python.exists() and subprocess.run([str(python), "-c", "import " + module], stderr=subprocess.DEVNULL,
                                              stdin=subprocess.DEVNULL).returncode == 0:
            return json.loads(run(python, HERE / "consumers.py", tool, *paths)[0])
    pytest.skip("no Python module {}: {}".format(module, INSTALL))


def named_totals(recorded):
    return {metric + "_" + what: number for metric, pair in recorded.totals().items()
            for what, number in zip(("bytes", "count"), pair)}


def test_snakeviz_makes_its_page(fixed, save_all):
    found = consume("snakeviz", "snakeviz", save_all("x.pstats", "pstats", "-m", "total"))
    assert [(one["bytes"], one["count"]) for one in found] == [recorded.totals()["total"] for recorded in fixed]


def test_gprof2dot_draws_it(sample, tmp_path):
    gprof2dot = require_consumer("gprof2dot")
    for name, kind in (("gprof2dot", "json"), ("pstats", "pstats")):
        path = tmp_path / name
        path.write_bytes(sample.export(name, "-m", "total"))
        text, _ = run(gprof2dot, "-f", kind, path)
        assert text.startswith("digraph") and "->" in text


# What speedscope opens, beside its own format.
SPEEDSCOPE_READS = {"speedscope": "x.speedscope.json", "pprof": "x.pb.gz", "callgrind": "callgrind.x",
                    "heapprofile": "x.heapprofile", "folded": "x.folded.txt"}


def require_speedscope():
    found = CONSUMERS / "node_modules/speedscope"
    return found if found.exists() else pytest.skip("no npm package speedscope: " + INSTALL)


def test_speedscope_imports_it(fixed, save_all):
    """Its own importer, as in the page; all of the files with one start of node."""
    node, package = require("node", "nodejs"), require_speedscope()
    saved = {name: save_all(file, name) for name, file in SPEEDSCOPE_READS.items()}
    text, _ = run(node, HERE / "speedscope.mjs", package, *(path for paths in saved.values() for path in paths))
    opened = iter(json.loads(text))
    for name in saved:
        for recorded, profiles in zip(fixed, opened):
            for profile in profiles:
                assert profile["self"] == profile["total"], (recorded.name, name, profile["name"])
                assert all(own <= whole <= profile["total"] for own, whole in profile["frames"].values())
            found, totals = [profile["total"] for profile in profiles], recorded.totals()
            if name in ("speedscope", "callgrind"):
                every = [number for metric in ("peak", "live", "total", "temporary") for number in totals[metric]]
                assert sorted(found) == sorted(every), (recorded.name, name)
            else:
                assert found == [totals["peak"][0]], (recorded.name, name)


def test_speedscopes_schema_accepts_it(fixed, save_all):
    schema = require_speedscope() / "dist/release/file-format-schema.json"
    paths = ["{},{}".format(schema, path) for path in save_all("x.json", "speedscope")]
    assert consume("jsonschema", "jsonschema", paths) == ["valid"] * len(fixed)


def test_callgrind_annotate_reads_it(recorded, save):
    annotate = require("callgrind_annotate", "valgrind")
    for inclusive in ("yes", "no"):
        text, errors = run(annotate, "--inclusive=" + inclusive, "--auto=no", save("callgrind", "-m", "total"))
        assert errors == ""
        line = next(line for line in text.split("\n") if line.endswith("PROGRAM TOTALS"))
        numbers = [int(number.replace(",", "")) for number in re.sub(r"\([^)]*\)", "", line).split()[:8]]
        totals = recorded.totals()
        assert numbers == [number for metric in ("total", "peak", "live", "temporary") for number in totals[metric]]


def test_ms_print_reads_it(recorded, save):
    text, errors = run(require("ms_print", "valgrind"), save("massif"))
    assert errors == ""
    totals = recorded.totals()
    shown = {int(number.replace(",", "")) for number in re.findall(r"^ *[\d,]+ +[\d,]+ +([\d,]+) ", text, re.MULTILINE)}
    assert totals["peak"][0] in shown and totals["live"][0] in shown
    assert max(shown) == totals["peak"][0]


def test_dh_view_builds_its_tree(recorded, save):
    node, viewer = require("node", "nodejs"), "/usr/libexec/valgrind/dh_view.js"
    if not os.path.exists(viewer):
        pytest.skip("no {}: apt-get install valgrind".format(viewer))
    text, _ = run(node, HERE / "dhat_view.mjs", viewer, save("dhat"))
    found, totals = json.loads(text), recorded.totals()
    for metric, key in (("peak", "peak"), ("live", "end"), ("total", "total")):
        assert (found[key + "Bytes"], found[key + "Blocks"]) == totals[metric]
    assert found["lifetimes"] > 0


def test_heaptrack_print_reads_it(recorded, tmp_path):
    heaptrack_print = require("heaptrack_print", "heaptrack")
    path = tmp_path / "x.heaptrack.gz"
    path.write_bytes(recorded.export("heaptrack"))
    file, totals = readers.Heaptrack(path.read_bytes()), recorded.totals()
    text, _ = run(heaptrack_print, "--disable-builtin-suppressions", "-f", path)
    assert int(re.search(r"calls to allocation functions: (\d+)", text).group(1)) == file.count

    def shown(words):
        """The bounds of a figure that was rounded to two digits."""
        number, unit = re.search(re.escape(words) + r": ([\d.]+)([BKMG])", text).groups()
        scale = {"B": 1, "K": 1000, "M": 1000 ** 2, "G": 1000 ** 3}[unit]
        return (float(number) - 0.0051) * scale, (float(number) + 0.0051) * scale
    for words, metric in (("peak heap memory consumption", "peak"), ("total memory leaked", "live")):
        number = totals[metric][0]
        least, most = shown(words)
        assert least <= number <= most, (words, number)


def test_pyarrow_reads_arrow(fixed, save_all):
    assert consume("pyarrow", "pyarrow", save_all("x.arrow", "arrow")) == [named_totals(one) for one in fixed]


@pytest.mark.parametrize("name", ["arrow", "csv"])
def test_duckdb_sums_it(fixed, save_all, name):
    assert consume("duckdb", "duckdb", save_all("x." + name, name)) == [named_totals(one) for one in fixed]


def test_sqlite_imports_csv(recorded, save, tmp_path):
    sqlite = require("sqlite3", "sqlite3")
    path = save("csv")
    text, errors = run(sqlite, str(tmp_path / "x.db"), ".mode csv", ".import {} sites".format(path),
                       "select sum(peak_bytes), sum(total_count) from sites")
    totals = recorded.totals()
    assert (text.split(), errors) == (["{},{}".format(totals["peak"][0], totals["total"][1])], "")
