# SPDX-License-Identifier: MIT
"""pytest --sctmem: the memory of each test, and marks that make a test fail which takes more than it may.

The process of the tests is recorded from its start: without the library in it, pytest begins once more with it (under
xdist each worker does; the controller runs no tests).  Each test is a window between two marks in the capture.  For a
test with limits the window is read when the test has ended, while the recording goes on; for the summary at the end
all windows are read in one pass.

The library is taken out of the environment at once: what the tests start is not recorded, unless --sctmem-follow.
"""
import os
import shlex
import shutil
import sys
import tempfile

import pytest

from sctmem import _control
from sctmem._places import command_path, library_path
from sctmem._windows import ReadError, parse_size, parse_stack, read_windows, show_size

# What tells the process that pytest becomes from the one that the user started; holds the LD_PRELOAD that was his.
RESTARTED = "SCTMEM_PYTEST_PRELOAD"
RECORDING = ("SCTMEM_OUT", "SCTMEM_NATIVE", "SCTMEM_PYTHON_ALLOCATORS", "SCTMEM_FOLLOW")
CACHE_KEY = "sctmem/peaks"
STACKS_MAX = 100000      # of what a test kept, the largest first
MARKERS = {
    "limit_memory": "limit_memory(size, current_thread_only=False): the peak of what the test allocates may be so much",
    "limit_leaks": "limit_leaks(size, filter_fn=None, current_thread_only=False): no stack may keep more than that of "
                   "what the test allocated; filter_fn(stack) says whether a stack counts",
    "limit_total": "limit_total(size, current_thread_only=False): the test may allocate so much in all",
    "limit_allocations": "limit_allocations(count, current_thread_only=False): it may allocate so many times",
}

# name, letter-less option, ini type, default, help.  Options have the names of pytest-memray's where those are free.
OPTIONS = (
    ("sctmem", "--sctmem", "bool", False, "measure the memory of each test"),
    ("sctmem_bin_path", "--sctmem-bin-path", "string", None, "keep the captures in this folder (default: thrown away)"),
    ("sctmem_bin_prefix", "--sctmem-bin-prefix", "string", "", "begin the captures' names with this"),
    ("sctmem_hide_summary", "--hide-sctmem-summary", "bool", False, "no table at the end"),
    ("sctmem_most_allocations", "--most-allocations", "int", 5, "tests in the table at the end; 0: all (default 5)"),
    ("sctmem_stacks", "--stacks", "int", 1, "frames to show of each stack; 0: all (default 1)"),
    ("sctmem_native", "--native", "bool", False, "record native frames to the bottom of each stack"),
    ("sctmem_trace_python_allocators", "--trace-python-allocators", "bool", False,
     "record each Python object's block: always so here, unless --no-python-allocators"),
    ("sctmem_no_python_allocators", "--no-python-allocators", "bool", False,
     "record the arenas of Python's allocator instead of its blocks"),
    ("sctmem_fail_on_increase", "--fail-on-increase", "bool", False,
     "fail tests whose peak is higher than in the last run that passed (pytest's cache)"),
    ("sctmem_increase_tolerance", "--sctmem-increase-tolerance", "string", "0",
     "how much higher it may be: a size, for --fail-on-increase (default 0)"),
    ("sctmem_measure", "--sctmem-measure", "string", "call",
     "what of a test is measured: call (default), setup (its fixtures' set-up too), all (their tear-down too)"),
    ("sctmem_follow", "--sctmem-follow", "string", "none",
     "children that are recorded too, each in its own capture: none (default), fork, exec, exec:GLOB"),
)


def pytest_addoption(parser):
    group = parser.getgroup("sctmem", "memory of tests (sctmem)")
    for dest, option, kind, default, text in OPTIONS:
        own = "--" + dest.replace("_", "-")
        names = [option] if option.startswith(("--sctmem", "--hide-sctmem")) else [own, option]
        keywords = {"action": "store_true", "default": None} if kind == "bool" else {"default": None}
        if kind == "int":
            keywords["type"] = int
        try:
            group.addoption(*names, dest=dest, help=text, **keywords)
        except ValueError:      # another plugin has the short name
            group.addoption(own, dest=dest, help=text, **keywords)
        parser.addini(dest, text, type="bool" if kind == "bool" else None, default=default)


def setting(config, dest):
    """The command line's, else the ini file's, else the default."""
    value = config.getoption(dest, None)
    if value is None:
        value = config.getini(dest)
        kind = next(row[2] for row in OPTIONS if row[0] == dest)
        if kind == "int":
            try:
                value = int(value)
            except ValueError:
                raise pytest.UsageError("{} = {}: not a number".format(dest, value))
    return value


def recording_environment(config, folder):
    """The variables with which a process records itself as the options say."""
    prefix = setting(config, "sctmem_bin_prefix").replace("%", "%%").replace("/", "_")
    follow = setting(config, "sctmem_follow")
    if follow not in ("none", "fork", "exec") and not follow.startswith("exec:"):
        raise pytest.UsageError("--sctmem-follow {}: not none, fork, exec or exec:GLOB".format(follow))
    before = os.environ.get("LD_PRELOAD", "")
    variables = {
        "LD_PRELOAD": library_path() + (":" + before if before else ""),
        "SCTMEM_OUT": os.path.join(folder.replace("%", "%%"), prefix + "%p.bin"),
        "SCTMEM_FOLLOW": follow,
        RESTARTED: "{}\n{}".format(folder, before),
    }
    if setting(config, "sctmem_native"):
        variables["SCTMEM_NATIVE"] = "full"
    if setting(config, "sctmem_no_python_allocators"):
        variables["SCTMEM_PYTHON_ALLOCATORS"] = "no"
    return variables


def leave_environment(follow):
    """Takes what is not the user's own out of the environment of this process, and so of its children."""
    folder, before = os.environ.pop(RESTARTED).split("\n", 1)
    if follow.startswith("exec"):
        return folder
    for name in RECORDING:
        os.environ.pop(name, None)
    if before:
        os.environ["LD_PRELOAD"] = before
    else:
        os.environ.pop("LD_PRELOAD", None)
    return folder


def make_folder(config):
    """(folder for captures, whether it is to be removed)"""
    given = setting(config, "sctmem_bin_path")
    if given:
        folder = os.path.abspath(str(given))
        os.makedirs(folder, exist_ok=True)
        return folder, False
    return tempfile.mkdtemp(prefix="sctmem-"), True


def is_pytest_itself():
    """Whether this process is pytest and nothing else, so that it may begin once more."""
    try:
        with open("/proc/self/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    except OSError:
        return None
    for at, word in enumerate(words[1:], 1):
        if word == "-m":
            return words if words[at + 1:at + 2] in (["pytest"], ["py.test"]) else None
        if not word.startswith("-"):
            return words if os.path.basename(word) in ("pytest", "py.test", "pytest-3") else None
        if word in ("-X", "-W", "-c"):
            return words if word != "-c" and restart_after_value(words, at) else None
    return None


def restart_after_value(words, at):
    """-X and -W take the next word: look behind it."""
    rest = words[at + 2:]
    return rest[:2] == ["-m", "pytest"] or (rest and os.path.basename(rest[0]) in ("pytest", "py.test"))


def begin_again(config):
    words = is_pytest_itself()
    if words is None:
        raise pytest.UsageError("--sctmem: pytest runs inside another program here, which is not begun anew: start "
                                "that one with `sctmem run -- ...`")
    folder, temporary = make_folder(config)
    environment = dict(os.environ, **recording_environment(config, folder))
    if temporary:
        environment[RESTARTED] = "!" + environment[RESTARTED]
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture:
        capture.stop_global_capturing()     # standard output is the user's again
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [words[0]] + words[1:], environment)


def distributes(config):
    return bool(getattr(config.option, "dist", "no") != "no" or getattr(config.option, "tx", None))


def is_worker(config):
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    if not setting(config, "sctmem") or config.option.help or is_worker(config):
        return
    if setting(config, "sctmem_measure") not in ("call", "setup", "all"):
        raise pytest.UsageError("--sctmem-measure {}: not call, setup or all".format(setting(config, "sctmem_measure")))
    try:
        parse_size(setting(config, "sctmem_increase_tolerance"))
        command_path()
        if distributes(config) or _control.is_recorded() or getattr(config.option, "collectonly", False):
            return
        if RESTARTED in os.environ:
            raise pytest.UsageError("--sctmem: the library does not record this process; `sctmem doctor {}` says why"
                                    .format(sys.executable))
        begin_again(config)
    except (FileNotFoundError, ValueError) as error:
        raise pytest.UsageError("--sctmem: {}".format(error))


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    for line in MARKERS.values():
        config.addinivalue_line("markers", line)
    if not setting(config, "sctmem") or getattr(config.option, "collectonly", False):
        return
    # Before pytest_cmdline_main, in a process that is going to begin again, nothing is recorded.
    if is_worker(config) or not distributes(config):
        if _control.is_recorded():
            config.pluginmanager.register(Measurer(config), "sctmem-measurer")
        elif is_worker(config):
            raise pytest.UsageError("--sctmem: this worker is not recorded; only local ones (popen) can be")
    else:
        config.pluginmanager.register(Controller(config), "sctmem-controller")


class Limit:
    """One marker of a test, understood; a slip in it is the test's error."""

    def __init__(self, marker):
        self.name = marker.name
        self.own_thread = bool(marker.kwargs.get("current_thread_only", False))
        self.filter = marker.kwargs.get("filter_fn")
        known = {"current_thread_only", "filter_fn"} if self.name == "limit_leaks" else {"current_thread_only"}
        if len(marker.args) != 1 or set(marker.kwargs) - known:
            raise ValueError("write {}".format(MARKERS[self.name].split(":")[0]))
        self.limit = parse_size(marker.args[0])

    def judge(self, window, frames):
        """None, or why the test fails."""
        if self.name == "limit_leaks":
            return self.judge_leaks(window, frames)
        part, key, what = {
            "limit_memory": ("peak", "bytes", "its peak"), "limit_total": ("total", "bytes", "all in all"),
            "limit_allocations": ("total", "count", "allocations")}[self.name]
        measured = window[part][key]
        if measured <= self.limit:
            return None
        lines = ["Test takes {} out of a limit of {} ({})".format(
            show_amount(measured, key), show_amount(self.limit, key), what)]
        return "\n".join(lines + show_places(window["places"], frames))

    def judge_leaks(self, window, frames):
        over = []
        for leak in window["leaks"]:
            if leak["group"] != "program" or leak["bytes"] <= self.limit:
                continue
            if self.filter is None or self.filter(parse_stack(leak["stack"])):
                over.append(leak)
        if not over:
            return None
        lines = ["Test kept {} in {} stacks that each keep more than {}".format(
            show_amount(sum(leak["bytes"] for leak in over), "bytes"), len(over), show_amount(self.limit, "bytes"))]
        for leak in over[:20]:
            lines.append("    {} in {} blocks".format(show_size(leak["bytes"]), leak["count"]))
            lines += show_stack(leak["stack"], frames)
        return "\n".join(lines)


def show_amount(value, unit):
    return "{:,} B ({})".format(value, show_size(value)) if unit == "bytes" else "{:,}".format(value)


def printable(text):
    """Names come from the program that was traced: nothing of them may act on a terminal."""
    return "".join(character if character.isprintable() else "\\x{:02x}".format(ord(character)) for character in text)


def show_stack(stack, frames):
    shown = stack[:frames] if frames else stack
    return ["        " + printable(location) for location in shown]


def show_places(places, frames):
    lines = []
    for place in places:
        if not place["peak_bytes"]:
            continue
        lines.append("    {} in {} blocks".format(show_size(place["peak_bytes"]), place["peak_count"]))
        lines += show_stack(place.get("stack") or [place["location"]], frames)
    return lines


class Measurer:
    """In a process that runs tests and is recorded."""

    def __init__(self, config):
        self.config = config
        self.folder = self.temporary = None
        if RESTARTED in os.environ:
            folder = leave_environment(setting(config, "sctmem_follow"))
            self.temporary = folder.startswith("!")
            self.folder = folder.lstrip("!")
        self.capture = _control.capture_path()
        self.measure = setting(config, "sctmem_measure")
        self.frames = setting(config, "sctmem_stacks")
        self.number = 0
        self.running = {}        # item: (window's name, mark at its end)
        self.tests = {}          # window's number: test
        self.failed = set()      # tests that did not pass: their peaks are no measure for later runs
        self.before = {}
        self.results = None
        if setting(config, "sctmem_fail_on_increase") and getattr(config, "cache", None):
            self.before = config.cache.get(CACHE_KEY, {}) or {}

    # One test: a window with a name of its own, since a test may run several times.

    def begin(self, item):
        self.number += 1
        begin, end = _control.window_marks("pytest:{} {}".format(self.number, item.nodeid))
        self.tests[self.number] = item.nodeid
        self.running[item] = (self.number, end)
        _control._mark(begin)

    def end(self, item):
        if item in self.running:
            _control._mark(self.running[item][1])

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item):
        if self.measure != "call":
            self.begin(item)
        yield

    # Last among the wrappers: the nearest to the test itself.  A test function is reached through pytest_pyfunc_call;
    # other kinds (unittest's, doctests) are not.
    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_call(self, item):
        around = not (isinstance(item, pytest.Function) and type(item).runtest is pytest.Function.runtest)
        if self.measure == "call" and around:
            self.begin(item)
        yield
        if self.measure == "setup" or (self.measure == "call" and around):
            self.end(item)

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem):
        if self.measure != "call":
            yield
            return
        self.begin(pyfuncitem)
        yield
        self.end(pyfuncitem)

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_teardown(self, item):
        yield
        if self.measure == "all":
            self.end(item)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        report = outcome.get_result()
        if report.outcome == "failed":
            self.failed.add(item.nodeid)
        last = "teardown" if self.measure == "all" else "call"
        if call.when == "teardown":
            number = self.running.pop(item, (None, None))[0]
        else:
            number = self.running.get(item, (None, None))[0]
        if call.when != last or report.outcome != "passed":
            return
        problem = self.judge(item, number)
        if problem:
            report.outcome = "failed"
            report.longrepr = problem
            report.sctmem = True
            self.failed.add(item.nodeid)

    def judge(self, item, number):
        """All limits of the test at once; None when it keeps them."""
        try:
            limits = [Limit(marker) for name in MARKERS for marker in item.iter_markers(name)]
        except ValueError as error:
            return "sctmem: {}".format(error)
        if number is None:
            # A plugin ran the test in a way of its own.
            return "sctmem: the test was not measured; try --sctmem-measure setup" if limits else None
        windows, problems = {}, []
        try:
            for limit in limits:
                if limit.own_thread not in windows:
                    windows[limit.own_thread] = self.read(number, limit.own_thread)
                problems.append(limit.judge(windows[limit.own_thread], self.frames))
            if setting(self.config, "sctmem_fail_on_increase") and item.nodeid in self.before:
                window = windows.get(False) or self.read(number, False)
                problems.append(self.judge_increase(window, self.before[item.nodeid]))
        except ReadError as error:
            return "sctmem: the capture cannot be read: {}".format(error)
        return "\n".join(problem for problem in problems if problem)

    def judge_increase(self, window, before):
        peak = window["peak"]["bytes"]
        if peak <= before + parse_size(setting(self.config, "sctmem_increase_tolerance")):
            return None
        lines = ["Test takes {}, {} more than in the last run that passed".format(
            show_amount(peak, "bytes"), show_amount(peak - before, "bytes"))]
        return "\n".join(lines + show_places(window["places"], self.frames))

    def read(self, number, own_thread):
        windows = read_windows(self.capture, "^pytest:{} ".format(number), places=5, by_stack=True, kept=STACKS_MAX,
                               frames=0, own_thread=own_thread)
        if len(windows) != 1:
            raise ReadError("the window of the test is not in {}".format(self.capture))
        return windows[0]

    # The end: all windows in one pass.

    def read_all(self):
        results = []
        places = 0 if setting(self.config, "sctmem_hide_summary") else 5
        for window in read_windows(self.capture, "^pytest:", places=places, by_stack=True, frames=self.frames):
            number = int(window["name"].split(" ", 1)[0].split(":")[1])
            results.append({"test": self.tests.get(number, window["name"]), "peak": window["peak"]["bytes"],
                            "total": window["total"]["bytes"], "allocations": window["total"]["count"],
                            "kept": window["kept"]["bytes"], "places": window["places"]})
        return results

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        self.results, self.problem = [], None
        try:
            self.results = self.read_all()
        except ReadError as error:
            self.problem = str(error)
        if is_worker(self.config):
            self.config.workeroutput["sctmem"] = {
                "results": self.results, "problem": self.problem, "failed": sorted(self.failed),
                "capture": self.capture}
        else:
            remember_peaks(self.config, self.results, self.failed, self.before)

    def pytest_report_teststatus(self, report, config):
        return report_status(report)

    def pytest_terminal_summary(self, terminalreporter, config):
        if self.results is not None and not is_worker(config):
            write_summary(terminalreporter, config, self.results, [self.problem] if self.problem else [],
                          [] if self.temporary else [self.capture])

    def pytest_unconfigure(self, config):
        if self.temporary and not is_worker(config):
            shutil.rmtree(self.folder, ignore_errors=True)


class Controller:
    """Under xdist: runs no tests, starts workers that are recorded, and puts together what they say."""

    def __init__(self, config):
        self.config = config
        self.folder, self.temporary = make_folder(config)
        self.results, self.problems, self.captures, self.failed = [], [], [], set()
        self.before = (config.cache.get(CACHE_KEY, {}) or {}) if getattr(config, "cache", None) else {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, config, specs):
        variables = recording_environment(config, self.folder)
        for spec in specs:
            if not spec.popen:
                raise pytest.UsageError("--sctmem records local workers only: {} is not one".format(spec))
            # The worker's interpreter alone gets them: execnet splits this as a shell would.
            words = ["/usr/bin/env"] + ["{}={}".format(*pair) for pair in variables.items()]
            spec.python = " ".join(map(shlex.quote, words)) + " " + (spec.python or shlex.quote(sys.executable))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        output = getattr(node, "workeroutput", None) or {}
        if "sctmem" not in output:
            self.problems.append("{} ended without its figures: {}".format(node.gateway.id, error or "no reason given"))
            return
        self.results += output["sctmem"]["results"]
        self.failed.update(output["sctmem"]["failed"])
        self.captures.append(output["sctmem"]["capture"])
        if output["sctmem"]["problem"]:
            self.problems.append("{}: {}".format(node.gateway.id, output["sctmem"]["problem"]))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        remember_peaks(self.config, self.results, self.failed, self.before)

    def pytest_report_teststatus(self, report, config):
        return report_status(report)

    def pytest_terminal_summary(self, terminalreporter, config):
        write_summary(terminalreporter, config, self.results, self.problems, [] if self.temporary else self.captures)

    def pytest_unconfigure(self, config):
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


def report_status(report):
    if getattr(report, "sctmem", False) and report.outcome == "failed":
        return "failed", "M", "MEMORY PROBLEMS"
    return None


def remember_peaks(config, results, failed, before):
    """The peaks of tests that passed; what did not run keeps what it had."""
    if not setting(config, "sctmem_fail_on_increase") or not getattr(config, "cache", None):
        return
    peaks = dict(before)
    peaks.update((result["test"], result["peak"]) for result in results if result["test"] not in failed)
    config.cache.set(CACHE_KEY, peaks)


def write_summary(reporter, config, results, problems, captures):
    for problem in problems:
        reporter.write_line("sctmem: {}".format(printable(problem)))
    if setting(config, "sctmem_hide_summary") or not results:
        return
    most = setting(config, "sctmem_most_allocations")
    ranked = sorted(results, key=lambda result: (-result["peak"], result["test"]))
    reporter.write_sep("=", "memory of tests (sctmem)")
    for result in ranked[:most] if most else ranked:
        reporter.write_line(printable(result["test"]), bold=True)
        reporter.write_line("    peak {}, {} in {:,} allocations, kept {}".format(
            show_size(result["peak"]), show_size(result["total"]), result["allocations"], show_size(result["kept"])))
        for line in show_places(result["places"], setting(config, "sctmem_stacks")):
            reporter.write_line("    " + line)
    if most and len(ranked) > most:
        reporter.write_line("{} more tests; --most-allocations 0 shows all".format(len(ranked) - most))
    for capture in captures:
        reporter.write_line("capture: {}".format(printable(capture)))
