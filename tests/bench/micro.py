# SPDX-License-Identifier: MIT
"""Benchmarks of one part each, C programs that print their own tables: bench_unwind.c and bench_reader.c."""
import collections
import subprocess

import measure
from build import say
from places import clean_environment

Micro = collections.namedtuple("Micro", "name title program full quick")

MICROS = [
    Micro("micro-unwind", "one native walk, by depth, with and without the memo, beside libunwind", "bench_unwind",
          (), ("100",)),
    Micro("micro-reader", "building a profile of a made-up capture of 20 million events, without symbols",
          "bench_reader", ("20",), ("1",)),
]


def run(micro, tools, options):
    say(micro.name)
    arguments = list(micro.quick if options.quick else micro.full)
    made = tools.work / "made.bin"
    if micro.program == "bench_reader":
        arguments.insert(0, str(made))
    done = subprocess.run([str(tools.programs / micro.program)] + arguments, stdout=subprocess.PIPE, cwd=tools.work,
                          stderr=subprocess.PIPE, env=clean_environment(), universal_newlines=True)
    made.unlink(missing_ok=True)
    if done.returncode:
        raise measure.Failed("{} ended with {}: {}".format(micro.program, done.returncode, done.stderr.strip()))
    return {"name": micro.name, "title": micro.title, "text": done.stdout.rstrip()}


def text(result):
    return "**{}**: {}\n\n{}".format(result["name"], result["title"], "\n".join(
        "    " + line for line in result["text"].splitlines()))
