# SPDX-License-Identifier: MIT
"""Starts programs whose captures are in segments, and reads such runs: for tests here and in tests/fault."""
import json
import subprocess
import time

from recording import clean_environment


def start(tools, folder, program, *arguments, **settings):
    # Names of one length, so that what the process is given on its stack is the same with and without.
    environment = clean_environment(LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(folder / "capture.bin"), **settings)
    return subprocess.Popen([str(program)] + [str(argument) for argument in arguments], env=environment,
                            cwd=str(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def trace_to_end(*arguments, **settings):
    process = start(*arguments, **settings)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (0, b"", b"")


def end(process):
    process.kill()
    process.communicate()


def read(tools, verb, *arguments):
    return tools.run_command(verb, *arguments).stdout.decode()


def stats(tools, *arguments):
    return json.loads(read(tools, "stats", "--json", *arguments))


def segments(folder, name="capture"):
    return sorted(path for path in folder.glob(name + "*.bin") if path.name.count(".") == 2) + \
        [path for path in folder.glob(name + ".bin")]


def wait_until_recorded(tools, process):
    deadline = time.monotonic() + 30
    while tools.run_command("ctl", process.pid, "status", check=False).returncode != 0:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_segment(folder, number):
    deadline = time.monotonic() + 30
    while not (folder / "capture.{:06}.bin".format(number)).exists():
        assert time.monotonic() < deadline, "no segment {}".format(number)
        time.sleep(0.001)


def check_whole(capture):
    for name in ("lost_events", "contradictions", "damaged_bytes", "segments_missing"):
        assert capture[name] == 0, (name, capture)
    assert not capture["damaged"], capture["problem"]
