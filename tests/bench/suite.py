# SPDX-License-Identifier: MIT
"""The programs of pyperformance, of which memray publishes what it costs: a geometric mean over all of them.

They come from the Python package index, and nothing else here does: without it the suite is left out with a line.  Of
its programs those are taken that need nothing but the interpreter, do not use the network and start no processes.  Each
runs as one process for a second or two, of which a tenth of a second is pyperf's own start.
"""
import collections
import math
import statistics
import subprocess
import sys

import measure
import tables
import variants
import workloads
from build import say

Suite = collections.namedtuple("Suite", "name title")
SUITES = [Suite("pyperformance", "programs of pyperformance, geometric means")]

PACKAGES = ("pyperformance==1.14.0", "pyperf==2.11.0")
BARE_SECONDS, LOOPS_MAX = 1.0, 1 << 16
# Words: the folder of the program, and its options where it has several benchmarks.
PROGRAMS = (
    "argparse many_optionals", "async_generators", "async_tree none", "async_tree memoization", "base64", "chaos",
    "comprehensions", "coroutines", "decimal_factorial", "decimal_pi", "deepcopy", "deltablue", "fannkuch", "float",
    "gc_collect", "gc_traversal", "generators", "go", "hexiom", "json_dumps", "json_loads", "logging format",
    "logging silent", "mdp", "meteor_contest", "nbody", "nqueens", "pathlib", "pickle pickle", "pickle pickle_dict",
    "pickle pickle_list", "pickle unpickle", "pickle unpickle_list", "pickle --pure-python pickle",
    "pickle --pure-python unpickle", "pidigits", "pprint", "pyflate", "raytrace", "regex_compile", "regex_dna",
    "regex_effbot", "regex_v8", "richards", "richards_super", "scimark", "spectral_norm", "sqlite_synth", "telco",
    "typing_runtime_protocols", "unpack_sequence", "xml_etree",
)
# Of the wall time as a ratio to bare; beside it what memray publishes: of an older selection, on a quiet machine.
GOALS = {"sctmem-python": 1.03, "sctmem-pymem": 1.4, "sctmem-leaf-only": 1.05, "sctmem-leaf": 1.6}
PUBLISHED = {"memray": 1.45, "memray-native": 1.65, "memray-pymem": 2.32, "memray-full": 8.75}
MEMRAY = tuple(PUBLISHED)
QUICK_PROGRAMS = 2


def folder_of(tools):
    """Where the packages are; None: they cannot be had."""
    folder = tools.work / "pyperformance"
    if not (folder / "complete").exists():
        done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder),
                               *PACKAGES], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True)
        if done.returncode:
            say("skipped: pyperformance, which pip cannot install here: {}".format(
                (done.stdout.strip().splitlines() or ["no reason given"])[-1]))
            return None
        (folder / "complete").touch()
    return folder


def argv_of(folder, place, words, loops):
    script, *options = words.split()
    return [place.python, str(folder / "pyperformance/data-files/benchmarks" / ("bm_" + script) / "run_benchmark.py"),
            "--worker", "--loops={}".format(loops), "--values=1", "--warmups=0", *options]


def loops_for(folder, place, tools, words):
    """How many rounds of its own a program takes to run for long enough."""
    loops = 1
    while True:
        took = measure.launch(argv_of(folder, place, words, loops), place, tools)
        if took["wall_s"] >= BARE_SECONDS or loops >= LOOPS_MAX:
            return loops
        loops *= 2 if took["wall_s"] > BARE_SECONDS / 2 else 4


def run(suite, place, tools, options):
    folder = folder_of(tools)
    if folder is None:
        return None
    place = place._replace(environment=dict(place.environment, PYTHONPATH=str(folder), TMPDIR="/dev/shm"))
    programs = []
    for words in PROGRAMS[:QUICK_PROGRAMS] if options.quick else PROGRAMS:
        try:
            loops = 1 if options.quick else loops_for(folder, place, tools, words)
            workload = workloads.Workload(
                words, "", "suite", lambda place, tools, small, w=words, n=loops: argv_of(folder, place, w, n),
                (place.name,), {}, MEMRAY, False, False, None, 1, lambda place: ["true"], {})
            result = measure.run_workload(workload, place, tools, options)
        except measure.Failed as error:
            say("left out: {}: {}".format(words, str(error).splitlines()[-1]))
            continue
        if result:
            programs.append(result)
    if not programs:
        return None
    return {"name": suite.name, "title": suite.title, "place": place.name, "place_title": place.title,
            "programs": programs}


def variant_of(program, name):
    return next((variant for variant in program["variants"] if variant["name"] == name and variant["runs"]), None)


def ratios(result, name, key):
    """{program: median of the ratios to bare}, of those that ran in this mode."""
    found = {}
    for program in result["programs"]:
        variant, bare = variant_of(program, name), variant_of(program, "bare")
        if variant and bare:
            found[program["name"]] = statistics.median(tables.ratios(variant["runs"], bare["runs"], key))
    return found


def geometric_mean(values):
    return math.exp(statistics.mean(math.log(value) for value in values))


def extreme(values, choose):
    name = choose(values, key=values.get)
    return "{} ({})".format(tables.number(values[name]), name)


def modes(result):
    """[(name, title)] of what ran, without bare, in the order of the first program."""
    return [(variant["name"], variant["title"]) for variant in result["programs"][0]["variants"][1:]
            if ratios(result, variant["name"], "wall_s")]


def table(result):
    rows = [["", "programs", "wall", "goal", "CPU", "least wall", "most wall", "published"]]
    for name, title in modes(result):
        wall, cpu = ratios(result, name, "wall_s"), ratios(result, name, "cpu_s")
        rows.append([title, len(wall), tables.number(geometric_mean(wall.values())), tables.number(GOALS.get(name)),
                     tables.number(geometric_mean(cpu.values())), extreme(wall, min), extreme(wall, max),
                     tables.number(PUBLISHED.get(name))])
    return "**{}**: {} ({})\n\n{}".format(result["name"], result["title"], result["place_title"], tables.align(rows))


def goal_rows(result):
    for name, title in modes(result):
        if name in GOALS:
            yield [result["title"], title, result["place"], tables.number(GOALS[name]),
                   tables.number(geometric_mean(ratios(result, name, "wall_s").values())),
                   tables.number(geometric_mean(ratios(result, name, "cpu_s").values())),
                   ", ".join("{} {}".format(other_title, tables.number(geometric_mean(
                       ratios(result, other, "wall_s").values()), 1)) for other, other_title in modes(result)
                       if other in MEMRAY)]
