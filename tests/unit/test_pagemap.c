/* SPDX-License-Identifier: MIT */
/*
 * How the system's answers about pages are read: made-up ones, and what it says of memory that is known.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#undef fail

#include "preload/pagemap.h"

enum { PAGE = 4096, PAGES = 1500, GUARD_INSTALL = 102 };
#define PRESENT ((uint64_t)1 << 63)
#define SWAPPED ((uint64_t)1 << 62)
#define OF_FILE ((uint64_t)1 << 61)
#define GUARD ((uint64_t)1 << 58)
/* Others that the system sets: written since, exclusive, a frame's number. */
#define OTHERS ((uint64_t)3 << 55 | 0x12345)

static void entries_say_what_a_page_is(void **state)
{
	const uint64_t entries[] = { 0, PRESENT, SWAPPED, PRESENT | OF_FILE, OTHERS, PRESENT | OTHERS, SWAPPED | OTHERS,
		SWAPPED | GUARD, SWAPPED | OF_FILE };
	const uint8_t expected[] = { 0, PAGEMAP_RESIDENT, PAGEMAP_SWAPPED, PAGEMAP_RESIDENT | PAGEMAP_FILE, 0,
		PAGEMAP_RESIDENT, PAGEMAP_SWAPPED, 0, PAGEMAP_SWAPPED | PAGEMAP_FILE };
	uint8_t states[sizeof(expected)];

	(void)state;
	pagemap_of_entries(entries, sizeof(expected), states);
	assert_memory_equal(states, expected, sizeof(expected));
}

static void regions_say_what_their_pages_are(void **state)
{
	enum { IS_PRESENT = 8, IS_SWAPPED = 16, IS_GUARD = 256, COUNT = 10 };
	const uintptr_t start = 100 * PAGE;
	/* The first and the last go beyond what was asked. */
	const struct pagemap_region regions[] = { { start - 3 * PAGE, start + PAGE, IS_PRESENT },
		{ start + 2 * PAGE, start + 4 * PAGE, IS_SWAPPED }, { start + 5 * PAGE, start + 6 * PAGE, IS_SWAPPED | IS_GUARD },
		{ start + 7 * PAGE, start + 8 * PAGE, IS_PRESENT | 1 }, { start + 9 * PAGE, start + 40 * PAGE, IS_SWAPPED | 2 } };
	const uint8_t expected[COUNT] = { 1, 0, 2, 2, 0, 0, 0, 1, 0, 2 };
	uint8_t states[COUNT + 1];

	(void)state;
	memset(states, 77, sizeof(states));
	pagemap_of_regions(regions, sizeof(regions) / sizeof(*regions), start, COUNT, states);
	assert_memory_equal(states, expected, COUNT);
	assert_int_equal(states[COUNT], 77);
}

static void the_status_says_whether_anything_is_swapped(void **state)
{
	(void)state;
	assert_true(pagemap_status_has_swap("Name:\tx\nVmPTE:\t      60 kB\nVmSwap:\t     124 kB\nHugetlbPages:\t 0 kB\n"));
	assert_false(pagemap_status_has_swap("Name:\tx\nVmSwap:\t       0 kB\nHugetlbPages:\t 9 kB\n"));
	assert_false(pagemap_status_has_swap("Name:\tVmSwap:\t 9 kB\nVmPTE:\t 60 kB\n"));
	assert_false(pagemap_status_has_swap("Name:\tx\nVmSwap:\t   "));
	assert_false(pagemap_status_has_swap(""));
}

/* Every page of it, in as many steps as it takes. */
static void look_at_all(struct pagemap *pagemap, const char *memory, uint8_t *states)
{
	for (size_t at = 0, count; at < PAGES; at += count) {
		count = pagemap_look(pagemap, (uintptr_t)memory + at * PAGE, PAGES - at, states + at);
		assert_true(count > 0 && count <= PAGES - at);
	}
}

static void memory_that_is_known_is_seen_so_both_ways(void **state)
{
	struct pagemap pagemap = { .descriptor.fd = -1 };
	uint8_t regions[PAGES], entries[PAGES], expected[PAGES] = { 0 };
	int error;

	(void)state;
	assert_int_equal(pagemap_look(&pagemap, (uintptr_t)expected, 1, entries), 0);
	assert_true(descriptor_open(&pagemap.descriptor, "/proc/self/pagemap", &error));
	for (int shared = 0; shared < 2; shared++) {
		char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);

		assert_true(memory != MAP_FAILED);
		madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
		memset(expected, 0, sizeof(expected));
		/* More stretches than fit one answer. */
		for (unsigned i = 0; i < PAGES - 8; i += i < 200 ? 3 : 2)
			expected[i] = (uint8_t)(memory[i * PAGE] = PAGEMAP_RESIDENT);
		pagemap.no_regions = false;
		/* A guard is no memory, where the system says which pages are some: it has regions then. */
		if (pagemap_look(&pagemap, (uintptr_t)memory, 1, regions) && !pagemap.no_regions)
			madvise(memory + (PAGES - 4) * PAGE, PAGE, GUARD_INSTALL);
		look_at_all(&pagemap, memory, regions);
		pagemap.no_regions = true;
		look_at_all(&pagemap, memory, entries);
		for (unsigned i = 0; i < PAGES; i++) {
			assert_int_equal(entries[i] & PAGEMAP_FILE, shared && expected[i] ? PAGEMAP_FILE : 0);
			entries[i] &= (uint8_t)~PAGEMAP_FILE;
		}
		assert_memory_equal(regions, expected, PAGES);
		assert_memory_equal(entries, expected, PAGES);
		munmap(memory, PAGES * PAGE);
	}
	descriptor_close(&pagemap.descriptor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_say_what_a_page_is),
		cmocka_unit_test(regions_say_what_their_pages_are),
		cmocka_unit_test(the_status_says_whether_anything_is_swapped),
		cmocka_unit_test(memory_that_is_known_is_seen_so_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
