/* SPDX-License-Identifier: MIT */
/* See known.h. */
#include "known.h"

#include <stdatomic.h>

#include "arena.h"
#include "sys.h"

#include "banned.h"

struct known_upper *_Atomic known_root[1 << KNOWN_ROOT_BITS];

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

/* The word, with all that leads to it; NULL: no memory. */
static __attribute__((noinline)) _Atomic uint64_t *make_word(uintptr_t address)
{
	struct known_upper *upper = MAKE(known_upper_place(address), struct known_upper);
	struct known_middle *middle = NULL;
	struct known_leaf *leaf = NULL;

	if (upper)
		middle = MAKE(&upper->middles[known_middle_place(address)], struct known_middle);
	if (middle)
		leaf = MAKE(&middle->leaves[known_leaf_place(address)], struct known_leaf);
	return leaf ? &leaf->words[known_word_place(address)] : NULL;
}

bool known_add(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	_Atomic uint64_t *word = known_word(address);

	if (__builtin_expect(!word, 0))
		word = make_word(address);
	if (!word)
		return false;
	atomic_fetch_or_explicit(word, known_bit(address), memory_order_relaxed);
	return true;
}

bool known_remove(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	_Atomic uint64_t *word = known_word(address);

	if (!word || !(atomic_load_explicit(word, memory_order_relaxed) & known_bit(address)))
		return false;
	/* Two threads that free one block at once are the program's own mistake: one of them is recorded. */
	return atomic_fetch_and_explicit(word, ~known_bit(address), memory_order_relaxed) & known_bit(address);
}
