/* SPDX-License-Identifier: MIT */
/*
 * The list of commands, and what each does first.
 */
#include "command.h"

#include <stddef.h>
#include <string.h>

const struct command *const commands[] = {
#define X(verb) &verb##_command,
	COMMANDS(X)
#undef X
	NULL,
};

const struct command *command_find(const char *name)
{
	for (const struct command *const *command = commands; *command; command++)
		if (strcmp((*command)->name, name) == 0)
			return *command;
	return NULL;
}

bool command_parse(struct invocation *invocation, void *settings, struct error *error)
{
	const struct command *command = invocation->command;

	invocation->arguments.stop_at_operand = command->operands == COMMAND_PROGRAM;
	if (!options_parse(command->name, command->groups, settings, &invocation->arguments, error))
		return false;
	if (invocation->arguments.help)
		return fail(error, STATUS_OK, "help");
	if (command->operands == COMMAND_NO_OPERANDS && invocation->arguments.count > 0)
		return fail(error, STATUS_USAGE, "%s takes no operand: %s", command->name, invocation->arguments.argv[0]);
	return true;
}
