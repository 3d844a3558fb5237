# SPDX-License-Identifier: MIT
"""A server of five thousand requests, and a cache that nobody empties.

The story: the buffers of `handle_request` live for one request; what `remember_session` makes lives until the process
ends, which it does without the interpreter's cleaning up.  In `sctmem insights -a lifetimes` remember_session has ten
thousand blocks alive, the oldest as old as the run; handle_request has lifetimes in the shortest bins only and nothing
alive.  The cache holds far more on average, though handle_request allocates forty times as many bytes.
"""
import os
import sys
import time

SESSIONS = {}


def handle_request(number):
    body = bytearray(20000)
    body[number % 20000] = 1
    return len(body)


def remember_session(number):
    SESSIONS[number] = bytearray(400)


def main():
    for number in range(5000):
        handle_request(number)
        remember_session(number)
        if number % 100 == 0:
            time.sleep(0.004)
    print(len(SESSIONS))
    sys.stdout.flush()
    os._exit(0)


main()
