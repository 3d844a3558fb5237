/* SPDX-License-Identifier: MIT */
/* reader/text.c: what is shown of untrusted bytes, numbers, columns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reader/text.h"

static char written[8192];

/* Writes through text_write into `written`; returns the columns. */
static size_t write_text(const char *bytes, size_t columns_max, bool utf8)
{
	FILE *file = fmemopen(written, sizeof written, "w");
	struct text text = { .file = file, .utf8 = utf8 };
	size_t columns = text_write(&text, bytes, columns_max);

	fclose(file);
	return columns;
}

static void plain_text_is_written_as_it_is(void **state)
{
	assert_int_equal(write_text("parse (json/decoder.py:353)", 0, true), 27);
	assert_string_equal(written, "parse (json/decoder.py:353)");
}

static void control_characters_are_shown_in_hexadecimal(void **state)
{
	write_text("a\x1b[31mb\r\n\t\x7f", 0, true);
	assert_string_equal(written, "a\\x1b[31mb\\x0d\\x0a\\x09\\x7f");
}

static void c1_controls_bidi_and_invisible_characters_are_shown(void **state)
{
	write_text("\xc2\x9b" "31m\u202egnp\u200b\ufeff\u2066\U000e0041\ufffe", 0, true);
	assert_string_equal(written, "\\u{9b}31m\\u{202e}gnp\\u{200b}\\u{feff}\\u{2066}\\u{e0041}\\u{fffe}");
}

static void bytes_that_are_not_utf8_are_shown_in_hexadecimal(void **state)
{
	/* Lone continuation, overlong slash, surrogate, beyond the last character, cut at the end. */
	write_text("\x80|\xc0\xaf|\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x82", 0, true);
	assert_string_equal(written, "\\x80|\\xc0\\xaf|\\xed\\xa0\\x80|\\xf4\\x90\\x80\\x80|\\xe2\\x82");
}

static void without_utf8_other_characters_are_escaped(void **state)
{
	write_text("caf\u00e9", 0, false);
	assert_string_equal(written, "caf\\xc3\\xa9");
}

static void what_does_not_fit_ends_in_an_ellipsis(void **state)
{
	assert_int_equal(write_text("abcdef", 6, true), 6);
	assert_string_equal(written, "abcdef");
	assert_int_equal(write_text("abcdefg", 6, true), 6);
	assert_string_equal(written, "abcde\u2026");
	/* An escape is never cut in two, a wide character neither. */
	assert_int_equal(write_text("ab\x1b" "cd", 4, true), 3);
	assert_string_equal(written, "ab\u2026");
	assert_int_equal(write_text("\u4e2d\u6587\u5b57", 4, true), 3);
	assert_string_equal(written, "\u4e2d\u2026");
	assert_int_equal(write_text("abc", 2, false), 2);
	assert_string_equal(written, "a~");
}

static void combining_characters_take_no_column(void **state)
{
	assert_int_equal(write_text("e\u0301e", 0, true), 2);
}

static void escaping_never_overruns_its_buffer(void **state)
{
	static const char bytes[] = "\x1b\u202e\xff\x1b" "abc\u00e9";

	for (size_t size = 5; size < 64; size++) {
		char out[80];

		memset(out, '!', sizeof out);
		text_escape(out, size, bytes);
		assert_true(memchr(out, 0, size) != NULL);
		assert_int_equal(out[size], '!');
	}
	char out[64];

	assert_string_equal(text_escape(out, sizeof out, bytes), "\\x1b\\u{202e}\\xff\\x1babc\u00e9");
	assert_string_equal(text_escape(out, 8, "abcdefgh"), "abcd...");
	assert_string_equal(text_escape(out, 9, "abcdefgh"), "abcdefgh");
}

/* Every byte sequence of up to three bytes decodes as the slow rule says. */
static void decoding_agrees_with_the_definition_of_utf8(void **state)
{
	for (uint32_t character = 0; character <= 0x10ffff; character += character < 0x3000 ? 1 : 251) {
		char bytes[4];
		size_t size;
		uint32_t got = 0;

		if (character < 0x80)
			size = 1, bytes[0] = (char)character;
		else if (character < 0x800)
			size = 2, bytes[0] = (char)(0xc0 | character >> 6);
		else if (character < 0x10000)
			size = 3, bytes[0] = (char)(0xe0 | character >> 12);
		else
			size = 4, bytes[0] = (char)(0xf0 | character >> 18);
		for (size_t i = 1; i < size; i++)
			bytes[i] = (char)(0x80 | (character >> 6 * (size - 1 - i) & 0x3f));
		bool surrogate = character >= 0xd800 && character <= 0xdfff;

		assert_int_equal(text_decode(bytes, size, &got), surrogate ? 0 : size);
		if (!surrogate)
			assert_int_equal(got, character);
		if (size > 1)
			assert_int_equal(text_decode(bytes, size - 1, &got), 0);
	}
}

static void bytes_are_shown_in_binary_units(void **state)
{
	static const struct { uint64_t bytes; const char *text; } cases[] = {
		{ 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" }, { 1536, "1.5 KiB" },
		{ 1048524, "1023.9 KiB" }, { 1048575, "1.0 MiB" }, { 1048576, "1.0 MiB" }, { 5368709120, "5.0 GiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(text_bytes(cases[i].bytes).text, cases[i].text);
}

static void counts_are_grouped_by_thousands(void **state)
{
	assert_string_equal(text_count(0).text, "0");
	assert_string_equal(text_count(999).text, "999");
	assert_string_equal(text_count(1000).text, "1,000");
	assert_string_equal(text_count(UINT64_MAX).text, "18,446,744,073,709,551,615");
}

static void times_are_shown_with_a_fitting_unit(void **state)
{
	assert_string_equal(text_time(0).text, "0.000 ms");
	assert_string_equal(text_time(1500000).text, "1.5 ms");
	assert_string_equal(text_time(1234567890).text, "1.235 s");
	assert_string_equal(text_time(123000000000).text, "2 m 03 s");
	assert_string_equal(text_time(7384000000000).text, "2 h 03 m");
	assert_string_equal(text_date(1700000000000000000).text, "2023-11-14T22:13:20Z");
	assert_string_equal(text_percent(1, 3).text, "33.3 %");
	assert_string_equal(text_percent(1, 0).text, "0.0 %");
}

static void a_table_lines_up_and_cuts_its_last_column(void **state)
{
	static const struct text_column columns[] = { { "bytes", true }, { "name", false }, { "", false } };
	struct text_table table = TEXT_TABLE(columns);
	FILE *file = fmemopen(written, sizeof written, "w");
	struct text text = { .file = file, .utf8 = true, .width = 24 };

	text_table_add(&table, TEXT_PLAIN, "1");
	text_table_add(&table, TEXT_PLAIN, "\u00e9t\u00e9");
	text_table_add(&table, TEXT_PLAIN, "x");
	text_table_add(&table, TEXT_PLAIN, "1,000,000");
	text_table_add(&table, TEXT_PLAIN, "a");
	text_table_add(&table, TEXT_PLAIN, "a long last column");
	text_table_print(&table, &text, "");
	text_table_finish(&table);
	fclose(file);
	assert_string_equal(written,
		"    bytes  name\n"
		"        1  \u00e9t\u00e9   x\n"
		"1,000,000  a     a long la\u2026\n");
}

static void a_bar_shows_anything_that_is_there(void **state)
{
	FILE *file = fmemopen(written, sizeof written, "w");
	struct text text = { .file = file, .utf8 = true };

	text_bar(&text, 0, 4);
	putc('|', file);
	text_bar(&text, 0.0001, 4);
	putc('|', file);
	text_bar(&text, 0.625, 4);
	putc('|', file);
	text_bar(&text, 7, 2);
	fclose(file);
	assert_string_equal(written, "|\u258f|\u2588\u2588\u258c|\u2588\u2588");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_text_is_written_as_it_is),
		cmocka_unit_test(control_characters_are_shown_in_hexadecimal),
		cmocka_unit_test(c1_controls_bidi_and_invisible_characters_are_shown),
		cmocka_unit_test(bytes_that_are_not_utf8_are_shown_in_hexadecimal),
		cmocka_unit_test(without_utf8_other_characters_are_escaped),
		cmocka_unit_test(what_does_not_fit_ends_in_an_ellipsis),
		cmocka_unit_test(combining_characters_take_no_column),
		cmocka_unit_test(escaping_never_overruns_its_buffer),
		cmocka_unit_test(decoding_agrees_with_the_definition_of_utf8),
		cmocka_unit_test(bytes_are_shown_in_binary_units),
		cmocka_unit_test(counts_are_grouped_by_thousands),
		cmocka_unit_test(times_are_shown_with_a_fitting_unit),
		cmocka_unit_test(a_table_lines_up_and_cuts_its_last_column),
		cmocka_unit_test(a_bar_shows_anything_that_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
