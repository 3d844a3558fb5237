/* SPDX-License-Identifier: MIT */
/*
 * Samples of pages as bytes, and what the analysis of them is made of, each against something slow and obvious.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "draw.h"
#include "formats/pages.h"
#include "reader/held_pages.h"
#include "reader/spans.h"

static uint64_t random_state;

static unsigned draw(unsigned below)
{
	return (unsigned)draw_below(&random_state, below);
}

enum { RANGES = 4, PAGES_MAX = 4096 };

static struct { uint64_t first; unsigned kind; size_t count; uint8_t states[PAGES_MAX]; } ranges[RANGES];
static uint8_t bytes[RANGES * PAGES_RANGE_BYTES_MAX(PAGES_MAX)];

/* Random ranges, some of them owners'; how many bytes they take. */
static size_t write_ranges(unsigned count)
{
	static const uint8_t kinds[] = { PAGES_ANONYMOUS, PAGES_BREAK, PAGES_STACK, PAGES_FILE, PAGES_ZEROED, PAGES_SWAPPED,
		PAGES_SHARED };
	uint8_t *at = bytes;
	uint64_t end = 0;

	for (unsigned i = 0; i < count; i++) {
		const uint8_t *before = at;
		const unsigned rarity = 1 + draw(8);

		ranges[i].count = 1 + draw(draw(9) ? 100 : PAGES_MAX);
		ranges[i].first = (uint64_t)draw(1 << 30) << draw(14);
		ranges[i].kind = draw(4) ? kinds[draw(sizeof(kinds) / sizeof(*kinds))] : PAGES_OWN;
		for (size_t n = 0; n < ranges[i].count; n++)
			ranges[i].states[n] = ranges[i].kind != PAGES_OWN && draw(rarity) == 0;
		at = ranges[i].kind == PAGES_OWN ? pages_put_owner(at, PAGES_OWN, ranges[i].first, &end, ranges[i].count) :
			pages_put_range(at, ranges[i].kind, ranges[i].first, &end, ranges[i].states, ranges[i].count);
		assert_true((size_t)(at - before) <= PAGES_RANGE_BYTES_MAX(ranges[i].kind == PAGES_OWN ? 0 : ranges[i].count));
	}
	return (size_t)(at - bytes);
}

static void ranges_are_read_as_they_were_written(void **state)
{
	for (unsigned seed = 1; seed < 3000; seed++) {
		random_state = seed * 0x9e3779b97f4a7c15u;
		const unsigned count = 1 + draw(RANGES);
		struct pages_cursor cursor = { .at = bytes, .end = bytes + write_ranges(count) };
		struct pages_run run;
		unsigned range = 0;
		size_t page = 0;

		while (pages_next(&cursor, &run)) {
			assert_int_equal(run.first, ranges[range].first + page);
			assert_int_equal(run.kind, ranges[range].kind);
			for (uint64_t i = 0; i < run.count; i++)
				assert_int_equal(ranges[range].states[page++], run.state);
			if (page == ranges[range].count) {
				range++;
				page = 0;
			}
		}
		assert_false(cursor.bad);
		assert_int_equal(range, count);
	}
}

/* Whatever the bytes are, reading ends, stays within them, and gives runs that can be. */
static void spoilt_bytes_come_to_an_end(void **state)
{
	for (unsigned seed = 1; seed < 20000; seed++) {
		random_state = seed * 0x9e3779b97f4a7c15u;
		const size_t size = write_ranges(1 + draw(RANGES)), kept = draw(4) ? size : draw((unsigned)size);
		uint8_t *copy = malloc(kept ? kept : 1);
		struct pages_cursor cursor = { .at = copy, .end = copy + kept };
		struct pages_run run;
		size_t runs = 0;

		memcpy(copy, bytes, kept);
		for (unsigned i = 0; i < 5 && kept; i++)
			copy[draw((unsigned)kept)] = (uint8_t)draw(256);
		while (pages_next(&cursor, &run)) {
			assert_true(++runs <= kept);
			assert_true(run.count > 0 && run.state < PAGES_STATE_COUNT);
			assert_true(run.first >> 44 == 0 && run.count >> 44 == 0);
		}
		assert_true(cursor.bad || cursor.at == cursor.end);
		free(copy);
	}
}

enum { PLACES = 200, NOBODY = 255 };

/* Overlapping ones: whoever begins first keeps the place, of two that begin together the shorter one. */
static void spans_are_what_a_list_of_places_says(void **state)
{
	struct error error;

	for (unsigned seed = 1; seed < 3000; seed++) {
		struct { unsigned start, end; } drawn[12];
		uint8_t owners[PLACES];
		struct spans spans = { 0 };
		unsigned end = 0, count;

		random_state = seed * 0x9e3779b97f4a7c15u;
		count = draw(12);
		for (unsigned i = 0; i < count; i++) {
			drawn[i].start = draw(PLACES);
			drawn[i].end = drawn[i].start + draw(30);
			drawn[i].end = drawn[i].end > PLACES ? PLACES : drawn[i].end;
			assert_true(spans_add(&spans, drawn[i].start, drawn[i].end, i, &error));
		}
		spans_sort(&spans);
		memset(owners, NOBODY, sizeof(owners));
		for (unsigned place = 0; place < PLACES; place++) {
			/* Who had the place before keeps on, else it is the first of those that reach here, by start and end. */
			unsigned best = NOBODY;

			for (unsigned i = 0; i < count; i++)
				if (drawn[i].start <= place && place < drawn[i].end && (best == NOBODY ||
				    drawn[i].start < drawn[best].start || (drawn[i].start == drawn[best].start &&
				    drawn[i].end < drawn[best].end)))
					best = i;
			owners[place] = (uint8_t)best;
		}
		for (unsigned start = 0; start < PLACES; start = end) {
			const unsigned until = start + 1 + draw(PLACES - start);
			struct span piece;

			for (uint64_t at = start; at < until; at = piece.end) {
				piece = spans_next(&spans, at, until);
				assert_true(piece.start == at && piece.end > at && piece.end <= until);
				for (uint64_t place = piece.start; place < piece.end; place++)
					assert_int_equal(owners[place] == NOBODY, piece.owner == SPANS_NONE);
				if (piece.owner != SPANS_NONE)
					assert_int_equal(owners[piece.start], piece.owner);
			}
			end = until;
		}
		spans_finish(&spans);
	}
}

enum { HELD_PAGES = 4096 };

static void held_pages_are_what_a_bit_for_each_says(void **state)
{
	static bool held[2][HELD_PAGES];
	struct error error;

	for (unsigned seed = 1; seed < 200; seed++) {
		struct held_pages marks = { 0 };

		random_state = seed * 0x9e3779b97f4a7c15u;
		memset(held, 0, sizeof(held));
		for (unsigned i = 0; i < 60; i++) {
			const uint64_t address = (uint64_t)draw(HELD_PAGES) * 4096 + draw(4096);
			uint64_t size = draw(draw(10) ? 20000 : HELD_PAGES * 4096);
			const unsigned process = draw(2);

			size = address + size > HELD_PAGES * 4096ul ? HELD_PAGES * 4096ul - address : size;
			assert_true(held_pages_mark(&marks, process, address, size, &error));
			for (uint64_t page = address / 4096; page <= (address + size - (size > 0)) / 4096; page++)
				held[process][page] = true;
		}
		for (unsigned process = 0; process < 2; process++) {
			struct spans spans = { 0 };

			assert_true(held_pages_list(&marks, process, &spans, &error));
			for (uint64_t page = 0; page < HELD_PAGES; page++)
				assert_int_equal(spans_next(&spans, page * 4096, page * 4096 + 4096).owner == 0, held[process][page]);
			spans_finish(&spans);
		}
		held_pages_finish(&marks);
	}
}

/* A block of a size that no memory has costs no memory. */
static void an_endless_block_is_marked_so_far(void **state)
{
	struct held_pages marks = { 0 };
	struct spans spans = { 0 };
	struct error error;
	uint64_t sum = 0;

	assert_true(held_pages_mark(&marks, 0, 4096, UINT64_C(1) << 55, &error));
	assert_true(held_pages_list(&marks, 0, &spans, &error));
	for (size_t i = 0; i < spans.count; i++)
		sum += spans.list[i].end - spans.list[i].start;
	assert_int_equal(sum, HELD_BLOCK_MAX);
	assert_true(marks.pages.count + marks.large.count < 16);
	spans_finish(&spans);
	held_pages_finish(&marks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_are_read_as_they_were_written),
		cmocka_unit_test(spoilt_bytes_come_to_an_end),
		cmocka_unit_test(spans_are_what_a_list_of_places_says),
		cmocka_unit_test(held_pages_are_what_a_bit_for_each_says),
		cmocka_unit_test(an_endless_block_is_marked_so_far),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
