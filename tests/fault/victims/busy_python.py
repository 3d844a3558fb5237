# SPDX-License-Identifier: MIT
"""Threads that make and drop objects for ever, accounted for where a kill cannot take it back:
busy_python.py JOURNAL

The journal is as that of busy.c: (thread id, made, dropped, 0) for each thread.  The n-th object of a thread is a bytes
of 370000 + n % 1000; objects are dropped in order, KEPT behind.
"""
import _thread
import mmap
import os
import sys

KEPT = 8
journal = open(sys.argv[1], "w+b")
journal.truncate(4096)
slots = memoryview(mmap.mmap(journal.fileno(), 4096)).cast("Q")


def work(slot):
    slots[slot] = _thread.get_native_id()
    kept = [None] * KEPT
    number = 0
    while True:
        if number >= KEPT:
            kept[number % KEPT] = None
            slots[slot + 2] += 1
        kept[number % KEPT] = bytes(370000 + number % 1000)
        slots[slot + 1] += 1
        number += 1


for at in range(3):
    _thread.start_new_thread(work, (4 * at,))
os.write(1, b"r")
work(12)
