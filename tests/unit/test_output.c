/* SPDX-License-Identifier: MIT */
/*
 * The file.  Properties: what threads append is all there, whole, once; when there is no room any more that is an
 * answer and not a signal; a descriptor that the program has closed, or put another file under, is never written to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/output.h"
#include "preload/stream.h"
#include "recorded.h"
#include "recorder.h"

enum { THREADS = 4, BLOCKS = 400 };

/* A block of words that hold one NOTE: thread, number, and a tail of a size that varies. */
static bool append_note(uint32_t thread, uint32_t number, size_t tail)
{
	size_t words = 2 + (tail + 7) / 8;
	uint64_t *buffer = calloc(words, 8);
	struct capture_block header = { .kind = CAPTURE_BLOCK_WORDS, .raw_size = (uint32_t)(words * 8) };

	buffer[0] = stream_head(CAPTURE_NOTE, 8 + tail);
	buffer[1] = (uint64_t)thread << 32 | number;
	memset(buffer + 2, (int)(thread * 50 + number), tail);
	bool ok = output_append(&header, buffer, words * 8);

	free(buffer);
	return ok;
}

static size_t tail_of(uint32_t thread, uint32_t number)
{
	return number % 97 == 96 ? 300000 + thread : (number * 2654435761u >> 16) % 20000;
}

static void *append_many(void *argument)
{
	uint32_t thread = (uint32_t)(uintptr_t)argument;

	for (uint32_t i = 0; i < BLOCKS; i++)
		if (!append_note(thread, i, tail_of(thread, i)))
			return NULL;
	return argument;
}

static void read_back(struct recorded *recorded)
{
	if (!recorded_read(recorded, recorder_path()))
		fail_msg("%s", recorded->error);
}

static void check_notes(const struct recorded *recorded)
{
	static uint8_t seen[THREADS + 1][BLOCKS];

	memset(seen, 0, sizeof(seen));
	for (size_t i = 0; i < recorded->event_count; i++) {
		const struct capture_event *event = &recorded->events[i];
		uint64_t what;

		if (event->kind != CAPTURE_NOTE)
			continue;
		memcpy(&what, event->payload, 8);
		uint32_t thread = (uint32_t)(what >> 32), number = (uint32_t)what;

		assert_in_range(thread, 1, THREADS);
		assert_in_range(number, 0, BLOCKS - 1);
		assert_int_equal(event->payload_size, 8 + tail_of(thread, number));
		for (size_t k = 8; k < event->payload_size; k++)
			if (event->payload[k] != (uint8_t)(thread * 50 + number))
				fail_msg("note %u of thread %u was overwritten", number, thread);
		seen[thread][number]++;
	}
	for (uint32_t thread = 1; thread <= THREADS; thread++)
		for (uint32_t number = 0; number < BLOCKS; number++)
			assert_int_equal(seen[thread][number], 1);
}

static int mapped_windows(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[8192];
	int count = 0;

	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "capture.bin") != NULL;
	fclose(maps);
	return count;
}

static void blocks_of_many_threads_are_all_there(void **state)
{
	pthread_t threads[THREADS];
	struct recorded recorded;

	(void)state;
	for (uintptr_t t = 0; t < THREADS; t++)
		pthread_create(&threads[t], NULL, append_many, (void *)(t + 1));
	for (int t = 0; t < THREADS; t++) {
		void *result = NULL;

		pthread_join(threads[t], &result);
		assert_non_null(result);
	}
	read_back(&recorded);
	check_notes(&recorded);
	assert_true(recorded.status.file_bytes <= recorded.file_size);
	recorded_finish(&recorded);
	/* Extents that are full are unmapped: the header, the last extent, and perhaps one beside it stay. */
	assert_in_range(mapped_windows(), 2, 3);
}

static void trimming_gives_back_the_tail_and_recording_goes_on(void **state)
{
	struct recorded recorded;
	struct stat before, after;

	(void)state;
	recorder_allocation((void *)0x10, 1);
	assert_true(append_note(1, 0, 100));
	stat(recorder_path(), &before);
	output_trim();
	stat(recorder_path(), &after);
	assert_true(after.st_size < before.st_size);
	assert_true((uint64_t)after.st_size >= output_status()->file_bytes);
	assert_true(append_note(1, 1, 100));
	recorder_allocation((void *)0x20, 1);
	output_trim();
	output_trim();
	assert_true(append_note(1, 2, 100));
	read_back(&recorded);
	assert_int_equal(recorded_count(&recorded, CAPTURE_NOTE), 3);
	assert_int_equal(recorded_count(&recorded, CAPTURE_MALLOC), 2);
	recorded_finish(&recorded);
}

static void *append_until_told(void *argument)
{
	_Atomic bool *go_on = argument;
	uintptr_t count = 0;

	while (*go_on)
		count += append_note(1, 0, 3000);
	return (void *)count;
}

static void trimming_under_way_harms_nobody(void **state)
{
	static _Atomic bool go_on;
	struct recorded recorded;
	pthread_t threads[2];
	size_t count = 0;

	(void)state;
	go_on = true;
	for (int t = 0; t < 2; t++)
		pthread_create(&threads[t], NULL, append_until_told, (void *)&go_on);
	for (int i = 0; i < 100; i++) {
		usleep(300);
		output_trim();
	}
	go_on = false;
	for (int t = 0; t < 2; t++) {
		void *result = NULL;

		pthread_join(threads[t], &result);
		count += (uintptr_t)result;
	}
	read_back(&recorded);
	assert_int_equal(recorded_count(&recorded, CAPTURE_NOTE), count);
	recorded_finish(&recorded);
}

/* Finds our descriptor by the file behind it. */
static int find_descriptor(void)
{
	struct stat file, stat_fd;

	stat(recorder_path(), &file);
	for (int fd = 3; fd < 1024; fd++)
		if (fstat(fd, &stat_fd) == 0 && stat_fd.st_ino == file.st_ino && stat_fd.st_dev == file.st_dev)
			return fd;
	return -1;
}

static void a_closed_and_reused_descriptor_is_left_alone(void **state)
{
	struct recorded recorded;
	char other[4200];
	struct stat stat;

	(void)state;
	assert_true(append_note(1, 0, 10));
	int fd = find_descriptor();

	assert_true(fd >= 200);           /* out of the program's way */
	close(fd);
	snprintf(other, sizeof(other), "%s/other", recorder_folder);
	int own = open(other, O_RDWR | O_CREAT, 0600);

	assert_int_equal(dup2(own, fd), fd);
	for (uint32_t i = 1; i < 100; i++)
		assert_true(append_note(1, i, 100000));
	fstat(own, &stat);
	assert_int_equal(stat.st_size, 0);
	assert_true(find_descriptor() >= 200);
	read_back(&recorded);
	assert_int_equal(recorded_count(&recorded, CAPTURE_NOTE), 100);
	recorded_finish(&recorded);
	close(own);
	close(fd);
}

static void a_file_that_is_not_ours_any_more_stops_growth(void **state)
{
	(void)state;
	assert_true(append_note(1, 0, 10));
	close(find_descriptor());
	unlink(recorder_path());
	int other = open(recorder_path(), O_RDWR | O_CREAT, 0600);
	bool ok = true;

	for (uint32_t i = 1; i < 100 && ok; i++)
		ok = append_note(1, i, 100000);
	assert_false(ok);
	assert_int_equal(lseek(other, 0, SEEK_END), 0);
	close(other);
}

/* Records until it stops; then goes on for a while, as a program does. */
static void record_until_full(void)
{
	for (uint64_t i = 0; i < 3000000 && recorder_is_on(); i++)
		recorder_allocation((void *)(uintptr_t)(i * 4096 + (i * 2654435761u & 0xff0)), (i * 7919) & 0xffff);
	for (uint64_t i = 0; i < 1000; i++)
		recorder_free((void *)(uintptr_t)(i * 4096));
}

static void check_full(void)
{
	struct recorded recorded;
	uint64_t next = 0;

	assert_false(recorder_is_on());
	read_back(&recorded);
	assert_int_equal(recorded.status.state, CAPTURE_STOPPED_STORAGE);
	for (size_t i = 0; i < recorded.event_count; i++) {
		assert_int_not_equal(recorded.events[i].kind, CAPTURE_FREE);
		if (recorded.events[i].kind == CAPTURE_MALLOC)
			assert_int_equal(recorded.events[i].address >> 12, next++);
	}
	assert_true(next > 10000);
	recorded_finish(&recorded);
}

static void a_full_file_system_stops_recording_and_keeps_what_is_there(void **state)
{
	char mounted[4200];

	(void)state;
	snprintf(mounted, sizeof(mounted), "%s/small", recorder_folder);
	mkdir(mounted, 0700);
	if (mount("tmpfs", mounted, "tmpfs", 0, "size=1m") != 0) {
		print_message("skipped: only root can mount a small file system\n");
		skip();
	}
	bool started = recorder_start(mounted);

	record_until_full();
	check_full();
	umount2(mounted, MNT_DETACH);
	assert_true(started);
}

static void the_limit_of_file_size_is_no_signal(void **state)
{
	struct rlimit old, limit;

	(void)state;
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	limit.rlim_cur = 900 << 10;
	signal(SIGXFSZ, SIG_DFL);
	setrlimit(RLIMIT_FSIZE, &limit);
	record_until_full();
	setrlimit(RLIMIT_FSIZE, &old);
	check_full();
}

static void few_descriptors_are_enough(void **state)
{
	struct rlimit old, limit;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &old);
	limit = old;
	limit.rlim_cur = 64;
	setrlimit(RLIMIT_NOFILE, &limit);
	bool ok = recorder_anew() && append_note(1, 0, 10);
	int fd = find_descriptor();

	setrlimit(RLIMIT_NOFILE, &old);
	assert_true(ok);
	assert_in_range(fd, 14, 63);
}

static void the_header_tells_who_wrote(void **state)
{
	struct recorded recorded;

	(void)state;
	read_back(&recorded);
	assert_int_equal(recorded.header.version, CAPTURE_VERSION);
	assert_int_equal(recorded.header.pid, getpid());
	assert_int_equal(recorded.header.parent_pid, getppid());
	assert_int_equal(recorded.header.header_size % 4096, 0);
	assert_true(recorded.header.text_size > 0);
	assert_int_equal(recorded.header.checksum != 0, 1);
	assert_int_equal(recorded.status.state, CAPTURE_RUNNING);
	recorded_finish(&recorded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(blocks_of_many_threads_are_all_there,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(trimming_gives_back_the_tail_and_recording_goes_on,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(trimming_under_way_harms_nobody,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(a_closed_and_reused_descriptor_is_left_alone,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(a_file_that_is_not_ours_any_more_stops_growth,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(a_full_file_system_stops_recording_and_keeps_what_is_there,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(the_limit_of_file_size_is_no_signal,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(few_descriptors_are_enough,
			recorder_set_up_started, recorder_tear_down),
		cmocka_unit_test_setup_teardown(the_header_tells_who_wrote,
			recorder_set_up_started, recorder_tear_down),
	};

	return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
