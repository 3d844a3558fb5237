# SPDX-License-Identifier: MIT
"""How fast captures become reports: stats, flamegraph and leaks of captures from small to very large.

The captures are real: json documents in Python with all its blocks and native leaves, repeated until there are enough
events, and C pairs of four threads, whose streams have to be merged.  The peers read what they recorded of the very
same program.  They are made anew each time, so that they are what the measured library writes.
"""
import collections
import shutil
import statistics
import types

import measure
import tables
import variants
from build import PROGRAMS, say

# millions: events wanted, 0 for the smallest capture there is.  peers: whether they record and read it too.
Reading = collections.namedtuple("Reading", "name title millions threads peers large")
# Rates that sctmem wants to reach, M events a second; and for the small capture, milliseconds.
GOALS = {"stats": 50, "flamegraph": 40}
LARGE_GOALS = {"stats": 35, "flamegraph": 35}
SMALL_GOAL_MS = 20

READINGS = [
    Reading("read-small", "a small capture: python3 -c pass", 0, False, True, False),
    Reading("read-5", "json in Python, 5 million events", 5, False, True, False),
    Reading("read-50", "json in Python, 50 million events", 50, False, False, False),
    Reading("read-500", "json in Python, 500 million events (--large)", 500, False, False, True),
    Reading("read-threads", "C pairs of four threads, 50 million events", 50, True, False, False),
]
RECORDS, RECORDS_QUICK, PROBED_TIMES = 20000, 500, (1, 2)
# What variants.py wants to know of a workload, for the peers' captures.
AS_WORKLOAD = types.SimpleNamespace(name="reading", kind="python", memray=("memray-pymem",), heaptrack=True,
                                    heaptrack_pymem=True)


def commands(tools, capture, folder, small):
    """{title: command} of sctmem; each writes its report into a file, as users have it.

    Names of native functions are kept from one look to the next.  What that saves is most of a small capture's time, so
    a first look has its own row there; elsewhere it is lost in the rest.
    """
    def command(verb, *options):
        return [str(tools.command), verb, *options, "-f", "-o", str(folder / (verb + ".out")), str(capture)]
    found = {"sctmem stats": command("stats"), "sctmem flamegraph": command("flamegraph"),
             "sctmem leaks": command("leaks")}
    if small:
        found["sctmem stats, first look"] = command("stats", "--no-cache")
    return found


def peer_commands(tool, place, capture, folder):
    if tool == "memray":
        memray = [place.python, "-m", "memray"]
        return {"memray stats": memray + ["stats", str(capture)],
                "memray flamegraph": memray + ["flamegraph", "-f", "-o", str(folder / "page.html"), str(capture)]}
    return {"heaptrack_print": ["heaptrack_print", str(capture)]}


def record(argv, place, tools, folder, variant):
    """Runs a program under a tool, leaves its capture in the folder: (path, its description)."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    measure.launch(variant.prefix + (argv[1:] if variant.tool == "memray" else argv), place, tools, variant.environment)
    return variants.capture_of(folder), measure.describe(variant, folder, tools)


def sctmem_variant(tools, folder):
    return variants.Variant("sctmem", "sctmem", "sctmem", [], {
        "LD_PRELOAD": str(tools.library), "SCTMEM_OUT": str(folder / variants.CAPTURE), "SCTMEM_FORCE": "yes"}, 1)


def program(reading, place, tools, quick):
    """The command that makes so many events; how many a turn of json makes is found out by trying."""
    wanted = reading.millions * 1000000 // (50 if quick else 1)
    if wanted == 0:
        return [place.python, "-c", "pass"]
    if reading.threads:
        return [str(tools.programs / "bench_pairs"), "4", str(wanted // 2), "15", "changing"]
    folder = tools.work / "probe"

    def argv(times):
        return [place.python, str(PROGRAMS / "documents.py"), str(RECORDS_QUICK if quick else RECORDS), str(times)]
    few, more = [record(argv(times), place, tools, folder, sctmem_variant(tools, folder))[1]["events"]
                 for times in PROBED_TIMES]
    shutil.rmtree(folder)
    return argv(max(1, round((wanted - few) / (more - few)) + 1))


def peer_captures(argv, place, tools):
    """[(variant, its capture, its folder)] of the peers, recording all that Python asks for, as our capture has it."""
    found = []
    for name in ("memray-pymem", "heaptrack-pymem"):
        folder = tools.work / "reading-{}-{}".format(place.name, name)
        for variant in variants.for_workload(AS_WORKLOAD, place, tools, folder):
            if variant.name == name:
                say("recording with {}".format(variant.title))
                try:
                    found.append((variant, record(argv, place, tools, folder, variant)[0], folder))
                except measure.Failed as error:
                    say("{}: {}".format(variant.title, error))
    return found


def prepare(reading, places, tools, quick):
    """[(title, tool, command, place)] with all captures made, and what our capture says."""
    host = places[0]
    folder = tools.work / "reading"
    say("{}: recording".format(reading.name))
    argv = program(reading, host, tools, quick)
    capture, said = record(argv, host, tools, folder, sctmem_variant(tools, folder))
    ours = commands(tools, capture, folder, reading.millions == 0)
    todo = [(title, "sctmem", command, host) for title, command in ours.items()]
    for place in places if reading.peers else ():
        for variant, capture, folder in peer_captures(argv, place, tools):
            todo += [(title, variant.tool, command, place)
                     for title, command in peer_commands(variant.tool, place, capture, folder).items()]
    return todo, said


def run(reading, places, tools, options):
    """{name, title, events, capture_bytes, readers: [{title, tool, runs}]}, or None when it is not wanted."""
    if not places or places[0].name != "host":
        return None
    if reading.large and not options.large:
        say("{}: left out without --large".format(reading.name))
        return None
    todo, said = prepare(reading, places, tools, options.quick)
    runs = {title: [] for title, *_ in todo}
    for number in range(options.rounds):
        for title, _, command, place in todo[number % len(todo):] + todo[:number % len(todo)]:
            say("{}, round {}: {}".format(reading.name, number + 1, title))
            runs[title].append(measure.launch(command, place, tools))
    for folder in tools.work.glob("reading*"):
        shutil.rmtree(folder)
    return {"name": reading.name, "title": reading.title + (", much reduced" if options.quick else ""),
            "events": said["events"], "capture_bytes": said["bytes"], "large": reading.large,
            "small": reading.millions == 0,
            "readers": [{"title": title, "tool": tool, "runs": runs[title]} for title, tool, *_ in todo]}


def goal_cell(result, reader):
    if reader["tool"] != "sctmem":
        return ""
    if result["small"]:
        return "{} ms".format(SMALL_GOAL_MS)
    rate = (LARGE_GOALS if result["large"] else GOALS).get(reader["title"].split()[-1])
    return "{} M/s".format(rate) if rate else ""


def table(result):
    rows = [["", "seconds", "CPU s", "M events/s", "goal", "peak MiB", "runs"]]
    for reader in result["readers"]:
        walls = [run["wall_s"] for run in reader["runs"]]
        middle = statistics.median(walls)
        spread = "{:.3f}".format(middle) + (" ({:.3f} to {:.3f})".format(min(walls), max(walls)) if walls[1:] else "")
        # The peers' files have other events; the program is the same, so its events are what they are compared by.
        rows.append([reader["title"], spread, "{:.3f}".format(tables.median(reader["runs"], "cpu_s")),
                     "" if result["small"] else "{:.1f}".format(result["events"] / middle / 1e6),
                     goal_cell(result, reader),
                     "{:.1f}".format(tables.median(reader["runs"], "peak_bytes") / tables.MIB), len(walls)])
    return "**{}**: {} ({:,} events, {:.1f} MiB of file)\n\n{}".format(
        result["name"], result["title"], result["events"], result["capture_bytes"] / tables.MIB, tables.align(rows))
