/* SPDX-License-Identifier: MIT */
/*
 * Addresses in few bits: the column that plain differences compress badly.
 *
 * An allocator hands out what was freed last, and programs free in the order in which they allocated, or in the
 * reverse.  So both sides of the format keep the same small picture of one window and write down only how reality
 * differs from it:
 *
 *   allocation   predicted: the block of this size class that was freed last in this window; with none, the place
 *                behind the class's last allocation.  Written: 0 when the prediction holds; else, where a block with a
 *                number was, the difference of that to the one written so before, low bit 1; else the difference of
 *                the addresses, low bit 0.
 *   free         a block allocated in this window has a number, counted from 0.  Written: the difference of its
 *                number to that of the block freed before, low bit 0.  Any other: the difference of its address to
 *                that of the free before, low bit 1.
 *
 * The picture begins empty with each window, so that blocks of a capture decode independently.  Writer and reader
 * must do the same steps: they are the same functions here, but for the look-up of a block's number by its address,
 * which only the writer needs.  Captures before version 6 have a first form of this, without the numbers of
 * allocations: `form` is a constant wherever something is written.  formats/capture.md, section "Addresses", is
 * normative.
 */
#ifndef SCTMEM_FORMATS_ADDRESSES_H
#define SCTMEM_FORMATS_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "capture.h"

enum {
	ADDRESSES_CLASSES = 1026,         /* chunks of 16 bytes up to 16 KiB, and one for all larger */
	ADDRESSES_BLOCKS_MAX = 8192,      /* blocks that get a number in one window; later ones get none */
	ADDRESSES_SLOTS = 4 * ADDRESSES_BLOCKS_MAX,
	ADDRESSES_NONE = 0xffff,
};

enum addresses_form {
	ADDRESSES_FIRST,                  /* captures of versions 1 to 5 */
	ADDRESSES_SECOND,
};

/* What writer and reader know of one window so far. */
struct addresses {
	uint64_t last_allocated[ADDRESSES_CLASSES];
	uint16_t freed[ADDRESSES_CLASSES];        /* number of the block freed last in the class; NONE */
	uint64_t last_freed;
	uint32_t last_number;
	uint32_t last_taken;                      /* number whose place was allocated again, other than predicted */
	uint32_t count;                           /* blocks with a number */
	/* What is asked of a block at once lies together. */
	struct addresses_block {
		uint64_t address;
		uint16_t class;
		uint16_t freed_before;            /* the one freed before it in its class; NONE */
		bool live;
	} blocks[ADDRESSES_BLOCKS_MAX];
};

/* The writer's way from an address to a number. */
struct addresses_index {
	uint16_t slots[ADDRESSES_SLOTS];          /* number + 1; 0: empty */
};

static inline void addresses_init(struct addresses *addresses)
{
	memset(addresses->last_allocated, 0, sizeof(addresses->last_allocated));
	memset(addresses->freed, 0xff, sizeof(addresses->freed));
	addresses->last_freed = 0;
	addresses->last_number = 0;
	addresses->last_taken = 0;
	addresses->count = 0;
}

/* The size class: glibc's chunks for malloc and its kin, pymalloc's for Python's small blocks. */
static inline uint32_t addresses_class(unsigned kind, uint64_t size)
{
	uint64_t units = (size + 23) / 16;

	if (CAPTURE_IS_PYTHON(kind) && size <= 512)
		return (uint32_t)(size + 15) / 16;
	if (size > 16384)
		return ADDRESSES_CLASSES - 1;
	return (uint32_t)(units < 2 ? 2 : units);
}

static inline uint64_t addresses_predict(const struct addresses *addresses, uint32_t class)
{
	uint16_t freed = addresses->freed[class];

	return freed != ADDRESSES_NONE ? addresses->blocks[freed].address
		: addresses->last_allocated[class] + (uint64_t)class * 16;
}

/* A block is allocated where a numbered one was: of those freed since, its class hands out no more. */
static inline void addresses_taken(struct addresses *addresses, uint32_t class, uint32_t number)
{
	const struct addresses_block *block = &addresses->blocks[number];

	addresses->last_taken = number;
	if (!block->live && block->class == class)
		addresses->freed[class] = block->freed_before;
}

/* After an allocation: what is on top of its class's stack, if it is the block, leaves that. */
static inline void addresses_unstack(struct addresses *addresses, uint32_t class, uint64_t address)
{
	uint16_t freed = addresses->freed[class];

	if (freed != ADDRESSES_NONE && addresses->blocks[freed].address == address)
		addresses->freed[class] = addresses->blocks[freed].freed_before;
}

/* Then: the number that the block gets, or NONE. */
static inline uint16_t addresses_number(struct addresses *addresses, uint32_t class, uint64_t address)
{
	addresses->last_allocated[class] = address;
	if (addresses->count == ADDRESSES_BLOCKS_MAX)
		return ADDRESSES_NONE;
	uint16_t number = (uint16_t)addresses->count++;
	struct addresses_block *block = &addresses->blocks[number];

	/* What was freed before it is not asked for before it is freed. */
	block->address = address;
	block->class = (uint16_t)class;
	block->live = true;
	return number;
}

/* After a free of a block that has a number. */
static inline void addresses_freed(struct addresses *addresses, uint32_t number)
{
	struct addresses_block *block = &addresses->blocks[number];

	block->live = false;
	block->freed_before = addresses->freed[block->class];
	addresses->freed[block->class] = (uint16_t)number;
	addresses->last_number = number;
	addresses->last_freed = block->address;
}

static inline uint64_t addresses_zigzag(uint64_t delta)
{
	return (delta << 1) ^ (uint64_t)((int64_t)delta >> 63);
}

static inline uint64_t addresses_unzigzag(uint64_t value)
{
	return (value >> 1) ^ (0 - (value & 1));
}

/* A difference of addresses: a multiple of 16, as most are, is divided by 16 and marked by a low bit of 0. */
static inline uint64_t addresses_pack(uint64_t delta)
{
	if (delta & 15)
		return addresses_zigzag(delta) << 1 | 1;
	return addresses_zigzag((uint64_t)((int64_t)delta >> 4)) << 1;
}

static inline uint64_t addresses_unpack(uint64_t value)
{
	uint64_t delta = addresses_unzigzag(value >> 1);

	return value & 1 ? delta : delta << 4;
}

/* The reader's side.  `code` is untrusted: a number that does not exist gives false. */
static inline bool addresses_read_allocation(struct addresses *addresses, enum addresses_form form, unsigned kind,
	uint64_t size, uint64_t code, uint64_t *address)
{
	uint32_t class = addresses_class(kind, size);

	if (form == ADDRESSES_SECOND && code & 1) {
		uint64_t number = addresses->last_taken + addresses_unzigzag(code >> 1);

		if (number >= addresses->count)
			return false;
		*address = addresses->blocks[number].address;
		addresses_taken(addresses, class, (uint32_t)number);
	} else {
		uint64_t delta = addresses_unpack(form == ADDRESSES_SECOND ? code >> 1 : code);

		*address = (addresses_predict(addresses, class) + delta) & 0xffffffffffffffu;
	}
	addresses_unstack(addresses, class, *address);
	addresses_number(addresses, class, *address);
	return true;
}

static inline bool addresses_read_free(struct addresses *addresses, uint64_t code, uint64_t *address)
{
	if (code & 1) {
		addresses->last_freed = (addresses->last_freed + addresses_unpack(code >> 1)) & 0xffffffffffffffu;
		*address = addresses->last_freed;
		return true;
	}
	uint64_t number = addresses->last_number + addresses_unzigzag(code >> 1);

	if (number >= addresses->count || !addresses->blocks[number].live)
		return false;
	addresses_freed(addresses, (uint32_t)number);
	*address = addresses->last_freed;
	return true;
}

/* The writer's side. */
_Static_assert(ADDRESSES_SLOTS == 1 << (32 - 17), "the bits of a hash that are used");

static inline uint32_t addresses_slot(uint64_t address)
{
	return (uint32_t)(address >> 4) * 0x9e3779b1u >> 17;
}

/* An allocation elsewhere than predicted, where the block with the number `taken` - 1 was; 0: none was. */
static __attribute__((noinline, unused)) uint64_t addresses_write_other(struct addresses *addresses,
	enum addresses_form form, uint32_t class, uint64_t address, uint32_t taken)
{
	uint64_t code;

	if (form == ADDRESSES_SECOND && taken != 0) {
		code = addresses_zigzag((uint64_t)taken - 1 - addresses->last_taken) << 1 | 1;
		addresses_taken(addresses, class, taken - 1);
	} else {
		code = addresses_pack(address - addresses_predict(addresses, class)) << (form == ADDRESSES_SECOND);
	}
	addresses_unstack(addresses, class, address);
	return code;
}

static inline uint64_t addresses_write_allocation(struct addresses *addresses, struct addresses_index *index,
	enum addresses_form form, unsigned kind, uint64_t size, uint64_t address)
{
	uint32_t class = addresses_class(kind, size);
	uint32_t at = addresses_slot(address);
	uint64_t code = 0;

	/* An address that comes again takes the place of its earlier number. */
	while (index->slots[at] != 0 && addresses->blocks[index->slots[at] - 1].address != address)
		at = (at + 1) & (ADDRESSES_SLOTS - 1);
	if (__builtin_expect(addresses_predict(addresses, class) == address, 1))
		addresses_unstack(addresses, class, address);
	else
		code = addresses_write_other(addresses, form, class, address, index->slots[at]);
	uint16_t number = addresses_number(addresses, class, address);

	if (number != ADDRESSES_NONE)
		index->slots[at] = (uint16_t)(number + 1);
	return code;
}

static inline uint64_t addresses_write_free(struct addresses *addresses, const struct addresses_index *index,
	uint64_t address)
{
	for (uint32_t at = addresses_slot(address); index->slots[at] != 0; at = (at + 1) & (ADDRESSES_SLOTS - 1)) {
		uint32_t number = index->slots[at] - 1u;

		if (addresses->blocks[number].address != address)
			continue;
		if (!addresses->blocks[number].live)
			break;
		uint64_t code = addresses_zigzag((uint64_t)number - addresses->last_number) << 1;

		addresses_freed(addresses, number);
		return code;
	}
	uint64_t code = addresses_pack(address - addresses->last_freed) << 1 | 1;

	addresses->last_freed = address;
	return code;
}

#endif
