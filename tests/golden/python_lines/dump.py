# SPDX-License-Identifier: MIT
"""Prints code objects with their line tables, and what this interpreter itself says about each instruction.

    python3 dump.py golden          the functions of sample.py: what the golden files hold
    python3 dump.py FILE.py ...     every code object of these files

tests/unit/test_python_lines.c reads the output:

    code KIND FIRST_LINE UNITS NAME    a code object: enum capture_line_table, co_firstlineno, its size in code units
    table HEX                          its line table ("-" when empty)
    at FROM TO LINE END_LINE COLUMN END_COLUMN
                                       the place of the code units FROM to TO - 1; counted from 1, 0 is unknown
"""
import dis
import os
import sys
import types


def nested(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested(constant)


def positions(code):
    """One (line, end line, column, end column) per code unit."""
    units = len(code.co_code) // 2
    if sys.version_info >= (3, 11):
        # None is unknown; columns count from 0.  Line 0 is the RESUME of a module, which no source line has.
        for line, end_line, column, end_column in code.co_positions():
            known = bool(line)
            yield (
                line or 0,
                (end_line or 0) if known else 0,
                column + 1 if known and column is not None else 0,
                end_column + 1 if known and end_column is not None else 0,
            )
        return
    lines = [0] * units
    if sys.version_info >= (3, 10):
        for start, end, line in code.co_lines():
            lines[start // 2 : end // 2] = [line or 0] * (end // 2 - start // 2)
    else:
        starts = [(0, code.co_firstlineno)] + list(dis.findlinestarts(code))
        for start, line in starts:
            lines[start // 2 :] = [line] * (units - start // 2)
    for line in lines:
        yield (line, line, 0, 0)


def dump(code, out):
    kind = 3 if sys.version_info >= (3, 11) else 2 if sys.version_info >= (3, 10) else 1
    table = code.co_lnotab if kind == 1 else code.co_linetable
    out.write("code %d %d %d %s\n" % (kind, code.co_firstlineno, len(code.co_code) // 2, code.co_name))
    out.write("table %s\n" % (bytes(table).hex() or "-"))
    places = list(positions(code))
    start = 0
    for unit in range(1, len(places) + 1):
        if unit == len(places) or places[unit] != places[start]:
            out.write("at %d %d %d %d %d %d\n" % ((start, unit) + places[start]))
            start = unit


def main():
    arguments = sys.argv[1:]
    if arguments == ["golden"]:
        arguments = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample.py")]
        sys.stdout.write("# Python %d.%d, made by dump.py from sample.py\n" % sys.version_info[:2])
    for path in arguments:
        with open(path, "rb") as file:
            source = file.read()
        try:
            module = compile(source, path, "exec")
        except SyntaxError:
            continue
        for code in nested(module):
            dump(code, sys.stdout)


main()
