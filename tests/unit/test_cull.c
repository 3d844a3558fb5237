/* SPDX-License-Identifier: MIT */
/*
 * What is left of a window (preload/cull.h) says the same as the window: random windows are replayed as they are, and
 * culled, by the slowest obvious means.  Property: the same is allocated, temporary and live, by stack, kind and size;
 * what each kept event was preceded by is the same number of allocations; the peak lies within what is promised.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "preload/cull.h"

enum { WORDS = 6000, ADDRESSES = 60, STACKS = 3, BINS = 65, MOMENT = 500 };

struct window {
	uint64_t words[WORDS], owned[WORDS / 64 + 1];
	size_t count;
	uint64_t stamp, time;
};

/* What a replay comes to. */
struct state {
	uint64_t bytes[STACKS][64][BINS], count[STACKS][64][BINS], temporary[STACKS][64][BINS];
	struct place { bool lives; uint64_t size, sequence, *temporary; } at[ADDRESSES], at_moment[ADDRESSES];
	uint64_t live, peak, sequence, contradictions, size_high;
	struct { bool pending, known; uint64_t address; struct place block; } move;
	struct capture_held held;
	uint64_t dropped;
};

static unsigned draw(unsigned below)
{
	return (unsigned)rand() % below;
}

static void put(struct window *window, unsigned kind, uint64_t operand)
{
	window->words[window->count++] = kind | operand << 8;
}

static void put_allocation(struct window *window, unsigned kind, unsigned address)
{
	if (draw(100) == 0)
		put(window, CAPTURE_SIZE_HIGH, 1 + draw(2));
	put(window, kind, (address + 1) * 16);
	window->words[window->count++] = (1 + draw(4) * 50) | (uint64_t)draw(STACKS) << 32;
}

static void put_end(struct window *window, unsigned kind, unsigned address, bool owned)
{
	if (owned)
		window->owned[window->count / 64] |= (uint64_t)1 << window->count % 64;
	put(window, kind, (address + 1) * 16);
}

/* A thread that allocates, frees, resizes, and is passed blocks by another, which frees some of its own. */
static void make_window(struct window *window)
{
	enum { GONE, OURS, FOREIGN } blocks[ADDRESSES] = { GONE };

	memset(window, 0, sizeof(*window));
	for (unsigned i = 0; i < ADDRESSES; i += 7)
		blocks[i] = FOREIGN;
	while (window->count < WORDS - 16) {
		unsigned address = draw(ADDRESSES);

		if (draw(4) == 0)
			put(window, CAPTURE_STAMP, window->stamp += 1 + draw(3));
		if (draw(9) == 0)
			put(window, CAPTURE_TIME, window->time += 1 + draw(100));
		if (draw(60) == 0) {
			/* By itself, or as the second half of an mremap that leaves it in place. */
			const bool stays = draw(2);

			if (stays) {
				put(window, CAPTURE_UNMAP, 1 << 20);
				window->words[window->count++] = 8192;
			}
			put(window, CAPTURE_MAP, 1 << 20);
			window->words[window->count++] = 4096;
			window->words[window->count++] = stays ? CAPTURE_MAP_MOVED : 0;
		}
		if (blocks[address] == GONE) {
			/* That of a REALLOC without a MOVE is realloc(NULL, size). */
			put_allocation(window, CAPTURE_MALLOC + draw(3), address);
			blocks[address] = OURS;
		} else if (draw(6) == 0) {
			unsigned to = draw(3) ? draw(ADDRESSES) : address;

			if (blocks[to] != GONE)
				to = address;
			put_end(window, CAPTURE_MOVE, address, blocks[address] == OURS);
			if (draw(8) == 0) {
				put(window, CAPTURE_STAY, (address + 1) * 16);
				continue;
			}
			if (draw(8) == 0) {
				put(window, CAPTURE_MOVE_ENDS, (address + 1) * 16);
				blocks[address] = GONE;
				continue;
			}
			put_allocation(window, CAPTURE_REALLOC, to);
			blocks[address] = GONE;
			blocks[to] = OURS;
		} else if (draw(40) == 0) {
			/* Freed by another thread, given the address, and passed back. */
			blocks[address] = FOREIGN;
		} else {
			put_end(window, CAPTURE_FREE, address, blocks[address] == OURS);
			blocks[address] = GONE;
		}
	}
}

static unsigned bin_of(uint64_t size)
{
	return size ? 64 - (unsigned)__builtin_clzll(size) : 0;
}

/* `sign`: -1 takes it back. */
static void book_temporary(const struct state *state, const struct place *block, int sign)
{
	if (state->sequence - block->sequence <= 1)
		*block->temporary += block->size * (uint64_t)sign;
}

static void lose(struct state *state, unsigned address)
{
	state->at[address].lives = false;
	state->live -= state->at[address].size;
	book_temporary(state, &state->at[address], 1);
}

static void gain(struct state *state, unsigned address, uint64_t size, uint64_t sequence, uint64_t *temporary)
{
	if (state->at[address].lives) {
		state->contradictions++;
		state->live -= state->at[address].size;
	}
	state->at[address].lives = true;
	state->at[address].size = size;
	state->at[address].sequence = sequence;
	state->at[address].temporary = temporary;
	state->live += size;
	state->peak = state->live > state->peak ? state->live : state->peak;
}

static void allocate(struct state *state, unsigned kind, unsigned address, uint64_t word)
{
	uint64_t size = state->size_high << 32 | (uint32_t)word;

	state->size_high = 0;
	if (kind == CAPTURE_REALLOC && state->move.pending) {
		state->move.pending = false;
		if (state->move.known && state->move.address == address && size <= state->move.block.size) {
			book_temporary(state, &state->move.block, -1);
			gain(state, address, size, state->move.block.sequence, state->move.block.temporary);
			return;
		}
	}
	state->bytes[word >> 32][kind][bin_of(size)] += size;
	state->count[word >> 32][kind][bin_of(size)]++;
	state->sequence++;
	gain(state, address, size, state->sequence, &state->temporary[word >> 32][kind][bin_of(size)]);
}

/* Metadata: sums and what they held. */
static void take_sums(struct state *state, unsigned kind, const uint64_t *payload)
{
	struct capture_culled sums;

	if (kind == CAPTURE_HELD) {
		memcpy(&state->held, payload, sizeof(state->held));
		return;
	}
	assert_int_equal(kind, CAPTURE_CULLED);
	memcpy(&sums, payload, sizeof(sums));
	state->bytes[sums.stack][sums.kind][sums.bin] += sums.bytes;
	state->count[sums.stack][sums.kind][sums.bin] += sums.count;
	state->temporary[sums.stack][sums.kind][sums.bin] += sums.temporary_bytes;
	state->dropped += sums.count;
}

static void replay(struct state *state, const uint64_t *words, size_t count)
{
	uint64_t stamp = 0, time = 0;
	bool moment = false;

	memset(state, 0, sizeof(*state));
	for (size_t i = 0; i < count;) {
		unsigned kind = (uint8_t)words[i], address = (unsigned)(words[i] >> 12) - 1;
		uint64_t operand = words[i] >> 8;

		if (kind == CAPTURE_STAMP) {
			assert_true(operand >= stamp);
			stamp = operand;
			if (stamp > MOMENT && !moment) {
				memcpy(state->at_moment, state->at, sizeof(state->at));
				moment = true;
			}
		} else if (kind == CAPTURE_TIME) {
			assert_true(operand >= time);
			time = operand;
		} else if (kind == CAPTURE_SIZE_HIGH) {
			state->size_high = operand;
		} else if (kind == CAPTURE_SKIP) {
			state->sequence += operand;
		} else if (kind == CAPTURE_MAP) {
			state->sequence += !(words[i + 2] & CAPTURE_MAP_MOVED);
		} else if (CAPTURE_IS_ALLOCATION(kind)) {
			allocate(state, kind, address, words[i + 1]);
		} else if (kind == CAPTURE_FREE && state->at[address].lives) {
			lose(state, address);
		} else if (kind == CAPTURE_MOVE) {
			state->move.pending = true;
			state->move.known = state->at[address].lives;
			state->move.address = address;
			state->move.block = state->at[address];
			if (state->move.known)
				lose(state, address);
		} else if (kind == CAPTURE_STAY) {
			state->move.pending = false;
			if (state->move.known) {
				book_temporary(state, &state->move.block, -1);
				gain(state, address, state->move.block.size, state->move.block.sequence, state->move.block.temporary);
			}
		} else if (kind == CAPTURE_MOVE_ENDS) {
			state->move.pending = false;
		} else if (CAPTURE_IS_METADATA(kind)) {
			take_sums(state, kind, words + i + 1);
		}
		i += CAPTURE_IS_METADATA(kind) ? 1 + (operand + 7) / 8 : kind == CAPTURE_MAP ? 3
			: CAPTURE_IS_ALLOCATION(kind) || kind == CAPTURE_SKIP || kind == CAPTURE_UNMAP ? 2 : 1;
	}
}

static void a_culled_window_says_the_same(void **unused)
{
	static struct window window;
	static struct state before, after;
	static uint64_t out[WORDS];
	struct cull_memory *memory = calloc(1, cull_memory_size());
	const struct capture_stream carry = { 0 };
	struct cull_moves moves = { .count = 0 };
	const uint64_t moment = MOMENT << 1 | 1;
	size_t culled = 0;

	(void)unused;
	assert_non_null(memory);
	for (unsigned seed = 1; seed <= 300; seed++) {
		srand(seed);
		make_window(&window);
		size_t left = cull_window(memory, window.words, window.count, window.owned, &carry, &moves, &moment, 1, out);

		assert_int_equal(moves.count, 0);

		if (left == 0)
			continue;
		assert_true(left <= window.count);
		replay(&before, window.words, window.count);
		replay(&after, out, left);
		assert_memory_equal(before.bytes, after.bytes, sizeof(before.bytes));
		assert_memory_equal(before.count, after.count, sizeof(before.count));
		assert_memory_equal(before.temporary, after.temporary, sizeof(before.temporary));
		assert_int_equal(before.sequence, after.sequence);
		assert_int_equal(before.live, after.live);
		assert_int_equal(before.contradictions, after.contradictions);
		for (unsigned i = 0; i < ADDRESSES; i++) {
			assert_int_equal(before.at[i].lives, after.at[i].lives);
			assert_int_equal(before.at_moment[i].lives, after.at_moment[i].lives);
			if (before.at[i].lives)
				assert_true(before.at[i].sequence == after.at[i].sequence && before.at[i].size == after.at[i].size);
		}
		assert_int_equal(after.held.dropped, after.dropped);
		assert_in_range(before.peak, after.peak, after.peak + after.held.bytes);
		culled += after.dropped;
	}
	assert_true(culled > 10000);
	free(memory);
}

/* Words that are left of a window by itself: nothing waits before it, and no moments are known. */
static size_t cull_alone(const struct window *window)
{
	static uint64_t out[WORDS];
	struct cull_memory *memory = calloc(1, cull_memory_size());
	const struct capture_stream carry = { 0 };
	struct cull_moves moves = { .count = 0 };

	assert_non_null(memory);
	const size_t left = cull_window(memory, window->words, window->count, window->owned, &carry, &moves, NULL, 0, out);

	free(memory);
	return left;
}

/* Allocation and free of one address, between which another thread had the block: both stay. */
static void what_only_looks_like_a_pair_is_kept(void **unused)
{
	static struct window window;

	(void)unused;
	for (int turn = 0; turn < 2; turn++) {
		memset(&window, 0, sizeof(window));
		for (int i = 0; i < 100; i++) {
			put(&window, CAPTURE_MALLOC, 4096);
			window.words[window.count++] = 64;
			put_end(&window, CAPTURE_FREE, 255, turn == 1);
		}
		/* One row of sums, SKIP, HELD. */
		assert_int_equal(cull_alone(&window), turn == 0 ? 0 : 14);
	}
}

static void put_sized(struct window *window, unsigned kind, unsigned address, uint32_t size)
{
	put(window, kind, (address + 1) * 16);
	window->words[window->count++] = size;
}

/* Whether a realloc that comes in between was an allocation is not known: so neither is what is temporary. */
static void what_lives_across_what_is_not_known_is_kept(void **unused)
{
	static struct window window;

	(void)unused;
	/* Of a block from before, within another realloc; and of one that has 4 GiB and more. */
	for (int high = 0; high < 2; high++) {
		memset(&window, 0, sizeof(window));
		if (high) {
			put(&window, CAPTURE_SIZE_HIGH, 2);
			put_sized(&window, CAPTURE_MALLOC, 3, 0);
		}
		for (unsigned i = 0; i < 10; i++) {
			put_sized(&window, CAPTURE_MALLOC, 1, 64);
			put_sized(&window, CAPTURE_MALLOC, 2, 64);
			put_end(&window, CAPTURE_MOVE, 1, true);
			put_end(&window, CAPTURE_MOVE, 3, high);
			if (high)
				put(&window, CAPTURE_SIZE_HIGH, 1);
			put_sized(&window, CAPTURE_REALLOC, 3, 48);
			put_sized(&window, CAPTURE_REALLOC, 1, 32);
			put_end(&window, CAPTURE_FREE, 1, true);
			put_end(&window, CAPTURE_FREE, 2, true);
			if (!high)
				put_end(&window, CAPTURE_FREE, 3, false);
		}
		assert_int_equal(cull_alone(&window), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_culled_window_says_the_same),
		cmocka_unit_test(what_only_looks_like_a_pair_is_kept),
		cmocka_unit_test(what_lives_across_what_is_not_known_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
