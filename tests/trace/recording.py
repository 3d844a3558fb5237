# SPDX-License-Identifier: MIT
"""Runs programs bare and under the library, and reads what was recorded through the command."""
import collections
import json
import os
import pathlib
import signal
import subprocess

from decoder import Event, decode

Ended = collections.namedtuple("Ended", "status stdout stderr")

NO_EVENTS = {"time", "stamp", "thread", "size_high", "node", "sample"}
FAULTS = {"lost_events", "lost_memory", "lost_storage", "lost_reentry", "lost_threads", "contradictions", "damaged",
          "damaged_bytes", "problem", "stacks_degraded", "python_refused"}
RUN_SECONDS_MAX = 300


# Where tests/peers/install-nogil puts CPython without its global lock.
NOGIL = pathlib.Path(os.environ.get("SCTMEM_NOGIL", "/opt/python-nogil"))


def other_pythons():
    """The interpreters beside the system's: those of pyenv from 3.8 on, and one without the global lock."""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))) / "versions"
    found = sorted(path for path in root.glob("3.*/bin/python3") if int(path.parts[-3].split(".")[1]) >= 8)
    return found + [path for path in [NOGIL / "bin/python3"] if path.exists()]


def python_name(path):
    """For the names of tests: the folder that an interpreter is installed in."""
    return path.parts[-3]


def clean_environment(**more):
    """The environment without anything that steers sctmem, the loader or Python, plus what is given."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("SCTMEM_", "LD_", "PYTHON", "MALLOC_"))}
    kept.update(LC_ALL="C.UTF-8", **more)
    return {name: value for name, value in kept.items() if value is not None}


class Tools:
    """The library and the command under test."""

    def __init__(self, library, command):
        self.library = pathlib.Path(library).resolve()
        self.command = pathlib.Path(command).resolve()

    def run_command(self, *arguments, check=True):
        done = subprocess.run([str(self.command)] + [str(argument) for argument in arguments], env=clean_environment(),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=RUN_SECONDS_MAX)
        if check:
            assert done.returncode == 0, "sctmem {}: status {}: {}".format(
                " ".join(map(str, arguments)), done.returncode, done.stderr.decode(errors="replace"))
        return done


def run_bare(argv, **options):
    return run(argv, clean_environment(**options.pop("environment", {})), **options)


def run(argv, environment, cwd=None, stdin=None):
    """Runs to the end; the status is the exit code, or minus the number of the signal."""
    done = subprocess.run([str(argument) for argument in argv], env=environment, cwd=cwd, input=stdin,
                          stdin=None if stdin is not None else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=RUN_SECONDS_MAX)
    return Ended(done.returncode, done.stdout, done.stderr)


class Tracer:
    """Runs programs under the library; each run's captures go into a folder of its own."""

    def __init__(self, tools, folder):
        self.tools = tools
        self.folder = folder
        self.runs = 0

    def prepare(self, environment):
        self.runs += 1
        folder = self.folder / "run{}".format(self.runs)
        folder.mkdir()
        # full: the victims of this suite are mostly C, and Python's own tests say otherwise where they want to.
        variables = dict(LD_PRELOAD=str(self.tools.library), SCTMEM_OUT=str(folder / "%e.%p.bin"), SCTMEM_NATIVE="full")
        variables.update(environment)
        return folder, clean_environment(**variables)

    def __call__(self, *argv, environment=None, cwd=None, stdin=None):
        folder, variables = self.prepare(environment or {})
        ended = run(argv, variables, cwd=cwd, stdin=stdin)
        return Recording(self.tools, folder, ended)

    def start(self, *argv, environment=None, **options):
        """Starts without waiting: (process, function that gives the recording)."""
        folder, variables = self.prepare(environment or {})
        process = subprocess.Popen([str(argument) for argument in argv], env=variables, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, **options)
        return process, lambda: Recording(self.tools, folder, None)


class Recording:
    """The captures that one run made."""

    def __init__(self, tools, folder, ended):
        self.tools = tools
        self.folder = folder
        self.ended = ended
        self.captures = [Capture(tools, path) for path in sorted(folder.iterdir())]

    def only(self):
        assert len(self.captures) == 1, [capture.path.name for capture in self.captures]
        return self.captures[0]

    def by_pid(self):
        return {capture.header["pid"]: capture for capture in self.captures}


def dumped_event(line):
    """The event of a line of `sctmem dump --json`, as decoder.py has it; None when the line is no event."""
    def number(value):
        return int(value, 0) if isinstance(value, str) else int(value or 0)
    if "address" not in line or line["kind"] in NO_EVENTS:
        return None
    return Event(line["kind"], *(number(line.get(name)) for name in Event._fields[1:]))


class Capture:
    """One capture, read through decoder.py and `sctmem stats --json`; each once."""

    def __init__(self, tools, path):
        self.tools = tools
        self.path = path
        self._events = self._stats = None

    @property
    def header(self):
        """What the capture says of its process: pid, parent_pid, executable and more."""
        return self.stats()["captures"][0]

    def stats(self):
        if self._stats is None:
            self._stats = json.loads(self.tools.run_command("stats", "--json", self.path).stdout.decode())
        return self._stats

    def check_whole(self):
        """Nothing was lost or damaged, and the capture does not contradict itself."""
        faults = {name: value for name, value in self.header.items() if name in FAULTS and value}
        assert not faults, (self.path.name, faults)

    def events(self):
        """The events stream by stream, in each stream as they were recorded."""
        if self._events is None:
            self._events = decode(self.path).events
        return self._events

    def counted(self):
        """(sizes of counted blocks that were allocated, the same of those that were freed), see model.COUNTED_SIZES."""
        import model
        allocated, freed, live = [], [], {}
        for event in model.in_order(self.events()):
            if event.kind in model.ALLOCATIONS:
                live[event.address] = event.size
                if event.size in model.COUNTED_SIZES:
                    allocated.append(event.size)
            elif event.kind in model.FREES or event.kind in model.MOVES:
                size = live.pop(event.address, 0)
                if size in model.COUNTED_SIZES:
                    freed.append(size)
        return allocated, freed


def signal_status(name):
    return -getattr(signal, name)
