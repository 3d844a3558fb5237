# SPDX-License-Identifier: MIT
"""Joins the page's ES modules into one classic script:  bundle.py MAIN.mjs > report.js

A page opened from a file may not load modules, so what ships is one inline script; what we write and test are
modules.  Joining them needs no parser as long as the modules keep to a small grammar, and this refuses all else:

    import { name, name } from './module.mjs';      one line, at the top, relative, no renaming
    export function | async function | class | const | let NAME ...      at the start of a line

No default exports, no `export { ... }`, no `export *`, no dynamic import, no import.meta.  A top-level name may be
used by one module only, because all modules share one scope in the bundle.  Cycles are refused.

What is only for us stays behind: indentation, lines of comment, empty lines.  So that this cannot change a text, a
template literal must end on the line where it begins.
"""
import pathlib
import re
import sys

IMPORT = re.compile(r"import \{ ([\w$]+(?:, [\w$]+)*) \} from '\./([\w-]+\.mjs)';$")
EXPORT = re.compile(r"export (?=(?:async function|function|class|const|let)\b)")
DECLARATION = re.compile(r"(?:export )?(?:async function\*?|function\*?|class|const|let|var) ?([\w$]+|[\[{])")
FORBIDDEN = (
    (re.compile(r"\bimport\s*\("), "dynamic import"),
    (re.compile(r"\bimport\.meta\b"), "import.meta"),
    (re.compile(r"</script", re.I), "</script, which would end the page's script"),
    (re.compile(r"<!--"), "<!--, which changes how a browser reads the script"),
    (re.compile(r"^\s*(?:'use strict'|\"use strict\")"), "'use strict': modules are strict, and so is the bundle"),
)


class BundleError(Exception):
    pass


def complain(path, number, what):
    raise BundleError("{}:{}: {}".format(path, number, what))


def read_module(path):
    """(imports, exports, top-level names, body lines) of one module."""
    imports, exports, names, body = [], [], [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for pattern, what in FORBIDDEN:
            if pattern.search(line):
                complain(path, number, what)
        if re.match(r"\s*import\b", line):
            match = IMPORT.match(line)
            if not match:
                complain(path, number, "an import must be one line: import { name, name } from './module.mjs';")
            imports.append((number, match.group(2), match.group(1).split(", ")))
            continue
        if line.count("`") % 2:
            complain(path, number, "a template literal must end on its line")
        declaration = DECLARATION.match(line)
        if declaration and declaration.group(1) in "[{":
            complain(path, number, "a top-level declaration may not destructure")
        if declaration:
            names.append((number, declaration.group(1)))
        if re.match(r"\s*export\b", line):
            if not EXPORT.match(line) or not declaration:
                complain(path, number, "an export must be: export function|class|const|let NAME")
            exports.append(declaration.group(1))
            line = EXPORT.sub("", line)
        body.append(line)
    return imports, exports, names, body


def visit(path, modules, path_to_here):
    """Adds path and what it needs to modules, the needed first."""
    path = path.resolve()
    if path in path_to_here:
        raise BundleError("modules import each other: " + " -> ".join(p.name for p in path_to_here + [path]))
    if path in modules:
        return
    if not path.exists():
        raise BundleError("no module {}; imported by {}".format(path, path_to_here[-1] if path_to_here else "nobody"))
    module = read_module(path)
    for number, name, wanted in module[0]:
        target = (path.parent / name).resolve()
        visit(target, modules, path_to_here + [path])
        for symbol in wanted:
            if symbol not in modules[target][1]:
                complain(path, number, "{} does not export {}".format(name, symbol))
    modules[path] = module


def check_names(modules):
    owners = {}
    for path, (imports, _, names, _) in modules.items():
        for number, name in names:
            if name in owners:
                complain(path, number, "{} is also a top-level name of {}".format(name, owners[name].name))
            owners[name] = path


def bundle(main):
    """The text of the script.  Its value is an object with all that the modules export."""
    modules = {}
    visit(pathlib.Path(main), modules, [])
    check_names(modules)
    lines = ["const sctmem = (() => {", "'use strict';"]
    exports = []
    for path, (_, exported, _, body) in modules.items():
        bare = [line.strip() for line in body]
        lines += ["", "// ---- " + path.name] + [line for line in bare if line and not line.startswith("//")]
        exports += exported
    lines += ["", "return { " + ", ".join(sorted(exports)) + " };", "})();", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.stdout.write(bundle(sys.argv[1]))
    except BundleError as error:
        sys.exit("bundle.py: {}".format(error))
