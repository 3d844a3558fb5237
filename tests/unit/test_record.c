/* SPDX-License-Identifier: MIT */
/*
 * The whole library in a real program: test_record VICTIM.  Each test runs one case of record_victim.c and reads its
 * captures: nothing lost, nothing contradictory, and the events that the case is known to make.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recorded.h"
#include "recorder.h"

enum { CAPTURES_MAX = 8 };

static const char *victim;
static char folder[256];
static struct recorded captures[CAPTURES_MAX];   /* the program's own first */
static int capture_count;
static int printed;                   /* the number that the case printed */

static int start(void **state)
{
	(void)state;
	capture_count = 0;
	return recorder_folder_make(folder, sizeof(folder)) ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	for (int i = 0; i < capture_count; i++)
		recorded_finish(&captures[i]);
	recorder_folder_remove(folder);
	return 0;
}

static void run_victim(const char *name)
{
	char out[300], number[32] = "";
	int pipes[2], status;

	assert_int_equal(pipe(pipes), 0);
	snprintf(out, sizeof(out), "%s/%%p.bin", folder);
	pid_t child = fork();

	if (child == 0) {
		dup2(pipes[1], 1);
		setenv("SCTMEM_OUT", out, 1);
		setenv("SCTMEM_SAMPLE_MS", "5", 1);
		execl(victim, victim, name, NULL);
		_exit(98);
	}
	close(pipes[1]);
	for (size_t length = 0; length < sizeof(number) - 1;) {
		ssize_t got = read(pipes[0], number + length, sizeof(number) - 1 - length);

		if (got <= 0)
			break;
		length += (size_t)got;
	}
	close(pipes[0]);
	printed = atoi(number);
	waitpid(child, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("%s: status %#x", name, status);

	struct dirent *entry;
	DIR *listing = opendir(folder);

	capture_count = 1;
	while ((entry = readdir(listing))) {
		char path[600];

		if (entry->d_name[0] == '.')
			continue;
		assert_in_range(capture_count, 1, CAPTURES_MAX - 1);
		int at = atoi(entry->d_name) == child ? 0 : capture_count++;

		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (!recorded_read(&captures[at], path))
			fail_msg("%s of %s: %s", entry->d_name, name, captures[at].error);
	}
	closedir(listing);
	assert_non_null(captures[0].file);
}

static void check_nothing_lost(int at)
{
	const struct capture_status *status = &captures[at].status;

	assert_int_equal(status->lost_memory, 0);
	assert_int_equal(status->lost_storage, 0);
	assert_int_equal(status->lost_reentry, 0);
	assert_int_equal(status->lost_threads, 0);
	assert_int_equal(status->stacks_degraded, 0);
}

static size_t count(int at, unsigned kind, uint64_t size)
{
	size_t found = 0;

	for (size_t i = 0; i < captures[at].event_count; i++)
		found += captures[at].events[i].kind == kind && captures[at].events[i].size == size;
	return found;
}

/* Frees of blocks from before the recording, or from a fork child's parent, are known to be possible: not here. */
static size_t replay(int at)
{
	size_t live = 0;

	if (!recorded_replay(&captures[at], &live))
		fail_msg("capture %d: %s", at, captures[at].error);
	return live;
}

static void handlers_that_record_are_recorded(void **state)
{
	(void)state;
	run_victim("handlers_that_record");
	check_nothing_lost(0);
	replay(0);
	assert_int_equal(count(0, CAPTURE_MAP, 7001 * 4096), printed);
	assert_int_equal(count(0, CAPTURE_UNMAP, 7001 * 4096), printed);
	assert_int_equal(captures[0].status.state, CAPTURE_EXITED);
}

static void handlers_on_an_alternate_stack_are_recorded(void **state)
{
	(void)state;
	run_victim("handlers_on_an_alternate_stack");
	check_nothing_lost(0);
	replay(0);
	assert_int_equal(count(0, CAPTURE_MAP, 7001 * 4096), printed);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7002), 400000);
}

static void after_a_jump_out_of_our_own_code_recording_goes_on(void **state)
{
	(void)state;
	run_victim("handlers_that_jump_out");
	check_nothing_lost(0);
	replay(0);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7003), 1000);
}

static void errno_is_left_alone(void **state)
{
	(void)state;
	run_victim("errno_is_kept");
	check_nothing_lost(0);
	assert_int_equal(count(0, CAPTURE_MALLOC, 100), 30000);
	assert_int_equal(count(0, CAPTURE_REALLOC, 200), 30000);
	replay(0);
}

static void fork_children_have_captures_of_their_own(void **state)
{
	(void)state;
	run_victim("forks");
	assert_int_equal(capture_count, 4);
	replay(0);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7001), 2);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7004), 0);
	for (int i = 1; i < 4; i++) {
		check_nothing_lost(i);
		assert_int_equal(captures[i].header.origin, CAPTURE_ORIGIN_FORK);
		assert_int_equal(captures[i].header.parent_pid, captures[0].header.pid);
		assert_int_equal(captures[i].header.parent_start_realtime_ns, captures[0].header.start_realtime_ns);
		assert_int_equal(count(i, CAPTURE_MALLOC, 7004), 10);
		assert_int_equal(count(i, CAPTURE_MALLOC, 7001), 0);
	}
}

static void a_fork_by_a_thread_without_a_state_spares_the_parents_file(void **state)
{
	(void)state;
	run_victim("a_thread_without_a_state_forks");
	assert_int_equal(capture_count, 2);
	check_nothing_lost(0);
	replay(0);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7001), 100000);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7004), 0);
	assert_int_equal(captures[1].header.origin, CAPTURE_ORIGIN_FORK);
	assert_int_equal(count(1, CAPTURE_MALLOC, 7004), 20000);
}

static void a_vfork_child_is_part_of_its_parent(void **state)
{
	(void)state;
	run_victim("vforks");
	assert_int_equal(capture_count, 1);
	check_nothing_lost(0);
	replay(0);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7001), 20);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7004), 20);
}

static void ten_thousand_threads_share_a_few_states(void **state)
{
	(void)state;
	run_victim("ten_thousand_threads");
	check_nothing_lost(0);
	replay(0);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7001), 10000);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7005), 10000);
	assert_in_range(captures[0].stream_count, 2, 40);
	assert_int_equal(recorded_count(&captures[0], CAPTURE_THREAD_INFO), 10001);
}

static void what_destructors_free_is_recorded(void **state)
{
	uint64_t blocks[8];
	size_t made = 0, freed = 0;

	(void)state;
	run_victim("destructors_of_every_round");
	check_nothing_lost(0);
	replay(0);
	for (size_t i = 0; i < captures[0].event_count; i++) {
		const struct capture_event *event = &captures[0].events[i];

		if (event->kind == CAPTURE_MALLOC && event->size == 7005 && made < 8)
			blocks[made++] = event->address;
		/* The same address comes again and again. */
		if (event->kind == CAPTURE_FREE && made > freed && blocks[made - 1] == event->address)
			freed++;
	}
	assert_int_equal(made, 4);
	assert_int_equal(freed, 4);
}

static void sizes_and_failures_of_all_kinds_are_told_truly(void **state)
{
	(void)state;
	run_victim("sizes_of_all_kinds");
	check_nothing_lost(0);
	replay(0);
	assert_int_equal(count(0, CAPTURE_MALLOC, ((uint64_t)5 << 30) + 7001), 1);
	assert_int_equal(count(0, CAPTURE_MALLOC, 0), 1);
	assert_int_equal(count(0, CAPTURE_CALLOC, 7007), 1);
	assert_int_equal(count(0, CAPTURE_MALLOC, 7002), 1);
	assert_int_equal(recorded_count(&captures[0], CAPTURE_STAY), 1);
	assert_int_equal(count(0, CAPTURE_REALLOC, 7014), 1);
	assert_int_equal(count(0, CAPTURE_POSIX_MEMALIGN, 7006), 1);
	assert_int_equal(count(0, CAPTURE_ALIGNED_ALLOC, 7007), 1);
	assert_int_equal(count(0, CAPTURE_MEMALIGN, 7008), 1);
	assert_int_equal(count(0, CAPTURE_VALLOC, 7009), 1);
	assert_int_equal(count(0, CAPTURE_PVALLOC, 7010), 1);
}

static void mappings_of_all_kinds_are_told_truly(void **state)
{
	(void)state;
	run_victim("mappings_of_all_kinds");
	check_nothing_lost(0);
	assert_int_equal(count(0, CAPTURE_MAP, 16 * 4096), 1);
	assert_int_equal(count(0, CAPTURE_UNMAP, 4 * 4096), 2);    /* the part, and what mremap moved */
	assert_int_equal(recorded_count(&captures[0], CAPTURE_UNMAP_FAILED), 2);
	assert_int_equal(count(0, CAPTURE_MAP, 0), 0);
}

static uint64_t least_resident(int at, uint64_t *most)
{
	uint64_t least = UINT64_MAX;

	*most = 0;
	for (size_t i = 0; i < captures[at].event_count; i++) {
		const struct capture_event *event = &captures[at].events[i];

		if (event->kind != CAPTURE_SAMPLE)
			continue;
		assert_in_range(event->size, 0, event->address);
		least = event->address < least ? event->address : least;
		*most = event->address > *most ? event->address : *most;
	}
	return least;
}

static void samples_are_of_the_process_itself(void **state)
{
	uint64_t most, least;

	(void)state;
	run_victim("resident_memory");
	assert_int_equal(capture_count, 2);
	assert_true(recorded_count(&captures[0], CAPTURE_SAMPLE) >= 5);
	assert_true(recorded_count(&captures[1], CAPTURE_SAMPLE) >= 5);
	least_resident(0, &most);
	assert_true(most >= 64 << 20);
	least = least_resident(1, &most);
	assert_true(least < 48 << 20);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
		CASE(handlers_that_record_are_recorded),
		CASE(handlers_on_an_alternate_stack_are_recorded),
		CASE(after_a_jump_out_of_our_own_code_recording_goes_on),
		CASE(errno_is_left_alone),
		CASE(fork_children_have_captures_of_their_own),
		CASE(a_fork_by_a_thread_without_a_state_spares_the_parents_file),
		CASE(a_vfork_child_is_part_of_its_parent),
		CASE(ten_thousand_threads_share_a_few_states),
		CASE(what_destructors_free_is_recorded),
		CASE(sizes_and_failures_of_all_kinds_are_told_truly),
		CASE(mappings_of_all_kinds_are_told_truly),
		CASE(samples_are_of_the_process_itself),
	};

	if (argc < 2)
		return 77;
	victim = argv[1];
	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
