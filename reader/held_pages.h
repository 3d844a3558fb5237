/* SPDX-License-Identifier: MIT */
/*
 * Which pages have ever held a block: what an allocator has from the system and does not give back.  Used by
 * analysis_resident.c, once an allocation.
 *
 * A bit for each page, in words of 64; and for what a large block covers wholly, a bit for each MiB.  A block of more
 * than HELD_BLOCK_MAX is marked so far only: allocators give such blocks back, and a few events must not cost much
 * memory.
 */
#ifndef SCTMEM_READER_HELD_PAGES_H
#define SCTMEM_READER_HELD_PAGES_H

#include "spans.h"
#include "table.h"

enum { HELD_MEMO = 64 };
#define HELD_BLOCK_MAX ((uint64_t)256 << 20)

/* Of all processes.  All zero is empty. */
struct held_pages {
	struct held_bits {
		struct map64 words;       /* process and address -> index in bits */
		uint64_t *bits, *keys;
		size_t count, bit_capacity, key_capacity;
		struct { uint64_t key; uint32_t index; } memo[HELD_MEMO];   /* before words; key: plus 1 */
	} pages, large;
};

void held_pages_finish(struct held_pages *held);

MUST_CHECK bool held_pages_mark(struct held_pages *held, uint32_t process, uint64_t address, uint64_t size,
	struct error *error);

/* All pages of a process, into an empty list. */
MUST_CHECK bool held_pages_list(const struct held_pages *held, uint32_t process, struct spans *spans,
	struct error *error);

#endif
