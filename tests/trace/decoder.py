# SPDX-License-Identifier: MIT
"""A second reader of captures, written from formats/capture.md, for use as an oracle.

The reading is done by programs of oracle/ (second_reader.h tells why there is one), built here when they are first
needed.  The events of a capture come from there in most tests, so that an error that the library's encoder and the
command's decoder share is not taken for agreement; test_random.py compares the two readers.
"""
import atexit
import collections
import functools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

Event = collections.namedtuple("Event", "kind stream thread stack flags stamp time_ns address size")
Block = collections.namedtuple("Block", "address size stack")
Contents = collections.namedtuple("Contents", "events blocks nodes metadata")

HERE = pathlib.Path(__file__).resolve().parent
READ_SECONDS_MAX = 900


@functools.lru_cache(maxsize=None)
def oracle(name):
    """The path of oracle/NAME.c, built."""
    folder = tempfile.mkdtemp(prefix="sctmem-oracle-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    output = os.path.join(folder, name)
    command = [os.environ.get("CC", "gcc"), "-O2", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o", output]
    command += [str(HERE / "oracle" / file) for file in (name + ".c", "second_reader.c", "live_blocks.c")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, "{}\n{}".format(" ".join(command), done.stdout.decode(errors="replace"))
    return output


def ask_oracle(name, *arguments):
    """What it prints; that it finds anything wrong is an error here."""
    done = run_oracle(name, *arguments)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def run_oracle(name, *arguments):
    return subprocess.run([oracle(name)] + [str(argument) for argument in arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=READ_SECONDS_MAX)


@functools.lru_cache(maxsize=None)
def kind_names():
    """{number: name} from the list in formats/capture.h, which the C side uses too."""
    text = (HERE.parents[1] / "formats/capture.h").read_text(encoding="utf-8")
    return {int(number): name for number, name in re.findall(r"X\((\d+), [A-Z_]+, (\w+)\)", text)}


def read_event(words):
    """The event of a line that list_capture begins with "e"."""
    numbers = list(map(int, words[2:]))
    return Event(kind_names()[int(words[1])], *numbers)


def decode(path, *which):
    """The contents of a capture: events stream by stream, in each stream as they were recorded; nodes as
    {id: (frame, parent)}; metadata as (kind, bytes).  With two numbers only allocations of sizes from the first to the
    second; with "live", instead of events, the blocks that are live at the end."""
    contents = Contents([], [], {}, [])
    for line in ask_oracle("list_capture", path, *which).decode().splitlines():
        words = line.split(" ")
        if words[0] == "e":
            contents.events.append(read_event(words))
        elif words[0] == "b":
            contents.blocks.append(Block(*map(int, words[1:])))
        elif words[0] == "n":
            contents.nodes[int(words[1])] = (int(words[2]), int(words[3]))
        else:
            contents.metadata.append((kind_names()[int(words[1])], bytes.fromhex(words[2])))
    return contents
