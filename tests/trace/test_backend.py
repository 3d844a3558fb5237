# SPDX-License-Identifier: MIT
"""SCTMEM_BACKEND=jemalloc: the same program, the same events, another allocator; a word when it is not to be had."""
import ctypes.util

import pytest

from decoder import decode

# jemalloc's thread-local data is larger than what the loader keeps free for libraries that come late.
ROOM = "glibc.rtld.optional_static_tls=16384"


def modules(capture):
    return b" ".join(data for kind, data in decode(capture.path).metadata if kind == "module")


def notes(capture):
    return [data for kind, data in decode(capture.path).metadata if kind == "note"]


def run_threads(victim, trace, mode, **environment):
    """The newest capture of a run whose program knows its own totals, which are checked."""
    recording = trace(victim("threads"), mode, environment=environment)
    assert recording.ended.status == 0 and recording.ended.stderr == b"", recording.ended
    capture = max(recording.captures, key=lambda one: one.path.stat().st_mtime_ns)
    capture.check_whole()
    allocations, frees, live = map(int, recording.ended.stdout.split())
    allocated, freed = capture.counted()
    assert (len(allocated), len(freed), sum(allocated) - sum(freed)) == (allocations, frees, live)
    return capture


@pytest.fixture
def jemalloc():
    if not ctypes.util.find_library("jemalloc"):
        pytest.skip("no libjemalloc.so.2 on this machine: apt-get install libjemalloc2")


@pytest.mark.parametrize("mode", ["tls", "short", "many"])
def test_the_same_program_has_the_same_totals(victim, trace, mode, jemalloc):
    libc = run_threads(victim, trace, mode)
    other = run_threads(victim, trace, mode, SCTMEM_BACKEND="jemalloc", GLIBC_TUNABLES=ROOM)
    assert libc.path != other.path
    assert b"libjemalloc" not in modules(libc)
    if notes(other) == [b"backend jemalloc is not available"]:
        pytest.skip("the library was built without jemalloc")
    assert b"libjemalloc" in modules(other)
    assert [sorted(sizes) for sizes in other.counted()] == [sorted(sizes) for sizes in libc.counted()]


def test_what_is_not_available_is_noted_and_harms_nobody(victim, trace):
    # Without room for its thread-local data it cannot be loaded.
    capture = run_threads(victim, trace, "tls", SCTMEM_BACKEND="jemalloc",
                          GLIBC_TUNABLES="glibc.rtld.optional_static_tls=0")
    assert notes(capture) == [b"backend jemalloc is not available"]
