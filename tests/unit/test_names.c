/* SPDX-License-Identifier: MIT */
/* The record of names: what was put in comes out, whatever the names are; and bytes that were changed are refused, or
 * lead nowhere outside of the record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "reader/names.h"
#include "draw.h"

enum { FRAMES = 200, PLACES_MAX = 9, TEXTS = 60, TEXT_SIZE = 5000 };

static uint64_t state = 88172645463325252u;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)(draw_bits(&state) >> 20) % below;
}

/* What was added, kept the obvious way. */
static char texts[TEXTS][TEXT_SIZE];
static struct symbol_frame added[FRAMES][PLACES_MAX];
static size_t counts[FRAMES];

static void draw_texts(void)
{
	for (int i = 0; i < TEXTS; i++) {
		const uint32_t size = draw(10) == 0 ? 4000 + draw(900) : 1 + draw(40);

		for (uint32_t n = 0; n < size; n++)
			texts[i][n] = (char)(1 + draw(255));
		texts[i][size] = '\0';
	}
}

static void draw_frames(struct names_writer *writer, size_t frames)
{
	struct error error;

	for (size_t i = 0; i < frames; i++) {
		counts[i] = 1 + draw(PLACES_MAX);
		for (size_t n = 0; n < counts[i]; n++)
			added[i][n] = (struct symbol_frame){ .function = draw(8) ? texts[draw(TEXTS)] : NULL,
				.file = draw(3) ? texts[draw(TEXTS)] : NULL, .line = draw(3) ? draw(100000) : 0, .inlined = draw(2),
				.exact_function = draw(2) };
		assert_true(names_add(writer, i * 16 + 5, added[i], counts[i], &error));
	}
}

/* At most 4095 bytes of a text are kept. */
static void compare_text(const char *got, const char *wanted)
{
	if (!wanted) {
		assert_null(got);
		return;
	}
	assert_non_null(got);
	assert_int_equal(strlen(got), strnlen(wanted, 4095));
	assert_memory_equal(got, wanted, strlen(got));
}

static void what_was_added_comes_out(void **unused)
{
	for (int round = 0; round < 50; round++) {
		struct names_writer writer = { 0 };
		struct names names;
		struct error error;
		void *payload;
		size_t size;
		const size_t frames = draw(FRAMES);

		draw_texts();
		draw_frames(&writer, frames);
		/* Where nothing was added there is no text either, and such a record is not written. */
		if (frames == 0) {
			assert_int_equal(writer.frame_count, 0);
			continue;
		}
		assert_true(names_take(&writer, 7, &payload, &size, &error));
		assert_int_equal(writer.frame_count, 0);
		assert_null(names_check(payload, size, &names));
		assert_int_equal(names.head.frame_count, frames);
		assert_int_equal(names.head.generation, 7);
		const struct capture_place *place = names.places;
		for (size_t i = 0; i < frames; i++) {
			assert_int_equal(names.frames[i].frame, i * 16 + 5);
			assert_int_equal(names.frames[i].place_count, counts[i]);
			for (size_t n = 0; n < counts[i]; n++) {
				const struct symbol_frame got = names_frame(place++, names.text);

				compare_text(got.function, added[i][n].function);
				compare_text(got.file, added[i][n].file);
				assert_int_equal(got.line, added[i][n].line);
				assert_int_equal(got.inlined, added[i][n].inlined);
				assert_int_equal(got.exact_function, added[i][n].exact_function);
			}
		}
		/* Whatever is missing at its end is missed; more may follow. */
		assert_non_null(names_check(payload, size - 1 - draw((uint32_t)size - 1), &names));
		free(payload);
	}
}

/* Reads all that an accepted record leads to; sanitizers see what lies outside. */
static size_t read_all(const struct names *names)
{
	const struct capture_place *place = names->places;
	size_t sum = 0;

	for (uint32_t i = 0; i < names->head.frame_count; i++) {
		for (uint32_t n = 0; n < names->frames[i].place_count; n++) {
			const struct symbol_frame got = names_frame(place++, names->text);

			sum += got.function ? strlen(got.function) : 0;
			sum += got.file ? strlen(got.file) : 0;
			assert_true(!got.function || strlen(got.function) <= 4095);
		}
	}
	return sum;
}

static void changed_bytes_lead_nowhere(void **unused)
{
	size_t accepted = 0, refused = 0, texts_read = 0;

	for (int round = 0; round < 3000; round++) {
		struct names_writer writer = { 0 };
		struct names names;
		struct error error;
		void *payload;
		size_t size;

		draw_texts();
		draw_frames(&writer, 1 + draw(6));
		assert_true(names_take(&writer, 1, &payload, &size, &error));
		for (uint32_t i = draw(4); i < 4; i++) {
			uint32_t place = draw((uint32_t)size) % (draw(2) ? (uint32_t)size : 64);
			((uint8_t *)payload)[place] = (uint8_t)draw(256);
		}
		uint8_t *exact = malloc(size);      /* its end is the end of the block */
		memcpy(exact, payload, size);
		if (names_check(exact, size, &names) == NULL) {
			accepted++;
			texts_read += read_all(&names);
		} else {
			refused++;
		}
		free(exact);
		free(payload);
	}
	assert_true(accepted > 100 && refused > 100 && texts_read > 100);
}

static void what_cannot_be_is_refused(void **unused)
{
	struct {
		struct capture_symbols head;
		struct capture_named_frame frame;
		struct capture_place place;
		char text[8];
	} record = { .head = { .frame_count = 1, .place_count = 1, .text_size = 8 },
		.frame = { .frame = 0x1000, .place_count = 1 },
		.place = { .function = 1 }, .text = "\0main" }, changed;
	struct names names;

	assert_null(names_check(&record, sizeof(record), &names));
	assert_non_null(names_check(&record, sizeof(record) - 1, &names));
	assert_non_null(names_check(&record, 3, &names));
#define REFUSED(field, value) do { \
		changed = record; \
		changed.field = (value); \
		assert_non_null(names_check(&changed, sizeof(changed), &names)); \
	} while (0)
	REFUSED(head.frame_count, UINT32_MAX);
	REFUSED(head.place_count, UINT32_MAX);
	REFUSED(head.text_size, UINT32_MAX);
	REFUSED(head.text_size, 0);
	REFUSED(frame.frame, CAPTURE_PYTHON_FRAME(1, 1));
	REFUSED(frame.place_count, 0);
	REFUSED(frame.place_count, 2);
	REFUSED(frame.place_count, 65);
	REFUSED(place.function, 8);
	REFUSED(place.file, UINT32_MAX);
	REFUSED(text[0], 'x');
	REFUSED(text[7], 'x');
#undef REFUSED
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_added_comes_out),
		cmocka_unit_test(changed_bytes_lead_nowhere),
		cmocka_unit_test(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
