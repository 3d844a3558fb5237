/* SPDX-License-Identifier: MIT */
/* The blocks that are live at one moment of a replay, by address; for check_random.c and list_capture.c. */
#ifndef SCTMEM_TESTS_LIVE_BLOCKS_H
#define SCTMEM_TESTS_LIVE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block {
	uint64_t address;             /* 0: an empty slot */
	uint64_t size;
	int64_t count;                /* allocations less frees, where they come in no order */
	uint32_t stack;
	bool of_main;                 /* the main thread's */
};

struct blocks {
	struct block *slots;          /* mask + 1 of them; NULL before the first block */
	size_t mask, count;
};

/* The block's slot, or the empty one where it would be; there must be slots. */
struct block *block_find(const struct blocks *blocks, uint64_t address);
/* The block of that address; a new one, with all else zero, if there was none. */
struct block *block_at(struct blocks *blocks, uint64_t address);
void block_remove(struct blocks *blocks, struct block *block);

#endif
