# SPDX-License-Identifier: MIT
"""sctmem from inside a Python program.

    import sctmem

    sctmem.mark("request served")         # a mark on the time line
    with sctmem.trace("load"):            # a window: `sctmem windows` shows its peak, total and what it kept
        load()

    @sctmem.trace()                       # a window for each call, named after the function
    def parse(text): ...

All of it does nothing, at the cost of a call, in a process that is not recorded: it may stay in the code.
"""
from sctmem._control import capture_path, is_recorded, mark, trace
from sctmem._places import command_path, library_path

try:
    from sctmem._version import __version__
except ImportError:     # run from the source
    __version__ = "0"


def load_ipython_extension(shell):
    """%load_ext sctmem"""
    from sctmem.jupyter import load_ipython_extension as load
    load(shell)


__all__ = ["capture_path", "command_path", "is_recorded", "library_path", "mark", "trace"]
