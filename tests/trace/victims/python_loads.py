# SPDX-License-Identifier: MIT
"""Real work that tells where it stood:  python_loads.py ORACLE LOAD SAMPLES JOURNAL FOLDER

LOAD is json, ast or tests; each is repeated until there are SAMPLES samples.  ORACLE says what they are:

  frames       at collections of the garbage collector, in callbacks of the work, and at every n-th event of a profile
               function (in every second round, so that code runs as it is in the others) a block is allocated whose
               size nobody else asks for.  In the journal: its size, and the stack as sys._getframe() tells it:
               file, qualified name (plain name before 3.11) and line of each frame, innermost first.
  tracemalloc  tracemalloc runs meanwhile.  In the journal: the addresses of objects that are alive at the end, each
               with the stack of its allocation, as files and lines.  The program ends with them alive.

    python_loads.py lines

reads code objects from standard input, as [[first line, kind of table, table in hexadecimal digits], ...], and prints
for each the [start, end, line] of its instructions, in bytes, as this interpreter understands the table.

Runs on Python 3.8 and everything later.
"""
import ast
import dis
import gc
import io
import itertools
import json
import json.decoder
import json.encoder
import json.scanner
import os
import sys
import types

SAMPLE_SIZE = 70000
PROFILE_STRIDE = 13
TRACEMALLOC_FRAMES = 400
HAS_QUALNAMES = sys.version_info >= (3, 11)


class Samples:
    """The stacks so far.  Nothing here calls what is being sampled."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.stacks = []
        self.busy = False
        self.on = False

    def take(self):
        if self.busy or not self.on or len(self.stacks) >= self.wanted:
            return
        self.busy = True
        block, line = bytes(SAMPLE_SIZE + len(self.stacks)), sys._getframe().f_lineno
        frame, stack = sys._getframe(), []
        while frame is not None:
            code = frame.f_code
            name = code.co_qualname if HAS_QUALNAMES else code.co_name
            stack.append((code.co_filename, name, line if not stack else frame.f_lineno or 0))
            frame = frame.f_back
        self.stacks.append((sys.getsizeof(block), stack))
        self.busy = False

    def missing(self):
        """A collection may come between the look whether one is wanted and its taking: then there is one more."""
        return max(0, self.wanted - len(self.stacks))


samples = Samples(0)
events = itertools.count()
kept = []


def profile(frame, event, argument):
    if next(events) % PROFILE_STRIDE == 0:
        samples.take()


def collecting(phase, info):
    if phase == "start":
        samples.take()


# ---- json ----

class Odd:
    """What the encoder must ask its default() about."""

    def __init__(self, value):
        self.value = value


def document(depth, width):
    if depth == 0:
        return [1, 2.5, None, True, "text \u00e9\n", -17] + ["%d\u00e9" % i for i in range(width * 4)]
    return {"key %d" % i: document(depth - 1, width) if i % 2 else [document(depth - 1, 1), {"a": i}]
            for i in range(width)}


def hook(pairs):
    samples.take()
    return dict(pairs)


def default(odd):
    samples.take()
    return {"odd": odd.value}


def plain_decoder():
    """The decoder in Python, all the way down."""
    decoder = json.decoder.JSONDecoder(object_pairs_hook=hook)
    decoder.parse_object, decoder.parse_array = json.decoder.JSONObject, json.decoder.JSONArray
    decoder.parse_string = json.decoder.py_scanstring
    decoder.scan_once = json.scanner.py_make_scanner(decoder)
    return decoder


def load_json(folder, number):
    things = document(3 + number % 2, 4)
    things["odd"] = [Odd(i) for i in range(3)]
    text = json.dumps(things, default=default)
    made = [things, json.loads(text, object_pairs_hook=hook), json.loads(text), plain_decoder().decode(text)]
    for options in ({"indent": 2}, {"sort_keys": True, "ensure_ascii": False}, {"separators": (",", ":")}):
        made.append(json.dumps(things, default=default, **options))
    out = io.StringIO()
    json.dump(things, out, default=default, indent=1)
    fast, json.encoder.c_make_encoder = json.encoder.c_make_encoder, None
    try:
        made.append("".join(json.JSONEncoder(default=default).iterencode(things)))
    finally:
        json.encoder.c_make_encoder = fast
    try:
        json.loads(text[:-3])
    except ValueError as error:
        made.append(str(error))
    return made


# ---- ast ----

class Names(ast.NodeVisitor):
    def __init__(self):
        self.names = set()

    def visit_Name(self, node):
        samples.take()
        self.names.add(node.id)

    def visit_FunctionDef(self, node):
        self.names.add(node.name + "()")
        self.generic_visit(node)


class Renaming(ast.NodeTransformer):
    def visit_arg(self, node):
        samples.take()
        node.arg += "_"
        return node

    def visit_Name(self, node):
        return ast.copy_location(ast.Name(node.id + "_", node.ctx), node)


def load_ast(folder, number):
    import argparse
    import dataclasses
    import textwrap
    modules = (textwrap, json.decoder, dataclasses, ast, argparse)
    with open(modules[number % len(modules)].__file__, encoding="utf-8") as file:
        text = file.read()
    tree = ast.parse(text)
    names = Names()
    names.visit(tree)
    made = [names, sum(1 for _ in ast.walk(tree)), compile(tree, "parsed-%d" % number, "exec")]
    made.append(ast.fix_missing_locations(Renaming().visit(ast.parse(text))))
    if hasattr(ast, "unparse"):
        made.append(ast.unparse(tree))
    made.append(ast.literal_eval(repr(document(2, 3))))
    source = "def made_here(n):\n\n  return [str(n * i) for i in range(n)]\nkept = made_here(50)"
    exec(compile(source, "<made>", "exec"), {})
    return made + [tree]


# ---- a test runner ----

TESTS = '''
import pytest, unittest
@pytest.fixture(params=range(3))
def number(request):
    yield request.param * 2
@pytest.fixture
def things(number, tmp_path):
    (tmp_path / "file").write_text(str(number))
    return {"number": number, "list": [str(i) for i in range(number)]}
@pytest.mark.parametrize("a", range(4))
def test_product(a, number):
    assert a * number == number * a
def test_things(things, capsys):
    print(things)
    assert things["list"] in [things["list"]]
@pytest.mark.xfail
def test_of_a_failure(things):
    assert {"other": list(range(50))} == things
class TestClass:
    def test_raises(self):
        with pytest.raises(ValueError, match="no"):
            int("no")
class TestUnit(unittest.TestCase):
    def test_equal(self):
        self.assertEqual([1], [1])
'''
UNIT_TESTS = '''
import unittest
class TestUnit(unittest.TestCase):
    def setUp(self):
        self.things = {str(i): list(range(i)) for i in range(20)}
    def test_many(self):
        for i in range(5):
            with self.subTest(i=i):
                self.assertEqual(self.things[str(i)], list(range(i)))
    @unittest.expectedFailure
    def test_of_a_failure(self):
        self.assertEqual(self.things, {})
    def test_raises(self):
        self.assertRaisesRegex(ValueError, "no", int, "no")
'''


def run_tests(folder, number, pytest):
    """Collects and runs a small module of tests; its name is new, so that it is imported each time."""
    path = os.path.join(folder, "test_number_%d.py" % number)
    with open(path, "w", encoding="utf-8") as file:
        file.write(TESTS if pytest else UNIT_TESTS)
    if pytest:
        out, sys.stdout = sys.stdout, io.StringIO()
        try:
            return [pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--basetemp",
                                 os.path.join(folder, "temporary"), path]), sys.stdout.getvalue()]
        finally:
            sys.stdout = out
    import unittest
    found = unittest.defaultTestLoader.discover(folder, "test_number_%d.py" % number)
    out = io.StringIO()
    return [int(not unittest.TextTestRunner(out, verbosity=2).run(found).wasSuccessful()), out.getvalue()]


def load_tests(folder, number):
    try:
        import pytest
    except ImportError:
        pytest = None
    made = run_tests(folder, number, pytest)
    if made[0] != 0:
        sys.exit("the tests of the load failed: " + made[1])
    return made


# ---- the two oracles ----

def sample_frames(load, folder, journal):
    gc.set_threshold(97)
    gc.callbacks.append(collecting)
    samples.on = True
    for number in itertools.count():
        if not samples.missing():
            break
        if number % 2:
            sys.setprofile(profile)
        load(folder, number)
        sys.setprofile(None)
    gc.callbacks.clear()
    with open(journal, "w", encoding="utf-8") as file:
        json.dump(samples.stacks, file)


# Objects of these types are never taken from a free list: only then tracemalloc's stack is that of the allocation.
FRESH_TYPES = (str, bytes, set, frozenset, types.FunctionType, types.CodeType)
HEAP_TYPE = 1 << 9   # Py_TPFLAGS_HEAPTYPE


def is_fresh(thing):
    kind = type(thing)
    return kind in FRESH_TYPES or (
        kind.__flags__ & HEAP_TYPE and not isinstance(thing, (dict, list, tuple, float, int)))


def objects_alive():
    """The objects that the collector knows, and those that they hold, each once."""
    seen, found = set(), []
    for thing in itertools.chain(gc.get_objects(), *map(gc.get_referents, gc.get_objects())):
        if id(thing) not in seen:
            seen.add(id(thing))
            found.append(thing)
    return found


def sample_tracemalloc(load, folder, journal):
    import tracemalloc
    older = objects_alive()   # and they stay alive, so that their ids are theirs
    older_ids = set(map(id, older))
    tracemalloc.start(TRACEMALLOC_FRAMES)
    number = 0
    while True:
        # Twice as often before each look, because a look costs more than the load.
        for _ in range(max(number, 1)):
            kept.append(load(folder, number))
            number += 1
        alive = [thing for thing in objects_alive() if is_fresh(thing) and id(thing) not in older_ids]
        # Evenly chosen, so that neither what came first nor what came last is all of it.
        chosen = alive[::max(len(alive) // (samples.wanted * 2), 1)]
        known = [thing for thing in chosen if tracemalloc.get_object_traceback(thing)]
        if len(known) >= samples.wanted:
            break
    stacks = [(id(thing), [(frame.filename, frame.lineno) for frame in tracemalloc.get_object_traceback(thing)][::-1])
              for thing in known]
    tracemalloc.stop()
    with open(journal, "w", encoding="utf-8") as file:
        json.dump(stacks, file)
    kept.append(known)


def lines_of(first_line, kind, table):
    code = (lambda: None).__code__
    if kind == 1:
        code = code.replace(co_firstlineno=first_line, co_lnotab=table, co_code=bytes(1 << 17))
        starts = list(dis.findlinestarts(code))
        return [(start, end, line) for (start, line), (end, _) in zip(starts, starts[1:] + [(1 << 17, 0)])]
    return list(code.replace(co_firstlineno=first_line, co_linetable=table).co_lines())


def main(arguments):
    if arguments == ["lines"]:
        json.dump([lines_of(first, kind, bytes.fromhex(table)) for first, kind, table in json.load(sys.stdin)],
                  sys.stdout)
        return
    oracle, load, wanted, journal, folder = arguments
    samples.wanted = int(wanted)
    sys.path.insert(0, folder)
    {"frames": sample_frames, "tracemalloc": sample_tracemalloc}[oracle](globals()["load_" + load], folder, journal)
    print("pytest" if load == "tests" and "pytest" in sys.modules else load)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
