# SPDX-License-Identifier: MIT
"""Real programs, bare and traced: the same output, status and files; and captures that are whole.

A program that is not on the machine is skipped, and says so.
"""
import os
import pathlib
import random
import shutil
import subprocess
import time

import pytest

from fixtures import require_program
from recording import other_pythons, python_name, run_bare


def compare(trace, argv, environment=None, cwd=None, stdin=None):
    """Runs bare and traced; asserts that nothing differs; returns the recording."""
    bare = run_bare(argv, environment=environment or {}, cwd=cwd, stdin=stdin)
    recording = trace(*argv, environment=environment, cwd=cwd, stdin=stdin)
    assert recording.ended.status == bare.status, (bare, recording.ended)
    assert recording.ended.stdout == bare.stdout
    assert recording.ended.stderr == bare.stderr
    assert recording.captures, "no capture"
    for capture in recording.captures:
        capture_is_sound(capture)
    return recording


def capture_is_sound(capture):
    """The reader finds nothing wrong with it; by `stats` alone, because dumps of real programs are long."""
    capture.check_whole()
    stats = capture.stats()
    assert stats["total_num_allocations"] > 0
    assert stats["metadata"]["peak_memory"] <= stats["total_bytes_allocated"]


def generate_c(path, functions):
    """A C file of many functions that call each other, the same each time."""
    dice = random.Random(5)
    lines = ["#include <stdio.h>", "#include <string.h>"]
    for i in range(functions):
        lines.append("static int f%d(int a, const char *s) {" % i)
        lines.append("\tchar room[%d]; int sum = %d;" % (dice.randrange(16, 300), i))
        lines.append("\tfor (int i = 0; i < a %% %d; i++) { room[i %% 16] = s[i %% 3]; sum += room[(i * 7) %% 16]; }"
                     % dice.randrange(2, 40))
        lines.append("\tswitch (sum % 5) { case 0: return sum; case 1: return (int)strlen(s) + a; default: break; }")
        lines.append("\treturn sum + %s;\n}" % ("f%d(a - 1, s + 1)" % dice.randrange(i) if i else "a"))
    lines.append('int main(int c, char **v) { printf("%%d\\n", f%d(c, v[0])); return 0; }' % (functions - 1))
    path.write_text("\n".join(lines) + "\n")


def test_gcc(trace, tmp_path):
    gcc = require_program("gcc")
    generate_c(tmp_path / "large.c", 1500)
    objects = []
    for name in ("bare", "traced"):
        output = tmp_path / name
        output.mkdir()
        argv = [gcc, "-O2", "-g", "-fdebug-prefix-map={}=.".format(output), "-c", "../large.c", "-o", "large.o"]
        if name == "bare":
            assert run_bare(argv, cwd=output).status == 0
        else:
            recording = trace(*argv, cwd=output, environment={"SCTMEM_FOLLOW": "exec"})
            assert recording.ended == (0, b"", b""), recording.ended
        objects.append((output / "large.o").read_bytes())
    assert objects[0] == objects[1]
    programs = {pathlib.Path(capture.header["executable"]).name for capture in recording.captures}
    assert "cc1" in programs, programs
    for capture in recording.captures:
        capture_is_sound(capture)


def test_git_log_with_patches(trace, tmp_path):
    git = require_program("git")
    environment = {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
                   "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "GIT_AUTHOR_DATE": "1700000000 +0000",
                   "GIT_COMMITTER_DATE": "1700000000 +0000", "GIT_PAGER": "cat"}
    repository = tmp_path / "repository"
    repository.mkdir()
    run_bare([git, "init", "-q"], cwd=repository, environment=environment)
    dice = random.Random(1)
    for commit in range(30):
        (repository / "file{}".format(commit % 5)).write_text("".join(
            "line {}\n".format(dice.randrange(50)) for _ in range(500)))
        run_bare([git, "add", "."], cwd=repository, environment=environment)
        assert run_bare([git, "commit", "-q", "-m", "commit {}".format(commit)], cwd=repository,
                        environment=environment).status == 0
    recording = compare(trace, [git, "log", "-p"], environment=environment, cwd=repository)
    assert recording.ended.stdout.count(b"\ncommit ") == 29
    compare(trace, [git, "gc", "-q"], environment=dict(environment, SCTMEM_FOLLOW="exec"), cwd=repository)
    assert run_bare([git, "fsck", "--full"], cwd=repository, environment=environment).status == 0


def test_sqlite_import(trace, tmp_path):
    sqlite = require_program("sqlite3")
    dice = random.Random(2)
    rows = tmp_path / "rows.csv"
    rows.write_text("".join("{},{},{}\n".format(i, dice.randrange(10 ** 6), "text" * dice.randrange(9))
                            for i in range(50000)))
    script = ".mode csv\ncreate table t(a integer, b integer, c text);\n.import rows.csv t\ncreate index i on t(b);\n" \
             "select count(*), sum(b), max(length(c)) from t;\nselect b, count(*) from t group by b % 100 order by 1;\n"
    recording = compare(trace, [sqlite, ":memory:"], cwd=tmp_path, stdin=script.encode())
    assert recording.ended.stdout.startswith(b"50000,")


def test_perl(trace):
    script = "my %h; for my $i (1..200000) { $h{$i % 5000} .= chr(65 + $i % 26) } " \
             "print join(',', map { length $h{$_} } sort keys %h), \"\\n\"; " \
             "my @s = sort { $a <=> $b } map { $_ * 7919 % 100003 } 1..50000; print \"$s[0] $s[-1]\\n\"; exit 3"
    recording = compare(trace, [require_program("perl"), "-e", script], environment={"PERL_HASH_SEED": "0"})
    assert recording.ended.status == 3


def test_mercurial(trace, tmp_path):
    hg = require_program("hg")
    environment = {"HOME": str(tmp_path), "HGRCPATH": "", "HGUSER": "a", "HGPLAIN": "1"}
    repository = tmp_path / "repository"
    run_bare([hg, "init", repository], environment=environment)
    for i in range(3):
        (repository / "file").write_text("line\n" * (i + 1))
        done = run_bare([hg, "commit", "-A", "-q", "-m", "m{}".format(i), "-d", "0 0"], cwd=repository,
                        environment=environment)
        assert done.status == 0, done
    recording = compare(trace, [hg, "log", "-p"], environment=environment, cwd=repository)
    assert b"m2" in recording.ended.stdout


def test_shell_pipelines(trace):
    script = "for i in 1 2 3 4 5; do seq $((i * 1000)) | sort -rn | head -n 3; done; (exit 4) || echo $?; kill -TERM $$"
    recording = compare(trace, ["bash", "-c", script], environment={"SCTMEM_FOLLOW": "exec"})
    assert recording.ended.status == -15


def test_pytest_under_python(trace, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import json, subprocess, sys, pytest\n"
        "@pytest.mark.parametrize('n', range(50))\n"
        "def test_n(n):\n    assert json.loads(json.dumps({'a': list(range(n))}))['a'] == list(range(n))\n"
        "def test_child():\n    assert subprocess.check_output([sys.executable, '-c', 'print(1)']) == b'1\\n'\n"
        "def test_fails():\n    assert 1 == 2\n")
    bare, traced = (go(["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_it.py"])
                    for go in (lambda argv: run_bare(argv, cwd=tmp_path),
                               lambda argv: trace(*argv, cwd=tmp_path).ended))
    if b"No module named pytest" in bare.stderr:
        pytest.skip("the system's python3 has no pytest")
    assert (bare.status, traced.status) == (1, 1)
    assert b"1 failed, 51 passed" in bare.stdout and b"1 failed, 51 passed" in traced.stdout


PYTHON_WORK = """
import ast, asyncio, collections, decimal, hashlib, json, pathlib, re, threading, zlib
source = pathlib.Path(json.decoder.__file__).read_text()
print(len(list(ast.walk(ast.parse(source)))), len(re.findall(r"\\w+", source)))
print(hashlib.sha256(zlib.compress(json.dumps(list(range(20000))).encode())).hexdigest())
async def worker(n):
    await asyncio.sleep(0)
    return [n] * n
async def main():
    asyncio.get_running_loop().slow_callback_duration = 1000   # else -X dev prints how long things took
    return sum(map(len, await asyncio.gather(*(worker(n) for n in range(200)))))
print(asyncio.run(main()))
done = []
threads = [threading.Thread(target=lambda: done.append(sorted(map(str, range(5000)))[-1])) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(done, decimal.Decimal(2).sqrt())
raise SystemExit(6)
"""


@pytest.mark.parametrize("settings", [{}, {"PYTHONMALLOC": "malloc"}, {"PYTHONMALLOC": "debug"}, {"PYTHONDEVMODE": "1"},
                                      {"SCTMEM_PYTHON_ALLOCATORS": "no"}, {"SCTMEM_NATIVE": "leaf"},
                                      {"PYTHONTRACEMALLOC": "5"}], ids=str)
def test_python_programs(trace, settings):
    environment = dict({"PYTHONHASHSEED": "0"}, **settings)
    recording = compare(trace, ["/usr/bin/python3", "-c", PYTHON_WORK], environment=environment)
    assert recording.ended.status == 6


@pytest.mark.parametrize("python", other_pythons() or [None], ids=lambda path: path and python_name(path))
def test_other_pythons(trace, python):
    if python is None:
        pytest.skip("no other Python versions: none under ~/.pyenv/versions")
    assert compare(trace, [python, "-c", PYTHON_WORK], environment={"PYTHONHASHSEED": "0"}).ended.status == 6


@pytest.mark.parametrize("modules", ["test_json test_ast", "test_generators test_coroutines", "test_threading",
                                     "test_capi", "test_gc test_weakref"])
def test_pythons_own_tests(trace, modules):
    if run_bare(["/usr/bin/python3", "-c", "import test.test_json"]).status:
        pytest.skip("python3 has no test package: apt-get install libpython3-testsuite")
    argv = ["/usr/bin/python3", "-m", "test", "-q"] + modules.split()
    bare, traced = run_bare(argv), trace(*argv)
    assert traced.ended.status == bare.status, traced.ended.stdout[-2000:]


def test_redis_under_load(trace, tmp_path):
    server, benchmark, client = (require_program("redis-" + name) for name in ("server", "benchmark", "cli"))
    socket = str(tmp_path / "redis.sock")
    process, recording = trace.start(server, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
                                     "--dir", str(tmp_path))
    try:
        for _ in range(200):
            if os.path.exists(socket):
                break
            time.sleep(0.05)
        done = run_bare([benchmark, "-s", socket, "-n", "20000", "-q", "-t", "set,get,lpush,sadd", "-r", "1000",
                         "-d", "200"])
        assert done.status == 0, done
        assert run_bare([client, "-s", socket, "bgsave"]).status == 0
        assert run_bare([client, "-s", socket, "shutdown", "nosave"]).status == 0
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
    for capture in recording().captures:
        capture_is_sound(capture)


def test_postgres(trace, tmp_path):
    versions = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not versions:
        pytest.skip("no PostgreSQL on this machine")
    if os.getuid() == 0 and not shutil.which("runuser"):
        pytest.skip("PostgreSQL refuses root, and there is no runuser")
    binaries = versions[-1].parent
    if not (binaries / "pgbench").exists():
        pytest.skip("PostgreSQL has no pgbench")
    # Not root: PostgreSQL refuses that.  The folders above must let that user through.
    user = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []
    folder = pathlib.Path(subprocess.check_output(user + ["mktemp", "-d"]).decode().strip())
    try:
        postgres(trace, user, binaries, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def postgres(trace, user, binaries, folder):
    library = pathlib.Path("/tmp") / folder.name / "libsctmem.so"
    shutil.copy(trace.tools.library, library)
    library.chmod(0o755)
    captures = folder / "captures"
    subprocess.check_call(user + ["mkdir", str(captures)])
    traced = user + ["env", "LD_PRELOAD={}".format(library), "SCTMEM_OUT={}/%e.%p.bin".format(captures),
                     "SCTMEM_FOLLOW=exec"]
    data = str(folder / "data")
    done = run_bare(traced + [binaries / "initdb", "-D", data, "-N", "-A", "trust", "-U", "tester", "--locale=C"],
                    cwd=folder)
    assert done.status == 0, done
    run_bare(traced + [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o",
                       "-k {} -c listen_addresses=''".format(folder), "start"], cwd=folder)
    try:
        for options in (["-i", "-s", "1"], ["-c", "4", "-t", "50"]):
            done = run_bare(user + [binaries / "pgbench", "-h", folder, "-U", "tester"] + options + ["postgres"],
                            cwd=folder)
            assert done.status == 0, done
    finally:
        done = run_bare(user + [binaries / "pg_ctl", "-D", data, "-w", "-m", "fast", "stop"], cwd=folder)
    assert done.status == 0, done
    found = sorted(captures.iterdir())
    assert len(found) > 5
    for path in found[:10] + found[-10:]:
        assert trace.tools.run_command("stats", "--json", path).returncode == 0
