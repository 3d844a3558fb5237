# SPDX-License-Identifier: MIT
"""Runs under python_walk_library.so and compares what was walked with what the interpreter says itself.

    python_walk_victim.py MODE [ARGUMENT]

Prints one line of results; exits with 1 at the first difference.  Runs on Python 3.8 and everything later.
"""
import ast
import asyncio
import collections
import ctypes
import functools
import gc
import io
import json
import os
import random
import re
import sys
import threading
import time
import tracemalloc

ATTACHED = ctypes.PyDLL(None)
DETACHED = ctypes.CDLL(None)
U64 = ctypes.c_uint64
for library in ATTACHED, DETACHED:
    library.walk_count.restype = U64
    library.walk_cost.restype = U64
    library.walk_now.restype = ctypes.c_long
    library.walk_native.restype = ctypes.c_long
    library.walk_lookup.restype = ctypes.c_long
    library.walk_lookup.argtypes = [ctypes.c_size_t, ctypes.POINTER(U64), ctypes.c_long]
    library.walk_code.restype = ctypes.c_void_p

VERSION = sys.version_info[:2]
READY, REFUSED = 2, 3
FRAMES_MAX = 4096
NATIVE_MAX = 8192
differences = []
checks = collections.Counter()


def differ(*what):
    differences.append(what)
    if len(differences) <= 5:
        print('DIFFERENT', *what, file=sys.stderr)


class Buffers(threading.local):
    def __init__(self):
        self.frames = (U64 * (5 * FRAMES_MAX))()
        self.native = (U64 * (4 * NATIVE_MAX))()
        self.extra = (U64 * 4)()


buffers = Buffers()


NOT_BEGUN = 0xffffff


def units_of(frame):
    return frame.f_lasti // 2 if frame.f_lasti >= 0 else NOT_BEGUN


def probe(library=ATTACHED):
    """Compares the walk of this moment with sys._getframe() and with the native stack."""
    b = buffers
    frames, extra = b.frames, b.extra
    count = library.walk_now(frames, FRAMES_MAX, extra)
    truth = []
    frame = sys._getframe()
    while frame is not None:
        truth.append((id(frame.f_code), units_of(frame), frame.f_code.co_name))
        frame = frame.f_back
    truth.reverse()
    checks['attached' if library is ATTACHED else 'detached'] += 1
    if count != len(truth):
        return differ('depth', count, len(truth), truth[-4:])
    for i, (code, units, name) in enumerate(truth):
        if frames[5 * i] != code:
            return differ('code', i, count, name)
        if i < count - 1 and frames[5 * i + 1] != units:
            return differ('instruction', i, count, name, frames[5 * i + 1], units)
    checks['frames'] += count
    addresses = [frames[5 * i + 3] for i in range(count) if frames[5 * i + 3]][::-1]
    return compare_native(count, addresses, extra[0], truth, DETACHED.walk_native(b.native, NATIVE_MAX))


# Where the interpreter loop is: the compiler may have split it in two.
loop_parts = set()


def compare_native(count, addresses, innermost, truth, native_count):
    native = buffers.native
    known = sum(native[4 * i + 3] for i in range(native_count))
    if VERSION < (3, 10):
        if addresses or known != count:
            differ('loops', known, count)
        checks['activations'] += known
        return
    if innermost != addresses[0]:
        differ('innermost activation')
    at, within = 0, []
    for i in range(native_count):
        if at < len(addresses) and native[4 * i] <= addresses[at] < native[4 * i + 1]:
            loop_parts.add(native[4 * i + 2])
            at += 1
            within.append(i)
    if at < len(addresses):
        differ('address in no frame', at, addresses, truth[-4:])
    if within != [i for i in range(native_count) if native[4 * i + 2] in loop_parts]:
        differ('activations', within, [i for i in range(native_count) if native[4 * i + 2] in loop_parts], truth[-4:])
    if len(loop_parts) > 2:
        differ('parts', loop_parts)
    if known != len(within):
        differ('loops', known, len(within))
    checks['activations'] += len(within)


def both():
    probe(ATTACHED)
    probe(DETACHED)


# ---- shapes of stacks to probe ----

class Key:
    def __init__(self, value):
        self.value = value
        if value % 3 == 0:
            both()

    def __lt__(self, other):
        both()
        return self.value < other.value

    def __del__(self):
        both()

    @property
    def half(self):
        both()
        return self.value / 2

    def __getattr__(self, name):
        both()
        return 1

    def __call__(self, x):
        both()
        return x


def counting(n):
    for i in range(n):
        both()
        yield i


def delegating(n):
    yield from counting(n)
    try:
        yield 1
    finally:
        both()


async def resting(n):
    both()
    if n:
        await asyncio.sleep(0)
        await resting(n - 1)
    both()


async def stream(n):
    for i in range(n):
        both()
        await asyncio.sleep(0)
        yield i


async def gathering():
    await asyncio.gather(*(resting(i) for i in range(4)))
    async for _ in stream(3):
        both()
    return [i async for i in stream(2)]


CALLBACK = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int)
CALLBACK_DETACHED = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)


def called_back(n):
    both()
    return n + 1


def recurse(n):
    if n == 0:
        both()
        return 0
    return 1 + (recurse(n - 1) if n % 3 else functools.reduce(lambda a, b: a + recurse(n - 1), (0, 0)))


def thrown():
    def inner():
        try:
            yield 1
        except ValueError:
            yield 2

    def outer():
        yield from inner()

    g = outer()
    next(g)
    assert g.throw(ValueError()) == 2
    g.close()


def raising(n):
    try:
        if n:
            raising(n - 1)
        raise KeyError(n)
    except KeyError:
        both()
    finally:
        both()


def shapes():
    sorted([Key(i) for i in (3, 1, 2)])
    sorted([1, 2, 3], key=Key(1))
    list(counting(3))
    list(delegating(2))
    g = delegating(3)
    next(g)
    del g
    next(map(called_back, (1,)))
    asyncio.run(gathering())
    CALLBACK(called_back)(1)
    CALLBACK_DETACHED(called_back)(1)
    recurse(7)
    thrown()
    raising(3)
    Key(4).half
    Key(5).missing
    [both() for _ in range(2)]
    {both() for _ in range(2)}
    list(both() for _ in range(2))

    class Body:
        both()

        class Inner(metaclass=type('Meta', (type,), {'__call__': lambda *a: both()})):
            both()

        Inner()

    exec(compile('def gone():\n  both()\n\n\ngone()\nboth()', 'gone-%d' % random.randrange(9), 'exec'), {'both': both})
    eval('both()', {'both': both})
    re.sub('a', lambda m: both() or 'b', 'banana')
    json.loads('{"a": {"b": 1}}', object_hook=lambda d: both() or d)
    sys.settrace(lambda *a: None)
    both()
    sys.settrace(None)
    sys.setprofile(lambda *a: None)
    both()
    sys.setprofile(None)


def mode_shapes(seconds):
    end = time.monotonic() + seconds

    def work():
        random.seed(threading.get_ident())
        while time.monotonic() < end:
            for _ in range(2):
                shapes()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    work()
    for t in threads:
        t.join()
    return checks


# ---- every allocation, against tracemalloc ----

def decode_lnotab(table, line):
    lines = []
    for i in range(0, len(table), 2):
        lines.extend([line] * (table[i] // 2))
        delta = table[i + 1]
        line += delta - 256 if delta >= 128 else delta
    return lines, line


def decode_pep626(table, line):
    lines = []
    for i in range(0, len(table), 2):
        delta = table[i + 1]
        none = delta == 128
        if not none:
            line += delta - 256 if delta >= 128 else delta
        lines.extend([None if none else line] * (table[i] // 2))
    return lines, None


def decode_locations(table, line):
    lines, at = [], 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = table[at]
            at += 1
            value |= (byte & 63) << shift
            shift += 6
            if not byte & 64:
                return value

    def signed():
        value = varint()
        return -(value >> 1) if value & 1 else value >> 1

    while at < len(table):
        first = table[at]
        at += 1
        kind, length = first >> 3 & 15, (first & 7) + 1
        none = kind == 15
        if kind == 14:
            line += signed()
            varint(), varint(), varint()
        elif kind == 13:
            line += signed()
        elif 10 <= kind <= 12:
            line += kind - 10
            at += 2
        elif kind < 10:
            at += 1
        lines.extend([None if none else line] * length)
    return lines, None


class Codes:
    """Codes by id, as they were announced."""

    def __init__(self):
        self.known = {}

    def get(self, number):
        if number not in self.known:
            sizes = (U64 * 5)()
            at = DETACHED.walk_code(ctypes.c_uint32(number), sizes)
            first, kind, file_size, name_size, table_size = sizes
            data = ctypes.string_at(at, file_size + name_size + table_size)
            table = data[file_size + name_size:]
            lines, rest = (decode_lnotab, decode_pep626, decode_locations)[kind - 1](table, first)
            name = data[file_size:file_size + name_size].decode()
            self.known[number] = (data[:file_size].decode(), name, lines, rest, first)
        return self.known[number]

    def line(self, number, units):
        file, _, lines, rest, first = self.get(number)
        if units == NOT_BEGUN:
            return file, first
        return file, (lines[units] if units < len(lines) else rest) or 0


kept = collections.deque(maxlen=6000)


class Plain:
    pass


class Slotted:
    __slots__ = ('a', 'b')


class Tree(ast.NodeVisitor):
    def generic_visit(self, node):
        kept.append(Plain())
        super().generic_visit(node)


def make(kind):
    kept.append((Plain, Slotted, bytearray, set, lambda: bytes(700), lambda: 'x' * 99, object)[kind % 7]())


def deep(n):
    make(n)
    if n:
        for _ in range(2 if n % 5 == 0 else 1):
            deep(n - 1)
    make(n)


def generated(number):
    text = '\n' * (number % 50) + 'def f_%d(make, n):\n  make(n)\n  return [make(n), (lambda: make(n))()]\n' % number
    space = {}
    exec(compile(text, 'generated-%d' % number, 'exec'), space)
    space['f_%d' % number](make, number)


def unwinding(n):
    try:
        if n == 0:
            raise ValueError(n)
        unwinding(n - 1)
    except ValueError:
        make(n)
        raise
    finally:
        make(n + 1)


def generator(n):
    for i in range(n):
        make(i)
        yield i


async def coroutine(n):
    make(n)
    await asyncio.sleep(0)
    make(n + 1)


async def coroutines():
    await asyncio.gather(*(coroutine(i) for i in range(5)))


class Dying:
    def __del__(self):
        make(5)


def one(chance):
    what = chance.randrange(10)
    if what == 0:
        deep(chance.randrange(25))
    elif what == 1:
        generated(chance.randrange(1 << 30))
    elif what == 2:
        try:
            unwinding(chance.randrange(12))
        except ValueError:
            pass
    elif what == 3:
        for _ in generator(5):
            make(2)
        list(generator(3))
    elif what == 4:
        asyncio.run(coroutines())
    elif what == 5:
        Dying()
        sorted(range(5), key=lambda i: make(i) or -i)
    elif what == 6:
        Tree().visit(ast.parse('def f(a):\n  return [x + 1 for x in a if x]\n' * 3))
    elif what == 7:
        json.loads(json.dumps([{'a': i} for i in range(5)]), object_hook=lambda d: make(1) or d)
    elif what == 8:
        class Body:
            make(3)
            values = [make(i) for i in range(3)]
            made = property(lambda self: make(4))
        Body().made
    else:
        out = io.StringIO()
        for line in re.split('n', 'banana' * 4):
            print(line, make(6), file=out)
        {make(i): make(i) for i in range(3)}


def address_found(found, thing):
    for header in (0, 16, 32, 8, 24, 48):
        count = DETACHED.walk_lookup(id(thing) - header, found, FRAMES_MAX)
        if count >= 0:
            return count
    return -1


def mode_oracle(seconds):
    codes, found = Codes(), (U64 * FRAMES_MAX)()
    end = time.monotonic() + seconds
    DETACHED.walk_record(1)
    tracemalloc.start(300)
    result = collections.Counter()

    def work(seed):
        chance = random.Random(seed)
        while time.monotonic() < end:
            one(chance)

    def compare():
        for thing in list(kept):
            trace = tracemalloc.get_object_traceback(thing)
            count = address_found(found, thing)
            if trace is None or count < 0:
                result['absent'] += 1   # tracemalloc misses objects with inline values before 3.12
                continue
            walked = [codes.line(found[i] >> 32, found[i] & 0xffffffff) for i in range(count)]
            told = [(frame.filename, frame.lineno) for frame in trace]
            result['objects'] += 1
            result['frames'] += len(told)
            if walked != told:
                differ(type(thing), [w for w, t in zip(walked, told) if w != t][:3], told[-3:], len(walked), len(told))

    while time.monotonic() < end:
        round_end, keep_end = min(end, time.monotonic() + 1.5), end
        end = round_end
        threads = [threading.Thread(target=work, args=(random.random(),)) for _ in range(4)]
        for t in threads:
            t.start()
        work(0)
        for t in threads:
            t.join()
        end = keep_end
        compare()
        kept.clear()
        gc.collect()
    tracemalloc.stop()
    checks.update(result)
    return checks


# ---- the rest ----

def mode_names(_):
    """Files, names and first lines as they were announced, for all functions that are alive."""
    space = {}
    names = ['plain', 'été', '名前', 'x' * 900, 'é' * 900, '\U00020000x']
    for name in names:
        exec(compile('def %s(both):\n  both()' % name, 'dir/' + name + '-é\U0001f40d.py', 'exec'), space)
        space[name](both)
    known, codes = {}, Codes()
    for number in range(1, DETACHED.walk_count(3) + 1):
        file, name, *_ = codes.get(number)
        known[file, name] = number
    attribute = 'co_qualname' if VERSION >= (3, 11) else 'co_name'
    for function in [space[name] for name in names] + [probe, both, mode_names, main]:
        code = function.__code__
        if (code.co_filename, getattr(code, attribute)) not in known:
            differ('name', code.co_filename, getattr(code, attribute))
    checks['names'] = len(known)
    return checks


def nested(n, do):
    return do() if n <= 1 else nested(n - 1, do)


def mode_cost(_):
    costs = []
    sys.setrecursionlimit(10000)
    for depth in (5, 20, 50, 100):
        costs.append((depth, nested(depth - 2, lambda: ATTACHED.walk_cost(20000)) / 100))
    return costs


def mode_deep(_):
    """Beyond the limit of depth: the inner frames are right, and the stack says that it was cut."""
    sys.setrecursionlimit(20000)
    threading.stack_size(512 << 20)

    def down(n):
        if n % 97 == 0:
            check(n)
        if n:
            down(n - 1)
            if n % 89 == 0:
                check(n)

    def check(n):
        b = buffers
        count = ATTACHED.walk_now(b.frames, FRAMES_MAX, b.extra)
        frame, depth, i = sys._getframe(), 0, count
        while frame is not None:
            if i > 0:
                i -= 1
                if b.frames[5 * i] != id(frame.f_code) or (depth and b.frames[5 * i + 1] != units_of(frame)):
                    return differ('deep', n, depth)
            depth += 1
            frame = frame.f_back
        checks['deep'] += 1
        if (count < depth) != bool(b.extra[1]):
            differ('truncated', count, depth, b.extra[1])
        checks['truncated'] += b.extra[1]
        checks['most'] = max(checks['most'], count)
        checks['least cut'] = min(checks['least cut'] or 9999, count) if b.extra[1] else checks['least cut']

    thread = threading.Thread(target=down, args=(6000,))
    thread.start()
    thread.join()
    return checks


def hooks_seen():
    before = DETACHED.walk_count(43)
    things = [Slotted() for _ in range(1000)]
    del things
    return DETACHED.walk_count(43) - before


def hooks_seen_again():
    """The more often a look found all in place, the more seldom it is: how many calls of malloc it takes varies."""
    for _ in range(16):
        for _ in range(4000):
            bytearray(4000)
        seen = hooks_seen()
        if seen >= 1000:
            break
    return seen


def mode_hooks(_):
    """Objects are seen whatever is done to the allocators."""
    seen = [hooks_seen()]
    tracemalloc.start()
    seen.append(hooks_seen())
    tracemalloc.stop()
    seen.append(hooks_seen())
    # Blocks too large for pymalloc reach malloc, whose hook notices after a while that ours is gone.
    seen.append(hooks_seen_again())
    tracemalloc.start()
    seen.append(hooks_seen_again())
    tracemalloc.stop()
    seen.append(hooks_seen_again())
    late = seen[3:] if sys.argv[2:] == ['before'] else seen
    if min(late) < 1000 or max(seen) > 2500:
        differ('hooks', seen)
    return seen


def mode_reborn(_):
    """Functions that die, with others made in their place: what was known of the stacks of the old ones is void."""
    kind = type(mode_reborn)
    parent = (lambda: (bytearray(100), bytearray(2000), [None] * 50)).__code__
    last, again = 0, 0

    def call(function):
        for _ in range(10):
            function()

    for number in range(500):
        function = kind(parent.replace(co_firstlineno=1000 + number), globals())
        again += id(function.__code__) == last
        last = id(function.__code__)
        call(function)
        del function
    if again < 100:
        differ('no code was made where another had been', again)
    return again


def mode_fork(_):
    DETACHED.walk_follow_fork()
    both()
    before = DETACHED.walk_count(3)
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            bytearray(4000)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for t in threads:
        t.start()
    codes = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            both()
            seen = hooks_seen()
            codes = DETACHED.walk_count(3)
            records = ctypes.c_uint32()
            DETACHED.walk_runtime(*[ctypes.byref(x) for x in (ctypes.c_uint32(), ctypes.c_uint32(), records,
                                                             ctypes.c_char_p(), ctypes.c_char_p())])
            good = not differences and seen >= 1000 and 0 < codes < before and records.value == 2 and \
                DETACHED.walk_state() == READY
            os._exit(0 if good else 1)
        if os.waitpid(pid, 0)[1] != 0:
            differ('child')
    stop.set()
    for t in threads:
        t.join()
    both()
    return checks


def mode_interpreters(_):
    try:
        import _interpreters as interpreters
    except ImportError:
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            return 'none'
    script = '''if 1:
    import ctypes, sys
    L = ctypes.PyDLL(None)
    D = ctypes.CDLL(None)
    def at(lib):
        frames = (ctypes.c_uint64 * 1000)(); extra = (ctypes.c_uint64 * 4)()
        count = lib.walk_now(frames, 200, extra)
        truth = []; f = sys._getframe()
        while f: truth.append(id(f.f_code)); f = f.f_back
        if count < 0 and extra[2]: return -1
        assert [frames[5 * i] for i in range(count)] == truth[::-1], (count, truth, list(frames[:10]))
        return count
    def inner(n):
        if n: return inner(n - 1)
        a = at(L), at(D)
        assert a[0] > 5
        if sys.version_info >= (3, 12): assert a[1] > 5, a
    inner(5)
    '''

    def use():
        both()
        for _ in range(5):
            other = interpreters.create(**({'isolated': False} if VERSION == (3, 12) else {}))
            failed = interpreters.run_string(other, script)
            if failed is not None:
                differ('interpreter', failed)
            interpreters.destroy(other)
            checks['interpreters'] += 1
        probe(ATTACHED)

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    both()
    return checks


def mode_exit(_):
    """Daemon threads, mostly detached and deep, while the interpreter ends."""
    free = DETACHED.walk_now

    def loop():
        frames, extra = (U64 * 5000)(), (U64 * 4)()
        while True:
            free(frames, 1000, extra)
            bytearray(3000)

    for _ in range(4):
        threading.Thread(target=nested, args=(150, loop), daemon=True).start()
    time.sleep(0.1)
    return 'left'


def main():
    mode = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2][0].isdigit() else 2
    if DETACHED.walk_state() != READY:
        print('not ready: state', DETACHED.walk_state())
        return 1
    result = globals()['mode_' + mode](seconds)
    # Instructions are addresses since 3.11, and threads of free-threaded builds run copies.
    if VERSION >= (3, 11) and 't' not in sys.abiflags and mode in ('shapes', 'oracle') and not DETACHED.walk_count(255):
        differences.append('no stack was found among those seen lately')
    if isinstance(result, collections.Counter):
        result = ', '.join('%s %d' % item for item in sorted(result.items()))
    print('%d.%d' % VERSION, mode, result, 'walks', DETACHED.walk_count(0), 'unknown', DETACHED.walk_count(1),
          'compared with fresh', DETACHED.walk_count(2), 'found lately', DETACHED.walk_count(255), 'codes',
          DETACHED.walk_count(3), 'DIFFERENCES', len(differences))
    return 1 if differences else 0


if __name__ == '__main__':
    sys.exit(main())
