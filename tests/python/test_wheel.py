# SPDX-License-Identifier: MIT
"""The wheel: what it says of itself is true, and it works in a fresh environment of every interpreter at hand."""
import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

from conftest import ROOT, clean_environment, interpreters, run

BUILD = pathlib.Path(os.environ["SCTMEM_TRACE_LIBRARY"]).resolve().parent.parent

SCRIPT = """
import asyncio, os, sys, sctmem
keep = []
@sctmem.trace()
def load(size):
    keep.append(bytearray(size))
@sctmem.trace("steps")
def steps():
    yield bytearray(50000)
@sctmem.trace()
async def wait():
    await asyncio.sleep(0)
    keep.append(bytearray(30000))
assert sctmem.is_recorded() == (len(sys.argv) > 1 and sys.argv[1] == "recorded"), sctmem.capture_path()
assert sctmem.mark("hello") == sctmem.is_recorded()
with sctmem.trace("outer"):
    load(100000)
    load(200000)
list(steps())
asyncio.run(wait())
if os.fork() == 0:
    path = sctmem.capture_path()
    keep.append(bytearray(1000))
    os._exit(0 if path != sctmem.capture_path() or path is None or str(os.getpid()) in path else 1)
assert os.wait()[1] == 0
print(sctmem.capture_path())
sys.exit(7)
"""


def built(folder, **more):
    """build_wheel.py on the build under test: (wheel, what it said)"""
    done = subprocess.run([sys.executable, str(ROOT / "python" / "build_wheel.py"), str(folder)], check=True,
                          env=clean_environment(SCTMEM_WHEEL_BUILD=str(BUILD), **more), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    return pathlib.Path(done.stdout.decode().strip()), done.stderr.decode()


def needs(path):
    """(libraries, newest glibc) by objdump; build_wheel.py asks readelf."""
    text = subprocess.run(["objdump", "-p", "-T", str(path)], check=True, stdout=subprocess.PIPE).stdout.decode()
    versions = [tuple(map(int, version)) for version in re.findall(r"GLIBC_(\d+)\.(\d+)", text)]
    return set(re.findall(r"NEEDED\s+(\S+)", text)), max(versions)


# What each distribution has that manylinux speaks of, of what is needed here.
PROMISED = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0", "libdl.so.2", "libz.so.1"}


def unpack(wheel, folder):
    with zipfile.ZipFile(str(wheel)) as archive:
        archive.extractall(str(folder))
    return folder / "sctmem" / "bin" / "sctmem", folder / "sctmem" / "bin" / "libsctmem.so"


def test_the_tag_is_what_the_files_need(wheel, tmp_path):
    files = unpack(wheel, tmp_path)
    libraries = set.union(*(needs(path)[0] for path in files))
    newest = max(needs(path)[1] for path in files)
    assert libraries <= PROMISED
    assert re.search(r"-py3-none-manylinux_{}_{}_x86_64\.whl$".format(*newest), wheel.name)


def test_a_build_that_needs_more_is_no_manylinux_wheel(tmp_path):
    wheel, said = built(tmp_path)
    foreign = needs(BUILD / "reader" / "sctmem")[0] - PROMISED
    if not foreign:
        pytest.skip("this build links the command statically")
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")
    assert "needs {}, which manylinux does not promise".format(", ".join(sorted(foreign))) in said


def test_the_same_build_gives_the_same_bytes(tmp_path):
    assert built(tmp_path / "a")[0].read_bytes() == built(tmp_path / "b")[0].read_bytes()


def test_the_record_lists_every_file_with_its_hash(wheel):
    with zipfile.ZipFile(str(wheel)) as archive:
        names = set(archive.namelist())
        record = next(name for name in names if name.endswith("/RECORD"))
        listed = set()
        for line in archive.read(record).decode().splitlines():
            name, digest, size = line.rsplit(",", 2)
            listed.add(name)
            if name == record:
                continue
            data = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == ("sha256=" + expected, str(len(data)))
        assert listed == names
        tag = re.search(r"^Tag: (.*)$", archive.read(record.replace("RECORD", "WHEEL")).decode(), re.MULTILINE).group(1)
        assert wheel.name.endswith("-{}.whl".format(tag))
        modules = {"sctmem/" + path.name for path in (ROOT / "python" / "sctmem").glob("*.py")}
        assert modules <= names


def test_the_source_distribution_leads_to_the_backend(tmp_path):
    code = "import sys; sys.path.insert(0, {!r}); import build_wheel; print(build_wheel.build_sdist({!r}))"
    _, name = run(sys.executable, "-c", code.format(str(ROOT / "python"), str(tmp_path)))
    run("tar", "-xzf", tmp_path / name.strip(), "-C", tmp_path)
    top, = [path for path in tmp_path.iterdir() if path.is_dir()]
    project = (top / "pyproject.toml").read_text()
    assert 'backend-path = ["python"]' in project and (top / "python" / "build_wheel.py").exists()
    for name in ("meson.build", "preload/api.c", "reader/main.c", "formats/capture.h", "LICENSE"):
        assert (top / name).exists(), name


@pytest.mark.parametrize("version", sorted(interpreters(), key=lambda text: int(text.split(".")[1])))
def test_a_fresh_environment_records_and_reads(environment, tmp_path, version):
    python = environment(interpreters()[version])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert run(python, script, check=False)[0] == 7      # not recorded: marks do nothing
    capture = tmp_path / "capture.bin"
    status, text = run(python, "-m", "sctmem", "run", "-q", "-o", capture, script, "recorded", check=False)
    assert (status, text.strip()) == (7, str(capture))
    sctmem = python.parent / "sctmem"
    stats = json.loads(run(sctmem, "stats", "--json", capture)[1])
    assert stats["metadata"]["python_version"].startswith(version + ".")
    assert stats["captures"][0]["executable"] == os.path.realpath(str(python))
    windows = json.loads(run(sctmem, "windows", "--json", capture)[1])["windows"]
    named = {}
    for window in windows:
        named.setdefault(window["name"], []).append(window)
    assert {name: len(group) for name, group in named.items()} == {
        "outer": 1, "__main__.load": 2, "steps": 1, "__main__.wait": 1}
    assert [window["level"] for window in named["__main__.load"]] == [1, 1]
    first, second = named["__main__.load"]
    assert 100000 <= first["kept"]["bytes"] < 102000 and 200000 <= second["kept"]["bytes"] < 202000
    assert 300000 <= named["outer"][0]["peak"]["bytes"] < 303000
    assert 30000 <= named["__main__.wait"][0]["kept"]["bytes"] < 60000
    assert 50000 <= named["steps"][0]["peak"]["bytes"] < 52000
    marks = [mark["name"] for mark in json.loads(run(sctmem, "windows", "--marks", "--json", capture)[1])["marks"]]
    assert marks[0] == "hello" and marks[1] == "begin outer"


def test_run_uses_this_interpreter_for_scripts_modules_and_commands(environment, tmp_path):
    python = environment(pathlib.Path("/usr/bin/python3"))
    (tmp_path / "tell.py").write_text("import sys; print(sys.prefix, sys.argv[1:])")
    prefix = str(python.parent.parent)
    for words in (["tell.py", "-o", "x"], ["--native=no", "--", "tell.py", "-o", "x"],
                  ["--depth", "100", "tell.py", "-o", "x"], ["-m", "tell", "-o", "x"],
                  [str(python), "tell.py", "-o", "x"]):
        text = run(python, "-m", "sctmem", "run", "-q", "-o", tmp_path / "%p.bin", *words, cwd=tmp_path)[1]
        assert text == "{} ['-o', 'x']\n".format(prefix), words
    assert run(python, "-m", "sctmem", "run", "-q", "-c", "print(5)", cwd=tmp_path)[1] == "5\n"
    assert run(python, "-m", "sctmem", "run", "-q", "--", "echo", "-m", cwd=tmp_path)[1] == "-m\n"
    status, text = run(python, "-m", "sctmem", "run", "--dpeth", "9", "tell.py", cwd=tmp_path, check=False)
    assert status == 2 and "did you mean --depth?" in text
