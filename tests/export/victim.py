# SPDX-License-Identifier: MIT
"""Allocates through Python: recursion, a thread, temporary objects, and some that stay."""
import json
import threading

KEPT = []


def load(count):
    return [json.loads(json.dumps({"numbers": list(range(50)), "text": "x" * 300})) for _ in range(count)]


def recurse(depth):
    if depth:
        return recurse(depth - 1)
    KEPT.append(bytearray(3000))


def work():
    KEPT.append(load(100))


thread = threading.Thread(target=work, name="wor;ker")
thread.start()
load(200)
thread.join()
recurse(20)
