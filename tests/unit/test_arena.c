/* SPDX-License-Identifier: MIT */
/* The library's own memory: aligned, zeroed, nobody else's, counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "preload/arena.h"

enum { THREADS = 4, PIECES = 3000 };

struct taker {
	pthread_t thread;
	uint8_t mark;
	uint32_t random;
	uint8_t *pieces[PIECES];
	uint32_t sizes[PIECES];
};

static void *take(void *argument)
{
	struct taker *taker = argument;

	for (int i = 0; i < PIECES; i++) {
		taker->random = taker->random * 1664525 + 1013904223;
		taker->sizes[i] = 1 + (taker->random >> 8) % (i % 50 == 0 ? 100000 : 600);
		taker->pieces[i] = arena_alloc(taker->sizes[i]);
		if (!taker->pieces[i] || (uintptr_t)taker->pieces[i] % 16 != 0)
			return NULL;
		for (uint32_t k = 0; k < taker->sizes[i]; k++)
			if (taker->pieces[i][k] != 0)
				return NULL;
		memset(taker->pieces[i], taker->mark, taker->sizes[i]);
	}
	return taker;
}

struct search {
	uintptr_t start, end;
	unsigned found;
};

static bool compare_region(void *context, uintptr_t start, size_t size)
{
	struct search *search = context;

	search->found += search->start >= start && search->end <= start + size;
	return true;
}

/* In how many of the regions that are ours this lies wholly. */
static unsigned regions_with(const void *start, size_t size)
{
	struct search search = { .start = (uintptr_t)start, .end = (uintptr_t)start + size };

	assert_true(arena_each(compare_region, &search));
	return search.found;
}

static void threads_get_memory_of_their_own(void **state)
{
	static struct taker takers[THREADS];
	uint64_t before = arena_bytes(), taken = 0;

	(void)state;
	for (int t = 0; t < THREADS; t++) {
		takers[t].mark = (uint8_t)(t + 1);
		takers[t].random = (uint32_t)t * 77;
		pthread_create(&takers[t].thread, NULL, take, &takers[t]);
	}
	for (int t = 0; t < THREADS; t++) {
		void *result = NULL;

		pthread_join(takers[t].thread, &result);
		assert_non_null(result);
	}
	for (int t = 0; t < THREADS; t++) {
		for (int i = 0; i < PIECES; i++) {
			for (uint32_t k = 0; k < takers[t].sizes[i]; k++)
				if (takers[t].pieces[i][k] != takers[t].mark)
					fail_msg("piece %d of thread %d was written by another", i, t);
			taken += takers[t].sizes[i];
		}
	}
	for (int t = 0; t < THREADS; t++)
		for (int i = 0; i < PIECES; i += 100)
			assert_int_equal(regions_with(takers[t].pieces[i], takers[t].sizes[i]), 1);
	assert_true(arena_bytes() - before >= taken);
	assert_true(arena_bytes() - before < taken + taken / 4 + (1 << 20));
}

static void all_that_is_ours_is_listed_until_it_is_given_back(void **state)
{
	char *pages = arena_pages(3 * 4096), *piece = arena_alloc(100), *large = arena_alloc(1 << 20);
	static char noted[4096];
	char *again;

	(void)state;
	assert_int_equal(regions_with(pages, 3 * 4096), 1);
	assert_int_equal(regions_with(piece, 100), 1);
	assert_int_equal(regions_with(large, 1 << 20), 1);
	assert_int_equal(regions_with(noted, sizeof(noted)), 0);
	arena_note(noted, sizeof(noted));
	assert_int_equal(regions_with(noted, sizeof(noted)), 1);
	arena_give(pages, 3 * 4096);
	assert_int_equal(regions_with(pages, 1), 0);
	again = arena_pages(3 * 4096);
	assert_int_equal(regions_with(again, 3 * 4096), 1);
	/* As a fork child has it. */
	arena_reset();
	assert_int_equal(regions_with(again, 3 * 4096) + regions_with(piece, 100), 2);
}

static void pages_are_whole_and_counted(void **state)
{
	uint64_t before = arena_bytes();
	uint8_t *pages = arena_pages(8192);

	(void)state;
	assert_non_null(pages);
	assert_int_equal((uintptr_t)pages % 4096, 0);
	/* What it notes of them may have been the first that did not fit a chunk. */
	assert_true(arena_bytes() - before == 8192 || arena_bytes() - before == 8192 + (256 << 10));
	for (int i = 0; i < 8192; i++)
		assert_int_equal(pages[i], 0);
}

static void what_cannot_be_had_is_null_and_not_counted(void **state)
{
	uint64_t before = arena_bytes();

	(void)state;
	assert_null(arena_pages((size_t)1 << 60));
	assert_null(arena_alloc((size_t)1 << 60));
	assert_int_equal(arena_bytes(), before);
}

static void after_a_reset_nothing_old_is_handed_out(void **state)
{
	uint8_t *old = arena_alloc(64);

	(void)state;
	memset(old, 7, 64);
	arena_reset();
	assert_int_equal(arena_bytes(), 0);
	uint8_t *fresh = arena_alloc(64);

	assert_true(fresh + 64 <= old || fresh >= old + 64);
	assert_int_equal(fresh[0], 0);
	assert_int_equal(old[0], 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_get_memory_of_their_own),
		cmocka_unit_test(all_that_is_ours_is_listed_until_it_is_given_back),
		cmocka_unit_test(pages_are_whole_and_counted),
		cmocka_unit_test(what_cannot_be_had_is_null_and_not_counted),
		cmocka_unit_test(after_a_reset_nothing_old_is_handed_out),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
