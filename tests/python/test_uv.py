# SPDX-License-Identifier: MIT
"""The flow of a project that keeps its profilers in a dependency group: uv with a local wheel, and direnv around it."""
import json
import os
import pathlib
import shutil

import pytest

from conftest import run

CONSUMERS = pathlib.Path(os.environ.get("SCTMEM_CONSUMERS", os.path.expanduser("~/.cache/sctmem-consumers")))
PYTHON = "/usr/bin/python3"

PROJECT = """
[project]
name = "app"
version = "1.0"
requires-python = ">=3.8"

[dependency-groups]
profiling = ["sctmem"]

[tool.uv]
package = false

[tool.uv.sources]
sctmem = {{ path = "wheels/{}" }}
"""
APP = """
import os, sys
keep = bytearray(3000000)
print("app", "libsctmem" in os.environ.get("LD_PRELOAD", ""), "libsctmem.so" in open("/proc/self/maps").read())
"""
TEST = """
import pytest
@pytest.mark.limit_memory("1 MB")
def test_small():
    assert bytearray(1000)
@pytest.mark.limit_memory("1 MB")
def test_large():
    assert bytearray(5000000)
"""


@pytest.fixture(scope="module")
def uv():
    found = CONSUMERS / "python/bin/uv"
    found = str(found) if found.exists() else shutil.which("uv")
    if not found:
        pytest.skip("no uv on this machine: tests/peers/install-consumers brings it")

    def call(*words, cwd, **options):
        return run(found, *words, cwd=cwd, UV_OFFLINE="1", UV_CACHE_DIR=str(cwd / "cache"), UV_PYTHON_DOWNLOADS="never",
                   **options)
    call.program = found
    return call


@pytest.fixture(scope="module")
def project(uv, wheel, tmp_path_factory):
    """A project with an environment made by `uv sync --group profiling`."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "wheels").mkdir()
    shutil.copy(str(wheel), str(folder / "wheels"))
    (folder / "pyproject.toml").write_text(PROJECT.format(wheel.name))
    (folder / "app.py").write_text(APP)
    (folder / "test_app.py").write_text(TEST)
    # Debian's pytest is seen from inside, since none can be fetched here.
    uv("venv", "--system-site-packages", "--python", PYTHON, cwd=folder)
    uv("sync", "--group", "profiling", cwd=folder)
    return folder


def stats(folder, path):
    return json.loads(run(folder / ".venv/bin/sctmem", "stats", "--json", path)[1])


def test_sync_brings_command_library_and_plugin(uv, project):
    assert "sctmem" in uv("run", "--group", "profiling", "sctmem", "--version", cwd=project)[1]
    status, text = uv("run", "--group", "profiling", "sctmem", "doctor", "--", "python", cwd=project, check=False)
    assert status == 0, text
    # Without its group the project has no profiler.
    uv("sync", "--no-default-groups", cwd=project)
    assert not (project / ".venv/bin/sctmem").exists()
    uv("sync", "--group", "profiling", cwd=project)
    assert (project / ".venv/bin/sctmem").exists()


def test_the_program_is_recorded_and_uv_is_not(uv, project):
    inside = project / "inside.bin"
    group = ("run", "--group", "profiling")
    text = uv(*group, "sctmem", "run", "-q", "-o", inside, "--", "python", "app.py", cwd=project)[1]
    assert "app" in text and text.rstrip().endswith("True")
    assert stats(project, inside)["captures"][0]["executable"] == os.path.realpath(PYTHON)
    # The other way round uv is the first program, which is told apart by its name.
    outside = project / "%e.bin"
    run(project / ".venv/bin/sctmem", "run", "-q", "--follow", "exec", "--program", "python*", "-o", outside, "--",
        uv.program, "run", "--offline", "--group", "profiling", "python", "app.py", cwd=project, UV_OFFLINE="1",
        UV_CACHE_DIR=str(project / "cache"))
    captures = sorted(path.name for path in project.glob("python*.bin"))
    assert captures and not list(project.glob("uv*.bin"))
    totals = [stats(project, project / name)["total"]["total_bytes"] for name in captures]
    assert max(totals) >= 3000000


def test_pytest_with_limits(uv, project):
    status, text = uv("run", "--group", "profiling", "python", "-m", "pytest", "-p", "no:cacheprovider", "--sctmem",
                      "test_app.py", cwd=project, check=False)
    assert status == 1 and "1 passed" in text and "1 failed" in text and "test_large" in text, text


def test_direnv_sets_where_captures_go_and_records_nothing_else(uv, project):
    direnv = shutil.which("direnv") or pytest.skip("no direnv on this machine: apt-get install direnv")
    (project / ".envrc").write_text('export SCTMEM_OUT="$PWD/captures/%e.%p.bin"\nPATH_add .venv/bin\n')
    home = {"HOME": str(project), "XDG_DATA_HOME": str(project / "data"), "XDG_CONFIG_HOME": str(project / "config")}
    run(direnv, "allow", ".", cwd=project, **home)
    (project / "captures").mkdir()
    run(direnv, "exec", ".", "python", "app.py", cwd=project, **home)
    assert list((project / "captures").iterdir()) == []
    text = run(direnv, "exec", ".", "sctmem", "run", "-q", "--", "python", "app.py", cwd=project, **home)[1]
    assert text.rstrip().endswith("True")
    capture, = (project / "captures").iterdir()
    assert stats(project, capture)["total"]["total_bytes"] >= 3000000
