# SPDX-License-Identifier: MIT
"""A report of ten thousand lines, each built from pieces that are thrown away at once.

The story: `render_row` makes several small texts a line, of which one stays.  So most of what it allocates is
temporary, while `main` keeps the lines.  `sctmem insights -a temporary,lifetimes` names render_row first, and says
that nothing of `keep_row` is temporary.
"""


def render_row(number):
    cells = [str(number * 1000 + column) for column in range(8)]
    return " | ".join(cells)


def keep_row(row):
    return bytearray(row, "utf-8")


def main():
    kept = []
    for number in range(10000):
        kept.append(keep_row(render_row(number)))
    print(sum(map(len, kept)))


main()
