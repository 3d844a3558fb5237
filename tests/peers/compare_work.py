# SPDX-License-Identifier: MIT
"""The Python programs that `compare` runs under each tool:  compare_work.py LOAD TOOL FILE

TOOL is count (FILE: pymem_count.so; prints the requests by size), sctmem (marks in the capture), memray, memray-python
or memray-native (FILE: what memray writes).  All of them import the same modules, and then run the same statements: the
tool begins, the free lists are emptied, the work runs, the tool ends.  The collector is off, so that it comes to
nothing at another moment under another tool.
"""
import ast
import ctypes
import gc
import io
import json
import sys


def load_json():
    things = [{"id": i, "name": "name %d" % i, "values": [i * 0.5, None, True], "nested": {"a": [str(i)] * 3}}
              for i in range(20000)]
    text = json.dumps(things)
    back = json.loads(text)
    return len(json.dumps(back, indent=1)) > len(text)


def load_ast():
    total = 0
    for module in (ast, json, io):
        with open(module.__file__, encoding="utf-8") as file:
            text = file.read()
        tree = ast.parse(text)
        total += sum(1 for _ in ast.walk(tree)) + len(ast.unparse(tree))
        compile(tree, "parsed", "exec")
    return total


class Count:
    """As a tool: what pymem_count.c counts."""

    def __init__(self, path):
        self.library = ctypes.PyDLL(path)
        self.library.count_of.restype = self.library.count_frees.restype = self.library.count_bytes.restype = \
            ctypes.c_uint64

    def __enter__(self):
        self.library.count_begin()

    def __exit__(self, *_):
        self.library.count_end()
        rows = [[kind, size, self.library.count_of(number, size)]
                for number, kind in enumerate(("malloc", "calloc", "realloc")) for size in range(1 << 16)]
        json.dump({"counts": [row for row in rows if row[2]], "frees": self.library.count_frees(),
                   "bytes": self.library.count_bytes()}, sys.stdout)


class Marks:
    def __init__(self):
        self.mark = ctypes.PyDLL(None).sctmem_mark
        self.mark.argtypes, self.mark.restype = [ctypes.c_char_p], None

    def __enter__(self):
        self.mark(b"begin")

    def __exit__(self, *_):
        self.mark(b"end")


def tool_of(name, path):
    if name == "count":
        return Count(path)
    if name == "sctmem":
        return Marks()
    import memray
    return memray.Tracker(path, native_traces=name == "memray-native",
                          trace_python_allocators=name in ("memray-python", "memray-native"))


def main(load, name, path):
    work = {"json": load_json, "ast": load_ast}[load]
    work()   # so that what is made once, at first use, is there
    tool = tool_of(name, path)
    gc.collect()
    gc.disable()
    with tool:
        gc.collect()
        work()


if __name__ == "__main__":
    main(*sys.argv[1:])
