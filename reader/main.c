/* SPDX-License-Identifier: MIT */
/*
 * The command `sctmem`: finds the verb, runs it, and is the only place that prints an error and chooses the exit
 * status.
 */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "heap.h"
#include "help.h"
#include "output.h"
#include "text.h"

static int finish(bool done, int status, const struct error *error)
{
	char shown[2 * sizeof error->text];

	if (done)
		return status;
	if (error->text[0])
		fprintf(stderr, "sctmem: %s\n", text_escape(shown, sizeof shown, error->text));
	return error->status;
}

static bool fail_verb(const char *verb, struct error *error)
{
	const char *names[64];
	size_t count = 0;

	if (verb[0] == '-')
		return fail(error, STATUS_USAGE, "the command comes before its options: sctmem VERB %s; see: sctmem help", verb);
	for (; commands[count] && count < sizeof names / sizeof names[0]; count++)
		names[count] = commands[count]->name;

	const char *meant = options_suggest(verb, names, count);

	if (meant)
		return fail(error, STATUS_USAGE, "unknown command %s; did you mean %s?", verb, meant);
	return fail(error, STATUS_USAGE, "unknown command %s; see: sctmem help", verb);
}

int main(int argc, char **argv)
{
	struct error error = { 0 };

	heap_prepare();
	setlocale(LC_CTYPE, "");
	if (argc < 2) {
		struct text text = text_begin(stderr);

		help_print_overview(&text);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("sctmem " SCTMEM_VERSION);
		return finish(output_flush_standard(&error), STATUS_OK, &error);
	}

	bool wants_help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
	const char *verb = wants_help ? "help" : argv[1];
	struct invocation invocation = {
		.command = command_find(verb),
		.arguments = { .argv = argv + 2, .count = argc - 2 },
	};

	if (!invocation.command)
		return finish(fail_verb(verb, &error), STATUS_OK, &error);
	if (invocation.command->run(&invocation, &error))
		return finish(true, invocation.status, &error);
	if (invocation.arguments.help) {
		struct text text = text_begin(stdout);

		help_print_command(&text, invocation.command);
		error = (struct error){ 0 };
		return finish(output_flush_standard(&error), STATUS_OK, &error);
	}
	return finish(false, 0, &error);
}
