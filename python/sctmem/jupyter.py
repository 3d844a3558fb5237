# SPDX-License-Identifier: MIT
"""Notebooks.  A kernel is recorded from its start, by a kernel specification of its own:

    python -m sctmem.jupyter install            # once, into this environment; then choose the kernel "Python (sctmem)"

    %load_ext sctmem
    %%sctmem_flamegraph --leaks                 # a cell: runs it, and shows what it took

The options of the magic are those of `sctmem flamegraph`.  Pages go to ./sctmem-results.
"""
import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

from sctmem import _control
from sctmem._places import command_path, library_path

RESULTS = "sctmem-results"
HEIGHT = 700


class NotRecorded(Exception):
    def __init__(self):
        super().__init__("this kernel is not recorded: run `{} -m sctmem.jupyter install` once, then choose the kernel "
                         "\"Python (sctmem)\"".format(sys.executable))


_number = 0


def _next_page():
    global _number
    os.makedirs(RESULTS, exist_ok=True)
    while True:
        _number += 1
        path = os.path.join(RESULTS, "flamegraph-{}-{}.html".format(os.getpid(), _number))
        if not os.path.exists(path):
            return path


def write_flamegraph(line, run):
    """Runs the cell in a window and writes the page of it; gives the page's path."""
    if not _control.is_recorded():
        raise NotRecorded()
    options = shlex.split(line)
    page = _next_page()
    name = "cell:{}:{}".format(os.getpid(), _number)
    with _control.trace(name):
        run()
    command = [command_path(), "flamegraph", "-o", page, "--from", "begin " + name, "--to", "end " + name]
    done = subprocess.run(command + options + ["--", _control.capture_path()], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise ValueError(done.stderr.decode("utf-8", "replace").strip())
    return page


def load_ipython_extension(shell):
    from IPython.display import IFrame, display

    def sctmem_flamegraph(line, cell):
        """Runs the cell and shows the memory that it took; options as for `sctmem flamegraph`."""
        display(IFrame(write_flamegraph(line, lambda: shell.run_cell(cell)), width="100%", height=HEIGHT))

    # What the kernel starts is not recorded, nor does it get our library.
    before = os.environ.pop("SCTMEM_KERNEL", None)
    if before is not None and _control.is_recorded():
        for name in ("LD_PRELOAD", "SCTMEM_OUT", "SCTMEM_FOLLOW"):
            os.environ.pop(name, None)
        if before:
            os.environ["LD_PRELOAD"] = before
    shell.register_magic_function(sctmem_flamegraph, "cell", "sctmem_flamegraph")


def kernel_specification():
    before = os.environ.get("LD_PRELOAD", "")
    return {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python (sctmem)",
        "language": "python",
        "env": {
            "LD_PRELOAD": library_path() + (":" + before if before else ""),
            "SCTMEM_OUT": os.path.join(tempfile.gettempdir().replace("%", "%%"), "sctmem-kernel.%p.bin"),
            "SCTMEM_FOLLOW": "none",
            "SCTMEM_KERNEL": before,
        },
        "metadata": {"debugger": False},
    }


def install(prefix, name):
    folder = pathlib.Path(prefix, "share", "jupyter", "kernels", name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(kernel_specification(), indent=1) + "\n")
    return folder


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m sctmem.jupyter", description="notebook kernels that are recorded")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("install", help="make a kernel \"Python (sctmem)\" of this interpreter")
    verb.add_argument("--prefix", default=sys.prefix, help="where (default: this environment)")
    verb.add_argument("--name", default="sctmem", help="the kernel's name (default: sctmem)")
    settings = parser.parse_args(arguments)
    try:
        print("installed kernel {} in {}".format(settings.name, install(settings.prefix, settings.name)))
    except (OSError, ValueError) as error:
        sys.exit("sctmem: {}".format(error))


if __name__ == "__main__":
    main()
