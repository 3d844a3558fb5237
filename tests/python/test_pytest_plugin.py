# SPDX-License-Identifier: MIT
"""pytest --sctmem: every option and marker on real runs, each figure held against what the command says."""
import os
import pathlib
import re
import subprocess

import pytest

from conftest import clean_environment, interpreters, run

TESTS = '''
import os, subprocess, sys, threading, unittest
import pytest
keep = []
SIZE = int(os.environ.get("SIZE", "0"))

def allocate(size):
    return bytearray(size)

@pytest.fixture
def fixed():
    yield bytearray(5 << 20)

def test_plain():
    allocate(1 << 20)

@pytest.mark.limit_memory("1 MB")
def test_peak_over():
    allocate(2 << 20)

@pytest.mark.limit_memory("3 MB")
def test_peak_within():
    allocate(2 << 20)
    allocate(2 << 20)

@pytest.mark.limit_total("3 MB")
@pytest.mark.limit_memory("3 MB")
def test_total_over():
    allocate(2 << 20)
    allocate(2 << 20)

@pytest.mark.limit_allocations(100)
def test_allocations_over():
    [object() for _ in range(1000)]

@pytest.mark.limit_leaks("10 KB")
def test_leak_over():
    keep.append(allocate(1 << 16))
    keep.append(allocate(100))

@pytest.mark.limit_leaks("10 KB", filter_fn=lambda stack: stack.frames[0].function != "allocate")
def test_leak_filtered():
    keep.append(allocate(1 << 16))

@pytest.mark.limit_memory("1 MB")
@pytest.mark.limit_leaks("1 KB")
@pytest.mark.limit_total("1 KB")
def test_all_over():
    keep.append(allocate(2 << 20))

def in_thread():
    thread = threading.Thread(target=lambda: keep.append(allocate(4 << 20)))
    thread.start()
    thread.join()

@pytest.mark.limit_memory("1 MB", current_thread_only=True)
@pytest.mark.limit_leaks("1 MB", current_thread_only=True)
def test_thread_own():
    in_thread()

@pytest.mark.limit_memory("1 MB")
def test_thread_any():
    in_thread()

@pytest.mark.limit_memory("1 MB")
def test_fixture(fixed):
    pass

@pytest.mark.limit_memory("many")
def test_slip():
    pass

@pytest.mark.limit_memory("1 MB")
def test_fails_by_itself():
    allocate(2 << 20)
    assert False, "its own reason"

@pytest.mark.limit_memory("1 MB")
class TestClass(unittest.TestCase):
    def test_unittest(self):
        allocate(2 << 20)

@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.limit_memory("1.5 MB")
def test_parameter(size):
    allocate(size << 20)

def test_environment():
    assert "LD_PRELOAD" not in os.environ or os.environ["LD_PRELOAD"] == os.environ.get("EXPECTED_PRELOAD")
    assert not [name for name in os.environ if name.startswith("SCTMEM_")]
    code = "import os; print('libsctmem' in open('/proc/self/maps').read())"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"False\\n"
    if os.fork() == 0:
        allocate(1000)
        os._exit(0)
    os.wait()
'''
FAILING = {"test_peak_over", "test_total_over", "test_allocations_over", "test_leak_over", "test_all_over",
           "test_thread_any", "test_slip", "test_fails_by_itself", "TestClass::test_unittest", "test_parameter[2]"}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "test_memory.py").write_text(TESTS)
    return tmp_path


def pytest_alone(python, folder, *options, **more):
    """(status, text) of pytest with no other option than these"""
    return run(python, "-m", "pytest", "-p", "no:cacheprovider", *options, cwd=folder, check=False, **more)


def run_pytest(python, folder, *options, status=None, **more):
    code, text = pytest_alone(python, folder, "--sctmem", *options, **more)
    assert status is None or code == status, text
    return text


def outcomes(folder, path):
    """{test: (failed, text)} from JUnit XML."""
    import xml.etree.ElementTree
    found = {}
    for case in xml.etree.ElementTree.parse(str(folder / path)).getroot().iter("testcase"):
        name = case.get("name")
        name = "TestClass::" + name if case.get("classname").endswith("TestClass") else name
        problems = [problem.text or problem.get("message") for problem in case if problem.tag in ("failure", "error")]
        found[name] = (bool(problems), "\n".join(problems))
    return found


def figures(text):
    """The exact numbers of a report: what it says, without what is rounded."""
    return [int(number.replace(",", "")) for number in re.findall(r"(?:takes|kept) ([\d,]+)", text)]


def check_against_the_command(sctmem, capture, results):
    """Every number that a failure names is the one that stats and leaks give between the test's marks."""
    windows = {window["name"].split("::", 1)[1]: window["name"] for window in sctmem("windows", capture)["windows"]}
    checked = 0
    for name, (failed, text) in results.items():
        if not failed or "its own reason" in text or "is not a size" in text:
            continue
        marks = ["--from", "begin " + windows[name], "--to", "end " + windows[name]]
        stats, leaks = sctmem("stats", *marks, capture), sctmem("leaks", "-n", "0", *marks, capture)
        said = figures(text)
        expected = []
        if "(its peak)" in text:
            expected.append(stats["peak"]["bytes"])
        if re.search("Test kept", text):
            limit = int(re.search(r"more than ([\d,]+) B", text).group(1).replace(",", ""))
            expected.append(sum(leak["bytes"] for leak in leaks["leaks"] if leak["bytes"] > limit))
        if "(all in all)" in text:
            expected.append(stats["total_bytes_allocated"])
        if "(allocations)" in text:
            expected.append(stats["total_num_allocations"])
        assert said == expected and expected, (name, text)
        checked += len(said)
    return checked


def test_markers_limit_what_they_say(system_python, sctmem, project):
    text = run_pytest(system_python, project, "--junitxml=junit.xml", "--sctmem-bin-path", "kept",
                      "--most-allocations", "0", status=1)
    results = outcomes(project, "junit.xml")
    assert {name for name, (failed, _) in results.items() if failed} == FAILING, text
    assert "its own reason" in results["test_fails_by_itself"][1]
    assert "'many' is not a size" in results["test_slip"][1]
    assert "allocate:" in results["test_peak_over"][1]
    capture, = (project / "kept").iterdir()
    assert check_against_the_command(sctmem, capture, results) == 10
    # The table has all of them, with the figures of the windows.
    for window in sctmem("windows", capture)["windows"]:
        block = text.split("\n" + window["name"].split(" ", 1)[1] + "\n", 1)[1].split("\n", 1)[0]
        assert "in {:,} allocations".format(window["total"]["count"]) in block
    assert "capture: {}".format(capture) in text
    assert text.count("MEMORY PROBLEMS") == len(FAILING) - 1


def test_workers_of_xdist_measure_the_same(system_python, sctmem, project):
    if run(system_python, "-c", "import xdist", check=False)[0] != 0:
        pytest.skip("no xdist: apt-get install python3-pytest-xdist")
    text = run_pytest(system_python, project, "-n", "2", "--junitxml=junit.xml", "--sctmem-bin-path", "kept",
                      "--sctmem-bin-prefix", "run 1%p:", "--most-allocations", "0", status=1)
    results = outcomes(project, "junit.xml")
    assert {name for name, (failed, _) in results.items() if failed} == FAILING, text
    captures = sorted((project / "kept").iterdir())
    assert len(captures) == 2 and all(path.name.startswith("run 1%p:") for path in captures)
    seen = 0
    for capture in captures:
        names = {window["name"].split("::", 1)[1] for window in sctmem("windows", capture)["windows"]}
        seen += len(names)
        check_against_the_command(sctmem, capture, {name: results[name] for name in names})
    assert seen == len(results)
    assert all("test_memory.py::{}\n".format(name) in text for name in results)


@pytest.mark.parametrize("measure,failing", [("setup", {"test_fixture"}), ("all", {"test_fixture"})])
def test_fixtures_are_measured_when_asked_for(system_python, sctmem, project, measure, failing):
    text = run_pytest(system_python, project, "-k", "test_fixture or test_peak", "--sctmem-measure", measure,
                      "--junitxml=junit.xml", "--sctmem-bin-path", "kept", status=1)
    results = outcomes(project, "junit.xml")
    assert {name for name, (failed, _) in results.items() if failed} == failing | {"test_peak_over"}, text
    capture, = (project / "kept").iterdir()
    assert check_against_the_command(sctmem, capture, results) == 2
    assert figures(results["test_fixture"][1])[0] > 5 << 20


def test_the_ini_file_has_all_options(system_python, sctmem, project):
    (project / "pytest.ini").write_text(
        "[pytest]\nsctmem = true\nsctmem_bin_path = kept\nsctmem_most_allocations = 1\nsctmem_stacks = 0\n"
        "sctmem_native = true\nsctmem_measure = setup\n")
    code, text = pytest_alone(system_python, project, "-k", "plain or fixture")
    assert code == 1 and "1 more tests; --most-allocations 0 shows all" in text
    # Whole stacks, to the interpreter's start, in C.
    assert "pytest_fixture_setup:" in text and " _start:" in text
    capture, = (project / "kept").iterdir()
    assert sctmem("stats", capture)["captures"][0]["native_traces"] == "full"
    # The command line wins.
    code, text = pytest_alone(system_python, project, "-k", "plain", "--most-allocations", "0", "--stacks", "1",
                              "--hide-sctmem-summary", "--sctmem-bin-path", "other", "--no-python-allocators")
    assert code == 0 and "memory of tests" not in text
    capture, = (project / "other").iterdir()
    assert sctmem("stats", capture)["captures"][0]["trace_python_allocators"] is False


def test_an_increase_fails_and_is_not_learnt(system_python, tmp_path):
    (tmp_path / "test_grow.py").write_text(
        "import os\ndef test_grow():\n    bytearray(int(os.environ['SIZE']) << 20)\ndef test_same():\n    pass\n")

    def attempt(size, *options):
        return run(system_python, "-m", "pytest", "--sctmem", "--fail-on-increase", "--sctmem-increase-tolerance",
                   "10KB", *options, cwd=tmp_path, check=False, SIZE=str(size))

    assert attempt(1)[0] == 0
    assert attempt(1)[0] == 0
    for _ in range(2):
        code, text = attempt(3)
        assert code == 1 and "more than in the last run that passed" in text and "1 failed, 1 passed" in text
    grown = re.search(r"takes ([\d,]+) B .*, ([\d,]+) B .*more than in the last run", text)
    peak, more = (int(number.replace(",", "")) for number in grown.groups())
    assert peak > 3 << 20 and abs(peak - more - (1 << 20)) < 1 << 14
    assert attempt(1)[0] == 0
    assert attempt(3, "--sctmem-increase-tolerance", "2.1MB")[0] == 0
    assert attempt(3)[0] == 0
    if run(system_python, "-c", "import xdist", check=False)[0] == 0:
        assert attempt(3, "-n", "1")[0] == 0
        assert attempt(6, "-n", "1")[0] == 1


@pytest.mark.parametrize("follow,captures", [("none", 1), ("fork", 2)])
def test_children_are_recorded_when_asked_for(system_python, project, follow, captures):
    run_pytest(system_python, project, "-k", "environment", "--sctmem-follow", follow, "--sctmem-bin-path", "kept",
               status=0)
    assert len(list((project / "kept").iterdir())) == captures


def test_the_users_own_preload_stays(system_python, project):
    text = run_pytest(system_python, project, "-k", "environment", status=0, LD_PRELOAD="libm.so.6",
                      EXPECTED_PRELOAD="libm.so.6")
    assert "1 passed" in text


def test_nothing_is_left_and_nothing_changes_without_the_option(system_python, project):
    (project / "tmp").mkdir()
    run_pytest(system_python, project, "-k", "plain", status=0, TMPDIR=str(project / "tmp"))
    assert [path for path in (project / "tmp").iterdir() if path.name.startswith("sctmem")] == []
    code, text = pytest_alone(system_python, project, "--strict-markers")
    assert code == 1 and "1 failed, 16 passed" in text
    assert not list(project.glob("*.bin"))


def test_who_runs_pytest_as_a_part_is_not_begun_anew(system_python, project):
    code, text = run(system_python, "-c", "import pytest, sys; sys.exit(pytest.main(['--sctmem']))", cwd=project,
                     check=False)
    assert code == 4 and "start that one with `sctmem run -- ...`" in text
    program = project / "program.py"
    program.write_text("import pytest, sys\nprint('once')\n"
                       "sys.exit(pytest.main(['--sctmem', '-k', 'plain or peak_over']))\n")
    code, text = run(system_python.parent / "sctmem", "run", "-q", "-o", "run.bin", "--", system_python, program,
                     cwd=project, check=False)
    assert code == 1 and text.count("once") == 1 and "1 failed, 1 passed" in text and "out of a limit of" in text


def test_slips_are_usage_errors(system_python, project):
    for options, said in ((["--sctmem-measure", "half"], "not call, setup or all"),
                          (["--sctmem-follow", "all"], "not none, fork, exec or exec:GLOB"),
                          (["--sctmem-increase-tolerance", "much"], "'much' is not a size")):
        text = run_pytest(system_python, project, *options, status=4)
        assert said in text, text


def test_output_of_the_first_start_is_not_lost_or_doubled(system_python, project):
    for options in ([], ["-s"], ["-q", "--capture=sys"]):
        words = [str(system_python), "-m", "pytest", "--sctmem", "-p", "no:cacheprovider", "-k", "plain"] + options
        done = subprocess.run(words, cwd=str(project), env=clean_environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        assert done.returncode == 0 and done.stdout.count(b"1 passed") == 1 and done.stderr == b"", options


OTHERS = sorted(set(interpreters()) - {"3.11"}, key=lambda text: int(text.split(".")[1]))
# What Debian's pytest is made of.
PARTS = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "attr", "attrs", "py", "exceptiongroup", "tomli",
         "pkg_resources")


@pytest.mark.parametrize("version", OTHERS)
def test_other_interpreters_measure_with_a_copy_of_pytest(environment, project, version):
    python = environment(interpreters()[version])
    copies = project / "copies"
    copies.mkdir()
    for part in PARTS:
        for path in pathlib.Path("/usr/lib/python3/dist-packages").glob(part + "*"):
            if path.name in (part, part + ".py") or (path.name.startswith(part + "-") and path.name.endswith("-info")):
                os.symlink(str(path), str(copies / path.name))
    if run(python, "-c", "import pytest, _pytest.config", check=False, PYTHONPATH=str(copies))[0] != 0:
        pytest.skip("the system's pytest does not run in CPython {}".format(version))
    # A choice of them: the interpreter matters to the recording and not to the judgement.
    text = run_pytest(python, project, "-k", "peak or leak_ or thread_own or unittest", "--junitxml=junit.xml",
                      status=1, PYTHONPATH=str(copies))
    results = outcomes(project, "junit.xml")
    assert {name for name, (failed, _) in results.items() if failed} == {
        "test_peak_over", "test_leak_over", "TestClass::test_unittest"}, text
    assert len(results) == 6
