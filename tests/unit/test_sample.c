/* SPDX-License-Identifier: MIT */
/*
 * The recorder's side of sampling: the table of known blocks against a list, also with threads; blocks are drawn as
 * often as their sizes say; and only known blocks' ends are recorded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "preload/config.h"
#include "preload/known.h"
#include "draw.h"
#include "recorded.h"
#include "recorder.h"

enum { BLOCKS = 4000, STEPS = 400000, THREADS = 4 };

/* Each turn asks, then enters or takes out.  Every thread has addresses of its own, next to those of the others. */
static void *play(void *argument)
{
	uintptr_t thread = (uintptr_t)argument;
	uint64_t state = 88172645463325252u + thread;
	static const uintptr_t bases[] = { 0x1000, 0x555500000000, 0x7ffff0000000, (uintptr_t)0x7fff << 32 };
	bool *present = calloc(BLOCKS, 1);
	bool good = true;

	for (int i = 0; i < STEPS && good; i++) {
		size_t n = draw_below(&state, BLOCKS);
		const void *block = (void *)(bases[n % 4] + (n * (n % 3 ? THREADS : 600) + thread) * 8);

		good = known_contains(block) == present[n];
		if (draw_below(&state, 2))
			good = good && known_remove(block) == present[n];
		else
			good = good && known_add(block);
		present[n] = known_contains(block);
	}
	for (size_t n = 0; n < BLOCKS; n++)
		known_remove((void *)(bases[n % 4] + (n * (n % 3 ? THREADS : 600) + thread) * 8));
	free(present);
	return good ? argument : NULL;
}

static void known_blocks_are_those_that_were_entered(void **state)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, play, (void *)(i + 1)), 0);
	for (uintptr_t i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(threads[i], &result);
		assert_ptr_equal(result, (void *)(i + 1));
	}
}

static void begin(const char *folder, uint64_t mean, uint64_t seed)
{
	config.sample_bytes = mean;
	config.sample_seed = seed;
	sample_start();
	assert_true(recorder_start(folder));
}

static void end(struct recorded *recorded)
{
	recorder_stop();
	config.sample_bytes = 0;
	sample_start();
	if (!recorded_read(recorded, recorder_path()))
		fail_msg("%s", recorded->error);
}

/* For each size as many as the binomial distribution lets expect, within five standard deviations. */
static void blocks_are_drawn_as_often_as_their_sizes_say(void **state)
{
	enum { EACH = 60000, MEAN = 4096 };
	static const size_t sizes[] = { 1, 16, 100, 1000, 4096, 10000, 65536 };
	const size_t count = sizeof(sizes) / sizeof(sizes[0]);
	uint64_t seen[7] = { 0 }, passed = 0, bytes = 0, all_bytes = 0;
	struct recorded recorded;
	char folder[256];

	assert_true(recorder_folder_make(folder, sizeof(folder)));
	begin(folder, MEAN, 12345);
	for (uintptr_t i = 0; i < EACH * count; i++)
		recorder_allocation((void *)(0x10000000 + i * 16), sizes[i * 7919 % count]);
	end(&recorded);
	assert_int_equal(recorded.header.version, CAPTURE_VERSION);
	assert_true(recorded.header.features & CAPTURE_SAMPLED);
	for (size_t i = 0; i < recorded.event_count; i++) {
		const struct capture_event *event = &recorded.events[i];

		for (size_t s = 0; s < count && event->kind == CAPTURE_MALLOC; s++)
			seen[s] += event->size == sizes[s];
		passed += event->kind == CAPTURE_SKIP ? event->address : 0;
		bytes += event->kind == CAPTURE_SKIP ? event->size : event->kind == CAPTURE_MALLOC ? event->size : 0;
	}
	for (size_t s = 0; s < count; s++) {
		double p = -expm1(-(double)sizes[s] / MEAN), expected = EACH * p, deviation = sqrt(EACH * p * (1 - p));

		all_bytes += EACH * sizes[s];
		if (fabs((double)seen[s] - expected) > 5 * deviation + 1e-9)
			fail_msg("size %zu: %u of %u, expected %.1f +- %.1f", sizes[s], (unsigned)seen[s], EACH, expected, deviation);
		passed += seen[s];
	}
	/* What SKIP counts and what is recorded are all allocations, but for those after the last that is recorded. */
	assert_true(passed <= EACH * count && passed > EACH * count - 1000);
	assert_true(bytes <= all_bytes && bytes > all_bytes - 200000);
	recorded_finish(&recorded);
	recorder_folder_remove(folder);
}

static void only_ends_of_recorded_blocks_are_recorded(void **state)
{
	enum { COUNT = 200000 };
	struct recorded recorded;
	char folder[256];
	size_t live;

	assert_true(recorder_folder_make(folder, sizeof(folder)));
	begin(folder, 8192, 99);
	/* The free of a block of before, and one whose address the table has no place for, which is always recorded. */
	recorder_free((void *)0x7000000);
	for (uintptr_t i = 0; i < 100; i++)
		recorder_allocation((void *)(0x6000003 + i * 16), 5);
	for (uintptr_t i = 0; i < COUNT; i++) {
		recorder_allocation((void *)(0x40000000 + i % 5000 * 64), 48);
		if (i >= 100)
			recorder_free((void *)(0x40000000 + (i - 100) % 5000 * 64));
	}
	for (uintptr_t i = COUNT - 100; i < COUNT; i++)
		recorder_free((void *)(0x40000000 + i % 5000 * 64));
	for (uintptr_t i = 0; i < 50; i++)
		recorder_free((void *)(0x6000003 + i * 16));
	end(&recorded);
	if (!recorded_replay(&recorded, &live))
		fail_msg("%s", recorded.error);
	assert_int_equal(live, 50);
	assert_true(recorded_count(&recorded, CAPTURE_MALLOC) - 100 > COUNT * 48 / 8192 / 2);
	assert_true(recorded_count(&recorded, CAPTURE_MALLOC) - 100 < COUNT * 48 / 8192 * 2);
	recorded_finish(&recorded);
	recorder_folder_remove(folder);
}

/* Each window says by itself how it was sampled, so that a lost one changes nothing in the next. */
static void each_window_names_its_mean(void **state)
{
	struct recorded recorded;
	char folder[256];
	uint32_t windows = 0;

	assert_true(recorder_folder_make(folder, sizeof(folder)));
	begin(folder, 64, 7);
	for (uintptr_t i = 0; i < 100000; i++)
		recorder_allocation((void *)(0x10000000 + i * 64), 48);
	end(&recorded);
	assert_true(recorded.window_count > 3);
	for (size_t i = 0; i < recorded.window_count; i++)
		windows += recorded.windows[i].size > 64;
	assert_int_equal(recorded_count(&recorded, CAPTURE_SAMPLING), windows);
	recorded_finish(&recorded);
	recorder_folder_remove(folder);
}

static void a_seed_draws_the_same_sample_again(void **state)
{
	struct recorded recorded[3];
	char folder[256];

	assert_true(recorder_folder_make(folder, sizeof(folder)));
	for (int turn = 0; turn < 3; turn++) {
		begin(folder, 4096, turn < 2 ? 7 : 8);
		for (uintptr_t i = 0; i < 20000; i++)
			recorder_allocation((void *)(0x10000000 + i * 64), 48);
		end(&recorded[turn]);
		recorder_folder_remove(folder);
		assert_true(recorder_folder_make(folder, sizeof(folder)));
	}
	assert_int_equal(recorded[0].event_count, recorded[1].event_count);
	for (size_t i = 0; i < recorded[0].event_count; i++)
		assert_int_equal(recorded[0].events[i].address, recorded[1].events[i].address);
	bool same = recorded[0].event_count == recorded[2].event_count;
	for (size_t i = 0; same && i < recorded[0].event_count; i++)
		same = recorded[0].events[i].address == recorded[2].events[i].address;
	assert_false(same);
	for (int turn = 0; turn < 3; turn++)
		recorded_finish(&recorded[turn]);
	recorder_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_blocks_are_those_that_were_entered),
		cmocka_unit_test(blocks_are_drawn_as_often_as_their_sizes_say),
		cmocka_unit_test(only_ends_of_recorded_blocks_are_recorded),
		cmocka_unit_test(each_window_names_its_mean),
		cmocka_unit_test(a_seed_draws_the_same_sample_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
