/* SPDX-License-Identifier: MIT */
/*
 * Words of memory and what they must still be: how it is proved that a native stack is the one of last time.
 *
 * A list is compared from its end to its beginning, and ends with the first word that differs: so an address may be
 * one that is only valid if all words behind it in the list are what they were.  The loads do not depend on each other
 * and overlap, and the branches are predicted: four instructions a word.
 */
#ifndef SCTMEM_PRELOAD_WORDS_H
#define SCTMEM_PRELOAD_WORDS_H

#include <stddef.h>
#include <stdint.h>

struct word {
	uintptr_t address, value;
};

/* Words that are always true, which must lie before the first of a list; words_pad() makes them. */
enum { WORDS_PADDING = 4 };

/* Reading the stack of running functions is what walkers do: not an error for sanitizers to find. */
#define NATIVE_READS_STACKS __attribute__((no_sanitize("address")))

NATIVE_READS_STACKS static inline uintptr_t native_word_at(uintptr_t address)
{
	uintptr_t word;

	__builtin_memcpy(&word, (const void *)address, sizeof(word));
	return word;
}

static inline void words_pad(struct word *words, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		words[i] = (struct word){ (uintptr_t)&words[i].value, 0 };
}

/* The first word that is not what it was, from the end on; NULL: none.  Up to three before `first` may be read. */
NATIVE_READS_STACKS static inline const struct word *words_differ(const struct word *first, const struct word *end)
{
	for (; end > first; end -= 4) {
		if (__builtin_expect(native_word_at(end[-1].address) != end[-1].value, 0))
			return end - 1;
		if (__builtin_expect(native_word_at(end[-2].address) != end[-2].value, 0))
			return end - 2;
		if (__builtin_expect(native_word_at(end[-3].address) != end[-3].value, 0))
			return end - 3;
		if (__builtin_expect(native_word_at(end[-4].address) != end[-4].value, 0))
			return end - 4;
	}
	return NULL;
}

#endif
