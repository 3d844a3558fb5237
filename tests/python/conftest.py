# SPDX-License-Identifier: MIT
"""What the tests of the Python package share: the wheel, built once, and environments that it is installed in.

SCTMEM_TRACE_LIBRARY names the library of the build under test.  SCTMEM_TEST_WHEEL names a wheel that is there already,
which saves the minute of building one.  With SCTMEM_TEST_INTERPRETERS=all every CPython of the machine takes part; else
Debian's, the oldest and the newest.
"""
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUN_SECONDS_MAX = 300


def clean_environment(**more):
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("SCTMEM_", "LD_", "PYTHON", "PYTEST_"))}
    kept.update(LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1", **more)
    return kept


def run(*words, cwd=None, check=True, **more):
    """(status, standard output and error as one text)"""
    done = subprocess.run([str(word) for word in words], cwd=cwd and str(cwd), env=clean_environment(**more),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=RUN_SECONDS_MAX)
    text = done.stdout.decode("utf-8", "replace")
    line = " ".join(map(str, words))
    assert not check or done.returncode == 0, "{}: status {}\n{}".format(line, done.returncode, text)
    return done.returncode, text


def interpreters():
    """The CPythons of this machine that the package is for, each minor version once."""
    found = {}
    places = [pathlib.Path("/usr/bin/python3")]
    places += sorted(pathlib.Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    places += [pathlib.Path("/usr/bin/python3.{}".format(minor)) for minor in range(8, 16)]
    for path in places:
        if not path.exists():
            continue
        done = subprocess.run([str(path), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                              stdout=subprocess.PIPE, env=clean_environment())
        version = done.stdout.decode().strip()
        if done.returncode == 0 and tuple(map(int, version.split("."))) >= (3, 8):
            found.setdefault(version, path)
    if os.environ.get("SCTMEM_TEST_INTERPRETERS") == "all":
        return found
    ages = sorted(found, key=lambda version: int(version.split(".")[1]))
    return {version: path for version, path in found.items()
            if version in (ages[0], ages[-1]) or path == pathlib.Path("/usr/bin/python3")}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    given = os.environ.get("SCTMEM_TEST_WHEEL")
    if given:
        return pathlib.Path(given)
    folder = tmp_path_factory.mktemp("wheel")
    # As a user would, without network: the backend of the project builds command and library too.
    run(sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--quiet", "-w", folder, ROOT / "python",
        PIP_DISABLE_PIP_VERSION_CHECK="1")
    wheel, = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def environment(wheel, tmp_path_factory):
    """environment(python) makes a virtual environment with the wheel in it, once; gives its interpreter."""
    made = {}

    def make(python, system_packages=False):
        key = (str(python), system_packages)
        if key not in made:
            folder = tmp_path_factory.mktemp("venv")
            options = ["--system-site-packages"] if system_packages else []
            run(python, "-m", "venv", "--without-pip", *options, folder)
            run(python, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-index", "--quiet", wheel,
                PIP_DISABLE_PIP_VERSION_CHECK="1")
            made[key] = folder / "bin" / "python"
        return made[key]

    return make


@pytest.fixture(scope="session")
def system_python(environment):
    """Debian's own, with the wheel, its pytest and whatever else is there."""
    return environment(pathlib.Path("/usr/bin/python3"), system_packages=True)


@pytest.fixture(scope="session")
def sctmem(system_python):
    """Runs the installed command with --json and gives what it wrote."""
    def ask(verb, *words):
        done = subprocess.run([str(system_python.parent / "sctmem"), verb, "--json"] + [str(word) for word in words],
                              env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        return json.loads(done.stdout.decode())
    return ask
