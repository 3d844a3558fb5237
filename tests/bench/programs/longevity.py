# SPDX-License-Identifier: MIT
"""A stand-in for a test runner that runs for days: longevity.py SECONDS THREADS CHILDREN

Threads that wait most of the time, then take an event from a queue, decode and keep it in a bounded log; children by
fork that read lines; one list that is never emptied, which is the leak to be found.
"""
import collections
import json
import os
import queue
import sys
import threading
import time

LINE = json.dumps({"node": "db-{}".format(3), "severity": "WARNING", "type": "DatabaseLogEvent", "tags": ["a", "b"],
                   "line": "x" * 120, "metrics": {"p{}".format(i): i * 1.5 for i in range(20)}})


def handle(log, forgotten, number):
    event = json.loads(LINE)
    event["number"] = number
    log.append(event)
    if number % 50 == 0:
        forgotten.append(("session", number, "y" * 40))


def worker(events, log, forgotten):
    for number in iter(events.get, None):
        handle(log, forgotten, number)


def child(until):
    log, forgotten, number = collections.deque(maxlen=200), [], 0
    while time.monotonic() < until:
        for _ in range(20):
            number += 1
            handle(log, forgotten, number)
        time.sleep(0.02)
    os._exit(0)


def main(seconds, threads, children):
    until = time.monotonic() + seconds
    events, log, forgotten = queue.Queue(), collections.deque(maxlen=2000), []
    pids = [pid for pid in (os.fork() or child(until) for _ in range(children)) if pid]
    crew = [threading.Thread(target=worker, args=(events, log, forgotten), daemon=True) for _ in range(threads)]
    for thread in crew:
        thread.start()
    number = 0
    while time.monotonic() < until:
        for _ in range(40):
            number += 1
            events.put(number)
        time.sleep(0.02)
    for _ in crew:
        events.put(None)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
