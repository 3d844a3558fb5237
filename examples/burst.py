# SPDX-License-Identifier: MIT
"""A program that mostly waits, and once loads everything in a hurry.

The story: `trickle` allocates evenly over the whole run, `load_all` everything within a small part of it, in the
middle.  `sctmem insights -a rates` draws both: load_all has by far the highest rate and one or few bins, trickle has
its bins all over the run.
"""
import time


def trickle(kept):
    kept.append(bytearray(1000))


def load_all():
    return [bytearray(50000) for _ in range(400)]


def main():
    kept = []
    for step in range(60):
        trickle(kept)
        if step == 30:
            tables = load_all()
        time.sleep(0.006)
    print(len(kept), len(tables))


main()
