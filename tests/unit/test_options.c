/* SPDX-License-Identifier: MIT */
/* reader/options.c: the grammar, the messages, times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#undef fail   /* ours is a function */

#include "reader/options.h"

static const char *const colours[] = { "red", "green", NULL };

struct settings {
	int before;
	struct inner {
		bool force, symbols;
		int verbose, colour;
		const char *output;
		uint64_t number, time_ns;
	} inner;
};

static bool parse_time(const char *value, void *field, struct error *error)
{
	return options_parse_time(value, field) || fail(error, STATUS_USAGE, "not a time");
}

static const struct option_spec first_options[] = {
	OPTION_FLAG('f', "force", struct inner, force, "replace"),
	OPTION_FLAG_OFF(0, "no-symbols", struct inner, symbols, "none"),
	OPTION_TIMES('v', "verbose", struct inner, verbose, "more"),
	OPTION_TEXT('o', "output", "FILE", struct inner, output, "where"),
	OPTION_LAST
};
static const struct option_spec second_options[] = {
	OPTION_NUMBER('n', "number", "N", struct inner, number, 1, 100, "how many"),
	OPTION_CHOICE('c', "colour", "NAME", struct inner, colour, colours, "which"),
	OPTION_CUSTOM(0, "at", "TIME", struct inner, time_ns, uint64_t, parse_time, NULL, "when"),
	OPTION_LAST
};
static const struct option_group groups[] = {
	{ .title = "First", .options = first_options, .offset = offsetof(struct settings, inner) },
	{ .title = "Second", .options = second_options, .offset = offsetof(struct settings, inner) },
	{ 0 }
};

enum { ARGUMENTS_MAX = 16 };
static char *list[ARGUMENTS_MAX];
static struct settings settings;
static struct arguments arguments;
static struct error failure;

/* Parses the words of a line separated by single spaces. */
static bool parse_line(const char *line, bool stop_at_operand)
{
	static char copy[256];
	int count = 0;

	strcpy(copy, line);
	for (char *word = copy; word; count++) {
		list[count] = word;
		word = strchr(word, ' ');
		if (word)
			*word++ = 0;
	}
	settings = (struct settings){ .inner = { .symbols = true, .colour = -1 } };
	arguments = (struct arguments){ .argv = list, .count = *line ? count : 0, .stop_at_operand = stop_at_operand };
	failure = (struct error){ 0 };
	return options_parse("stats", groups, &settings, &arguments, &failure);
}

static void assert_refused(const char *line, const char *text)
{
	assert_false(parse_line(line, false));
	assert_int_equal(failure.status, STATUS_USAGE);
	assert_string_equal(failure.text, text);
}

static void options_stand_anywhere_among_operands(void **state)
{
	assert_true(parse_line("a.bin -f --output out b.bin -n5 --colour=green -vv", false));
	assert_true(settings.inner.force);
	assert_string_equal(settings.inner.output, "out");
	assert_int_equal(settings.inner.number, 5);
	assert_int_equal(settings.inner.colour, 1);
	assert_int_equal(settings.inner.verbose, 2);
	assert_int_equal(arguments.count, 2);
	assert_string_equal(arguments.argv[0], "a.bin");
	assert_string_equal(arguments.argv[1], "b.bin");
}

static void letters_may_stand_together(void **state)
{
	assert_true(parse_line("-fvn 7", false));
	assert_true(settings.inner.force);
	assert_int_equal(settings.inner.verbose, 1);
	assert_int_equal(settings.inner.number, 7);
	assert_true(parse_line("-fofile", false));
	assert_string_equal(settings.inner.output, "file");
}

static void a_double_dash_ends_the_options(void **state)
{
	assert_true(parse_line("-f -- -n --force", false));
	assert_int_equal(arguments.count, 2);
	assert_string_equal(arguments.argv[0], "-n");
	assert_true(parse_line("-", false));
	assert_int_equal(arguments.count, 1);
}

static void a_programs_own_options_are_left_alone(void **state)
{
	assert_true(parse_line("-f python3 -c pass --output x --help", true));
	assert_null(settings.inner.output);
	assert_false(arguments.help);
	assert_int_equal(arguments.count, 6);
	assert_true(parse_line("-f -- prog -- -x", true));
	assert_int_equal(arguments.count, 3);
	assert_string_equal(arguments.argv[1], "--");
}

static void help_wins(void **state)
{
	assert_true(parse_line("-f -h --nonsense", false));
	assert_true(arguments.help);
	assert_true(parse_line("--help", false));
	assert_true(arguments.help);
}

static void a_flag_may_turn_something_off(void **state)
{
	assert_true(parse_line("--no-symbols", false));
	assert_false(settings.inner.symbols);
}

static void slips_are_explained(void **state)
{
	assert_refused("--foce", "unknown option --foce; did you mean --force?");
	assert_refused("--outptu=x", "unknown option --outptu; did you mean --output?");
	assert_refused("--out x", "unknown option --out; did you mean --output?");
	assert_refused("--zzzzzzz", "unknown option --zzzzzzz; see: sctmem help stats");
	assert_refused("-x", "unknown option -x; see: sctmem help stats");
	assert_refused("--force=1", "--force takes no value");
	assert_refused("--output", "--output needs a value: --output FILE");
	assert_refused("-o", "-o needs a value: -o FILE");
	assert_refused("--output=", "--output: the FILE is empty");
	assert_refused("-n 0", "--number 0: not a number from 1 to 100");
	assert_refused("-n 101", "--number 101: not a number from 1 to 100");
	assert_refused("-n 5x", "--number 5x: not a number from 1 to 100");
	assert_refused("-n -5", "--number -5: not a number from 1 to 100");
	assert_refused("-n 99999999999999999999999", "--number 99999999999999999999999: not a number from 1 to 100");
	assert_refused("-c blue", "--colour blue: not one of red, green");
	assert_refused("--at x", "--at x: not a time");
}

static void times_have_units(void **state)
{
	static const struct { const char *text; uint64_t ns; } good[] = {
		{ "0", 0 }, { "90", 90000000000 }, { "1.5", 1500000000 }, { ".25s", 250000000 }, { "250ms", 250000000 },
		{ "1m30s", 90000000000 }, { "1m30", 90000000000 }, { "2h", 7200000000000 }, { "1h1ms", 3600001000000 },
		{ "3us", 3000 }, { "7ns", 7 },
	};
	static const char *const bad[] = { "", "x", "1x", "s", "-1", "1s1m", "1 s", "1..2", "1s1s", "1e3", "99999999999h" };
	uint64_t ns;

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_true(options_parse_time(good[i].text, &ns));
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(options_parse_time(bad[i], &ns));
}

static void tables_that_contradict_themselves_are_found(void **state)
{
	static const struct option_spec twice[] = {
		OPTION_FLAG('f', "fast", struct inner, force, "replace"),
		OPTION_LAST
	};
	static const struct option_spec stop[] = {
		OPTION_FLAG(0, "stop", struct inner, force, "a sentence."),
		OPTION_LAST
	};
	const struct option_group both[] = { groups[0], { .title = "Twice", .options = twice }, { 0 } };
	const struct option_group sentence[] = { { .title = "Sentence", .options = stop }, { 0 } };

	assert_null(options_problem(groups));
	assert_string_equal(options_problem(both), "--fast: letter used twice");
	assert_string_equal(options_problem(sentence), "--stop: help is one phrase without a full stop");
}

static void suggestions_need_a_likeness(void **state)
{
	static const char *const names[] = { "stats", "summary", "table", "tree" };

	assert_string_equal(options_suggest("stat", names, 4), "stats");
	assert_string_equal(options_suggest("satts", names, 4), "stats");
	assert_string_equal(options_suggest("summ", names, 4), "summary");
	assert_null(options_suggest("banana", names, 4));
	assert_null(options_suggest("a-word-that-is-much-longer-than-any-name-could-ever-be", names, 4));
}

static void sizes_are_powers_of_1024(void **state)
{
	static const struct { const char *text; uint64_t bytes; } good[] = {
		{ "0", 0 }, { "4096", 4096 }, { "4096B", 4096 }, { "64KB", 65536 }, { "64k", 65536 }, { "1.5 MiB", 3 << 19 },
		{ "24 MB", 24 << 20 }, { "0.5K", 512 }, { "2GiB", (uint64_t)2 << 30 }, { "15E", (uint64_t)15 << 60 },
		{ "18446744073709551615", UINT64_MAX }, { "0.1K", 102 }, { "1.7", 1 },
	};
	static const char *const bad[] = { "", "B", "-1", "1,5M", "1.M", "16E", "18446744073709551616", "5 M B", "5X", "1e6",
		" 5", "5MBs", "5%" };
	uint64_t bytes;

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_true(options_parse_size(good[i].text, &bytes));
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(options_parse_size(bad[i], &bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_anywhere_among_operands),
		cmocka_unit_test(letters_may_stand_together),
		cmocka_unit_test(a_double_dash_ends_the_options),
		cmocka_unit_test(a_programs_own_options_are_left_alone),
		cmocka_unit_test(help_wins),
		cmocka_unit_test(a_flag_may_turn_something_off),
		cmocka_unit_test(sizes_are_powers_of_1024),
		cmocka_unit_test(slips_are_explained),
		cmocka_unit_test(times_have_units),
		cmocka_unit_test(tables_that_contradict_themselves_are_found),
		cmocka_unit_test(suggestions_need_a_likeness),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
