# SPDX-License-Identifier: MIT
"""A producer's thread that makes messages, and a consumer's that drops them.

The story: all buffers of `make_message` are allocated by the thread "producer" and freed by "consumer", which is what
malloc's per-thread caches like least; what the consumer makes for itself it frees itself.
`sctmem insights -a cross_thread,pairs` has producer -> consumer in its matrix with at least 2,000 frees, make_message
as the place, and for the scratch buffers of `consume` no frees elsewhere.
"""
import queue
import threading

MESSAGES = 2000


def make_message(number):
    return bytearray(2000 + number % 7)


def produce(channel):
    for number in range(MESSAGES):
        channel.put(make_message(number))
    channel.put(None)


def consume(channel, sums):
    while True:
        message = channel.get()
        if message is None:
            return
        scratch = bytearray(len(message) + 1000)
        sums.append(len(scratch))


def main():
    channel, sums = queue.Queue(8), []
    threads = [threading.Thread(target=produce, args=(channel,), name="producer"),
               threading.Thread(target=consume, args=(channel, sums), name="consumer")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(sums))


main()
