/* SPDX-License-Identifier: MIT */
/*
 * Telling by a word whether the coarse clock has moved.  Property: as long as the word that was found is what it was
 * when the clock was asked, the clock says the same; and a word that does not keep to that is not taken, or given up.
 *
 * Each case runs in a process of its own, since a word is found once in each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/mappings.h"
#include "preload/sys.h"
#include "preload/tick.h"

enum { SKIPPED = 77, MS = 1000000 };

static uint64_t coarse_ns(void)
{
	return sys_clock_ns(CLOCK_MONOTONIC_COARSE);
}

static void run(int (*body)(void))
{
	const pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(body());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIPPED) {
		print_message("this kernel gives no page of times: skipped\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Watches for up to `moves` moves of the clock; whether a word was found. */
static bool watch(unsigned moves)
{
	uint64_t last_ns = coarse_ns();

	while (moves > 0 && tick_is_watched) {
		const uint64_t now_ns = coarse_ns();

		if (now_ns == last_ns)
			continue;
		last_ns = now_ns;
		moves--;
		tick_watch();
	}
	return tick_now() % 2 == 0;
}

/* There is a page, and it is this process's own. */
static bool has_page(void)
{
	uintptr_t start;

	sys_find_clock();
	return mappings_find("[vvar]", (uintptr_t)sys_clock, &start);
}

static int short_programs(void)
{
	if (!has_page())
		return SKIPPED;
	return watch(8) || !tick_is_watched;
}

static void short_programs_are_not_watched(void **state)
{
	(void)state;
	run(short_programs);
}

static int the_word(void)
{
	uint64_t moved = 0, same = 0, seen = TICK_NOTHING, last_ns = 0;

	if (!has_page())
		return SKIPPED;
	if (!watch(40) || tick_is_watched)
		return 1;
	for (const uint64_t end_ns = coarse_ns() + 300 * MS; last_ns < end_ns;) {
		const uint32_t word = tick_now();
		const uint64_t now_ns = coarse_ns();

		if (word == seen && tick_now() == word) {
			if (now_ns != last_ns)
				return 2;
			same++;
			continue;
		}
		if (word % 2 == 0)
			seen = tick_see(word, seen, now_ns == last_ns);
		moved += now_ns != last_ns;
		last_ns = now_ns;
	}
	/* The clock moves a hundred times a second at least, and is asked far oftener. */
	return moved < 20 || same < 100 * moved ? 3 : 0;
}

static void the_clock_says_the_same_while_the_word_does(void **state)
{
	(void)state;
	run(the_word);
}

static uint64_t fake_ns;

static int fake_clock(clockid_t clock, struct timespec *now)
{
	(void)clock;
	fake_ns += MS / 100;
	now->tv_sec = (time_t)(fake_ns / MS / 1000);
	now->tv_nsec = (long)(fake_ns / MS * MS % (1000 * MS));
	return 0;
}

static int another_clock(void)
{
	if (!has_page())
		return SKIPPED;
	sys_clock = fake_clock;
	if (watch(1000))
		return 1;
	return tick_is_watched;
}

static void no_word_is_taken_for_a_clock_that_moves_without_it(void **state)
{
	(void)state;
	run(another_clock);
}

static int given_up(void)
{
	if (!has_page())
		return SKIPPED;
	if (!watch(40))
		return 1;
	const uint32_t word = tick_now();

	/* In doubt, but the clock says the same: it stands. */
	if (tick_see(word, word | TICK_DOUBT, true) != (tick_now() == word ? word : TICK_NOTHING) || tick_now() % 2 != 0)
		return 2;
	/* The kernel may change it at any moment; then nothing is known. */
	for (int tries = 0; tick_now() % 2 == 0; tries++) {
		const uint32_t now = tick_now();

		if (tick_see(now, now | TICK_DOUBT, false) != TICK_NOTHING || tries == 1000)
			return 3;
	}
	return 0;
}

static void a_word_without_which_the_clock_moved_is_given_up(void **state)
{
	(void)state;
	run(given_up);
}

static void *watch_too(void *unused)
{
	(void)unused;
	watch(60);
	return NULL;
}

static int many_watchers(void)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];

	if (!has_page())
		return SKIPPED;
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, watch_too, NULL) != 0)
			return 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return tick_now() % 2 == 0 ? 0 : 2;
}

static void threads_watch_together(void **state)
{
	(void)state;
	run(many_watchers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_programs_are_not_watched),
		cmocka_unit_test(the_clock_says_the_same_while_the_word_does),
		cmocka_unit_test(no_word_is_taken_for_a_clock_that_moves_without_it),
		cmocka_unit_test(a_word_without_which_the_clock_moved_is_given_up),
		cmocka_unit_test(threads_watch_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
