#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a run of days would cost in each mode, from a few seconds of a stand-in:  tests/bench/long_run.py BUILD

Runs programs/longevity.py (threads, children, a steady rate of events) in each mode, twice, for a shorter and a longer
time; the difference is the steady state, which is what is stretched to --hours.  Captures of a limited size, and runs
of which the newest files are kept, grow up to that and no further.  Words that wait in windows count as they are, three
to four times as large as packed ones.  Times are of the processor, not of the clock.
docs/long-runs.md has a table of it.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

PROGRAM = pathlib.Path(__file__).resolve().parent / "programs/longevity.py"
# name, environment, whether the captures are made smaller afterwards, the most bytes that a process takes
MODES = [
    ("every block", {}, False, None),
    ("every block, then compact", {}, True, None),
    ("`SCTMEM_AGGREGATE=yes`", {"SCTMEM_AGGREGATE": "yes"}, False, None),
    ("`SCTMEM_ROTATE=512K`, `SCTMEM_KEEP=4`", {"SCTMEM_ROTATE": "512K", "SCTMEM_KEEP": "4"}, False, 4 * (512 << 10)),
    ("`SCTMEM_MAX_SIZE=4M`", {"SCTMEM_MAX_SIZE": "4M"}, False, 4 << 20),
    ("`SCTMEM_SAMPLE=64KiB`", {"SCTMEM_SAMPLE": "64KiB"}, False, None),
    ("`SCTMEM_SAMPLE=512KiB`", {"SCTMEM_SAMPLE": "512KiB"}, False, None),
]


def clean_environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SCTMEM_", "LD_", "PYTHON"))}
    return dict(kept, **more)


def processor_seconds(command, **options):
    """Runs it to its end; (seconds of the processor, its children's included; what it printed)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def bytes_used(path):
    """Bytes of a capture without what is taken in advance: blocks, and the words that wait in windows to be packed."""
    data, at, used = path.read_bytes(), 4096, 0
    while at + 64 <= len(data):
        magic, kind, _, stored = struct.unpack_from("<IHHI", data, at)
        if magic != 0x4b4c4253:
            at += 8
            continue
        used += 64 + (8 * struct.unpack_from("<Q", data, at + 64 + 8)[0] if kind == 1 else stored)
        at += (64 + stored + 7) & ~7
    return used


def run_once(build, seconds, options, environment, compacted):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sctmem-long-"))
    try:
        variables = clean_environment(LD_PRELOAD=str(build / "preload/libsctmem.so"),
                                      SCTMEM_OUT=str(folder / "%p.bin"), **environment)
        processor_seconds([sys.executable, str(PROGRAM), str(seconds), str(options.threads),
                                      str(options.children)], env=variables)
        command = str(build / "reader/sctmem")
        captures = sorted(folder.glob("*.bin"))
        if compacted:
            for capture in captures:
                subprocess.run([command, "compact", "-q", capture, "-o", str(capture) + ".small"], check=True)
                os.replace(str(capture) + ".small", capture)
        reading, printed = processor_seconds([command, "stats", "--json", "--no-symbols"] + captures)
        stats = json.loads(printed.decode())
        return {"bytes": sum(map(bytes_used, captures)), "reading": reading,
                "events": stats["metadata"]["events"], "allocations": stats["total_num_allocations"]}
    finally:
        shutil.rmtree(folder)


def size(value):
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return "{:.3g} {}".format(value, unit)
        value /= 1000
    return "{:.3g} TB".format(value)


def duration(seconds):
    return "{:.0f} ms".format(seconds * 1000) if seconds < 1 else "{:.1f} s".format(seconds) if seconds < 120 else \
        "{:.0f} min".format(seconds / 60)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--hours", type=float, default=72)
    parser.add_argument("--seconds", type=float, default=4,
                        help="of the shorter run; the longer one takes three times it")
    parser.add_argument("--threads", type=int, default=20)
    parser.add_argument("--children", type=int, default=3)
    options = parser.parse_args()
    longer = 3 * options.seconds
    print("| Mode | events a second | bytes a second | {0:g} h: events | {0:g} h: bytes "
          "| {0:g} h: read in |".format(options.hours))
    print("|---|---|---|---|---|---|")
    for name, environment, compacted, most in MODES:
        few = run_once(options.build.resolve(), options.seconds, options, environment, compacted)
        many = run_once(options.build.resolve(), longer, options, environment, compacted)
        rate = {key: max(0, many[key] - few[key]) / (longer - options.seconds) for key in many}
        whole = 3600 * options.hours
        total = rate["bytes"] * whole
        if most:
            total = min(total, (options.children + 1) * most)
        reading = many["reading"] if most else rate["reading"] * whole
        events = "as many as it holds" if most else "{:.3g}".format(rate["events"] * whole)
        print("| {} | {:,.0f} | {} | {} | {} | {} |".format(
            name, rate["events"], size(rate["bytes"]), events, size(total),
            duration(reading)), flush=True)


if __name__ == "__main__":
    main()
