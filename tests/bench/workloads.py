# SPDX-License-Identifier: MIT
"""The workloads: what each runs, in which places, and the numbers that sctmem wants to reach there.

To add one, add a line to WORKLOADS.  A goal is for the wall time as a ratio to bare, unless it says otherwise; 1.01
stands for `nothing that can be measured`.
"""
import collections
import subprocess
import sys

from build import PROGRAMS, say

# argv(place, tools): the command, without interpreter for Python: that is place.python.  quick: the same, small.
# goals: {variant: ratio}; added_goal_ms: for every mode.
# memray: which of its modes; heaptrack, heaptrack_pymem: whether it runs, also with every object from malloc.
# rounds_factor: short workloads take more rounds.  probe(place): a command that fails where something is missing.
# limits: goals for other columns, {variant: {"ns_event": most, "disk": most}}, bytes of file by event.
Workload = collections.namedtuple(
    "Workload", "name title kind argv places goals memray heaptrack heaptrack_pymem added_goal_ms rounds_factor "
    "probe limits")


class UnknownWorkload(Exception):
    pass


def program(tools, name):
    return str(tools.programs / name)


def generated(tools, name, generator, *arguments):
    """A file that a generator writes, once; its name says from which arguments."""
    path = tools.work / "{}-{}".format("-".join(map(str, arguments)), name)
    if not path.exists():
        say("writing {}".format(path.name))
        part = path.with_name(path.name + ".part")
        subprocess.run([sys.executable, str(PROGRAMS / generator), str(part)] + [str(word) for word in arguments],
                       check=True)
        part.rename(path)
    return str(path)


def c_program(name, title, argv, goals=None, heaptrack=True, probe=("true",), limits=None):
    return Workload(name, title, "native", argv, ("host",), goals or {}, (), heaptrack, False, None, 1,
                    lambda place: list(probe), limits or {})


def python_program(name, title, script, full, quick, goals=None, memray=("memray", "memray-pymem", "memray-full"),
                   heaptrack=True, heaptrack_pymem=False, added_goal_ms=None, rounds_factor=1, module="sys",
                   limits=None):
    def argv(place, tools, small):
        words = (["-c", "pass"] if script is None else [str(PROGRAMS / script)])
        return [place.python] + words + [str(word) for word in (quick if small else full)]
    return Workload(name, title, "python", argv, ("host", "sid"), goals or {}, memray, heaptrack,
                    heaptrack_pymem, added_goal_ms, rounds_factor,
                    lambda place: [place.python, "-c", "import " + module], limits or {})


def pairs(threads, depth, changing="same", goals=None, heaptrack=True, count=10000000):
    name = "pairs-{}".format(threads) + ("" if depth == 12 else "-deep{}".format(depth)) + (
        "-changing" if changing == "changing" else "")
    title = "C, {} M malloc/free pairs of 16 to 512 B, {} own frames{}, {} thread{}".format(
        count // 1000000, depth, ", three inner ones changing" if changing == "changing" else "", threads,
        "" if threads == 1 else "s")
    return c_program(name, title, lambda place, tools, small: [
        program(tools, "bench_pairs"), str(threads), str(count // 20 if small else count), str(depth), changing],
        goals=goals, heaptrack=heaptrack, limits={"sctmem": {"ns_event": 25, "disk": 2.0}} if goals else None)


def pairs_from_python():
    def argv(place, tools, small):
        return [place.python, str(PROGRAMS / "pairs_from_python.py"), program(tools, "bench_pairs.so"), "1",
                "100000" if small else "2000000", "15"]
    return Workload("pairs-ctypes", "the C pairs, 2 M of them, 1 thread, driven from Python", "python", argv, ("sid",),
                    {"sctmem-full": 2.0}, ("memray", "memray-native"), True, False, None, 1,
                    lambda place: [place.python, "-c", "import ctypes"], {})


def compiler(place, tools, small):
    done = subprocess.run(["gcc", "-print-prog-name=cc1"], stdout=subprocess.PIPE, universal_newlines=True, check=True)
    source = generated(tools, "large.c", "generate_c.py", 4 if small else 80)
    return [done.stdout.strip(), "-O2", "-quiet", source, "-o", "/dev/null"]


def sqlite3(place, tools, small):
    rows = generated(tools, "rows.csv", "generate_rows.py", 10000 if small else 300000)
    commands = ["create table people (id integer primary key, name text, city text, mail text, born text, score real)",
                ".mode csv", ".import {} people".format(rows), "create index people_by_name on people (name)",
                "create index people_by_city on people (city, born)",
                "select city, count(*), round(avg(score), 3) from people group by city order by 2 desc, 1 limit 3"]
    return ["sqlite3"] + [word for command in commands for word in ("-cmd", command)] + [":memory:", ".quit"]


WORKLOADS = [
    pairs(1, 12, goals={"sctmem": 2.0}),
    pairs(1, 15, goals={"sctmem": 2.0}),
    pairs(1, 15, "changing", goals={"sctmem": 2.0}),
    pairs(2, 12),
    pairs(4, 12, goals={"sctmem": 2.0}),
    pairs(16, 12),
    pairs(64, 12),
    pairs(1, 50, heaptrack=False),
    pairs(1, 200, heaptrack=False),
    pairs(1, 1000, heaptrack=False),
    pairs_from_python(),
    python_program("calls", "call-heavy pure Python (fib, queens)", "calls.py", (35, 9), (20, 6),
                   goals={"sctmem-python": 1.01, "sctmem-pymem": 1.15}),
    python_program("json", "json dumps and loads of a large document", "documents.py", (20000, 6), (1000, 2),
                   goals={"sctmem-python": 1.01, "sctmem-pymem": 1.5, "sctmem-leaf": 1.7}, heaptrack_pymem=True,
                   limits={"sctmem-pymem": {"disk": 0.8}, "sctmem-leaf": {"disk": 0.8}}),
    python_program("ast", "import and ast of the whole standard library", "stdlib.py", (), (10,),
                   goals={"sctmem-python": 1.05, "sctmem-pymem": 1.5, "sctmem-leaf": 1.7}, heaptrack_pymem=True),
    python_program("numpy", "numpy array churn", "arrays.py", (150,), (2,),
                   goals={"sctmem-python": 1.02, "sctmem-pymem": 1.08}, module="numpy"),
    c_program("cc1", "gcc -O2 of a large file (cc1)", compiler, goals={"sctmem": 1.10}, probe=("gcc", "--version"),
              limits={"sctmem": {"disk": 1.5}}),
    python_program("startup", "start-up: python3 -c pass", None, (), (), added_goal_ms=5, rounds_factor=6,
                   memray=("memray",)),
    python_program("recursion-50", "allocating under 50 Python frames", "recursion.py", (50, 5000000), (50, 50000),
                   memray=("memray-pymem",), heaptrack=False),
    python_program("recursion-200", "allocating under 200 Python frames", "recursion.py", (200, 5000000), (200, 50000),
                   memray=("memray-pymem",), heaptrack=False),
    python_program("recursion-1000", "allocating under 1000 Python frames", "recursion.py", (1000, 5000000),
                   (1000, 50000), memray=("memray-pymem",), heaptrack=False),
    c_program("threads", "5,000 short threads, 8 at a time, 100 blocks each", lambda place, tools, small: [
        program(tools, "bench_threads"), "200" if small else "5000", "100"]),
    c_program("loading", "dlopen, 10 blocks and dlclose, 10,000 times", lambda place, tools, small: [
        program(tools, "bench_loading"), program(tools, "bench_module.so"), "100" if small else "10000"]),
    c_program("sqlite3", "sqlite3, 300,000 rows imported in memory and indexed", sqlite3, goals={"sctmem": 1.25},
              probe=("sqlite3", "--version")),
]


def goals_of(result, variant):
    """(ratio to bare, limits) that are wanted of a variant, from the list above; None and {} where there are none."""
    for workload in WORKLOADS:
        if workload.name == result["name"]:
            return workload.goals.get(variant["name"]), workload.limits.get(variant["name"], {})
    return None, {}


def added_goal_ms_of(result, variant):
    """How many milliseconds may be added, where that is what counts."""
    for workload in WORKLOADS:
        if workload.name == result["name"] and variant["tool"] == "sctmem":
            return workload.added_goal_ms
    return None


def listing(items):
    return "\n".join("  {:26} {}".format(item.name, item.title) for item in items)


def choose(names, items):
    """Those whose names are given, or begin so; all when none is given."""
    exact = {item.name for item in items}
    for name in names:
        if not any(other.startswith(name) for other in exact):
            raise UnknownWorkload("no workload {}; there are:\n{}".format(name, listing(items)))
    return [item for item in items if not names or any(
        item.name == name or (name not in exact and item.name.startswith(name)) for name in names)]
