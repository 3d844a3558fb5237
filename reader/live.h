/* SPDX-License-Identifier: MIT */
/*
 * The live blocks of one process: a flat table keyed by address.  Used by replay.c, about once an event, and nearly
 * each time in another cache line: so a look-up must touch one line, and one that can be prefetched.
 *
 *     bucket, 64 bytes:  | key key key | size size size | site site site | sequence x 3 | state |
 *
 * A block's home is the bucket that its address hashes to.  When that has no free lane it goes LIVE_STEP buckets on,
 * and each bucket that it passes counts it in its state; so a search ends at the first bucket that nothing has passed,
 * nearly always the home itself, and a removal moves nothing.  At most half of the lanes are used, and the steps reach
 * every bucket, so there is always room.
 *
 * Neighbours in memory are neighbours here: programs allocate and free in rows.  Groups of 512 bytes are scattered;
 * within one there is a bucket for every 64 bytes, in an order that differs from group to group: else blocks at the
 * same place of every page would share an eighth of the table.  The upper bits of a product with an odd number that is
 * drawn at random (table.h) are spread as well as a search needs, whatever the addresses are.
 */
#ifndef SCTMEM_READER_LIVE_H
#define SCTMEM_READER_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "table.h"

enum {
	LIVE_LANES = 3,
	LIVE_LANES_ALL = (1 << LIVE_LANES) - 1,
	LIVE_PASSED = 1 << LIVE_LANES,   /* one block more in a bucket's state */
	LIVE_GROUP = 8,               /* buckets that stay together */
	LIVE_STEP = LIVE_GROUP + 1,   /* odd: to the next group, and in the end everywhere */
};

/* A block, unpacked. */
struct live_block {
	uint64_t address;
	uint64_t size;
	uint32_t site;
	uint32_t sequence;            /* of its allocation among those of its thread */
	uint32_t count;               /* the same as a whole number, which its weight is on average */
	double weight;                /* how many blocks it stands for; 0: itself alone */
};

/* What fits no lane: sizes from 2 GiB on, the blocks of a sample.  A free one holds the next free one's index + 1. */
struct live_large {
	uint64_t size;
	double weight;
	uint32_t count;
};

struct live_bucket {
	uint64_t key[LIVE_LANES];     /* address + 1; 0: the lane is free */
	uint32_t size[LIVE_LANES];    /* bytes; with LIVE_LARGE set, where in live.large it says more */
	uint32_t site[LIVE_LANES];
	uint32_t sequence[LIVE_LANES];
	uint32_t state;               /* low bits: the lanes in use; above: blocks that lie further on for lack of room here */
};
_Static_assert(sizeof(struct live_bucket) == 64, "one cache line");
#define LIVE_LARGE 0x80000000u

struct live {
	struct live_bucket *buckets;
	uint64_t seed;
	size_t mask, count;
	unsigned shift;               /* 64 - log2(buckets) */
	struct live_large *large;
	size_t large_count, large_capacity;
	uint64_t large_free;
};

/* Where a block lies; bucket NULL: nowhere.  Valid until the next insertion. */
struct live_place {
	struct live_bucket *bucket;
	unsigned lane;
	size_t home;                  /* the index of the bucket that its address hashes to */
};

MUST_CHECK bool live_init(struct live *live, struct error *error);
void live_finish(struct live *live);

/* The rare parts: the table is half full; the block does not fit a lane. */
MUST_CHECK bool live_grow(struct live *live, struct error *error);
MUST_CHECK bool live_keep_large(struct live *live, const struct live_block *block, uint32_t *kept,
	struct error *error);
void live_drop_large(struct live *live, uint32_t kept);

static inline size_t live_home(const struct live *live, uint64_t address)
{
	return (size_t)((address >> 9) * live->seed >> live->shift ^ (address >> 6 & (LIVE_GROUP - 1)));
}

static inline void live_prefetch(const struct live *live, uint64_t address)
{
	__builtin_prefetch(&live->buckets[live_home(live, address)], 1);
}

/* The lanes of a bucket that hold this key, as bits. */
static inline unsigned live_lanes(const struct live_bucket *bucket, uint64_t key)
{
	return (unsigned)(bucket->key[0] == key) | (unsigned)(bucket->key[1] == key) << 1 |
		(unsigned)(bucket->key[2] == key) << 2;
}

static inline struct live_place live_find(const struct live *live, uint64_t address)
{
	const size_t home = live_home(live, address);

	for (size_t i = home;; i = (i + LIVE_STEP) & live->mask) {
		struct live_bucket *bucket = &live->buckets[i];
		const unsigned lanes = live_lanes(bucket, address + 1);

		if (lanes)
			return (struct live_place){ .bucket = bucket, .lane = (unsigned)__builtin_ctz(lanes), .home = home };
		if (__builtin_expect(bucket->state < LIVE_PASSED, 1))
			return (struct live_place){ .home = home };
	}
}

static inline struct live_block live_get(const struct live *live, struct live_place place)
{
	const struct live_bucket *bucket = place.bucket;
	const uint32_t size = bucket->size[place.lane];
	struct live_block block = { .address = bucket->key[place.lane] - 1, .site = bucket->site[place.lane],
		.size = size, .sequence = bucket->sequence[place.lane] };

	if (__builtin_expect(size & LIVE_LARGE, 0)) {
		block.size = live->large[size & ~LIVE_LARGE].size;
		block.weight = live->large[size & ~LIVE_LARGE].weight;
		block.count = live->large[size & ~LIVE_LARGE].count;
	}
	return block;
}

/* Enters a block whose address live_find did not find, which gave `place`; since then blocks were only taken out. */
MUST_CHECK static inline bool live_insert_at(struct live *live, struct live_place place, const struct live_block *block,
	struct error *error)
{
	uint32_t size = (uint32_t)block->size;
	size_t i = place.home;

	if (__builtin_expect(block->size >= LIVE_LARGE || block->weight != 0, 0) &&
	    !live_keep_large(live, block, &size, error))
		return false;
	if (__builtin_expect((live->count + 1) * 2 > (live->mask + 1) * LIVE_LANES, 0)) {
		if (!live_grow(live, error))
			return false;
		i = live_home(live, block->address);
	}
	for (; __builtin_expect((live->buckets[i].state & LIVE_LANES_ALL) == LIVE_LANES_ALL, 0);
	     i = (i + LIVE_STEP) & live->mask)
		live->buckets[i].state += LIVE_PASSED;
	struct live_bucket *bucket = &live->buckets[i];
	const unsigned lane = (unsigned)__builtin_ctz(~bucket->state);
	bucket->state |= 1u << lane;
	bucket->key[lane] = block->address + 1;
	bucket->size[lane] = size;
	bucket->site[lane] = block->site;
	bucket->sequence[lane] = block->sequence;
	live->count++;
	return true;
}

MUST_CHECK static inline bool live_insert(struct live *live, const struct live_block *block, struct error *error)
{
	return live_insert_at(live, (struct live_place){ .home = live_home(live, block->address) }, block, error);
}

/* Takes the block at this place out. */
static inline void live_remove(struct live *live, struct live_place place)
{
	const uint32_t size = place.bucket->size[place.lane];

	for (size_t i = place.home; __builtin_expect(&live->buckets[i] != place.bucket, 0);
		i = (i + LIVE_STEP) & live->mask)
		live->buckets[i].state -= LIVE_PASSED;
	if (__builtin_expect(size & LIVE_LARGE, 0))
		live_drop_large(live, size & ~LIVE_LARGE);
	place.bucket->key[place.lane] = 0;
	place.bucket->state &= ~(1u << place.lane);
	live->count--;
}

#endif
