# SPDX-License-Identifier: MIT
"""numpy arrays made and dropped:  arrays.py TIMES.  Temporaries of 80 bytes to 800 KB, as expressions make them."""
import sys

import numpy

SIZES = (10, 100, 1000, 10000, 100000)


def churn(a, b):
    c = a * 2.0 + b
    d = c[c > c.mean()]
    e = numpy.sqrt(numpy.abs(c)).reshape(-1, 2).sum(axis=1)
    return float(d.sum() + e.max())


def main(times):
    total = 0.0
    for i in range(times):
        # The small ones oftener, so that each size costs about the same.
        for size in SIZES:
            a = numpy.arange(size, dtype=float) + i
            for _ in range(max(1, 1000 // size)):
                total += churn(a, a[::-1])
    print(total)


main(int(sys.argv[1]))
