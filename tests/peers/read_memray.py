# SPDX-License-Identifier: MIT
"""Prints what memray recorded, an event a line as JSON, for `compare`:  read_memray.py FILE [native]

[kind, address, size, site]: kind malloc, calloc, realloc or another allocator's name in small letters; the site is the
innermost Python function and line; with native, the innermost eight native functions.  Frees have no site.
"""
import json
import sys

import memray


def main(path, native=False):
    reader = memray.FileReader(path)
    for record in reader.get_allocation_records():
        allocator = memray.AllocatorType(record.allocator).name.lower()
        site = None
        if record.size and not allocator.endswith(("free", "munmap")):
            frames = record.native_stack_trace(8) if native else record.stack_trace(1)
            site = ["{} {}:{}".format(name, file, line) for name, file, line in frames]
        print(json.dumps([allocator, record.address, record.size, site]))


if __name__ == "__main__":
    main(*sys.argv[1:])
