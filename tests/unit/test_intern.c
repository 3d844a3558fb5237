/* SPDX-License-Identifier: MIT */
/*
 * Nodes.  Properties: the same stack is the same number, at any time and in any thread; a number is in the file before
 * anybody can have it, with its frame and parent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "preload/intern.h"
#include "preload/output.h"
#include "recorded.h"
#include "recorder.h"

enum { THREADS = 4, FRAMES = 60000 };

/* The calling thread's state, as a hook gets it. */
static struct thread *enter(void)
{
	struct thread *thread = record_enter();

	assert_non_null(thread);
	thread->gate = GATE_OURS;
	return thread;
}

/* A frame that is neither native (no module is looked for) nor special. */
static uint64_t frame_of(uint32_t i)
{
	return CAPTURE_PYTHON_FRAME(i, i * 3);
}

static void the_same_frame_under_the_same_parent_is_the_same_node(void **state)
{
	struct thread *thread = enter();

	(void)state;
	uint32_t a = intern_node(thread, CAPTURE_NODE_ROOT, frame_of(1));
	uint32_t b = intern_node(thread, a, frame_of(1));
	uint32_t c = intern_node(thread, CAPTURE_NODE_ROOT, frame_of(2));

	assert_int_not_equal(a, CAPTURE_NODE_ROOT);
	assert_int_not_equal(a, b);
	assert_int_not_equal(a, c);
	assert_int_not_equal(b, c);
	memset(thread->cache, 0, sizeof(thread->cache));
	assert_int_equal(intern_node(thread, CAPTURE_NODE_ROOT, frame_of(1)), a);
	assert_int_equal(intern_node(thread, a, frame_of(1)), b);
	assert_int_equal(intern_node(thread, CAPTURE_NODE_ROOT, frame_of(2)), c);
	record_leave(thread);
}

/* Processor time of interning frames that are new. */
static double seconds_of(uint64_t (*frame)(uint32_t), uint32_t count)
{
	struct thread *thread = enter();
	struct timespec from, to;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	for (uint32_t i = 0; i < count; i++)
		intern_node(thread, CAPTURE_NODE_ROOT, frame(i));
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	record_leave(thread);
	return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9;
}

static uint64_t of_one_generation(uint32_t i)
{
	return CAPTURE_NATIVE_FRAME(0x7f0000001000 + i * 16, 0);
}

static uint64_t of_one_address(uint32_t i)
{
	return CAPTURE_NATIVE_FRAME(0x7f0000000008, i + 1);
}

/* As those of a library that is loaded again and again: a program that does so would be slower with each time. */
static void frames_of_many_generations_have_places_of_their_own(void **state)
{
	enum { COUNT = 16000 };
	double usual = seconds_of(of_one_generation, COUNT), same_address = seconds_of(of_one_address, COUNT);

	(void)state;
	if (same_address > 8 * usual + 0.005)
		fail_msg("%g s, and %g s where addresses differ", same_address, usual);
}

struct walker {
	pthread_t thread;
	uint32_t shift;               /* each thread begins elsewhere */
	uint32_t nodes[FRAMES];
};

/* Chains of four frames, the outer ones shared by many. */
static uint32_t intern_chain(struct thread *thread, uint32_t i)
{
	uint32_t node = intern_node(thread, CAPTURE_NODE_ROOT, frame_of(i / 1000));

	node = intern_node(thread, node, frame_of(i / 100));
	node = intern_node(thread, node, frame_of(i / 10));
	return intern_node(thread, node, frame_of(i));
}

static void *intern_all(void *argument)
{
	struct walker *walker = argument;
	struct thread *thread = enter();

	for (uint32_t i = 0; i < FRAMES; i++) {
		uint32_t at = (i + walker->shift) % FRAMES;

		walker->nodes[at] = intern_chain(thread, at);
	}
	record_leave(thread);
	return NULL;
}

/* What the capture says of each node. */
struct known {
	uint64_t *frames;
	uint32_t *parents;
	uint32_t count;
};

static void read_nodes(struct known *known, const struct recorded *recorded)
{
	known->count = 1;
	for (size_t i = 0; i < recorded->event_count; i++)
		if (recorded->events[i].kind == CAPTURE_NODE && recorded->events[i].stack >= known->count)
			known->count = recorded->events[i].stack + 1;
	known->frames = calloc(known->count, sizeof(*known->frames));
	known->parents = calloc(known->count, sizeof(*known->parents));
	for (size_t i = 0; i < recorded->event_count; i++) {
		const struct capture_event *event = &recorded->events[i];

		if (event->kind != CAPTURE_NODE)
			continue;
		assert_int_equal(known->frames[event->stack], 0);   /* a number stands for one node */
		assert_in_range(event->parent, 0, event->stack - 1);
		known->frames[event->stack] = event->frame;
		known->parents[event->stack] = event->parent;
	}
}

static void check_chain(const struct known *known, uint32_t node, uint32_t i)
{
	static const uint32_t divisors[] = { 1, 10, 100, 1000 };

	for (int depth = 0; depth < 4; depth++) {
		assert_in_range(node, 1, known->count - 1);
		assert_int_equal(known->frames[node], frame_of(i / divisors[depth]));
		node = known->parents[node];
	}
	assert_int_equal(node, CAPTURE_NODE_ROOT);
}

static void threads_at_once_agree_through_several_doublings(void **state)
{
	static struct walker walkers[THREADS];
	struct recorded recorded;
	struct known known;

	(void)state;
	for (uint32_t i = 0; i < THREADS; i++) {
		walkers[i].shift = i * 13;        /* close behind each other: most nodes are raced for */
		pthread_create(&walkers[i].thread, NULL, intern_all, &walkers[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(walkers[i].thread, NULL);
	if (!recorded_read(&recorded, recorder_path()))
		fail_msg("%s", recorded.error);
	read_nodes(&known, &recorded);
	for (uint32_t i = 0; i < FRAMES; i++) {
		for (uint32_t t = 0; t < THREADS; t++) {
			check_chain(&known, walkers[t].nodes[i], i);
			assert_int_equal(walkers[t].nodes[i], walkers[0].nodes[i]);
		}
	}
	assert_int_equal(output_status()->stacks_degraded, 0);

	/* And now nothing is new. */
	struct thread *thread = enter();

	for (uint32_t i = 0; i < FRAMES; i++)
		assert_int_equal(intern_chain(thread, i), walkers[0].nodes[i]);
	record_leave(thread);
	free(known.frames);
	free(known.parents);
	recorded_finish(&recorded);
}

/* Runs in a child, whose address space is bounded; its exit code says what went wrong. */
static int run_out_of_memory(void)
{
	struct rlimit limit = { 0 };
	struct thread *thread;
	uint32_t node = 0, degraded = 0;

	recorder_forget();
	if (!recorder_start(recorder_folder))
		return 1;
	thread = record_enter();
	if (!thread)
		return 2;
	thread->gate = GATE_OURS;
	intern_node(thread, CAPTURE_NODE_ROOT, frame_of(1));
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = 4096;            /* less than is mapped: no mapping succeeds from here on */
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return 3;
	for (uint32_t i = 2; i < 40000; i++) {
		uint32_t before = intern_node(thread, CAPTURE_NODE_ROOT, frame_of(i));

		node = intern_node(thread, before, frame_of(i));
		degraded += node == before;
	}
	if (degraded == 0 || output_status()->stacks_degraded == 0)
		return 4;
	/* What is cut hangs under the node that says so. */
	return node == 0 ? 5 : 0;
}

/* Not under a sanitizer: it needs the address space that this takes away. */
__attribute__((unused)) static void without_memory_stacks_are_cut_and_counted(void **state)
{
	int status = 0;
	pid_t child = fork();

	(void)state;
	if (child == 0)
		_exit(run_out_of_memory());
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_same_frame_under_the_same_parent_is_the_same_node,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(frames_of_many_generations_have_places_of_their_own,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(threads_at_once_agree_through_several_doublings,
			recorder_set_up_started, recorder_tear_down),
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
		cmocka_unit_test_setup_teardown(without_memory_stacks_are_cut_and_counted,
			recorder_set_up_started, recorder_tear_down),
#endif
	};

	return cmocka_run_group_tests_name("intern", tests, NULL, NULL);
}
