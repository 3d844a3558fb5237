# SPDX-License-Identifier: MIT
"""Servers as they are in production, under load: their clients notice nothing."""
import http.client
import json
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from fixtures import require_program
from recording import Capture
from targets import pythons, times


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server does not come up")


def attach_and_detach(attacher, pid, check, few=1):
    """As often as asked for; `check` is called while it is attached.  The last capture."""
    for _ in range(times(few)):
        path = attacher.path()
        done = attacher.run("attach", "-q", "-o", path, pid)
        assert (done.returncode, done.stderr) == (0, b""), done
        check()
        done = attacher.run("detach", "-q", pid)
        assert (done.returncode, done.stderr) == (0, b""), done
        capture = Capture(attacher.tools, path)
        capture.check_whole()
        if times(0):
            for each in path.parent.glob(path.name + "*"):
                each.unlink()
    return capture


def say(capsys, what, rounds, seconds, work):
    """The figures of the long form."""
    if times(0):
        with capsys.disabled():
            print("\n{}: attached and detached {} times in {:.0f} s, {}".format(what, rounds, seconds, work))


def test_redis_under_its_benchmark(attacher, tmp_path):
    server, benchmark = require_program("redis-server"), require_program("redis-benchmark")
    port = free_port()
    process = subprocess.Popen([server, "--port", str(port), "--save", "", "--dir", str(tmp_path)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    load = None
    try:
        wait_for_port(port)
        # -l: it goes on until it is ended; any error ends it before.
        load = subprocess.Popen([benchmark, "-p", str(port), "-c", "20", "-t", "set,get,lpush,lrange_100", "-l", "-q"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        def ask(*words):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                client.sendall(" ".join(words).encode() + b"\r\n")
                return client.recv(4096)

        def check():
            assert process.poll() is None and load.poll() is None, (process.poll(), load.poll())
            assert ask("SET", "asked", "value") == b"+OK\r\n"
            assert ask("GET", "asked") == b"$5\r\nvalue\r\n"
            before = commands()
            for _ in range(600):
                if commands() > before + 1000:
                    return
                time.sleep(0.02)
            raise AssertionError("the load has come to a stop")

        def commands():
            return int(ask("INFO", "stats").split(b"total_commands_processed:")[1].split()[0])

        capture = attach_and_detach(attacher, process.pid, check, 3)
        check()
        # Debian's redis brings jemalloc: what it allocates goes through that, and is seen all the same.
        assert capture.stats()["total_num_allocations"] > 100
        load.terminate()
        load.wait(30)
        ask("SHUTDOWN", "NOSAVE")
        assert process.wait(30) == 0
    finally:
        for each in (load, process):
            if each and each.poll() is None:
                each.kill()
                each.wait()


def postgres_program(name):
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/" + name))
    if not found:
        pytest.skip("no PostgreSQL on this machine")
    return str(found[-1])


def test_postgres_under_pgbench(attacher, open_folder, capsys):
    """A backend, processes that do its work in signal handlers, and the postmaster, whose children follow it."""
    if os.geteuid() != 0:
        pytest.skip("not root: PostgreSQL's user cannot be taken")
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("no user postgres")
    attacher.folder = open_folder
    data = open_folder / "data"
    data.mkdir()
    os.chown(data, user.pw_uid, user.pw_gid)
    port = free_port()
    options = "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c fsync=off".format(port, data)

    def run(*argv):
        done = subprocess.run(argv, user=user.pw_uid, group=user.pw_gid, cwd=data, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={"LC_ALL": "C", "PATH": "/bin"})
        assert done.returncode == 0, done.stdout.decode(errors="replace")
        return done

    def ask(query):
        return run(postgres_program("psql"), "-h", "127.0.0.1", "-p", str(port), "-At", "-c", query,
                   "postgres").stdout.decode().strip()

    run(postgres_program("initdb"), "-A", "trust", "-D", str(data / "cluster"), "--no-sync")
    run(postgres_program("pg_ctl"), "-D", str(data / "cluster"), "-o", options, "-w", "-l", str(data / "log"), "start")
    load = None
    try:
        run(postgres_program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-i", "-q", "postgres")
        load = subprocess.Popen([postgres_program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-c", "2",
                                 "-T", "30000", "postgres"], user=user.pw_uid, group=user.pw_gid, cwd=data,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={"LC_ALL": "C", "PATH": "/bin"})
        pids, backend = "select pid from pg_stat_activity where {}", ""
        for _ in range(200):
            # Not that of the preparation, which is just ending.
            found = ask(pids.format("application_name = 'pgbench' and query <> ''")).split()
            if len(found) == 2:
                backend = found[0]
                break
            time.sleep(0.05)

        def check():
            assert load.poll() is None, load.stdout.read()
            before = int(ask("select xact_commit from pg_stat_database where datname = 'postgres'"))
            for _ in range(300):
                if int(ask("select xact_commit from pg_stat_database where datname = 'postgres'")) > before + 20:
                    return
                time.sleep(0.1)
            raise AssertionError("the load has come to a stop")

        def commits():
            return int(ask("select xact_commit from pg_stat_database where datname = 'postgres'"))

        # The checkpointer and the WAL writer were forked by a signal handler, and so live in it.
        with open(data / "cluster/postmaster.pid") as file:
            postmaster = int(file.readline())
        processes = [("backend", int(backend))]
        for kind in ("checkpointer", "walwriter"):
            processes.append((kind, int(ask(pids.format("backend_type = '{}'".format(kind))))))
        processes.append(("postmaster", postmaster))
        for name, pid in processes:
            started, before = time.monotonic(), commits()
            attach_and_detach(attacher, pid, check)
            say(capsys, "PostgreSQL's " + name, times(1), time.monotonic() - started,
                "{} transactions committed meanwhile".format(commits() - before))
        check()
        # The very processes of the beginning: none was started anew.
        for name, pid in processes[1:-1]:
            assert int(ask(pids.format("backend_type = '{}'".format(name)))) == pid, name
        assert backend in ask(pids.format("application_name = 'pgbench'")).split()
        load.terminate()
        said = load.communicate(timeout=60)[0].decode(errors="replace")
        assert not re.search("error|fatal|failed|aborted", said, re.IGNORECASE), said
        log = (data / "log").read_text(errors="replace")
        bad = [line for line in log.splitlines()
               if re.search("PANIC|FATAL|ERROR|crash|terminated by signal|corrupt", line)]
        assert not bad, bad
    finally:
        if load and load.poll() is None:
            load.kill()
        run(postgres_program("pg_ctl"), "-D", str(data / "cluster"), "-m", "immediate", "stop")


WEB_SERVER = r"""
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = int(self.path.rsplit("/", 1)[1])
        body = json.dumps({"number": number, "text": ["x" * (i % 50) for i in range(number % 400)]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *unused):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
server.serve_forever()
"""


@pytest.mark.parametrize("python", [words for name, words in pythons() if name in ("system", "3.13")],
                         ids=[name for name, words in pythons() if name in ("system", "3.13")])
def test_a_threaded_web_server_under_load(attacher, capsys, python):
    """Four clients, a connection and so a thread for every twenty requests; each answer is compared."""
    port = free_port()
    server = subprocess.Popen(python + ["-c", WEB_SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    answers, faults, ending = [0] * 4, [], threading.Event()

    def load(which):
        number = which
        try:
            while not ending.is_set():
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                for _ in range(20):
                    number += 7
                    client.request("GET", "/{}".format(number))
                    answer = json.loads(client.getresponse().read())
                    if answer != {"number": number, "text": ["x" * (i % 50) for i in range(number % 400)]}:
                        faults.append((number, answer))
                    answers[which] += 1
                client.close()
        except Exception as problem:
            faults.append(problem)

    clients = [threading.Thread(target=load, args=(which,)) for which in range(4)]
    try:
        wait_for_port(port)
        for client in clients:
            client.start()

        def check():
            before = list(answers)
            for _ in range(3000):
                if faults or all(now > then + 20 for now, then in zip(answers, before)):
                    break
                time.sleep(0.02)
            assert not faults and server.poll() is None, (faults, server.poll())
            assert all(now > then + 20 for now, then in zip(answers, before)), "the load has come to a stop"

        started = time.monotonic()
        capture = attach_and_detach(attacher, server.pid, check, 2)
        say(capsys, "a web server in Python", times(2), time.monotonic() - started, "{} answers".format(sum(answers)))
        check()
        shown = attacher.tools.run_command("table", "--by", "function", "--metric", "total", capture.path) \
            if not times(0) else None
        assert shown is None or b"do_GET" in shown.stdout, shown
    finally:
        ending.set()
        for client in clients:
            if client.ident:
                client.join(60)
        server.terminate()
        errors = server.communicate()[1]
    assert not faults and errors == b"", (faults, errors)
    assert server.returncode == -signal.SIGTERM
