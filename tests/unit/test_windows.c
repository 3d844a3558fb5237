/* SPDX-License-Identifier: MIT */
/*
 * Windows between marks against a naive recomputation: random programs of several threads with windows that overlap
 * as they like; for each window the whole list of what happened is walked again, with nothing but a table of blocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "capture_writer.h"
#include "reader/profile.h"
#include "draw.h"

enum { THREADS = 3, BLOCKS = 200, STEPS = 3000, WINDOWS_MAX = 64, OPEN_MAX = 12 };

enum step_kind { STEP_ALLOCATE, STEP_FREE, STEP_GROW, STEP_SHRINK, STEP_BEGIN, STEP_END };

/* What the program did, in its true order. */
struct step {
	enum step_kind kind;
	unsigned thread, block;       /* block: number of its address; of a mark: number of its window */
	uint64_t size;
};

static struct step steps[STEPS];
static unsigned window_count;
static uint64_t random_state;

static unsigned draw(unsigned below)
{
	return (unsigned)draw_below(&random_state, below);
}

static struct step mark_step(unsigned *open, unsigned *open_count)
{
	struct step step = { .thread = draw(THREADS) };

	if (*open_count < OPEN_MAX && window_count < WINDOWS_MAX && (*open_count == 0 || draw(2))) {
		step.kind = STEP_BEGIN;
		step.block = open[(*open_count)++] = window_count++;
		return step;
	}
	/* Any of the open ones: they need not be nested. */
	unsigned which = draw(*open_count ? *open_count : 1);

	step.kind = STEP_END;
	step.block = *open_count ? open[which] : WINDOWS_MAX;   /* an end without a beginning means nothing */
	if (*open_count)
		open[which] = open[--*open_count];
	return step;
}

static void plan(void)
{
	uint64_t sizes[BLOCKS] = { 0 };
	unsigned open[OPEN_MAX], open_count = 0;

	window_count = 0;
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned block = draw(BLOCKS);
		struct step step = { .thread = draw(THREADS), .block = block };

		if (draw(20) == 0) {
			steps[i] = mark_step(open, &open_count);
			continue;
		}
		if (sizes[block] == 0) {
			step.kind = STEP_ALLOCATE;
			step.size = sizes[block] = 1 + draw(5000);
		} else if (draw(3)) {
			step.kind = STEP_FREE;
			sizes[block] = 0;
		} else {
			step.kind = draw(2) ? STEP_GROW : STEP_SHRINK;
			step.size = sizes[block] = step.kind == STEP_GROW ? sizes[block] + 1 + draw(100) : (sizes[block] + 1) / 2;
		}
		steps[i] = step;
	}
}

static void put_mark(struct writer_stream *stream, const char *verb, unsigned window)
{
	char name[32];
	int size = snprintf(name, sizeof(name), "%s window %u", verb, window);

	put_metadata(stream, CAPTURE_MARK, name, (size_t)size);
}

static void write_steps(const char *path)
{
	struct writer writer;
	struct writer_stream *streams[THREADS];

	writer_init(&writer);
	writer_start(&writer);
	for (unsigned i = 0; i < THREADS; i++) {
		streams[i] = writer_stream(&writer, i, 256);
		put_thread_info(streams[i], i, 100 + i, 0, "");
		put_thread(streams[i], i);
	}
	for (unsigned i = 0; i < STEPS; i++) {
		const struct step *step = &steps[i];
		struct writer_stream *stream = streams[step->thread];
		const uint64_t address = 0x10000 + step->block * 0x10000ul;

		put_stamp(stream, i + 1);
		put_time(stream, i / 100 * 1000000ul);
		switch (step->kind) {
		case STEP_ALLOCATE:
			put_alloc(stream, CAPTURE_MALLOC, address, step->size, 0);
			break;
		case STEP_FREE:
			put_free(stream, CAPTURE_FREE, address);
			break;
		case STEP_GROW:
		case STEP_SHRINK:
			put_free(stream, CAPTURE_MOVE, address);
			put_alloc(stream, CAPTURE_REALLOC, address, step->size, 0);
			break;
		case STEP_BEGIN:
			put_mark(stream, "begin", step->block);
			break;
		case STEP_END:
			put_mark(stream, "end", step->block);
			break;
		}
	}
	writer_finish(&writer);
	writer_save(&writer, path);
	writer_free(&writer);
}

struct naive {
	uint64_t peak, peak_count, total, total_count, live, live_count;
	bool closed;
};

/* Walks everything from the window's begin to its end.  `own`: only what the thread of the begin allocates. */
static struct naive recompute(unsigned window, bool own)
{
	struct naive sums = { 0 };
	uint64_t blocks[BLOCKS] = { 0 };      /* of the window; 0: not there */
	unsigned thread = 0, at = 0;

	while (!(steps[at].kind == STEP_BEGIN && steps[at].block == window))
		at++;
	thread = steps[at].thread;
	for (at++; at < STEPS && !(steps[at].kind == STEP_END && steps[at].block == window); at++) {
		const struct step *step = &steps[at];
		bool mine = !own || step->thread == thread;

		if (step->kind >= STEP_BEGIN)
			continue;
		if (blocks[step->block]) {
			sums.live -= blocks[step->block];
			sums.live_count--;
		}
		/* A realloc that does not grow is no allocation: the block stays whose it was. */
		bool allocates = step->kind == STEP_ALLOCATE || step->kind == STEP_GROW;
		bool there = step->kind == STEP_SHRINK ? blocks[step->block] != 0 : allocates && mine;

		blocks[step->block] = there ? step->size : 0;
		if (!there)
			continue;
		sums.live += step->size;
		sums.live_count++;
		if (allocates) {
			sums.total += step->size;
			sums.total_count++;
		}
		if (sums.live > sums.peak) {
			sums.peak = sums.live;
			sums.peak_count = sums.live_count;
		}
	}
	sums.closed = at < STEPS;
	return sums;
}

static void compare(const struct cost *cost, const struct naive *sums)
{
	assert_int_equal(cost->peak_bytes, sums->peak);
	assert_int_equal(cost->peak_count, sums->peak_count);
	assert_int_equal(cost->total_bytes, sums->total);
	assert_int_equal(cost->total_count, sums->total_count);
	assert_int_equal(cost->live_bytes, sums->live);
	assert_int_equal(cost->live_count, sums->live_count);
}

static struct profile *build(const char *path, const struct profile_options *options)
{
	struct profile *profile;
	struct error error = { 0 };

	if (!profile_build(&profile, &path, 1, options, &error))
		print_error("%s\n", error.text);
	assert_non_null(profile);
	return profile;
}

static void compare_windows(const char *path, bool own)
{
	struct profile_options options = profile_options_default;
	unsigned seen = 0, levels = 1;

	options.windows = true;
	options.own_thread = own;
	options.need_stacks = false;
	options.timeline_points = 0;
	for (unsigned level = 0; level < levels; level++) {
		struct profile *profile;

		options.window_level = level;
		profile = build(path, &options);
		levels = profile->window_levels;
		assert_int_equal(profile->windows_deeper, 0);
		for (unsigned i = 0; i < profile->window_count; i++) {
			const struct profile_window *window = &profile->windows[i];
			unsigned number = (unsigned)atoi(window->name + strlen("window "));
			struct naive sums = recompute(number, own);

			compare(&window->total, &sums);
			assert_int_equal(window->closed, sums.closed);
			seen++;
		}
		profile_free(profile);
	}
	assert_int_equal(seen, window_count);
	assert_true(levels > 1);
}

static void compare_ranges(const char *path)
{
	for (unsigned window = 0; window < window_count; window += 7) {
		struct profile_options options = profile_options_default;
		struct naive sums = recompute(window, false);
		char from[32], to[32];
		struct profile *profile;

		snprintf(from, sizeof(from), "begin window %u", window);
		snprintf(to, sizeof(to), "end window %u", window);
		options.from_mark = from;
		options.to_mark = sums.closed ? to : NULL;
		options.at_to_mark = sums.closed;
		profile = build(path, &options);
		compare(&profile->total, &sums);
		profile_free(profile);
	}
}

static void windows_are_what_a_naive_recomputation_says(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/sctmem-test-windows-%d.bin", (int)getpid());
	for (unsigned seed = 1; seed <= 10; seed++) {
		random_state = seed * 0x9e3779b97f4a7c15u;
		plan();
		write_steps(path);
		compare_windows(path, false);
		compare_windows(path, true);
		compare_ranges(path);
	}
	unlink(path);
}

static void marks_that_are_not_there_are_an_error(void **state)
{
	char path[64];
	const char *paths[] = { path };
	struct profile_options options = profile_options_default;
	struct profile *profile;
	struct error error = { 0 };

	snprintf(path, sizeof(path), "/tmp/sctmem-test-marks-%d.bin", (int)getpid());
	random_state = 5;
	plan();
	write_steps(path);
	options.from_mark = "begin nothing";
	assert_false(profile_build(&profile, paths, 1, &options, &error));
	assert_int_equal(error.status, STATUS_USAGE);
	assert_non_null(strstr(error.text, "no mark 'begin nothing' in the capture"));
	/* What ends before it begins is not there either. */
	options.from_mark = "begin window 3";
	options.to_mark = "begin window 0";
	assert_false(profile_build(&profile, paths, 1, &options, &error));
	assert_non_null(strstr(error.text, "no mark 'begin window 0' after 'begin window 3'"));
	unlink(path);
}

/* Hostile captures: a window in a window in a window ... costs no more passes than there are levels. */
static void deep_nesting_is_bounded_and_said(void **state)
{
	enum { DEPTH = 1000, LEVELS = 16 };
	char path[64];
	struct writer writer;
	struct writer_stream *stream;
	struct profile_options options = profile_options_default;
	struct profile *profile;

	snprintf(path, sizeof(path), "/tmp/sctmem-test-deep-%d.bin", (int)getpid());
	writer_init(&writer);
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 4096);
	for (unsigned i = 0; i < DEPTH; i++)
		put_mark(stream, "begin", i);
	put_alloc(stream, CAPTURE_MALLOC, 0x10000, 100, 0);
	writer_finish(&writer);
	writer_save(&writer, path);
	writer_free(&writer);
	options.windows = true;
	options.window_level = LEVELS - 1;
	profile = build(path, &options);
	assert_int_equal(profile->window_levels, LEVELS);
	assert_int_equal(profile->windows_deeper, DEPTH - LEVELS);
	assert_int_equal(profile->window_count, 1);
	assert_int_equal(profile->windows[0].total.live_bytes, 100);
	assert_false(profile->windows[0].closed);
	profile_free(profile);
	options.window_names = "^window (7|8)$";
	options.window_level = 1;
	profile = build(path, &options);
	assert_int_equal(profile->window_levels, 2);
	assert_int_equal(profile->windows_deeper, 0);
	assert_string_equal(profile->windows[0].name, "window 8");
	profile_free(profile);
	unlink(path);
}

/* trace() of one function in two threads: each thread's end belongs to its own beginning. */
static void windows_of_one_name_in_two_threads_are_two(void **state)
{
	char path[64];
	struct writer writer;
	struct writer_stream *streams[2];
	struct profile_options options = profile_options_default;

	snprintf(path, sizeof(path), "/tmp/sctmem-test-names-%d.bin", (int)getpid());
	writer_init(&writer);
	writer_start(&writer);
	for (unsigned i = 0; i < 2; i++) {
		streams[i] = writer_stream(&writer, i, 256);
		put_thread_info(streams[i], i, 100 + i, 0, "");
		put_thread(streams[i], i);
		put_stamp(streams[i], 1 + i);
		put_mark(streams[i], "begin", 0);
	}
	/* The first to begin is the first to end. */
	put_stamp(streams[0], 3);
	put_mark(streams[0], "end", 0);
	put_alloc(streams[0], CAPTURE_MALLOC, 0x10000, 100, 0);
	put_stamp(streams[1], 4);
	put_mark(streams[1], "end", 0);
	writer_finish(&writer);
	writer_save(&writer, path);
	writer_free(&writer);
	options.windows = true;
	for (unsigned level = 0; level < 2; level++) {
		options.window_level = level;

		struct profile *profile = build(path, &options);

		assert_int_equal(profile->window_levels, 2);
		assert_int_equal(profile->window_count, 1);
		assert_true(profile->windows[0].closed);
		assert_int_equal(profile->windows[0].total.total_bytes, level == 1 ? 100 : 0);
		profile_free(profile);
	}
	unlink(path);
}

/* Two threads take turns within one tick of the clock: what was marked first stands first. */
static void marks_of_one_moment_are_in_their_order(void **state)
{
	enum { MARKS = 40 };
	char path[64];
	struct writer writer;
	struct writer_stream *streams[2];
	struct profile_options options = profile_options_default;

	snprintf(path, sizeof(path), "/tmp/sctmem-test-order-%d.bin", (int)getpid());
	writer_init(&writer);
	writer_start(&writer);
	for (unsigned i = 0; i < 2; i++) {
		streams[i] = writer_stream(&writer, i, 1024);
		put_thread_info(streams[i], i, 100 + i, 0, "");
		put_thread(streams[i], i);
		put_time(streams[i], 1000000);
	}
	for (unsigned i = 0; i < MARKS; i++) {
		struct writer_stream *stream = streams[(i * 5 / 3) % 2];

		put_stamp(stream, 1 + i);
		put_mark(stream, "moment", i);
	}
	writer_finish(&writer);
	writer_save(&writer, path);
	writer_free(&writer);
	struct profile *profile = build(path, &options);

	assert_int_equal(profile->mark_count, MARKS);
	for (unsigned i = 0; i < MARKS; i++) {
		assert_memory_equal(profile->marks[i].name, "moment ", 7);
		assert_int_equal(strtoul(strpbrk(profile->marks[i].name, "0123456789"), NULL, 10), i);
	}
	profile_free(profile);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_are_what_a_naive_recomputation_says),
		cmocka_unit_test(marks_that_are_not_there_are_an_error),
		cmocka_unit_test(windows_of_one_name_in_two_threads_are_two),
		cmocka_unit_test(marks_of_one_moment_are_in_their_order),
		cmocka_unit_test(deep_nesting_is_bounded_and_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
