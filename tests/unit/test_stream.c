/* SPDX-License-Identifier: MIT */
/*
 * Windows and blocks.  Property: an event whose recording has returned is in the file exactly once, whatever became
 * of the process: the window is full or empty, being flushed, or its owner is killed at any instant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/intern.h"
#include "preload/stream.h"
#include "recorded.h"
#include "recorder.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { KILLS = 50 };
#else
enum { KILLS = 200 };
#endif

static void read_back(struct recorded *recorded)
{
	if (!recorded_read(recorded, recorder_path()))
		fail_msg("%s", recorded->error);
}

/* The i-th event of a sequence that shows every gap and every repetition. */
static void put_event(uint64_t i)
{
	recorder_allocation((void *)(uintptr_t)((i + 1) * 16), i % 7 == 0 ? ((size_t)5 << 32) + i : i);
}

static size_t check_sequence(struct recorded *recorded)
{
	uint64_t next = 0;

	for (size_t i = 0; i < recorded->event_count; i++) {
		const struct capture_event *event = &recorded->events[i];

		if (event->kind != CAPTURE_MALLOC)
			continue;
		assert_int_equal(event->address, (next + 1) * 16);
		assert_int_equal(event->size, next % 7 == 0 ? ((uint64_t)5 << 32) + next : next);
		next++;
	}
	return next;
}

static void events_survive_many_windows(void **state)
{
	struct recorded recorded;

	(void)state;
	for (uint64_t i = 0; i < 100000; i++)
		put_event(i);
	read_back(&recorded);
	assert_int_equal(check_sequence(&recorded), 100000);
	assert_true(recorded.block_count > 10);
	recorded_finish(&recorded);
}

static void every_fill_of_a_window_can_be_flushed(void **state)
{
	struct recorded recorded;
	uint64_t events = 0;

	(void)state;
	put_event(events++);
	for (int count = 0; count < 40; count++) {
		assert_true(stream_flush(thread_self));
		for (int i = 0; i < count; i++)
			put_event(events++);
	}
	assert_true(stream_flush(thread_self));
	assert_true(stream_flush(thread_self));
	read_back(&recorded);
	assert_int_equal(check_sequence(&recorded), events);
	recorded_finish(&recorded);
}

static void stamps_and_times_go_on_across_windows(void **state)
{
	struct recorded recorded;
	uint64_t stamp = 0, time_ns = 0;

	(void)state;
	for (uint64_t i = 0; i < 50000; i++)
		put_event(i);
	read_back(&recorded);
	for (size_t i = 0; i < recorded.event_count; i++) {
		assert_true(recorded.events[i].stamp >= stamp);
		assert_true(recorded.events[i].time_ns >= time_ns);
		stamp = recorded.events[i].stamp;
		time_ns = recorded.events[i].time_ns;
	}
	assert_int_equal(stamp, 1);       /* one thread: the baton was taken once */
	recorded_finish(&recorded);
}

static bool put_note(size_t size, uint8_t seed)
{
	uint8_t *bytes = malloc(size + 1);

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(seed + i * 31);
	const struct stream_part parts[] = { { bytes, size / 3 }, { bytes + size / 3, size - size / 3 } };
	bool ok = stream_metadata(thread_self, CAPTURE_NOTE, parts, 2);

	free(bytes);
	return ok;
}

static void metadata_of_any_size_comes_back(void **state)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 9, 1000, 8000, 8100, 8120, 8121, 8122, 8123, 8124, 8125, 8126, 8127, 8128,
		8129, 8136, 8192, 100000, 131072, 3000000 };
	enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
	struct recorded recorded;
	bool seen[SIZES] = { false };

	(void)state;
	put_event(0);
	for (size_t i = 0; i < SIZES; i++)
		assert_true(put_note(sizes[i], (uint8_t)i));
	put_event(1);
	read_back(&recorded);
	assert_int_equal(check_sequence(&recorded), 2);
	for (size_t i = 0; i < recorded.event_count; i++) {
		const struct capture_event *event = &recorded.events[i];

		for (size_t j = 0; event->kind == CAPTURE_NOTE && j < SIZES; j++) {
			if (sizes[j] != event->payload_size || seen[j])
				continue;
			seen[j] = true;
			for (size_t k = 0; k < event->payload_size; k++)
				assert_int_equal(event->payload[k], (uint8_t)(j + k * 31));
			break;
		}
	}
	for (size_t j = 0; j < SIZES; j++)
		assert_true(seen[j]);
	recorded_finish(&recorded);
}

static void a_record_too_large_for_the_format_stops_recording(void **state)
{
	struct recorded recorded;

	(void)state;
	put_event(0);
	assert_false(put_note((size_t)CAPTURE_RECORD_BYTES_MAX + 1, 0));
	assert_false(recorder_is_on());
	put_event(1);                     /* is not recorded, and does no harm */
	read_back(&recorded);
	assert_int_equal(check_sequence(&recorded), 1);
	assert_int_equal(recorded.status.state, CAPTURE_STOPPED_STORAGE);
	recorded_finish(&recorded);
}

/* What the child of the kill test shares with it. */
struct progress {
	_Atomic uint64_t returned;    /* events whose recording has returned */
	_Atomic bool broken;
	char path[4096];
};

static void record_until_killed(struct progress *progress, const char *where)
{
	if (!recorder_start(where)) {
		atomic_store(&progress->broken, true);
		_exit(1);
	}
	strcpy(progress->path, recorder_path());
	for (uint64_t i = 0;; i++) {
		/* From the second event on there is a thread's state. */
		if (i % 3 == 1)
			intern_node(thread_self, CAPTURE_NODE_ROOT, i + 1);
		if (i % 1000 == 999)
			put_note(i % 4000 == 3999 ? 40000 : 100, 1);
		put_event(i);
		atomic_store_explicit(&progress->returned, i + 1, memory_order_release);
	}
}

static void a_killed_process_leaves_every_event_once(void **state)
{
	struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t most = 0;

	(void)state;
	assert_ptr_not_equal(progress, MAP_FAILED);
	srand(42);
	recorder_stop();
	for (int round = 0; round < KILLS; round++) {
		char where[4096];
		struct recorded recorded;

		assert_true(recorder_folder_make(where, sizeof(where)));
		memset(progress, 0, sizeof(*progress));
		pid_t child = fork();

		if (child == 0)
			record_until_killed(progress, where);
		/* Two windows and a half at most; and then at any instant. */
		uint64_t target = (uint64_t)(rand() % 18000) + 1;

		while (atomic_load(&progress->returned) < target && !atomic_load(&progress->broken))
			usleep(50);
		usleep((useconds_t)(rand() % 200));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		assert_false(atomic_load(&progress->broken));

		uint64_t returned = atomic_load(&progress->returned);

		if (!recorded_read(&recorded, progress->path))
			fail_msg("round %d: %s", round, recorded.error);
		uint64_t found = check_sequence(&recorded);

		assert_in_range(found, returned, returned + 1);
		if (found > most)
			most = found;
		recorded_finish(&recorded);
		recorder_folder_remove(where);
	}
	assert_true(most > 8192);         /* or no window was ever full */
	munmap(progress, sizeof(*progress));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(events_survive_many_windows,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(every_fill_of_a_window_can_be_flushed,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(stamps_and_times_go_on_across_windows,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(metadata_of_any_size_comes_back,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(a_record_too_large_for_the_format_stops_recording,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(a_killed_process_leaves_every_event_once,
			recorder_set_up_started, recorder_tear_down),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
