/* SPDX-License-Identifier: MIT */
/*
 * Windows of several threads that are culled one by one (preload/cull.h), against the same windows as they were: random
 * programs whose threads pass blocks on, free each other's, reuse addresses at once, also in the middle of a realloc,
 * and hand their windows on at any time.  Both are replayed in the order of stamps by the slowest obvious means.
 *
 * Property: neither holds a free of an unknown block or an address given out twice; the same is allocated and freed, by
 * stack and kind; the same blocks live at each sample and mark and at the end, and at marks the same was allocated; and
 * the true peak lies within what the windows say that they held.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"
#include "preload/cull.h"

enum { THREADS = 4, WINDOW = 4000, STEPS = 20000, ADDRESSES = 50, STACKS = 3, WORDS_MAX = STEPS * 12,
	EVENTS_MAX = STEPS * 3, MOMENTS = 1024, WINDOWS = 4096 };

struct event { uint64_t stamp, time; uint32_t stream, number; unsigned kind; uint64_t address, size, stack; };

struct thread {
	uint64_t window[WINDOW], owned[WINDOW / 64 + 1];
	size_t used;
	struct capture_stream carry;
	uint64_t stamp, time;
	bool moving;
	uint64_t moved, moved_size;
	struct cull_moves moves;
};

/* All words of a stream, one window behind the other. */
struct stream { uint64_t words[WORDS_MAX]; size_t count; };

struct program {
	struct thread threads[THREADS];
	struct stream plain[THREADS], culled[THREADS];
	struct { bool lives, moves; unsigned by; uint64_t size; } blocks[ADDRESSES];
	uint64_t stamp, time;
	unsigned baton;
	unsigned thread_count;        /* that there are so far */
	bool counter;                 /* each event has a stamp of its own */
	struct cull_memory *memory;
	uint64_t dropped;
};

struct moment { bool mark; uint64_t live[ADDRESSES], bytes[STACKS], count[STACKS]; };

/* What a replay comes to. */
struct outcome {
	uint64_t live[ADDRESSES], bytes[STACKS][64], count[STACKS][64], total_bytes[STACKS], total_count[STACKS];
	uint64_t frees, now, peak, unknown, twice, resized;
	struct { bool waits; uint64_t address, size; } moves[THREADS];
	struct moment moments[MOMENTS];
	size_t moment_count;
	struct capture_held held[WINDOWS];
	size_t held_count;
};

static uint64_t random_state;

static unsigned draw(unsigned below)
{
	return (unsigned)draw_below(&random_state, below);
}

static uint64_t address_of(unsigned number)
{
	return (uint64_t)(number + 1) * 16;
}

static const void *pointer_to(unsigned number)
{
	return (const void *)(uintptr_t)address_of(number);
}

static void append(struct stream *stream, const uint64_t *words, size_t count)
{
	assert_true(stream->count + count <= WORDS_MAX);
	memcpy(stream->words + stream->count, words, count * 8);
	stream->count += count;
}

static void hand_on(struct program *program, unsigned number)
{
	static uint64_t out[WINDOW];
	struct thread *thread = &program->threads[number];
	uint64_t moments[CULL_MOMENTS_MAX];
	size_t moment_count, left = 0;

	append(&program->plain[number], thread->window, thread->used);
	if (cull_moments(thread->carry.first_stamp, moments, &moment_count) && draw(10))
		left = cull_window(program->memory, thread->window, thread->used, thread->owned, &thread->carry, &thread->moves,
			moments, moment_count, out);
	else
		cull_window(program->memory, thread->window, thread->used, thread->owned, &thread->carry, &thread->moves, NULL, 0,
			out);
	/* What waits for its second half is known. */
	assert_false(thread->moves.unknown);
	assert_int_equal(thread->moves.count, thread->moving);
	if (left)
		append(&program->culled[number], out, left);
	else
		append(&program->culled[number], thread->window, thread->used);
	thread->used = 0;
	memset(thread->owned, 0, sizeof(thread->owned));
	thread->carry.first_stamp = thread->stamp;
	thread->carry.first_time_ns = thread->time;
}

static void put(struct thread *thread, unsigned kind, uint64_t operand)
{
	thread->window[thread->used++] = kind | operand << 8;
}

/* As record.c begins an event: with room, a stamp unless it is the one of before, and the time when it has moved. */
static struct thread *begin(struct program *program, unsigned number)
{
	struct thread *thread = &program->threads[number];

	if (thread->used + 16 > WINDOW || draw(thread->moving ? 20 : 2000) == 0)
		hand_on(program, number);
	if (program->counter || program->baton != number) {
		program->baton = number;
		put(thread, CAPTURE_STAMP, thread->stamp = ++program->stamp);
	}
	if (thread->time != program->time)
		put(thread, CAPTURE_TIME, thread->time = program->time);
	return thread;
}

static void allocate(struct program *program, unsigned number, unsigned kind, unsigned block, uint64_t size)
{
	struct thread *thread = begin(program, number);

	cull_own(number, pointer_to(block));
	put(thread, kind, address_of(block));
	thread->window[thread->used++] = size | (uint64_t)draw(STACKS) << 32;
	program->blocks[block].lives = true;
	program->blocks[block].by = number;
	program->blocks[block].size = size;
}

static void end(struct program *program, unsigned number, unsigned kind, unsigned block)
{
	struct thread *thread = begin(program, number);

	if (cull_owns(number, pointer_to(block)))
		thread->owned[thread->used / 64] |= (uint64_t)1 << thread->used % 64;
	put(thread, kind, address_of(block));
	program->blocks[block].lives = false;
}

static void put_moment(struct program *program, unsigned number, enum cull_moment what)
{
	cull_moment_begin();
	struct thread *thread = begin(program, number);

	if (what == CULL_MARK) {
		put(thread, CAPTURE_MARK, 1);
		thread->window[thread->used++] = 'm';
	} else {
		put(thread, CAPTURE_SAMPLE, 1);
		thread->window[thread->used++] = 2;
		thread->window[thread->used++] = 3;
	}
	cull_moment_end(thread->stamp, what);
}

/* The second half of a realloc: elsewhere, or here if nobody was given the address meanwhile. */
static void finish_move(struct program *program, unsigned number)
{
	struct thread *thread = &program->threads[number];
	unsigned from = (unsigned)thread->moved, to = draw(2) ? from : draw(ADDRESSES);

	if (program->blocks[to].lives)
		return;                       /* another time: it is still under way */
	allocate(program, number, CAPTURE_REALLOC, to, draw(3) ? thread->moved_size + draw(50) : 33 + draw(60));
	thread->moving = false;
}

static void step(struct program *program)
{
	/* Mostly the same thread for a while. */
	const unsigned number = draw(8) ? program->baton % program->thread_count : draw(program->thread_count);
	struct thread *thread = &program->threads[number];
	unsigned block = draw(ADDRESSES);

	if (draw(40) == 0)
		program->time += 1 + draw(10);
	if (draw(1000) == 0) {
		put_moment(program, number, draw(3) ? CULL_SAMPLE : CULL_MARK);
	} else if (thread->moving) {
		finish_move(program, number);
	} else if (!program->blocks[block].lives) {
		/* That of a REALLOC without a MOVE is realloc(NULL, size). */
		allocate(program, number, CAPTURE_MALLOC + draw(3), block, 33 + draw(60));
	} else if (program->blocks[block].by == number || draw(4) == 0) {
		if (draw(6) == 0) {
			thread->moved = block;
			thread->moved_size = program->blocks[block].size;
			end(program, number, CAPTURE_MOVE, block);
			thread->moving = true;
		} else {
			end(program, number, CAPTURE_FREE, block);
		}
	}
}

static unsigned words_of(unsigned kind, uint64_t operand)
{
	if (CAPTURE_IS_METADATA(kind))
		return 1 + (unsigned)(operand + 7) / 8;
	return CAPTURE_IS_ALLOCATION(kind) || kind == CAPTURE_SKIP ? 2 : kind == CAPTURE_SAMPLE ? 3 : 1;
}

/* Sums become an event as well: they are booked where they stand. */
static size_t read_stream(const struct stream *stream, uint32_t number, struct event *events, struct outcome *outcome)
{
	uint64_t stamp = 0, time = 0;
	size_t count = 0;

	for (size_t i = 0; i < stream->count;) {
		const uint64_t *word = stream->words + i;
		const unsigned kind = (uint8_t)*word;
		struct event event = { .kind = kind, .stream = number, .number = (uint32_t)i, .address = *word >> 8 };

		if (kind == CAPTURE_STAMP) {
			assert_true(*word >> 8 >= stamp);
			stamp = *word >> 8;
		} else if (kind == CAPTURE_TIME) {
			assert_true(*word >> 8 >= time);
			time = *word >> 8;
		} else if (kind == CAPTURE_HELD) {
			assert_true(outcome->held_count < WINDOWS);
			memcpy(&outcome->held[outcome->held_count++], word + 1, sizeof(struct capture_held));
		} else if (kind != CAPTURE_SKIP) {
			event.stamp = stamp;
			event.time = time;
			if (CAPTURE_IS_ALLOCATION(kind)) {
				event.size = (uint32_t)word[1];
				event.stack = word[1] >> 32;
			}
			events[count++] = event;
		}
		i += words_of(kind, *word >> 8);
	}
	return count;
}

static int compare(const void *left, const void *right)
{
	const struct event *a = left, *b = right;

	if (a->stamp != b->stamp)
		return a->stamp < b->stamp ? -1 : 1;
	/* No two streams have an event under one stamp. */
	if (a->stream != b->stream)
		return a->stream < b->stream ? -1 : 1;
	return a->number < b->number ? -1 : 1;
}

static void book(struct outcome *outcome, unsigned kind, uint64_t stack, uint64_t bytes, uint64_t count)
{
	outcome->bytes[stack][kind] += bytes;
	outcome->count[stack][kind] += count;
	outcome->total_bytes[stack] += bytes;
	outcome->total_count[stack] += count;
}

/* A realloc that is neither an allocation nor a free. */
static bool is_smaller_in_place(struct outcome *outcome, const struct event *event)
{
	const bool is = event->kind == CAPTURE_REALLOC && outcome->moves[event->stream].waits &&
		outcome->moves[event->stream].address == event->address && outcome->moves[event->stream].size >= event->size;

	outcome->resized += is;
	return is;
}

static void replay_event(struct outcome *outcome, const struct event *event, const struct stream *streams)
{
	if (event->kind == CAPTURE_CULLED) {
		struct capture_culled sums;

		memcpy(&sums, streams[event->stream].words + event->number + 1, sizeof(sums));
		book(outcome, sums.kind, sums.stack, sums.bytes, sums.count);
		outcome->frees += sums.count;
	} else if (event->kind == CAPTURE_SAMPLE || event->kind == CAPTURE_MARK) {
		assert_true(outcome->moment_count < MOMENTS);
		struct moment *moment = &outcome->moments[outcome->moment_count++];

		moment->mark = event->kind == CAPTURE_MARK;
		memcpy(moment->live, outcome->live, sizeof(moment->live));
		if (moment->mark) {
			memcpy(moment->bytes, outcome->total_bytes, sizeof(moment->bytes));
			memcpy(moment->count, outcome->total_count, sizeof(moment->count));
		}
	} else {
		uint64_t *live = &outcome->live[event->address / 16 - 1];

		if (CAPTURE_IS_ALLOCATION(event->kind)) {
			outcome->twice += *live != 0;
			*live = event->size;
			outcome->now += event->size;
			outcome->peak = outcome->now > outcome->peak ? outcome->now : outcome->peak;
			if (is_smaller_in_place(outcome, event))
				outcome->frees--;
			else
				book(outcome, event->kind, event->stack, event->size, 1);
			if (event->kind == CAPTURE_REALLOC)
				outcome->moves[event->stream].waits = false;
		} else {
			if (event->kind == CAPTURE_MOVE) {
				outcome->moves[event->stream].waits = true;
				outcome->moves[event->stream].address = event->address;
				outcome->moves[event->stream].size = *live;
			}
			outcome->unknown += *live == 0;
			outcome->now -= *live;
			outcome->frees++;
			*live = 0;
		}
	}
}

static void replay(struct outcome *outcome, const struct stream *streams)
{
	static struct event events[EVENTS_MAX];
	size_t count = 0;

	memset(outcome, 0, sizeof(*outcome));
	for (unsigned i = 0; i < THREADS; i++)
		count += read_stream(&streams[i], i, events + count, outcome);
	qsort(events, count, sizeof(*events), compare);
	for (size_t i = 0; i < count; i++)
		replay_event(outcome, &events[i], streams);
}

/* The most that all windows together can have held at one time. */
static uint64_t bound(const struct outcome *outcome)
{
	uint64_t most = 0;

	for (size_t i = 0; i < outcome->held_count; i++) {
		uint64_t sum = 0, at = outcome->held[i].first_time_ns;

		for (size_t k = 0; k < outcome->held_count; k++)
			if (outcome->held[k].first_time_ns <= at && at <= outcome->held[k].last_time_ns)
				sum += outcome->held[k].bytes;
		most = sum > most ? sum : most;
	}
	return most;
}

static void run(struct program *program, bool counter)
{
	struct cull_memory *memory = program->memory;

	memset(program, 0, sizeof(*program));
	program->memory = memory;
	program->counter = counter;
	program->baton = THREADS;
	cull_start();
	for (unsigned i = 0; i < STEPS; i++) {
		if (i % (STEPS / 10) == 0 && program->thread_count < THREADS)
			cull_stream_begins(program->thread_count++);
		step(program);
	}
	for (unsigned i = 0; i < THREADS; i++)
		hand_on(program, i);
}

static void culled_threads_say_the_same(void **state)
{
	static struct program program;
	static struct outcome before, after;
	uint64_t dropped = 0, resized = 0;

	(void)state;
	program.memory = calloc(1, cull_memory_size());
	assert_non_null(program.memory);
	for (unsigned seed = 1; seed <= 60; seed++) {
		random_state = seed * 0x9e3779b97f4a7c15u;
		run(&program, seed % 2);
		replay(&before, program.plain);
		replay(&after, program.culled);
		assert_int_equal(before.unknown + before.twice, 0);
		assert_int_equal(after.unknown + after.twice, 0);
		assert_memory_equal(before.bytes, after.bytes, sizeof(before.bytes));
		assert_memory_equal(before.count, after.count, sizeof(before.count));
		assert_int_equal(before.frees, after.frees);
		assert_memory_equal(before.live, after.live, sizeof(before.live));
		assert_int_equal(before.moment_count, after.moment_count);
		assert_memory_equal(before.moments, after.moments, before.moment_count * sizeof(*before.moments));
		assert_in_range(before.peak, after.peak, after.peak + bound(&after));
		for (size_t i = 0; i < after.held_count; i++)
			dropped += after.held[i].dropped;
		resized += before.resized - after.resized;
	}
	assert_true(dropped > 20000 && resized > 300);
	free(program.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(culled_threads_say_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
