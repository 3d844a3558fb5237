# SPDX-License-Identifier: MIT
"""Runs test files of this folder with the system's pytest:  run.py COMMAND WRITER LIBRARY SET NAME FILE...

Called by meson.  SET says what is exported: "golden", the fixed captures that WRITER makes, "traced", programs that are
traced with LIBRARY, or "all".  With SCTMEM_JUNIT set, NAME.xml with each case goes into that folder.  Ends with 77,
meson's sign for skipped, when there is no pytest.
"""
import os
import sys


def main(command, writer, library, captures, name, *files):
    try:
        import pytest
    except ImportError:
        print("skipped: this python3 has no pytest: apt-get install python3-pytest")
        return 77
    os.environ["SCTMEM_EXPORT_COMMAND"] = os.path.abspath(command)
    os.environ["SCTMEM_EXPORT_CAPTURES"] = os.path.abspath(writer)
    os.environ["SCTMEM_EXPORT_LIBRARY"] = os.path.abspath(library)
    os.environ["SCTMEM_EXPORT_SET"] = captures
    options = ["-p", "no:cacheprovider", "-rs", "-q", "--tb=short"]
    junit = os.environ.get("SCTMEM_JUNIT")
    if junit:
        options.append("--junitxml={}".format(os.path.join(junit, name + ".xml")))
    sys.dont_write_bytecode = True
    return int(pytest.main(options + list(files)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
