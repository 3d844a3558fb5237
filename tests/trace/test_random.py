# SPDX-License-Identifier: MIT
"""A random program of several threads, compared with its journal.

SCTMEM_TRACE_EVENTS sets the number of events (default 300,000; 10,000,000 is a good night's test).
"""
import collections
import json
import os
import re

import pytest

import model

EVENTS = int(os.environ.get("SCTMEM_TRACE_EVENTS", "300000"))
THREADS = 8


def of_workers(events):
    """Heap events in order, without the main thread's: there libc allocates for stdio and for starting threads, and
    the victim does not."""
    main = events[0].thread
    kinds = model.ALLOCATIONS | model.FREES | model.MOVES | {"stay"}
    return model.in_order([event for event in events if event.kind in kinds and event.thread != main])


def by_address(history):
    result = collections.defaultdict(list)
    for entry in history:
        result[entry[2] if entry[0] == "+" else entry[1]].append(entry)
    return result


@pytest.fixture(params=[1, 2])
def ordered(request, victim, trace, tmp_path):
    journal = tmp_path / "journal"
    recording = trace(victim("random"), "ordered", request.param, EVENTS, THREADS, journal)
    assert recording.ended == (0, b"", b""), recording.ended
    capture = recording.only()
    capture.check_whole()
    return model.without_sites(model.read_journal(journal)), capture


def test_ordered_history_is_the_journal(ordered):
    journal, capture = ordered
    history = model.heap_history(of_workers(capture.events()))
    known, own = collections.Counter(journal), collections.Counter(history)
    assert not known - own, "{} entries of the journal are not in the capture".format(sum((known - own).values()))
    assert not own - known, "{} entries are in the capture only".format(sum((own - known).values()))
    # The order of what concerns one address, and then of everything, as the lock made it.
    assert by_address(history) == by_address(journal)
    assert history == journal


def test_two_readers_agree_on_every_event(ordered):
    _, capture = ordered
    assert capture.dumped_events() == capture.events()


def test_ordered_stats_equal_the_plain_replay(ordered):
    _, capture = ordered
    account = model.replay(model.in_order(capture.events()))
    stats = capture.stats()
    assert account.contradictions == 0
    assert stats["total_num_allocations"] == account.total_count
    assert stats["total_bytes_allocated"] == account.total_bytes
    assert stats["live_at_end"] == dict(stats["live_at_end"], bytes=account.live_bytes, count=account.live_count)
    assert stats["metadata"]["peak_memory"] == account.peak_bytes


def test_loose_threads_histories_and_live_set(victim, trace, tmp_path):
    journal = tmp_path / "journal"
    recording = trace(victim("random"), "loose", 3, EVENTS, THREADS, journal)
    assert recording.ended == (0, b"", b""), recording.ended
    capture = recording.only()
    capture.check_whole()
    journals = [model.without_sites(model.read_journal("{}.{}".format(journal, i))) for i in range(THREADS)]
    events = of_workers(capture.events())
    histories = [model.heap_history([event for event in events if event.thread == thread])
                 for thread in sorted({event.thread for event in events})]
    assert sorted(histories) == sorted(journals)
    # Blocks that pass from thread to thread: the merged order never frees what is not there, nor allocates it twice.
    account = model.replay(events)
    assert (account.contradictions, account.unknown_frees) == (0, 0)
    totals = collections.Counter()
    for entries in journals:
        for entry in entries:
            totals[entry[2] if entry[0] == "+" else entry[1]] += 1 if entry[0] == "+" else -1
    assert set(account.blocks) == {address for address, count in totals.items() if count}


def test_each_sites_bytes_equal_the_journal(victim, trace, tmp_path, tools):
    journal = tmp_path / "journal"
    recording = trace(victim("random"), "ordered", 5, 20000, 4, journal)
    expected = collections.Counter()
    for entry in model.read_journal(journal):
        if entry[0] == "+" and entry[4] != "site_resize":   # where staying in place counts otherwise
            expected[entry[4]] += entry[3]
    output = tools.run_command("stats", "--json", "-n", "1000", recording.only().path).stdout
    actual = collections.Counter()
    for row in json.loads(output.decode())["top_allocations_by_size"]:
        for site in expected:
            if re.search(r"\b{}\b".format(site), row["location"]):
                actual[site] += row["size"]
    assert actual == expected
