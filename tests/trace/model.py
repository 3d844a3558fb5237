# SPDX-License-Identifier: MIT
"""Slow, obvious accounts of memory, to compare captures and reports with.

Three things are compared in this suite: the journal that a victim keeps of itself (victims/journal.h), the events of
its capture (`sctmem dump`), and what the reader says about them (`sctmem stats`).  Journal and events are brought to
the same form here, and replay() is the reader's replay in its plainest form: a dictionary and sorted lists.
"""
import bisect
import heapq

CHECKPOINT_SIZE = 7700000
CHECKPOINTS_MAX = 1000
COUNTED_SIZES = range(70000, 71000)   # blocks with which victims mark what the test is to count
PAGE = 4096

FREES = {"free", "free_python"}
MOVES = {"move", "move_python"}
ALLOCATIONS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign", "valloc", "pvalloc",
               "pymem_malloc", "pymem_calloc", "pymem_realloc", "pyobject_malloc", "pyobject_calloc",
               "pyobject_realloc"}
REALLOCATIONS = {"realloc", "pymem_realloc", "pyobject_realloc"}
MAP_RESERVE, MAP_NORESERVE, MAP_FILE, MAP_ARENA, MAP_MOVED = 1, 2, 4, 16, 32


def read_journal(path):
    """A victim's journal as a list of ("+", kind, address, size, site), ("-", address), ("m", address, size, flags),
    ("u", address, size) and ("c", number)."""
    entries = []
    with open(path, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == "+":
                entries.append(("+", words[1].lower(), int(words[2], 16), int(words[3]), words[4]))
            elif words[0] == "-":
                entries.append(("-", int(words[1], 16)))
            elif words[0] == "m":
                entries.append(("m", int(words[1], 16), int(words[2]), int(words[3])))
            elif words[0] == "u":
                entries.append(("u", int(words[1], 16), int(words[2])))
            elif words[0] == "c":
                entries.append(("c", int(words[1])))
            else:
                raise ValueError("journal: " + line)
    return entries


def without_sites(entries):
    return [entry[:4] if entry[0] == "+" else entry for entry in entries]


def in_order(events):
    """The order of replay: each stream in its own order; among the streams' next events the lowest stamp comes first,
    at equal stamps a free before an allocation, then the lower stream."""
    streams = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)

    def rank(number, at):
        event = streams[number][at]
        return event.stamp, event.kind in ALLOCATIONS or event.kind == "map", number, at

    heads = [rank(number, 0) for number in streams]
    heapq.heapify(heads)
    ordered = []
    while heads:
        _, _, number, at = heads[0]
        ordered.append(streams[number][at])
        if at + 1 < len(streams[number]):
            heapq.heapreplace(heads, rank(number, at + 1))
        else:
            heapq.heappop(heads)
    return ordered


def heap_history(events):
    """Heap events in the journal's form.  A realloc that failed (move, stay) is no event; checkpoints become "c"."""
    history = []
    moving = {}
    last_checkpoint = None
    for event in events:
        if event.kind in MOVES:
            moving[event.thread] = len(history)
            history.append(("-", event.address))
        elif event.kind == "stay":
            # The block lives on: take the entry of its move back.
            history[moving.pop(event.thread)] = None
        elif event.kind in FREES:
            if event.address == last_checkpoint:
                last_checkpoint = None
            else:
                history.append(("-", event.address))
        elif event.kind in ALLOCATIONS:
            number = event.size - CHECKPOINT_SIZE
            if 0 <= number < CHECKPOINTS_MAX:
                history.append(("c", number))
                last_checkpoint = event.address
            else:
                history.append(("+", event.kind, event.address, event.size))
    return [entry for entry in history if entry is not None]


def between_checkpoints(entries):
    """{number: entries since the checkpoint before} of a journal or a history."""
    parts = {}
    current = []
    for entry in entries:
        if entry[0] == "c":
            parts[entry[1]] = current
            current = []
        else:
            current.append(entry)
    return parts


class AddressSpace:
    """Mappings as a sorted list of [start, end, owner]; what is mapped anew replaces, what is unmapped is cut out."""

    def __init__(self):
        self.starts = []
        self.pieces = []

    def cut(self, start, end):
        """Removes [start, end); returns what was there."""
        removed = []
        at = max(bisect.bisect_right(self.starts, start) - 1, 0)
        while at < len(self.pieces) and self.pieces[at][0] < end:
            piece_start, piece_end, owner = self.pieces[at]
            if piece_end <= start:
                at += 1
                continue
            removed.append((max(piece_start, start), min(piece_end, end), owner))
            left = [(piece_start, start, owner)] if piece_start < start else []
            right = [(end, piece_end, owner)] if piece_end > end else []
            self.pieces[at:at + 1] = left + right
            self.starts[at:at + 1] = [piece[0] for piece in left + right]
            at += len(left)
        return removed

    def put(self, start, end, owner):
        removed = self.cut(start, end)
        at = bisect.bisect_left(self.starts, start)
        self.starts.insert(at, start)
        self.pieces.insert(at, (start, end, owner))
        return removed

    def joined(self):
        """[(start, end, owner)], with neighbours of the same owner joined."""
        result = []
        for start, end, owner in self.pieces:
            if result and result[-1][1] == start and result[-1][2] == owner:
                result[-1] = (result[-1][0], end, owner)
            else:
                result.append((start, end, owner))
        return result


def pages(size):
    return -(-size // PAGE) * PAGE


def map_domain(flags):
    if flags & MAP_ARENA:
        return "arena"
    if flags & (MAP_RESERVE | MAP_NORESERVE):
        return "reserved"
    return "file" if flags & MAP_FILE else "mapped"


class Account:
    """Costs as reader/profile.h defines them, of counted memory: heap, Python blocks and anonymous mappings."""

    def __init__(self):
        self.total_bytes = self.total_count = self.free_count = 0
        self.live_bytes = self.live_count = 0
        self.peak_bytes = 0
        self.blocks = {}
        self.contradictions = 0
        self.unknown_frees = 0

    def add(self, size, count=1):
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        self.live_count += count


def replay(events):
    """The account of events in order.  Address space that only grows by mappings is kept page by page."""
    account = Account()
    space = AddressSpace()
    pending = {}
    removed_by = {}
    for event in events:
        thread = event.thread
        if event.kind in ALLOCATIONS:
            old = pending.pop(thread, None) if event.kind in REALLOCATIONS else None
            if event.address in account.blocks:
                account.contradictions += 1
                account.live_bytes -= account.blocks[event.address]
                account.live_count -= 1
            account.blocks[event.address] = event.size
            if old is None or old[0] != event.address or event.size > old[1]:
                account.total_bytes += event.size
                account.total_count += 1
            account.add(event.size)
        elif event.kind in FREES or event.kind in MOVES:
            size = account.blocks.pop(event.address, None)
            if size is None:
                account.unknown_frees += 1
                continue
            account.live_bytes -= size
            account.live_count -= 1
            if event.kind in MOVES:
                pending[thread] = (event.address, size)
        elif event.kind == "stay":
            address, size = pending.pop(thread)
            account.blocks[address] = size
            account.add(size)
        elif event.kind in ("map", "unmap", "unmap_failed"):
            replay_mapping(account, space, removed_by, event)
    account.space = space
    return account


def mapped_bytes(pieces):
    return sum(end - start for start, end, flags in pieces if map_domain(flags) == "mapped")


def replay_mapping(account, space, removed_by, event):
    start, end = event.address, event.address + pages(event.size)
    if event.kind == "unmap":
        removed_by[event.thread] = space.cut(start, end)
        account.live_bytes -= mapped_bytes(removed_by[event.thread])
    elif event.kind == "unmap_failed":
        pieces = removed_by.pop(event.thread, [])
        for piece in pieces:
            space.put(*piece)
        account.add(mapped_bytes(pieces), 0)
    else:
        flags = event.flags
        old = removed_by.pop(event.thread, []) if flags & MAP_MOVED else []
        if old:
            flags = old[0][2]   # what moves stays what it was
        account.live_bytes -= mapped_bytes(space.put(start, end, flags))
        if map_domain(flags) == "mapped":
            account.add(end - start)
            if not old or old[0][0] != start or end > old[-1][1]:
                account.total_bytes += end - start
                account.total_count += 1
