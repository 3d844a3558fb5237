# SPDX-License-Identifier: MIT
"""Pure Python that calls much and allocates little:  calls.py N QUEENS.  fib(N), then QUEENS queens on a board."""
import sys


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def queens(size, row, columns, rising, falling):
    """How many ways there are to place the queens of the rows from `row` on; the sets are bits of integers."""
    if row == size:
        return 1
    found = 0
    for column in range(size):
        if not (columns >> column & 1 or rising >> (row + column) & 1 or falling >> (row - column + size) & 1):
            found += queens(size, row + 1, columns | 1 << column, rising | 1 << (row + column),
                            falling | 1 << (row - column + size))
    return found


print(fib(int(sys.argv[1])), queens(int(sys.argv[2]), 0, 0, 0, 0))
