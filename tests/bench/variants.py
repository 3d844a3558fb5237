# SPDX-License-Identifier: MIT
"""The ways to run a workload: bare, under sctmem in its modes, under the peers in theirs.

Every tool writes a real file, compressed as it does by itself, into the folder of the run.
"""
import collections

# prefix: words before the program's.  rounds: at most so many (the slowest peers would take hours).
Variant = collections.namedtuple("Variant", "name title tool prefix environment rounds")

CAPTURE = "capture.bin"
MANY = 1000000

SCTMEM_PYTHON = (
    ("sctmem-python", "sctmem, Python stacks", {"SCTMEM_PYTHON_ALLOCATORS": "no", "SCTMEM_NATIVE": "no"}),
    ("sctmem-pymem", "sctmem, + PyMem", {"SCTMEM_NATIVE": "no"}),
    ("sctmem-leaf", "sctmem, + PyMem + native leaf (default)", {}),
    ("sctmem-full", "sctmem, + PyMem + native full", {"SCTMEM_NATIVE": "full"}),
)
# As memray's modes are: the native frames with and without Python's own allocators.
SCTMEM_SUITE = SCTMEM_PYTHON[:2] + (
    ("sctmem-leaf-only", "sctmem, native leaf without PyMem", {"SCTMEM_PYTHON_ALLOCATORS": "no"}),
    SCTMEM_PYTHON[2],
)
SCTMEM_NATIVE = (("sctmem", "sctmem, full native stacks (default)", {}),)
# For runs of days, here of some workloads.
SCTMEM_BOUNDED = (
    ("sctmem-aggregate", "sctmem, default, aggregated", {"SCTMEM_AGGREGATE": "yes"}),
    ("sctmem-sample", "sctmem, default, a sample (512 KiB)", {"SCTMEM_SAMPLE": "512KiB"}),
)
BOUNDED_WORKLOADS = ("json", "ast", "cc1", "sqlite3")

MEMRAY = (
    ("memray", "", (), MANY),
    ("memray-native", ", native", ("--native",), 3),
    ("memray-pymem", ", PyMem", ("--trace-python-allocators",), MANY),
    ("memray-full", ", PyMem + native", ("--native", "--trace-python-allocators"), 2),
)


def capture_of(folder):
    """What a variant wrote, whatever it appended to the name; None when nothing."""
    return next(iter(sorted(folder.glob(CAPTURE + "*"))), None)


def version_tuple(text):
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def for_workload(workload, place, tools, folder, against=None):
    """The variants for this workload in this place, bare first."""
    capture = str(folder / CAPTURE)
    variants = [Variant("bare", "bare", None, [], {}, MANY)]
    modes = {"python": SCTMEM_PYTHON, "suite": SCTMEM_SUITE, "native": SCTMEM_NATIVE}[workload.kind]
    if workload.name in BOUNDED_WORKLOADS:
        modes += SCTMEM_BOUNDED
    for name, title, environment in modes:
        environment = dict(environment, SCTMEM_OUT=capture, SCTMEM_FORCE="yes")
        variants.append(Variant(name, title, "sctmem", [], dict(environment, LD_PRELOAD=str(tools.library)), MANY))
        if against:
            variants.append(Variant(name + "-against", title + ", the other library", "sctmem", [],
                                    dict(environment, LD_PRELOAD=str(against)), MANY))
    if "memray" in place.peers and workload.kind != "native":
        for name, title, options, rounds in MEMRAY:
            if name in workload.memray:
                variants.append(Variant(name, "memray " + place.peers["memray"] + title, "memray", [
                    place.python, "-m", "memray", "run", "-q", "-f", *options, "-o", capture], {}, rounds))
    # Where memray is, so that Python's peers stand side by side; native programs run in one place only.
    if "heaptrack" in place.peers and workload.heaptrack and (workload.kind == "native" or "memray" in place.peers):
        # Newer ones would open a window at the end where their GUI is installed; 1.4 does not know the option.
        quiet = ["--record-only"] if version_tuple(place.peers["heaptrack"]) >= (1, 5) else []
        heaptrack = ["heaptrack"] + quiet + ["-o", capture]
        title = "heaptrack " + place.peers["heaptrack"]
        variants.append(Variant("heaptrack", title, "heaptrack", heaptrack, {}, 3))
        if workload.kind == "python" and workload.heaptrack_pymem:
            variants.append(Variant("heaptrack-pymem", title + ", PYTHONMALLOC=malloc", "heaptrack", heaptrack,
                                    {"PYTHONMALLOC": "malloc"}, 1))
    return variants
