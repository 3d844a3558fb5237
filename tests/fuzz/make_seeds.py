#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the stored seeds of the fuzz targets anew:  make_seeds.py GOLDEN_CAPTURES

GOLDEN_CAPTURES is that program of the build folder.  Run when the format of captures changes, or when compilers have
learned something that symbols should be tried with; the tests only read what is stored.  Needs gcc, g++, clang, rustc
and binutils.  All that lies in findings/ stays as it is: what was once found is tried for ever.
"""
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SEEDS = HERE / "seeds"
GOLDEN = HERE.parent / "golden"
SIZE_MAX = 16384                   # larger ones make a fuzzer slow
BLOCK_SIZE = 64
BLOCK_EVENTS = 2

C = r"""
typedef unsigned long size;
static inline __attribute__((always_inline)) size leaf(size n) { return n * 3 + 1; }
static inline __attribute__((always_inline)) size middle(size n) { return leaf(n) ^ leaf(n + 1); }
static __attribute__((noinline)) size hidden(volatile size *at, size n)
{
	while (n--)
		*at += middle(n);
	return *at;
}
size entry(size n)
{
	volatile size here = n;
	return hidden(&here, n) + (n > 7 ? leaf(n) : 0);
}
"""
CXX = C.replace("size entry(size n)\n", "namespace app { namespace { struct Box { size held; __attribute__((noinline)) "
                "size open(size n) const volatile { return leaf(n) + held; } }; } template <typename T> "
                "__attribute__((noinline)) T twice(T n) { volatile Box box = { n }; return box.open(n) * 2; } }\n"
                'extern "C" size entry(size n)\n').replace("leaf(n) : 0", "app::twice(n) : 0")

# Small files: code at 0x1000, where fuzz_symbols looks for it, and hardly any padding.
LINK = ["-nostdlib", "-shared", "-fPIC", "-O2", "-fno-asynchronous-unwind-tables", "-Wl,--hash-style=gnu",
        "-Wl,-z,max-page-size=16", "-Wl,-z,norelro", "-Wl,--section-start=.text=0x1000", "-Wl,--build-id=sha1"]
MODULES = {
    "gcc_dwarf4": ["gcc", "-gdwarf-4"],
    "gcc_dwarf5": ["gcc", "-gdwarf-5"],
    "gcc_compressed": ["gcc", "-gdwarf-5", "-gz"],
    "gcc_types": ["g++", "-gdwarf-4", "-fdebug-types-section"],
    "gcc_sections": ["gcc", "-gdwarf-5", "-ffunction-sections"],
    "gcc_32bit": ["gcc", "-m32", "-gdwarf-5"],
    "gcc_plain": ["gcc", "-g0"],
    "gcc_stripped": ["gcc", "-g0", "-s"],
    "cxx_dwarf5": ["g++", "-gdwarf-5"],
    "clang_dwarf4": ["clang", "-gdwarf-4"],
    "clang_dwarf5": ["clang", "-gdwarf-5"],
    "clang_split": ["clang", "-gdwarf-5", "-gsplit-dwarf"],
    "cxx_clang": ["clang", "-x", "c++", "-gdwarf-5"],
}
COMMANDS = """
stats sample | stats --json -n 3 sample child | stats --time 0.1..1s --thread 4242 killed | stats
flamegraph -o page.html -f --leaks --title <b> sample | flamegraph -i --no-source -o - hostile
leaks --json --all sample | leaks -n 2 --suppressions none sample | tree --at peak sample
tree --at 1m30s -m live sample
tree --metric peak --function ^load$ --file app.py --module demo --json sample | summary --json sample
table --by stack --sort live sample | table --domain heap,python --no-symbols -v hostile | table --json killed
export --format pprof -o x.pb.gz sample | export -o x.speedscope.json sample | export --format csv --table blocks sample
export --format dhat -m total sample | check --max-peak 500MB --max-leak 0 --max-total 1.5GiB sample
check --max-growth 5% --baseline sample --growth-of peak,leak --junit x.xml child | check --github --max-peak 1 sample
windows --json sample | windows -n 3 --from a --to b sample | dump sample | dump --json --header --stream 1 hostile
run -q -o x.bin --follow exec:python* --native full -- python3 x.py | doctor --json python3 | help export | help
-- | stats --at | stats -- sample
tree --temporary-limit 10 --debuginfod sample | stats -jn5 sample | -h | stats --help
"""
NAMES = ["_Z3fooiPKc", "_ZNSt6vectorIiSaIiEE7reserveEm", "_ZZ4mainENKUlvE_clEv", "_ZnwmSt11align_val_t",
         "_ZN3foo3barEv.constprop.0.isra.0", "_ZN12_GLOBAL__N_16hiddenEv", "main", "operator new",
         "_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
         "_RNvNtCs1234_7mycrate3foo3bar", "_RNvMs_NtCs4fqI2P2rA04_4core3fmtNtB4_9Formatter3pad",
         "_RINvNtC3std3mem8align_ofdE", "_RNvXs_C4testNtB4_3FooNtB4_3Bar3baz.llvm.1234", "_D3foo3barFZv"]


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def make_captures(program):
    (SEEDS / "capture").mkdir(parents=True, exist_ok=True)
    subprocess.run([program, str(SEEDS / "capture"), "plain"], check=True)
    for path in (SEEDS / "capture").iterdir():
        if path.stat().st_size > SIZE_MAX:
            path.unlink()


def make_events():
    """The contents of the blocks of events, which lie uncompressed in these captures; version 1 has old columns."""
    for path in sorted((SEEDS / "capture").glob("*.bin")) + [GOLDEN / "capture_v1.bin"]:
        data = path.read_bytes()
        for number, at in enumerate(at for at in range(0, len(data) - BLOCK_SIZE, 8) if data[at:at + 4] == b"SBLK"):
            kind, _, stored = struct.unpack_from("<HHI", data, at + 4)
            if kind == BLOCK_EVENTS and path.stem in ("sample", "windows", "capture_v1"):
                write("events", "{}.{}".format(path.stem, number), data[at + BLOCK_SIZE:at + BLOCK_SIZE + stored])


def make_modules():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, (compiler, *options) in MODULES.items():
            cxx = "++" in compiler or "c++" in options
            source = folder / ("x.cc" if cxx else "x.c")
            source.write_text(CXX if cxx else C)
            extra = ["-fno-exceptions", "-fno-rtti"] if cxx else []
            subprocess.run([compiler, *options, *LINK, *extra, "-ffile-prefix-map={}=/src".format(folder), "-o", name,
                            source.name], cwd=folder, check=True)
            if name == "gcc_dwarf5":
                subprocess.run("objcopy --only-keep-debug {0} x.debug && objcopy --strip-debug "
                               "--add-gnu-debuglink=x.debug {0} gcc_debuglink".format(name),
                               shell=True, cwd=folder, check=True)
                write("symbols", "gcc_debuglink", (folder / "gcc_debuglink").read_bytes())
            write("symbols", name, (folder / name).read_bytes())
            lines = folder / "lines"
            subprocess.run(["objcopy", "-O", "binary", "--only-section=.debug_line", "--set-section-flags",
                            ".debug_line=alloc", name, lines.name], cwd=folder)
            if lines.exists() and lines.stat().st_size and "compressed" not in name:
                write("line_program", name, lines.read_bytes())
            lines.unlink(missing_ok=True)


def loaded(data):
    """A library as it lies in memory, from its first page on."""
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    image = bytearray()
    for at in range(offset, offset + size * count, size):
        kind, _, start, address, _, stored, whole, _ = struct.unpack_from("<IIQQQQQQ", data, at)
        if kind == 1:
            image.extend(bytes(max(0, address + whole - len(image))))
            image[address:address + stored] = data[start:start + stored]
    return bytes(image)


def make_remote():
    """Mappings (first page, pages, flags, offset), then memory: one library, two, one beside which something else lies,
    and the kernel's own, which nobody relocates."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "x.c"
        source.write_text(C + "size malloc(size n) { return n; }\nsize dlopen(size n) { return n + 1; }\n")
        subprocess.run(["gcc", "-fno-builtin", *LINK, "-o", "x.so", source.name], cwd=folder, check=True)
        image = loaded((pathlib.Path(folder) / "x.so").read_bytes())
    pages = (len(image) + 4095) // 4096
    image += bytes(pages * 4096 - len(image))
    write("remote_elf", "one", bytes([0, pages, 3, 0, 0, 0, 0, 0]) + image)
    write("remote_elf", "vdso", bytes([0, pages, 7, 0, 0, 0, 0, 0]) + image)
    write("remote_elf", "two", bytes([0, pages, 3, 0, pages, pages, 3, 0, 0, 0, 0, 0]) + image + image)
    write("remote_elf", "cut", bytes([0, 1, 2, 0, 1, pages - 1, 3, 1, 0, 0, 0, 0]) + image[:4096 + 200])


def make_segments():
    golden = [(GOLDEN / name).read_bytes() for name in ("capture_v4.bin", "capture_v4.000002.bin")]
    write("segments", "golden", b"".join(golden))
    write("segments", "reversed", b"".join(reversed(golden)))
    write("segments", "second_twice", golden[1] * 2)


def make_python_lines():
    """Three tables of each interpreter: kind, first line and an offset in the code, then the table."""
    for path in sorted((GOLDEN / "python_lines").glob("3*.txt")):
        found = re.findall(r"^code (\d+) (\d+) (\d+) .*\ntable (\w+)$", path.read_text(), re.MULTILINE)
        for number, (kind, line, units, table) in enumerate(found[:3]):
            write("python_lines", "{}.{}".format(path.stem, number),
                  struct.pack("<BII", int(kind), int(line), int(units) // 2) + bytes.fromhex(table))


def make_kept_names():
    """Payloads of kept names (reader/names.h) of one, of some and of many addresses."""
    for name, count in (("one", 1), ("some", 9), ("many", 120)):
        text, frames, places = b"\0", b"", b""
        for number in range(count):
            inlined = number % 4
            frames += struct.pack("<QII", 4096 + 16 * number, inlined + 1, 0)
            for place in range(inlined + 1):
                function, file = len(text), 0
                text += "function_{}_{}".format(number, place).encode() + b"\0"
                if number % 3:
                    file = len(text)
                    text += b"/src/file.c\0"
                places += struct.pack("<IIII", function, file, number, (place < inlined) | 2)
        write("symbol_cache", name,
              struct.pack("<IIII", count, len(places) // 16, len(text), 0) + frames + places + text)


def main(program):
    make_captures(program)
    make_kept_names()
    make_events()
    make_modules()
    make_python_lines()
    make_remote()
    make_segments()
    for number, line in enumerate(COMMANDS.strip().replace("\n", " | ").split(" | ")):
        write("command", "{:02}".format(number), "\n".join(line.split(" ")).encode())
    for number, name in enumerate(NAMES):
        write("demangle", "{:02}".format(number), name.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
