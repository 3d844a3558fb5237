# SPDX-License-Identifier: MIT
"""Every hooked function, called in each way it can end: the capture has what the C library promised, one for one."""
import pytest

import model


@pytest.fixture
def hooks(victim, trace, tmp_path):
    journal = tmp_path / "journal"
    recording = trace(victim("hooks"), journal, tmp_path / "file")
    assert recording.ended == (0, b"", b""), recording.ended
    return model.read_journal(journal), recording.only()


def test_heap_events_equal_the_journal(hooks):
    journal, capture = hooks
    capture.check_whole()
    expected = model.between_checkpoints([entry for entry in model.without_sites(journal) if entry[0] not in "mu"])
    actual = model.between_checkpoints(model.heap_history(capture.events()))
    assert len(expected) >= 20 and max(map(len, expected.values())) > 10
    for number in sorted(expected):
        if number > 1:   # before the first come the loader's and libc's own
            assert actual.get(number) == expected[number], "checkpoint {}".format(number)


def mapping_checkpoints(entries):
    """{checkpoint: mappings then}, from the journal."""
    space, result = model.AddressSpace(), {}
    for entry in entries:
        if entry[0] == "m":
            space.put(entry[1], entry[1] + entry[2], entry[3])
        elif entry[0] == "u":
            space.cut(entry[1], entry[1] + entry[2])
        elif entry[0] == "c":
            result[entry[1]] = space.joined()
    return result


def test_mappings_equal_the_journal_at_each_checkpoint(hooks):
    journal, capture = hooks
    expected = mapping_checkpoints(journal)
    space, removed, actual = model.AddressSpace(), [], {}
    before = None
    for event in capture.events():
        number = event.size - model.CHECKPOINT_SIZE
        if event.kind == "malloc" and 0 <= number < model.CHECKPOINTS_MAX:
            if before is None:
                before = space.joined()
            actual[number] = [piece for piece in space.joined() if piece not in before]
        elif event.kind == "map":
            flags = removed[0][2] if event.flags & model.MAP_MOVED else event.flags
            space.put(event.address, event.address + model.pages(event.size), flags)
        elif event.kind == "unmap":
            removed = space.cut(event.address, event.address + model.pages(event.size))
        elif event.kind == "unmap_failed":
            for piece in removed:
                space.put(*piece)
    for number in sorted(expected):
        assert actual[number] == expected[number], "checkpoint {}".format(number)


def test_moving_the_break_is_recorded_and_undone(hooks):
    _, capture = hooks
    events = capture.events()
    sizes = (model.CHECKPOINT_SIZE + 7, model.CHECKPOINT_SIZE + 8)
    marks = [at for at, event in enumerate(events) if event.kind == "malloc" and event.size in sizes]
    between = [event for event in events[marks[0]:marks[1]] if event.kind in ("map", "unmap")]
    assert [(event.kind, event.size) for event in between] == [("map", 64 * 4096), ("unmap", 64 * 4096)]
    assert between[0].flags & 64 and between[0].address == between[1].address


def test_stats_equal_the_plain_replay(hooks):
    _, capture = hooks
    stats = capture.stats()
    account = model.replay(model.in_order(capture.events()))
    assert stats["total_num_allocations"] == account.total_count
    assert stats["total_bytes_allocated"] == account.total_bytes
    assert stats["metadata"]["peak_memory"] == account.peak_bytes
    assert stats["live_at_end"]["bytes"] == account.live_bytes
    # Five gigabytes that were asked for once are the peak, whatever else there was.
    assert account.peak_bytes >= 5 << 30


def test_each_site_is_named(hooks):
    _, capture = hooks
    stats = capture.stats()
    top = stats["top_allocations_by_size"][0]
    assert top["size"] >= 5 << 30 and "site_malloc" in top["location"], top


def test_the_leak_of_main_is_found(hooks, tools):
    _, capture = hooks
    text = tools.run_command("leaks", capture.path).stdout.decode()
    assert "site_malloc" in text and "site_calloc" in text, text
    assert "site_reallocarray" not in text, text


def test_program_behaves_as_bare_with_any_setting(victim, trace, tmp_path):
    for number, environment in enumerate([{"SCTMEM_NATIVE": "no"}, {"SCTMEM_NATIVE": "leaf"}, {"SCTMEM_FOLLOW": "none"},
                                          {"SCTMEM_DEPTH": "16"}, {"SCTMEM_SAMPLE_MS": "0"},
                                          {"SCTMEM_NATIVE": "nonsense", "SCTMEM_DEPTH": "-5", "SCTMEM_FOLLOW": ""}]):
        journal = tmp_path / "journal{}".format(number)
        recording = trace(victim("hooks"), journal, tmp_path / "file", environment=environment)
        assert recording.ended == (0, b"", b""), (environment, recording.ended)
        expected = [entry for entry in model.without_sites(model.read_journal(journal)) if entry[0] in "+-"]
        actual = [entry for entry in model.heap_history(recording.only().events()) if entry[0] != "c"]
        missing = set(map(repr, expected)) - set(map(repr, actual))
        assert not missing, (environment, sorted(missing)[:5])


def test_a_folder_that_cannot_be_written_leaves_the_program_alone(victim, trace, tmp_path):
    environment = {"SCTMEM_OUT": "/proc/no/such/place.bin"}
    recording = trace(victim("hooks"), tmp_path / "journal", tmp_path / "file", environment=environment)
    assert recording.ended.status == 0 and recording.ended.stdout == b"" and not recording.captures
    # Said once, in one line or two.
    assert b"sctmem" in recording.ended.stderr and recording.ended.stderr.count(b"\n") <= 2, recording.ended.stderr


def test_an_existing_file_is_not_overwritten(victim, trace, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"not a capture")
    trace(victim("hooks"), tmp_path / "journal", tmp_path / "file", environment={"SCTMEM_OUT": str(precious)})
    assert precious.read_bytes() == b"not a capture"
