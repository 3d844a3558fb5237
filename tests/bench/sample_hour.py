#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Samples of a long run, held against the exact capture of the same run.

    tests/bench/sample_hour.py record BUILD FOLDER --seconds 3600      three recordings at the same time
    tests/bench/sample_hour.py compare BUILD FOLDER                    what docs/long-runs.md says of them

The program is programs/steady.c: what it does depends on its seed alone, and at its marks all recordings hold the same
blocks.  Compared is what was allocated up to the last mark that all captures have, so a run that was ended early counts
for what it has.  Each cell is one figure of one function, thread, pair of both, or moment; its interval holds the truth
or does not.  The captures of samples are read once for each of them.  Peaks of single functions are not compared: they
are their share of the whole peak, whose moment differs between recordings.
"""
import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).resolve().parent / "programs/steady.c"
FLAGS = ["-O2", "-g", "-D_GNU_SOURCE", "-fno-optimize-sibling-calls", "-fno-builtin-malloc", "-fno-builtin-free",
         "-pthread", "-I", str(PROGRAM.parents[3])]
SAMPLES = ["512KiB", "64KiB"]
METRICS = {"total": "total", "temporary": "temporary", "live": "live"}


def record(build, folder, seconds, seed):
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "steady"
    subprocess.run([os.environ.get("CC", "gcc")] + FLAGS + [str(PROGRAM), "-o", str(program)], check=True)
    running = []
    for name in ["exact"] + SAMPLES:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("SCTMEM_", "LD_"))}
        environment.update(LD_PRELOAD=str(build / "preload/libsctmem.so"), SCTMEM_OUT=str(folder / (name + ".bin")),
                           SCTMEM_NATIVE="full", SCTMEM_SAMPLE_MS="1000")
        if name != "exact":
            environment["SCTMEM_SAMPLE"] = "{},seed={}".format(name, seed)
        running.append(subprocess.Popen([str(program), "7", str(seconds), "100"], env=environment))
    return all([process.wait() == 0 for process in running])


class Reader:
    def __init__(self, build, path):
        self.command, self.path = str(build / "reader/sctmem"), str(path)

    def run(self, *arguments):
        done = subprocess.run([self.command] + list(arguments) + [self.path], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout.decode())

    def rows(self, metric, by, *options):
        """{name: row}"""
        found = self.run("table", "--json", "-n", "0", "--by", by, "--metric", metric, *options)["rows"]
        return {row["name" if by == "thread" else "function"]: row for row in found}

    def threads(self):
        """{name: tid}; the names are the program's, the numbers each run's own."""
        return {thread["name"]: str(thread["tid"]) for thread in self.run("stats", "--json", "--no-symbols")["threads"]}

    def moments(self):
        return [mark["name"] for mark in self.run("windows", "--marks", "--json")["marks"]]

    def stats(self, *options):
        return self.run("stats", "--json", *options)


class Tally:
    """How many intervals held the truth, by kind of figure."""

    def __init__(self):
        self.held, self.all = collections.Counter(), collections.Counter()

    def add(self, kind, figure, truth, interval):
        for unit in ("bytes", "count"):
            low, high = interval[figure + "_" + unit]
            self.all[kind, unit] += 1
            self.held[kind, unit] += low <= truth[unit] <= high

    def lines(self, name):
        rows = [(kind, unit, self.held[kind, unit], self.all[kind, unit]) for kind, unit in self.all]
        for unit in ("bytes", "count"):
            of_unit = [row for row in rows if row[1] == unit]
            rows.append(("all", unit, sum(row[2] for row in of_unit), sum(row[3] for row in of_unit)))
        for kind, unit, held, count in rows:
            yield "| {} | {} | {} | {} of {} | {:.1f} % |".format(name, kind, unit, held, count, 100 * held / count)


def own(row, which="own"):
    return {"bytes": row[which + "_bytes"], "count": row[which + "_count"]} if row else {"bytes": 0, "count": 0}


def compare_functions(tally, kind, exact, sample, functions, exact_options, sample_options):
    """A function of which the sample has no block is in no list, but whoever asks for it is given an interval, too."""
    truths = {metric: exact.rows(metric, "function", *exact_options) for metric in METRICS}
    for function in functions:
        stats = sample.stats("--function", "^{}$".format(function), *sample_options)
        for metric, figure in METRICS.items():
            seen = kind if stats["total"][figure + "_count"] else kind + ", no block of it in the sample"
            truth = own(truths[metric].get(function), "total")
            if truth["count"]:
                tally.add(seen, figure, truth, stats["sample"]["interval_95"])


def compare(build, folder, samples, threads_too):
    exact = Reader(build, folder / "exact.bin")
    last = min((Reader(build, folder / (name + ".bin")).moments() for name in ["exact"] + samples), key=len)
    until = ["--to", last[-1]]
    truth = exact.stats(*until)
    functions = sorted(name for name in exact.rows("total", "function", *until) if name.startswith(("site_", "route_")))
    functions.append("grow_buffer")
    print("{} allocations, {} bytes, {} moments".format(truth["total"]["total_count"], truth["total"]["total_bytes"],
                                                       len(last)))
    tallies = {}
    for name in samples:
        sample, tally = Reader(build, folder / (name + ".bin")), tallies.setdefault(name, Tally())
        stats = sample.stats(*until)
        for figure in ("total", "temporary", "live", "peak"):
            tally.add("the whole run", figure, own(truth["total"], figure), stats["sample"]["interval_95"])
        compare_functions(tally, "function", exact, sample, functions, until, until)
        ours, theirs = exact.threads(), sample.threads()
        for thread in sorted(name for name in ours if name.startswith("steady ")):
            options = ["--thread", ours[thread]] + until, ["--thread", theirs[thread]] + until
            known, stats = exact.stats(*options[0]), sample.stats(*options[1])
            for figure in METRICS.values():
                tally.add("thread", figure, own(known["total"], figure), stats["sample"]["interval_95"])
            if threads_too:
                compare_functions(tally, "function and thread", exact, sample, functions, *options)
        for moment in last:
            known, stats = exact.stats("--at", moment), sample.stats("--at", moment)
            tally.add("live at a moment", "live", own(known["total"], "live"), stats["sample"]["interval_95"])
        for line in tally.lines(name):
            print(line, flush=True)
    return tallies


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-pairs", action="store_true", help="leave out the pairs of function and thread")
    options = parser.parse_args()
    if options.what == "record":
        return 0 if record(options.build.resolve(), options.folder.resolve(), options.seconds, options.seed) else 1
    compare(options.build.resolve(), options.folder.resolve(), SAMPLES, not options.no_pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
