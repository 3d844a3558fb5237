# SPDX-License-Identifier: MIT
"""Imports what can be imported of the standard library, then parses every file of it:  stdlib.py [FILES]

FILES limits how many files are parsed (and imports nothing), for a short run.
"""
import ast
import importlib
import itertools
import os
import sys
import sysconfig

# They open a browser or a window, print, or change the process when imported.
NOT_IMPORTED = {"antigravity", "this", "idlelib", "tkinter", "turtle", "turtledemo", "test", "lib2to3", "__main__"}
NOT_PARSED = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"}


def import_all():
    count = 0
    for name in sorted(set(sys.stdlib_module_names) - NOT_IMPORTED):
        if name.startswith("_"):
            continue
        try:
            importlib.import_module(name)
            count += 1
        except ImportError:     # of another system, or not installed here
            pass
    return count


def sources():
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = sorted(name for name in folders if name not in NOT_PARSED)
        for name in sorted(names):
            if name.endswith(".py"):
                yield os.path.join(folder, name)


def count_statements(path):
    with open(path, "rb") as file:
        try:
            return len(ast.parse(file.read(), path).body)
        except (SyntaxError, ValueError):       # of another version's language
            return 0


def main(limit):
    imported = import_all() if limit is None else 0
    print(imported, sum(count_statements(path) for path in itertools.islice(sources(), limit)))


main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
