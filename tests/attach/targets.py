# SPDX-License-Identifier: MIT
"""Processes to attach to, and the command that does it."""
import glob
import os
import pathlib
import subprocess
import tempfile

import pytest

from recording import Capture, clean_environment

TIMES = int(os.environ.get("SCTMEM_ATTACH_TIMES", "0"))
ANSWER_SECONDS = 60
HERE = pathlib.Path(__file__).resolve().parent


def times(few):
    """How often: as often as was asked for, or a few rounds."""
    return TIMES or few


class Target:
    """A process that answers a line with a line."""

    def __init__(self, argv, **options):
        self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=clean_environment(**options.pop("environment", {})),
                                        **options)
        self.pid = self.process.pid
        first = self.process.stdout.readline().split()
        assert first and first[0] == b"ready", (first, self.process.stderr.read())

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self):
        words = self.process.stdout.readline().decode().split()
        assert words, ("the target is gone", self.process.wait(ANSWER_SECONDS), self.process.stderr.read())
        return words

    def ask(self, line):
        self.tell(line)
        return self.hear()

    def end(self):
        """It ends in its own way, and has found no fault."""
        output, errors = self.process.communicate(b"end\n", timeout=ANSWER_SECONDS)
        assert self.process.returncode == 42, (self.process.returncode, output, errors)
        assert errors == b"", errors
        return output.decode()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Attacher:
    """sctmem attach and detach; captures go into a folder."""

    def __init__(self, tools, folder):
        self.tools = tools
        self.folder = folder
        self.count = 0

    def run(self, *arguments, environment=None, command=None, user=None, timeout=ANSWER_SECONDS, **options):
        argv = [str(command or self.tools.command)] + [str(argument) for argument in arguments]
        return subprocess.run(argv, env=clean_environment(**(environment or {})), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, user=user, **options)

    def path(self):
        self.count += 1
        return self.folder / "capture{}.bin".format(self.count)

    def attach(self, pid, *arguments):
        path = self.path()
        done = self.run("attach", "-o", path, *arguments, pid)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return Capture(self.tools, path)

    def detach(self, pid):
        done = self.run("detach", pid)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stderr.decode()

    def refused(self, pid, status, *words, arguments=(), **options):
        """It does not work, says why in one line, and leaves no capture."""
        path = self.path()
        done = self.run("attach", "-o", path, *arguments, pid, **options)
        text = done.stderr.decode(errors="replace")
        assert done.returncode == status, (done.returncode, text)
        assert text.startswith("sctmem: ") and text.count("\n") == 1, text
        for word in words:
            assert word in text, (word, text)
        assert not path.exists()
        return text


@pytest.fixture
def open_folder():
    """A folder that every user may reach and write in: pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="sctmem-attach-", dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        yield pathlib.Path(folder)


@pytest.fixture
def attacher(tools, tmp_path):
    return Attacher(tools, tmp_path)


def pythons():
    """Every CPython at hand that the library knows: (name, the words that start it)."""
    found = [("system", ["/usr/bin/python3"])] if os.path.exists("/usr/bin/python3") else []
    for minor in range(8, 16):
        versions = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.{}.*/bin/python3".format(minor))))
        if versions:
            found.append(("3.{}".format(minor), [versions[-1]]))
    # In a root and name space of their own, with a newer C library: tests/peers/install-sid-root makes it.
    if os.geteuid() == 0:
        for name in ("python3.14", "python3.15"):
            if os.path.exists("/opt/sid/usr/bin/" + name):
                found.append(("sid-" + name[6:], [str(HERE.parent / "peers/sid"), name]))
    return found
