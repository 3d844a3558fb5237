/* SPDX-License-Identifier: MIT */
/*
 * sctmem help: about sctmem, about one verb, and, for the build, the same tables as manual pages and completions.
 */
#include <string.h>

#include "help.h"
#include "output.h"

enum { SHELL_BASH, SHELL_ZSH, SHELL_FISH };
static const char *const shells[] = { "bash", "zsh", "fish", NULL };

struct help {
	bool manual;
	int completion;
};

static const struct option_spec help_options[] = {
	OPTION_FLAG(0, "man", struct help, manual, "print the verb's manual page; without a verb, the list of verbs in roff"),
	OPTION_CHOICE(0, "completion", "SHELL", struct help, completion, shells,
		"print the completions for bash, zsh or fish"),
	OPTION_LAST
};

static const struct option_group help_groups[] = {
	{ .title = "Options", .options = help_options },
	{ 0 }
};

static void print_help(const struct help *settings, const struct command *about)
{
	struct text text = text_begin(stdout);

	if (settings->completion == SHELL_BASH)
		completion_print_bash(stdout);
	else if (settings->completion == SHELL_ZSH)
		completion_print_zsh(stdout);
	else if (settings->completion == SHELL_FISH)
		completion_print_fish(stdout);
	else if (settings->manual && about)
		manual_print_command(stdout, about);
	else if (settings->manual)
		manual_print_list(stdout);
	else if (about)
		help_print_command(&text, about);
	else
		help_print_overview(&text);
}

static bool help_run(struct invocation *invocation, struct error *error)
{
	struct help settings = { .completion = -1 };
	const struct command *about = NULL;
	struct output output;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (invocation->arguments.count > 1)
		return fail(error, STATUS_USAGE, "help is about one verb at a time: sctmem help %s",
			invocation->arguments.argv[0]);
	if (invocation->arguments.count == 1) {
		about = command_find(invocation->arguments.argv[0]);
		if (!about)
			return fail(error, STATUS_USAGE, "no verb %s; see: sctmem help", invocation->arguments.argv[0]);
	}
	if (!output_open(&output, NULL, false, error))
		return false;
	print_help(&settings, about);
	return output_commit(&output, error);
}

static const struct command_example help_examples[] = {
	{ "sctmem help", "the verbs" },
	{ "sctmem help leaks", "the options of a verb, and what its figures mean" },
	{ "source <(sctmem help --completion bash)", "completion in this shell, when the package did not install it" },
	{ 0 }
};

const struct command help_command = {
	.name = "help",
	.summary = "explain sctmem or one of its verbs",
	.arguments = "[VERB]",
	.operands = COMMAND_VERB,
	.description = "Shows what a verb does, its options and examples.",
	.groups = help_groups,
	.examples = help_examples,
	.run = help_run,
};
