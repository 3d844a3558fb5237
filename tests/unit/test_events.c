/* SPDX-License-Identifier: MIT */
/*
 * The encoder and the two forms of records: columns must decode to what the words say, for random records and
 * for extreme ones; and no input, whatever it is, may lead a cursor outside of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/events.h"
#include "draw.h"
#include "first_form.h"

enum { WORDS_MAX = 4096 };

static struct addresses picture;

static uint64_t random_state = 88172645463325252u;

static uint64_t draw(void)
{
	return draw_bits(&random_state);
}

/* A number of up to `bits` bits, small ones and all-ones as likely as large ones. */
static uint64_t draw_value(unsigned bits)
{
	const uint64_t all = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;

	switch (draw() % 8) {
	case 0: return all;
	case 1: return 0;
	case 2: return draw() & all & ~(uint64_t)15;
	default: return (draw() >> draw() % 64) & all;
	}
}

static const uint8_t kinds[] = { CAPTURE_TIME, CAPTURE_STAMP, CAPTURE_THREAD, CAPTURE_NODE, CAPTURE_SAMPLE,
	CAPTURE_FREE, CAPTURE_FREE_PYTHON, CAPTURE_MOVE, CAPTURE_STAY, CAPTURE_UNMAP, CAPTURE_UNMAP_FAILED, CAPTURE_MAP,
	CAPTURE_MOVE_PYTHON, CAPTURE_MALLOC, CAPTURE_PYOBJECT_REALLOC, 50, CAPTURE_THREAD_INFO, CAPTURE_NOTE, 200,
	CAPTURE_SKIP, CAPTURE_MOVE_ENDS, CAPTURE_SAMPLING };

/* Addresses come back, as an allocator's do: freed ones are handed out again, live ones are freed. */
static uint64_t draw_address(void)
{
	static uint64_t recent[64];
	uint64_t *slot = &recent[draw() % 64];

	if (draw() % 4 == 0)
		*slot = draw_value(56);
	else if (draw() % 4 == 0)
		*slot = (recent[draw() % 64] + 16 * (draw() % 40)) & (((uint64_t)1 << 56) - 1);
	return *slot;
}

/* Writes one random record; clocks go on from *time and *stamp. */
static size_t put_record(uint64_t *words, uint64_t *time, uint64_t *stamp)
{
	const unsigned kind = kinds[draw() % sizeof(kinds)];
	uint64_t operand = draw_address();
	size_t count = 1;

	if (kind == CAPTURE_TIME || kind == CAPTURE_STAMP) {
		uint64_t *clock = kind == CAPTURE_TIME ? time : stamp;

		operand = *clock += draw() % 16 == 0 ? draw_value(45) : draw() % 1000;
	} else if (kind == CAPTURE_NODE) {
		operand = draw_value(32);
		words[count++] = draw_value(64);
		words[count++] = draw_value(32);
	} else if (kind == CAPTURE_SAMPLE || kind == CAPTURE_MAP) {
		words[count++] = draw_value(64);
		words[count++] = draw_value(64);
	} else if (kind == CAPTURE_THREAD) {
		operand = draw_value(32);
	} else if (kind == CAPTURE_UNMAP || kind == CAPTURE_UNMAP_FAILED || kind == CAPTURE_SKIP) {
		words[count++] = draw_value(64);
	} else if (CAPTURE_IS_ALLOCATION(kind)) {
		if (draw() % 4 == 0) {
			words[0] = draw_value(32) << 8 | CAPTURE_SIZE_HIGH;
			words[1] = operand << 8 | kind;
			words[2] = draw_value(64);
			return 3;
		}
		words[count++] = draw_value(64);
	} else if (CAPTURE_IS_METADATA(kind)) {
		operand = draw() % 100;
		memset(words + 1, 0, (operand + 7) / 8 * 8);
		for (uint64_t i = 0; i < operand; i++)
			((uint8_t *)(words + 1))[i] = (uint8_t)draw();
		count += (operand + 7) / 8;
	}
	words[0] = operand << 8 | kind;
	return count;
}

static bool same_event(const struct capture_event *a, const struct capture_event *b)
{
	return a->kind == b->kind && a->stream == b->stream && a->thread == b->thread && a->stack == b->stack &&
		a->flags == b->flags && a->parent == b->parent && a->stamp == b->stamp && a->time_ns == b->time_ns &&
		a->address == b->address && a->size == b->size && a->frame == b->frame && a->payload_size == b->payload_size &&
		(a->payload_size == 0 || memcmp(a->payload, b->payload, a->payload_size) == 0);
}

/* The columns decode to what the words say; how many events that are. */
static uint32_t compare_forms(const uint64_t *words, size_t count, const struct capture_stream *carry, unsigned flags,
	const uint8_t *columns, size_t size)
{
	struct events_cursor by_words, by_columns;
	struct capture_event expected, event;
	uint32_t events = 0;

	events_open_words(&by_words, 3, carry, words, count);
	assert_true(events_open_columns(&by_columns, 3, flags, columns, size, &picture));
	while (events_next(&by_words, &expected)) {
		assert_true(events_next(&by_columns, &event));
		assert_true(same_event(&expected, &event));
		events += event.kind >= 16 && event.kind < 64;
	}
	assert_false(by_words.bad);
	assert_false(events_next(&by_columns, &event));
	assert_false(by_columns.bad);
	return events;
}

static void columns_decode_to_what_the_words_say(void **state)
{
	static uint64_t words[WORDS_MAX + 32];

	for (int round = 0; round < 400; round++) {
		struct capture_stream carry = { .first_stamp = draw_value(40), .first_time_ns = draw_value(40),
			.first_thread = draw_value(32) };
		uint64_t time = carry.first_time_ns, stamp = carry.first_stamp;
		const size_t wanted = draw() % WORDS_MAX;
		size_t count = 0;

		while (count < wanted)
			count += put_record(words + count, &time, &stamp);
		uint8_t *out = malloc(events_encoded_max(count)), *scratch = malloc(events_scratch_size(count));
		struct events_summary summary;
		size_t size = events_encode(words, count, &carry, out, scratch, &summary);
		assert_true(size <= events_encoded_max(count));
		assert_int_equal(compare_forms(words, count, &carry, CAPTURE_BLOCK_SECOND, out, size), summary.event_count);
		assert_int_equal(summary.last_stamp, stamp);
		assert_int_equal(summary.last_time_ns, time);
		size = first_form_encode(words, count, &carry, out);
		assert_int_equal(compare_forms(words, count, &carry, 0, out, size), summary.event_count);
		free(out);
		free(scratch);
	}
}

/* Reads all; the payloads must lie within the input. */
static void read_to_the_end(struct events_cursor *cursor, const void *start, size_t size)
{
	const uint8_t *low = start, *high = low + size;
	struct capture_event event;
	size_t records = 0;

	while (events_next(cursor, &event)) {
		assert_true(++records <= size);
		if (event.payload_size)
			assert_true(event.payload >= low && event.payload + event.payload_size <= high);
	}
}

static void damaged_input_never_leads_outside(void **state)
{
	static uint64_t words[WORDS_MAX + 32];

	for (int round = 0; round < 2000; round++) {
		struct capture_stream carry = { 0 };
		uint64_t time = 0, stamp = 0;
		size_t count = 0;

		while (count < 100)
			count += put_record(words + count, &time, &stamp);
		uint8_t *out = malloc(events_encoded_max(count)), *scratch = malloc(events_scratch_size(count));
		struct events_summary summary;
		struct events_cursor cursor;
		const bool second = round % 2;
		size_t size = second ? events_encode(words, count, &carry, out, scratch, &summary)
			: first_form_encode(words, count, &carry, out);
		size_t cut = draw() % 3 ? size : draw() % (size + 1);
		/* Exactly as large as it says, so that a sanitizer sees any step outside. */
		uint8_t *exact = malloc(cut ? cut : 1);
		memcpy(exact, out, cut);
		for (uint64_t flips = draw() % 6; cut && flips > 0; flips--)
			exact[draw() % cut] ^= (uint8_t)(1 << draw() % 8);
		if (events_open_columns(&cursor, 0, second ? CAPTURE_BLOCK_SECOND : 0, exact, cut, &picture))
			read_to_the_end(&cursor, exact, cut);
		uint64_t *exact_words = malloc(count * 8);
		memcpy(exact_words, words, count * 8);
		for (uint64_t flips = draw() % 6; flips > 0; flips--)
			exact_words[draw() % count] ^= (uint64_t)1 << draw() % 64;
		events_open_words(&cursor, 0, &carry, exact_words, count);
		read_to_the_end(&cursor, exact_words, count * 8);
		free(exact);
		free(exact_words);
		free(out);
		free(scratch);
	}
}

static void a_cursor_stops_at_each_contradiction(void **state)
{
	static const struct { uint64_t words[4]; size_t count; } bad[] = {
		{ { 15 }, 1 }, { { 25 }, 1 }, { { 0 }, 1 },              /* kinds that do not exist */
		{ { CAPTURE_MALLOC }, 1 }, { { CAPTURE_NODE, 0 }, 2 },  /* cut short */
		{ { 100 << 8 | CAPTURE_NOTE, 0 }, 2 }, { { UINT64_MAX }, 1 },
		{ { 5 << 8 | CAPTURE_TIME, 4 << 8 | CAPTURE_TIME }, 2 },
		{ { 5 << 8 | CAPTURE_STAMP, 4 << 8 | CAPTURE_STAMP }, 2 },
	};
	struct events_cursor cursor;
	struct capture_event event;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		events_open_words(&cursor, 0, NULL, bad[i].words, bad[i].count);
		assert_false(events_next(&cursor, &event));
		assert_true(cursor.bad);
		assert_false(events_next(&cursor, &event));
	}
}

static void columns_must_hold_exactly_the_records(void **state)
{
	const uint64_t words[] = { 0x10 << 8 | CAPTURE_FREE, 0x20 << 8 | CAPTURE_FREE };
	const struct capture_stream carry = { 0 };
	uint8_t out[512], *scratch = malloc(events_scratch_size(2));
	struct events_summary summary;
	struct events_cursor cursor;
	struct capture_event event;

	for (unsigned flags = 0; flags <= CAPTURE_BLOCK_SECOND; flags += CAPTURE_BLOCK_SECOND) {
		const size_t size = flags ? events_encode(words, 2, &carry, out, scratch, &summary)
			: first_form_encode(words, 2, &carry, out);

		for (uint32_t count = 0; count < 5; count++) {
			memcpy(out + 24, &count, sizeof(count));
			assert_true(events_open_columns(&cursor, 0, flags, out, size, &picture));
			for (uint32_t i = 0; i < count && i < 2; i++)
				assert_true(events_next(&cursor, &event));
			assert_false(events_next(&cursor, &event));
			assert_int_equal(cursor.bad, count != 2);
		}
	}
	free(scratch);
}

/* Columns in their second form of one block of 100 bytes, with some of their bytes changed. */
static bool opens(size_t changed_at, uint8_t value)
{
	const uint64_t words[] = { 0x1000 << 8 | CAPTURE_MALLOC, 100, 0x1000 << 8 | CAPTURE_FREE };
	const struct capture_stream carry = { 0 };
	uint8_t out[512], *scratch = malloc(events_scratch_size(3));
	struct events_summary summary;
	struct events_cursor cursor;
	const size_t size = events_encode(words, 3, &carry, out, scratch, &summary);

	out[changed_at] = value;
	free(scratch);
	return events_open_columns(&cursor, 0, CAPTURE_BLOCK_SECOND, out, size, &picture);
}

static void kinds_that_cannot_be_usual_and_codes_that_are_missing_are_refused(void **state)
{
	assert_true(opens(0, 1));
	assert_true(opens(64, CAPTURE_STAMP));
	for (size_t at = 64; at < 64 + EVENTS_USUAL; at++)
		assert_false(opens(at, CAPTURE_NOTE));
	assert_true(opens(24, 4));            /* so many records need one byte of codes */
	assert_false(opens(24, 9));
}

/* What has sixteen records, one more and one less; usual kinds only, others only, and both. */
static void kinds_of_any_number_of_records_come_back(void **state)
{
	static const uint8_t some[] = { CAPTURE_FREE, CAPTURE_STAY, CAPTURE_FREE_PYTHON, CAPTURE_MOVE, CAPTURE_THREAD };
	const struct capture_stream carry = { 0 };
	uint64_t words[40];

	for (size_t count = 0; count <= 40; count++)
		for (unsigned kinds_used = 1; kinds_used <= sizeof(some); kinds_used++) {
			uint8_t *out = malloc(events_encoded_max(count)), *scratch = malloc(events_scratch_size(count));
			struct events_summary summary;

			for (size_t i = 0; i < count; i++)
				words[i] = i << 12 | some[(i * i + i / 3) % kinds_used];
			const size_t size = events_encode(words, count, &carry, out, scratch, &summary);

			compare_forms(words, count, &carry, CAPTURE_BLOCK_SECOND, out, size);
			free(out);
			free(scratch);
		}
}

/* All that take two bytes or are at a border. */
static void sizes_come_back(void **state)
{
	enum { SIZES = 17000 };
	uint64_t *words = malloc(2 * SIZES * sizeof(*words));
	const struct capture_stream carry = { 0 };
	struct events_summary summary;
	uint8_t *out = malloc(events_encoded_max(2 * SIZES)), *scratch = malloc(events_scratch_size(2 * SIZES));

	for (uint64_t i = 0; i < SIZES; i++) {
		words[2 * i] = i << 20 | CAPTURE_MALLOC;
		words[2 * i + 1] = i < SIZES - 1 ? i : UINT32_MAX;
	}
	const size_t size = events_encode(words, 2 * SIZES, &carry, out, scratch, &summary);

	compare_forms(words, 2 * SIZES, &carry, CAPTURE_BLOCK_SECOND, out, size);
	free(words);
	free(out);
	free(scratch);
}

static void kinds_have_names(void **state)
{
	assert_string_equal(events_kind_name(CAPTURE_MALLOC), "malloc");
	assert_string_equal(events_kind_name(CAPTURE_NOTE), "note");
	assert_null(events_kind_name(0));
	assert_null(events_kind_name(63));
	assert_null(events_kind_name(256));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_decode_to_what_the_words_say),
		cmocka_unit_test(damaged_input_never_leads_outside),
		cmocka_unit_test(a_cursor_stops_at_each_contradiction),
		cmocka_unit_test(columns_must_hold_exactly_the_records),
		cmocka_unit_test(kinds_that_cannot_be_usual_and_codes_that_are_missing_are_refused),
		cmocka_unit_test(kinds_of_any_number_of_records_come_back),
		cmocka_unit_test(sizes_come_back),
		cmocka_unit_test(kinds_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
