# SPDX-License-Identifier: MIT
"""Where the command and the library are: in this package when it came as a wheel, else as the system installed them."""
import os

BUNDLED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")


def _is_elf(path):
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def command_path():
    """The command sctmem itself; never the script that pip made, which would call us again."""
    bundled = os.path.join(BUNDLED, "sctmem")
    if _is_elf(bundled):
        return bundled
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder or ".", "sctmem")
        if os.access(path, os.X_OK) and _is_elf(path):
            return path
    raise FileNotFoundError("no command sctmem in {} or in PATH: install the wheel, or sctmem itself".format(BUNDLED))


def library_path():
    """libsctmem.so as the command finds it: beside it, in its build folder, or in lib/sctmem of its prefix."""
    folder = os.path.dirname(os.path.realpath(command_path()))
    for place in ("", "../preload", "../lib/sctmem", "../lib64/sctmem", "../lib/x86_64-linux-gnu/sctmem"):
        path = os.path.normpath(os.path.join(folder, place, "libsctmem.so"))
        if os.path.exists(path):
            # The loader splits LD_PRELOAD at both and knows no quotes.
            if " " in path or ":" in path:
                raise FileNotFoundError("{}: LD_PRELOAD cannot name a path with a space or colon".format(path))
            return path
    raise FileNotFoundError("no libsctmem.so beside {}: is sctmem installed completely?".format(command_path()))
