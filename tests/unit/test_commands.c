/* SPDX-License-Identifier: MIT */
/* The commands' entries: sound tables, complete help, and the same option means the same in every verb. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#undef fail   /* ours is a function */

#include "reader/command.h"

static void every_table_is_sound(void **state)
{
	for (const struct command *const *command = commands; *command; command++) {
		const char *problem = options_problem((*command)->groups);

		if (problem)
			print_error("%s: %s\n", (*command)->name, problem);
		assert_null(problem);
	}
}

static void every_command_explains_itself(void **state)
{
	for (const struct command *const *command = commands; *command; command++) {
		const struct command *entry = *command;
		char lead[64];

		assert_ptr_equal(command_find(entry->name), entry);
		assert_non_null(entry->run);
		assert_true(strlen(entry->description) > 40);
		assert_true(entry->summary[0] >= 'a' && entry->summary[0] <= 'z');
		assert_int_not_equal(entry->summary[strlen(entry->summary) - 1], '.');
		assert_non_null(entry->examples->line);
		snprintf(lead, sizeof lead, "sctmem %s", entry->name);
		for (const struct command_example *example = entry->examples; example->line; example++) {
			assert_non_null(example->meaning);
			assert_non_null(strstr(example->line, lead));
		}
	}
	assert_null(command_find("nonsense"));
}

/* The options that the grammar promises to mean the same everywhere; others are a verb's own. */
static const char *const shared[] = {
	"json", "output", "force", "thread", "time", "domain", "function", "file", "module", "at", "metric", "no-symbols",
	"debuginfod", "temporary-limit", "from", "to",
};

static const struct option_spec *find(const struct command *command, const char *name)
{
	for (const struct option_group *group = command->groups; group->title; group++)
		for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++)
			if (strcmp(spec->name, name) == 0)
				return spec;
	return NULL;
}

static void the_same_option_is_spelt_the_same_everywhere(void **state)
{
	for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
		const struct option_spec *first = NULL;

		for (const struct command *const *command = commands; *command; command++) {
			const struct option_spec *spec = find(*command, shared[i]);

			if (spec && first) {
				assert_int_equal(spec->kind, first->kind);
				assert_int_equal(spec->letter, first->letter);
				assert_true(spec->argument == first->argument || strcmp(spec->argument, first->argument) == 0);
			}
			first = first ? first : spec;
		}
		assert_non_null(first);
	}
}

static void verbs_that_read_captures_take_the_whole_selection(void **state)
{
	static const char *const readers[] = {
		"stats", "summary", "tree", "table", "leaks", "report", "flamegraph", "check", "windows",
		"insights",
	};

	for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
		for (size_t j = 0; j < sizeof shared / sizeof shared[0]; j++) {
			bool special = (strcmp(shared[j], "metric") == 0 || strcmp(shared[j], "json") == 0);

			if (!special)
				assert_non_null(find(command_find(readers[i]), shared[j]));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_is_sound),
		cmocka_unit_test(every_command_explains_itself),
		cmocka_unit_test(the_same_option_is_spelt_the_same_everywhere),
		cmocka_unit_test(verbs_that_read_captures_take_the_whole_selection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
