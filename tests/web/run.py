# SPDX-License-Identifier: MIT
"""Runs the page's tests.  Called by meson:

    run.py node NODE NAME BUNDLE FILE.mjs...     node --test on the modules, or on a bundle ("-": none)
    run.py pytest NAME FAKE_REPORT FILE.py...    with the system's pytest; FAKE_REPORT makes pages ("-": none)

With SCTMEM_JUNIT set, NAME.xml with each case goes into that folder, and tests/run counts the cases.  Ends with 77,
meson's sign for skipped, when what it takes is not here.
"""
import os
import subprocess
import sys


def junit_file(name):
    folder = os.environ.get("SCTMEM_JUNIT")
    return os.path.join(folder, name + ".xml") if folder else None


def run_node(node, name, bundle, *scripts):
    version = subprocess.run([node, "--version"], stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()
    numbers = tuple(int(part) for part in version.lstrip("v").split("-")[0].split("."))
    if numbers < (20,):
        print("skipped: node {} is too old: the tests need 20".format(version))
        return 77
    environment = dict(os.environ)
    environment.pop("SCTMEM_BUNDLE", None)
    if bundle != "-":
        environment["SCTMEM_BUNDLE"] = os.path.abspath(bundle)
    options = ["--test", "--test-reporter=spec", "--test-reporter-destination=stdout"]
    if junit_file(name) and numbers >= (20, 11):
        options += ["--test-reporter=junit", "--test-reporter-destination=" + junit_file(name)]
    return subprocess.run([node] + options + list(scripts), env=environment).returncode


def run_pytest(name, fake_report, *scripts):
    try:
        import pytest
    except ImportError:
        print("skipped: this python3 has no pytest: apt-get install python3-pytest")
        return 77
    if fake_report != "-":
        os.environ["SCTMEM_FAKE_REPORT"] = os.path.abspath(fake_report)
    options = ["-p", "no:cacheprovider", "-rs", "-q", "--tb=short", *scripts]
    if junit_file(name):
        options.append("--junitxml=" + junit_file(name))
    sys.dont_write_bytecode = True
    return int(pytest.main(options))


if __name__ == "__main__":
    sys.exit({"node": run_node, "pytest": run_pytest}[sys.argv[1]](*sys.argv[2:]))
