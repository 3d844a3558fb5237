/* SPDX-License-Identifier: MIT */
/*
 * See held_pages.h.
 */
#include "held_pages.h"

#include <stdlib.h>

enum { PAGE_SHIFT = 12, LARGE_SHIFT = 20, WORD_SHIFT = 6, KEY_PROCESS = 44 };

static void finish_bits(struct held_bits *bits)
{
	map64_finish(&bits->words);
	free(bits->bits);
	free(bits->keys);
}

void held_pages_finish(struct held_pages *held)
{
	finish_bits(&held->pages);
	finish_bits(&held->large);
}

static bool find_word(struct held_bits *bits, uint64_t key, uint32_t *index, struct error *error)
{
	*index = map64_get(&bits->words, key);
	if (*index != MAP64_NONE)
		return true;
	if (!array_reserve(&bits->bits, &bits->bit_capacity, bits->count + 1, sizeof(*bits->bits), error) ||
	    !array_reserve(&bits->keys, &bits->key_capacity, bits->count + 1, sizeof(*bits->keys), error) ||
	    (bits->count == 0 && !map64_init(&bits->words, 1024, error)) ||
	    !map64_put(&bits->words, key, (uint32_t)bits->count, error))
		return false;
	*index = (uint32_t)bits->count++;
	bits->keys[*index] = key;
	return true;
}

/* Units from first to last, both included. */
static bool mark(struct held_bits *bits, uint32_t process, uint64_t first, uint64_t last, struct error *error)
{
	for (uint64_t word = first >> WORD_SHIFT; word <= last >> WORD_SHIFT; word++) {
		const uint64_t key = (uint64_t)process << KEY_PROCESS | word;
		const unsigned low = word == first >> WORD_SHIFT ? first & 63 : 0;
		const unsigned high = word == last >> WORD_SHIFT ? last & 63 : 63;
		uint32_t *index = &bits->memo[word % HELD_MEMO].index;

		if (bits->memo[word % HELD_MEMO].key != key + 1) {
			if (!find_word(bits, key, index, error))
				return false;
			bits->memo[word % HELD_MEMO].key = key + 1;
		}
		bits->bits[*index] |= (UINT64_MAX >> (63 - high)) & (UINT64_MAX << low);
	}
	return true;
}

bool held_pages_mark(struct held_pages *held, uint32_t process, uint64_t address, uint64_t size, struct error *error)
{
	const uint64_t bytes = size < HELD_BLOCK_MAX ? size : HELD_BLOCK_MAX;
	const uint64_t first = address >> PAGE_SHIFT, last = (address + (bytes ? bytes - 1 : 0)) >> PAGE_SHIFT;
	const uint64_t unit_pages = (uint64_t)1 << (LARGE_SHIFT - PAGE_SHIFT);
	const uint64_t from = (first + unit_pages - 1) / unit_pages, to = (last + 1) / unit_pages;

	if (to <= from)
		return mark(&held->pages, process, first, last, error);
	return (first == from * unit_pages || mark(&held->pages, process, first, from * unit_pages - 1, error)) &&
		(to * unit_pages > last || mark(&held->pages, process, to * unit_pages, last, error)) &&
		mark(&held->large, process, from, to - 1, error);
}

static bool list_bits(const struct held_bits *bits, uint32_t process, unsigned shift, struct spans *spans,
	struct error *error)
{
	for (size_t i = 0; i < bits->count; i++) {
		const uint64_t base = (bits->keys[i] & (((uint64_t)1 << KEY_PROCESS) - 1)) << WORD_SHIFT;

		if (bits->keys[i] >> KEY_PROCESS != process)
			continue;
		for (unsigned bit = 0, end; bit < 64; bit = end) {
			const bool held = bits->bits[i] >> bit & 1;

			for (end = bit + 1; end < 64 && (bits->bits[i] >> end & 1) == held;)
				end++;
			if (held && !spans_add(spans, (base + bit) << shift, (base + end) << shift, 0, error))
				return false;
		}
	}
	return true;
}

bool held_pages_list(const struct held_pages *held, uint32_t process, struct spans *spans, struct error *error)
{
	if (!list_bits(&held->pages, process, PAGE_SHIFT, spans, error) ||
	    !list_bits(&held->large, process, LARGE_SHIFT, spans, error))
		return false;
	spans_sort(spans);
	return true;
}
