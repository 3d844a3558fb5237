/* SPDX-License-Identifier: MIT */
/*
 * Property: for any capture each verb that reads one ends, either with what it shows or with one line that says what
 * is wrong and a status for it; so do all exports and the page.  Names of any bytes are in these.
 *
 * Input: which view, as one byte, then the capture; an input that is a capture from its first byte on is shown by all
 * views.  These are made from the commands' own list: a verb that is added there is tried here.
 */
#include <string.h>
#include <unistd.h>

#include "formats/capture.h"
#include "input.h"
#include "reader/command.h"
#include "reader/export.h"
#include "verbs.h"

enum { VIEWS_MAX = 128, WORDS_MAX = 8 };

struct view_line {
	const struct command *command;
	const char *words[WORDS_MAX];
	int count;
};

static struct view_line views[VIEWS_MAX];
static size_t view_count;

static void add_view(const struct command *command, const char *option, const char *value)
{
	struct view_line *view = &views[view_count++];

	require(view_count < VIEWS_MAX);
	view->command = command;
	if (verbs_has_option(command, "output")) {
		view->words[view->count++] = "-o";
		view->words[view->count++] = "/dev/null";
	}
	if (option)
		view->words[view->count++] = option;
	if (value)
		view->words[view->count++] = value;
}

static void list_views(void)
{
	const struct command *export_verb = command_find("export");

	for (const struct command *const *command = commands; *command; command++) {
		if (!verbs_only_reads(*command) || *command == export_verb || (*command)->operands != COMMAND_CAPTURES)
			continue;
		if (strcmp((*command)->name, "check") != 0)
			add_view(*command, NULL, NULL);
		if (verbs_has_option(*command, "json"))
			add_view(*command, "--json", NULL);
		if (verbs_has_option(*command, "from"))
			add_view(*command, "--to", "end");
		if (verbs_has_option(*command, "verbose"))
			add_view(*command, "-v", NULL);
		if (verbs_has_option(*command, "max-peak")) {
			add_view(*command, "--max-leak", "10");
			add_view(*command, "--max-peak", "1");
		}
	}
	for (const struct export_format *const *format = export_formats; *format; format++)
		add_view(export_verb, "--format", (*format)->name);
}

static void show(const struct view_line *view, char *path)
{
	char *words[WORDS_MAX + 2];
	struct error error = { .text = "" };
	struct invocation invocation = { .command = view->command, .arguments = { .argv = words, .count = view->count + 1 } };

	for (int i = 0; i < view->count; i++)
		words[i] = (char *)view->words[i];
	words[view->count] = path;
	words[view->count + 1] = NULL;
	if (view->command->run(&invocation, &error))
		return;
	require(error.status != STATUS_OK && error.text[0] != 0 && strlen(error.text) < sizeof(error.text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[INPUT_PATH_SIZE];
	bool whole;
	int file;

	if (size < CAPTURE_HEADER_SIZE_MIN)
		return 0;
	input_silence();
	if (view_count == 0)
		list_views();
	whole = memcmp(data, CAPTURE_MAGIC, 8) == 0;
	file = input_capture(data + !whole, size - !whole, path);
	for (size_t i = 0; i < view_count; i++)
		if (whole || i == data[0] % view_count)
			show(&views[i], path);
	close(file);
	return 0;
}
