# SPDX-License-Identifier: MIT
"""What the library offers to the program that it records, through ctypes.

The library is in the process or it is not: it is preloaded, never loaded later.  So it is looked up once, here.
"""
import ctypes
import functools
import inspect
import os

MAGIC = b"SCTMEM\r\n"
# What the library keeps of a mark; a name must not be cut in two different ways.
NAME_BYTES_MAX = 4000


def _find(name, result, *arguments):
    try:
        # PyDLL: the GIL stays with us, so that no other thread of Python's runs between this and what follows.
        function = getattr(ctypes.PyDLL(None), name)
    except (AttributeError, OSError):
        return None
    function.argtypes = arguments
    function.restype = result
    return function


_mark = _find("sctmem_mark", None, ctypes.c_char_p)
_snapshot = _find("sctmem_snapshot", None, ctypes.c_char_p)
_start = _find("sctmem_start", ctypes.c_int)
_stop = _find("sctmem_stop", ctypes.c_int)
# Where the capture's status says that recording is stopped: formats/capture.md.
PAUSED_OFFSET = 616


def name_bytes(text):
    """The bytes of a mark: UTF-8 without NUL, cut where the library would."""
    data = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")
    return data.replace(b"\0", b" ")[:NAME_BYTES_MAX]


def window_marks(name):
    """The two marks that begin and end a window of this name."""
    name = name_bytes(name)
    return b"begin " + name, b"end " + name


def mark(name):
    """Puts a named mark on the time line of the capture.  False: this process is not recorded."""
    if _mark is None or not is_recorded():
        return False
    _mark(name_bytes(name))
    return True


def _find_capture():
    """The capture that the library writes here is mapped, shared and writable."""
    seen = set()
    try:
        with open("/proc/self/maps", "rb") as maps:
            lines = maps.readlines()
    except OSError:
        return None
    for line in lines:
        fields = line.rstrip(b"\n").split(None, 5)
        if len(fields) < 6 or fields[1][1:4] != b"w-s" or fields[5] in seen or not fields[5].startswith(b"/"):
            continue
        seen.add(fields[5])
        try:
            with open(fields[5], "rb") as file:
                head = file.read(60)
        except OSError:
            continue
        # A fork child has its parent's capture mapped until it makes its own.
        if head[:8] == MAGIC and int.from_bytes(head[56:60], "little") == os.getpid():
            return os.fsdecode(fields[5])
    return None


_captures = {}      # by process: a fork child has its own


def capture_path():
    """The capture that this process is being recorded into, or None.  It may be read at any moment."""
    if _mark is None:
        return None
    pid = os.getpid()
    if pid not in _captures:
        path = _find_capture()
        if path is None:
            return None
        _captures[pid] = path
    return _captures[pid]


def is_recorded():
    """Whether this process is being recorded."""
    return capture_path() is not None


def start():
    """Begins to record, or goes on.  False: this process is not recorded, or it cannot be any more."""
    return _start is not None and _start() >= 0


def stop():
    """Records nothing from here on, at hardly any cost, until start().  False: this process is not recorded.

    What lives at a stop counts neither as freed nor as a leak once recording has begun again: what became of it is
    not known.
    """
    return _stop is not None and _stop() >= 0


def is_recording():
    """Whether recording is on: the process is recorded, and not stopped."""
    path = capture_path()
    if path is None:
        return False
    try:
        with open(path, "rb") as file:
            file.seek(PAUSED_OFFSET)
            return file.read(1) == b"\0"
    except OSError:
        return False


def snapshot(name="snapshot"):
    """A mark at which every view can be taken (--at NAME), with resident memory.  False: nothing is being recorded."""
    if _snapshot is None or not is_recording():
        return False
    _snapshot(name_bytes(name))
    return True


class _Turned:
    """Turns recording on or off for a block of code, unless it was so before."""

    def __init__(self, turn, turn_back):
        self._turn = turn
        self._turn_back = turn_back
        self._turned = []       # one for each time that it was entered

    def __enter__(self):
        self._turned.append(self._turn is not None and self._turn() == 1)
        return self

    def __exit__(self, *_):
        if self._turned.pop():
            self._turn_back()
        return False


def recording():
    """A context manager: recording is on within; at its end it is stopped again, if it was before."""
    return _Turned(_start, _stop)


def paused():
    """A context manager: nothing is recorded within; at its end recording goes on, if it was on before."""
    return _Turned(_stop, _start)


class trace:
    """A context manager and a decorator: a window, which `sctmem windows` measures.

    As a decorator without a name it takes the function's.  A coroutine function's window is from its first step to
    its end; other tasks that run meanwhile are in it too.
    """

    def __init__(self, name=None):
        if callable(name):
            raise TypeError("write @sctmem.trace(), with parentheses")
        self.name = name
        self._ends = []     # one for each time that it was entered: it may be used again, also within itself

    def __enter__(self):
        if self.name is None:
            raise TypeError("a window needs a name: with sctmem.trace('load'):")
        # All that is needed at the end is made before the beginning, so that it is not in the window.
        begin, end = window_marks(self.name)
        self._ends.append(end if is_recorded() else None)
        if self._ends[-1]:
            _mark(begin)
        return self

    def __exit__(self, *_):
        end = self._ends.pop()
        if end:
            _mark(end)
        return False

    def __call__(self, function):
        name = self.name or "{}.{}".format(function.__module__, function.__qualname__)
        if inspect.iscoroutinefunction(function):
            @functools.wraps(function)
            async def traced(*arguments, **keywords):
                with trace(name):
                    return await function(*arguments, **keywords)
        elif inspect.isgeneratorfunction(function):
            @functools.wraps(function)
            def traced(*arguments, **keywords):
                with trace(name):
                    return (yield from function(*arguments, **keywords))
        elif inspect.isasyncgenfunction(function):
            raise TypeError("trace() cannot follow an asynchronous generator: use `with` inside it")
        else:
            @functools.wraps(function)
            def traced(*arguments, **keywords):
                with trace(name):
                    return function(*arguments, **keywords)
        return traced
