# SPDX-License-Identifier: MIT
"""sctmem from inside a Python program.

    import sctmem

    sctmem.mark("request served")         # a mark on the time line
    with sctmem.trace("load"):            # a window: `sctmem windows` shows its peak, total and what it kept
        load()

    @sctmem.trace()                       # a window for each call, named after the function
    def parse(text): ...

    sctmem.snapshot("warm")               # a mark to look at: `sctmem leaks --at warm`
    with sctmem.recording():              # on for a while, in a process that SCTMEM_START=off began
        serve()
    with sctmem.paused():                 # off for a while
        rebuild()

All of it does nothing, at the cost of a call, in a process that is not recorded: it may stay in the code.
"""
from sctmem._control import (capture_path, is_recorded, is_recording, mark, paused, recording, snapshot, start, stop,
                             trace)
from sctmem._places import command_path, library_path

try:
    from sctmem._version import __version__
except ImportError:     # run from the source
    __version__ = "0"


def load_ipython_extension(shell):
    """%load_ext sctmem"""
    from sctmem.jupyter import load_ipython_extension as load
    load(shell)


__all__ = ["capture_path", "command_path", "is_recorded", "is_recording", "library_path", "mark", "paused", "recording",
           "snapshot", "start", "stop", "trace"]
