# SPDX-License-Identifier: MIT
"""Asks the command for windows of a capture, and names its answer's parts."""
import collections
import json
import re
import subprocess

from sctmem._places import command_path

Frame = collections.namedtuple("Frame", "function filename lineno")
Stack = collections.namedtuple("Stack", "frames")           # innermost first

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text):
    """"24 MB", "1.5GiB", "100", 4096: bytes.  Units are powers of 1024, as everywhere in sctmem."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = re.match(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?\s*$", str(text), re.IGNORECASE)
    if not match:
        raise ValueError("{!r} is not a size like '24 MB', '1.5 GiB', 100 or '64KB'".format(text))
    number, unit = match.groups()
    scale = UNITS[unit.upper()]
    return int(number) * scale if number.isdigit() else int(float(number) * scale)


def show_size(size):
    """As the command shows it."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= (1024 if units[0] == "B" else 1023.95) and len(units) > 1:
        value /= 1024
        units.pop(0)
    return "{:.{}f} {}".format(value, 0 if units[0] == "B" else 1, units[0])


def parse_location(text):
    """"function:file:line" of the command; a function may have colons of its own."""
    function, filename, line = (text.rsplit(":", 2) + ["", ""])[:3] if text.count(":") >= 2 else (text, "", "0")
    return Frame(function, filename, int(line) if line.isdigit() else 0)


def parse_stack(locations):
    return Stack(tuple(parse_location(location) for location in locations))


class ReadError(Exception):
    """The command could not read the capture; the text is its message."""


def read_windows(capture, name=None, places=0, by_stack=False, kept=0, frames=12, own_thread=False):
    """The windows of a capture whose name matches, as `sctmem windows --json` has them."""
    command = [command_path(), "windows", "--json", "-n", str(places), "--kept", str(kept), "--frames", str(frames)]
    command += ["--name", name] if name else []
    command += ["--by-stack"] if by_stack else []
    command += ["--own-thread"] if own_thread else []
    done = subprocess.run(command + ["--", capture], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise ReadError(done.stderr.decode("utf-8", "replace").strip())
    return json.loads(done.stdout.decode("utf-8"))["windows"]
