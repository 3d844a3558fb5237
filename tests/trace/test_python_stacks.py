# SPDX-License-Identifier: MIT
"""Python stacks of real work, as recorded, against what the interpreter says at the same moment: file, name and line
of each frame.  victims/python_loads.py tells what is run, and how it is asked.

SCTMEM_TRACE_STACKS sets how many stacks are compared for each interpreter, load and oracle.  When it is set, every
interpreter takes every part, those of the Debian sid root (tests/peers) too, if there is one.  Else 50 are compared,
and tracemalloc, which takes its time, is asked by the first interpreter on one load only.
"""
import bisect
import json
import os
import pathlib
import struct
import subprocess

import pytest

from decoder import decode
from recording import Recording, clean_environment, python_name, run
from test_python import interpreters

VICTIMS = pathlib.Path(__file__).resolve().parent / "victims"
ALL = "SCTMEM_TRACE_STACKS" in os.environ
STACKS = int(os.environ.get("SCTMEM_TRACE_STACKS", "50"))
SAMPLE_SIZE = 70000
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SID = REPOSITORY / "tests/peers/sid"
SID_ROOT = pathlib.Path(os.environ.get("SCTMEM_SID_ROOT", "/opt/sid"))
SID_NAMES = ("python3.13", "python3.13d", "python3.14", "python3.14d", "python3.15")
# Debian's pytest is Python without anything compiled; these are what it imports.
PYTEST_PACKAGES = ("_pytest", "pytest", "pluggy", "iniconfig", "packaging", "attr", "exceptiongroup", "tomli", "py.py")
PYTEST_PYTHONS = range(8, 14)
PACKAGES = pathlib.Path("/usr/lib/python3/dist-packages")
PYTHON, SPECIAL = 1, 2
NOT_BEGUN = 0xffffff
INTERNALS = 5   # a special frame that says nothing is missing: the block is the interpreter's own doing
CODE = struct.Struct("<6I")


class Interpreter:
    """A Python that runs the loads, here or in the sid root."""

    def __init__(self, path, sid):
        self.path, self.sid = path, sid
        self.name = "sid " + path if sid else str(path) if path.parts[-3] == "usr" else python_name(path)

    def run(self, arguments, library=None, environment=None, stdin=None):
        variables = dict(environment or {}, PYTHONDONTWRITEBYTECODE="1", PYTHONUTF8="1")
        if library:
            variables["SID_PRELOAD" if self.sid else "LD_PRELOAD"] = str(library)
        argv = ([str(SID)] if self.sid else []) + [str(self.path), str(VICTIMS / "python_loads.py")]
        return run(argv + [str(argument) for argument in arguments], clean_environment(**variables), stdin=stdin)

    def minor(self):
        command = "import sys; print(sys.version_info[1])"
        argv = ([str(SID)] if self.sid else []) + [str(self.path), "-c", command]
        return int(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)


def all_interpreters():
    found = [Interpreter(path, False) for path in interpreters()]
    if ALL and (SID_ROOT / ".sctmem-complete").exists():
        found += [Interpreter(name, True) for name in SID_NAMES if (SID_ROOT / "usr/bin" / name).exists()]
    return found


@pytest.fixture(params=all_interpreters(), ids=lambda interpreter: interpreter.name)
def interpreter(request):
    return request.param


def pytest_packages(interpreter, folder):
    """A folder to import Debian's pytest from, for interpreters that have none of their own; None when it cannot."""
    if interpreter.sid or interpreter.minor() not in PYTEST_PYTHONS:
        return None
    folder.mkdir()
    for name in PYTEST_PACKAGES:
        if (PACKAGES / name).exists():
            (folder / name).symlink_to(PACKAGES / name)
    return str(folder)


class Codes:
    """Files, names and lines, from the CODE records of a capture; the interpreter reads its own line tables."""

    def __init__(self, contents, interpreter):
        self.known, tables = {}, []
        for kind, data in contents.metadata:
            if kind != "code":
                continue
            number, first_line, table_kind, *sizes = CODE.unpack_from(data)
            parts, at = [], CODE.size
            for size in sizes:
                parts.append(data[at:at + size])
                at += size
            if number not in self.known:
                self.known[number] = (parts[0].decode("utf-8", "surrogateescape"), parts[1].decode(), len(tables),
                                      first_line)
                tables.append((first_line, table_kind, parts[2].hex()))
        done = interpreter.run(["lines"], stdin=json.dumps(tables).encode())
        assert done.status == 0, done.stderr.decode()
        self.ranges = [[(start, line or 0) for start, _, line in rows] for rows in json.loads(done.stdout.decode())]

    def frame(self, number, units):
        file, name, table, first_line = self.known[number]
        if units == NOT_BEGUN:
            return [file, name, first_line]
        rows = self.ranges[table]
        return [file, name, rows[bisect.bisect_right(rows, (units * 2, 1 << 40)) - 1][1]]


def python_stack(contents, codes, stack):
    """[[file, name, line]] of the Python frames of a recorded stack, innermost first."""
    frames = []
    while stack:
        frame, stack = contents.nodes[stack]
        assert frame >> 62 != SPECIAL or frame & 15 == INTERNALS, "a stack that says that it is not whole"
        if frame >> 62 == PYTHON:
            frames.append(codes.frame(frame >> 24 & 0xffffffff, frame & 0xffffff))
    return frames


def difference(told, recorded):
    """The first frames that differ, counted from the outermost."""
    for depth, pair in enumerate(zip(told[::-1], recorded[::-1])):
        if pair[0] != pair[1]:
            return "frame {} of {}: the interpreter says {}, the capture {}".format(depth, len(told), *pair)
    return "{} frames by the interpreter, {} by the capture: {}".format(len(told), len(recorded), told[:3])


def record(interpreter, tools, folder, oracle, load):
    """(journal, capture, what was run) of one run."""
    captures, work, journal = folder / "captures", folder / "work", folder / "journal"
    captures.mkdir()
    work.mkdir()
    environment = {"SCTMEM_OUT": str(captures / "%p.bin"), "SCTMEM_DEPTH": "1024",
                   "SCTMEM_NATIVE": "full" if oracle == "frames" else "leaf",
                   "PYTHONPATH": pytest_packages(interpreter, folder / "packages") if load == "tests" else None}
    ended = interpreter.run([oracle, load, STACKS, journal, work], tools.library, environment)
    assert (ended.status, ended.stderr) == (0, b""), ended
    capture = Recording(tools, captures, ended).only()
    capture.check_whole()
    assert not capture.header["stacks_truncated"]
    with open(journal, encoding="utf-8") as file:
        return json.load(file), capture, ended.stdout.decode().strip()


def report(interpreter, what, oracle, compared, frames, differences):
    print("{}, {}, {}: {} stacks, {} frames, {} differences".format(
        interpreter.name, what, oracle, compared, frames, len(differences)))
    assert not differences, "{} of {} stacks differ; the first: {}".format(len(differences), compared, differences[:3])


@pytest.mark.parametrize("load", ["json", "ast", "tests"])
def test_stacks_are_those_of_the_interpreters_frames(interpreter, tools, tmp_path, load):
    journal, capture, what = record(interpreter, tools, tmp_path, "frames", load)
    contents = decode(capture.path, SAMPLE_SIZE, SAMPLE_SIZE + STACKS + 200)
    codes = Codes(contents, interpreter)
    recorded = {}
    for event in contents.events:
        stack = python_stack(contents, codes, event.stack)
        # Other blocks may have such a size too; only a sample's is allocated on this line.
        if stack[:1] == journal[0][1][:1]:
            assert event.size not in recorded, "two blocks of one sample"
            recorded[event.size] = stack
    assert len(journal) >= STACKS and len(recorded) == len(journal)
    differences = [difference(told, recorded[size]) for size, told in journal if told != recorded[size]]
    report(interpreter, what, "sys._getframe", len(journal), sum(len(told) for _, told in journal), differences)


@pytest.mark.parametrize("interpreter", all_interpreters()[:None if ALL else 1], ids=lambda one: one.name)
@pytest.mark.parametrize("load", ["json", "ast", "tests"] if ALL else ["json"])
def test_stacks_are_those_of_tracemalloc(interpreter, tools, tmp_path, load):
    journal, capture, what = record(interpreter, tools, tmp_path, "tracemalloc", load)
    contents = decode(capture.path, "live")
    codes = Codes(contents, interpreter)
    blocks = sorted(contents.blocks)
    addresses = [block.address for block in blocks]
    differences, frames = [], 0
    for address, told in journal:
        block = blocks[bisect.bisect_right(addresses, address) - 1]
        if not block.address <= address < block.address + block.size:
            differences.append("no block at {:x}".format(address))
            continue
        recorded = [[file, line] for file, _, line in python_stack(contents, codes, block.stack)]
        frames += len(told)
        if recorded != told:
            differences.append(difference(told, recorded))
    assert len(journal) >= STACKS
    report(interpreter, what, "tracemalloc", len(journal), frames, differences)
