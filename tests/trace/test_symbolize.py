# SPDX-License-Identifier: MIT
"""sctmem symbolize: what every view says of a capture with its names does not depend on the programs' files."""
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys

import pytest

from segments import segments, start
from views import Grammar

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *kept[100];
static inline __attribute__((always_inline)) void *inner(size_t size)
{
	void *p = malloc(size);
	memset(p, 1, 1);
	return p;
}
static __attribute__((noinline)) void *outer(size_t size)
{
	void *p = inner(size);
	__asm__ volatile("" : "+r"(p));
	return p;
}
__attribute__((noinline)) void *another(size_t size)
{
	void *p = outer(size + 1);
	__asm__ volatile("" : "+r"(p));
	return p;
}
/* Two stretches of a run, each with stacks of its own. */
static __attribute__((noinline)) void early(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		free(kept[i % 100]);
		kept[i % 100] = outer((size_t)(i * 7919ll % 500) + 1);
	}
}
static __attribute__((noinline)) void late(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		free(kept[i * 31ll % 100]);
		kept[i * 31ll % 100] = another((size_t)(i * 104729ll % 700) + 1);
	}
}
int main(int argc, char **argv)
{
	if (argc > 2) {
		early(atoi(argv[1]));
		late(atoi(argv[2]));
		puts("ready");
		fflush(stdout);
		getchar();
		return 0;
	}
	for (int i = 0; i < 100; i++) {
		kept[i] = i % 2 ? outer((size_t)i * 10 + 1) : another((size_t)i * 20 + 1);
		free(another(3));
	}
	if (argc > 1) {
		puts("ready");
		fflush(stdout);
		while (argv[1][0] == 'w')
			pause();
		fork();
		for (int i = 0; i < 50; i++) {
			free(kept[i]);
			kept[i] = another((size_t)i + 7);
		}
	}
	return 0;
}
"""
# The file has grown, and says that it has names: what else is said must not differ.
GROWN = [(rb'"(capture_bytes|embedded_symbols|bytes_per_event|file_bytes)": ?[0-9.]+', b""),
         (rb"\n  symbols  [^\n]*", b""), (rb"events in [0-9.,]+ [KM]?i?B of file, [0-9.,]+ bytes an event", b"")]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Its path, and a folder where it can be hidden."""
    import subprocess
    folder = tmp_path_factory.mktemp("named")
    (folder / "named.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O2", "-g", "named.c", "-o", "named"], cwd=str(folder), check=True)
    (folder / "named.c").unlink()       # pages have the source where it is there, and it does not travel
    return folder / "named"


class hidden:
    """The program is not there meanwhile."""

    def __init__(self, program):
        self.program, self.away = program, program.with_name("away")

    def __enter__(self):
        self.program.rename(self.away)

    def __exit__(self, *_):
        self.away.rename(self.program)


def without_growth(data):
    for pattern, instead in GROWN:
        data = re.sub(pattern, instead, data)
    return data


def all_views(tools, folder, *captures):
    """{what: bytes} of every view and export of what was recorded; not of how it is stored."""
    said = {}
    grammar, path = Grammar(tools), folder / "view"
    for view in grammar.views():
        if not view.flags & {"records", "pair"}:
            done = tools.run_command(*view.arguments(captures, path), check=view.verb != "check")
            said[view.name] = path.read_bytes() if "file" in view.flags else done.stdout
    said["filtered"] = tools.run_command("tree", "--function", "^another$", "--json", *captures).stdout
    assert len(said) > 40
    return {name: without_growth(data) for name, data in said.items()}


def assert_same(before, after):
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def names(tools, path, *options):
    said = tools.run_command("table", "--by", "function", "-n", "0", "--json", *options, path).stdout
    return {row["function"] for row in json.loads(said.decode())["rows"]}


def result(tools, *arguments):
    return json.loads(tools.run_command("symbolize", "--json", *arguments).stdout.decode())["captures"]


def test_every_view_says_the_same_without_the_program(tools, trace, program, tmp_path):
    path = trace(program).only().path
    before = all_views(tools, tmp_path, path)
    [done] = result(tools, "--in-place", path)
    assert done["added"] == done["named"] > 0 and done["renewed"] == 0 and done["bytes_added"] > 0
    with hidden(program):
        assert_same(before, all_views(tools, tmp_path, path))
        assert {"inner", "outer", "another", "main"} <= names(tools, path)
        assert not {"inner", "outer"} & names(tools, path, "--symbols", "local")
        assert not {"inner", "outer"} & names(tools, path, "--no-symbols")
    assert b"has the names of" in tools.run_command("stats", path).stdout
    assert b" symbols payload_size" in tools.run_command("dump", path).stdout
    # The comparison can fail: without its names the capture says something else.
    bare = trace(program).only().path
    with hidden(program):
        assert not {"inner", "outer"} & names(tools, bare)


def test_a_copy_leaves_the_original_and_a_second_run_adds_nothing(tools, trace, program, tmp_path):
    path, copy, again = trace(program).only().path, tmp_path / "copy.bin", tmp_path / "again.bin"
    original = path.read_bytes()
    [done] = result(tools, "-o", copy, path)
    assert path.read_bytes() == original and copy.read_bytes().startswith(original)
    size = copy.stat().st_size
    [second] = result(tools, "--in-place", copy)
    assert second["added"] == second["renewed"] == second["bytes_added"] == 0 and second["named"] == done["named"]
    assert copy.stat().st_size == size
    assert b"nothing to do" in tools.run_command("symbolize", "--in-place", copy).stderr
    tools.run_command("symbolize", "-o", again, copy)
    assert again.read_bytes() == copy.read_bytes()
    with hidden(program):
        # What is there stays, though it cannot be looked up any more.
        [third] = result(tools, "--in-place", copy)
        assert third["named"] == done["named"] and third["added"] == 0


def test_what_was_stripped_is_renewed_where_the_debug_file_is(tools, trace, program, tmp_path):
    import subprocess
    stripped = tmp_path / "stripped"
    subprocess.run(["objcopy", "--strip-debug", str(program), str(stripped)], check=True)
    path = trace(stripped).only().path
    [first] = result(tools, "--in-place", path)
    assert first["added"] > 0 and "inner" not in names(tools, path)
    shutil.copy(str(program), str(stripped))            # of the same build-id
    assert "inner" not in names(tools, path), "what the capture has with it comes first"
    assert "inner" in names(tools, path, "--symbols", "local")
    [second] = result(tools, "--in-place", path)
    assert second["renewed"] > 0 and second["added"] == 0
    stripped.unlink()
    assert "inner" in names(tools, path)


def test_killed_and_compacted_captures_and_families(tools, trace, program, tmp_path):
    process, recorded = trace.start(program, "wait")
    process.stdout.readline()
    running = recorded().only().path
    refused = tools.run_command("symbolize", "--in-place", running, check=False)
    assert refused.returncode == 2 and b"still being recorded" in refused.stderr
    moment = tmp_path / "moment.bin"
    tools.run_command("symbolize", "-o", moment, running)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    killed = recorded().only().path
    before = all_views(tools, tmp_path, killed)
    tools.run_command("symbolize", "--in-place", killed)
    small = tmp_path / "small.bin"
    tools.run_command("compact", killed, "-o", small)
    family = [capture.path for capture in trace(program, "fork").captures]
    assert len(family) == 2
    before_family = all_views(tools, tmp_path, *family)
    assert [done["added"] > 0 for done in result(tools, "--in-place", *family)] == [True, True]
    with hidden(program):
        assert_same(before, all_views(tools, tmp_path, killed))
        assert_same(before_family, all_views(tools, tmp_path, *family))
        assert {"inner", "outer", "another"} <= names(tools, small) & names(tools, moment)
    stats = json.loads(tools.run_command("stats", "--json", moment).stdout.decode())
    assert not stats["captures"][0]["damaged"] and stats["total"]["live_count"] >= 100
    assert stats["captures"][0]["contradictions"] == stats["captures"][0]["unknown_frees"] == 0


def test_python_and_its_extensions(tools, trace, tmp_path):
    program = "import json; kept = [json.loads('[1, {\"a\": 2}]') for _ in range(50)]"
    path = trace(sys.executable, "-c", program).only().path
    before = all_views(tools, tmp_path, path)
    [done] = result(tools, "--in-place", path)
    assert done["added"] > 0
    assert_same(before, all_views(tools, tmp_path, path))


def test_an_append_that_was_cut_short_is_passed_over(tools, trace, program, tmp_path):
    """At each length that a killed run may leave: the capture says what it said, or what it will say."""
    path, whole = trace(program).only().path, tmp_path / "whole.bin"
    before = json.loads(tools.run_command("stats", "--json", "--no-symbols", path).stdout.decode())
    original = path.read_bytes()
    tools.run_command("symbolize", "-o", whole, path)
    added = whole.read_bytes()[len(original):]
    cut = tmp_path / "cut.bin"
    for size in (64, 65, 200, len(added) - 8, len(added)):
        # The payload is written first, the header last: until then there are zeros in its place.
        cut.write_bytes(original + b"\0" * 64 + added[64:size])
        stats = json.loads(tools.run_command("stats", "--json", "--no-symbols", cut).stdout.decode())
        assert stats["total"] == before["total"] and not stats["captures"][0]["damaged"], size
        [done] = result(tools, "--in-place", cut)
        assert done["added"] == done["named"] > 0
        with hidden(program):
            assert "inner" in names(tools, cut)
        stats = json.loads(tools.run_command("stats", "--json", "--no-symbols", cut).stdout.decode())
        assert stats["total"] == before["total"] and not stats["captures"][0]["damaged"], size


def test_what_is_refused(tools, trace, program, tmp_path):
    path = trace(program).only().path
    link, cut = tmp_path / "link.bin", tmp_path / "cut.bin"
    link.symlink_to(path)
    data = path.read_bytes()
    end = data.index(b"SBLK\1") + 64 + 64 + 16         # within the words of a stream
    cut.write_bytes(data[:end])
    original = path.read_bytes()
    for arguments, status, text in (
            ([path], 2, b"-o FILE"), (["-o", "x", "--in-place", path], 2, b"-o FILE"), (["--in-place"], 2, b"name the"),
            (["-o", "x", path, path], 2, b"takes one"), (["--in-place", link], 6, b"symbolic link"),
            (["--in-place", cut], 4, b"cut within"), (["-o", tmp_path / "y", cut], 4, b"cut within"),
            (["-o", link, path], 6, b"exists"), (["--in-place", tmp_path / "none"], 3, b"none"),
            (["-o", "/dev/null", path], 6, b"regular file")):
        done = tools.run_command("symbolize", *arguments, check=False)
        assert done.returncode == status and text in done.stderr, (arguments, done)
    assert path.read_bytes() == original and cut.read_bytes() == data[:end]
    assert not (tmp_path / "y").exists()
    mode = stat.S_IMODE(os.stat(str(path)).st_mode)
    tools.run_command("symbolize", "--in-place", path)
    assert stat.S_IMODE(os.stat(str(path)).st_mode) == mode


def test_a_disk_that_does_not_take_the_names_is_told_and_nothing_is_added(tools, trace, program, tmp_path):
    """The kernel's answer is made up: at each of the two times that the file is to be on the disk."""
    path = trace(program).only().path
    original = path.read_bytes()
    for when in (1, 2):
        done = subprocess.run(
            ["strace", "-f", "-qq", "-o", os.devnull, "-e", "inject=fdatasync:error=EIO:when={}".format(when),
             str(tools.command), "symbolize", "--in-place", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 6 and b"cannot write the names" in done.stderr, done
        assert path.read_bytes() == original
    [done] = result(tools, "--in-place", path)
    assert done["added"] == done["named"] > 0


# ---- runs in segments ----

def record_run(tools, program, folder):
    """A run in segments, whose process waits for its end: (process, files in order)."""
    folder.mkdir()
    process = start(tools, folder, program, 250000, 250000, SCTMEM_ROTATE="256K", SCTMEM_NATIVE="full")
    assert process.stdout.readline() == b"ready\n"
    files = segments(folder)
    assert len(files) > 4
    return process, files[-1:] + files[:-1]


@pytest.fixture
def run(tools, program, tmp_path):
    """The files of one, in order: both halves of them have stacks of their own."""
    process, files = record_run(tools, program, tmp_path / "run")
    assert process.communicate(b"\n") == (b"", b"") and process.returncode == 0
    return files


def named_alone(tools, path):
    """The program's functions that the file by itself has the names of."""
    return {"early", "late", "outer", "another", "inner", "main"} & names(tools, path, "--metric", "total")


def test_a_run_in_segments_says_the_same_without_the_program(tools, program, run, tmp_path):
    middle, copy = run[2], tmp_path / "copies" / "copy.bin"
    before, before_middle = all_views(tools, tmp_path, run[0]), all_views(tools, tmp_path, middle)
    sizes = [path.stat().st_size for path in run]
    copy.parent.mkdir()
    copied = result(tools, "-o", copy, run[0])
    assert [path.stat().st_size for path in run] == sizes
    done = result(tools, "--in-place", run[0])
    # The newest first, each with the names of all stacks up to its end.
    assert [one["path"] for one in done] == [one["path"] for one in copied] == [str(path) for path in reversed(run)]
    assert all(one["added"] == one["named"] > 0 for one in done) and done[0]["named"] > done[-1]["named"]
    for path in run:
        assert (copy.parent / path.name.replace("capture", "copy")).read_bytes() == path.read_bytes()
    with hidden(program):
        assert_same(before, all_views(tools, tmp_path, run[0]))
        assert_same(before_middle, all_views(tools, tmp_path, middle))
        assert_same(before, {name: data.replace(b"copies/copy", b"run/capture") for name, data in
                             all_views(tools, tmp_path, copy).items()})
        assert named_alone(tools, run[0]) == {"early", "late", "outer", "another", "inner", "main"}
        assert named_alone(tools, run[1]) == {"early", "outer", "inner", "main"}
        # One that was taken elsewhere needs none of the others.
        alone = tmp_path / "alone.bin"
        shutil.copy(str(run[-1]), str(alone))
        assert named_alone(tools, alone) == {"late", "another", "outer", "inner", "main"}
    again = result(tools, "--in-place", *run)
    assert [one["path"] for one in again] == [str(path) for path in run], "each once, though the first names all"
    assert all(one["added"] == one["renewed"] == one["bytes_added"] == 0 for one in again)


def test_names_of_a_run_are_kept_once_and_by_compact(tools, program, run, tmp_path):
    small = tmp_path / "small.bin"
    done = result(tools, "--in-place", run[0])
    stats = json.loads(tools.run_command("stats", "--json", run[0]).stdout.decode())["captures"][0]
    assert stats["embedded_symbols"] == done[0]["named"]
    tools.run_command("compact", run[0], "-o", small)

    def names_size(path):
        said = tools.run_command("dump", path).stdout
        return sum(int(size) for size in re.findall(rb" symbols payload_size=(\d+)", said))
    assert 0 < names_size(run[-1]) <= names_size(small) < 2 * names_size(run[-1])
    with hidden(program):
        assert named_alone(tools, small) == {"early", "late", "outer", "another", "inner", "main"}


def test_a_run_of_which_files_are_missing(tools, program, run, tmp_path):
    first = run[0]
    run[0].unlink()
    run[2].unlink()
    done = result(tools, "--in-place", first)           # the run has the name of its first file all the same
    assert [one["path"] for one in done] == [str(path) for path in reversed(run) if path not in (run[0], run[2])]
    said = tools.run_command("stats", first).stdout
    assert b"1 of the segments 2 to" in said
    with hidden(program):
        assert named_alone(tools, first) == {"early", "late", "outer", "another", "inner", "main"}
    copy = tmp_path / "copy.bin"
    assert len(result(tools, "-o", copy, first)) == len(done) and not copy.exists()
    assert b"1 of the segments 2 to" in tools.run_command("stats", copy).stdout


def test_a_run_that_is_still_being_recorded(tools, program, tmp_path):
    process, files = record_run(tools, program, tmp_path / "run")
    newest, copy = files[-1], tmp_path / "copy.bin"
    refused = tools.run_command("symbolize", "--in-place", newest, check=False)
    assert refused.returncode == 2 and b"still being recorded" in refused.stderr
    said = json.loads(tools.run_command("symbolize", "--json", "--in-place", files[0]).stdout.decode())
    assert said["recording"] == [str(newest)]
    assert [one["path"] for one in said["captures"]] == [str(path) for path in reversed(files[:-1])]
    assert b"still being recorded: it gets its names" in tools.run_command("symbolize", "--in-place", files[0]).stderr
    assert len(result(tools, "-o", copy, files[0])) == len(files)
    process.communicate(b"\n")
    [done] = [one for one in result(tools, "--in-place", files[0]) if one["added"]]
    assert done["path"] == str(newest)
    with hidden(program):
        for path in (files[0], copy):
            stats = json.loads(tools.run_command("stats", "--json", path).stdout.decode())
            assert stats["captures"][0]["contradictions"] == 0 and not stats["captures"][0]["damaged"]
            assert stats["total"]["total_count"] > 500000
            assert named_alone(tools, path) == {"early", "late", "outer", "another", "inner", "main"}


def test_what_is_refused_of_a_run(tools, run, tmp_path):
    before = {path: path.read_bytes() for path in run}
    folder = run[0].parent
    (tmp_path / "copy.000002.bin").write_text("here before")
    for arguments, status, text in (
            # What would be read as a part of it, and so make it unreadable.
            (["-o", folder / "capture.named.bin", run[0]], 2, b"does not begin with capture."),
            (["-f", "-o", run[0], run[0]], 2, b"does not begin with capture."),
            (["-o", folder / "capture", run[0]], 2, b"does not begin with capture."),
            (["-o", folder / "capture.000002.named", run[1]], 2, b"does not begin with capture."),
            (["-o", tmp_path / "copy.bin", run[0]], 6, b"copy.000002.bin exists"),
            (["--in-place", tmp_path / "gone.bin"], 3, b"gone.bin")):
        done = tools.run_command("symbolize", *arguments, check=False)
        assert done.returncode == status and text in done.stderr, (arguments, done)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "copy.bin").exists() and not (tmp_path / "copy.000003.bin").exists()
    assert (tmp_path / "copy.000002.bin").read_text() == "here before"
    tools.run_command("symbolize", "-f", "-o", tmp_path / "copy.bin", run[0])
    assert len(segments(tmp_path, "copy")) == len(run)
    # One segment is a capture like any other, wherever it is.
    [done] = result(tools, "-o", folder / "second.bin", run[1])
    assert done["path"] == str(run[1]) and (folder / "second.bin").exists()
