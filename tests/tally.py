# SPDX-License-Identifier: MIT
"""Adds up what came of the tests:  tally.py RESULTS.  Called by tests/run, whose last line this prints.

RESULTS/NAME.json is meson's log of one `meson test` (a JSON object a line), RESULTS/NAME/*.xml are the JUnit files
that tests of that run wrote.  A meson test called T whose NAME/T.xml is there counts as that file's cases, any other
counts one.  A JUnit file does not hide a failure: where meson saw T fail and the file has no failed case (pytest was
killed, or could not collect), one failure is added.  RESULTS/NAME.broken stands for a run that could not be made.
"""
import json
import pathlib
import sys
import xml.etree.ElementTree

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}


def junit_cases(path):
    """Yields (name, outcome, reason) of a JUnit file."""
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = "{}::{}".format(case.get("classname"), case.get("name"))
        failure = next((case.find(tag) for tag in ("failure", "error") if case.find(tag) is not None), None)
        skipped = case.find("skipped")
        if failure is not None:
            yield name, "failed", failure.get("message", "").split("\n")[0]
        elif skipped is not None:
            yield name, "skipped", skipped.get("message", "")
        else:
            yield name, "passed", ""


def skip_reason(test):
    """Why a meson test was skipped: the last line it said."""
    lines = [line for key in ("stdout", "stderr") for line in (test.get(key) or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it did not say why"


def run_outcomes(log):
    """Yields (name, outcome, reason) of one meson run."""
    for line in log.read_text(errors="replace").splitlines():
        test = json.loads(line)
        plain_name = test["name"].split(" / ")[-1]
        failed = test["result"] not in PASSED | SKIPPED
        junit = log.with_suffix("") / (plain_name + ".xml")
        if junit.exists() and test["result"] not in SKIPPED:
            cases = list(junit_cases(junit))
            yield from cases
            if failed and not any(outcome == "failed" for _, outcome, _ in cases):
                yield plain_name, "failed", "meson says {} but no case failed".format(test["result"])
        elif failed:
            yield test["name"], "failed", test["result"]
        elif test["result"] in SKIPPED:
            yield test["name"], "skipped", skip_reason(test)
        else:
            yield test["name"], "passed", ""


def main(folder):
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    outcomes = [(path.stem, "failed", path.read_text().strip()) for path in sorted(folder.glob("*.broken"))]
    for log in sorted(folder.glob("*.json")):
        outcomes += run_outcomes(log)
    for word in ("skipped", "failed"):
        for name, outcome, reason in outcomes:
            if outcome == word:
                print("{} {}: {}".format("SKIP" if word == "skipped" else "FAIL", name, reason))
    for _, outcome, _ in outcomes:
        totals[outcome] += 1
    if not outcomes:
        print("FAIL: no test was run")
        totals["failed"] = 1
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**totals))
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
