#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How long a program waits when its capture goes on in the next file:  tests/bench/rotation.py BUILD [--switches N]

The next segment is given a copy of all stack nodes that the recorder knows (preload/rotate.c), and somebody's malloc
does that.  programs/switches.c makes so many nodes and times each malloc and free, in processor time, so that other
work on the machine counts for nothing.  docs/long-runs.md has what comes of it.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from long_run import clean_environment

PROGRAM = pathlib.Path(__file__).resolve().parent / "programs/switches.c"
FLAGS = ["-O2", "-D_GNU_SOURCE", "-fno-builtin-malloc", "-fno-builtin-free", "-fno-optimize-sibling-calls", "-pthread"]


def run(build, program, folder, nodes, switches):
    """The milliseconds of each switch, those of the slowest pair without one, bytes of the second segment."""
    ask = folder / "ask"
    ask.write_text("#!/bin/sh\nexec '{}' ctl \"$PPID\" rotate >/dev/null\n".format(build / "reader/sctmem"))
    ask.chmod(0o700)
    done = subprocess.run([str(program), str(nodes), str(switches)], check=True, stdout=subprocess.PIPE,
                          env=clean_environment(LD_PRELOAD=str(build / "preload/libsctmem.so"), SCTMEM_NATIVE="full",
                                                SCTMEM_OUT=str(folder / "x.bin"), SCTMEM_ROTATE="365d",
                                                SCTMEM_FOLLOW="none", SWITCHES_ASK="exec " + str(ask)))
    *times, without = [int(line) / 1e6 for line in done.stdout.split()]
    segments = sorted(folder.glob("x.0*.bin"))
    if len(segments) != switches:
        sys.exit("{} switches were asked for, and {} files came".format(switches, len(segments)))
    size = os.stat(str(segments[0])).st_size
    for path in folder.glob("x.*"):
        path.unlink()
    return times, without, size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--switches", type=int, default=11)
    options = parser.parse_args()
    print("| stack nodes | slowest malloc and free at a switch, median | the longest | without one | a file has |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        program = folder / "switches"
        subprocess.run([os.environ.get("CC", "gcc")] + FLAGS + [str(PROGRAM), "-o", str(program)], check=True)
        for nodes in (10000, 100000, 1000000):
            times, without, size = run(options.build.resolve(), program, folder, nodes, options.switches)
            print("| {:,} | {:.1f} ms | {:.1f} ms | {:.2f} ms | {:.1f} MB |".format(
                nodes, statistics.median(times), max(times), without, size / 1e6), flush=True)


if __name__ == "__main__":
    main()
