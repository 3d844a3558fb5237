# SPDX-License-Identifier: MIT
"""Samples of resident pages: what the analysis says of a program is what the program itself sees, to the byte."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest

from recording import Tracer

PAGE = 4096
BLOCK, MAPPING, WRITTEN, STACK, ZEROED = 48 << 20, (16 << 20) - 6 * PAGE, 25 * PAGE, 1 << 20, 4 << 20
SHARED, CACHED_WRITTEN, OUT = 12 << 20, 10 * PAGE, 16 << 20
LAST, CUT, SWAP_TOLD, SHARED_CUT = 1, 2, 16, 32
CLASSES = ["block_bytes", "slop_bytes", "beside_bytes", "mapping_bytes", "arena_free_bytes", "heap_free_bytes",
           "stack_bytes", "module_bytes", "recorder_bytes", "other_bytes", "shared_bytes"]


def resident(tools, path, *options):
    found = json.loads(tools.run_command("insights", "-a", "resident", "-n", "1000", "--json", *options, path).stdout)
    return found["analyses"]["resident"]


def samples(tools, path, grown=False):
    """Those that were asked for and of the end; or those that were taken as memory grew."""
    lines = tools.run_command("dump", "--json", path).stdout.splitlines()
    found = [event for event in map(json.loads, lines) if event.get("kind") == "pages"]
    return [event for event in found if grown == (event["reason"] == 2)]


def place(found, function):
    rows = [row for row in found["places"]["rows"] if row["location"].startswith(function + ":")]
    assert len(rows) == 1, found["places"]["rows"]
    return rows[0]


def own_account(stdout):
    return {name: int(value) for name, value in (line.split() for line in stdout.decode().splitlines())}


def assert_adds_up(facts):
    assert sum(facts[name] for name in CLASSES) == facts["resident_bytes"]
    assert facts["live_resident_bytes"] + facts["live_absent_bytes"] + facts["live_unseen_bytes"] == facts["live_bytes"]


def assert_known(tools, path, account):
    found = resident(tools, path, "--at", "here")
    facts = found["facts"]
    assert_adds_up(facts)
    assert facts["cut_count"] == 0 and facts["process_count"] == 1
    block, mapping = place(found, "make_block"), place(found, "make_mapping")
    assert (block["bytes"], block["unseen_bytes"], block["resident_bytes"]) == (BLOCK, 0, account["block"])
    assert 0 < block["resident_bytes"] < BLOCK / 4
    assert (mapping["bytes"], mapping["unseen_bytes"], mapping["resident_bytes"]) == (MAPPING, 0, account["mapping"])
    assert facts["mapping_bytes"] == account["mapping"] > 7 << 20
    assert STACK <= facts["stack_bytes"] < STACK + (512 << 10)
    assert WRITTEN <= facts["module_bytes"] < WRITTEN + (4 << 20)
    assert 64 << 10 < facts["recorder_bytes"] < 8 << 20
    shared = place(found, "make_shared")
    assert (shared["bytes"], shared["unseen_bytes"], shared["resident_bytes"]) == (SHARED, 0, SHARED / 2)
    assert facts["shared_bytes"] == SHARED / 2 + CACHED_WRITTEN
    assert not any(row["swapped_bytes"] for row in found["places"]["rows"])
    # The kernel counts in batches, for each processor.
    assert abs(account["shared"] - facts["shared_bytes"]) < 1 << 20
    assert abs(account["files"] - facts["file_bytes"]) < 2 << 20
    assert abs(facts["anonymous_bytes"] + facts["shared_bytes"] - facts["resident_bytes"]) < 4 << 20
    assert abs(facts["kernel_bytes"] - facts["file_bytes"] - facts["resident_bytes"]) < 4 << 20
    return facts


@pytest.mark.parametrize("mode, aggregate", [("plain", "no"), ("closed", "no"), ("plain", "yes")])
def test_a_known_program(victim, trace, tools, tmp_path, mode, aggregate):
    recording = trace(victim("pages"), mode, tmp_path / "mapped", environment={"SCTMEM_AGGREGATE": aggregate})
    assert recording.ended.status == 0
    capture, account = recording.only(), own_account(recording.ended.stdout)
    facts = assert_known(tools, capture.path, account)
    assert facts["blind_count"] == 0
    # Parts of pages at both ends, and lists of free blocks that reuse had not come to.
    free = facts["heap_free_bytes"] + facts["beside_bytes"]
    assert account["freed"] - 2 * PAGE <= free < account["freed"] + (300 << 10)
    assert facts["heap_free_bytes"] > 8 << 20
    assert facts["other_bytes"] < 1 << 20
    reasons = [sample["reason"] for sample in samples(tools, capture.path) if sample["part"] == 0]
    assert reasons == [0, 1]
    end = resident(tools, capture.path)["facts"]
    assert_adds_up(end)
    assert end["mapping_bytes"] == account["mapping"] and end["block_bytes"] < 1 << 20
    stats = json.loads(tools.run_command("stats", "--json", capture.path).stdout)
    assert end["live_bytes"] == stats["live_at_end"]["bytes"]
    capture.check_whole()


def test_compacted_it_is_the_same(victim, trace, tools, tmp_path):
    capture = trace(victim("pages"), "plain", tmp_path / "mapped").only()
    small = tmp_path / "small.bin"
    tools.run_command("compact", "-o", small, capture.path)
    for options in ([], ["--at", "here"]):
        before, after = resident(tools, capture.path, *options), resident(tools, small, *options)
        assert before["places"] == after["places"]
        for found in (before, after):
            found["facts"].pop("time_ns")
            # What only dropped blocks have held is not known to have been heap.
            found["facts"]["free"] = found["facts"].pop("heap_free_bytes") + found["facts"].pop("other_bytes")
        assert before["facts"] == after["facts"]


def test_a_fork_child_has_its_own(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "fork", tmp_path / "mapped")
    pids = recording.by_pid()
    child = next(capture for capture in recording.captures if capture.header["parent_pid"] in pids)
    parent = pids[child.header["parent_pid"]]
    facts = assert_known(tools, child.path, own_account(recording.ended.stdout))
    assert facts["blind_count"] == 1 and facts["other_bytes"] > 8 << 20
    assert [sample["reason"] for sample in samples(tools, child.path) if sample["part"] == 0] == [0, 1]
    numbers = [sample["sample"] for grown in (False, True) for sample in samples(tools, child.path, grown)
               if sample["part"] == 0]
    assert sorted(numbers) == list(range(len(numbers)))
    assert [sample["reason"] for sample in samples(tools, parent.path)] == [1]
    assert ZEROED <= resident(tools, parent.path)["facts"]["module_bytes"] < ZEROED + (1 << 20)
    family = resident(tools, child.path, parent.path)["facts"]
    assert_adds_up(family)
    assert family["process_count"] == 2


def test_forks_while_samples_are_taken(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "forks", tmp_path / "mapped")
    assert recording.ended.status == 0
    pids = recording.by_pid()
    children = [capture for capture in recording.captures if capture.header["parent_pid"] in pids]
    assert len(children) == 60
    for child in children:
        sample, = samples(tools, child.path)
        assert (sample["sample"], sample["flags"] & ~SWAP_TOLD, sample["reason"]) == (0, LAST, 0)
        assert sample["resident_pages"] > 20


def test_who_has_to_wait_is_looked_at_as_well(victim, trace, tools, tmp_path):
    process, recording = trace.start(victim("pages"), "many", tmp_path / "mapped")
    while process.poll() is None:
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.03)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.002)
    process.communicate()
    assert process.returncode == 0
    taken = samples(tools, recording().only().path)
    assert len(taken) == 400 and all(sample["flags"] & ~SWAP_TOLD == LAST for sample in taken)
    # Longer than a sample may work.
    assert any(sample["duration_ns"] > 25000000 for sample in taken)


def swap_used_kib():
    with open("/proc/meminfo") as file:
        lines = dict(line.split(":") for line in file)
    return int(lines["SwapTotal"].split()[0]), int(lines["SwapTotal"].split()[0]) - int(lines["SwapFree"].split()[0])


@pytest.fixture
def swap():
    """The machine's, or a file of ours for the while."""
    if swap_used_kib()[0]:
        yield
        return
    if os.environ.get("SCTMEM_FAULT_SYSTEM") != "1" or os.geteuid() != 0:
        pytest.skip("no swap here, and to set some up changes the system: as root with SCTMEM_FAULT_SYSTEM=1")
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        os.fchmod(file.fileno(), 0o600)
        os.posix_fallocate(file.fileno(), 0, 4 * OUT)
        subprocess.run(["mkswap", file.name], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["swapon", file.name], check=True)
        try:
            yield
        finally:
            subprocess.run(["swapoff", file.name], check=True)


@pytest.mark.usefixtures("swap")
def test_what_is_swapped_out_is_told_from_what_was_never_touched(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "swapped", tmp_path / "mapped")
    account = own_account(recording.ended.stdout)
    if not account["swapped"]:
        pytest.skip("this machine's swap takes nothing")
    found = resident(tools, recording.only().path, "--at", "here")
    facts, out = found["facts"], place(found, "make_out")
    assert_adds_up(facts)
    assert (out["bytes"], out["swapped_bytes"]) == (OUT, account["swapped"])
    assert out["absent_bytes"] - out["swapped_bytes"] == account["untouched"] >= OUT / 4
    assert facts["live_swapped_bytes"] + facts["live_untouched_bytes"] == facts["live_absent_bytes"]
    assert abs(facts["swapped_bytes"] - account["counted"]) < 1 << 20


def test_where_nobody_has_swapped_nothing_is_said_to_be(victim, trace, tools, tmp_path):
    if swap_used_kib()[1]:
        pytest.skip("somebody has swapped on this machine")
    recording = trace(victim("pages"), "plain", tmp_path / "mapped")
    facts = resident(tools, recording.only().path)["facts"]
    assert facts["live_swapped_bytes"] == facts["swapped_bytes"] == 0
    # Shared memory that is not there may be anywhere.
    assert facts["live_untouched_bytes"] == facts["live_absent_bytes"] - SHARED / 2 > 0


def test_memory_that_python_shares(trace, tools):
    code = ("from multiprocessing import shared_memory\nimport ctypes\n"
            "memory = shared_memory.SharedMemory(create=True, size=20 << 20)\n"
            "memory.buf[:12 << 20] = bytes(12 << 20)\nctypes.CDLL(None).sctmem_snapshot(b'here')\n"
            "memory.close()\nmemory.unlink()\n")
    facts = resident(tools, trace("/usr/bin/python3", "-c", code).only().path, "--at", "here")["facts"]
    assert_adds_up(facts)
    assert facts["shared_bytes"] == 12 << 20


def test_the_recorder_s_own_file_is_not_the_programs_memory(victim, tools, tmp_path):
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm to write to")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        recording = Tracer(tools, pathlib.Path(folder))(victim("pages"), "plain", tmp_path / "mapped")
        facts = resident(tools, recording.only().path, "--at", "here")["facts"]
    assert facts["shared_bytes"] == SHARED / 2 + CACHED_WRITTEN
    assert facts["recorder_bytes"] > 256 << 10


def test_more_shared_memory_than_can_be_looked_at_leaves_the_rest_whole(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "wide", tmp_path / "mapped")
    account = own_account(recording.ended.stdout)
    last = [sample for sample in samples(tools, recording.only().path) if sample["flags"] & LAST][0]
    assert last["flags"] & (CUT | SHARED_CUT) == SHARED_CUT
    found = resident(tools, recording.only().path, "--at", "here")
    facts = found["facts"]
    assert_adds_up(facts)
    assert facts["cut_count"] == 1 and facts["mapping_bytes"] == account["mapping"]
    # What was not seen of it is in the rest of the kernel's count.
    assert 0 < facts["shared_bytes"] < account["shared"]
    assert abs(account["files"] + account["shared"] - facts["shared_bytes"] - facts["file_bytes"]) < 2 << 20


def test_what_was_not_recorded_is_not_called_free(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "stopped", tmp_path / "mapped")
    facts = assert_known(tools, recording.only().path, own_account(recording.ended.stdout))
    assert facts["blind_count"] == 1 and facts["heap_free_bytes"] == 0 and facts["other_bytes"] > 8 << 20


def test_a_filter_of_system_calls_is_not_tried(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "filter", tmp_path / "mapped")
    assert recording.ended.status == 0
    under, = [capture for capture in recording.captures if capture.header["state"] == "finished"]
    found = resident(tools, under.path)
    assert not found["available"] and "seccomp" in found["headline"]
    assert [sample["flags"] & 4 for sample in samples(tools, under.path)] == [4, 4]
    # Before it executed itself it had set the filter, which ended that recording.
    assert sorted(capture.header["state"] for capture in recording.captures) == ["finished", "stopped_filter"]


def test_without_a_descriptor_there_is_none(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "full", tmp_path / "mapped")
    assert recording.ended.status == 0
    assert not resident(tools, recording.only().path)["available"]
    assert [(sample["flags"] & 4, sample["error"]) for sample in samples(tools, recording.only().path)] == [(4, 24)] * 2


@pytest.mark.parametrize("setting", [{"SCTMEM_SAMPLE": "64KiB"}, {"SCTMEM_MAX_SIZE": "4M"}])
def test_where_not_all_is_recorded_nobody_looks(victim, trace, tools, tmp_path, setting):
    recording = trace(victim("pages"), "plain", tmp_path / "mapped", environment=setting)
    assert recording.ended.status == 0
    assert samples(tools, recording.only().path) == []
    assert "sample" in resident(tools, recording.only().path)["headline"]
    assert not recording.only().stats()["captures"][0]["damaged"]


def test_no_samples_where_none_are_wanted(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "plain", tmp_path / "mapped", environment={"SCTMEM_SAMPLE_MS": "0"})
    assert [sample["reason"] for sample in samples(tools, recording.only().path) if sample["part"] == 0] == [0]


def test_a_run_in_segments(victim, trace, tools, tmp_path):
    recording = trace(victim("pages"), "plain", tmp_path / "mapped", environment={"SCTMEM_ROTATE": "1M"})
    assert_known(tools, sorted(capture.path for capture in recording.captures)[0],
                 own_account(recording.ended.stdout))


def test_a_command_takes_one_too(trace, tools):
    code = ("import time\nkept = bytearray(10 << 20)\nprint('ready', flush=True)\n"
            "while True:\n\ttime.sleep(0.005)\n\tstr([0] * 10)\n")
    process, recording = trace.start("/usr/bin/python3", "-c", code)
    try:
        assert process.stdout.readline() == b"ready\n"
        tools.run_command("ctl", str(process.pid), "snapshot", "asked")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    found = resident(tools, recording().only().path)
    facts = found["facts"]
    assert_adds_up(facts)
    # Killed: only what was asked for.
    assert len([sample for sample in samples(tools, recording().only().path) if sample["part"] == 0]) == 1
    assert facts["block_bytes"] > 10 << 20 and facts["live_resident_bytes"] > 10 << 20
    text = subprocess.run([str(tools.command), "insights", "-a", "resident", str(recording().only().path)],
                          stdout=subprocess.PIPE, check=True).stdout.decode()
    assert "live blocks" in text and "the recorder's own" in text


def test_a_program_of_hardly_any_memory_is_left_alone(trace, tools):
    recording = trace("/bin/true")
    assert samples(tools, recording.only().path) == []
    assert "2 MiB" in resident(tools, recording.only().path)["headline"]


def test_who_is_killed_as_it_grows_was_looked_at(trace, tools):
    code = ("import os, time\nkept = []\nfor turn in range(40):\n\tkept.append([bytes(3000) for i in range(700)])\n"
            "\ttime.sleep(0.1)\nos.kill(os.getpid(), 9)\n")
    capture = trace("/usr/bin/python3", "-c", code).only()
    taken = [sample for sample in samples(tools, capture.path, grown=True) if sample["part"] == 0]
    assert samples(tools, capture.path) == [] and 5 <= len(taken) <= 20
    assert [sample["sample"] for sample in taken] == list(range(len(taken)))
    facts = resident(tools, capture.path)["facts"]
    assert_adds_up(facts)
    peak = json.loads(tools.run_command("stats", "--json", capture.path).stdout)["peak"]["bytes"]
    assert facts["block_bytes"] > peak * 0.6
    # A few steps at most, each of a quarter.
    resident_pages = [sample["resident_pages"] for sample in taken]
    assert all(after > before * 1.15 for before, after in zip(resident_pages, resident_pages[1:]))
