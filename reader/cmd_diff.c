/* SPDX-License-Identifier: MIT */
/*
 * sctmem diff: what changed between two captures of one program.
 *
 *     A -> profile --+
 *                    +--> diff --+--> rows -> text | JSON, and the exit status
 *     B -> profile --+           +--> the page
 */
#include <string.h>

#include "budget.h"
#include "diff_report.h"
#include "memory.h"
#include "output.h"
#include "report_html.h"

struct limit {
	bool given, percent;
	uint64_t value;               /* bytes, or parts of BUDGET_WHOLE */
};

struct settings {
	struct view view;
	struct limit limit;
	uint64_t number, frames;
	int by;
	bool html, base_names;
	const char *title;
};

static bool parse_limit(const char *value, void *field, struct error *error)
{
	struct limit limit = { .given = true, .percent = strchr(value, '%') != NULL };
	const bool good = limit.percent ? budget_parse_growth(value, &limit.value) :
		options_parse_size(value, &limit.value);

	*(struct limit *)field = limit;
	return good ? true : fail(error, STATUS_USAGE, "not a percentage like 5%% nor a size like 0, 64KB, 1.5MiB");
}

static const char *const by_words[] = { "place", "function", "stack", NULL };

static const struct option_spec diff_options[] = {
	OPTION_CHOICE(0, "by", "WHAT", struct settings, by, by_words,
		"rows are places in your code (default), allocating functions, or whole stacks"),
	OPTION_NUMBER('n', "number", "N", struct settings, number, 0, UINT32_MAX,
		"rows of what grew and of what shrank; 0: all (default 20)"),
	OPTION_NUMBER(0, "frames", "N", struct settings, frames, 0, UINT32_MAX, "frames of each stack; 0: all (default 12)"),
	OPTION_FLAG(0, "base-names", struct settings, base_names,
		"files are the same when their names without folders are"),
	OPTION_CUSTOM(0, "max-growth", "LIMIT", struct settings, limit, struct limit, parse_limit, NULL,
		"exit with status 1 when the metric grew by more in all: 5%, 64KB, 0"),
	OPTION_FLAG(0, "html", struct settings, html, "write a page instead, with a flame graph in red and blue; needs -o"),
	OPTION_TEXT(0, "title", "TEXT", struct settings, title, "the page's title"),
	OPTION_LAST
};

static const struct option_group diff_groups[] = {
	VIEW_SELECTION(offsetof(struct settings, view)),
	VIEW_METRIC(offsetof(struct settings, view)),
	{ .title = "Differences", .options = diff_options },
	VIEW_OUTPUT_JSON(offsetof(struct settings, view)),
	{ 0 }
};

static bool load(const struct view *view, char *path, uint32_t points, struct profile **profile, struct error *error)
{
	char *argv[] = { path, NULL };
	struct invocation invocation = { .arguments = { .argv = argv, .count = 1 } };

	return view_load(view, &invocation, true, points, profile, error);
}

static bool write_page(const struct settings *settings, const struct diff *diff, const struct profile *before,
	enum metric metric, FILE *out, struct error *error)
{
	const char *paths[] = { before->captures[0].path, diff->merged.captures[0].path };
	const size_t size = strlen(paths[0]) + strlen(paths[1]) + 32;
	char *title = memory_new(size, 1);
	struct report_options options = { .view = "diff",
		.metric = metric_name(metric == METRIC_LIVE ? METRIC_LEAKED : metric),
		.title = settings->title ? settings->title : title };
	bool done;

	snprintf(title, size, "%s against %s", paths[1], paths[0]);
	done = report_html_write(&diff->merged, &options, out, error);
	free(title);
	return done;
}

static bool grew_too_much(const struct limit *limit, uint64_t before, uint64_t after)
{
	if (!limit->given || after <= before)
		return false;
	if (!limit->percent)
		return after - before > limit->value;
	return (unsigned __int128)(after - before) * BUDGET_WHOLE > (unsigned __int128)before * limit->value;
}

static bool diff_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .view = VIEW_DEFAULT, .number = 20, .frames = 12 };
	struct profile *before = NULL, *after = NULL;
	struct output output = { 0 };
	struct diff diff = { 0 };
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (invocation->arguments.count != 2)
		return fail(error, STATUS_USAGE, "diff compares two captures: name the one before, then the one after");
	if (settings.html && (settings.view.json || !settings.view.output))
		return fail(error, STATUS_USAGE, "--html needs -o FILE, and cannot go with --json");
	const enum metric metric = view_metric(&settings.view, METRIC_PEAK);

	if (!output_open(&output, settings.view.output, settings.view.force, error) ||
		!load(&settings.view, invocation->arguments.argv[0], 0, &before, error) ||
		!load(&settings.view, invocation->arguments.argv[1], settings.html ? 1000 : 0, &after, error))
		goto out;
	diff_init(&diff, before, after, settings.base_names);
	invocation->status = grew_too_much(&settings.limit, metric_bytes(&diff.before_total, metric),
		metric_bytes(&diff.after_total, metric)) ? STATUS_FINDINGS : STATUS_OK;
	if (settings.html) {
		done = write_page(&settings, &diff, before, metric, output.file, error);
	} else {
		struct diff_report report = { .diff = &diff, .before = before, .view = &settings.view, .metric = metric,
			.by = (enum diff_by)settings.by, .number = settings.number, .frames = settings.frames };

		diff_report_init(&report, settings.view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
		if (settings.view.json)
			diff_write_json(&report, output.file);
		else
			diff_write_text(&report, output.file);
		diff_report_finish(&report);
		done = true;
	}
	done = done && output_commit(&output, error);
out:
	diff_finish(&diff);
	profile_free(before);
	profile_free(after);
	output_close(&output);
	return done;
}

static const struct command_example diff_examples[] = {
	{ "sctmem diff before.bin after.bin", "what holds more, and less, at the peak" },
	{ "sctmem diff --metric leaked --by stack main.bin branch.bin", "stacks that leak more than they did" },
	{ "sctmem diff --max-growth 5% main.bin branch.bin", "exit status 1 when the peak grew by more than 5 percent" },
	{ "sctmem diff --html -o diff.html before.bin after.bin", "a page: red grew, blue shrank" },
	{ 0 }
};

const struct command diff_command = {
	.name = "diff",
	.summary = "compare two captures: what grew, shrank, is new, is gone",
	.arguments = "BEFORE AFTER",
	.operands = COMMAND_CAPTURES,
	.description =
		"Lays two captures over each other and lists what differs, by growth. The figures of each side are those that "
		"the other verbs print for that capture, to the byte, and the rows add up to the difference of the totals.\n\n"
		"Stacks are the same when their functions, source files and modules are: a line that moved within its function "
		"makes no difference, and where several lines of a function are on stacks they are one place. new means that "
		"nothing was allocated there before, gone that nothing is any more.\n\n"
		"Exit status 0, or 1 when --max-growth was given and exceeded. The filters apply to both captures; --at TIME "
		"and --time are times since the start of each.",
	.groups = diff_groups,
	.examples = diff_examples,
	.run = diff_run,
};
