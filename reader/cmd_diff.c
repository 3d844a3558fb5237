/* SPDX-License-Identifier: MIT */
/*
 * sctmem diff: what changed between two runs of one program.
 *
 *     A... -> profile --+
 *                       +--> diff --+--> rows -> text | JSON, and the exit status
 *     B... -> profile --+           +--> the page
 *
 * Several captures of one side (a process and its children) merge, as they do for every other verb.
 */
#include <inttypes.h>
#include <string.h>

#include "budget.h"
#include "diff_report.h"
#include "memory.h"
#include "output.h"
#include "report_html.h"

/* Half as many slices as of one run: a page has those of both. */
enum { DIFF_TIMELINE_POINTS = 1000, DIFF_SLICES = VIEW_SLICES_DEFAULT / 2 };

struct limit {
	bool given, percent;
	uint64_t value;               /* bytes, or parts of BUDGET_WHOLE */
};

struct settings {
	struct view view;
	struct limit limit;
	uint64_t number, frames;
	int by;
	int after;                    /* so many operands are before; -1: --after was not given */
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
	OPTION_PLACE(0, "after", struct settings, after,
		"captures named behind it are of the run after, those before it of the run before: for several of one run"),
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

/* Where the captures of a side lie among the operands. */
struct side {
	char **paths;
	int count;
};

static bool load(const struct view *view, struct side side, uint32_t points, struct profile **profile,
	struct error *error)
{
	struct invocation invocation = { .arguments = { .argv = side.paths, .count = side.count } };

	return view_load(view, &invocation, true, points, profile, error);
}

static bool choose_sides(const struct settings *settings, const struct arguments *arguments, struct side sides[2],
	struct error *error)
{
	const int before = settings->after < 0 ? 1 : settings->after;

	if (settings->after < 0 && arguments->count != 2)
		return fail(error, STATUS_USAGE, arguments->count < 2 ?
			"diff compares two runs: name the capture before, then the one after" :
			"which of these are of which run?  name those before, then --after, then those after");
	if (before == 0 || before == arguments->count)
		return fail(error, STATUS_USAGE, "--after stands between the captures of the run before and those of the run after; "
			"there are none %s it", before ? "behind" : "before");
	sides[0] = (struct side){ arguments->argv, before };
	sides[1] = (struct side){ arguments->argv + before, arguments->count - before };
	return true;
}

/* "app.bin", "app.bin and 2 more". */
static char *side_name(const struct profile *profile)
{
	const size_t size = strlen(profile->captures[0].path) + 32;
	char *name = memory_new(size, 1);

	if (profile->capture_count > 1)
		snprintf(name, size, "%s and %" PRIu32 " more", profile->captures[0].path, profile->capture_count - 1);
	else
		snprintf(name, size, "%s", profile->captures[0].path);
	return name;
}

static bool write_page(const struct settings *settings, const struct diff *diff, const struct profile *before,
	enum metric metric, FILE *out, struct error *error)
{
	char *const names[] = { side_name(before), side_name(&diff->merged) };
	const size_t size = strlen(names[0]) + strlen(names[1]) + sizeof " against ";
	char *title = memory_new(size, 1);
	struct report_options options = { .view = "diff",
		.metric = metric_name(metric == METRIC_LIVE ? METRIC_LEAKED : metric),
		.title = settings->title ? settings->title : title };
	bool done;

	snprintf(title, size, "%s against %s", names[1], names[0]);
	done = report_html_write(&diff->merged, &options, out, error);
	free(names[0]);
	free(names[1]);
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

/* Windows of time are of both runs, or there are none. */
static void drop_slices(struct profile *before, struct profile *after)
{
	view_drop_few_slices(before);
	view_drop_few_slices(after);
	if (before->slice_count && after->slice_count)
		return;
	view_drop_slices(before);
	view_drop_slices(after);
}

static bool diff_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .view = VIEW_DEFAULT, .number = 20, .frames = 12, .after = -1 };
	struct side sides[2] = { 0 };
	struct profile *before = NULL, *after = NULL;
	struct output output = { 0 };
	struct diff diff = { 0 };
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (!choose_sides(&settings, &invocation->arguments, sides, error))
		return false;
	if (settings.html && (settings.view.json || !settings.view.output))
		return fail(error, STATUS_USAGE, "--html needs -o FILE, and cannot go with --json");
	const enum metric metric = view_metric(&settings.view, METRIC_PEAK);
	const uint32_t points = settings.html ? DIFF_TIMELINE_POINTS : 0;
	settings.view.slices = settings.html ? DIFF_SLICES : 0;

	if (!output_open(&output, settings.view.output, settings.view.force, error) ||
		!load(&settings.view, sides[0], points, &before, error) ||
		!load(&settings.view, sides[1], points, &after, error))
		goto out;
	drop_slices(before, after);
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
	{ "sctmem diff --html -o diff.html before.bin after.bin", "a page: red grew, blue shrank; both runs over time" },
	{ "sctmem diff before.*.bin --after after.*.bin", "processes with their children: captures of each run merge" },
	{ 0 }
};

const struct command diff_command = {
	.name = "diff",
	.summary = "compare two runs: what grew, shrank, is new, is gone",
	.arguments = "BEFORE AFTER | BEFORE... --after AFTER...",
	.operands = COMMAND_CAPTURES,
	.description =
		"Lays two runs over each other and lists what differs, by growth. The figures of each side are those that "
		"the other verbs print for the same captures, to the byte, and the rows add up to the difference of the totals.\n\n"
		"Stacks are the same when their functions, source files and modules are: a line that moved within its function "
		"makes no difference, and where several lines of a function are on stacks they are one place. new means that "
		"nothing was allocated there before, gone that nothing is any more.\n\n"
		"A run of several processes has several captures: name those of the run before, then --after, then those of the "
		"run after. They merge, as they do for every other verb.\n\n"
		"Exit status 0, or 1 when --max-growth was given and exceeded. The filters apply to both runs; --at TIME "
		"and --time are times since the start of each.",
	.groups = diff_groups,
	.examples = diff_examples,
	.run = diff_run,
};
