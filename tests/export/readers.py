# SPDX-License-Identifier: MIT
"""Readers of the export formats, written from their specifications and from nothing in reader/.

Each takes the bytes of an export and gives what is comparable: {metric: (bytes, blocks)}, with None for blocks that
the format does not carry.  They check on the way that the file is well-formed.
"""
import csv
import gzip
import io
import json
import marshal
import re
import struct

METRICS = ("peak", "live", "total", "temporary")


# Protocol buffers ----------------------------------------------------------------------------------------------------

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def message(data):
    """{field: [values]}: numbers, or bytes of what has a length."""
    fields, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        else:
            assert key & 7 == 2, "wire type {}".format(key & 7)
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def packed(data):
    values, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        values.append(value)
    return values


class Pprof:
    """perftools.profiles.Profile, as profile.proto has it."""

    def __init__(self, data):
        profile = message(gzip.decompress(data))
        self.strings = [text.decode("utf-8") for text in profile[6]]
        assert self.strings[0] == "" and len(set(self.strings)) == len(self.strings)
        self.types = []
        for raw in profile[1]:
            kind = message(raw)
            self.types.append((self.strings[kind[1][0]], self.strings[kind[2][0]]))
        self.mappings = [message(raw) for raw in profile.get(3, [])]
        assert [mapping[1][0] for mapping in self.mappings] == list(range(1, len(self.mappings) + 1))
        self.functions = {}
        for raw in profile[5]:
            function = message(raw)
            assert function[1][0] not in self.functions and function[1][0] != 0
            self.functions[function[1][0]] = (self.strings[function[2][0]], self.strings[function.get(4, [0])[0]])
        self.locations = {}
        for raw in profile[4]:
            location = message(raw)
            assert location.get(2, [1])[0] <= len(self.mappings)
            lines = [message(line) for line in location[4]]
            self.locations[location[1][0]] = [(self.functions[line[1][0]], line.get(2, [0])[0]) for line in lines]
        self.samples = []
        for raw in profile.get(2, []):
            sample = message(raw)
            values = packed(sample[2][0])
            assert len(values) == len(self.types)
            labels = {}
            for label in map(message, sample.get(3, [])):
                labels[self.strings[label[1][0]]] = self.strings[label[2][0]] if 2 in label else label[3][0]
            stack = [self.locations[number] for number in packed(sample[1][0])]
            assert stack
            self.samples.append((stack, values, labels))
        self.default = self.strings[profile[14][0]]
        self.comments = [self.strings[number] for number in profile.get(13, [])]
        self.time_ns, self.duration_ns = profile[9][0], profile[10][0]


def read_pprof(data):
    profile = Pprof(data)
    assert [kind for kind, _ in profile.types[:4]] == ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]
    assert all(unit == ("count" if kind.endswith("_objects") else "bytes") for kind, unit in profile.types)
    sums = [sum(values[i] for _, values, _ in profile.samples) for i in range(len(profile.types))]
    by_type = dict(zip((kind for kind, _ in profile.types), sums))
    names = {"peak": "peak", "live": "inuse", "total": "alloc", "temporary": "temporary"}
    return {metric: (by_type[name + "_space"], by_type[name + "_objects"]) for metric, name in names.items()}


# JSON ----------------------------------------------------------------------------------------------------------------

def parse_json(data):
    def refuse(constant):
        raise ValueError(constant)
    return json.loads(data.decode("utf-8"), parse_constant=refuse)


def read_speedscope(data):
    """https://www.speedscope.app/file-format-schema.json, type "sampled"."""
    page = parse_json(data)
    assert page["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames = page["shared"]["frames"]
    for frame in frames:
        assert set(frame) <= {"name", "file", "line", "col"} and isinstance(frame["name"], str)
        assert isinstance(frame.get("line", 1), int)
    assert 0 <= page["activeProfileIndex"] < len(page["profiles"])
    found = {}
    for profile in page["profiles"]:
        assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
        assert profile["type"] == "sampled" and len(profile["samples"]) == len(profile["weights"])
        assert all(sample and all(0 <= i < len(frames) for i in sample) for sample in profile["samples"])
        assert all(weight > 0 for weight in profile["weights"])
        assert profile["endValue"] - profile["startValue"] == sum(profile["weights"])
        found[profile["name"].rpartition(",")[0], profile["unit"]] = sum(profile["weights"])
    titles = {"peak": "live at the peak", "live": "live at the end", "total": "allocated in all",
              "temporary": "temporary"}
    return {metric: (found[title, "bytes"], found[title, "none"]) for metric, title in titles.items()}


def read_gprof2dot(data):
    page = parse_json(data)
    assert page["version"] == 0 and [cost["unit"] for cost in page["costs"]] == ["bytes"]
    count = len(page["functions"])
    assert all(function["name"] for function in page["functions"])
    for event in page["events"]:
        assert event["callchain"] and all(0 <= i < count for i in event["callchain"])
        assert len(event["cost"]) == 1
    return sum(event["cost"][0] for event in page["events"]), None


def read_heapprofile(data):
    """V8's HeapProfiler.SamplingHeapProfile."""
    page = parse_json(data)
    assert page["samples"] == []
    ids, total, waiting = set(), 0, [page["head"]]
    while waiting:
        node = waiting.pop()
        assert set(node) == {"callFrame", "selfSize", "id", "children"}
        assert set(node["callFrame"]) == {"functionName", "scriptId", "url", "lineNumber", "columnNumber"}
        assert node["id"] not in ids
        ids.add(node["id"])
        total += node["selfSize"]
        waiting += node["children"]
    return total, None


def read_chrome(data):
    """The JSON object format of trace events; gives the events by phase."""
    page = parse_json(data)
    by_phase = {}
    for event in page["traceEvents"]:
        assert event["ph"] in "MCi" and isinstance(event["name"], str) and isinstance(event["pid"], int)
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "C":
            assert event["args"] and all(isinstance(value, int) for value in event["args"].values())
        by_phase.setdefault(event["ph"], []).append(event)
    return by_phase


def check_columns(table):
    """An object of columns, each as long as "length" says."""
    for name, column in table.items():
        assert name in ("length", "weightType") or column is None or len(column) == table["length"], name


def read_firefox(data):
    """The Firefox Profiler's processed format, version 61: docs-developer/CHANGELOG-formats.md of its repository."""
    page = parse_json(data)
    shared, strings = page["shared"], page["shared"]["stringArray"]
    assert page["meta"]["preprocessedProfileVersion"] == 61 and page["meta"]["markerSchema"] == []
    for name in ("stackTable", "frameTable", "funcTable", "resourceTable", "sources", "nativeSymbols"):
        check_columns(shared[name])
    frames, functions = shared["frameTable"], shared["funcTable"]
    assert all(prefix is None if i == 0 else prefix < i for i, prefix in enumerate(shared["stackTable"]["prefix"]))
    assert all(0 <= frame < frames["length"] for frame in shared["stackTable"]["frame"])
    assert all(0 <= function < functions["length"] for function in frames["func"])
    assert all(category < len(page["meta"]["categories"]) for category in frames["category"])
    assert all(line is None or line > 0 for line in frames["line"])
    texts = functions["name"] + shared["resourceTable"]["name"] + shared["sources"]["filename"]
    assert all(strings[text] for text in texts)
    assert all(source is None or source < shared["sources"]["length"] for source in functions["source"])
    assert all(-1 <= resource < shared["resourceTable"]["length"] for resource in functions["resource"])
    for thread in page["threads"]:
        for name in ("samples", "markers", "nativeAllocations"):
            check_columns(thread[name])
        assert all(strings[name] is not None for name in thread["markers"]["name"])
        assert all(0 <= stack < shared["stackTable"]["length"] for stack in thread["nativeAllocations"]["stack"])
    assert len({thread["tid"] for thread in page["threads"]}) == len(page["threads"])
    for counter in page["counters"]:
        check_columns(counter["samples"])
        level = 0
        for step in counter["samples"]["count"]:
            level += step
            assert level >= 0
    found = {thread["name"]: sum(thread["nativeAllocations"]["weight"]) for thread in page["threads"]}
    titles = {"peak": "live at the peak", "live": "live at the end", "total": "allocated in all",
              "temporary": "temporary"}
    return {metric: found[title] for metric, title in titles.items()}


# Text and others -----------------------------------------------------------------------------------------------------

def read_folded(data):
    total = 0
    for line in data.decode("utf-8").splitlines():
        stack, _, number = line.rpartition(" ")
        assert stack and all(stack.split(";")) and re.fullmatch("[1-9][0-9]*", number), line
        total += int(number)
    return total, None


def read_pstats(data):
    stats = marshal.loads(data)
    for (file, line, name), (primitive, calls, own, total, callers) in stats.items():
        assert isinstance(file, str) and isinstance(line, int) and isinstance(name, str)
        assert primitive == calls and own <= total
        if callers:
            assert all(caller in stats for caller in callers)
            # What the callers say of a function adds up to what it says itself.
            assert sum(value[3] for value in callers.values()) == total
            assert sum(value[2] for value in callers.values()) == own
    return sum(value[2] for value in stats.values()), sum(value[1] for value in stats.values())


class Callgrind:
    """https://valgrind.org/docs/manual/cl-format.html"""

    def __init__(self, text):
        names = {kind: {} for kind in ("ob", "fl", "fn")}
        kinds = {"ob": "ob", "cob": "ob", "fl": "fl", "cfi": "fl", "fn": "fn", "cfn": "fn"}
        place, self.own, self.calls, calling = {}, {}, {}, False
        for line in text.split("\n"):
            head = re.match(r"(\w+):\s*(.*)", line)
            name = re.match(r"(\w+)=\((\d+)\)(?: (.*))?$", line)
            if line.startswith("#") or not line:
                continue
            if head:
                if head.group(1) == "events":
                    self.events = head.group(2).split()
                if head.group(1) == "summary":
                    self.summary = [int(value) for value in head.group(2).split()]
                assert head.group(1) in ("version", "creator", "pid", "cmd", "part", "desc", "positions", "event",
                                         "events", "summary"), line
            elif name:
                known = names[kinds[name.group(1)]]
                if name.group(3) is not None:
                    assert name.group(2) not in known
                    known[name.group(2)] = name.group(3)
                place[name.group(1)] = known[name.group(2)]
            elif line.startswith("calls="):
                assert re.fullmatch(r"calls=[1-9]\d* \d+", line)
                calling = True
            else:
                values = [int(value) for value in line.split()]
                assert len(values) == 1 + len(self.events), line
                caller = (place["ob"], place["fl"], place["fn"])
                if calling:
                    self.add(self.calls, (caller, (place["cob"], place["cfi"], place["cfn"])), values[1:])
                else:
                    self.add(self.own, caller, values[1:])
                calling = False
        assert not calling

    @staticmethod
    def add(sums, key, values):
        sums[key] = [a + b for a, b in zip(sums.get(key, [0] * len(values)), values)]

    def total_of(self, function):
        costs = [cost for (_, callee), cost in self.calls.items() if callee == function]
        return [sum(column) for column in zip(*costs)]


def read_callgrind(data):
    file = Callgrind(data.decode("utf-8"))
    sums = [sum(column) for column in zip([0] * len(file.events), *file.own.values())]
    assert sums == file.summary
    by_event = dict(zip(file.events, sums))
    return {metric: (by_event[metric.capitalize() + "Bytes"], by_event[metric.capitalize() + "Blocks"])
            for metric in METRICS}


class Massif:
    """Snapshots: (time, bytes, kind, tree), a tree being (bytes, text, children)."""

    def __init__(self, text):
        self.lines = [line for line in text.split("\n") if not line.startswith("#")]
        self.at = 0
        while self.lines[self.at].startswith("desc:"):
            self.at += 1
        assert self.lines[self.at].startswith("cmd:") and self.lines[self.at + 1] == "time_unit: ms"
        self.at += 2
        self.snapshots = []
        while self.lines[self.at]:
            assert self.field("snapshot") == str(len(self.snapshots))
            time, size = int(self.field("time")), int(self.field("mem_heap_B"))
            assert (self.field("mem_heap_extra_B"), self.field("mem_stacks_B")) == ("0", "0")
            kind = self.field("heap_tree")
            self.snapshots.append((time, size, kind, self.tree(0) if kind != "empty" else None))
        assert self.at == len(self.lines) - 1

    def field(self, name):
        key, _, value = self.lines[self.at].partition("=")
        assert key == name, self.lines[self.at]
        self.at += 1
        return value

    def tree(self, depth):
        match = re.fullmatch(r"( *)n(\d+): (\d+) (.*)", self.lines[self.at])
        assert match and len(match.group(1)) == depth, self.lines[self.at]
        self.at += 1
        return int(match.group(3)), match.group(4), [self.tree(depth + 1) for _ in range(int(match.group(2)))]


# Tables --------------------------------------------------------------------------------------------------------------

def read_csv(data):
    """[{column: text}], in order; "" for null."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    assert all(len(row) == len(rows[0]) for row in rows)
    return [dict(zip(rows[0], row)) for row in rows[1:]]


class Flat:
    """A table of a FlatBuffer: https://flatbuffers.dev/internals"""

    def __init__(self, data, at):
        self.data, self.at = data, at
        assert at % 4 == 0
        vtable = at - struct.unpack_from("<i", data, at)[0]
        size, self.size = struct.unpack_from("<HH", data, vtable)
        self.fields = struct.unpack_from("<{}H".format(size // 2 - 2), data, vtable + 4)
        assert all(field < self.size for field in self.fields)

    @classmethod
    def root(cls, data):
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def number(self, field, form, default=0):
        if field >= len(self.fields) or self.fields[field] == 0:
            return default
        at = self.at + self.fields[field]
        assert at % struct.calcsize(form) == 0, "not aligned"
        return struct.unpack_from("<" + form, self.data, at)[0]

    def target(self, field):
        at = self.at + self.fields[field]
        return at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, field):
        return Flat(self.data, self.target(field))

    def text(self, field):
        at = self.target(field)
        size = struct.unpack_from("<I", self.data, at)[0]
        assert self.data[at + 4 + size] == 0
        return self.data[at + 4:at + 4 + size].decode("utf-8")

    def vector(self, field, form):
        """Tuples of a vector of structs."""
        at, size = self.target(field), struct.calcsize("<" + form)
        count = struct.unpack_from("<I", self.data, at)[0]
        assert count == 0 or size < 8 or (at + 4) % 8 == 0, "not aligned"
        return [struct.unpack_from("<" + form, self.data, at + 4 + i * size) for i in range(count)]

    def tables(self, field):
        at = self.target(field) + 4
        return [Flat(self.data, at + 4 * i + offset) for i, (offset,) in enumerate(self.vector(field, "I"))]


class Arrow:
    """An Arrow IPC file of int64 and utf8 columns: format/File.fbs, Message.fbs, Schema.fbs of Apache Arrow."""

    def __init__(self, data):
        assert data[:8] == b"ARROW1\0\0" and data[-6:] == b"ARROW1"
        size = struct.unpack_from("<i", data, len(data) - 10)[0]
        footer = Flat.root(data[len(data) - 10 - size:len(data) - 10])
        assert footer.number(0, "h") == 4
        schema = footer.table(1)
        self.metadata = [(pair.text(0), pair.text(1)) for pair in schema.tables(2)]
        self.columns = []
        for field in schema.tables(1):
            assert field.number(1, "B") == 1
            kind = {2: "int64", 5: "utf8"}[field.number(2, "B")]
            if kind == "int64":
                assert (field.table(3).number(0, "i"), field.table(3).number(1, "B")) == (64, 1)
            self.columns.append((field.text(0), kind))
        self.rows = []
        end = 8
        for offset, metadata, _, body in [(0, 0, 0, 0)] + footer.vector(3, "qiiq"):
            end = self.message(data, offset or 8, metadata, body)
        assert data[end:end + 8] == b"\xff\xff\xff\xff\0\0\0\0"

    def message(self, data, offset, metadata, body):
        assert offset % 8 == 0
        marker, size = struct.unpack_from("<II", data, offset)
        assert marker == 0xffffffff and size % 8 == 0 and metadata in (0, size + 8)
        message = Flat.root(data[offset + 8:offset + 8 + size])
        assert message.number(0, "h") == 4 and message.number(3, "q") == body
        body_at = offset + 8 + size
        if message.number(1, "B") == 3:
            self.batch(message.table(2), data[body_at:body_at + body])
        else:
            assert message.number(1, "B") == 1
            assert [field.text(0) for field in message.table(2).tables(1)] == [name for name, _ in self.columns]
        return body_at + body

    def batch(self, batch, body):
        count = batch.number(0, "q")
        buffers = iter(batch.vector(2, "qq"))

        def take():
            offset, size = next(buffers)
            assert offset % 8 == 0 and offset + size <= len(body)
            return body[offset:offset + size]
        columns = []
        for (_, kind), (length, nulls) in zip(self.columns, batch.vector(1, "qq")):
            assert length == count
            bits = take()
            valid = [bits[i // 8] >> i % 8 & 1 for i in range(count)]
            assert valid.count(0) == nulls
            if kind == "int64":
                values = struct.unpack("<{}q".format(count), take())
            else:
                ends, text = struct.unpack("<{}i".format(count + 1), take()), take()
                assert ends[0] == 0 and list(ends) == sorted(ends) and ends[-1] == len(text)
                values = [text[ends[i]:ends[i + 1]].decode("utf-8") for i in range(count)]
            columns.append([value if known else None for value, known in zip(values, valid)])
        assert next(buffers, None) is None
        names = [name for name, _ in self.columns]
        self.rows += [dict(zip(names, row)) for row in zip(*columns)]


def sum_sites(rows):
    return {metric: (sum(int(row[metric + "_bytes"]) for row in rows), sum(int(row[metric + "_count"]) for row in rows))
            for metric in METRICS}


def read_csv_sites(data):
    return sum_sites(read_csv(data))


def read_arrow_sites(data):
    return sum_sites(Arrow(data).rows)


# Events --------------------------------------------------------------------------------------------------------------

def read_dhat(data):
    """DHAT's JSON, version 2: valgrind's docs and what dh_view.js checks.  {metric: (bytes, blocks)}"""
    page = parse_json(data)
    assert page["dhatFileVersion"] == 2 and page["bklt"] is True and page["bkacc"] is False
    assert page["ftbl"][0] == "[root]" and page["te"] >= page["tg"] >= 0
    stacks = set()
    for point in page["pps"]:
        assert set(point) == {"tb", "tbk", "tl", "mb", "mbk", "gb", "gbk", "eb", "ebk", "fs"}
        assert point["fs"] and all(0 < frame < len(page["ftbl"]) for frame in point["fs"])
        assert tuple(point["fs"]) not in stacks, "the viewer refuses a stack that comes twice"
        stacks.add(tuple(point["fs"]))
        assert max(point["gb"], point["eb"]) <= point["mb"] <= point["tb"]
        assert 0 <= point["tl"] <= point["tbk"] * page["te"] and point["ebk"] <= point["tbk"]
    return {metric: (sum(point[key + "b"] for point in page["pps"]), sum(point[key + "bk"] for point in page["pps"]))
            for metric, key in (("peak", "g"), ("live", "e"), ("total", "t"))}


class Heaptrack:
    """heaptrack's data file, version 3, replayed."""

    def __init__(self, data):
        texts, places, stacks, sizes = 0, [], [(0, 0)], []
        live, self.live_count, self.count, self.total, self.live, self.peak, now = {}, 0, 0, 0, 0, 0, 0
        for line in gzip.decompress(data).decode("utf-8").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                assert rest == "10400 3"
            elif kind == "X":
                self.command = rest
            elif kind == "s":
                size, _, text = rest.partition(" ")
                assert int(size, 16) == len(text.encode("utf-8"))
                texts += 1
            else:
                numbers = [int(word, 16) for word in rest.split(" ")]
                if kind == "i":
                    assert len(numbers) in (3, 5) and all(number <= texts for number in numbers[1:4])
                    places.append(numbers)
                elif kind == "t":
                    assert 1 <= numbers[0] <= len(places) and numbers[1] < len(stacks)
                    stacks.append(tuple(numbers))
                elif kind == "a":
                    assert numbers[1] < len(stacks)
                    sizes.append(numbers[0])
                elif kind == "+":
                    live[numbers[0]] = live.get(numbers[0], 0) + 1
                    self.count, self.total = self.count + 1, self.total + sizes[numbers[0]]
                    self.live, self.live_count = self.live + sizes[numbers[0]], self.live_count + 1
                    self.peak = max(self.peak, self.live)
                elif kind == "-":
                    live[numbers[0]] -= 1
                    assert live[numbers[0]] >= 0, "freed more often than allocated"
                    self.live, self.live_count = self.live - sizes[numbers[0]], self.live_count - 1
                elif kind == "c":
                    assert numbers[0] > now
                    now = numbers[0]
                else:
                    assert kind in ("I", "R"), line


# Formats that carry all metrics, and those that carry one.
ALL_METRICS = {"pprof": read_pprof, "speedscope": read_speedscope, "callgrind": read_callgrind,
               "csv": read_csv_sites, "arrow": read_arrow_sites}
ONE_METRIC = {"folded": read_folded, "gprof2dot": read_gprof2dot, "pstats": read_pstats,
              "heapprofile": read_heapprofile}
