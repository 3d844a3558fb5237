/* SPDX-License-Identifier: MIT */
/*
 * What became of the first words of a window (reader/culled_walk.h), in cases that the random programs of
 * test_follow_culled.c seldom have.  The block is what the recorder leaves of the window (preload/cull.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "preload/cull.h"
#include "reader/culled_walk.h"

enum { WORDS = 1000, PAIRS = 8, SIZE = 50, BIN = 6 };

static struct window {
	uint64_t words[WORDS], owned[WORDS / 64 + 1];
	size_t count;
	size_t taken;                 /* words that were, when it was handed on */
} window;

static void put(unsigned kind, uint64_t operand)
{
	window.words[window.count++] = kind | operand << 8;
}

static void put_block(unsigned kind, uint64_t address, uint32_t size)
{
	put(kind, address);
	window.words[window.count++] = size;
}

static void put_owned(unsigned kind, uint64_t address)
{
	window.owned[window.count / 64] |= (uint64_t)1 << window.count % 64;
	put(kind, address);
}

static void put_pairs(unsigned kind)
{
	for (uint64_t i = 0; i < PAIRS; i++) {
		put_block(kind, 0x1000, SIZE);
		put_owned(CAPTURE_FREE, 0x1000);
	}
}

static uint64_t out[WORDS];

static void hand_on(struct culled_walk *walk)
{
	struct cull_memory *memory = calloc(1, cull_memory_size());
	const struct capture_stream carry = { .first_thread = 1 };
	struct cull_moves moves = { .count = 0 };
	struct error error = { .text = "" };
	struct events_cursor words, left;

	assert_non_null(memory);
	const size_t count = cull_window(memory, window.words, window.count, window.owned, &carry, &moves, NULL, 0, out);

	assert_true(count > 0);
	events_open_words(&words, 0, &carry, window.words, window.taken);
	events_open_words(&left, 0, &carry, out, count);
	*walk = (struct culled_walk){ .first_stamp = walk->first_stamp, .page_size = 4096, .temporary_limit = 1 };
	assert_true(culled_walk(walk, &words, &left, &error));
	assert_false(walk->contradicts);
	free(memory);
	window = (struct window){ .count = 0 };
}

/* Records of the block: sums, SKIP, the mark; sums, SKIP and what was held. */
static void what_comes_before_a_mark_that_was_taken_was_taken(void **state)
{
	struct culled_walk walk = { .first_stamp = 0 };

	(void)state;
	put_pairs(CAPTURE_MALLOC);
	put(CAPTURE_MARK, 1);
	window.words[window.count++] = 'm';
	window.taken = window.count;
	put_pairs(CAPTURE_MALLOC);
	hand_on(&walk);
	assert_int_equal(walk.matched, 3);
	assert_int_equal(walk.dropped, 0);
	assert_int_equal(walk.allocations, PAIRS);
	assert_int_equal(walk.events, 2 * PAIRS);
	assert_int_equal(walk.sum_count, 1);
	assert_true(walk.sums[0].count == 0 && walk.sums[0].bytes == 0 && walk.sums[0].temporary_count == 0);
	culled_walk_finish(&walk);
}

static void what_waits_is_another_threads(void **state)
{
	struct culled_walk walk = { .first_stamp = 0 };

	(void)state;
	put(CAPTURE_MOVE, 0x2000);
	put(CAPTURE_THREAD, 2);
	/* realloc(NULL, SIZE) */
	put_pairs(CAPTURE_REALLOC);
	window.taken = window.count;
	hand_on(&walk);
	assert_int_equal(walk.matched, 1);
	assert_int_equal(walk.allocations, PAIRS);
	assert_int_equal(walk.dropped, PAIRS);
	assert_true(walk.sums[0].count == PAIRS && walk.sums[0].temporary_bytes == PAIRS * SIZE);
	culled_walk_finish(&walk);
}

/* As many as a reader remembers. */
static void the_oldest_of_many_that_wait_are_forgotten(void **state)
{
	struct culled_walk walk = { .first_stamp = 0 };

	(void)state;
	for (uint64_t i = 0; i < 3 * REPLAY_MOVES_MAX; i++)
		put(CAPTURE_MOVE, 0x2000 + 16 * i);
	for (uint64_t i = 0; i < REPLAY_MOVES_MAX; i++)
		put_block(CAPTURE_REALLOC, 0x3000 + 16 * i, SIZE);
	put_pairs(CAPTURE_REALLOC);
	window.taken = window.count;
	hand_on(&walk);
	assert_int_equal(walk.matched, 4 * REPLAY_MOVES_MAX);
	assert_int_equal(walk.allocations, PAIRS);
	assert_int_equal(walk.move_count, 0);
	culled_walk_finish(&walk);
}

/* To the replay a realloc of a block that it does not know is an allocation; in sums it is in the row of its first. */
static void a_block_from_before_what_is_known_is_resized(void **state)
{
	struct culled_walk walk = { .first_stamp = 10 };

	(void)state;
	for (uint64_t i = 0; i < PAIRS; i++)
		put_block(CAPTURE_MALLOC, 0x1000 + 64 * i, SIZE);
	put(CAPTURE_STAMP, 10);
	for (uint64_t i = 0; i < PAIRS; i++) {
		put_owned(CAPTURE_MOVE, 0x1000 + 64 * i);
		put_block(CAPTURE_REALLOC, 0x1000 + 64 * i, SIZE - 10);
		put_owned(CAPTURE_FREE, 0x1000 + 64 * i);
	}
	window.taken = window.count;
	hand_on(&walk);
	assert_int_equal(walk.allocations, PAIRS);
	assert_int_equal(walk.unknown_frees, PAIRS);
	assert_int_equal(walk.events, 3 * PAIRS);
	assert_int_equal(walk.left_out, -PAIRS);
	assert_int_equal(walk.sum_count, 1);
	assert_true(walk.sums[0].kind == CAPTURE_REALLOC && walk.sums[0].bin == BIN && walk.sums[0].count == PAIRS &&
		walk.sums[0].bytes == PAIRS * (SIZE - 10) && walk.sums[0].temporary_count == PAIRS);
	culled_walk_finish(&walk);
}

/* What a damaged file may hold: an event that was never there, too few that are, or another number in between. */
static void a_block_that_is_of_another_window_is_told(void **state)
{
	const struct capture_stream carry = { .first_thread = 1 };
	const uint64_t blocks[][3] = {
		{ CAPTURE_SKIP | PAIRS << 8, 0, CAPTURE_FREE | 0x6000 << 8 },
		{ CAPTURE_SKIP | (PAIRS + 1) << 8, 0, CAPTURE_FREE | 0x5000 << 8 },
		{ CAPTURE_SKIP | (PAIRS - 1) << 8, 0, CAPTURE_FREE | 0x5000 << 8 },
		{ CAPTURE_FREE | 0x5000 << 8, CAPTURE_FREE | 0x5000 << 8, CAPTURE_FREE | 0x5000 << 8 },
		{ CAPTURE_SKIP | PAIRS << 8, 0, CAPTURE_FREE | 0x5000 << 8 },
	};
	const size_t count = sizeof(blocks) / sizeof(*blocks);

	(void)state;
	put_pairs(CAPTURE_MALLOC);
	put(CAPTURE_FREE, 0x5000);
	for (size_t i = 0; i < count; i++) {
		struct culled_walk walk = { .page_size = 4096, .temporary_limit = 1 };
		struct error error = { .text = "" };
		struct events_cursor words, left;

		events_open_words(&words, 0, &carry, window.words, window.count);
		events_open_words(&left, 0, &carry, blocks[i], 3);
		assert_true(culled_walk(&walk, &words, &left, &error));
		/* The last one is right. */
		assert_int_equal(walk.contradicts, i + 1 < count);
		culled_walk_finish(&walk);
	}
	window = (struct window){ .count = 0 };
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_before_a_mark_that_was_taken_was_taken),
		cmocka_unit_test(what_waits_is_another_threads),
		cmocka_unit_test(the_oldest_of_many_that_wait_are_forgotten),
		cmocka_unit_test(a_block_from_before_what_is_known_is_resized),
		cmocka_unit_test(a_block_that_is_of_another_window_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
