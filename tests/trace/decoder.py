# SPDX-License-Identifier: MIT
"""A second reader of captures, written from formats/capture.md, for use as an oracle: slow, whole file in memory.

The events of a capture come from here in most tests, so that an error that the library's encoder and the command's
decoder share is not taken for agreement; test_random.py compares the two readers.  Unlike the command, it tolerates
nothing: any contradiction in the file is an exception.
"""
import collections
import ctypes
import ctypes.util
import re
import struct
from pathlib import Path

Event = collections.namedtuple("Event", "kind stream thread stack flags stamp time_ns address size")
Contents = collections.namedtuple("Contents", "header text status events nodes metadata samples")

HEADER = struct.Struct("<8sIIQQQQQIIIIIIIIQ")
STATUS = struct.Struct("<13Q")
BLOCK = struct.Struct("<IHHIIIIQQIIQQ")
STREAM = struct.Struct("<8Q")
PREFIX = struct.Struct("<QQQI9I")
BLOCK_MAGIC = 0x4b4c4253
STREAM_BLOCK, EVENTS_BLOCK, WORDS_BLOCK = 1, 2, 3
KINDS, ALLOCATED, FREED, SIZES, STACKS, TIMES, STAMPS, NODES, OTHERS = range(9)
TIME, STAMP, THREAD, SIZE_HIGH, NODE, SAMPLE = 1, 2, 3, 4, 5, 6
FREE, FREE_PYTHON, MOVE, STAY, UNMAP, UNMAP_FAILED, MAP, MOVE_PYTHON = range(16, 24)


def kind_names():
    """{number: name} from the list in formats/capture.h, which the C side uses too."""
    text = (Path(__file__).resolve().parents[2] / "formats/capture.h").read_text(encoding="utf-8")
    return {int(number): name for number, name in re.findall(r"X\((\d+), [A-Z_]+, (\w+)\)", text)}


XXH3 = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0").XXH3_64bits
XXH3.restype, XXH3.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]


def lz4_block(data, raw_size):
    library = ctypes.CDLL(ctypes.util.find_library("lz4") or "liblz4.so.1")
    out = ctypes.create_string_buffer(raw_size)
    if library.LZ4_decompress_safe(bytes(data), out, len(data), raw_size) != raw_size:
        raise ValueError("an LZ4 block does not decompress")
    return out.raw


class Varints:
    """Reads LEB128 numbers one after the other from one column."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def next(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def take(self, size):
        self.at += size
        if self.at > len(self.data):
            raise ValueError("a payload ends outside its column")
        return self.data[self.at - size:self.at]


def unzigzag(value):
    return value >> 1 if value & 1 == 0 else -(value >> 1) - 1


class Sink:
    """Takes records of one stream, keeps its running state, and appends events to the contents."""

    def __init__(self, contents, names, stream, stamp, time_ns, thread):
        self.contents, self.names, self.stream = contents, names, stream
        self.stamp, self.time_ns, self.thread, self.size_high = stamp, time_ns, thread, 0

    def event(self, kind, address, size=0, stack=0, flags=0):
        if kind in (UNMAP, UNMAP_FAILED, MAP):
            full = size
        else:
            full, self.size_high = self.size_high << 32 | size, 0
        self.contents.events.append(Event(self.names[kind], self.stream, self.thread, stack, flags, self.stamp,
                                          self.time_ns, address, full))

    def state(self, kind, value):
        if kind == TIME:
            assert value >= self.time_ns, "time goes back"
            self.time_ns = value
        elif kind == STAMP:
            assert value >= self.stamp, "the stamp goes back"
            self.stamp = value
        elif kind == THREAD:
            self.thread = value
        elif kind == SIZE_HIGH:
            self.size_high = value
        else:
            raise ValueError("unknown kind {}".format(kind))

    def node(self, number, frame, parent):
        assert parent < number and number not in self.contents.nodes, "node {} under {}".format(number, parent)
        self.contents.nodes[number] = (frame, parent)

    def payload(self, kind, data):
        self.contents.metadata.append((self.names[kind], bytes(data)))


def decode_words(words, sink):
    at = 0
    while at < len(words):
        kind, operand = words[at] & 255, words[at] >> 8
        if 32 <= kind < 64:
            sink.event(kind, operand, words[at + 1] & 0xffffffff, words[at + 1] >> 32)
            at += 2
        elif kind >= 64:
            count = (operand + 7) // 8
            sink.payload(kind, struct.pack("<{}Q".format(count), *words[at + 1:at + 1 + count])[:operand])
            at += 1 + count
        elif kind in (UNMAP, UNMAP_FAILED):
            sink.event(kind, operand, words[at + 1])
            at += 2
        elif kind == MAP:
            sink.event(kind, operand, words[at + 1], words[at + 2] >> 32, words[at + 2] & 0xffffffff)
            at += 3
        elif kind == NODE:
            sink.node(operand, words[at + 1], words[at + 2])
            at += 3
        elif kind == SAMPLE:
            sink.contents.samples.append((sink.time_ns, operand, words[at + 1], words[at + 2]))
            at += 3
        elif kind in (FREE, FREE_PYTHON, MOVE, MOVE_PYTHON, STAY):
            sink.event(kind, operand)
            at += 1
        else:
            sink.state(kind, operand)
            at += 1


class Picture:
    """What the addresses of a window have been so far: formats/capture.md, section "Addresses"."""

    NUMBERS = 8192

    def __init__(self):
        self.blocks = []                                  # [address, class, live], by number
        self.freed = collections.defaultdict(list)        # class: numbers, the one freed last at the end
        self.last_allocated = collections.defaultdict(int)
        self.last_freed = self.last_number = 0

    @staticmethod
    def size_class(kind, size):
        if size > 16384:
            return 1025
        if 40 <= kind <= 45 and size <= 512:
            return (size + 15) // 16
        return 2 if size <= 24 else min((size + 23) // 16, 1025)

    @staticmethod
    def unpack(value):
        delta = unzigzag(value >> 1)
        return delta if value & 1 else delta << 4

    def allocated(self, kind, size, code):
        group = self.size_class(kind, size)
        freed = self.freed[group]
        predicted = self.blocks[freed[-1]][0] if freed else self.last_allocated[group] + 16 * group
        address = (predicted + self.unpack(code)) & (1 << 56) - 1
        if freed and self.blocks[freed[-1]][0] == address:
            freed.pop()
        self.last_allocated[group] = address
        if len(self.blocks) < self.NUMBERS:
            self.blocks.append([address, group, True])
        return address

    def free(self, code):
        if code & 1:
            self.last_freed = (self.last_freed + self.unpack(code >> 1)) & (1 << 56) - 1
            return self.last_freed
        self.last_number += unzigzag(code >> 1)
        block = self.blocks[self.last_number]
        assert self.last_number >= 0 and block[2], "a free of a number that is not live"
        block[2] = False
        self.freed[block[1]].append(self.last_number)
        self.last_freed = block[0]
        return block[0]


def decode_columns(data, contents, names, stream):
    stamp, time_ns, thread, count, *rest = PREFIX.unpack_from(data)
    columns, at = [], PREFIX.size
    for length in rest:
        columns.append(Varints(data[at:at + length]))
        at += length
    assert len(columns[KINDS].data) == count
    sink = Sink(contents, names, stream, stamp, time_ns, thread)
    picture = Picture()
    last = {"address": 0, "stack": 0, "id": 0, "frame": 0}

    def address():
        last["address"] = (last["address"] + picture.unpack(other())) & (1 << 56) - 1
        return last["address"]

    def stack():
        last["stack"] = (last["stack"] + unzigzag(columns[STACKS].next())) & 0xffffffff
        return last["stack"]

    other = columns[OTHERS].next
    for kind in columns[KINDS].data:
        if 32 <= kind < 64:
            size = columns[SIZES].next()
            sink.event(kind, picture.allocated(kind, size, columns[ALLOCATED].next()), size, stack())
        elif kind >= 64:
            sink.payload(kind, columns[OTHERS].take(other()))
        elif kind in (UNMAP, UNMAP_FAILED):
            sink.event(kind, address(), other())
        elif kind == MAP:
            where, size, flags = address(), other(), other()
            sink.event(kind, where, size, stack(), flags)
        elif kind == NODE:
            last["id"] += unzigzag(columns[NODES].next())
            last["frame"] = (last["frame"] + unzigzag(columns[NODES].next())) & (1 << 64) - 1
            sink.node(last["id"], last["frame"], last["id"] - unzigzag(columns[NODES].next()))
        elif kind == SAMPLE:
            contents.samples.append((sink.time_ns, other(), other(), other()))
        elif kind in (FREE, FREE_PYTHON, MOVE, MOVE_PYTHON):
            sink.event(kind, picture.free(columns[FREED].next()))
        elif kind == STAY:
            sink.event(kind, address())
        elif kind == TIME:
            sink.state(kind, sink.time_ns + columns[TIMES].next())
        elif kind == STAMP:
            sink.state(kind, sink.stamp + columns[STAMPS].next())
        else:
            sink.state(kind, other())


def block_at(data, at):
    """The header's fields where a block begins; else None."""
    fields = BLOCK.unpack_from(data, at)
    whole = fields[0] == BLOCK_MAGIC and at + BLOCK.size + fields[3] <= len(data)
    return fields if whole and XXH3(data[at:at + BLOCK.size - 8], BLOCK.size - 8) == fields[12] else None


def find_blocks(data, at):
    """(header fields, payload) of each block.  Between blocks there may be zeros, and, behind a header's place that is
    zero, what an append that was cut short had written."""
    zeros = bytes(1 << 16)
    gap = False
    while at + BLOCK.size <= len(data):
        if data[at:at + len(zeros)] == zeros:
            gap = True
            at += len(zeros)
            continue
        fields = block_at(data, at)
        if not fields:
            gap = gap or data[at:at + 8] == bytes(8)
            assert gap, "neither a block nor zeros at {}".format(at)
            at += 8
            continue
        gap = False
        stored = fields[3]
        yield fields, data[at + BLOCK.size:at + BLOCK.size + stored]
        at = (at + BLOCK.size + stored + 7) & ~7


def read_text(data, size):
    text, at = {}, 1024
    while at + 8 <= 1024 + size:
        number, _, length = struct.unpack_from("<HHI", data, at)
        text[number] = data[at + 8:at + 8 + length]
        at += 8 + (length + 7) // 8 * 8
    return text


def decode(path):
    """The contents of a capture; events stream by stream, in each stream as they were recorded."""
    data = Path(path).read_bytes()
    header = HEADER.unpack_from(data)
    assert header[0] == b"SCTMEM\r\n" and header[1] == 1, header
    contents = Contents(header, read_text(data, header[14]), STATUS.unpack_from(data, 512), [], {}, [], [])
    names = kind_names()
    windows = collections.defaultdict(dict)
    for fields, payload in find_blocks(data, header[2]):
        _, kind, flags, _, raw_size, stream, sequence = fields[:7]
        if kind == STREAM_BLOCK:
            state = STREAM.unpack_from(payload)
            assert state[1] <= state[2] and STREAM.size + state[2] * 8 <= len(payload), state
            # An EVENTS block of the same number is the same window, already re-coded.
            windows[stream].setdefault(state[0], ("words", state, payload))
        elif kind == EVENTS_BLOCK:
            assert windows[stream].get(sequence, ("words",))[0] == "words", "a window twice"
            windows[stream][sequence] = ("columns", None, lz4_block(payload, raw_size) if flags & 1 else payload)
        elif kind == WORDS_BLOCK:
            decode_words(struct.unpack_from("<{}Q".format(raw_size // 8), payload),
                         Sink(contents, names, stream, 0, 0, 0))
    for stream in sorted(windows):
        assert sorted(windows[stream]) == list(range(max(windows[stream]) + 1)), "a window is missing"
        for sequence in sorted(windows[stream]):
            form, state, payload = windows[stream][sequence]
            if form == "columns":
                decode_columns(payload, contents, names, stream)
            else:
                words = struct.unpack_from("<{}Q".format(state[1]), payload, STREAM.size)
                decode_words(words, Sink(contents, names, stream, state[3], state[4], state[5]))
    return contents
