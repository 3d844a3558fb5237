/* SPDX-License-Identifier: MIT */
/*
 * sctmem report and sctmem flamegraph: the same page, beginning with its summary or with its flame graph.
 */
#include "report_file.h"

struct settings {
	struct view view;
	struct report_file page;
};

static const struct option_group groups[] = {
	VIEW_SELECTION(offsetof(struct settings, view)),
	VIEW_METRIC(offsetof(struct settings, view)),
	REPORT_FILE(offsetof(struct settings, page)),
	VIEW_OUTPUT(offsetof(struct settings, view)),
	{ 0 }
};

/* The report has everything; the flame graph, what it takes no longer to read. */
static bool run(struct invocation *invocation, const char *begin, bool insights, struct error *error)
{
	struct settings settings = { .view = VIEW_DEFAULT,
		.page = { .begin = begin, .insights = insights, REPORT_FILE_DEFAULT } };

	return command_parse(invocation, &settings, error) &&
		report_file_write(&settings.page, &settings.view, invocation, error);
}

static bool report_run(struct invocation *invocation, struct error *error)
{
	return run(invocation, "summary", true, error);
}

static bool flamegraph_run(struct invocation *invocation, struct error *error)
{
	return run(invocation, "flame", false, error);
}

static const struct command_example report_examples[] = {
	{ "sctmem report", "the newest capture here, as a page in the current folder" },
	{ "sctmem report -o run.html --title 'nightly import' run.*.bin", "a process and its children in one page" },
	{ "sctmem report --suppressions leaks.supp", "leaks that are accepted are set apart, with what each line hit" },
	{ "sctmem report --no-source -o page.html capture.bin", "for somebody who may not see the code" },
	{ 0 }
};

const struct command report_command = {
	.name = "report",
	.summary = "write everything about a run into one HTML page",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Writes one self-contained HTML file: a summary, memory over time, flame graph, sunburst, tables of sites, "
		"callers and callees of a function, costs beside the lines of source, insights, threads, modules, processes. It "
		"needs no network and can be sent to others. Without -o it is called as the capture, ending in .html, in the "
		"current folder.\n\n"
		"The page holds lines of source of the program where they can be read, but not of files that look "
		"confidential by their name or content. sctmem flamegraph and sctmem table --html write the same page and "
		"begin with another view.",
	.groups = groups,
	.examples = report_examples,
	.run = report_run,
};

static const struct command_example flamegraph_examples[] = {
	{ "sctmem flamegraph", "the newest capture here, as a page in the current folder" },
	{ "sctmem flamegraph --leaks -o leaks.html capture.bin", "what was never freed" },
	{ "sctmem flamegraph --at 90 -f capture.bin", "what was live after a minute and a half, replacing the last page" },
	{ 0 }
};

const struct command flamegraph_command = {
	.name = "flamegraph",
	.summary = "write the HTML page, beginning with its flame graph",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Writes the page of sctmem report, opened at its flame graph: all stacks as boxes, as wide as what they "
		"allocated. Without -o it is called as the capture, ending in .html, in the current folder.\n\n"
		"The page switches between peak, leaked, total and temporary memory by itself; --metric says where it begins.",
	.groups = groups,
	.examples = flamegraph_examples,
	.run = flamegraph_run,
};
