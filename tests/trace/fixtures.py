# SPDX-License-Identifier: MIT
"""What tests/trace and tests/fault share: the library and command under test, the built victims, and a way to trace.

SCTMEM_TRACE_LIBRARY and SCTMEM_TRACE_COMMAND name what to test; run.py sets them.  The conftest.py of each folder
takes what is here as its own.
"""
import os
import pathlib
import shutil
import subprocess

import pytest

from recording import Tools, Tracer

VICTIMS = [pathlib.Path(__file__).resolve().parents[1] / suite / "victims" for suite in ("trace", "fault")]
COMMON_FLAGS = ["-O2", "-g", "-D_GNU_SOURCE", "-pthread", "-Wall", "-Wextra", "-Werror"]


def pytest_configure(config):
    for name in ("SCTMEM_TRACE_LIBRARY", "SCTMEM_TRACE_COMMAND"):
        if not os.path.exists(os.environ.get(name, "")):
            pytest.exit("{} does not name a file: run these tests through ./tests/run trace".format(name), 3)


@pytest.fixture(scope="session")
def tools():
    return Tools(os.environ["SCTMEM_TRACE_LIBRARY"], os.environ["SCTMEM_TRACE_COMMAND"])


@pytest.fixture
def trace(tools, tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    return Tracer(tools, folder)


def require_program(name):
    path = shutil.which(name)
    if not path:
        pytest.skip("no {} on this machine".format(name))
    return path


@pytest.fixture(scope="session")
def victim(tmp_path_factory):
    """victim("hooks") builds victims/hooks.* once and gives the program's path; more flags make another build.

    A name is one victim in both folders.  `suffix` goes behind the program's name; a victim in Python is its path.
    """
    folder = tmp_path_factory.mktemp("victims")
    built = {}

    def compile_command(source, output, flags):
        if source.suffix == ".c":
            return [require_program(os.environ.get("CC", "gcc"))] + COMMON_FLAGS + flags + [source, "-o", output]
        if source.suffix == ".cc":
            return [require_program(os.environ.get("CXX", "g++")), "-std=c++17"] + COMMON_FLAGS + flags + \
                [source, "-o", output]
        return [require_program("rustc"), "-O", "-g"] + flags + ["-o", output, source]

    def build(name, *flags, suffix=""):
        key = (name, flags, suffix)
        if key not in built:
            source = next(path for victims in VICTIMS for path in victims.glob(name + ".*")
                          if path.suffix in (".c", ".cc", ".rs", ".py"))
            if source.suffix == ".py":
                return source
            output = folder / "{}{}{}".format(name, len(built) if flags else "", suffix)
            command = [str(word) for word in compile_command(source, output, list(flags))]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert done.returncode == 0, "{}\n{}".format(" ".join(command), done.stdout.decode(errors="replace"))
            built[key] = output
        return built[key]

    return build
