# SPDX-License-Identifier: MIT
"""Runs in segments whose disk ends, has room again, or does not let go of a file: bounded, and whole."""
import subprocess
import sys
import time

import pytest

from faults import attempts, mounted, require_root
from recording import clean_environment
from segments import check_whole, stats

SIZE = "256K"

# Each line asks for so many objects, made and dropped, of many sizes: some windows full of events.
ASKED = """
import sys
for line in sys.stdin:
    for i in range(int(line)):
        bytes(520 + i % 900)
    print("made", line.strip(), flush=True)
"""


def environment(tools, folder, **settings):
    return clean_environment(LD_PRELOAD=str(tools.library), SCTMEM_OUT=str(folder / "capture.bin"), SCTMEM_NATIVE="no",
                             **settings)


def names(folder):
    return sorted(path.name for path in folder.glob("capture*.bin"))


class Asked:
    def __init__(self, tools, folder, **settings):
        self.process = subprocess.Popen([sys.executable, "-c", ASKED], env=environment(tools, folder, **settings),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def make(self, count):
        self.process.stdin.write(b"%d\n" % count)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"made %d\n" % count, self.process.communicate()

    def end(self):
        out, err = self.process.communicate(timeout=60)
        assert (self.process.returncode, out, err) == (0, b"", b"")


def fill(path):
    """Takes all that is left of a file system."""
    with open(str(path), "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass


@pytest.mark.parametrize("keep", ["0", "2"])
def test_a_disk_that_is_full_at_any_page(tools, victim, tmp_path, keep):
    """A small file system of N pages: the program is unharmed, and what there is of the run is read without damage."""
    states = []
    for pages in range(90, 600, attempts(57, 3)):
        with mounted("tmpfs", tmp_path / "small", "size={}".format(pages * 4096)) as folder:
            done = subprocess.run([str(victim("rotating")), "1", "300000"], timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=environment(tools, folder, SCTMEM_ROTATE=SIZE, SCTMEM_KEEP=keep))
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
            found = stats(tools, folder / "capture.bin")
            capture = found["captures"][0]
            check_whole(capture)
            assert capture["state"] in ("stopped_storage", "finished"), capture
            if capture["segment_first"] <= 1:
                assert capture["unknown_frees"] == 0, (pages, capture)
            assert "unknown stack" not in tools.run_command("tree", str(folder / "capture.bin")).stdout.decode()
            states.append((pages, capture["state"], capture["segment_first"], capture["segment_last"]))
    print(states)
    assert any(state[1] == "stopped_storage" for state in states)
    if keep == "2":
        # That is what it is for: a disk with room for a few segments is enough.
        assert states[-1][1] == "finished" and states[-1][2] > 1, states


def test_after_a_full_disk_the_run_is_bounded_again(tools, tmp_path):
    """The switch that failed has left no name, no gap, and nothing that is not removed later."""
    with mounted("tmpfs", tmp_path / "small", "size=64M") as folder:
        asked = Asked(tools, folder, SCTMEM_ROTATE="1s", SCTMEM_KEEP="2")
        time.sleep(1.1)
        asked.make(40000)
        assert names(folder) == ["capture.000002.bin", "capture.bin"]
        time.sleep(1.1)
        fill(folder / "filler")
        asked.make(12000)
        assert names(folder) == ["capture.000002.bin", "capture.bin"]
        (folder / "filler").unlink()
        for number in range(3, 6):
            time.sleep(1.1)
            asked.make(40000)
            assert names(folder) == ["capture.{:06}.bin".format(number - 1), "capture.{:06}.bin".format(number)]
        asked.end()
        capture = stats(tools, folder / "capture.bin")["captures"][0]
        check_whole(capture)
        assert (capture["segment_first"], capture["segment_last"], capture["state"]) == (4, 5, "finished"), capture


def test_a_file_that_cannot_be_removed_goes_as_soon_as_it_can(tools, tmp_path):
    require_root()
    asked = Asked(tools, tmp_path, SCTMEM_ROTATE="1s", SCTMEM_KEEP="2")
    first = str(tmp_path / "capture.bin")
    asked.make(10)
    subprocess.run(["mount", "--bind", first, first], check=True)        # what is mounted on is not removed
    try:
        for number in range(2, 5):
            time.sleep(1.1)
            asked.make(40000)
        assert names(tmp_path) == ["capture.000003.bin", "capture.000004.bin", "capture.bin"]
        assert "could not be removed" in tools.run_command("dump", str(tmp_path / "capture.000003.bin")).stdout.decode()
    finally:
        subprocess.run(["umount", first], check=True)
    time.sleep(1.1)
    asked.make(40000)
    assert names(tmp_path) == ["capture.000004.bin", "capture.000005.bin"]
    asked.end()
    check_whole(stats(tools, tmp_path / "capture.bin")["captures"][0])
