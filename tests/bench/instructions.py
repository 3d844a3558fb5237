# SPDX-License-Identifier: MIT
"""Instructions an event, by part of the library, counted by valgrind's callgrind:  tests/bench/run --instructions

Unlike times, instructions are the same on a busy machine, so a change of one per cent shows.  Each job runs with a
smaller and a larger input; what is shown is the difference, divided by the difference in events: start-up cancels out.
Callgrind does not replace malloc, so the library is preloaded as ever.  Inlined code counts for the file that it was
written in.  What the library makes libc and the kernel do is not in these numbers, but for the last row.
"""
import collections
import json
import re
import shutil
import subprocess

import tables
from build import PROGRAMS, BuildError, say
from measure import launch
from places import clean_environment

# name: title, command with {} for the size, the two sizes, environment for the library.
Job = collections.namedtuple("Job", "name title argv sizes environment")

LEAF, PYMEM = {}, {"SCTMEM_NATIVE": "no"}

# The part of the library that a source file belongs to.  A file that is not named here is a part of its own.
PARTS = {
    "hooks": "hooks", "real": "hooks", "functions": "hooks", "python": "hooks of Python's allocators",
    "python_allocators": "hooks of Python's allocators",
    "record": "record", "thread": "record", "order": "record", "lifecycle": "record", "sample": "record",
    "known": "record", "control": "record",
    "stack": "stack: merge", "words": "stack: words proved", "stack_recent": "stack: seen lately",
    "stack_native": "stack: native", "unwind": "stack: native", "unwind_cfi": "stack: native",
    "unwind_modules": "stack: native", "modules": "stack: native",
    "stack_python": "stack: Python", "python_code": "stack: Python", "python_layout": "stack: Python",
    "intern": "stack: intern", "stream": "stream", "output": "stream", "sys": "stream", "arena": "stream",
    "events": "encode", "events_encode": "encode",
    "addresses": "encode", "capture": "encode", "lz4": "compress", "xxhash": "compress",
}
ORDER = list(dict.fromkeys(PARTS.values()))


def jobs(tools, place):
    def pairs(changing):
        return [str(tools.programs / "bench_pairs"), "1", "{}", "15", changing]
    documents = [place.python, str(PROGRAMS / "documents.py"), "{}", "2"]
    stdlib = [place.python, str(PROGRAMS / "stdlib.py"), "{}"]
    return [
        Job("pairs", "C pairs, 15 own frames", pairs("same"), (100000, 300000), LEAF),
        Job("pairs-changing", "three inner ones changing", pairs("changing"), (100000, 300000), LEAF),
        Job("json-pymem", "json, PyMem", documents, (500, 2000), PYMEM),
        Job("json-leaf", "json, + leaf", documents, (500, 2000), LEAF),
        Job("ast-pymem", "ast, PyMem", stdlib, (4, 16), PYMEM),
        Job("ast-leaf", "ast, + leaf", stdlib, (4, 16), LEAF),
    ]


def self_costs(lines):
    """{(object, file, function): instructions} of callgrind's output; calls are left to the callee."""
    names = {"ob": {}, "fl": {}, "fn": {}}
    at = {"ob": "", "fl": "", "fn": ""}
    costs = collections.Counter()
    inclusive = False
    for line in lines:
        match = re.match(r"(c?)(ob|fl|fi|fe|fn)=\((\d+)\)(?: (.*))?$", line)
        if match:
            called, kind, number, name = match.groups()
            kind = "fl" if kind in ("fi", "fe") else kind
            if name is not None:
                names[kind][number] = name.strip()
            if not called:
                at[kind] = names[kind][number]
        elif line.startswith("calls="):
            inclusive = True
        elif re.match(r"[0-9+*-]", line):
            fields = line.split()
            if not inclusive and len(fields) > 1:
                costs[at["ob"], at["fl"], at["fn"]] += int(fields[1])
            inclusive = False
    return costs


def part_of(file, function):
    if function.startswith(("LZ4", "XXH")):
        return "compress"
    stem = re.sub(r"\.\w+$", "", file.rsplit("/", 1)[-1])
    return PARTS.get(stem, stem if stem != "???" else function)


def count(job, size, tools, place, traced):
    """(costs, events) of one run under callgrind."""
    folder = tools.work / "callgrind"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    program = job.argv[0].rsplit("/", 1)[-1]
    environment = {"PYTHONHASHSEED": "0"}
    if traced:
        # The pattern leaves out valgrind's own start script.
        environment.update(job.environment, LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(folder / "capture.bin"),
                           SCTMEM_PROGRAM=program + "*")
    out = folder / "callgrind.out"
    say("callgrind: {} {}, size {}".format(job.name, "traced" if traced else "bare", size))
    launch(["valgrind", "--tool=callgrind", "--callgrind-out-file={}".format(out)] +
           [word.format(size) for word in job.argv], place, tools, environment)
    with open(out) as file:
        costs = self_costs(file)
    if not traced:
        return costs, 0
    done = subprocess.run([str(tools.command), "stats", "--json", "--no-symbols", str(folder / "capture.bin")],
                          stdout=subprocess.PIPE, env=clean_environment(), universal_newlines=True, check=True)
    return costs, json.loads(done.stdout)["metadata"]["events"]


def bare_instructions(job, tools, place, known):
    """Of both sizes; jobs that differ in the library's settings only share them."""
    key = tuple(job.argv) + job.sizes
    if key not in known:
        known[key] = [sum(count(job, size, tools, place, False)[0].values()) for size in job.sizes]
    return known[key]


def measure_job(job, tools, place, known):
    """{parts, functions, bare, added, events}: instructions an event."""
    (small, few), (large, many) = [count(job, size, tools, place, True) for size in job.sizes]
    bare = bare_instructions(job, tools, place, known)
    events = many - few
    library = tools.library.name
    parts, functions = collections.Counter(), collections.Counter()
    for (where, file, function), cost in (large - small).items():
        if where.endswith(library):
            parts[part_of(file, function)] += cost / events
            functions["{} ({})".format(function, file.rsplit("/", 1)[-1])] += cost / events
    added = (sum(large.values()) - sum(small.values()) - (bare[1] - bare[0])) / events
    return {"name": job.name, "title": job.title, "events": events, "parts": dict(parts),
            "functions": dict(functions.most_common(15)), "bare": (bare[1] - bare[0]) / events, "added": added}


def run(tools, place, chosen):
    if not shutil.which("valgrind"):
        raise BuildError("--instructions needs valgrind: try tests/packages bench")
    every = jobs(tools, place)
    wanted = [job for job in every if not chosen or any(job.name.startswith(name) for name in chosen)]
    if not wanted:
        raise BuildError("--instructions knows {}".format(", ".join(job.name for job in every)))
    known = {}
    return [measure_job(job, tools, place, known) for job in wanted]


def table(results):
    """Parts by job; then what the program itself takes, and what is added in all."""
    names = [part for part in ORDER if any(part in result["parts"] for result in results)]
    names += sorted({part for result in results for part in result["parts"]} - set(ORDER))
    names = [part for part in names if max(result["parts"].get(part, 0) for result in results) >= 0.1]

    def row(name, values):
        return [name] + [tables.number(value, 1) for value in values]
    rows = [["instructions an event"] + [result["title"] for result in results]]
    rows += [row(name, [result["parts"].get(name, 0) for result in results]) for name in names]
    rows.append(row("**library, all**", [sum(result["parts"].values()) for result in results]))
    rows.append(row("added in all, libc included", [result["added"] for result in results]))
    rows.append(row("the program itself, bare", [result["bare"] for result in results]))
    return tables.align(rows)


def functions_table(result):
    rows = [["{}: function".format(result["name"]), "instructions an event"]]
    return tables.align(rows + [[name, tables.number(cost, 1)] for name, cost in result["functions"].items()])
