/* SPDX-License-Identifier: MIT */
/* reader/json.c: what it writes is valid JSON, whatever the bytes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reader/json.h"

static char written[8192];

static struct json begin(bool lines)
{
	return json_begin(fmemopen(written, sizeof written, "w"), lines);
}

static void nested_values_are_indented(void **state)
{
	struct json json = begin(false);

	json_object(&json, NULL);
	json_number(&json, "a", UINT64_MAX);
	json_array(&json, "b");
	json_bool(&json, NULL, true);
	json_null(&json, NULL);
	json_array_end(&json);
	json_object(&json, "empty");
	json_object_end(&json);
	json_decimal(&json, "c", 1.25, 3);
	json_object_end(&json);
	fclose(json.file);
	assert_string_equal(written,
		"{\n"
		"  \"a\": 18446744073709551615,\n"
		"  \"b\": [\n"
		"    true,\n"
		"    null\n"
		"  ],\n"
		"  \"empty\": {},\n"
		"  \"c\": 1.250\n"
		"}\n");
}

static void lines_hold_one_value_each(void **state)
{
	struct json json = begin(true);

	for (int i = 0; i < 2; i++) {
		json_object(&json, NULL);
		json_text(&json, "kind", "malloc");
		json_number(&json, "size", 8);
		json_object_end(&json);
	}
	fclose(json.file);
	assert_string_equal(written,
		"{\"kind\": \"malloc\", \"size\": 8}\n"
		"{\"kind\": \"malloc\", \"size\": 8}\n");
}

static void quotes_and_controls_are_escaped(void **state)
{
	struct json json = begin(true);

	json_text(&json, NULL, "a\"\\\n\t\x1b\x7f\u202e\u00e9\U000e0041");
	fclose(json.file);
	assert_string_equal(written, "\"a\\\"\\\\\\n\\t\\u001b\\u007f\\u202e\u00e9\\udb40\\udc41\"\n");
}

static void bytes_that_are_not_utf8_become_the_replacement_character(void **state)
{
	struct json json = begin(true);

	json_bytes(&json, NULL, "a\xff\xc0\xaf\0b", 6);
	fclose(json.file);
	assert_string_equal(written, "\"a\\ufffd\\ufffd\\ufffd\\u0000b\"\n");
}

static void a_number_that_json_lacks_is_null(void **state)
{
	struct json json = begin(true);

	json_decimal(&json, NULL, NAN, 2);
	json_decimal(&json, NULL, INFINITY, 2);
	fclose(json.file);
	assert_string_equal(written, "null\nnull\n");
}

/* Another's rules for texts, as the page has them. */
static void write_shouting(FILE *file, const char *text)
{
	fprintf(file, "\"%s!\"", text);
}

static void a_reader_with_other_rules_gives_its_own_texts_and_largest_number(void **state)
{
	memset(written, 0, sizeof written);
	struct json json = json_begin_compact(fmemopen(written, sizeof written, "w"), write_shouting, 100);

	json_object(&json, NULL);
	json_array(&json, "a");
	json_number(&json, NULL, 100);
	json_number(&json, NULL, 101);
	json_number(&json, NULL, UINT64_MAX);
	json_text(&json, NULL, "t");
	json_array_end(&json);
	json_bool(&json, "b", true);
	json_object_end(&json);
	fclose(json.file);
	assert_string_equal(written, "{\n\"a!\":[100,100,100,\"t!\"],\n\"b!\":true}\n");
	assert_int_equal(json.clamped, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nested_values_are_indented),
		cmocka_unit_test(lines_hold_one_value_each),
		cmocka_unit_test(quotes_and_controls_are_escaped),
		cmocka_unit_test(bytes_that_are_not_utf8_become_the_replacement_character),
		cmocka_unit_test(a_number_that_json_lacks_is_null),
		cmocka_unit_test(a_reader_with_other_rules_gives_its_own_texts_and_largest_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
