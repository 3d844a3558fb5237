# SPDX-License-Identifier: MIT
"""Tests of the tests' own tools: each rule of check.py fails on a tree that breaks it, and tally.py counts right."""
import io
import json
import os
import pathlib
import sys
import tempfile
import unittest
from contextlib import redirect_stdout

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import check   # noqa: E402
import tally   # noqa: E402

LICENCE = "/* SPDX-License-Identifier: MIT */\n"


class Rules(unittest.TestCase):
    def violations(self, rule, files):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            for layer in check.LAYERS:
                (root / layer).mkdir()
            for name, text in files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return list(check.RULES[rule](root))

    def assert_rule(self, rule, good, bad):
        self.assertEqual(self.violations(rule, good), [])
        for files in bad:
            self.assertTrue(self.violations(rule, dict(good, **files)), files)

    def test_licence(self):
        good = {"reader/a.c": LICENCE, "run.py": "#!/usr/bin/python3\n# SPDX-License-Identifier: MIT\n"}
        self.assert_rule("licence", good, [{"reader/b.c": "int a;\n"}, {"tests/x": "#!/bin/sh\ntrue\n"}])

    def test_layers(self):
        good = {"formats/f.h": LICENCE, "reader/r.h": LICENCE, "preload/p.c": '#include "../formats/f.h"\n',
                "reader/r.c": '#include "r.h"\n#include "formats/f.h"\n', "preload/p.h": LICENCE}
        self.assert_rule("layers", good, [
            {"formats/x.c": '#include "reader/r.h"\n'}, {"formats/x.c": '#include "../preload/p.h"\n'},
            {"preload/x.c": '#include "reader/r.h"\n'}, {"reader/x.c": "#include <preload/p.h>\n"}])

    def test_banned(self):
        good = {"preload/banned.h": LICENCE, "preload/a.c": '#include "a.h"\n#include "banned.h"\n',
                "preload/hooks.c": "#include <stdlib.h>\n"}
        self.assert_rule("banned", good, [{"preload/b.c": '#include "banned.h"\n#include "b.h"\n'},
                                          {"preload/b.c": "int b;\n"}])

    def test_words(self):
        word = "TO" + "DO"
        self.assert_rule("words", {"reader/a.c": "mkstemp(\"aXXXXXX\"); int " + word + "S;\n"},
                         [{"reader/b.c": "/* " + word + ": later */\n"}, {"notes.md": word + "\n"}])

    def test_layout(self):
        self.assert_rule("layout", {"reader/a.c": "/*\n * text\n */\nint a(void)\n{\n\treturn 0;\n}\n"}, [
            {"reader/b.c": "int b;"}, {"reader/b.c": "int b;\n\n"}, {"reader/b.c": "int b; \n"},
            {"reader/b.c": "{\n    int b;\n}\n"}, {"reader/b.c": "int " + "b" * 117 + ";\n"}])

    def test_headers(self):
        good = {"reader/a.h": "#ifndef A\n#define A\n#include <stdint.h>\nstruct a { uint8_t b; };\n#endif\n"}
        unguarded = "struct b { int c; };\n"
        self.assert_rule("headers", good, [{"reader/b.h": "struct b { uint8_t c; };\n"}, {"reader/b.h": unguarded}])

    def test_scripts(self):
        self.assertTrue(self.violations("scripts", {"tests/x": "#!/bin/sh\nif\n"}))

    def test_readme(self):
        good = {"README.md": "| `run` | runs |\n", "reader/command.h": "\tX(run) \\\n"}
        self.assert_rule("readme", good, [{"reader/command.h": "\tX(run) \\\n\tX(new)\n"},
                                          {"README.md": "| `run` | |\n| `old` | |\n"},
                                          {"README.md": "| `run` | |\n[x](no.md)\n"},
                                          {"preload/config.h": 'X("SCTMEM_NEW", new)\n'}])

    def test_every_rule_has_a_test_here(self):
        tested = {name[len("test_"):] for name in dir(self) if name.startswith("test_")}
        self.assertEqual(set(check.RULES) - {"exports", "imports", "needed", "hardened"} - tested, set())


class Tally(unittest.TestCase):
    def run_tally(self, tests, junit=None, broken=None):
        with tempfile.TemporaryDirectory() as folder:
            results = pathlib.Path(folder)
            (results / "all").mkdir()
            (results / "all.json").write_text("".join(json.dumps(test) + "\n" for test in tests))
            for name, text in (junit or {}).items():
                (results / "all" / (name + ".xml")).write_text(text)
            if broken:
                (results / "asan.broken").write_text(broken)
            output = io.StringIO()
            with redirect_stdout(output):
                status = tally.main(results)
            return status, output.getvalue().splitlines()

    def test_meson_tests_count_one_each(self):
        tests = [{"name": "a", "result": "OK"}, {"name": "b", "result": "SKIP", "stdout": "x\nno node\n"},
                 {"name": "c", "result": "OK"}]
        self.assertEqual(self.run_tally(tests), (0, ["SKIP b: no node", "2 passed, 0 failed, 1 skipped"]))

    def test_failures_of_every_kind_fail(self):
        for result in ("FAIL", "TIMEOUT", "ERROR", "UNEXPECTEDPASS", "INTERRUPT", "new kind"):
            status, lines = self.run_tally([{"name": "a", "result": result}])
            self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed, 0 skipped"), result)

    JUNIT = '<testsuites><testsuite><testcase classname="t" name="a"/><testcase classname="t" name="b">' \
            '<skipped message="no redis"/></testcase>{}</testsuite></testsuites>'

    def test_a_junit_file_counts_its_cases(self):
        tests = [{"name": "sctmem:trace / t", "result": "OK"}]
        self.assertEqual(self.run_tally(tests, {"t": self.JUNIT.format("")}),
                         (0, ["SKIP t::b: no redis", "1 passed, 0 failed, 1 skipped"]))
        failing = self.JUNIT.format('<testcase classname="t" name="c"><failure message="no"/></testcase>')
        self.assertEqual(self.run_tally([{"name": "t", "result": "FAIL"}], {"t": failing})[1][-1],
                         "1 passed, 1 failed, 1 skipped")

    def test_a_junit_file_does_not_hide_a_crash(self):
        status, lines = self.run_tally([{"name": "t", "result": "TIMEOUT"}], {"t": self.JUNIT.format("")})
        self.assertEqual((status, lines[-1]), (1, "1 passed, 1 failed, 1 skipped"))

    def test_a_build_that_broke_and_an_empty_run_fail(self):
        self.assertEqual(self.run_tally([{"name": "a", "result": "OK"}], broken="no build")[0], 1)
        self.assertEqual(self.run_tally([]), (1, ["FAIL: no test was run", "0 passed, 1 failed, 0 skipped"]))


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    unittest.main()
