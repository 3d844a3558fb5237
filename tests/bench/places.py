# SPDX-License-Identifier: MIT
"""Where programs are run: here, and in the Debian sid root with its newer Python and newer peers.

A ratio compares two runs in the same place, so another interpreter, libc or root is never taken for a cost.
"""
import collections
import os
import platform
import shutil
import subprocess

from build import REPOSITORY, say

# enter: words before a command.  python: its interpreter.  peers: {name: version} of those that can run there.
Place = collections.namedtuple("Place", "name title enter environment python peers")

SID = REPOSITORY / "tests/peers/sid"
STEERING = ("SCTMEM_", "LD_", "PYTHON", "MALLOC_", "GLIBC_")


def clean_environment():
    """The environment without what steers sctmem, the loader, malloc or Python."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(STEERING) or name == "SCTMEM_SID_ROOT"}
    kept.update(LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")
    return kept


def output_of(argv, environment=None):
    """The first line that a command prints, or None when it cannot be run."""
    try:
        done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, env=environment or clean_environment())
    except OSError:
        return None
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else None


def version_of(enter, environment, *argv):
    line = output_of(list(enter) + list(argv), environment)
    return line.split()[-1] if line else None


def make(name, system, enter, environment, peers):
    python = "/usr/bin/python3"
    title = "{}, Python {}, glibc {}".format(
        system, version_of(enter, environment, python, "-V"),
        version_of(enter, environment, python, "-c", "import os; print(os.confstr('CS_GNU_LIBC_VERSION'))"))
    found = {}
    for peer in ("memray", "heaptrack") if peers else ():
        version = version_of(enter, environment, peer, "--version")
        if version:
            found[peer] = version
    return Place(name, title, enter, environment, python, found)


def system_name(root="/"):
    try:
        with open(os.path.join(root, "etc/os-release")) as file:
            fields = dict(line.strip().split("=", 1) for line in file if "=" in line)
        return fields.get("PRETTY_NAME", "Linux").strip('"').replace("GNU/Linux ", "")
    except OSError:
        return "Linux"


def find(tools, only=None, peers=True):
    """The places that there are, and that are wanted."""
    found = []
    if only != "sid":
        found.append(make("host", system_name(), [], clean_environment(), peers))
    if only == "sid" or (only is None and peers):
        root = os.environ.get("SCTMEM_SID_ROOT", "/opt/sid")
        environment = dict(clean_environment(), SCTMEM_SID_BIND=str(tools.work.parent))
        if output_of([SID, "true"], environment) is None:
            say("skipped: the sid root (its Python, memray, heaptrack): make it with tests/peers/install-sid-root")
        else:
            found.append(make("sid", "Debian sid", [str(SID)], environment, peers))
    for peer in ("memray", "heaptrack") if peers else ():
        if not any(peer in place.peers for place in found):
            say("skipped: {}, which is not here: try tests/packages bench, tests/peers/install-sid-root".format(peer))
    return found


def machine():
    """What the numbers were measured on."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1048576
    return {"processor": model or platform.machine(), "cores": os.cpu_count(), "memory_gib": memory,
            "kernel": platform.release(), "system": system_name(), "load": os.getloadavg()[0],
            "compiler": (output_of([shutil.which("cc") or "cc", "--version"]) or "").strip()}
