# SPDX-License-Identifier: MIT
"""Runs test files of this folder with the system's pytest:  run.py COMMAND WRITER FILE...  Called by meson.

With SCTMEM_JUNIT set, golden_cli.xml with each case goes into that folder.  Ends with 77, meson's sign for skipped,
when there is no pytest.
"""
import os
import sys


def main(command, writer, *files):
    try:
        import pytest
    except ImportError:
        print("skipped: this python3 has no pytest: apt-get install python3-pytest")
        return 77
    os.environ["SCTMEM_GOLDEN_COMMAND"] = os.path.abspath(command)
    os.environ["SCTMEM_GOLDEN_CAPTURES"] = os.path.abspath(writer)
    options = ["-p", "no:cacheprovider", "-rs", "-q", "--tb=short"]
    junit = os.environ.get("SCTMEM_JUNIT")
    if junit:
        options.append("--junitxml={}".format(os.path.join(junit, "golden_cli.xml")))
    sys.dont_write_bytecode = True
    return int(pytest.main(options + list(files)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
