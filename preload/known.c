/* SPDX-License-Identifier: MIT */
/* See known.h. */
#include "known.h"

#include <stdatomic.h>
#include <stddef.h>

#include "arena.h"
#include "sys.h"

#include "banned.h"

enum {
	LEAF_BITS = 12,               /* of the address: 4 KiB */
	MIDDLE_BITS = 9,              /* 2 MiB */
	UPPER_BITS = 13,              /* 16 GiB */
	ROOT_BITS = 47 - UPPER_BITS - MIDDLE_BITS - LEAF_BITS,
	WORD_BITS = 6,
	LEAF_WORDS = 1 << (LEAF_BITS - 3 - WORD_BITS),
};

struct leaf {
	_Atomic uint64_t words[LEAF_WORDS];
};

struct middle {
	struct leaf *_Atomic leaves[1 << MIDDLE_BITS];
};

struct upper {
	struct middle *_Atomic middles[1 << UPPER_BITS];
};

static struct upper *_Atomic root[1 << ROOT_BITS];

/* The part that a pointer leads to, made when there is none; NULL: no memory. */
#define MAKE(pointer, type) ((type *)make((void *_Atomic *)(pointer), sizeof(type)))

static void *make(void *_Atomic *pointer, size_t size)
{
	void *there = atomic_load_explicit(pointer, memory_order_acquire), *fresh;

	if (there)
		return there;
	fresh = arena_alloc(size);
	/* Who comes second leaves its part unused: that happens a few times in a run at most. */
	if (fresh && !atomic_compare_exchange_strong_explicit(pointer, &there, fresh, memory_order_acq_rel,
			memory_order_acquire))
		return there;
	return fresh;
}

static inline size_t part(uintptr_t address, unsigned low, unsigned bits)
{
	return address >> low & (((size_t)1 << bits) - 1);
}

static inline struct upper *_Atomic *upper_place(uintptr_t address)
{
	return &root[address >> (LEAF_BITS + MIDDLE_BITS + UPPER_BITS)];
}

static inline uint64_t bit_of(uintptr_t address)
{
	return (uint64_t)1 << part(address, 3, WORD_BITS);
}

/* The word that has the block's bit; NULL: no block near it is known. */
static inline _Atomic uint64_t *find_word(uintptr_t address)
{
	struct upper *upper = atomic_load_explicit(upper_place(address), memory_order_acquire);

	if (!upper)
		return NULL;
	struct middle *middle = atomic_load_explicit(&upper->middles[part(address, LEAF_BITS + MIDDLE_BITS, UPPER_BITS)],
		memory_order_acquire);

	if (!middle)
		return NULL;
	struct leaf *leaf = atomic_load_explicit(&middle->leaves[part(address, LEAF_BITS, MIDDLE_BITS)],
		memory_order_acquire);

	return leaf ? &leaf->words[part(address, 3 + WORD_BITS, LEAF_BITS - 3 - WORD_BITS)] : NULL;
}

bool known_add(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	struct upper *upper = MAKE(upper_place(address), struct upper);

	if (!upper)
		return false;
	struct middle *middle = MAKE(&upper->middles[part(address, LEAF_BITS + MIDDLE_BITS, UPPER_BITS)], struct middle);

	if (!middle)
		return false;
	struct leaf *leaf = MAKE(&middle->leaves[part(address, LEAF_BITS, MIDDLE_BITS)], struct leaf);

	if (!leaf)
		return false;
	atomic_fetch_or_explicit(&leaf->words[part(address, 3 + WORD_BITS, LEAF_BITS - 3 - WORD_BITS)], bit_of(address),
		memory_order_relaxed);
	return true;
}

bool known_contains(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	const _Atomic uint64_t *word = find_word(address);

	return word && atomic_load_explicit(word, memory_order_relaxed) & bit_of(address);
}

bool known_remove(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	_Atomic uint64_t *word = find_word(address);

	if (!word || !(atomic_load_explicit(word, memory_order_relaxed) & bit_of(address)))
		return false;
	/* Two threads that free one block at once are the program's own mistake: one of them is recorded. */
	return atomic_fetch_and_explicit(word, ~bit_of(address), memory_order_relaxed) & bit_of(address);
}
