# SPDX-License-Identifier: MIT
"""Runs test files of this folder or of tests/fault with the system's pytest:  run.py LIBRARY COMMAND NAME FILE...

Called by meson.  With SCTMEM_JUNIT set, NAME.xml with each case goes into that folder, and tests/run counts the cases.
Ends with 77, meson's sign for skipped, when there is no pytest.
"""
import os
import sys


def main(library, command, name, *files):
    try:
        import pytest
    except ImportError:
        print("skipped: this python3 has no pytest: apt-get install python3-pytest")
        return 77
    os.environ["SCTMEM_TRACE_LIBRARY"] = os.path.abspath(library)
    os.environ["SCTMEM_TRACE_COMMAND"] = os.path.abspath(command)
    options = ["-p", "no:cacheprovider", "-rs", "-q", "--tb=short", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    junit = os.environ.get("SCTMEM_JUNIT")
    if junit:
        options.append("--junitxml={}".format(os.path.join(junit, name + ".xml")))
    sys.dont_write_bytecode = True
    os.chdir(os.path.dirname(os.path.abspath(files[0])))
    return int(pytest.main(options + [os.path.basename(file) for file in files]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
