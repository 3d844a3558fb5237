# SPDX-License-Identifier: MIT
"""A Python program under load that keeps a journal; the commands are those of served.c.

    asked.py THREADS [waiting]      waiting: the main thread waits in join(), another one answers
"""
import os
import sys
import threading
import time

BLOCK = 397          # bytes of payload; not a size that anything else here asks for


def harmonic():
    total = 0.0
    for n in range(1, 200):
        total += 1.0 / n
    return total


SUM = harmonic()
ending = False
faults = []
kept = []


def load(seed):
    table = {}
    while not ending:
        for i in range(200):
            key = (seed * 31 + i * 7) % 64
            if key in table and table[key] != [str(key)] * (key + 1):
                faults.append("a list has changed")
            table[key] = [str(key)] * (key + 1)
        if harmonic() != SUM:
            faults.append("a sum came out otherwise")
        time.sleep(0.01)


def make_block(number):
    return bytes(BLOCK)


def answer():
    while True:
        words = sys.stdin.readline().split()
        if not words or words[0] == "end":
            return
        if words[0] == "work":
            count = int(words[1])
            kept.extend([make_block(i) for i in range(count)])
            del kept[len(kept) - count // 2:]
            print("worked", count, "freed", count // 2, flush=True)
        elif words[0] == "drop":
            count = len(kept)
            del kept[:]
            print("dropped", count, flush=True)


threads = [threading.Thread(target=load, args=(seed,)) for seed in range(int(sys.argv[1]))]
answering = threading.Thread(target=answer)
for thread in threads:
    thread.start()
print("ready", os.getpid(), flush=True)
if len(sys.argv) > 2:
    answering.start()
    answering.join()
else:
    answer()
ending = True
for thread in threads:
    thread.join()
print("faults", faults, flush=True)
sys.exit(1 if faults else 42)
