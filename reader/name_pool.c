/* SPDX-License-Identifier: MIT */
/* Bytes in blocks that never move, and a hash table of where each name is. */
#include "name_pool.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "memory.h"

enum {
	BLOCK_SIZE = 32 << 10,
	SLOTS_MIN = 64,
};

struct name_block {
	struct name_block *next;
	size_t size, used;
	char bytes[];
};

static char *take_bytes(struct name_pool *pool, size_t size)
{
	struct name_block *block = pool->blocks;
	if (block == NULL || block->size - block->used < size) {
		size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
		block = memory_new(1, sizeof(*block) + room);
		block->size = room;
		block->next = pool->blocks;
		pool->blocks = block;
	}
	char *bytes = block->bytes + block->used;
	block->used += size;
	return bytes;
}

static void grow_slots(struct name_pool *pool)
{
	size_t count = pool->slot_count != 0 ? pool->slot_count * 2 : SLOTS_MIN;
	const char **slots = memory_new(count, sizeof(*slots));
	uint64_t *hashes = memory_new(count, sizeof(*hashes));
	for (size_t i = 0; i < pool->slot_count; i++) {
		if (pool->slots[i] == NULL)
			continue;
		size_t slot = pool->hashes[i] & (count - 1);
		while (slots[slot] != NULL)
			slot = (slot + 1) & (count - 1);
		slots[slot] = pool->slots[i];
		hashes[slot] = pool->hashes[i];
	}
	free(pool->slots);
	free(pool->hashes);
	pool->slots = slots;
	pool->hashes = hashes;
	pool->slot_count = count;
}

const char *name_pool_keep(struct name_pool *pool, const char *name)
{
	size_t size = strlen(name) + 1;
	uint64_t hash = XXH3_64bits(name, size);

	if (pool->used * 4 >= pool->slot_count * 3)
		grow_slots(pool);
	size_t slot = hash & (pool->slot_count - 1);
	for (; pool->slots[slot] != NULL; slot = (slot + 1) & (pool->slot_count - 1)) {
		if (pool->hashes[slot] == hash && strcmp(pool->slots[slot], name) == 0)
			return pool->slots[slot];
	}
	char *kept = take_bytes(pool, size);
	memcpy(kept, name, size);
	pool->slots[slot] = kept;
	pool->hashes[slot] = hash;
	pool->used++;
	return kept;
}

void name_pool_finish(struct name_pool *pool)
{
	while (pool->blocks != NULL) {
		struct name_block *next = pool->blocks->next;
		free(pool->blocks);
		pool->blocks = next;
	}
	free(pool->slots);
	free(pool->hashes);
	memset(pool, 0, sizeof(*pool));
}
