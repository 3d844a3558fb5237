/* SPDX-License-Identifier: MIT */
/*
 * The manual page of each verb, in man(7) roff.  docs/man/sctmem.1 is the page about the whole and is written by
 * hand; a test holds its list of verbs against ours.
 */
#include <ctype.h>
#include <string.h>

#include "help.h"

/* Text that roff shall show as it is: backslashes, minus signs that people copy, leading dots and quotes. */
static void put_roff(FILE *file, const char *text)
{
	bool line_start = true;

	for (; *text; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			fputs("\\&", file);
		if (*text == '\\')
			fputs("\\e", file);
		else if (*text == '-')
			fputs("\\-", file);
		else
			putc(*text, file);
		line_start = *text == '\n';
	}
}

static void put_paragraphs(FILE *file, const char *text)
{
	const char *end;

	for (; (end = strstr(text, "\n\n")); text = end + 2) {
		char paragraph[2048];

		snprintf(paragraph, sizeof paragraph, "%.*s", (int)(end - text), text);
		put_roff(file, paragraph);
		fputs("\n.PP\n", file);
	}
	put_roff(file, text);
	putc('\n', file);
}

static void put_option(FILE *file, const struct option_spec *spec)
{
	fputs(".TP\n", file);
	if (spec->letter)
		fprintf(file, "\\fB\\-%c\\fR, ", spec->letter);
	fputs("\\fB\\-\\-", file);
	put_roff(file, spec->name);
	fputs("\\fR", file);
	if (spec->argument) {
		fputs(" \\fI", file);
		put_roff(file, spec->argument);
		fputs("\\fR", file);
	}
	putc('\n', file);
	put_roff(file, spec->help);
	fputs(".\n", file);
}

void manual_print_command(FILE *file, const struct command *command)
{
	char upper[64] = "";

	for (size_t i = 0; command->name[i] && i + 1 < sizeof upper; i++)
		upper[i] = (char)toupper((unsigned char)command->name[i]);
	fprintf(file, ".\\\" Made by: sctmem help --man %s\n", command->name);
	fprintf(file, ".TH SCTMEM\\-%s 1 \"\" \"sctmem %s\" \"sctmem\"\n", upper, SCTMEM_VERSION);
	fprintf(file, ".SH NAME\nsctmem\\-%s \\- %s\n", command->name, command->summary);
	fprintf(file, ".SH SYNOPSIS\n\\fBsctmem %s\\fR [\\fIoptions\\fR]", command->name);
	if (*command->arguments) {
		fputs(" \\fI", file);
		put_roff(file, command->arguments);
		fputs("\\fR", file);
	}
	fputs("\n.SH DESCRIPTION\n", file);
	put_paragraphs(file, command->description);
	fputs(".SH OPTIONS\n", file);
	for (const struct option_group *group = command->groups; group->title; group++) {
		fprintf(file, ".SS %s\n", group->title);
		for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++)
			put_option(file, spec);
	}
	fputs(".SS Help\n.TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nshow the verb's help.\n.SH EXAMPLES\n", file);
	for (const struct command_example *example = command->examples; example->line; example++) {
		fputs(".TP\n\\fB", file);
		put_roff(file, example->line);
		fputs("\\fR\n", file);
		put_roff(file, example->meaning);
		putc('\n', file);
	}
	fputs(".SH EXIT STATUS\nThe table in \\fBsctmem\\fR(1).\n.SH SEE ALSO\n\\fBsctmem\\fR(1)\n", file);
}

void manual_print_list(FILE *file)
{
	for (const struct command *const *command = commands; *command; command++)
		fprintf(file, ".TP\n\\fBsctmem\\-%s\\fR(1)\n%s\n", (*command)->name, (*command)->summary);
}
