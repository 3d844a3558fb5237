/* SPDX-License-Identifier: MIT */
/*
 * The table of live blocks: its memory, its growth, and the sizes that do not fit a lane; see live.h.
 */
#include "live.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	BUCKET_BITS_FIRST = 10,       /* 64 KiB: a small capture is read in little memory */
	OWN_MAPPING_SIZE = 2 << 20,   /* bytes; smaller tables lie in the heap (heap.h), where pages are there already */
};

static bool lie_in_heap(size_t bytes)
{
	return bytes < OWN_MAPPING_SIZE;
}

/*
 * Zeroed, which is free lanes.  All of a table is touched as it grows; of one mapped by itself each page would be
 * fetched twice, for the look at a bucket and then for the block that is put there.  Large ones are of huge pages
 * where they can be had: nearly every access is to another page.
 */
static struct live_bucket *new_buckets(size_t count, struct error *error)
{
	const size_t bytes = count * sizeof(struct live_bucket);
	void *memory;

	if (lie_in_heap(bytes)) {
		memory = aligned_alloc(sizeof(struct live_bucket), bytes);
		if (!memory) {
			fail_memory(error);
			return NULL;
		}
		return memset(memory, 0, bytes);
	}
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		fail_memory(error);
		return NULL;
	}
	madvise(memory, bytes, MADV_HUGEPAGE);
	return memory;
}

static void free_buckets(const struct live *live)
{
	const size_t bytes = (live->mask + 1) * sizeof(struct live_bucket);

	if (!live->buckets)
		return;
	if (lie_in_heap(bytes))
		free(live->buckets);
	else
		munmap(live->buckets, bytes);
}

bool live_init(struct live *live, struct error *error)
{
	*live = (struct live){ .seed = table_seed(), .shift = 64 - BUCKET_BITS_FIRST,
		.mask = ((size_t)1 << BUCKET_BITS_FIRST) - 1 };
	live->buckets = new_buckets(live->mask + 1, error);
	return live->buckets != NULL;
}

void live_finish(struct live *live)
{
	free_buckets(live);
	free(live->large);
	*live = (struct live){ 0 };
}

/* Puts a lane of the old table into the new one, which has room: what it holds need not be understood. */
static void carry_lane(struct live *grown, const struct live_bucket *from, unsigned lane)
{
	size_t i = live_home(grown, from->key[lane] - 1);

	while ((grown->buckets[i].state & LIVE_LANES_ALL) == LIVE_LANES_ALL) {
		grown->buckets[i].state += LIVE_PASSED;
		i = (i + LIVE_STEP) & grown->mask;
	}
	struct live_bucket *bucket = &grown->buckets[i];
	const unsigned to = (unsigned)__builtin_ctz(~bucket->state);
	bucket->state |= 1u << to;
	bucket->key[to] = from->key[lane];
	bucket->size[to] = from->size[lane];
	bucket->site[to] = from->site[lane];
	bucket->sequence[to] = from->sequence[lane];
}

bool live_grow(struct live *live, struct error *error)
{
	struct live grown = *live;

	grown.shift--;
	grown.mask = live->mask * 2 + 1;
	grown.buckets = new_buckets(grown.mask + 1, error);
	if (!grown.buckets)
		return false;
	for (size_t i = 0; i <= live->mask; i++) {
		for (unsigned lanes = live->buckets[i].state & LIVE_LANES_ALL; lanes; lanes &= lanes - 1)
			carry_lane(&grown, &live->buckets[i], (unsigned)__builtin_ctz(lanes));
	}
	free_buckets(live);
	*live = grown;
	return true;
}

bool live_keep_large(struct live *live, const struct live_block *block, uint32_t *kept, struct error *error)
{
	size_t index = live->large_count;

	if (live->large_free) {
		index = (size_t)live->large_free - 1;
		live->large_free = live->large[index].size;
	} else {
		/* More blocks of 2 GiB than this fit no address space, and more of a sample no memory. */
		if (index == LIVE_LARGE)
			return fail_memory(error);
		if (!array_reserve(&live->large, &live->large_capacity, index + 1, sizeof(*live->large), error))
			return false;
		live->large_count++;
	}
	live->large[index] = (struct live_large){ .size = block->size, .weight = block->weight, .count = block->count };
	*kept = (uint32_t)index | LIVE_LARGE;
	return true;
}

void live_drop_large(struct live *live, uint32_t kept)
{
	live->large[kept].size = live->large_free;
	live->large_free = kept + (uint64_t)1;
}
