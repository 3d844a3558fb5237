/* SPDX-License-Identifier: MIT */
/*
 * The order of events among threads.  Property: whatever threads do to each other's blocks, the capture, merged by
 * stamp, replays to a history in which no address is owned twice and none is freed that is not owned.
 *
 * The allocator here is a model: a pool of addresses behind a lock-free list, another behind a lock, and mailboxes in
 * which threads leave blocks for each other.  Each does what a hook does: record the allocation after it has the
 * address, record the free before it gives it up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "preload/order.h"
#include "preload/output.h"
#include "preload/stream.h"
#include "recorded.h"
#include "recorder.h"

enum {
	POOL = 64,                    /* addresses in each pool: few, so that they are reused at once */
	MAILBOXES = 8,
	THREADS_MAX = 6,
};
static const uint64_t counter_stamps = (uint64_t)1 << 48;

/* A stack of numbers 1..POOL; the upper half of the head is a tag against reuse between look and swap. */
static struct {
	_Atomic uint64_t head;
	_Atomic uint32_t next[POOL + 1];
} lock_free;

static struct {
	pthread_mutex_t mutex;
	uint32_t items[POOL];
	uint32_t count;
} locked = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static _Atomic uintptr_t mailboxes[MAILBOXES];

static uintptr_t address_of(uint32_t number, bool is_locked)
{
	return 0x100000 + (uintptr_t)number * 16 + (is_locked ? 0x100000 : 0);
}

static void lock_free_push(uint32_t number)
{
	uint64_t head = atomic_load(&lock_free.head);

	do
		atomic_store(&lock_free.next[number], (uint32_t)head);
	while (!atomic_compare_exchange_weak(&lock_free.head, &head, ((head >> 32) + 1) << 32 | number));
}

static uint32_t lock_free_pop(void)
{
	uint64_t head = atomic_load(&lock_free.head);

	while ((uint32_t)head != 0)
		if (atomic_compare_exchange_weak(&lock_free.head, &head,
				((head >> 32) + 1) << 32 | atomic_load(&lock_free.next[(uint32_t)head])))
			return (uint32_t)head;
	return 0;
}

static void locked_push(uint32_t number)
{
	pthread_mutex_lock(&locked.mutex);
	locked.items[locked.count++] = number;
	pthread_mutex_unlock(&locked.mutex);
}

static uint32_t locked_pop(void)
{
	pthread_mutex_lock(&locked.mutex);
	uint32_t number = locked.count ? locked.items[--locked.count] : 0;

	pthread_mutex_unlock(&locked.mutex);
	return number;
}

static void pools_fill(void)
{
	atomic_store(&lock_free.head, 0);
	locked.count = 0;
	for (uint32_t i = 1; i <= POOL; i++) {
		lock_free_push(i);
		locked_push(i);
	}
	for (int i = 0; i < MAILBOXES; i++)
		atomic_store(&mailboxes[i], 0);
}

/* As the hooks do it: the event comes after the allocation, and before the free. */
static uintptr_t model_allocate(uint32_t random)
{
	bool from_lock = random & 1;
	uint32_t number = from_lock ? locked_pop() : lock_free_pop();

	if (number == 0)
		return 0;
	recorder_allocation((void *)address_of(number, from_lock), random % 5000);
	return address_of(number, from_lock);
}

static void model_free(uintptr_t address)
{
	bool to_lock = address >= address_of(1, true);

	recorder_free((void *)address);
	if (to_lock)
		locked_push((uint32_t)((address - address_of(0, true)) / 16));
	else
		lock_free_push((uint32_t)((address - address_of(0, false)) / 16));
}

struct worker {
	uint32_t random, steps;
	uint32_t burst;               /* events in a row, the others waiting; 0: all at once */
	pthread_t thread;
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static uint32_t next_random(struct worker *worker)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 17;
	worker->random ^= worker->random << 5;
	return worker->random;
}

static void step(struct worker *worker, uintptr_t *own, uint32_t own_size)
{
	uint32_t random = next_random(worker);
	uintptr_t *slot = &own[random % own_size];

	if (random >> 8 & 1) {
		/* Leaves the own block for another thread, and takes what was left there. */
		*slot = atomic_exchange(&mailboxes[(random >> 9) % MAILBOXES], *slot);
	} else if (*slot) {
		model_free(*slot);
		*slot = 0;
	} else {
		*slot = model_allocate(random >> 12);
	}
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	uintptr_t own[8] = { 0 };

	for (uint32_t i = 0; i < worker->steps; i++) {
		if (worker->burst && i % worker->burst == 0)
			pthread_mutex_lock(&turn);
		step(worker, own, 8);
		if (worker->burst && (i + 1) % worker->burst == 0)
			pthread_mutex_unlock(&turn);
	}
	for (int i = 0; i < 8; i++)
		if (own[i])
			model_free(own[i]);
	return NULL;
}

static void run_workers(uint32_t count, uint32_t steps, uint32_t burst)
{
	static uint32_t seed = 1;
	struct worker workers[THREADS_MAX];

	for (uint32_t i = 0; i < count; i++) {
		workers[i] = (struct worker){ .random = seed++ * 2654435761u, .steps = steps, .burst = burst };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (uint32_t i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
}

static void empty_mailboxes(void)
{
	for (int i = 0; i < MAILBOXES; i++) {
		uintptr_t address = atomic_exchange(&mailboxes[i], 0);

		if (address)
			model_free(address);
	}
}

static void start(void)
{
	assert_true(recorder_anew());
	pools_fill();
}

/* Reads the capture, replays it, and returns its last stamp. */
static uint64_t check(size_t expected_live, size_t *streams)
{
	struct recorded recorded;
	size_t live = 0;

	recorder_stop();
	bool ok = recorded_read(&recorded, recorder_path()) && recorded_replay(&recorded, &live);

	if (!ok)
		fail_msg("%s", recorded.error);
	uint64_t last = recorded_last_stamp(&recorded);

	if (streams)
		*streams = recorded.stream_count;
	assert_int_equal(live, expected_live);
	assert_int_equal(recorded.status.lost_memory + recorded.status.lost_storage + recorded.status.lost_reentry, 0);
	recorded_finish(&recorded);
	return last;
}

static void threads_that_take_turns_keep_the_baton(void **state)
{
	(void)state;
	for (int round = 0; round < 10; round++) {
		start();
		run_workers(4, 20000, 500);
		empty_mailboxes();
		assert_true(check(0, NULL) < counter_stamps);
	}
}

static void threads_that_fight_replay_exactly_across_retirement(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		start();
		run_workers(2 + (uint32_t)round % (THREADS_MAX - 1), 20000, 0);
		empty_mailboxes();
		check(0, NULL);       /* whether it retires depends on the machine; the next test makes it so */
	}
}

/* What order.c asks of the processor before it relies on its counter. */
static bool counter_is_invariant(void)
{
#if defined(__x86_64__)
	unsigned a, b, c, d = 0;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1 << 8);
#else
	return true;
#endif
}

static void retirement_in_the_middle_replays_exactly(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		start();
		/* Stamps close to their end: the next thread that takes the baton retires it, if the counter is good. */
		run_workers(3, 2000, 0);
		recorder_allocation((void *)0x10, 1);
		uint64_t baton = atomic_load(&order_baton);

		if ((baton & ORDER_RETIRED) != ORDER_RETIRED)
			atomic_store(&order_baton, baton | (uint64_t)1 << 63);
		run_workers(4, 10000, 0);
		empty_mailboxes();
		assert_int_equal((atomic_load(&order_baton) & ORDER_RETIRED) == ORDER_RETIRED, counter_is_invariant());
		assert_int_equal(check(1, NULL) >= counter_stamps, counter_is_invariant());
	}
}

static void states_of_ended_threads_pass_on_in_order(void **state)
{
	size_t streams = 0;

	(void)state;
	for (uint32_t burst = 0; burst <= 50; burst += 50) {
		start();
		for (int generation = 0; generation < 100; generation++)
			run_workers(4, 300, burst ? 50 : 0);
		empty_mailboxes();
		check(0, &streams);
		/* 400 threads, of which 4 live at once.  A few more: the kernel may be late to forget one. */
		assert_in_range(streams, 1, 24);
	}
}

static _Atomic bool go_on;

static void *work_until_stopped(void *argument)
{
	struct worker *worker = argument;
	uintptr_t own[8] = { 0 };

	while (atomic_load(&go_on))
		step(worker, own, 8);
	return NULL;
}

static void what_was_recorded_before_a_stop_is_consistent(void **state)
{
	struct worker workers[3];
	struct recorded recorded;
	size_t live;

	(void)state;
	for (int round = 0; round < 30; round++) {
		start();
		atomic_store(&go_on, true);
		for (uint32_t i = 0; i < 3; i++) {
			workers[i] = (struct worker){ .random = (uint32_t)round * 7919 + i + 1 };
			pthread_create(&workers[i].thread, NULL, work_until_stopped, &workers[i]);
		}
		usleep((useconds_t)(500 + round * 100));
		stream_stop(CAPTURE_STOPPED_STORAGE);
		usleep(500);
		atomic_store(&go_on, false);
		for (int i = 0; i < 3; i++)
			pthread_join(workers[i].thread, NULL);
		if (!recorded_read(&recorded, recorder_path()) || !recorded_replay(&recorded, &live))
			fail_msg("round %d: %s", round, recorded.error);
		assert_int_equal(recorded.status.state, CAPTURE_STOPPED_STORAGE);
		recorded_finish(&recorded);
	}
}

static void a_lost_stamp_is_written_again(void **state)
{
	(void)state;
	start();
	recorder_allocation((void *)0x10, 1);
	struct thread *thread = thread_self;

	/* As if a handler had jumped out between taking the baton and writing it down. */
	uint64_t baton = atomic_load(&order_baton);

	assert_int_equal(baton & ORDER_RETIRED, thread->stream);
	atomic_store(&order_baton, baton + ((uint64_t)5 << ORDER_STREAM_BITS));
	order_repeat(thread);
	stream_commit(thread);
	assert_int_equal(thread->stamp, (baton >> ORDER_STREAM_BITS) + 5);
	recorder_free((void *)0x10);
	assert_int_equal(check(0, NULL), (baton >> ORDER_STREAM_BITS) + 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_that_take_turns_keep_the_baton),
		cmocka_unit_test(threads_that_fight_replay_exactly_across_retirement),
		cmocka_unit_test(retirement_in_the_middle_replays_exactly),
		cmocka_unit_test(states_of_ended_threads_pass_on_in_order),
		cmocka_unit_test(what_was_recorded_before_a_stop_is_consistent),
		cmocka_unit_test(a_lost_stamp_is_written_again),
	};

	return cmocka_run_group_tests_name("order", tests, recorder_set_up, recorder_tear_down);
}
