# SPDX-License-Identifier: MIT
"""Python programs: each object's block is one event, with the line that made it, on every Python version here."""
import json
import os
import pathlib
import re
import shutil

import pytest

import model
from recording import NOGIL, Recording, clean_environment, other_pythons, python_name, run, run_bare

# Objects whose blocks have sizes that nothing else has: bytes(n) asks PyObject_Calloc for n and its header.
SCRIPT = """
import sys; H = sys.getsizeof(b"")
def make(n):
    return bytes(n - H)             # line 4
def through(n):
    yield make(n)                   # line 6
class Holder:
    def __init__(self, n):
        self.block = bytes(n - H)   # line 9
def main():
    kept = [make(370000 + i) for i in range(100)]                       # line 11
    del kept[50:]
    kept += [next(through(370200 + i)) for i in range(20)]              # line 13
    kept += [Holder(370300 + i) for i in range(30)]                     # line 14
    kept.sort(key=lambda one: len(bytes(370400 - H)) - len(str(one)))   # line 15
    print(len(kept))
    sys.modules["kept"] = kept
main()
"""


def interpreters():
    return [pathlib.Path("/usr/bin/python3")] + other_pythons()


@pytest.fixture(params=interpreters(), ids=python_name)
def python(request):
    return request.param


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def counted(capture, kinds):
    return [event for event in model.in_order(capture.events())
            if event.kind in kinds and 370000 <= event.size < 370500]


@pytest.mark.parametrize("allocators, kind", [("yes", "pyobject_calloc"), ("no", "calloc")])
def test_each_block_is_one_event(trace, tools, python, script, allocators, kind):
    # Without `site`: what is installed beside the interpreter may make blocks of these sizes as well.
    recording = trace(python, "-S", script,
                      environment={"SCTMEM_PYTHON_ALLOCATORS": allocators, "SCTMEM_NATIVE": "leaf"})
    assert recording.ended == (0, b"100\n", b""), recording.ended
    events = counted(recording.only(), model.ALLOCATIONS)
    if allocators == "no" and NOGIL in python.parents:
        # Its objects lie in address space that its own allocator has reserved.  Nobody is left to believe otherwise.
        assert not events
        said = tools.run_command("tree", recording.only().path)
        assert b"are in no figure" in said.stdout + said.stderr
        return
    # Not twice, as a Python block and as the heap block beneath it.
    assert {event.kind for event in events} == {kind}
    sizes = sorted(event.size for event in events)
    expected = [370000 + i for i in range(100)] + [370200 + i for i in range(20)] + [370300 + i for i in range(30)]
    assert sizes == expected + [370400] * 100
    recording.only().check_whole()


def test_lines_and_functions_are_those_of_the_script(trace, python, script, tools):
    recording = trace(python, script, environment={"SCTMEM_NATIVE": "no"})
    text = tools.run_command("tree", "--metric", "total", "--file", "script.py$", "--biggest", "1000",
                             "--min-percent", "0", recording.only().path).stdout.decode()
    # Qualified names from 3.11 on.
    places = set(re.findall(r"(\S+) \(\S*script\.py:(\d+)\)", text))
    wanted = {("make", "4"), ("through", "6"), ("__init__", "9"), ("main", "11"), ("main", "13"), ("main", "14"),
              ("main", "15"), ("<lambda>", "15"), ("<module>", "18")}
    short = {(name.split(".")[-1], line) for name, line in places}
    assert wanted <= short, (sorted(short), text)


OBSERVER = """
import gc, sys, tracemalloc
gc.disable()
tracemalloc.start()
work = [dict(a=i, b=[str(i)] * 3) for i in range(2000)]
print(tracemalloc.get_traced_memory()[0], len(gc.get_objects()), sys.getallocatedblocks() > 0, sorted(sys.modules))
before = sys.getallocatedblocks()
work = None
print(before - sys.getallocatedblocks(), gc.get_count(), sys.getswitchinterval(), sys.gettrace(), sys.getprofile())
"""


CALLED_IN_TURN = """
def first():
    return b"%d" % 1000             # line 3
def second():
    x = 1; return bytes(50000 + x)  # line 5
def third(x=2):
    x += 1
    x += 1
    return bytes(60000 + x)         # line 9
def fourth():
    one = 1.5; two = one * 3
    return [bytes(40000), two, bytes(45000)]   # line 12
for call in (second, third, fourth, first) * 500: call()
"""


@pytest.mark.parametrize("native", ["no", "leaf"])
def test_functions_called_from_one_place_are_told_apart(trace, python, tmp_path, tools, native):
    """Their frames lie at one address, and nothing outside of them has moved."""
    path = tmp_path / "called.py"
    path.write_text(CALLED_IN_TURN)
    recording = trace(python, "-S", path, environment={"SCTMEM_NATIVE": native})
    said = tools.run_command("table", "--metric", "total", "--file", "called.py$", "--json", "--rows", "0",
                             recording.only().path).stdout
    total = {(row["function"], row["line"]): row["total_bytes"] for row in json.loads(said)["rows"]
             if row["file"] == str(path) and row["function"] != "<module>"}
    wanted = {("first", 3): 0, ("second", 5): 50001, ("third", 9): 60004, ("fourth", 12): 85000}
    assert {place for place, size in total.items() if size >= 500 * 40000} == wanted.keys() - {("first", 3)}, total
    for place, size in wanted.items():
        assert 500 * size <= total[place] <= 500 * (size + 400), (place, total)


def test_the_interpreter_counts_what_it_would_without_us(trace, python):
    # The same environment, of which the interpreter makes objects; another library instead of ours.
    environment = {"PYTHONHASHSEED": "0", "LD_PRELOAD": "libm.so.6", "SCTMEM_OUT": "x", "SCTMEM_NATIVE": "full"}
    bare = run_bare([python, "-I", "-S", "-c", OBSERVER], environment=environment)
    recording = trace(python, "-I", "-S", "-c", OBSERVER, environment={"PYTHONHASHSEED": "0"})
    assert bare.status == 0
    assert recording.ended == bare


DETACHED = """
import sys, threading, ctypes
library = ctypes.CDLL(None)       # its functions are called without the GIL
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def work():
    for _ in range(100):
        library.free(library.malloc(123456))
work()
main = [[] for _ in range(100)], "atexit" in sys.modules
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
other = [[] for _ in range(100)], "atexit" in sys.modules
print(main[1], other[1])
"""


def test_the_end_is_guarded_only_when_a_thread_allocates_without_the_gil(trace, python):
    recording = trace(python, "-I", "-S", "-c", DETACHED, environment={"SCTMEM_NATIVE": "no"})
    assert recording.ended == (0, b"False True\n", b""), recording.ended
    events = [event for event in recording.only().events() if event.size == 123456]
    assert len(events) == 400
    recording.only().check_whole()


SID = pathlib.Path(__file__).resolve().parents[1] / "peers/sid"


@pytest.mark.parametrize("version", ["3.13", "3.14", "3.15"])
def test_newest_pythons_on_the_newest_glibc(tools, tmp_path, script, version):
    """In the Debian sid root of tests/peers/install-sid-root: a library built here runs on a newer libc."""
    root = pathlib.Path(os.environ.get("SCTMEM_SID_ROOT", "/opt/sid"))
    if not (root / ".sctmem-complete").exists():
        pytest.skip("no Debian sid root: tests/peers/install-sid-root makes one")
    if os.getuid() != 0 or not (root / "usr/bin/python{}".format(version)).exists():
        pytest.skip("not root, or no python{} in {}".format(version, root))
    folder = tmp_path / "captures"
    folder.mkdir()
    library = shutil.copy(str(tools.library), str(tmp_path / "libsctmem.so"))
    environment = clean_environment(SID_PRELOAD=library, SCTMEM_OUT=str(folder / "%e.%p.bin"), SCTMEM_NATIVE="leaf",
                                    SCTMEM_SID_BIND=str(tmp_path))
    ended = run([SID, "python" + version, script], environment)
    assert ended == (0, b"100\n", b""), ended
    capture = Recording(tools, folder, ended).only()
    events = counted(capture, {"pyobject_calloc"})
    assert len(events) == 250, capture.header
    assert capture.header["python_version"].startswith(version)
    capture.check_whole()
