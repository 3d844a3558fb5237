# SPDX-License-Identifier: MIT
"""Python programs of every make: the same output as bare, and each object's block recorded once."""
import pathlib

import pytest

import model
from faults import PYTHON, check_true, compare, python_sizes, require_file, require_module
from recording import NOGIL, other_pythons, python_name, run_bare, signal_status

END = ([1, 2], [2])
# Where imports would fill the capture and its blocks are not the point.
FEW_EVENTS = {"SCTMEM_PYTHON_ALLOCATORS": "no", "SCTMEM_NATIVE": "no"}


each_python = pytest.mark.parametrize("python", [pathlib.Path(PYTHON)] + other_pythons(), ids=python_name)


def run_mode(trace, victim, *mode, python=PYTHON, options=("-I", "-S"), environment=None, whole=True):
    environment = dict({"SCTMEM_NATIVE": "leaf"}, **environment or {})
    return compare(trace, python, *options, victim("pythons"), *mode, environment=environment, whole=whole, deep=False)


@each_python
@pytest.mark.parametrize("options, environment", [
    ((), {"PYTHONMALLOC": "debug"}), ((), {"PYTHONMALLOC": "malloc"}), ((), {"PYTHONMALLOC": "malloc_debug"}),
    (("-X", "dev"), {})], ids=["debug", "malloc", "malloc_debug", "dev"])
def test_any_allocator_of_pythons(victim, trace, python, options, environment):
    recording = run_mode(trace, victim, "plain", python=python, options=("-S",) + options, environment=environment)
    if b"unknown allocator" in recording.ended.stderr:
        pytest.skip("{} has no allocator {}".format(python, environment["PYTHONMALLOC"]))
    assert recording.ended.status == 0
    assert python_sizes(recording.only()) == END


def check_stackless(capture):
    """No event is lost; while an interpreter comes or goes, a few have no Python stack, and are counted."""
    assert capture.header["lost_events"] == 0 and capture.header["python_refused"] < 100, capture.header


@each_python
def test_sub_interpreters(victim, trace, python):
    recording = run_mode(trace, victim, "sub_interpreters", python=python, whole=False)
    if b"ModuleNotFoundError" in recording.ended.stderr:
        pytest.skip("{} has no sub-interpreters".format(python))
    assert recording.ended.status == 0, recording.ended
    check_stackless(recording.only())
    assert python_sizes(recording.only()) == ([1, 2] + [10] * 9 + [11] * 3, [2] + [10] * 9 + [11] * 3)


@each_python
def test_daemon_threads_at_exit(victim, trace, python):
    recording = run_mode(trace, victim, "daemon", python=python, whole=False)
    assert recording.ended.status == 0
    check_stackless(recording.only())
    allocated, freed = python_sizes(recording.only())
    assert allocated.count(11) == freed.count(11) == 20 and allocated.count(1) == 1


@pytest.mark.parametrize("mode, extra", [
    ("profiled", [10] * 4), ("tracebacks", [10] * 20), ("signals", [10] * 100)])
def test_beside_us(victim, trace, mode, extra):
    recording = run_mode(trace, victim, mode)
    assert recording.ended.status == 0 and recording.ended.stderr == b"", recording.ended
    assert python_sizes(recording.only()) == ([1, 2] + extra, [2] + extra)


def test_faulthandler_and_a_crash(victim, trace):
    recording = run_mode(trace, victim, "crash")
    assert recording.ended.status == signal_status("SIGSEGV")
    assert python_sizes(recording.only()) == END


@pytest.mark.parametrize("mode, module, package", [
    ("greenlets", "greenlet", "python3-greenlet"), ("monkey", "gevent", "python3-gevent")])
def test_stacks_that_are_switched(victim, trace, mode, module, package):
    require_module(module, package)
    environment = {"SCTMEM_NATIVE": "full", "SCTMEM_PYTHON_ALLOCATORS": "yes" if mode == "greenlets" else "no"}
    recording = run_mode(trace, victim, mode, options=("-I",), environment=environment)
    assert recording.ended.status == 0, recording.ended
    extra = sorted(list(range(10, 15)) * 10)
    assert python_sizes(recording.only()) == ([1, 2] + extra, [2] + extra)


def test_coverage_sees_what_it_would(victim, trace, tmp_path):
    require_module("coverage", "python3-coverage")
    argv = ["-m", "coverage", "run", "--data-file=" + str(tmp_path / "data"), victim("pythons"), "plain"]
    report = ["-m", "coverage", "report", "--data-file=" + str(tmp_path / "data")]
    assert run_bare([PYTHON] + argv).status == 0
    bare = run_bare([PYTHON] + report)
    recording = trace(PYTHON, *argv, environment=FEW_EVENTS)
    assert recording.ended.status == 0, recording.ended
    check_true(recording.only(), deep=False)
    assert python_sizes(recording.only()) == END
    assert run_bare([PYTHON] + report) == bare


def totals(recording):
    """The sizes of all captures together."""
    found = [python_sizes(capture) for capture in recording.captures]
    return sorted(sum((pair[0] for pair in found), [])), sorted(sum((pair[1] for pair in found), []))


@pytest.mark.parametrize("mode, follow", [
    (("pool", "fork"), "fork"), (("pool", "forkserver"), "exec"), (("pool", "spawn"), "exec"), (("executor",), "fork")])
def test_workers_of_multiprocessing(victim, trace, mode, follow):
    environment = dict(FEW_EVENTS if follow == "exec" else {}, SCTMEM_FOLLOW=follow)
    recording = run_mode(trace, victim, *mode, environment=environment)
    assert recording.ended.status == 0 and b"2470" in recording.ended.stdout, recording.ended
    allocated, freed = totals(recording)
    assert allocated == [1, 2] + [10] * 20 + [11] * 20
    # A worker that ends takes what it kept with it, freed or not.
    assert [n for n in freed if n != 10] == [2] + [11] * 20


def test_forks_of_a_process_with_threads(victim, trace):
    recording = run_mode(trace, victim, "forked")
    assert recording.ended.status == 0 and len(recording.captures) == 11
    assert totals(recording)[0] == [1, 2] + list(range(10, 20))


def test_children_of_subprocess(victim, trace):
    recording = run_mode(trace, victim, "children")
    assert recording.ended.status == 0
    # Executed children are not followed unless asked for; the one with a preexec_fn runs Python before it executes.
    parents = [capture for capture in recording.captures if capture.header["parent_pid"] not in recording.by_pid()]
    assert [python_sizes(capture) for capture in parents] == [END] and len(recording.captures) <= 2


def test_an_environment_that_is_cleared(victim, trace):
    recording = run_mode(trace, victim, "forgets")
    assert recording.ended == (0, b"3 0\n", b"")
    assert sorted(map(python_sizes, recording.captures)) == [([1, 2, 10], [2, 10]), ([1, 2, 12], [2, 12])]


def test_pytest_with_workers(trace, tmp_path):
    require_module("xdist", "python3-pytest-xdist")
    (tmp_path / "test_some.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_n(n):\n    assert bytes(70000 - 33 + n)\n")
    argv = [PYTHON, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", tmp_path / "test_some.py"]
    recording = trace(*argv, environment=dict(FEW_EVENTS, SCTMEM_FOLLOW="exec"), cwd=str(tmp_path))
    assert recording.ended.status == 0 and b"20 passed" in recording.ended.stdout, recording.ended
    assert len(recording.captures) >= 3
    for capture in recording.captures:
        capture.check_whole()
    allocated = totals(recording)[0]
    assert all(allocated.count(n) == 1 for n in range(20))


def test_an_interpreter_that_starts_again_and_again(victim, trace):
    library = require_file("/usr/lib/*/libpython3.11.so.1.0", "libpython3.11")
    recording = compare(trace, victim("embed"), library, deep=False)
    assert recording.ended == (0, b"", b""), recording.ended
    extra = [10] * 4 + [11] * 4 + [12] * 4
    assert python_sizes(recording.only()) == ([1, 2] + extra, [2] + extra)


def nogil():
    path = NOGIL / "bin/python3"
    return path if path.exists() else pytest.skip("no {}: tests/peers/install-nogil builds one".format(path))


def test_threads_without_the_global_lock(victim, trace):
    """Eight threads make objects at the same time, and drop each other's: each is recorded once, by whoever did it."""
    recording = run_mode(trace, victim, "parallel", python=nogil())
    assert recording.ended == (0, b"no global lock\n", b""), recording.ended
    capture = recording.only()
    made = [20 + thread for thread in range(8) for _ in range(500)]
    assert python_sizes(capture) == (sorted(made + [1, 2]), sorted(made + [2]))
    threads = {}
    for event in capture.events():
        if event.kind in model.ALLOCATIONS and 70020 <= event.size < 70028:
            threads.setdefault(event.thread, set()).add(event.size)
    assert len(threads) == 8 and all(len(sizes) == 1 for sizes in threads.values())


def test_forks_without_the_global_lock(victim, trace):
    recording = run_mode(trace, victim, "forked", python=nogil(), options=("-I", "-S", "-W", "ignore"), whole=False)
    assert recording.ended.status == 0
    assert len(recording.captures) == 11
    for capture in recording.captures:
        check_stackless(capture)
