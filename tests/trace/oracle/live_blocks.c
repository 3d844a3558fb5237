/* SPDX-License-Identifier: MIT */
/* Open addressing with linear probes; what lies behind a freed slot closes up. */
#include "live_blocks.h"

#include <stdlib.h>

#include "second_reader.h"

static size_t slot_of(const struct blocks *blocks, uint64_t address)
{
	return (size_t)((address >> 4) * 0x9e3779b97f4a7c15u >> 20) & blocks->mask;
}

struct block *block_find(const struct blocks *blocks, uint64_t address)
{
	for (size_t at = slot_of(blocks, address);; at = (at + 1) & blocks->mask)
		if (blocks->slots[at].address == address || !blocks->slots[at].address)
			return &blocks->slots[at];
}

static void blocks_grow(struct blocks *blocks)
{
	struct blocks larger = { .mask = blocks->mask ? blocks->mask * 2 + 1 : 65535, .count = blocks->count };

	larger.slots = new_memory(larger.mask + 1, sizeof(*larger.slots));
	for (size_t i = 0; blocks->slots && i <= blocks->mask; i++)
		if (blocks->slots[i].address)
			*block_find(&larger, blocks->slots[i].address) = blocks->slots[i];
	free(blocks->slots);
	*blocks = larger;
}

struct block *block_at(struct blocks *blocks, uint64_t address)
{
	if (blocks->count * 2 >= blocks->mask)
		blocks_grow(blocks);
	struct block *block = block_find(blocks, address);

	if (!block->address) {
		*block = (struct block){ .address = address };
		blocks->count++;
	}
	return block;
}

void block_remove(struct blocks *blocks, struct block *block)
{
	size_t hole = (size_t)(block - blocks->slots);

	for (size_t at = (hole + 1) & blocks->mask; blocks->slots[at].address; at = (at + 1) & blocks->mask) {
		size_t home = slot_of(blocks, blocks->slots[at].address);

		if (((at - home) & blocks->mask) >= ((at - hole) & blocks->mask)) {
			blocks->slots[hole] = blocks->slots[at];
			hole = at;
		}
	}
	blocks->slots[hole].address = 0;
	blocks->count--;
}
