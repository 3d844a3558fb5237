# SPDX-License-Identifier: MIT
"""Three hundred thousand records, of which one in a thousand is kept.

The story: `load_records` fills some twenty arenas of Python's allocator.  When the records are dropped, the three
hundred that `pick` chose still lie in nearly each of them, so hardly an arena can go back to the system: 20 MiB are
held open by a few kilobytes.  `sctmem insights -a arenas --to picked` looks at that moment: nearly all arenas are less
than a quarter full, and load_records, where the blocks were made, holds most of them open.

Without sctmem it does the same; with it, it sets a mark.
"""
import ctypes


def mark(name):
    library = ctypes.CDLL(None)
    if hasattr(library, "sctmem_mark"):
        library.sctmem_mark(name)


def load_records():
    return [("record", number, str(number)) for number in range(300000)]


def pick(records):
    return records[::1000]


def main():
    records = load_records()
    picked = pick(records)
    del records
    mark(b"picked")
    print(len(picked))


main()
