# SPDX-License-Identifier: MIT
"""One program before a change and after it:  before_after.py  and  before_after.py after

The story: before, `load` keeps each of 3000 records as a dict and copies the whole of its input first.  After, records
have slots, the copy is gone, and there is an index that was not there.

In `sctmem diff before.bin after.bin` the peak shrinks: `Record` is new and small, what `parse_dict` held is gone, so is
the copy of `read_all`, and `build_index` is new.  `sctmem diff --html -o diff.html before.bin after.bin` shows the same
as a flame graph, what shrank in blue and what is new in red.
"""
import sys

AFTER = sys.argv[1:] == ["after"]
LINES = ["{},name {},{}".format(i, i, i * 7) for i in range(3000)]
KEPT = []


class Record:
    __slots__ = ("number", "name", "value")

    def __init__(self, number, name, value):
        self.number, self.name, self.value = number, name, value


def parse_dict(line):
    number, name, value = line.split(",")
    return {"number": int(number), "name": name, "value": int(value), "line": line}


def parse_record(line):
    number, name, value = line.split(",")
    return Record(int(number), name, int(value))


def read_all():
    return bytearray(3 << 20)


def build_index(records):
    return bytearray(64 * len(records))


def load():
    if AFTER:
        KEPT.extend(parse_record(line) for line in LINES)
        KEPT.append(build_index(KEPT))
    else:
        KEPT.append(read_all())
        KEPT.extend(parse_dict(line) for line in LINES)


load()
print(len(KEPT))
