# SPDX-License-Identifier: MIT
"""The release build that is measured, and where its parts are."""
import collections
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = REPOSITORY / "tests/bench/programs"

# library, command: what is measured.  programs: folder of the workloads.  work: for captures and inputs; on a disk.
Tools = collections.namedtuple("Tools", "library command programs work")


class BuildError(Exception):
    pass


def say(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def step(argv, what):
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode:
        raise BuildError("{} failed:\n{}\ntry tests/packages bench, which installs what is needed".format(
            what, "\n".join(done.stdout.splitlines()[-25:])))


def build(folder=None, given=None, built=False):
    """Configures and builds what is needed, as users' packages are built.  `given`: "LIBRARY,COMMAND" to measure."""
    folder = pathlib.Path(folder or REPOSITORY / "build-bench").resolve()
    if built:
        return parts(folder, given)
    say("building in {}".format(folder))
    if not (folder / "build.ninja").exists():
        step(["meson", "setup", "-Dtests=enabled", "-Dbuildtype=release", "-Ddebug=true", folder, REPOSITORY],
             "meson setup")
    step(["ninja", "-C", folder, "bench"], "ninja bench")
    return parts(folder, given)


def parts(folder, given=None):
    library, command = folder / "preload/libsctmem.so", folder / "reader/sctmem"
    if given:
        library, _, command = [part for part in given.partition(",")]
        library, command = pathlib.Path(library).resolve(), pathlib.Path(command or folder / "reader/sctmem").resolve()
    for path in (library, command, folder / "tests/bench/bench_launch"):
        if not path.exists():
            raise BuildError("{} does not exist: run without --no-build, or see --build and --tools".format(path))
    work = folder / "bench-work"
    work.mkdir(exist_ok=True)
    return Tools(library, command, folder / "tests/bench", work)


def version():
    """Which state of the sources was measured."""
    done = subprocess.run(["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, universal_newlines=True)
    return done.stdout.strip() or "unknown"
