# SPDX-License-Identifier: MIT
"""Other allocators, loaders and libraries of C: chained with, or refused in words that say what to do."""
import pathlib
import subprocess

import pytest

from decoder import decode
from faults import compare, notes, require_file, sizes
from fixtures import require_program
from recording import run_bare

END = ([1, 2], [2])
ALLOCATORS = [("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
              ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
              ("mimalloc", "libmimalloc.so.2.0", "libmimalloc2.0")]


def library_of(name, package):
    return require_file("/usr/lib/*/" + name, package)


def modules(capture):
    return b" ".join(data for kind, data in decode(capture.path).metadata if kind == "module")


@pytest.mark.parametrize("name, file, package", ALLOCATORS, ids=[name for name, _, _ in ALLOCATORS])
@pytest.mark.parametrize("how", ["before", "behind", "linked"])
def test_another_allocator(victim, trace, tools, name, file, package, how):
    """Preloaded before us it serves the program and hides it from us; behind us, or linked, we chain to it."""
    library = library_of(file, package)
    program = victim("heap", "-Wl,--no-as-needed", str(library)) if how == "linked" else victim("heap")
    both = {"before": [library, tools.library], "behind": [tools.library, library], "linked": [tools.library]}[how]
    bare = run_bare([program, "plain"])
    recording = trace(program, "plain", environment={"LD_PRELOAD": ":".join(map(str, both))})
    assert recording.ended == bare and bare.status == 0, recording.ended
    capture = recording.only()
    assert capture.header["contradictions"] == 0 and not capture.header["damaged"], capture.header
    assert file.split(".so")[0].encode() in modules(capture)
    if how == "before":
        assert sizes(capture) == ([], [])
    else:
        assert sizes(capture) == END
        capture.check_whole()


@pytest.mark.parametrize("flag", ["-DOWN_MALLOC", "-DOWN_CHAIN"])
def test_a_program_that_defines_malloc(victim, trace, flag):
    """Its own definition comes before any library's: what it does not pass on to us is not seen, and unharmed."""
    recording = compare(trace, victim("heap", flag, "-fno-builtin"), "plain", whole=False)
    assert recording.ended.status == 0
    assert sizes(recording.only()) == (([], []) if flag == "-DOWN_MALLOC" else END)


def test_a_library_that_binds_to_its_own_first(victim, trace):
    """RTLD_DEEPBIND: the library's malloc is libc's, though we are preloaded: its blocks are all seen or none."""
    library = victim("plugged", "-shared", "-fPIC", suffix=".so")
    recording = compare(trace, victim("loading"), "deepbind", library)
    assert recording.ended.status == 0
    allocated, freed = sizes(recording.only())
    assert set(allocated) <= {1, 2, 10, 11, 20, 21} and {1, 2} <= set(allocated)


def test_a_name_space_with_a_libc_of_its_own(victim, trace):
    library = victim("plugged", "-shared", "-fPIC", suffix=".so")
    recording = compare(trace, victim("loading"), "namespace", library)
    assert recording.ended.status == 0
    assert sizes(recording.only()) == END


def refused(trace, program, word):
    """What cannot be recorded runs as bare all the same; `run` says that there is no capture, and `doctor` why."""
    bare = run_bare([program, "small"])
    assert bare.status == 0
    traced = trace(program, "small")
    assert (traced.ended.status, traced.ended.stdout) == (bare.status, bare.stdout) and not traced.captures
    done = trace.tools.run_command("run", "-o", traced.folder / "capture.bin", "--", program, "small")
    assert done.stdout == bare.stdout and b"no capture was written" in done.stderr and b"doctor" in done.stderr, done
    done = trace.tools.run_command("doctor", program, check=False)
    assert done.returncode != 0 and b"Tracing would not work" in done.stdout and word in done.stdout, done
    return traced.ended.stderr


def test_a_static_program_is_refused(victim, trace):
    assert refused(trace, victim("heap", "-static", "-Wno-error"), b"linked statically") == b""


def test_a_program_on_musl_is_refused(trace, tmp_path):
    musl = require_program("musl-gcc")
    source = pathlib.Path(__file__).parent / "victims/heap.c"
    program = tmp_path / "heap-musl"
    done = subprocess.run([musl, "-O2", "-D_GNU_SOURCE", str(source), "-o", str(program)], stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    said = refused(trace, program, b"musl")
    assert said == b"sctmem: this program does not run on glibc: it runs unrecorded\n"


def test_a_program_of_32_bits_is_refused(victim, trace):
    if not list(pathlib.Path("/").glob("usr/lib/gcc/*/*/32/crtbegin.o")):
        pytest.skip("no compiler for 32 bits: apt-get install gcc-multilib")
    # The loader itself says, once, that it left the library out.
    assert refused(trace, victim("heap", "-m32"), b"another machine").count(b"\n") == 1


def test_under_the_address_sanitizer(victim, trace):
    """Its malloc comes before ours, and it insists on that: told not to insist, it serves the program as ever."""
    program = victim("heap", "-fsanitize=address")
    environment = {"ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}
    bare = run_bare([program, "plain"], environment=environment)
    recording = trace(program, "plain", environment=environment)
    assert recording.ended == bare and bare.status == 0, recording.ended


def test_under_valgrind(victim, trace, tmp_path):
    valgrind = require_program("valgrind")
    argv = [valgrind, "-q", "--error-exitcode=9", "--log-file=" + str(tmp_path / "log"), victim("heap"), "small"]
    bare = run_bare(argv)
    recording = trace(*argv)
    assert recording.ended == bare and bare.status == 0, (recording.ended, (tmp_path / "log").read_text())
    for capture in recording.captures:
        assert capture.header["contradictions"] == 0 and not capture.header["damaged"]


def test_a_backend_that_cannot_be_loaded_leaves_no_word_in_dlerror(victim, trace):
    environment = {"SCTMEM_BACKEND": "jemalloc", "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=0"}
    recording = compare(trace, victim("loading"), "dlerror", environment=environment)
    assert recording.ended == (0, b"none\n", b"")
    assert notes(recording.only()) == [b"backend jemalloc is not available"]
