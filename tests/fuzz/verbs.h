/* SPDX-License-Identifier: MIT */
/* Which verbs a fuzz target may run inside itself, and which options they have. */
#ifndef SCTMEM_TESTS_FUZZ_VERBS_H
#define SCTMEM_TESTS_FUZZ_VERBS_H

#include <stdbool.h>
#include <string.h>

#include "reader/command.h"

/*
 * Verbs that read captures, print and end.  Not those that start programs or act on processes (run, doctor, attach),
 * nor those that stay until somebody ends them (top): of these only the parsing is tried.
 */
static inline bool verbs_only_reads(const struct command *command)
{
	static const char *const reading[] = { "stats", "flamegraph", "leaks", "summary", "table", "tree", "export", "check",
		"windows", "dump", "help", "report", "diff", "insights", "compact", "symbolize" };

	for (size_t i = 0; i < sizeof(reading) / sizeof(reading[0]); i++)
		if (strcmp(command->name, reading[i]) == 0)
			return true;
	return false;
}

static inline bool verbs_has_option(const struct command *command, const char *name)
{
	for (const struct option_group *group = command->groups; group && group->title; group++)
		for (const struct option_spec *option = group->options; option->kind != OPTION_KIND_END; option++)
			if (strcmp(option->name, name) == 0)
				return true;
	return false;
}

#endif
