/* SPDX-License-Identifier: MIT */
/*
 * Stopping and starting while threads record.  Property: whatever the moment, each stretch between a start and the next
 * stop replays to a history in which no address is owned twice, and none is freed that is not owned unless it may have
 * been allocated while nothing was recorded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "preload/control.h"
#include "preload/order.h"
#include "preload/output.h"
#include "recorded.h"
#include "recorder.h"

enum { THREADS = 4, BLOCKS = 48, BOXES = 16 };

static _Atomic bool go_on;
/* Blocks that nobody owns, one a bit; and blocks left for others. */
static _Atomic uint64_t pool;
static _Atomic uintptr_t boxes[BOXES];

static void start(bool paused)
{
	assert_true(recorder_anew());
	if (paused)
		control_begin(true, control_quiet);
	atomic_store(&pool, ((uint64_t)1 << BLOCKS) - 1);
	for (int i = 0; i < BOXES; i++)
		atomic_store(&boxes[i], 0);
}

static uintptr_t take_block(void)
{
	uint64_t free_ones = atomic_load(&pool);

	while (free_ones) {
		unsigned which = (unsigned)__builtin_ctzll(free_ones);

		if (atomic_compare_exchange_weak(&pool, &free_ones, free_ones & ~((uint64_t)1 << which))) {
			recorder_allocation((void *)(0x1000 + which * (uintptr_t)16), which);
			return 0x1000 + which * (uintptr_t)16;
		}
	}
	return 0;
}

static void give_block(uintptr_t address)
{
	recorder_free((void *)address);
	atomic_fetch_or(&pool, (uint64_t)1 << (address - 0x1000) / 16);
}

static void *work(void *argument)
{
	uint32_t random = (uint32_t)(uintptr_t)argument;
	uintptr_t own = 0;

	while (atomic_load(&go_on)) {
		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		if (random & 1) {
			own = atomic_exchange(&boxes[(random >> 1) % BOXES], own);
		} else if (own) {
			give_block(own);
			own = 0;
		} else {
			own = take_block();
		}
	}
	return NULL;
}

static void read_capture(struct recorded *recorded, size_t *live)
{
	recorder_stop();
	if (!recorded_read(recorded, recorder_path()) || !recorded_replay(recorded, live))
		fail_msg("%s", recorded->error);
	assert_int_equal(recorded->status.lost_memory + recorded->status.lost_storage + recorded->status.lost_reentry, 0);
}

/* `retired`: events are ordered by the processor's counter, where that is good for it. */
static void toggle(bool retired, uint32_t seed)
{
	pthread_t threads[THREADS];
	struct recorded recorded;
	size_t live, changes = 0;

	start(false);
	recorder_allocation((void *)0x10, 1);
	if (retired)
		atomic_store(&order_baton, atomic_load(&order_baton) | (uint64_t)1 << 63);
	atomic_store(&go_on, true);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(seed * 7919u + i + 1)), 0);
	for (int i = 0; i < 40; i++) {
		usleep((useconds_t)((seed * 31 + (unsigned)i * 17) % 300));
		assert_int_equal(control_change(false), 1);
		assert_int_equal(control_change(false), 0);
		usleep((useconds_t)((seed * 13 + (unsigned)i * 29) % 300));
		assert_int_equal(control_change(true), 1);
		assert_int_equal(control_change(true), 0);
		changes += 2;
	}
	atomic_store(&go_on, false);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	read_capture(&recorded, &live);
	assert_int_equal(recorded_count(&recorded, CAPTURE_RECORDING), changes);
	assert_int_equal(recorded.status.paused, 0);
	recorded_finish(&recorded);
}

static void stops_and_starts_among_threads_keep_every_stretch_consistent(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 12; seed++)
		toggle(false, seed);
}

static void the_same_when_the_counter_orders(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 12; seed++)
		toggle(true, seed);
}

static void nothing_is_recorded_while_stopped(void **state)
{
	struct recorded recorded;
	size_t live;

	(void)state;
	start(true);
	for (uintptr_t i = 1; i <= 100; i++)
		recorder_allocation((void *)(i * 16), i);
	assert_int_equal(control_mark("early", 5, false), -1);
	assert_int_equal(control_change(true), 1);
	recorder_allocation((void *)0x10, 1);
	assert_int_equal(control_mark("in", 2, true), 1);
	assert_int_equal(control_change(false), 1);
	recorder_free((void *)0x10);
	recorder_allocation((void *)0x20, 2);
	assert_int_equal(control_mark("late", 4, false), -1);
	assert_int_equal(output_status()->paused, 1);
	read_capture(&recorded, &live);
	assert_int_equal(recorded_count(&recorded, CAPTURE_MALLOC), 1);
	assert_int_equal(recorded_count(&recorded, CAPTURE_FREE), 0);
	assert_int_equal(recorded_count(&recorded, CAPTURE_MARK), 1);
	assert_int_equal(recorded_count(&recorded, CAPTURE_RECORDING), 2);
	assert_int_equal(live, 1);
	recorded_finish(&recorded);
}

static void ask(uint64_t number, enum capture_command command, const char *name)
{
	struct capture_status *status = output_status();

	memcpy(status->request_name, name, strlen(name));
	status->request_size = strlen(name);
	atomic_store((_Atomic uint64_t *)&status->request, number << 8 | command);
}

/* Goes on recording until there is an answer: whoever records looks when the coarse clock moves. */
static enum capture_answer answer_of(uint64_t number)
{
	for (int i = 0; i < 1000000; i++) {
		uint64_t answer = atomic_load((_Atomic uint64_t *)&output_status()->answer);

		if (answer >> 8 == number)
			return (enum capture_answer)(answer & 0xff);
		recorder_allocation((void *)0x500, 5);
		recorder_free((void *)0x500);
		usleep(10);
	}
	return 0;
}

static void what_is_asked_from_outside_is_done_and_answered(void **state)
{
	char long_name[sizeof(output_status()->request_name)];
	struct recorded recorded;
	size_t live;

	(void)state;
	start(true);
	memset(long_name, 'x', sizeof(long_name));
	ask(1, CAPTURE_ASK_MARK, "too early");
	assert_int_equal(answer_of(1), CAPTURE_ANSWER_PAUSED);
	ask(2, CAPTURE_ASK_STOP, "");
	assert_int_equal(answer_of(2), CAPTURE_ANSWER_ALREADY);
	ask(3, CAPTURE_ASK_START, "");
	assert_int_equal(answer_of(3), CAPTURE_ANSWER_DONE);
	ask(4, CAPTURE_ASK_START, "");
	assert_int_equal(answer_of(4), CAPTURE_ANSWER_ALREADY);
	ask(5, CAPTURE_ASK_MARK, "here");
	assert_int_equal(answer_of(5), CAPTURE_ANSWER_DONE);
	memcpy(output_status()->request_name, long_name, sizeof(long_name));
	output_status()->request_size = UINT64_MAX;
	atomic_store((_Atomic uint64_t *)&output_status()->request, (uint64_t)6 << 8 | CAPTURE_ASK_SNAPSHOT);
	assert_int_equal(answer_of(6), CAPTURE_ANSWER_DONE);
	ask(7, (enum capture_command)99, "");
	assert_int_equal(answer_of(7), CAPTURE_ANSWER_UNKNOWN);
	ask(8, CAPTURE_ASK_STOP, "");
	assert_int_equal(answer_of(8), CAPTURE_ANSWER_DONE);
	read_capture(&recorded, &live);
	assert_int_equal(recorded_count(&recorded, CAPTURE_MARK), 2);
	assert_int_equal(recorded_count(&recorded, CAPTURE_RECORDING), 2);
	for (size_t i = 0; i < recorded.event_count; i++)
		if (recorded.events[i].kind == CAPTURE_MARK)
			assert_true(recorded.events[i].payload_size == 4 || recorded.events[i].payload_size == sizeof(long_name));
	recorded_finish(&recorded);
}

/* As one does who finds another's answer in the file of the next segment. */
static void what_is_asked_again_is_answered_and_not_done_again(void **state)
{
	struct recorded recorded;
	size_t live;

	(void)state;
	start(false);
	ask(10, CAPTURE_ASK_MARK, "once");
	assert_int_equal(answer_of(10), CAPTURE_ANSWER_DONE);
	ask(11, CAPTURE_ASK_STOP, "");
	assert_int_equal(answer_of(11), CAPTURE_ANSWER_DONE);
	output_status()->request_first = 10;
	ask(12, CAPTURE_ASK_MARK, "once");
	assert_int_equal(answer_of(12), CAPTURE_ANSWER_DONE);
	output_status()->request_first = 0;
	ask(13, CAPTURE_ASK_START, "");
	assert_int_equal(answer_of(13), CAPTURE_ANSWER_DONE);
	output_status()->request_first = 11;
	ask(14, CAPTURE_ASK_STOP, "");
	assert_int_equal(answer_of(14), CAPTURE_ANSWER_DONE);
	assert_int_equal(output_status()->paused, 0);
	/* One that nobody saw, and one that claims to come from later. */
	output_status()->request_first = 9;
	ask(15, CAPTURE_ASK_MARK, "late");
	assert_int_equal(answer_of(15), CAPTURE_ANSWER_DONE);
	output_status()->request_first = UINT64_MAX;
	ask(16, CAPTURE_ASK_MARK, "late");
	assert_int_equal(answer_of(16), CAPTURE_ANSWER_DONE);
	read_capture(&recorded, &live);
	assert_int_equal(recorded_count(&recorded, CAPTURE_MARK), 3);
	assert_int_equal(recorded_count(&recorded, CAPTURE_RECORDING), 2);
	recorded_finish(&recorded);
}

/* As when the file cannot grow: it is over, and neither starting nor stopping pretends otherwise. */
static void what_has_ended_for_good_cannot_be_started(void **state)
{
	(void)state;
	start(false);
	recorder_allocation((void *)0x10, 1);
	order_stop();
	assert_int_equal(control_change(true), -1);
	assert_int_equal(control_change(false), -1);
	recorder_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stops_and_starts_among_threads_keep_every_stretch_consistent),
		cmocka_unit_test(the_same_when_the_counter_orders),
		cmocka_unit_test(nothing_is_recorded_while_stopped),
		cmocka_unit_test(what_is_asked_from_outside_is_done_and_answered),
		cmocka_unit_test(what_is_asked_again_is_answered_and_not_done_again),
		cmocka_unit_test(what_has_ended_for_good_cannot_be_started),
	};

	return cmocka_run_group_tests_name("control", tests, recorder_set_up, recorder_tear_down);
}
