/* SPDX-License-Identifier: MIT */
/*
 * Help for people: `sctmem`, `sctmem help VERB`, `sctmem VERB --help`.
 */
#include "help.h"

#include <string.h>

enum { HELP_OPTION_COLUMN = 32, HELP_WIDTH_MAX = 100 };

/*
 * Words of `body`, filled to the width, each line indented; "\n" in it begins a new line, "\n\n" a paragraph.
 * `column` is where the line stands already.
 */
static void print_filled(const struct text *text, const char *body, unsigned indent, unsigned column)
{
	unsigned width = text->width && text->width < HELP_WIDTH_MAX ? text->width : HELP_WIDTH_MAX;

	while (*body) {
		size_t size = strcspn(body, " \n");

		if (size > 0) {
			if (column > indent && column + 1 + size > width) {
				putc('\n', text->file);
				column = 0;
			}
			if (column < indent)
				column += (unsigned)fprintf(text->file, "%*s", (int)(indent - column), "");
			else if (column > indent)
				column += (unsigned)fprintf(text->file, " ");
			column += (unsigned)fwrite(body, 1, size, text->file);
			body += size;
		}
		for (; *body == ' ' || *body == '\n'; body++)
			if (*body == '\n') {
				putc('\n', text->file);
				column = 0;
			}
	}
	putc('\n', text->file);
}

static void print_option(const struct text *text, const struct option_spec *spec)
{
	int column = spec->letter ? fprintf(text->file, "  -%c, ", spec->letter) : fprintf(text->file, "      ");

	text_style(text, TEXT_BOLD);
	column += fprintf(text->file, "--%s", spec->name);
	text_style(text, TEXT_PLAIN);
	if (spec->argument)
		column += fprintf(text->file, " %s", spec->argument);
	if (column + 2 > HELP_OPTION_COLUMN) {
		putc('\n', text->file);
		column = 0;
	}
	print_filled(text, spec->help, HELP_OPTION_COLUMN, (unsigned)column);
}

void help_print_overview(const struct text *text)
{
	FILE *file = text->file;

	fputs("sctmem finds what memory a program takes: the peak, the leaks, and which line asked for it.\n\n", file);
	text_heading(text, "Usage");
	fputs("  sctmem VERB [options] [CAPTURE...]\n\n", file);
	text_heading(text, "Verbs");
	for (const struct command *const *command = commands; *command; command++)
		fprintf(file, "  %-12s %s\n", (*command)->name, (*command)->summary);
	putc('\n', file);
	text_heading(text, "First steps");
	fputs("  sctmem run -- python3 app.py      record a program\n"
		"  sctmem stats                      the figures of the newest capture in this folder\n"
		"  sctmem flamegraph                 a page to explore it\n"
		"  sctmem help leaks                 more about a verb, with examples\n", file);
}

void help_print_command(const struct text *text, const struct command *command)
{
	FILE *file = text->file;

	fprintf(file, "sctmem %s: %s\n\n", command->name, command->summary);
	text_heading(text, "Usage");
	fprintf(file, "  sctmem %s [options]%s%s\n\n", command->name, *command->arguments ? " " : "", command->arguments);
	print_filled(text, command->description, 0, 0);
	for (const struct option_group *group = command->groups; group->title; group++) {
		putc('\n', file);
		text_heading(text, "%s", group->title);
		for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++)
			print_option(text, spec);
	}
	fputs("\n", file);
	text_heading(text, "Examples");
	for (const struct command_example *example = command->examples; example->line; example++) {
		fprintf(file, "  %s\n", example->line);
		fprintf(file, "      %s\n", example->meaning);
	}
}
