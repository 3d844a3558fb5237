# SPDX-License-Identifier: MIT
"""Runs modules of unittest and tells what came of each test:  outcomes.py FILE MODULE...

FILE gets a JSON object: the test's id, and ok, skipped, failed, error, expected failure or unexpected success.
"""
import json
import sys
import unittest


class Outcomes(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.told = {}

    def tell(self, test, what):
        # Sub-tests report through the test that they are part of; the worst is what came of it.
        if self.told.get(test.id(), "ok") in ("ok", what):
            self.told[test.id()] = what

    def addSuccess(self, test):
        self.tell(test, "ok")

    def addSkip(self, test, reason):
        self.tell(test, "skipped")

    def addFailure(self, test, error):
        self.tell(test, "failed")

    def addError(self, test, error):
        self.tell(test, "error")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.tell(test, "failed")

    def addExpectedFailure(self, test, error):
        self.tell(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        self.tell(test, "unexpected success")


def main(path, *names):
    outcomes = Outcomes()
    unittest.defaultTestLoader.loadTestsFromNames(names).run(outcomes)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(outcomes.told, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
