# SPDX-License-Identifier: MIT
"""Other allocators, loaders and libraries of C: chained with, or refused in words that say what to do."""
import pytest

from faults import compare, notes, sizes


def test_a_backend_that_cannot_be_loaded_leaves_no_word_in_dlerror(victim, trace):
    environment = {"SCTMEM_BACKEND": "jemalloc", "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=0"}
    recording = compare(trace, victim("loading"), "dlerror", environment=environment)
    assert recording.ended == (0, b"none\n", b"")
    assert notes(recording.only()) == [b"backend jemalloc is not available"]
