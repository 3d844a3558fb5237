# SPDX-License-Identifier: MIT
"""The console script and `python -m sctmem`: becomes the command.

`python -m sctmem run script.py` and `run -m module` run them with this interpreter, so that nobody has to know where
the virtual environment keeps its own.
"""
import os
import re
import subprocess
import sys

from sctmem._places import command_path


def options_with_values(command):
    """The options of `run` that take one, as its help lists them: the one list is the command's own."""
    text = subprocess.run([command, "help", "run"], stdout=subprocess.PIPE, check=True).stdout.decode()
    names = set()
    for letter, name in re.findall(r"^\s+(?:-(\w), )?--([\w-]+) \S", text, re.MULTILINE):
        names |= {"--" + name, "-" + letter} if letter else {"--" + name}
    return names


def is_script(word):
    return os.path.isfile(word) and (word.endswith((".py", ".pyz")) or not os.access(word, os.X_OK))


def with_interpreter(command, arguments):
    """Puts this interpreter before a script, -m or -c: run's own options, then what Python would take."""
    values = options_with_values(command)
    at = 0
    while at < len(arguments) and arguments[at].startswith("-") and arguments[at] not in ("--", "-m", "-c"):
        at += 2 if arguments[at] in values else 1
    program = arguments[at:]
    if program[:1] == ["--"]:
        program = program[1:]
    if program and (program[0] in ("-m", "-c") or is_script(program[0])):
        return arguments[:at] + ["--", sys.executable] + program
    return arguments


def main():
    arguments = sys.argv[1:]
    try:
        command = command_path()
    except FileNotFoundError as error:
        sys.exit("sctmem: {}".format(error))
    if arguments[:1] == ["run"]:
        arguments = ["run"] + with_interpreter(command, arguments[1:])
    os.execv(command, ["sctmem"] + arguments)


if __name__ == "__main__":
    main()
