/* SPDX-License-Identifier: MIT */
/*
 * A capture that is aggregated as it is recorded (preload/cull.h), followed while it grows.  Random programs of several
 * threads pass blocks on, free each other's, move them, also one within the other, and hand their windows on at any
 * time, mostly culled; some sample in the end, some go from file to file, of which the oldest may be gone.
 *
 * Property: at each look after which nothing is in flight the profile is that of a reader of the whole file, but for
 * the peak, which lies where that reader says that it must.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "draw.h"
#include "followed.h"
#include "preload/cull.h"
#include "reader/capture.h"

enum { ADDRESSES = 40, DEPTH = 3, WINDOW_MAX = 4000, STEPS = 12000 };

/* A realloc under way: what becomes of it is known when it begins. */
enum fate { MOVES, SHRINKS, FAILS, FREES, FATES };
struct moving { unsigned block; enum fate fate; };

static struct program {
	struct { bool lives, held; unsigned by; uint64_t size; } blocks[ADDRESSES];
	struct thread {
		uint64_t owned[WINDOW_MAX / 64 + 1];
		struct cull_moves moves;
		struct moving moving[DEPTH];
		unsigned depth;
	} threads[RUN_STREAMS];
	unsigned baton;
	bool counter;                 /* each event has a stamp of its own */
	bool samples;                 /* from now on */
	bool threads_change;          /* whose streams these are */
	uint32_t more_threads;
	struct cull_memory *memory;
	struct profile_live *live;    /* who looks */
	uint64_t dropped, sampled;    /* blocks; means of sampling */
	unsigned idle;                /* a thread that rests */
} program;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)draw_below(&growing.random, below);
}

static uint64_t address_of(unsigned block)
{
	return 0x10000 + block * 64ul;
}

static const void *pointer_to(unsigned block)
{
	return (const void *)(uintptr_t)address_of(block);
}

static size_t hand_on(const struct writer_stream *stream, uint64_t *words)
{
	static uint64_t out[WINDOW_MAX];
	struct thread *thread = &program.threads[(stream->id - 5) / 3];
	const size_t count = (size_t)stream->carry.used;
	uint64_t moments[CULL_MOMENTS_MAX];
	size_t moment_count, left;
	struct capture_held held;
	const bool known = cull_moments(stream->carry.first_stamp, moments, &moment_count);

	left = cull_window(program.memory, words, count, thread->owned, &stream->carry, &thread->moves, moments, moment_count,
		out);
	memset(thread->owned, 0, sizeof(thread->owned));
	if (left == 0 || !known || draw(10) == 0)
		return count;
	memcpy(&held, out + left - sizeof(held) / 8, sizeof(held));
	program.dropped += held.dropped;
	memcpy(words, out, left * 8);
	return left;
}

/* As record.c begins an event: with room, a stamp unless it is the one of before, and the time when it has moved. */
static struct writer_stream *begin(unsigned number)
{
	struct writer_stream *stream;

	if (!growing.streams[number])
		cull_stream_begins(number);
	stream = run_stream(number, program.live);
	put_room(stream, 24);
	if (stream->carry.used > 0 && draw(program.threads[number].depth ? 20 : 800) == 0)
		writer_flush(stream);
	if (program.counter || program.baton != number || stream->stamp == 0) {
		program.baton = number;
		put_stamp(stream, ++growing.stamp);
	}
	if (stream->time_ns != growing.now)
		put_time(stream, growing.now);
	if (growing.nodes < RUN_NODES && draw(12) == 0) {
		growing.parents[growing.nodes + 1] = draw(growing.nodes + 1);
		growing.nodes++;
		run_put_nodes(stream, growing.nodes, growing.nodes);
		put_room(stream, 24);
	}
	return stream;
}

static void allocate(unsigned number, unsigned kind, unsigned block, uint64_t size)
{
	struct writer_stream *stream = begin(number);

	cull_own(number, pointer_to(block));
	put_alloc(stream, kind, address_of(block), size, draw(growing.nodes < 3 || draw(30) == 0 ? growing.nodes + 1 : 2));
	program.blocks[block].lives = true;
	program.blocks[block].held = false;
	program.blocks[block].by = number;
	program.blocks[block].size = size;
}

/* A free, or the first half of a realloc. */
static void end(unsigned number, unsigned kind, unsigned block)
{
	struct writer_stream *stream = begin(number);

	if (cull_owns(number, pointer_to(block)))
		program.threads[number].owned[stream->carry.used / 64] |= (uint64_t)1 << stream->carry.used % 64;
	put_free(stream, kind, address_of(block));
	program.blocks[block].lives = false;
}

static uint64_t draw_size(void)
{
	return draw(500) == 0 ? (uint64_t)5 << 32 : draw(20) ? 33 + draw(40) : draw(5000);
}

static void begin_move(unsigned number, unsigned block)
{
	struct thread *thread = &program.threads[number];
	const enum fate fate = draw(12) ? draw(FREES) : FREES;

	end(number, draw(2) ? CAPTURE_MOVE : CAPTURE_MOVE_PYTHON, block);
	if (fate == FREES)
		return;
	/* Nobody is given the address of one that stays. */
	program.blocks[block].held = fate != MOVES;
	thread->moving[thread->depth++] = (struct moving){ .block = block, .fate = fate };
}

static void finish_move(unsigned number)
{
	struct thread *thread = &program.threads[number];
	const struct moving moving = thread->moving[thread->depth - 1];
	const uint64_t size = program.blocks[moving.block].size;
	const unsigned kind = draw(2) ? CAPTURE_REALLOC : CAPTURE_PYOBJECT_REALLOC;
	const unsigned to = moving.fate == MOVES && draw(3) ? draw(ADDRESSES) : moving.block;

	if (moving.fate == FAILS) {
		thread->depth--;
		put_free(begin(number), CAPTURE_STAY, address_of(moving.block));
		program.blocks[moving.block].lives = true;
		program.blocks[moving.block].held = false;
	} else if (moving.fate == SHRINKS) {
		thread->depth--;
		allocate(number, kind, moving.block, draw(2) ? size : size / 2);
	} else if (!program.blocks[to].lives && !program.blocks[to].held) {
		thread->depth--;
		allocate(number, kind, to, to == moving.block ? size + 1 + draw(50) : draw_size());
	}
}

static void put_moment(unsigned number)
{
	const struct capture_recording off = { .on = 0 }, on = { .on = 1 };
	const unsigned what = draw(10);

	cull_moment_begin();
	struct writer_stream *stream = begin(number);

	if (what < 6) {
		put_sample(stream, draw(1 << 30), 1, 1);
	} else if (what < 9) {
		put_metadata(stream, CAPTURE_MARK, "mark", 4);
	} else {
		put_metadata(stream, CAPTURE_RECORDING, &off, sizeof(off));
		put_metadata(stream, CAPTURE_RECORDING, &on, sizeof(on));
	}
	cull_moment_end(stream->stamp, what < 6 ? CULL_SAMPLE : CULL_MARK);
}

/* mremap that stays, an mmap of its own, or munmap. */
static void put_mapping(unsigned number)
{
	struct writer_stream *stream = begin(number);
	const uint64_t address = 0x7f0000000000 + draw(20) * 65536ul;

	if (draw(3) == 0) {
		put_unmap(stream, CAPTURE_UNMAP, address, 65536);
		put_map(stream, address, draw(2) ? 4096 : 65536, CAPTURE_MAP_MOVED, draw(growing.nodes + 1));
	} else if (draw(2)) {
		put_map(stream, address, 4096ul * (1 + draw(16)), 0, draw(growing.nodes + 1));
	} else {
		put_unmap(stream, CAPTURE_UNMAP, address, 4096);
	}
}

/* What a window has that is a sample, and so is not culled. */
static void put_sampling(unsigned number)
{
	const struct capture_sampling sampling = { .mean_bytes = draw(3) ? 1u << draw(14) : 0 };
	struct writer_stream *stream = begin(number);

	put_metadata(stream, CAPTURE_SAMPLING, &sampling, sizeof(sampling));
	put_skip(stream, draw(100), draw(10000));
	program.sampled++;
}

/* The thread has ended, and another has its stream. */
static void put_other_thread(unsigned number)
{
	const uint32_t index = RUN_STREAMS + program.more_threads++;
	struct writer_stream *stream = begin(number);

	put_thread(stream, index);
	put_thread_info(stream, index, 100 + index, growing.now, "other");
}

static void act(unsigned number)
{
	struct thread *thread = &program.threads[number];
	const unsigned block = draw(ADDRESSES), what = draw(1000);

	if (what < 1) {
		put_moment(number);
		if (program.live)
			run_look(program.live);
	} else if (what < 2 && program.threads_change && thread->depth == 0) {
		put_other_thread(number);
	} else if (what < 10) {
		put_mapping(number);
	} else if (what < 15 && program.samples) {
		put_sampling(number);
	} else if (thread->depth && draw(4)) {
		finish_move(number);
	} else if (program.blocks[block].held) {
		return;
	} else if (!program.blocks[block].lives) {
		/* That of a REALLOC without a MOVE is realloc(NULL, size). */
		allocate(number, draw(10) ? CAPTURE_MALLOC + 2 * draw(2) : CAPTURE_PYMEM_MALLOC + draw(6), block, draw_size());
	} else if (program.blocks[block].by == number || draw(15) == 0) {
		if (draw(5) || thread->depth == DEPTH)
			end(number, draw(2) ? CAPTURE_FREE : CAPTURE_FREE_PYTHON, block);
		else
			begin_move(number, block);
	}
}

static void step(void)
{
	/* Mostly the same thread for a while. */
	unsigned number = draw(30) && program.baton < RUN_STREAMS ? program.baton : draw(RUN_STREAMS);

	if (number == program.idle)
		number = (number + 1) % RUN_STREAMS;
	if (draw(40) == 0)
		growing.now += 1 + draw(1000000);
	act(number);
}

static void begin_program(uint32_t seed, bool samples)
{
	struct cull_memory *memory = program.memory;

	memset(&program, 0, sizeof(program));
	program.memory = memory;
	program.counter = seed % 2;
	program.baton = RUN_STREAMS;
	cull_start();
	run_begin(seed, (size_t)400 << seed % 4, CAPTURE_AGGREGATED | (samples ? CAPTURE_SAMPLED : 0), hand_on);
}

static void compare_now(const char *all, uint32_t seed, unsigned i)
{
	char when[64];

	run_store();
	followed_look(program.live);
	run_look(program.live);
	snprintf(when, sizeof(when), "seed %u, step %u, %u files", seed, i, growing.count);
	assert_true(profile_live_is_alive(program.live));
	followed_compare(profile_live_get(program.live), all, when);
}

/* `segments`: the run has more than one file; `gone`: so many were removed before anybody looked. */
static void follow_program(uint32_t seed, bool samples, bool segments, uint32_t gone)
{
	char all[128], first[128];

	begin_program(seed, samples);
	/* Some windows begin before all is known. */
	growing.late = gone ? draw(1000) : 0;
	run_path(all, sizeof(all), 1, 1);
	for (unsigned i = 0; i < STEPS; i++) {
		program.threads_change = gone == 0;
		program.samples = samples && i > STEPS / 2;
		program.idle = i / 1500 % (RUN_STREAMS + 1);
		step();
		if (segments && draw(500) == 0 && growing.count < RUN_SEGMENTS)
			run_begin_segment();
		if (!program.live && growing.count > gone && (gone == 0 || draw(150) == 0)) {
			run_store();
			run_remove(0, gone);
			run_remove(1, gone);
			run_path(first, sizeof(first), 0, gone + 1);
			program.live = followed_open(first);
		}
		/* Also in the middle of a realloc. */
		if (program.live && draw(program.baton < RUN_STREAMS && program.threads[program.baton].depth ? 40 : 300) == 0)
			run_look(program.live);
		if (program.live && draw(300) == 0)
			compare_now(all, seed, i);
	}
	growing.writers[growing.count - 1].status.state = CAPTURE_EXITED;
	growing.writers[growing.count - 1].status.end_time_ns = growing.now + 5;
	run_store();
	followed_look(program.live);
	assert_false(profile_live_is_alive(program.live));
	followed_compare(profile_live_get(program.live), all, "the end");
	profile_live_close(program.live);
	run_end();
}

static int set_up(void **state)
{
	(void)state;
	program.memory = calloc(1, cull_memory_size());
	return program.memory ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(program.memory);
	return 0;
}

static void each_look_says_what_the_whole_file_says(void **state)
{
	uint64_t dropped = 0;

	(void)state;
	for (uint32_t seed = 1; seed <= 4; seed++) {
		follow_program(seed, false, false, 0);
		dropped += program.dropped;
	}
	assert_true(dropped > 1000);
}

static void also_where_it_ends_as_a_sample(void **state)
{
	uint64_t dropped = 0, sampled = 0;

	(void)state;
	for (uint32_t seed = 31; seed <= 33; seed++) {
		follow_program(seed, true, seed % 3 == 0, 0);
		dropped += program.dropped;
		sampled += program.sampled;
	}
	assert_true(dropped > 500 && sampled > 50);
}

static void and_from_file_to_file(void **state)
{
	(void)state;
	for (uint32_t seed = 41; seed <= 43; seed++)
		follow_program(seed, false, true, 0);
}

static void whose_oldest_may_be_gone(void **state)
{
	(void)state;
	for (uint32_t seed = 51; seed <= 54; seed++)
		follow_program(seed, false, true, 1 + seed % 4);
}

static void put_owned(struct writer_stream *stream, unsigned kind, unsigned block)
{
	program.threads[0].owned[stream->carry.used / 64] |= (uint64_t)1 << stream->carry.used % 64;
	put_free(stream, kind, address_of(block));
}

/* Seen by half, and in sums as a whole: what comes next is not its second half. */
static void a_realloc_that_is_in_sums_does_not_wait_for_its_end(void **state)
{
	struct writer_stream *stream;
	char all[128], watched[128];

	(void)state;
	begin_program(71, false);
	run_path(all, sizeof(all), 1, 1);
	run_path(watched, sizeof(watched), 0, 1);
	stream = run_stream(0, NULL);
	for (unsigned i = 0; i < 8; i++) {
		put_alloc(stream, CAPTURE_MALLOC, address_of(i), 50, 0);
		put_owned(stream, CAPTURE_MOVE, i);
		if (i == 7) {
			run_store();
			program.live = followed_open(watched);
			run_look(program.live);
		}
		put_alloc(stream, CAPTURE_REALLOC, address_of(20 + i), 60, 0);
		put_owned(stream, CAPTURE_FREE, 20 + i);
	}
	/* realloc(NULL, 40) */
	put_alloc(stream, CAPTURE_REALLOC, address_of(7), 40, 0);
	writer_flush(stream);
	assert_int_equal(program.dropped, 16);
	compare_now(all, 71, 0);
	assert_int_equal(profile_live_get(program.live)->total.total_count, 17);
	profile_live_close(program.live);
	run_end();
}

/* Of windows that overlap in any way, as one keeps them that follows a run of days. */
static void what_windows_held_is_bounded_by_few_records(void **state)
{
	struct error error = { .text = "" };
	struct capture folded = { .header.features = CAPTURE_AGGREGATED }, whole = folded;
	uint64_t dropped = 0;

	(void)state;
	growing.random = 5;
	for (uint64_t i = 0; i < 20000; i++) {
		const uint64_t from = 100 * i + draw(1000), length = draw(30) ? draw(500) : draw(5000);
		const struct capture_held held = { .bytes = 1 + draw(1 << 20), .count = 1 + draw(100), .dropped = 100 + draw(1000),
			.first_time_ns = from, .last_time_ns = from + length };
		const struct capture_event event = { .kind = CAPTURE_HELD, .payload = (const uint8_t *)&held,
			.payload_size = sizeof(held) };
		struct capture_unseen few, all;

		dropped += held.dropped;
		assert_true(capture_absorb(&folded, &event, &error) && capture_absorb(&whole, &event, &error));
		assert_true(capture_fold_held(&folded, &error));
		if (draw(2000) && i != 19999)
			continue;
		assert_true(capture_unseen(&folded, &few, &error) && capture_unseen(&whole, &all, &error));
		/* One that began long before others that are one record by now may have it a little higher. */
		assert_in_range(few.bytes, all.bytes, all.bytes + all.bytes / 2);
		assert_in_range(few.count, all.count, all.count + all.count / 2);
		assert_true(few.dropped == dropped && all.dropped == dropped);
	}
	assert_true(folded.held_count < 5000);
	free(folded.helds);
	free(whole.helds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_look_says_what_the_whole_file_says),
		cmocka_unit_test(also_where_it_ends_as_a_sample),
		cmocka_unit_test(and_from_file_to_file),
		cmocka_unit_test(whose_oldest_may_be_gone),
		cmocka_unit_test(a_realloc_that_is_in_sums_does_not_wait_for_its_end),
		cmocka_unit_test(what_windows_held_is_bounded_by_few_records),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
