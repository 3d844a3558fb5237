/* SPDX-License-Identifier: MIT */
/* A sorted array, written once, by one thread, before anybody sees its length. */
#include "lasting.h"

#include <stdatomic.h>
#include <stddef.h>

#include "banned.h"

enum { RANGES_MAX = 512 };

static struct { uintptr_t start, end; } ranges[RANGES_MAX];
static size_t added;                  /* more than RANGES_MAX: some did not fit */
static _Atomic size_t count;          /* release: the ranges are complete */

void lasting_add(uintptr_t start, uintptr_t end)
{
	/* In order, or the search would not find them. */
	if (added >= RANGES_MAX || (added > 0 && start < ranges[added - 1].end)) {
		added = RANGES_MAX + 1;
		return;
	}
	ranges[added].start = start;
	ranges[added].end = end;
	added++;
}

void lasting_end(void)
{
	if (added <= RANGES_MAX)
		atomic_store_explicit(&count, added, memory_order_release);
}

void lasting_give_up(void)
{
	atomic_store_explicit(&count, 0, memory_order_release);
}

bool lasting_has(uintptr_t address)
{
	size_t low = 0, high = atomic_load_explicit(&count, memory_order_acquire);

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (address < ranges[middle].start)
			high = middle;
		else if (address >= ranges[middle].end)
			low = middle + 1;
		else
			return true;
	}
	return false;
}
