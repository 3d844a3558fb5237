/* SPDX-License-Identifier: MIT */
/*
 * The live blocks whose allocation is in the capture, where not all are: the others' ends are not to be recorded.
 * One set of addresses for the process, shared by all threads without a lock.  Used by sample.c.
 *
 *     root (2^13) --> 16 GiB of addresses (2^13) --> 2 MiB (2^9) --> 4 KiB: one bit for each 8 bytes
 *
 * Asking reads and writes nothing: at most four loads, fewer where no block of the capture is near.  Parts are made
 * when a block needs them, by whoever comes first, and stay: 64 bytes for 4 KiB of the heap with a block that is known.
 * Whoever asks about a block owns it, so that its bit cannot change under him; other bits of the word may, which is
 * why they are changed by atomic operations.
 */
#ifndef SCTMEM_PRELOAD_KNOWN_H
#define SCTMEM_PRELOAD_KNOWN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Addresses that the set has no place for: what lies there is always recorded. */
#define KNOWN_HAS_PLACE(address) (((uintptr_t)(address) & 7) == 0 && (uintptr_t)(address) >> 47 == 0)

enum {
	KNOWN_LEAF_BITS = 12,               /* of the address: 4 KiB */
	KNOWN_MIDDLE_BITS = 9,              /* 2 MiB */
	KNOWN_UPPER_BITS = 13,              /* 16 GiB */
	KNOWN_ROOT_BITS = 47 - KNOWN_UPPER_BITS - KNOWN_MIDDLE_BITS - KNOWN_LEAF_BITS,
	KNOWN_WORD_BITS = 6,
	KNOWN_LEAF_WORDS = 1 << (KNOWN_LEAF_BITS - 3 - KNOWN_WORD_BITS),
};

struct known_leaf {
	_Atomic uint64_t words[KNOWN_LEAF_WORDS];
};

struct known_middle {
	struct known_leaf *_Atomic leaves[1 << KNOWN_MIDDLE_BITS];
};

struct known_upper {
	struct known_middle *_Atomic middles[1 << KNOWN_UPPER_BITS];
};

extern struct known_upper *_Atomic known_root[1 << KNOWN_ROOT_BITS];

static inline size_t known_part(uintptr_t address, unsigned low, unsigned bits)
{
	return address >> low & (((size_t)1 << bits) - 1);
}

static inline size_t known_middle_place(uintptr_t address)
{
	return known_part(address, KNOWN_LEAF_BITS + KNOWN_MIDDLE_BITS, KNOWN_UPPER_BITS);
}

static inline size_t known_leaf_place(uintptr_t address)
{
	return known_part(address, KNOWN_LEAF_BITS, KNOWN_MIDDLE_BITS);
}

static inline size_t known_word_place(uintptr_t address)
{
	return known_part(address, 3 + KNOWN_WORD_BITS, KNOWN_LEAF_BITS - 3 - KNOWN_WORD_BITS);
}

static inline struct known_upper *_Atomic *known_upper_place(uintptr_t address)
{
	return &known_root[address >> (KNOWN_LEAF_BITS + KNOWN_MIDDLE_BITS + KNOWN_UPPER_BITS)];
}

static inline uint64_t known_bit(uintptr_t address)
{
	return (uint64_t)1 << known_part(address, 3, KNOWN_WORD_BITS);
}

/* The word that has the block's bit; NULL: no block near it is known. */
static inline _Atomic uint64_t *known_word(uintptr_t address)
{
	struct known_upper *upper = atomic_load_explicit(known_upper_place(address), memory_order_acquire);

	if (!upper)
		return NULL;
	struct known_middle *middle = atomic_load_explicit(&upper->middles[known_middle_place(address)],
		memory_order_acquire);

	if (!middle)
		return NULL;
	struct known_leaf *leaf = atomic_load_explicit(&middle->leaves[known_leaf_place(address)],
		memory_order_acquire);

	return leaf ? &leaf->words[known_word_place(address)] : NULL;
}

static inline bool known_contains(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	const _Atomic uint64_t *word = known_word(address);

	return word && atomic_load_explicit(word, memory_order_relaxed) & known_bit(address);
}

/* false: no memory. */
bool known_add(const void *block);
/* Whether it was there. */
bool known_remove(const void *block);

#endif
