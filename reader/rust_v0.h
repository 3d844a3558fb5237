/* SPDX-License-Identifier: MIT */
/*
 * Whether a Rust v0 name ("_RNvC4core3foo") is safe to give to a demangler.  Called by demangle.c alone.
 */
#ifndef SCTMEM_READER_RUST_V0_H
#define SCTMEM_READER_RUST_V0_H

#include <stdbool.h>
#include <stddef.h>

enum {
	RUST_V0_SIZE_MAX = 32 << 10,
	RUST_V0_LIFETIMES_MAX = 62 * 62,   /* in one binder; a program has a handful */
	RUST_V0_DEPTH_MAX = 500,
};

/* False for names that are damaged, or that no compiler would make. */
bool rust_v0_is_sound(const char *mangled, size_t size);

#endif
