# SPDX-License-Identifier: MIT
"""Started by `sctmem top --`: writes on its output what would act on a terminal, looks for one, has a child that holds
memory of its own, and holds more and more until it is interrupted: then it ends with status 3."""
import os
import sys
import time


def hold_in_child(n):
    return [bytes(100000) for _ in range(n)]


def hold(kept):
    kept.append(bytes(20000))


print("first words \x1b[2J\x1b]0;title\x07", flush=True)
print("input: {!r}".format(sys.stdin.read()), flush=True)
try:
    os.open("/dev/tty", os.O_RDWR)
    print("there is a terminal", flush=True)
except OSError:
    print("no terminal", flush=True)
ours, theirs = os.pipe()
if os.fork() == 0:
    os.close(theirs)
    kept = hold_in_child(50)
    while os.read(ours, 1):
        pass
    os._exit(0)
os.close(ours)
kept = []
try:
    while True:
        hold(kept)
        time.sleep(0.01)
except KeyboardInterrupt:
    print("last words", file=sys.stderr, flush=True)
    sys.exit(3)
