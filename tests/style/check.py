# SPDX-License-Identifier: MIT
"""The house rules as tests:  check.py RULE ROOT [ARGUMENT...].  Called by meson, one test a rule.

Each rule is a function here whose first line is the rule; it yields what breaks it, as `file:line: what`.  A rule
looks at files that are in the tree, so it needs no list of them.  Run by hand: `check.py all ROOT` for those rules
that need no build.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# How wide a tab is shown is the reader's choice; a line is measured in characters.
TAB_COLUMNS = 1
LINE_COLUMNS_MAX = 120
LAYERS = ("formats", "preload", "reader")
CODE = (".c", ".h", ".cc", ".cpp", ".mjs", ".js", ".py", ".css", ".def", ".rs", ".map")
SKIPPED_FOLDERS = ("build", ".git", "__pycache__", "node_modules", ".pytest_cache")
# Text that others wrote, or that is an expected output to the byte.
SKIPPED_PARTS = ("golden", "corpus", "expected")


def source_files(root, suffixes=CODE, folders=("",)):
    """The tree's own files with one of the suffixes, and scripts without one whose first line is a #!."""
    for start in folders:
        for folder, names, files in os.walk(root / start):
            names[:] = sorted(name for name in names
                              if not name.startswith(SKIPPED_FOLDERS) and name not in SKIPPED_PARTS)
            for name in sorted(files):
                path = pathlib.Path(folder, name)
                if path.suffix in suffixes or ("#!" in suffixes and not path.suffix and is_script(path)):
                    yield path


def is_script(path):
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def lines_of(path):
    return path.read_text(encoding="utf-8").split("\n")


def includes_of(path):
    """(line number, text) of each #include "...", and of the <...> ones that name a folder of ours."""
    for number, line in enumerate(lines_of(path), 1):
        match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<((?:%s)/[^>]+)>)' % "|".join(LAYERS), line)
        if match:
            yield number, match.group(1) or match.group(2)


def layer_of_include(root, path, text):
    """The top folder that an include leads to, as the compiler would find it: beside the file, then from the root."""
    for base in (path.parent, root):
        target = pathlib.Path(os.path.normpath(base / text))
        if target.exists():
            return target.relative_to(root).parts[0] if root in target.parents else None
    # Generated headers are in the build folder only; their path tells as well.
    return text.split("/")[0] if "/" in text else None


def rule_licence(root):
    """The first line (after a #!) is the SPDX licence."""
    for path in source_files(root, CODE + ("#!",)):
        lines = lines_of(path)
        first = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        if "SPDX-License-Identifier: MIT" not in first:
            yield "{}:1: no SPDX-License-Identifier: MIT".format(path)


def rule_layers(root):
    """formats/ includes nobody; preload/ and reader/ include formats/ and never each other."""
    for layer in LAYERS:
        allowed = {layer, "formats"}
        for path in source_files(root, (".c", ".h", ".def"), (layer,)):
            for number, text in includes_of(path):
                target = layer_of_include(root, path, text)
                if target in LAYERS and target not in allowed:
                    yield "{}:{}: {}/ may not include {}".format(path, number, layer, text)


def rule_banned(root):
    """The last include of each preload/*.c is banned.h, but for those whose job is what it bans."""
    if not (root / "preload/banned.h").exists():
        return
    for path in source_files(root, (".c",), ("preload",)):
        if path.name in ("hooks.c", "real.c", "lifecycle.c"):
            continue
        includes = [line for line in lines_of(path) if re.match(r"\s*#\s*include\b", line)]
        if not includes or not re.search(r'"(preload/)?banned\.h"', includes[-1]):
            yield "{}: its last include is not banned.h".format(path)


def rule_words(root):
    """No unfinished work is marked in the code: finish it or write an issue."""
    # Put together here, so that this file passes its own rule.
    words = re.compile(r"\b(%s)\b" % "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")))
    for path in source_files(root, CODE + ("#!", ".md", ".html")):
        for number, line in enumerate(lines_of(path), 1):
            if words.search(line):
                yield "{}:{}: {}".format(path, number, words.search(line).group(0))


def rule_layout(root):
    """Tabs indent C, lines are at most 120 characters, none ends in a space, files end in one newline."""
    for path in source_files(root, CODE + ("#!", ".html")):
        text = path.read_text(encoding="utf-8")
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            yield "{}: does not end in exactly one newline".format(path)
        for number, line in enumerate(text.split("\n"), 1):
            columns = len(line.expandtabs(TAB_COLUMNS))
            if columns > LINE_COLUMNS_MAX and path.suffix != ".css":   # there a rule is a line
                yield "{}:{}: {} characters".format(path, number, columns)
            if line != line.rstrip():
                yield "{}:{}: space at the end".format(path, number)
            if path.suffix in (".c", ".h", ".cc", ".def") and re.match(r" +(?!\*| )", line):
                yield "{}:{}: indented by spaces".format(path, number)


def rule_headers(root, *compiler):
    """Every header compiles alone.  The compiler is a command of several words where a cache stands before it."""
    compiler = compiler or ("gcc",)
    with tempfile.TemporaryDirectory() as folder:
        for path in source_files(root, (".h",), LAYERS):
            unit = pathlib.Path(folder, "alone.c")
            # Twice: the second time its guard must make it empty.
            unit.write_text('#include "{0}"\n#include "{0}"\n'.format(path))
            done = subprocess.run(
                [*compiler, "-std=gnu11", "-D_GNU_SOURCE", '-DSCTMEM_VERSION="test"', "-Wall", "-Wextra",
                 "-Wno-unused-parameter", "-Werror", "-fsyntax-only", "-I", str(root), "-I", str(path.parent),
                 str(unit)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
            if done.returncode:
                yield "{}: does not compile alone:\n{}".format(path, done.stdout.rstrip())


def rule_scripts(root):
    """Shell scripts parse, and are executable."""
    for path in source_files(root, ("#!",)):
        if not os.access(path, os.X_OK):
            yield "{}: is not executable".format(path)
        if re.match(r"#!.*\bsh\b", lines_of(path)[0]):
            done = subprocess.run(["sh", "-n", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  universal_newlines=True)
            if done.returncode:
                yield "{}: {}".format(path, done.stdout.strip())


def rule_readme(root):
    """The README's tables name every verb and every environment variable, and no others."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    command = root / "reader/command.h"
    verbs = set(re.findall(r"^\tX\((\w+)", command.read_text(), re.M)) if command.exists() else set()
    config = root / "preload/config.h"
    variables = set(re.findall(r'X\("(SCTMEM_\w+)"', config.read_text())) if config.exists() else set()
    tables = (("verb", r"^\| `([a-z]+)` \|", verbs), ("variable", r"^\| `(SCTMEM_\w+)` \|", variables))
    for kind, pattern, real in tables:
        named = set(re.findall(pattern, readme, re.M))
        for name in sorted(real - named):
            yield "README.md: does not name the {} {}".format(kind, name)
        for name in sorted(named - real) if real else ():
            yield "README.md: names the {} {}, which does not exist".format(kind, name)
    for target in re.findall(r"\]\(([^):#]+)\)", readme):
        if not (root / target).exists():
            yield "README.md: links to {}, which does not exist".format(target)


def dynamic_symbols(library, *options):
    output = subprocess.run(["nm", "-D"] + list(options) + [str(library)], check=True, stdout=subprocess.PIPE,
                            universal_newlines=True).stdout
    return sorted({line.split()[-1] for line in output.splitlines() if line.strip()})


def words_of_list(path):
    """The words of an allow-list: one a line, # begins a comment."""
    return {line.split("#")[0].strip() for line in lines_of(path)} - {""}


def hooked_functions(root):
    """The names in the lines HOOK(type, name, (parameters)) of functions.def."""
    text = re.sub(r"/\*.*?\*/", "", (root / "preload/functions.def").read_text(), flags=re.S)
    return set(re.findall(r"^HOOK\([^,]+,\s*(\w+)\s*,", text, re.M))


def rule_exports(root, library):
    """The library defines the hooked functions and sctmem_*, and nothing else."""
    hooked = hooked_functions(root)
    exported = {symbol.split("@")[0] for symbol in dynamic_symbols(library, "--defined-only")}
    for name in sorted(exported - hooked):
        if not name.startswith("sctmem_"):
            yield "{}: exports {}, which is neither in functions.def nor sctmem_*".format(library, name)
    for name in sorted(hooked - exported) or ([] if hooked else ["anything: functions.def has no HOOK lines"]):
        yield "{}: does not export {}".format(library, name)


def rule_imports(root, library):
    """The library calls only what its allow-list names: no allocation, stdio or locale behind our back."""
    allowed = words_of_list(root / "tests/style/imports.allowed")
    imported = {symbol.split("@")[0] for symbol in dynamic_symbols(library, "--undefined-only")}
    for name in sorted(imported - allowed):
        yield "{}: imports {}, which tests/style/imports.allowed does not name".format(library, name)


def rule_needed(root, library):
    """The library needs libc and the loader only, has no text relocations and no executable stack."""
    dynamic = subprocess.run(["readelf", "-dlW", str(library)], check=True, stdout=subprocess.PIPE,
                             universal_newlines=True).stdout
    for name in re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic):
        if not re.match(r"(libc\.so\.6|ld-linux[-\w]*\.so\.\d+)$", name):
            yield "{}: needs {}".format(library, name)
    if "TEXTREL" in dynamic:
        yield "{}: has text relocations".format(library)
    if re.search(r"GNU_STACK.*RWE", dynamic):
        yield "{}: asks for an executable stack".format(library)
    if not re.search(r"NEEDED.*libc\.so\.6", dynamic):
        yield "{}: readelf shows no NEEDED libc.so.6; is this the library?".format(library)


def rule_hardened(root, library, command, fortified=""):
    """Both files: no writable code, no lazily bound or writable tables of functions; the command: what guards it."""
    for path in (library, command):
        shown = subprocess.run(["readelf", "-dlhW", str(path)], check=True, stdout=subprocess.PIPE,
                               universal_newlines=True).stdout
        for what, pattern in (("is loaded at a place of its own", r"Type: +DYN"), ("relro", r"GNU_RELRO"),
                              ("binds at the start", r"BIND_NOW|Flags:.*NOW"),
                              ("has no code on its stack", r"GNU_STACK.* RW ")):
            if not re.search(pattern, shown):
                yield "{}: not so: {}".format(path, what)
        if re.search(r"LOAD.* RWE", shown):
            yield "{}: a segment is writable and executable".format(path)
    imported = {symbol.split("@")[0] for symbol in dynamic_symbols(command, "--undefined-only")}
    for name in ["__stack_chk_fail"] + ["__fprintf_chk"] * bool(fortified):
        if name not in imported:
            yield "{}: does not import {}".format(command, name)


RULES = {name[len("rule_"):]: rule for name, rule in sorted(globals().items()) if name.startswith("rule_")}


def main(rule, root, *arguments):
    root = pathlib.Path(root).resolve()
    of_files = ("exports", "imports", "needed", "hardened")
    chosen = [name for name in RULES if name not in of_files] if rule == "all" else [rule]
    status = 0
    for name in chosen:
        violations = list(RULES[name](root, *arguments))
        for what in violations:
            print(what.replace(str(root) + "/", ""))
        if violations:
            print("rule {}: {}".format(name, RULES[name].__doc__))
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
