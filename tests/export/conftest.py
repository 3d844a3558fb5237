# SPDX-License-Identifier: MIT
"""Captures to export, and the figures that `sctmem stats --json` has for them.  run.py sets the environment."""
import collections
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
COMMAND = os.environ.get("SCTMEM_EXPORT_COMMAND", "")
WRITER = os.environ.get("SCTMEM_EXPORT_CAPTURES", "")
LIBRARY = os.environ.get("SCTMEM_EXPORT_LIBRARY", "")
SET = os.environ.get("SCTMEM_EXPORT_SET", "all")
SYSTEM_PYTHON = "/usr/bin/python3"
RUN_SECONDS_MAX = 300

GOLDEN = {"sample": ["sample.bin"], "killed": ["killed.bin"], "hostile": ["hostile.bin"],
          "family": ["sample.bin", "child.bin"]}
TRACED = ["native", "python"]
SETS = {"golden": list(GOLDEN), "traced": TRACED, "all": list(GOLDEN) + TRACED}


def pytest_configure(config):
    for path in (COMMAND, WRITER, LIBRARY):
        if not os.path.exists(path):
            pytest.exit("nothing to test: run these tests through ./tests/run export", 3)


def environment(**more):
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("SCTMEM_", "LD_", "PYTHON", "MALLOC_", "DEBUGINFOD"))}
    kept.update(LC_ALL="C.UTF-8", **more)
    return kept


def sctmem(*arguments, check=True):
    done = subprocess.run([COMMAND] + [str(argument) for argument in arguments], env=environment(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=RUN_SECONDS_MAX)
    if check:
        assert done.returncode == 0, (arguments, done.returncode, done.stderr)
    return done


class Recorded(collections.namedtuple("Recorded", "name paths")):
    """One or more captures that are exported together.  What was asked for once is remembered."""

    @functools.lru_cache(maxsize=None)
    def export(self, name, *options):
        return sctmem("export", "--format", name, *options, *self.paths).stdout

    @functools.lru_cache(maxsize=None)
    def stats(self, *options):
        return json.loads(sctmem("stats", "--json", *options, *self.paths).stdout.decode())

    def totals(self, *options):
        """{metric: (bytes, count)} as stats tells it."""
        total = self.stats(*options)["total"]
        names = {"peak": "peak", "live": "live", "total": "total", "temporary": "temporary"}
        return {metric: (total[name + "_bytes"], total[name + "_count"]) for metric, name in names.items()}


def trace(folder, name):
    if name == "native":
        compiler = shutil.which(os.environ.get("CC", "gcc")) or pytest.skip("no C compiler on this machine")
        program = folder / "victim"
        subprocess.run([compiler, "-g", "-O1", "-fno-optimize-sibling-calls", "-fno-inline", "-pthread",
                        str(HERE / "victim.c"), "-o", str(program)], check=True)
        command, native = [str(program)], "full"
    else:
        if not os.path.exists(SYSTEM_PYTHON):
            pytest.skip("no /usr/bin/python3 on this machine")
        command, native = [SYSTEM_PYTHON, "-S", "-E", str(HERE / "victim.py")], "leaf"
    capture = folder / (name + ".bin")
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=RUN_SECONDS_MAX,
                   env=environment(LD_PRELOAD=LIBRARY, SCTMEM_OUT=str(capture), SCTMEM_NATIVE=native,
                                   PYTHONDONTWRITEBYTECODE="1"))
    return Recorded(name, (capture,))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("captures")
    subprocess.run([WRITER, str(path)], check=True)
    return path


@pytest.fixture(scope="session", params=SETS[SET])
def recorded(request, folder):
    """Each of the captures in turn."""
    if request.param in GOLDEN:
        return Recorded(request.param, tuple(folder / name for name in GOLDEN[request.param]))
    return trace(folder, request.param)


@pytest.fixture(scope="session")
def hostile(folder):
    return Recorded("hostile", (folder / "hostile.bin",))


@pytest.fixture(scope="session")
def fixed(folder):
    """All of the captures that are not traced here."""
    return [Recorded(name, tuple(folder / file for file in files)) for name, files in GOLDEN.items()]


@pytest.fixture(scope="session")
def sample(folder):
    return Recorded("sample", (folder / "sample.bin",))


sys.path.insert(0, str(HERE))
