/* SPDX-License-Identifier: MIT */
/* reader/recording_options.c against preload/config.c: what the options accept is what the library does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail   /* ours is a function */

#include "preload/config.h"
#include "reader/recording_options.h"

static const struct option_group started[] = {
	{ .title = "Output", .options = recording_output_options },
	{ .title = "What", .options = recording_what_options },
	{ .title = "Started", .options = recording_started_options },
	{ 0 }
}, running[] = {
	{ .title = "Output", .options = recording_output_options },
	{ .title = "What", .options = recording_what_options },
	{ .title = "Running", .options = recording_running_options },
	{ 0 }
};

enum { VARIABLES_MAX = 32, VARIABLE_SIZE = 512 };
static char variables[VARIABLES_MAX][VARIABLE_SIZE];
static char *environment[VARIABLES_MAX + 1];
static size_t count;
static size_t refuse_at;

static bool set(void *to, const char *variable, const char *value, struct error *error)
{
	assert_ptr_equal(to, variables);
	assert_true(count < VARIABLES_MAX);
	if (count == refuse_at)
		return fail(error, STATUS_USAGE, "full");
	snprintf(variables[count], VARIABLE_SIZE, "%s=%s", variable, value);
	environment[count] = variables[count];
	environment[++count] = NULL;
	return true;
}

/* From options to the library's own idea of them. */
static bool pass(const struct option_group *groups, char **words, int word_count, struct error *error)
{
	struct recording recording = RECORDING_NOTHING_ASKED;
	struct arguments arguments = { .argv = words, .count = word_count };

	count = 0;
	environment[0] = NULL;
	*error = (struct error){ 0 };
	if (!options_parse("run", groups, &recording, &arguments, error) ||
		!recording_hand_over(&recording, set, variables, error))
		return false;
	config_reset();
	config_read(environment);
	return true;
}

static bool pass_line(const struct option_group *groups, const char *line, struct error *error)
{
	static char copy[512];
	char *words[32];
	int word_count = 0;

	snprintf(copy, sizeof copy, "%s", line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		words[word_count++] = word;
	return pass(groups, words, word_count, error);
}

static int begin(void **state)
{
	(void)state;
	refuse_at = SIZE_MAX;
	return 0;
}

static void each_variable_of_the_library_has_one_option(void **state)
{
	static const char *const names[] = {
#define X(name, id, fallback, explanation) name,
		CONFIG_VARIABLES(X)
#undef X
	};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		unsigned found = 0;

		for (const struct option_group *group = started; group->title; group++)
			for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++) {
				const char *variable = recording_variable(spec->name);

				found += variable && strcmp(variable, names[i]) == 0;
			}
		if (found != 1)
			print_error("%s has %u options\n", names[i], found);
		assert_int_equal(found, 1);
	}
	assert_null(recording_variable("quiet"));
	assert_null(recording_variable("nothing"));
}

static void nothing_asked_sets_nothing(void **state)
{
	struct error error;

	(void)state;
	assert_true(pass_line(started, "-o x.bin -q", &error));
	assert_int_equal(count, 0);
}

static void all_that_is_asked_arrives(void **state)
{
	struct error error;

	(void)state;
	assert_true(pass_line(started, "-f --native full --no-python-allocators --depth 77 --sample 1.5MiB,seed=9 "
		"--max-size 2G --sample-ms 250 --follow exec:py* --program python? --backend jemalloc --start off", &error));
	assert_int_equal(count, 11);
	assert_true(config.force);
	assert_int_equal(config.native, CONFIG_NATIVE_FULL);
	assert_false(config_python_allocators);
	assert_int_equal(config.depth, 77);
	assert_int_equal(config.sample_bytes, 3 << 19);
	assert_int_equal(config.sample_seed, 9);
	assert_true(config.max_size == (uint64_t)2 << 30);
	assert_int_equal(config.sample_ms, 250);
	assert_true(config.follow_fork && config.follow_exec);
	assert_string_equal(config.follow_glob, "py*");
	assert_string_equal(config.program_glob, "python?");
	assert_true(config.jemalloc);
	assert_false(config.start);
}

/* The library keeps its default, silently, for what it does not understand: none of that may be let through. */
static void sizes_that_are_accepted_are_understood(void **state)
{
	static const char *const units[] = { "", "K", "KB", "KiB", "m", "MiB", "G", "gib", "T", "TiB", "x", "Ki", "-" };
	struct error error;
	unsigned accepted = 0;

	(void)state;
	srandom(4711);
	for (unsigned i = 0; i < 20000; i++) {
		static const char *const seeds[] = { "", "", ",seed=0", ",seed=123456789012345678", ",seed=", ",sead=1", ",seed=1x" };
		char line[128], number[48];
		const char *unit = units[(unsigned)random() % (sizeof units / sizeof units[0])];
		const char *seed = seeds[(unsigned)random() % (sizeof seeds / sizeof seeds[0])];
		const bool sample = random() & 1;
		uint64_t bytes;

		snprintf(number, sizeof number, "%lu%s%s", (unsigned long)random() >> (unsigned)random() % 31,
			random() % 4 ? "" : ".25", unit);
		snprintf(line, sizeof line, sample ? "--sample %s%s" : "--max-size %s", number, seed);
		if (!pass_line(started, line, &error)) {
			assert_int_equal(error.status, STATUS_USAGE);
			continue;
		}
		accepted++;
		assert_true(options_parse_size(number, &bytes));
		if ((sample ? config.sample_bytes : config.max_size) != bytes)
			print_error("not understood: %s\n", line);
		assert_true((sample ? config.sample_bytes : config.max_size) == bytes);
	}
	assert_true(accepted > 2000);
}

static void a_running_process_can_be_asked_for_less(void **state)
{
	struct error error;

	(void)state;
	assert_true(pass_line(running, "--follow none --sample 64KiB --max-size 64M --depth 16 --sample-ms 0", &error));
	assert_int_equal(count, 5);
	assert_false(config.follow_fork);
	assert_false(pass_line(running, "--follow exec", &error));
	assert_non_null(strstr(error.text, "executes cannot be followed"));
	assert_false(pass_line(running, "--backend jemalloc", &error));
	assert_false(pass_line(running, "--program x", &error));
	assert_false(pass_line(running, "--start off", &error));
}

static void a_setting_that_cannot_be_handed_over_ends_it(void **state)
{
	struct error error;

	(void)state;
	refuse_at = 1;
	assert_false(pass_line(running, "--depth 16 --sample-ms 0 --follow none", &error));
	assert_int_equal(count, 1);
	assert_string_equal(error.text, "full");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_variable_of_the_library_has_one_option, begin),
		cmocka_unit_test_setup(nothing_asked_sets_nothing, begin),
		cmocka_unit_test_setup(all_that_is_asked_arrives, begin),
		cmocka_unit_test_setup(sizes_that_are_accepted_are_understood, begin),
		cmocka_unit_test_setup(a_running_process_can_be_asked_for_less, begin),
		cmocka_unit_test_setup(a_setting_that_cannot_be_handed_over_ends_it, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
