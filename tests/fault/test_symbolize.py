# SPDX-License-Identifier: MIT
"""Names put into a capture while the disk fills, the command is killed or the server that has them misbehaves: at every
instant the capture is what it was, or that and its names."""
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading

import pytest

from faults import mounted
from fixtures import require_program
from recording import clean_environment
from segments import segments, trace_to_end

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
static void *kept[512];
static unsigned long noise;
static void keep(void *block)
{
	noise = noise * 6364136223846793005ul + 1442695040888963407ul;
	free(kept[noise >> 55]);
	kept[noise >> 55] = block;
}
#define F(n) __attribute__((noinline)) void *a_function_with_a_name_that_takes_room_##n(size_t size) \
	{ void *p = malloc(size + (noise >> 40) % 500); __asm__ volatile("" : "+r"(p)); return memset(p, n, 1); }
#define F10(n) F(n##0) F(n##1) F(n##2) F(n##3) F(n##4) F(n##5) F(n##6) F(n##7) F(n##8) F(n##9)
#define C(n) keep(a_function_with_a_name_that_takes_room_##n(n + 1));
#define C10(n) C(n##0) C(n##1) C(n##2) C(n##3) C(n##4) C(n##5) C(n##6) C(n##7) C(n##8) C(n##9)
F10(1) F10(2) F10(3) F10(4) F10(5) F10(6) F10(7)
int main(int argc, char **argv)
{
	for (int i = argc > 1 ? atoi(argv[1]) : 1; i > 0; i--) {
		C10(1) C10(2) C10(3) C10(4) C10(5) C10(6) C10(7)
	}
	return 0;
}
"""
PREFIX = "a_function_with_a_name_that_takes_room_"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A program, and one without its debug information, which is in a file of its own."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "named.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O2", "-g", "-Wl,--build-id=sha1", "named.c", "-o", "named"], cwd=str(folder), check=True)
    subprocess.run(["objcopy", "--only-keep-debug", "named", "named.debug"], cwd=str(folder), check=True)
    subprocess.run(["strip", "-o", "stripped", "named"], cwd=str(folder), check=True)
    return folder


def stats(tools, path):
    return json.loads(tools.run_command("stats", "--json", "--no-symbols", path).stdout.decode())


def named(tools, path):
    """How many of the program's functions the capture has the names of, with their lines."""
    said = tools.run_command("table", "--by", "line", "--metric", "total", "-n", "0", "--json", path).stdout.decode()
    return len({row["function"] for row in json.loads(said)["rows"]
                if row["function"].startswith(PREFIX) and row["line"]})


def check_holds(tools, path, original, before):
    """The capture begins with all that it was, and says the same."""
    assert path.read_bytes()[:len(original)] == original
    found = stats(tools, path)
    assert found["total"] == before["total"] and not found["captures"][0]["damaged"], found["captures"][0]


def kill_at(tools, call, number, *arguments):
    """Whether it was killed there.  The threads that look names up come and go; the writing is the first thread's."""
    done = subprocess.run([require_program("strace"), "-qq", "-o", os.devnull, "-e",
                           "inject={}:signal=KILL:when={}".format(call, number), str(tools.command), "symbolize"] +
                          [str(argument) for argument in arguments], env=clean_environment(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done
    return done.returncode != 0


def test_a_disk_that_is_full_at_any_page_of_the_names(tools, trace, built, tmp_path):
    recorded = trace(built / "named").only().path
    original, before = recorded.read_bytes(), stats(tools, recorded)
    pages = (len(original) + 4095) // 4096
    states = []
    for more in range(6):
        with mounted("tmpfs", tmp_path / "small", "size={}".format((pages + more) * 4096)) as folder:
            path = folder / "capture.bin"
            shutil.copy(str(recorded), str(path))
            done = tools.run_command("symbolize", "--in-place", path, check=False)
            states.append(done.returncode)
            check_holds(tools, path, original, before)
            if done.returncode:
                assert done.returncode == 6 and b"cannot write the names" in done.stderr, done.stderr
                assert path.read_bytes() == original
            else:
                assert named(tools, path) == 70
            # A copy on a disk without room for it leaves nothing.
            done = tools.run_command("symbolize", "-o", folder / "copy.bin", path, check=False)
            assert done.returncode == 6 and [one.name for one in folder.iterdir()] == ["capture.bin"], done
    assert states[0] == 6 and states[-1] == 0, states


def test_killed_at_any_system_call_the_capture_is_whole(tools, trace, built, tmp_path):
    recorded = trace(built / "named").only().path
    original, before = recorded.read_bytes(), stats(tools, recorded)
    path, kills, lengths = tmp_path / "killed.bin", 0, set()
    for call, killed in [(call, number) for call in ("pwrite64", "fdatasync", "ftruncate") for number in range(1, 9)]:
        shutil.copy(str(recorded), str(path))
        if not kill_at(tools, call, killed, "--in-place", path):
            continue
        kills += 1
        check_holds(tools, path, original, before)
        lengths.add(path.stat().st_size)
        tools.run_command("symbolize", "--in-place", path)
        check_holds(tools, path, original, before)
        assert named(tools, path) == 70
    assert kills >= 4 and len(lengths) > 1, (kills, lengths)


def test_a_header_that_came_half_is_passed_over(tools, trace, built, tmp_path):
    """Of a machine that lost its power: at each 8 bytes of it."""
    recorded, whole = trace(built / "named").only().path, tmp_path / "whole.bin"
    original, before = recorded.read_bytes(), stats(tools, recorded)
    tools.run_command("symbolize", "-o", whole, recorded)
    added = whole.read_bytes()[len(original):]
    cut = tmp_path / "cut.bin"
    for size in range(8, 64, 8):
        cut.write_bytes(original + added[:size] + b"\0" * (64 - size) + added[64:])
        found = stats(tools, cut)
        assert found["total"] == before["total"] and found["captures"][0]["contradictions"] == 0
        tools.run_command("symbolize", "--in-place", cut)
        assert stats(tools, cut)["total"] == before["total"] and named(tools, cut) == 70


# ---- runs in segments ----

@pytest.fixture
def recorded_run(tools, built, tmp_path):
    """Its folder, what each file is, and what the run says; each file has all functions."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    trace_to_end(tools, folder, built / "named", 2000, SCTMEM_ROTATE="256K", SCTMEM_NATIVE="full")
    files = segments(folder)
    assert 3 <= len(files) <= 12
    originals = {path.name: path.read_bytes() for path in files[-1:] + files[:-1]}
    return folder, originals, stats(tools, folder / "capture.bin")


def check_run(tools, folder, originals, before):
    """Each file is what it was, or that and its names, and then the newer ones are that, too; how many are."""
    for name, original in originals.items():
        assert (folder / name).read_bytes()[:len(original)] == original, name
    found = stats(tools, folder / "capture.bin")
    assert found["total"] == before["total"] and not found["captures"][0]["damaged"], found["captures"][0]
    assert found["captures"][0]["segments_missing"] == found["captures"][0]["contradictions"] == 0
    have = [named_in(tools, folder, name) for name in originals]
    assert have == sorted(have) and set(have) <= {0, 70}, have
    return have.count(70)


def named_in(tools, folder, name):
    """By itself: the first file by its name would be the run."""
    with tempfile.TemporaryDirectory(dir=str(folder.parent)) as alone:
        shutil.copy(str(folder / name), alone)
        return named(tools, pathlib.Path(alone, name))


def test_of_a_run_a_full_disk_takes_nothing_away(tools, recorded_run, built, tmp_path):
    folder, originals, before = recorded_run
    pages = sum((len(original) + 4095) // 4096 for original in originals.values())
    away, states, counts = built / "away", [], []
    (built / "named").rename(away)
    try:
        for more in range(0, 2 * len(originals) + 2, 2):
            with mounted("tmpfs", tmp_path / "small", "size={}".format((pages + more) * 4096)) as small:
                for name, original in originals.items():
                    (small / name).write_bytes(original)
                away.rename(built / "named")
                done = tools.run_command("symbolize", "--in-place", small / "capture.bin", check=False)
                copied = tools.run_command("symbolize", "-o", small / "copy.bin", small / "capture.bin", check=False)
                (built / "named").rename(away)
                states.append(done.returncode)
                assert done.returncode == 0 or b"cannot write the names" in done.stderr, done.stderr
                counts.append(check_run(tools, small, originals, before))
                assert copied.returncode == 6 and {path.name for path in small.iterdir()} == set(originals), copied
    finally:
        away.rename(built / "named")
    assert states[0] == 6 and states[-1] == 0 and set(states) == {0, 6}, states
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == len(originals) and len(set(counts)) > 2, counts


def test_of_a_run_each_file_is_whole_when_killed_at_any_system_call(tools, recorded_run, built, tmp_path):
    folder, originals, before = recorded_run
    away, counts = built / "away", []
    for call, number in [(call, number) for call in ("pwrite64", "fdatasync", "ftruncate") for number in range(1, 9)]:
        killed = tmp_path / "killed"
        shutil.copytree(str(folder), str(killed))
        if kill_at(tools, call, number, "--in-place", killed / "capture.bin"):
            (built / "named").rename(away)
            counts.append(check_run(tools, killed, originals, before))
            away.rename(built / "named")
            tools.run_command("symbolize", "--in-place", killed / "capture.bin")
            (built / "named").rename(away)
            assert check_run(tools, killed, originals, before) == len(originals)
            away.rename(built / "named")
        shutil.rmtree(str(killed))
    assert len(counts) > 10 and len(set(counts)) > 2, counts


def test_of_a_run_what_a_killed_copy_leaves_is_in_nobodys_way(tools, recorded_run):
    folder, originals, before = recorded_run
    kills = 0
    for call, number in [("pwrite64", number) for number in range(1, 20, 3)] + \
            [(call, number) for call in ("link", "unlink", "rename") for number in (1, 2, len(originals))]:
        force = ["-f"] if call == "rename" else []
        kills += kill_at(tools, call, number, "-o", folder / "copy.bin", folder / "capture.bin", *force)
        assert stats(tools, folder / "capture.bin")["total"] == before["total"]
        done = tools.run_command("stats", "--json", "--no-symbols", folder / "copy.bin", check=False)
        if done.returncode == 0 and len(segments(folder, "copy")) < len(originals):
            assert json.loads(done.stdout.decode())["captures"][0]["segment_first"] > 1
        tools.run_command("symbolize", "-q", "-f", "-o", folder / "copy.bin", folder / "capture.bin")
        whole = stats(tools, folder / "copy.bin")
        assert whole["total"] == before["total"] and not whole["captures"][0]["damaged"]
        copies = [path.read_bytes() for path in segments(folder, "copy")]
        for path in segments(folder, "copy") + list(folder.glob(".copy*")):
            # A copy is a capture when it is whole, and not before.
            assert path.read_bytes() in copies or not path.read_bytes().startswith(b"SCTMEM"), path
            path.unlink()
    assert kills > 12, kills
    for name, original in originals.items():
        assert (folder / name).read_bytes() == original


# ---- debuginfod ----

class Server:
    """What debuginfod serves, of one program; `answer` makes the reply to a request."""

    def __init__(self, answer):
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                try:
                    answer(self)
                except OSError:
                    pass              # who asked has gone

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def reply(request, body, length=None, status=200):
    request.send_response(status)
    request.send_header("Content-Type", "application/octet-stream")
    request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    request.wfile.write(body)


def build_id(path):
    said = subprocess.run(["readelf", "-n", str(path)], stdout=subprocess.PIPE).stdout.decode()
    return re.search("Build ID: ([0-9a-f]+)", said).group(1)


def symbolize(tools, server, folder, path, *options):
    environment = clean_environment(DEBUGINFOD_URLS="http://127.0.0.1:{}".format(server.server.server_address[1]),
                                    DEBUGINFOD_CACHE_PATH=str(folder / "cache"), DEBUGINFOD_TIMEOUT="2",
                                    DEBUGINFOD_RETRY_LIMIT="0", HOME=str(folder), XDG_CACHE_HOME=str(folder / "own"),
                                    http_proxy=None, HTTP_PROXY=None, all_proxy=None, ALL_PROXY=None)
    done = subprocess.run([str(tools.command), "symbolize", "--json"] + list(options) + ["--in-place", str(path)],
                          env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=120)
    assert done.returncode == 0, done
    return json.loads(done.stdout.decode())["captures"][0]


def require_debuginfod():
    import ctypes
    try:
        ctypes.CDLL("libdebuginfod.so.1")
    except OSError:
        pytest.skip("no libdebuginfod.so.1: apt-get install libdebuginfod1")


def test_a_debuginfod_server_is_asked_for_what_is_missing_and_only_on_request(tools, trace, built, tmp_path):
    require_debuginfod()
    path = trace(built / "stripped").only().path
    original, before = path.read_bytes(), stats(tools, path)
    wanted = "/buildid/{}/debuginfo".format(build_id(built / "named"))
    debug = (built / "named.debug").read_bytes()

    def answer(request):
        if request.path == wanted:
            reply(request, debug)
        else:
            reply(request, b"not found", status=404)
    with Server(answer) as server:
        symbolize(tools, server, tmp_path, path)
        assert server.asked == [] and named(tools, path) == 0
        done = symbolize(tools, server, tmp_path, path, "--debuginfod")
        assert wanted in server.asked and done["added"] + done["renewed"] >= 70
    # The server is gone, and its cache: the names are in the capture.
    shutil.rmtree(str(tmp_path / "cache"))
    check_holds(tools, path, original, before)
    assert named(tools, path) == 70


def half(request, debug):
    reply(request, debug[:len(debug) // 2], len(debug))


def another(request, debug):
    """A debug file, but of another program."""
    at = debug.index(b"GNU\0", debug.index(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0")) + 4
    reply(request, debug[:at] + bytes(20) + debug[at + 20:])


@pytest.mark.parametrize("answer", [
    lambda request, debug: reply(request, b""), lambda request, debug: reply(request, b"\x7fELF" + os.urandom(100000)),
    lambda request, debug: reply(request, b"sorry", status=500), half, another,
    lambda request, debug: request.connection.close(),
    lambda request, debug: reply(request, debug[:4096] + bytes(len(debug) - 4096))],
    ids=["empty", "noise", "error", "half", "another", "closed", "zeros"])
def test_a_server_that_sends_nonsense_adds_no_names_and_does_no_harm(tools, trace, built, tmp_path, answer):
    require_debuginfod()
    path = trace(built / "stripped").only().path
    original, before = path.read_bytes(), stats(tools, path)
    debug = (built / "named.debug").read_bytes()
    with Server(lambda request: answer(request, debug)) as server:
        symbolize(tools, server, tmp_path, path, "--debuginfod")
        assert server.asked
    check_holds(tools, path, original, before)
    assert named(tools, path) == 0


def test_doctor_says_beforehand_what_native_functions_will_be_called(tools, built, tmp_path):
    subprocess.run(["objcopy", "--strip-debug", str(built / "named"), str(tmp_path / "plain")], check=True)
    for program, text in ((built / "named", "with their lines"), (tmp_path / "plain", "without lines"),
                          (built / "stripped", "only those that it exports")):
        done = tools.run_command("doctor", program, check=False)
        line, = [line for line in done.stdout.decode().splitlines() if " names " in line]
        assert text in line, done.stdout
