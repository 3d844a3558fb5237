/* SPDX-License-Identifier: MIT */
/*
 * The table of live blocks against a list: blocks enter and leave at random, in places where many share a bucket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "reader/live.h"
#include "draw.h"

enum { BLOCKS = 3000, STEPS = 200000 };

static uint64_t random_state = 88172645463325252u;

static uint64_t draw(uint64_t below)
{
	return draw_below(&random_state, below);
}

static struct live_block blocks[BLOCKS];
static bool present[BLOCKS];

/* One block a step: entered when it is not there, else found as it was entered, and taken out. */
static void play(struct live *live, size_t count, uint64_t step, uint64_t size_max)
{
	struct error error = { 0 };
	size_t held = 0;

	for (size_t i = 0; i < count; i++) {
		blocks[i] = (struct live_block){ .address = i * step };
		present[i] = false;
	}
	for (uint32_t turn = 0; turn < STEPS; turn++) {
		/* Phases in which most enter, and in which most leave. */
		const size_t i = draw(count);
		struct live_block *block = &blocks[i];
		const struct live_place place = live_find(live, block->address);

		assert_int_equal(place.bucket != NULL, present[i]);
		if (!present[i] && (turn / 20000 % 2 == 0 || draw(8) == 0)) {
			block->size = draw(size_max);
			block->site = (uint32_t)draw(UINT32_MAX);
			block->sequence = turn;
			assert_true(live_insert(live, block, &error));
			present[i] = true;
			held++;
		} else if (present[i]) {
			const struct live_block found = live_get(live, place);

			assert_int_equal(found.address, block->address);
			assert_int_equal(found.size, block->size);
			assert_int_equal(found.site, block->site);
			assert_int_equal(found.sequence, block->sequence);
			if (turn / 20000 % 2 == 1 || draw(8) == 0) {
				live_remove(live, place);
				present[i] = false;
				held--;
			}
		}
		assert_int_equal(live->count, held);
	}
	for (size_t i = 0; i < count; i++) {
		if (present[i])
			live_remove(live, live_find(live, blocks[i].address));
	}
	/* Nothing is left behind: neither a lane nor the trace of a block that was displaced. */
	assert_int_equal(live->count, 0);
	for (size_t i = 0; i <= live->mask; i++)
		assert_int_equal(live->buckets[i].state, 0);
}

static void blocks_are_found_as_they_were_entered(void **state)
{
	static const uint64_t steps[] = { 1, 8, 16, 48, 64, 512, 4096, (uint64_t)1 << 40 };
	struct error error = { 0 };
	struct live live;

	assert_true(live_init(&live, &error));
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		play(&live, BLOCKS, steps[i], 4096);
	live_finish(&live);
}

static void sizes_beyond_a_lane_are_kept_and_their_room_is_used_again(void **state)
{
	struct error error = { 0 };
	struct live live;

	assert_true(live_init(&live, &error));
	play(&live, BLOCKS, 16, UINT64_MAX);
	play(&live, BLOCKS, 16, (uint64_t)1 << 32);
	assert_true(live.large_count <= BLOCKS);
	live_finish(&live);
}

/* From the heap's memory into mappings of its own, and larger ones. */
static void a_table_that_outgrows_the_heap_has_all_of_its_blocks(void **state)
{
	enum { COUNT = 300000, STEP = 48 };
	struct error error = { 0 };
	struct live live;

	assert_true(live_init(&live, &error));
	for (uint64_t i = 0; i < COUNT; i++)
		assert_true(live_insert(&live, &(struct live_block){ .address = i * STEP, .size = i }, &error));
	assert_true(live.mask + 1 >= (size_t)COUNT * 2 / LIVE_LANES);
	for (uint64_t i = 0; i < COUNT; i++) {
		const struct live_place place = live_find(&live, i * STEP);

		assert_non_null(place.bucket);
		assert_int_equal(live_get(&live, place).size, i);
		live_remove(&live, place);
	}
	assert_int_equal(live.count, 0);
	live_finish(&live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_that_outgrows_the_heap_has_all_of_its_blocks),
		cmocka_unit_test(blocks_are_found_as_they_were_entered),
		cmocka_unit_test(sizes_beyond_a_lane_are_kept_and_their_room_is_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
