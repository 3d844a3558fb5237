# SPDX-License-Identifier: MIT
"""C++ and Rust programs, plug-ins that come and go, and signal handlers."""
import collections

import pytest

from recording import run_bare


def test_cxx_from_before_main_to_after_exit(victim, trace):
    bare = run_bare([victim("cxx")])
    recording = trace(victim("cxx"))
    assert recording.ended == bare and bare.status == 0
    capture = recording.only()
    capture.check_whole()
    allocated, freed = capture.counted()
    # 1 made before main and freed after it, 2 made then; 3..6 the forms of new, of which 6 and
    # Wide are rounded up to their alignment; 7 in each of four threads.
    expected = collections.Counter({70001: 1, 70002: 1, 70003: 1, 70004: 1, 70005: 1, 70144: 2, 70007: 4})
    assert collections.Counter(allocated) == expected
    assert collections.Counter(freed) == expected - collections.Counter([70002])


def test_rust_vec_box_threads_and_leak(victim, trace):
    bare = run_bare([victim("rust")])
    recording = trace(victim("rust"))
    assert recording.ended == bare and bare.stdout == b"280024 true\n"
    capture = recording.only()
    capture.check_whole()
    allocated, freed = capture.counted()
    expected = collections.Counter({70001: 1, 70002: 1, 70003: 1, 70004: 1, 70005: 1, 70006: 4, 70007: 1})
    assert collections.Counter(allocated) == expected
    assert collections.Counter(freed) == expected - collections.Counter([70001])
    kinds = {event.size: event.kind for event in capture.events() if event.size in expected}
    assert (kinds[70003], kinds[70005]) == ("calloc", "realloc")
    assert any(event.kind == "posix_memalign" and event.size == 4096 for event in capture.events())


def test_the_rust_leak_is_named(victim, trace, tools):
    recording = trace(victim("rust"))
    text = tools.run_command("leaks", recording.only().path).stdout.decode()
    assert "rust::leaked" in text, text


def test_plugins_at_the_same_address_keep_their_names(victim, trace, tools):
    plugins = [victim("plugin", "-shared", "-fPIC", "-DPLUGIN=" + name, suffix=".{}.so".format(name)) for name in "abc"]
    recording = trace(victim("plugins"), 30, *plugins)
    assert recording.ended.status == 0
    if int(recording.ended.stdout) == 0:
        pytest.skip("the loader never used an address twice")
    capture = recording.only()
    capture.check_whole()
    for number, name in enumerate("abc"):
        text = tools.run_command("tree", "--function", "plugin_work_" + name, capture.path).stdout.decode()
        others = [other for other in "abc" if other != name and "plugin_work_" + other in text]
        assert "plugin_work_" + name in text and not others, text
    allocated, freed = capture.counted()
    assert collections.Counter(allocated) == {70000 + i: 100 for i in range(3)}
    assert collections.Counter(freed) == {70000 + i: 90 for i in range(3)}


@pytest.mark.parametrize("mode", ["raise", "timer", "jump"])
def test_signal_handlers_that_allocate(victim, trace, mode):
    recording = trace(victim("signals"), mode)
    assert recording.ended.status == 0 and recording.ended.stderr == b"", recording.ended
    handled, mappings = map(int, recording.ended.stdout.split())
    capture = recording.only()
    allocated, freed = capture.counted()
    lost = capture.stats()["metadata"]["lost_events"]
    own = [size for size in allocated if size < 70500]
    # An event may be lost when the handler came inside our own code, but never without being counted.
    assert handled <= len(own) + lost and len(own) <= handled
    if mode != "timer":
        assert lost == 0 and len(own) == handled
    maps = sum(event.kind == "map" and event.size == 77 * 4096 for event in capture.events())
    assert maps == mappings


def test_stacks_after_a_jump_out_of_a_handler_are_mains(victim, trace, tools):
    recording = trace(victim("signals"), "jump")
    capture = recording.only()
    text = tools.run_command("tree", "--metric", "total", "--function", "mode_jump", capture.path).stdout.decode()
    assert "mode_jump" in text
    for line in text.splitlines():
        if "70500" in line:
            assert "deep" not in line and "handler" not in line
