# SPDX-License-Identifier: MIT
"""CPython's own tests, bare and traced: what comes of each test is the same.

They need interpreters that bring the `test` package, which Debian's does not.  SCTMEM_TRACE_SUITE names the modules
("test_gc test_os"); "more" stands for MORE below, which takes some minutes for each interpreter.
"""
import collections
import json
import os
import pathlib
import subprocess

import pytest

from recording import run_bare
from test_python import interpreters

VICTIMS = pathlib.Path(__file__).resolve().parent / "victims"
DEFAULT = ["test_struct", "test_generators"]
MORE = DEFAULT + ["test_list", "test_memoryview", "test_gc", "test_dict", "test_set", "test_bytes", "test_weakref",
                  "test_coroutines", "test_signal", "test_threading", "test_thread", "test_fork1", "test_os",
                  "test_json", "test_ast", "test_sys", "test_tracemalloc", "test_exceptions", "test_super",
                  "test_class", "test_array", "test_mmap"]
WORDS = os.environ.get("SCTMEM_TRACE_SUITE", "").split()
MODULES = MORE if WORDS == ["more"] else WORDS or DEFAULT


def has_tests(python):
    return subprocess.run([str(python), "-c", "import test.test_list"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: path.parts[-3])
def test_outcomes_are_those_of_the_bare_interpreter(trace, python, tmp_path):
    if not has_tests(python):
        pytest.skip("{} comes without the `test` package".format(python))
    outcomes = []
    for name in ("bare", "traced"):
        folder = tmp_path / name
        folder.mkdir()
        argv = [python, VICTIMS / "outcomes.py", folder / "outcomes"] + ["test." + module for module in MODULES]
        environment = {"SCTMEM_NATIVE": "leaf", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        ended = trace(*argv, environment=environment, cwd=folder).ended if name == "traced" else \
            run_bare(argv, environment=environment, cwd=folder)
        assert ended.status == 0, ended
        outcomes.append(json.loads((folder / "outcomes").read_text(encoding="utf-8")))
    bare, traced = outcomes
    print(python.parts[-3], len(bare), "tests:", dict(collections.Counter(bare.values())))
    assert len(bare) >= 40
    assert {name: (what, traced.get(name)) for name, what in bare.items() if traced.get(name) != what} == {}
    assert set(traced) == set(bare)
