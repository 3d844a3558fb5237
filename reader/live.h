/* SPDX-License-Identifier: MIT */
/*
 * The live blocks of one process: a flat table keyed by address.  Used by replay.c, a few times an event.
 *
 * Linear probing in slots of 24 bytes, at most half of them used; a removal moves later slots back, so there are
 * no tombstones and a search ends at the first free slot.  The hash's multiplier is drawn at random (table.h).
 */
#ifndef SCTMEM_READER_LIVE_H
#define SCTMEM_READER_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "table.h"

struct live_block {
	uint64_t address;             /* LIVE_FREE: the slot is free */
	uint64_t size;
	uint32_t site;
	uint32_t sequence;            /* of its allocation among those of its thread */
};
#define LIVE_FREE UINT64_MAX          /* addresses have 56 bits */

struct live {
	struct live_block *slots;
	uint64_t seed;
	size_t mask, count;
	unsigned shift;
};

MUST_CHECK bool live_init(struct live *live, struct error *error);
void live_finish(struct live *live);
MUST_CHECK bool live_grow(struct live *live, struct error *error);

static inline size_t live_home(const struct live *live, uint64_t address)
{
	/*
	 * Neighbours in memory are neighbours here: programs allocate and free in rows, and a cache line that a row's
	 * next block needs too is what this costs most.  Groups of 512 bytes are scattered; within one, a slot for
	 * every 32 bytes.
	 */
	return ((size_t)(table_hash(address >> 9, live->seed) >> live->shift) + (address >> 5 & 15)) & live->mask;
}

static inline void live_prefetch(const struct live *live, uint64_t address)
{
	__builtin_prefetch(&live->slots[live_home(live, address)], 1);
}

/* The block's slot, or the free slot where it belongs. */
static inline struct live_block *live_slot(const struct live *live, uint64_t address)
{
	size_t i = live_home(live, address);

	while (live->slots[i].address != address && live->slots[i].address != LIVE_FREE)
		i = (i + 1) & live->mask;
	return &live->slots[i];
}

/* Frees a slot that live_slot found in use. */
static inline void live_remove(struct live *live, struct live_block *block)
{
	size_t hole = (size_t)(block - live->slots), i = hole;

	for (;;) {
		i = (i + 1) & live->mask;
		if (live->slots[i].address == LIVE_FREE)
			break;
		/* What lies at i may move into the hole unless its home is after the hole. */
		if (((i - live_home(live, live->slots[i].address)) & live->mask) >= ((i - hole) & live->mask)) {
			live->slots[hole] = live->slots[i];
			hole = i;
		}
	}
	live->slots[hole].address = LIVE_FREE;
	live->count--;
}

#endif
