# SPDX-License-Identifier: MIT
"""Reads Python's whole standard library and prints what is in it, as JSON.

A real program with a known memory story: each module's source and syntax tree are garbage as soon as the module is
counted, so the peak is the largest module's tree, made in ast.parse under parse_module; what stays is the summary
itself, made in summarise_tree.  Its output depends on the Python version only.
"""
import ast
import collections
import json
import os
import sys
import sysconfig


def library_files():
    """The paths of the library's modules, sorted; without the test suites and what pip installed."""
    root = sysconfig.get_path("stdlib")
    skipped = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in skipped and not name.startswith("config-"))
        for name in sorted(names):
            if name.endswith(".py"):
                yield os.path.relpath(os.path.join(folder, name), root), os.path.join(folder, name)


def parse_module(path):
    """The syntax tree of a file, or None where it is not of this version's language."""
    with open(path, "rb") as file:
        source = file.read()
    try:
        return ast.parse(source, path)
    except (SyntaxError, ValueError):
        return None


def summarise_tree(tree):
    """How often each kind of node occurs, and the names that the module defines."""
    kinds = collections.Counter(type(node).__name__ for node in ast.walk(tree))
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [node.name for node in ast.walk(tree) if isinstance(node, definitions)]
    return {"nodes": sum(kinds.values()), "kinds": dict(kinds.most_common(8)), "defines": names}


def main():
    summary = {}
    for name, path in library_files():
        tree = parse_module(path)
        if tree is not None:
            summary[name] = summarise_tree(tree)
    json.dump(summary, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
