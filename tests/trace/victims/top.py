# SPDX-License-Identifier: MIT
"""Holds more and more, in functions whose names try to act on a terminal, until its standard input ends."""
import os
import select
import threading

HOSTILE = "grow\x1b[31m\u202e\x07"
namespace = {}
exec(compile("def grow(kept, n):\n    kept.append(bytearray(n))\n", "evil\x1b]0;title\x07.py", "exec"), namespace)
grow = namespace["grow"]
names = {name: HOSTILE for name in ("co_name", "co_qualname") if hasattr(grow.__code__, name)}
grow.__code__ = grow.__code__.replace(**names)
steady = [bytes(50000) for _ in range(20)]


def worker(kept):
    for _ in range(10):
        kept.append(bytes(30000))
    stop.wait()


stop = threading.Event()
thread = threading.Thread(target=worker, args=([],))
thread.start()
print("ready", flush=True)
kept = []
while not select.select([0], [], [], 0.01)[0]:
    grow(kept, 20000)
stop.set()
thread.join()
