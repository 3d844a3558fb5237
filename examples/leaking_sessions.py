# SPDX-License-Identifier: MIT
"""A server that forgets to close one session in ten.

The story: `open_session` makes a session of 2 KB for each of 2000 requests, and nine of ten are closed.  `look_up`
fills a cache of 100 answers, which then only turns over.  `read_table` reads a table once.  `connect` opens a
connection at the start, which is closed in the last moment.

In `sctmem leaks`: `Session.__init__` is first by score, though nine of ten of its blocks are freed: it grows in nearly
every part of the run.  The table is larger and scores next to nothing, for it grew once.  The cache stopped growing.
The connection is not among what was never freed: `sctmem leaks --late` has it.  The page (`sctmem report`, Leaks) shows
the same with a curve for each; in its time line a click at any instant shows the heap of that instant.
"""
import os
import sys
import time

SESSIONS = {}
CACHE = {}
TABLE = []
CONNECTIONS = []


class Session:
    def __init__(self, number):
        self.data = bytearray(2000 + number % 7)


def open_session(number):
    SESSIONS[number] = Session(number)


def close_session(number):
    del SESSIONS[number]


def look_up(number):
    CACHE[number % 100] = bytearray(3000)
    return CACHE[number % 100]


def read_table():
    TABLE.append(bytearray(1 << 20))


def connect():
    CONNECTIONS.append(bytearray(200000))


def main():
    connect()
    read_table()
    for number in range(2000):
        open_session(number)
        look_up(number)
        if number % 10:
            close_session(number)
        time.sleep(0.0005)
    CONNECTIONS.clear()
    print(len(SESSIONS))
    sys.stdout.flush()
    os._exit(0)


main()
