/* SPDX-License-Identifier: MIT */
/*
 * From the linker's names to the programmer's: C++ (Itanium ABI) and Rust (legacy and v0).
 *
 * Names come from files that nobody vouches for.  Whatever they hold, an answer comes within milliseconds, within
 * a bounded stack and within the caller's buffer.
 */
#ifndef SCTMEM_READER_DEMANGLE_H
#define SCTMEM_READER_DEMANGLE_H

#include <stdbool.h>
#include <stddef.h>

enum {
	DEMANGLE_RUST_SIZE_MAX = 32 << 10,   /* longer names stay as they are */
	DEMANGLE_CXX_SIZE_MAX = 4 << 10,     /* a C++ name needs stack in the square of its length */
};

/*
 * Writes the readable form of `mangled` to `out`: "std::vector<int, std::allocator<int> >::reserve".  Parameter
 * lists, return types, Rust's hashes and the suffixes of compilers' copies (.cold, .constprop.0) are left out:
 * what remains is how the function is called in its source, template arguments included.
 *
 * False when the name is not mangled, or in no way known here: `out` is then the name itself.  `out` always ends
 * with a NUL; what does not fit is cut, and ends in "...".  Safe to call from several threads.
 */
bool demangle(const char *mangled, char *out, size_t out_size);

/* Copies a name under the same rule for what does not fit; never cuts a UTF-8 character in two. */
void demangle_copy(const char *name, char *out, size_t out_size);

#endif
