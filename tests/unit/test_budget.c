/* SPDX-License-Identifier: MIT */
/* reader/budget.c and reader/suppressions.c: limits, growth, places; patterns against a slow, obvious matcher. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail   /* ours is a function */

#include "reader/budget.h"

static void percentages_are_exact(void **state)
{
	static const struct { const char *text; uint64_t growth; } good[] = {
		{ "0", 0 }, { "0%", 0 }, { "5%", 50000 }, { "5", 50000 }, { "2.5%", 25000 }, { "0.0001%", 1 },
		{ "0.00009%", 0 }, { "100%", BUDGET_WHOLE }, { "1000%", 10 * (uint64_t)BUDGET_WHOLE },
	};
	static const char *const bad[] = { "", "%", "-1%", "5%%", "five", ".5%", "1e3%", " 5%", "99999999999999999999%" };
	uint64_t growth;

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_true(budget_parse_growth(good[i].text, &growth));
		assert_int_equal(growth, good[i].growth);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(budget_parse_growth(bad[i], &growth));
}

static void a_limit_is_kept_at_its_last_byte(void **state)
{
	struct budget_limits limits = { .given = { [BUDGET_PEAK] = true, [BUDGET_LEAK] = true },
		.limits = { [BUDGET_PEAK] = 1000 } };
	struct measure now = { .figures = { [BUDGET_PEAK] = 1000, [BUDGET_TOTAL] = 5, [BUDGET_LEAK] = 1 } };
	struct budget_row rows[BUDGET_ROWS_MAX];

	assert_int_equal(budget_judge(&limits, &now, NULL, rows), 2);
	assert_int_equal(rows[0].figure, BUDGET_PEAK);
	assert_false(rows[0].exceeded);
	assert_int_equal(rows[1].figure, BUDGET_LEAK);
	assert_true(rows[1].exceeded);
	now.figures[BUDGET_PEAK]++;
	budget_judge(&limits, &now, NULL, rows);
	assert_true(rows[0].exceeded);
	assert_int_equal(rows[0].measured, 1001);
}

static void growth_neither_rounds_up_nor_overflows(void **state)
{
	static const struct { uint64_t baseline, growth, limit; } cases[] = {
		{ 1000, 50000, 1050 }, { 999, 50000, 1048 }, { 0, 500000, 0 }, { 7, 0, 7 },
		{ UINT64_MAX - 1, 1, UINT64_MAX }, { UINT64_MAX / 2, BUDGET_WHOLE, UINT64_MAX - 1 },
		{ (uint64_t)1 << 60, 1, ((uint64_t)1 << 60) + ((uint64_t)1 << 60) / 1000000 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct budget_limits limits = { .growth_given = true, .growth = cases[i].growth,
			.growth_of = 1u << BUDGET_TOTAL };
		struct measure now = { .figures = { [BUDGET_TOTAL] = cases[i].limit } };
		struct measure baseline = { .figures = { [BUDGET_TOTAL] = cases[i].baseline } };
		struct budget_row rows[BUDGET_ROWS_MAX];

		assert_int_equal(budget_judge(&limits, &now, &baseline, rows), 1);
		assert_true(rows[0].growth);
		assert_int_equal(rows[0].limit, cases[i].limit);
		assert_int_equal(rows[0].baseline, cases[i].baseline);
		assert_false(rows[0].exceeded);
	}
}

/* A measure of so many frames, each with its weight at the peak. */
static void fake_measure(struct measure *measure, struct calltree *tree, struct profile *profile, uint64_t *weights)
{
	*tree = (struct calltree){ .profile = profile };
	*measure = (struct measure){ .tree = tree, .weights = { [BUDGET_PEAK] = weights } };
}

static void places_of_growth_are_what_was_added(void **state)
{
	struct frame frames[] = {
		{ "<all>", "", "", 0, 0, 0 }, { "load", "app.py", "", 10, 0, 0 }, { "load", "app.py", "", 12, 0, 0 },
		{ "parse", "app.py", "", 20, 0, 0 }, { "load", "other.py", "", 10, 0, 0 },
	};
	struct frame old_frames[] = {
		{ "<all>", "", "", 0, 0, 0 }, { "parse", "app.py", "", 22, 0, 0 }, { "load", "app.py", "", 9, 0, 0 },
		{ "gone", "app.py", "", 1, 0, 0 },
	};
	uint64_t weights[] = { 0, 100, 50, 300, 7 }, old_weights[] = { 0, 300, 60, 1000 };
	struct profile profile = { .frames = frames, .frame_count = 5 };
	struct profile old = { .frames = old_frames, .frame_count = 4 };
	struct calltree tree, old_tree;
	struct measure now, baseline;
	size_t count;

	fake_measure(&now, &tree, &profile, weights);
	fake_measure(&baseline, &old_tree, &old, old_weights);

	struct budget_row row = { .figure = BUDGET_PEAK, .growth = true };
	struct budget_place *places = budget_places(&row, &now, &baseline, 10, &count);

	assert_int_equal(count, 2);
	assert_string_equal(places[0].frame->function, "load");
	assert_string_equal(places[0].frame->file, "app.py");
	assert_int_equal(places[0].weight, 90);
	assert_string_equal(places[1].frame->file, "other.py");
	assert_int_equal(places[1].weight, 7);
	free(places);
	row.growth = false;
	places = budget_places(&row, &now, NULL, 2, &count);
	assert_int_equal(count, 2);
	assert_int_equal(places[0].weight, 300);
	assert_int_equal(places[1].weight, 100);
	free(places);
}

/* Slow and obvious: tries every split at every `*`. */
static bool slow_match(const char *pattern, const char *text)
{
	if (pattern[0] == 0)
		return true;
	if (pattern[0] == '$' && pattern[1] == 0)
		return *text == 0;
	if (pattern[0] == '*')
		return slow_match(pattern + 1, text) || (*text && slow_match(pattern, text + 1));
	return *text == pattern[0] && slow_match(pattern + 1, text + 1);
}

static bool slow_find(const char *pattern, const char *text)
{
	if (pattern[0] == '^')
		return slow_match(pattern + 1, text);
	for (;; text++) {
		if (slow_match(pattern, text))
			return true;
		if (!*text)
			return false;
	}
}

static void patterns_match_as_an_obvious_matcher_says(void **state)
{
	static const char letters[] = "aab*^$";
	unsigned matched = 0;

	srandom(1);
	for (unsigned i = 0; i < 200000; i++) {
		char pattern[8] = "", text[12] = "";
		size_t size = (size_t)random() % 7, text_size = (size_t)random() % 11;

		for (size_t at = 0; at < size; at++)
			pattern[at] = letters[random() % 6];
		/* ^ and $ mean themselves inside; only the ends are anchors. */
		for (size_t at = 0; at < text_size; at++)
			text[at] = "ab^"[random() % 3];
		assert_int_equal(suppressions_pattern_matches(pattern, text), slow_find(pattern, text));
		matched += slow_find(pattern, text);
	}
	assert_in_range(matched, 20000, 180000);
}

static void a_file_of_rules_is_read_and_slips_are_named(void **state)
{
	char path[] = "/tmp/sctmem_suppressions_XXXXXX";
	int file = mkstemp(path);
	static const char good[] = "# comment\n\nleak:one\r\n \tleak:two words \nleak:three";
	struct suppressions suppressions = { 0 };
	struct error error = { 0 };

	assert_true(file >= 0);
	assert_int_equal(write(file, good, sizeof good - 1), sizeof good - 1);
	assert_true(suppressions_read(&suppressions, path, &error));
	assert_int_equal(suppressions.count, 3);
	assert_string_equal(suppressions.rules[0].pattern, "one");
	assert_string_equal(suppressions.rules[1].pattern, "two words");
	assert_string_equal(suppressions.rules[2].pattern, "three");
	suppressions_finish(&suppressions);
	assert_int_equal(write(file, "\nrace:x\n", 8), 8);
	assert_false(suppressions_read(&suppressions, path, &error));
	assert_int_equal(error.status, STATUS_USAGE);
	assert_non_null(strstr(error.text, "line 6: not leak:PATTERN"));
	suppressions_finish(&suppressions);
	close(file);
	unlink(path);
	assert_false(suppressions_read(&suppressions, path, &error));
	assert_int_equal(error.status, STATUS_NO_INPUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percentages_are_exact),
		cmocka_unit_test(a_limit_is_kept_at_its_last_byte),
		cmocka_unit_test(growth_neither_rounds_up_nor_overflows),
		cmocka_unit_test(places_of_growth_are_what_was_added),
		cmocka_unit_test(patterns_match_as_an_obvious_matcher_says),
		cmocka_unit_test(a_file_of_rules_is_read_and_slips_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
