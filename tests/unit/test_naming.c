/* SPDX-License-Identifier: MIT */
/* Names of captures: patterns, names that are taken, predecessors, and names that mean harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "preload/config.h"
#include "preload/naming.h"
#include "preload/sys.h"
#include "recorded.h"
#include "recorder.h"

static char folder[256], path[4096], wanted[8192];

static int start(void **state)
{
	(void)state;
	config.force = false;
	return recorder_folder_make(folder, sizeof(folder)) ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	recorder_stop();
	recorder_folder_remove(folder);
	return 0;
}

static int create_as(struct naming *naming, const char *name)
{
	snprintf(config.out, sizeof(config.out), "%s/%s", folder, name);
	int fd = naming_create(naming, path, sizeof(path));

	if (fd >= 0)
		close(fd);
	return fd;
}

static int create(const char *name, enum capture_origin origin)
{
	struct naming naming = { .origin.origin = origin };

	return create_as(&naming, name);
}

static void expect(const char *format, ...)
{
	va_list arguments;
	size_t length = (size_t)snprintf(wanted, sizeof(wanted), "%s/", folder);

	va_start(arguments, format);
	vsnprintf(wanted + length, sizeof(wanted) - length, format, arguments);
	va_end(arguments);
	assert_string_equal(path, wanted);
}

static void put_file(const char *name, const void *bytes, size_t size)
{
	snprintf(wanted, sizeof(wanted), "%s/%s", folder, name);
	int fd = open(wanted, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

/* The start of a capture by a process of that number, begun at that time. */
static void put_capture(const char *name, int pid, uint64_t start_ns, uint32_t sequence)
{
	struct capture_header header = { .version = CAPTURE_VERSION, .pid = (uint32_t)pid, .start_realtime_ns = start_ns,
		.sequence = sequence };

	memcpy(header.magic, CAPTURE_MAGIC, 8);
	put_file(name, &header, sizeof(header));
}

static void patterns_are_filled_in(void **state)
{
	char host[256];

	(void)state;
	gethostname(host, sizeof(host));
	assert_true(create("a-%p-%h-%e-%n-%%-%x.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("a-%d-%s-test_naming-0-%%-x.bin", getpid(), host);
	assert_true(create("ends in %", CAPTURE_ORIGIN_START) >= 0);
	expect("ends in %%");
	assert_true(create("line\nbreak \x01\xff", CAPTURE_ORIGIN_START) >= 0);
	expect("line\nbreak \x01\xff");
}

static void a_relative_name_is_made_absolute(void **state)
{
	char *before = getcwd(NULL, 0);
	struct naming naming = { .origin.origin = CAPTURE_ORIGIN_START };

	(void)state;
	assert_int_equal(chdir(folder), 0);
	strcpy(config.out, "here.bin");
	int fd = naming_create(&naming, path, sizeof(path));

	assert_true(fd >= 0);
	close(fd);
	expect("here.bin");
	assert_int_equal(chdir(before), 0);
	free(before);
}

static void the_file_is_for_its_owner_only(void **state)
{
	struct stat stat_file;

	(void)state;
	umask(0);
	assert_true(create("x.bin", CAPTURE_ORIGIN_START) >= 0);
	assert_int_equal(stat(path, &stat_file), 0);
	assert_int_equal(stat_file.st_mode & 0777, 0600);
}

static void a_name_that_is_taken_gets_a_number(void **state)
{
	(void)state;
	put_file("x.bin", "precious", 8);
	assert_true(create("x.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("x.bin.1");
	assert_true(create("x.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("x.bin.2");
	assert_true(create("y-%n.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("y-0.bin");
	assert_true(create("y-%n.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("y-1.bin");
}

static void links_and_pipes_are_not_followed(void **state)
{
	char name[4200], target[4200];

	(void)state;
	snprintf(name, sizeof(name), "%s/link.bin", folder);
	snprintf(target, sizeof(target), "%s/victim", folder);
	assert_int_equal(symlink(target, name), 0);
	assert_true(create("link.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("link.bin.1");
	assert_int_equal(access(target, F_OK), -1);
	snprintf(name, sizeof(name), "%s/pipe.bin", folder);
	assert_int_equal(mkfifo(name, 0600), 0);
	config.force = true;
	assert_true(create("pipe.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("pipe.bin.1");
}

static void children_without_a_number_in_their_name_get_one(void **state)
{
	(void)state;
	assert_true(create("x.bin", CAPTURE_ORIGIN_START) >= 0);
	assert_true(create("x.bin", CAPTURE_ORIGIN_FORK) >= 0);
	expect("x.bin.%d", getpid());
	assert_true(create("x.bin", CAPTURE_ORIGIN_EXEC_CHILD) >= 0);
	expect("x.bin.%d.1", getpid());
	assert_true(create("x-%p.bin", CAPTURE_ORIGIN_FORK) >= 0);
	expect("x-%d.bin", getpid());
}

static void force_replaces_captures_and_nothing_else(void **state)
{
	char name[4200], byte[9] = "";

	(void)state;
	config.force = true;
	put_capture("old.bin", getpid() + 1, 1, 0);
	assert_true(create("old.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("old.bin");
	snprintf(name, sizeof(name), "%s/old.bin", folder);
	assert_int_equal(truncate(name, 0), 0);
	put_file("letter.txt", "precious", 8);
	assert_true(create("letter.txt", CAPTURE_ORIGIN_START) >= 0);
	expect("letter.txt.1");
	snprintf(name, sizeof(name), "%s/letter.txt", folder);
	int fd = open(name, O_RDONLY);

	assert_int_equal(read(fd, byte, 8), 8);
	close(fd);
	assert_string_equal(byte, "precious");
}

static void a_predecessor_is_renamed_and_named_as_parent(void **state)
{
	uint64_t now_ns = sys_clock_ns(CLOCK_REALTIME);
	struct naming naming = { .origin.origin = CAPTURE_ORIGIN_START };
	char name[4200];

	(void)state;
	put_capture("x.bin", getpid(), now_ns, 0);
	assert_true(create_as(&naming, "x.bin") >= 0);
	expect("x.bin");
	assert_int_equal(naming.sequence, 1);
	assert_int_equal(naming.origin.origin, CAPTURE_ORIGIN_EXEC);
	assert_int_equal(naming.origin.parent_start_realtime_ns, now_ns);
	snprintf(name, sizeof(name), "%s/x.bin.0", folder);
	assert_string_equal(naming.origin.parent_path, name);
	assert_int_equal(access(name, F_OK), 0);

	/* And once more: its successor's turn. */
	struct naming next = { .origin.origin = CAPTURE_ORIGIN_START };

	put_capture("x.bin", getpid(), now_ns + 1, 1);
	assert_true(create_as(&next, "x.bin") >= 0);
	expect("x.bin");
	assert_int_equal(next.sequence, 2);
	snprintf(name, sizeof(name), "%s/x.bin.1", folder);
	assert_string_equal(next.origin.parent_path, name);
}

static void others_are_no_predecessors(void **state)
{
	uint64_t now_ns = sys_clock_ns(CLOCK_REALTIME);

	(void)state;
	put_capture("other.bin", getpid() + 1, now_ns, 0);
	assert_true(create("other.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("other.bin.1");
	/* The number of a process that has been gone for an hour. */
	put_capture("older.bin", getpid(), now_ns - 3600000000000u, 0);
	assert_true(create("older.bin", CAPTURE_ORIGIN_START) >= 0);
	expect("older.bin.1");
	put_capture("forked.bin", getpid(), now_ns, 0);
	assert_true(create("forked.bin", CAPTURE_ORIGIN_FORK) >= 0);
	expect("forked.bin.%d", getpid());
}

static void names_too_long_are_refused_and_nothing_is_cut(void **state)
{
	(void)state;
	memset(config.out, 'x', sizeof(config.out));
	config.out[0] = '/';
	config.out[sizeof(config.out) - 1] = 0;
	struct naming naming = { .origin.origin = CAPTURE_ORIGIN_START };

	assert_true(naming_create(&naming, path, sizeof(path)) < 0);
	/* The pattern fits, its expansion does not. */
	for (size_t i = 1; i + 2 < sizeof(config.out); i += 2)
		memcpy(config.out + i, "%h", 2);
	assert_true(naming_create(&naming, path, sizeof(path)) < 0);
	/* Nor does the number of a child. */
	snprintf(config.out, sizeof(config.out), "%s/", folder);
	memset(config.out + strlen(config.out), 'y', 255);
	config.out[strlen(folder) + 1 + 255] = 0;
	int fd = naming_create(&naming, path, sizeof(path));

	assert_true(fd >= 0);
	close(fd);
	naming.origin.origin = CAPTURE_ORIGIN_FORK;
	assert_true(naming_create(&naming, path, sizeof(path)) < 0);
}

static void folders_that_are_not_there_are_refused(void **state)
{
	(void)state;
	assert_true(create("no/such/x.bin", CAPTURE_ORIGIN_START) < 0);
	assert_true(create("", CAPTURE_ORIGIN_START) < 0);
}

static void a_process_that_records_is_recognised_by_what_it_maps(void **state)
{
	uint64_t start_ns = 0;
	int pipes[2];
	char answer = 0;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	for (int recording = 0; recording < 2; recording++) {
		if (recording)
			assert_true(recorder_start(folder));
		pid_t child = fork();

		if (child == 0) {
			bool found = naming_parent_records(path, sizeof(path), &start_ns);

			answer = found ? strcmp(path, recorder_path()) == 0 && start_ns != 0 ? 'y' : '?' : 'n';
			_exit(write(pipes[1], &answer, 1) != 1);
		}
		assert_int_equal(read(pipes[0], &answer, 1), 1);
		assert_int_equal(answer, recording ? 'y' : 'n');
	}
	close(pipes[0]);
	close(pipes[1]);
}

static const uint64_t run = 77;

static void put_segment(uint32_t segment)
{
	struct capture_header header = { .version = CAPTURE_VERSION, .run_id = run, .segment = segment };

	memcpy(header.magic, CAPTURE_MAGIC, sizeof(header.magic));
	put_file(strrchr(path, '/') + 1, &header, sizeof(header));
}

static int next(struct naming_segments *segments, uint64_t segment)
{
	int fd = naming_segment_create(segments, segment, path, sizeof(path));

	if (fd >= 0)
		close(fd);
	return fd;
}

static bool is_there(uint32_t segment)
{
	snprintf(wanted, sizeof(wanted), "%s/run.%06u.bin", folder, segment);
	return access(wanted, F_OK) == 0;
}

static void segments_pass_over_what_is_taken_and_are_found_again(void **state)
{
	static struct naming_segments segments;
	char first[512];

	(void)state;
	snprintf(first, sizeof(first), "%s/run.bin", folder);
	naming_segments_begin(&segments, first);
	put_file("run.000003.bin", "mine", 4);
	for (uint32_t segment = 2; segment <= 4; segment++) {
		assert_true(next(&segments, segment) >= 0);
		expect("run.%06u.bin", segment + (segment > 2));
		put_segment(segment);
	}
	/* One that came to nothing takes no name: the next attempt is for the same segment. */
	assert_true(next(&segments, 5) >= 0);
	expect("run.000006.bin");
	unlink(path);
	assert_true(next(&segments, 5) >= 0);
	expect("run.000006.bin");
	put_segment(5);
	assert_true(naming_segment_remove(&segments, 4, run));
	assert_false(is_there(5));
	/* Not of this run; not this segment; gone: there is nothing to remove, and nothing goes. */
	assert_true(naming_segment_remove(&segments, 5, run + 1));
	assert_true(is_there(6));
	segments.numbers[5] = 3;
	assert_true(naming_segment_remove(&segments, 5, run));
	assert_true(is_there(3));
	assert_true(naming_segment_remove(&segments, 4, run));
}

static void a_run_of_more_segments_than_are_remembered(void **state)
{
	static struct naming_segments segments;
	enum { KEPT = 4096, LAST = NAMING_SEGMENTS_MAX + 300 };
	char first[512];

	(void)state;
	snprintf(first, sizeof(first), "%s/run.bin", folder);
	naming_segments_begin(&segments, first);
	for (uint32_t segment = 2; segment <= LAST; segment++) {
		assert_true(next(&segments, segment) >= 0);
		put_segment(segment);
		if (segment > KEPT)
			assert_true(naming_segment_remove(&segments, segment - KEPT, run));
	}
	assert_false(is_there(LAST - KEPT));
	assert_true(is_there(LAST - KEPT + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: nothing of an earlier start is mapped yet. */
		cmocka_unit_test_setup_teardown(a_process_that_records_is_recognised_by_what_it_maps, start, stop),
		cmocka_unit_test_setup_teardown(patterns_are_filled_in, start, stop),
		cmocka_unit_test_setup_teardown(a_relative_name_is_made_absolute, start, stop),
		cmocka_unit_test_setup_teardown(the_file_is_for_its_owner_only, start, stop),
		cmocka_unit_test_setup_teardown(a_name_that_is_taken_gets_a_number, start, stop),
		cmocka_unit_test_setup_teardown(links_and_pipes_are_not_followed, start, stop),
		cmocka_unit_test_setup_teardown(children_without_a_number_in_their_name_get_one, start, stop),
		cmocka_unit_test_setup_teardown(force_replaces_captures_and_nothing_else, start, stop),
		cmocka_unit_test_setup_teardown(a_predecessor_is_renamed_and_named_as_parent, start, stop),
		cmocka_unit_test_setup_teardown(others_are_no_predecessors, start, stop),
		cmocka_unit_test_setup_teardown(names_too_long_are_refused_and_nothing_is_cut, start, stop),
		cmocka_unit_test_setup_teardown(folders_that_are_not_there_are_refused, start, stop),
		cmocka_unit_test_setup_teardown(segments_pass_over_what_is_taken_and_are_found_again, start, stop),
		cmocka_unit_test_setup_teardown(a_run_of_more_segments_than_are_remembered, start, stop),
	};

	return cmocka_run_group_tests_name("naming", tests, NULL, NULL);
}
