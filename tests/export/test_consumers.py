# SPDX-License-Identifier: MIT
"""The tools that exports are for open them, and show the same figures."""
import json
import os
import pstats
import re
import shutil
import subprocess

import pytest

import readers
from conftest import HERE, RUN_SECONDS_MAX


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
    for recorded in fixed:
        path = tmp_path / (recorded.name + ".pb.gz")
        path.write_bytes(recorded.export("pprof"))
        text, _ = run(go, "tool", "pprof", "-raw", path, env=dict(os.environ, PPROF_TMPDIR=str(tmp_path)))
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


def test_gprof2dot_draws_it(sample, tmp_path):
    gprof2dot = require("gprof2dot", "gprof2dot, where there is such a package")
    for name, kind in (("gprof2dot", "json"), ("pstats", "pstats")):
        path = tmp_path / name
        path.write_bytes(sample.export(name, "-m", "total"))
        text, _ = run(gprof2dot, "-f", kind, path)
        assert text.startswith("digraph") and "->" in text


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


def test_pyarrow_reads_arrow(fixed, tmp_path):
    """Not in Debian 12: there Arrow files are read by readers.Arrow only."""
    ipc = pytest.importorskip("pyarrow.ipc", reason="no pyarrow on this machine: apt-get install python3-pyarrow, "
                              "where there is such a package")
    for recorded in fixed:
        path = tmp_path / (recorded.name + ".arrow")
        path.write_bytes(recorded.export("arrow"))
        with ipc.open_file(str(path)) as file:
            table = file.read_all()
        table.validate(full=True)
        for metric, (size, count) in recorded.totals().items():
            assert sum(table[metric + "_bytes"].to_pylist()) == size
            assert sum(table[metric + "_count"].to_pylist()) == count


def test_sqlite_imports_csv(recorded, save, tmp_path):
    sqlite = require("sqlite3", "sqlite3")
    path = save("csv")
    text, errors = run(sqlite, str(tmp_path / "x.db"), ".mode csv", ".import {} sites".format(path),
                       "select sum(peak_bytes), sum(total_count) from sites")
    totals = recorded.totals()
    assert (text.split(), errors) == (["{},{}".format(totals["peak"][0], totals["total"][1])], "")
