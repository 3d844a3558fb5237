# SPDX-License-Identifier: MIT
"""Every view and export of the command, from its own list: tests that run all of them take them from here.

Verbs, their options and the words that an option takes come from `sctmem help --completion bash`.  A verb that is in
neither VIEWS nor OTHERS fails test_matrix.py, and so does an export format without a reader there.
"""
import re

# What each verb that reads captures is asked; {by}, {format}, {table}: once for each word that the option takes.
# Flags: "file" writes one (-o), "pair" compares two runs, "records" shows or copies what is stored, not what it means.
VIEWS = {
    "stats": [([], ""), (["--json", "-n", "1000"], "")],
    "report": [(["--no-source"], "file")],
    "flamegraph": [(["--no-source", "--insights"], "file")],
    "leaks": [([], ""), (["--json", "--all", "-n", "0"], ""), (["--late"], "")],
    "summary": [([], ""), (["--json", "-n", "0"], "")],
    "table": [([], ""), (["--json", "-n", "0", "--by", "{by}"], "")],
    "tree": [([], ""), (["--json", "--min-percent", "0", "-b", "1000000"], "")],
    "export": [(["--format", "{format}"], "file"), (["--format", "csv", "--table", "{table}"], "file")],
    "check": [(["--max-peak", "0"], ""), (["--max-peak", "1T", "--max-allocations", "0", "--json"], "")],
    "diff": [([], "pair"), (["--json", "-n", "0", "--by", "{by}"], "pair")],
    "windows": [([], ""), (["--json", "--kept", "0"], ""), (["--marks", "--json"], "")],
    "insights": [([], ""), (["--json"], "")],
    "top": [(["--once"], "records"), (["--json", "-n", "1000000"], "records")],
    "compact": [([], "file records")],
    "symbolize": [(["--json"], "file records")],
    "dump": [([], "records"), (["--json"], "records")],
}
OTHERS = {"run": "records", "attach": "records", "detach": "steers", "ctl": "steers", "doctor": "looks at a program",
          "help": "prints help"}


class View:
    """One line to run: its name, the words before the captures, and its flags."""

    def __init__(self, verb, words, flags):
        self.verb, self.words, self.flags = verb, words, set(flags.split())
        self.name = " ".join([verb] + words)

    def arguments(self, captures, path, more=()):
        """`path` is the file that it may write."""
        words = [self.verb] + self.words + list(more)
        if "file" in self.flags:
            words += ["-f", "-o", path]
        return words + list(captures) + (list(captures[:1]) if "pair" in self.flags else [])


class Grammar:
    """The command's verbs, options and choices, as it tells them to a shell."""

    def __init__(self, tools):
        text = tools.run_command("help", "--completion", "bash").stdout.decode()
        self.verbs = [word for word in re.search(r'compgen -W "([^"]*) --help --version"', text).group(1).split()]
        self.options = {verb: set(words.split()) for verb, words in re.findall(r'^\t([a-z]+)\) words="([^"]*)"', text,
                                                                              re.MULTILINE)}
        self.choices = {(verb, option): words.split() for verb, option, words in
                        re.findall(r'^\t([a-z]+):--([a-z-]+)[^)]*\) COMPREPLY=\(\$\(compgen -W "([^"]*)"', text,
                                   re.MULTILINE)}

    def views(self):
        """All of them, each choice a view of its own."""
        found = []
        for verb, lines in VIEWS.items():
            for words, flags in lines:
                held = [word[1:-1] for word in words if word.startswith("{")]
                for choice in self.choices[verb, held[0]] if held else [""]:
                    found.append(View(verb, [choice if word.startswith("{") else word for word in words], flags))
        return found
