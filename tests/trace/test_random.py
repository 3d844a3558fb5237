# SPDX-License-Identifier: MIT
"""A random program of several threads, compared with its journal: every event of it.

SCTMEM_TRACE_EVENTS sets the number of events (default 300,000; 10,000,000 take some minutes and 2 GB of disk).
"""
import collections
import json
import os
import re
import subprocess

import pytest

from decoder import ask_oracle, oracle, read_event, run_oracle
from recording import Tracer, clean_environment, dumped_event

EVENTS = int(os.environ.get("SCTMEM_TRACE_EVENTS", "300000"))
THREADS = 8
Run = collections.namedtuple("Run", "capture journals account")


def record(trace, program, folder, mode, seed, events, threads=THREADS):
    """(capture, journals) of one run."""
    journal = folder / "journal"
    recording = trace(program, mode, seed, events, threads, journal)
    assert recording.ended == (0, b"", b""), recording.ended
    capture = recording.only()
    capture.check_whole()
    return capture, sorted(folder.glob("journal*"), key=lambda path: int(path.suffix[1:] or 0))


@pytest.fixture(scope="module", params=[("ordered", 1), ("ordered", 2), ("loose", 3)], ids=lambda param: param[0])
def run(request, victim, tools, tmp_path_factory):
    """One run, that has been held against its journals event for event; see oracle/check_random.c."""
    mode, seed = request.param
    folder = tmp_path_factory.mktemp(mode)
    captures = folder / "captures"
    captures.mkdir()
    capture, journals = record(Tracer(tools, captures), victim("random", "-rdynamic"), folder, mode, seed, EVENTS)
    account = json.loads(ask_oracle("check_random", capture.path, *journals).decode())
    print(mode, seed, account)
    yield Run(capture, journals, account)
    for path in journals + [capture.path]:
        path.unlink()


def test_every_event_and_stack_is_the_journals(run):
    # That they are equal has been found already; here, that it was about something.
    assert run.account["compared"] >= EVENTS
    assert run.account["frames"] > run.account["total_count"] * 4


def test_stats_equal_the_plain_replay(run):
    stats, account = run.capture.stats(), run.account
    assert stats["total_num_allocations"] == account["total_count"]
    assert stats["total_bytes_allocated"] == account["total_bytes"]
    assert stats["live_at_end"] == dict(stats["live_at_end"], bytes=account["live_bytes"], count=account["live_count"])
    assert stats["metadata"]["peak_memory"] == account["peak_bytes"]


def test_each_sites_bytes_equal_the_journal(run, tools):
    # Not site_resize, where staying in place counts otherwise.
    expected = {site: count for site, count in run.account["sites"].items() if count and site != "site_resize"}
    output = tools.run_command("stats", "--json", "-n", "10000", run.capture.path).stdout
    actual = collections.Counter()
    for row in json.loads(output.decode())["top_allocations_by_size"]:
        for site in expected:
            if re.search(r"\b{}\b".format(site), row["location"]):
                actual[site] += row["size"]
    assert actual == expected


def test_two_readers_agree_on_every_event(run, tools):
    listing = subprocess.Popen([oracle("list_capture"), str(run.capture.path)], stdout=subprocess.PIPE)
    dump = subprocess.Popen([str(tools.command), "dump", "--json", str(run.capture.path)], stdout=subprocess.PIPE,
                            env=clean_environment())
    dumped = filter(None, (dumped_event(json.loads(line)) for line in dump.stdout))
    count = 0
    for line in listing.stdout:
        if line.startswith(b"e"):
            assert read_event(line.decode().split(" ")) == next(dumped, None)
            count += 1
    assert next(dumped, None) is None
    assert (listing.wait(), dump.wait(), count) == (0, 0, run.account["events"])


CHANGES = {
    "a kind": (r"\+ 32 ", "+ 33 "),
    "an address": (r"- (\w+)0 ", r"- \g<1>8 "),
    "a size": (r"(\+ \d+ \w+ )(\d+)", r"\g<1>1\2"),
    "a site": ("site_a", "site_b"),
    "a thread": (r"(\+.*site_. )\d", r"\g<1>7"),
    "a shorter path": (r" (\d)\d\n", r" \1\n"),
    "another path": (r" (\d)2(\d*)\n", r" \g<1>1\2\n"),
    "a line less": (r"\+ .*\n", ""),
    "a line more": (r"(- .*\n)", r"\1\1"),
    "the order of two lines": (r"(\+ .*\n)(\+ .*\n)", r"\2\1"),
    "the end": (r"(?s).{100}\Z", "\n"),
}


def test_the_check_notices_each_kind_of_difference(victim, trace, tmp_path):
    """Any one line that is changed, in the midst of the journal, is found."""
    capture, journals = record(trace, victim("random", "-rdynamic"), tmp_path, "ordered", 4, 3000, 4)
    text = journals[0].read_text(encoding="ascii")
    middle = text.index("\n", len(text) // 2) + 1
    assert run_oracle("check_random", capture.path, journals[0]).returncode == 0
    for what, (old, new) in CHANGES.items():
        changed = re.sub(old, new, text[middle:], count=1)
        assert changed != text[middle:], what
        journals[0].write_text(text[:middle] + changed, encoding="ascii")
        done = run_oracle("check_random", capture.path, journals[0])
        assert (done.returncode, done.stdout) == (1, b""), (what, done)
