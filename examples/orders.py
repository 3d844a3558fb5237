# SPDX-License-Identifier: MIT
"""A small import job with a known memory story, to look at in the report:

    sctmem run -o orders.%p.bin -- python3 examples/orders.py
    sctmem report -o orders.html orders.*.bin

What the page shows, view by view:

Summary, "Leaked"   `load_catalogue` holds 24 MiB until the end: 24 pictures that CATALOGUE never lets go.
Time line           a hill in the first half: `parse` makes about 30 MiB of Python objects; `total` is all that is kept.
Flame graph         at the peak both stand side by side.  "Merge recursion" (r) makes one box of `visit`'s 40 calls.
Split by thread     three workers, each with 8 MiB of its own; their buffers are freed before the end: no leak.
Temporary           `preview`'s four pictures, 8 MiB, and the texts of `shout`, gone as soon as they are made.
Callers of `picture`    two of them: `load_catalogue` keeps what it gets, `preview` does not.
Source              the line in `pack` is native memory, tables of liblzma; the one in `parse` is all Python objects.
Processes           a child that inherits everything and allocates 5 MiB more.
"""
import lzma
import os
import threading

MIB = 1 << 20
CATALOGUE = {}


def picture(size):
    return bytearray(size)


def load_catalogue():
    for number in range(24):
        CATALOGUE[number] = picture(MIB)


def preview():
    return sum(len(picture(2 * MIB)) for _ in range(4))


def parse(rows):
    return [("order-%d" % number, {"id": number, "price": number * 1.25}) for number in range(rows)]


def total(rows):
    return sum(fields["price"] for _, fields in parse(rows))


def pack(text):
    packer = lzma.LZMACompressor(preset=1)
    return len(packer.compress(text) + packer.flush())


def shout(words):
    length = 0
    for number in range(words):
        length += len(("word %d" % number).upper())
    return length


def visit(depth):
    """Each level keeps 64 KiB until the levels below it are done."""
    held = bytearray(64 * 1024)
    return len(held) + (visit(depth - 1) if depth else 0)


def worker():
    buffers = [bytearray(MIB) for _ in range(8)]
    return sum(len(buffer) for buffer in buffers)


def main():
    load_catalogue()
    total(100_000)
    preview()
    shout(20_000)
    pack(b"order" * 1000)
    visit(40)
    threads = [threading.Thread(target=worker, name="worker-%d" % number) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child = os.fork()
    if child == 0:
        kept = bytearray(5 * MIB)
        os._exit(0 if kept else 1)
    os.waitpid(child, 0)
    # As a service that is killed: the interpreter does not clear CATALOGUE on its way out.
    os._exit(0)


if __name__ == "__main__":
    main()
