/* SPDX-License-Identifier: MIT */
/*
 * sctmem check: holds a capture against budgets.  For CI: the exit status is the verdict.
 *
 *     captures -> profile --+--> measure --+
 *     baseline -> profile --+--> measure --+--> budget_judge -> rows -> text | JSON, and JUnit | GitHub
 *
 * A capture from which events are missing cannot prove that a budget was kept: it fails, unless that is accepted.
 */
#include <inttypes.h>
#include <string.h>

#include "budget.h"
#include "check_report.h"
#include "formats/capture.h"
#include "memory.h"
#include "output.h"
#include "view.h"

struct settings {
	struct view view;
	struct budget_limits limits;
	const char *baseline, *suppressions, *junit;
	uint64_t number;
	bool all_leaks, github, incomplete_allowed;
};

static const char *const figure_words[] = { "peak", "total", "leak", "allocations", NULL };

static bool parse_bytes(const char *value, struct budget_limits *limits, enum budget_figure figure, struct error *error)
{
	if (!options_parse_size(value, &limits->limits[figure]))
		return fail(error, STATUS_USAGE, "not a size like 0, 4096, 64KB, 1.5MiB or 2GB");
	limits->given[figure] = true;
	return true;
}

static bool parse_peak(const char *value, void *field, struct error *error)
{
	return parse_bytes(value, field, BUDGET_PEAK, error);
}

static bool parse_total(const char *value, void *field, struct error *error)
{
	return parse_bytes(value, field, BUDGET_TOTAL, error);
}

static bool parse_leak(const char *value, void *field, struct error *error)
{
	return parse_bytes(value, field, BUDGET_LEAK, error);
}

static bool parse_allocations(const char *value, void *field, struct error *error)
{
	struct budget_limits *limits = field;

	/* A count has no unit; the grammar of its digits is that of a size. */
	if (value[strspn(value, "0123456789")] || !options_parse_size(value, &limits->limits[BUDGET_ALLOCATIONS]))
		return fail(error, STATUS_USAGE, "not a number of allocations like 10000");
	limits->given[BUDGET_ALLOCATIONS] = true;
	return true;
}

static bool parse_growth(const char *value, void *field, struct error *error)
{
	struct budget_limits *limits = field;

	if (!budget_parse_growth(value, &limits->growth))
		return fail(error, STATUS_USAGE, "not a percentage like 5%% or 2.5%%");
	limits->growth_given = true;
	return true;
}

static bool parse_growth_of(const char *value, void *field, struct error *error)
{
	struct budget_limits *limits = field;

	for (const char *at = value;;) {
		size_t size = strcspn(at, ",");
		int figure = 0;

		while (figure_words[figure] && (strlen(figure_words[figure]) != size ||
			memcmp(figure_words[figure], at, size) != 0))
			figure++;
		if (!figure_words[figure])
			return fail(error, STATUS_USAGE, "not a list of peak, total, leak, allocations");
		limits->growth_of |= 1u << figure;
		if (!at[size])
			return true;
		at += size + 1;
	}
}

#define LIMIT(name, argument, parse, list, text) \
	OPTION_CUSTOM(0, name, argument, struct settings, limits, struct budget_limits, parse, list, text)

static const struct option_spec check_budgets[] = {
	LIMIT("max-peak", "SIZE", parse_peak, NULL, "what may be live at the peak: 0, 4096, 64KB, 1.5GB (units of 1024)"),
	LIMIT("max-total", "SIZE", parse_total, NULL, "what may be allocated in all"),
	LIMIT("max-leak", "SIZE", parse_leak, NULL, "what the program may leave unfreed: the group program of leaks"),
	LIMIT("max-allocations", "N", parse_allocations, NULL, "how many allocations there may be"),
	LIMIT("max-growth", "PERCENT", parse_growth, NULL, "how much more than the baseline may be: 5%, 0.5%, 0"),
	LIMIT("growth-of", "LIST", parse_growth_of, figure_words,
		"what growth is measured of: peak, total, leak, allocations (default: all four)"),
	OPTION_TEXT(0, "baseline", "FILE", struct settings, baseline, "the capture to compare with"),
	OPTION_LAST
};

static const struct option_spec check_leaks[] = {
	OPTION_TEXT(0, "suppressions", "FILE", struct settings, suppressions,
		"leaks that are accepted: lines leak:PATTERN, as LeakSanitizer takes them"),
	OPTION_FLAG('a', "all", struct settings, all_leaks, "what an interpreter keeps by design is a leak too"),
	OPTION_LAST
};

static const struct option_spec check_output[] = {
	OPTION_TEXT(0, "junit", "FILE", struct settings, junit, "write JUnit XML too, a case for each budget"),
	OPTION_FLAG(0, "github", struct settings, github, "print annotations of GitHub workflows too (::error ...)"),
	OPTION_NUMBER('n', "number", "N", struct settings, number, 0, 10000,
		"places to show for each exceeded budget (default 5)"),
	OPTION_FLAG(0, "allow-incomplete", struct settings, incomplete_allowed,
		"do not fail because events are missing from a capture"),
	OPTION_LAST
};

static const struct option_group check_groups[] = {
	{ .title = "Budgets", .options = check_budgets },
	{ .title = "Leaks", .options = check_leaks },
	VIEW_SELECTION(offsetof(struct settings, view)),
	{ .title = "Report", .options = check_output },
	VIEW_OUTPUT_JSON(offsetof(struct settings, view)),
	{ 0 }
};

/* A profile with what is measured on it. */
struct measured {
	struct profile *profile;
	struct calltree tree;
	struct leaks leaks;
	struct measure measure;
};

static bool measured_init(struct measured *measured, const struct settings *settings, struct invocation *invocation,
	struct suppressions *suppressions, struct error *error)
{
	struct leak_rules rules;

	if (!view_load(&settings->view, invocation, true, 0, &measured->profile, error))
		return false;
	calltree_init(&measured->tree, measured->profile, settings->view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	leak_rules_init(&rules, measured->profile, suppressions);
	leaks_init(&measured->leaks, &measured->tree, &rules, 0, measured->profile->site_count);
	leak_rules_finish(&rules);
	measure_init(&measured->measure, &measured->tree, &measured->leaks, settings->all_leaks);
	return true;
}

static void measured_finish(struct measured *measured)
{
	measure_finish(&measured->measure);
	leaks_finish(&measured->leaks);
	calltree_finish(&measured->tree);
	profile_free(measured->profile);
}

/* With the same filters and suppressions, whose hits are those of the capture itself. */
static bool load_baseline(struct measured *measured, const struct settings *settings,
	const struct suppressions *suppressions, struct error *error)
{
	char *argv[] = { (char *)settings->baseline, NULL };
	struct invocation invocation = { .arguments = { .argv = argv, .count = 1 } };
	struct suppressions copy = *suppressions;
	bool done;

	copy.rules = memory_new(copy.count, sizeof *copy.rules);
	if (copy.count)
		memcpy(copy.rules, suppressions->rules, copy.count * sizeof *copy.rules);
	done = measured_init(measured, settings, &invocation, &copy, error);
	free(copy.rules);
	return done;
}

static bool is_incomplete(const struct profile *profile)
{
	for (uint32_t i = 0; profile && i < profile->capture_count; i++) {
		const struct profile_capture *capture = &profile->captures[i];

		if (capture->damaged || capture->lost_events || capture->lost_threads ||
			capture->state == CAPTURE_STOPPED_STORAGE || capture->state == CAPTURE_STOPPED_MEMORY ||
			capture->state == CAPTURE_STOPPED_FILTER)
			return true;
	}
	return false;
}

static bool check_settings(const struct settings *settings, struct error *error)
{
	bool any = settings->limits.growth_given;

	for (int figure = 0; figure < BUDGET_FIGURES; figure++)
		any = any || settings->limits.given[figure];
	if (!any)
		return fail(error, STATUS_USAGE, "no budget to check: give --max-peak, --max-total, --max-leak, "
			"--max-allocations or --max-growth");
	if (settings->limits.growth_given != (settings->baseline != NULL))
		return fail(error, STATUS_USAGE, "--max-growth and --baseline belong together: give both");
	if (settings->limits.growth_of && !settings->limits.growth_given)
		return fail(error, STATUS_USAGE, "--growth-of needs --max-growth and --baseline");
	if (settings->github && settings->view.json && !settings->view.output)
		return fail(error, STATUS_USAGE, "--github and --json would mix on standard output: give -o FILE for the JSON");
	return true;
}

static void judge(struct check *check, const struct settings *settings, const struct measured *now,
	const struct measured *baseline)
{
	struct budget_limits limits = settings->limits;
	struct budget_row rows[BUDGET_ROWS_MAX];

	if (!limits.growth_of)
		limits.growth_of = (1u << BUDGET_FIGURES) - 1;
	check->profile = now->profile;
	check->baseline = baseline->profile;
	check->incomplete = is_incomplete(now->profile) || is_incomplete(baseline->profile);
	check->incomplete_allowed = settings->incomplete_allowed;
	check->exceeded = check->incomplete && !check->incomplete_allowed;
	check->row_count = budget_judge(&limits, &now->measure, &baseline->measure, rows);
	for (size_t i = 0; i < check->row_count; i++) {
		check->rows[i].budget = rows[i];
		check->exceeded = check->exceeded || rows[i].exceeded;
		if (rows[i].exceeded)
			check->rows[i].places = budget_places(&rows[i], &now->measure, &baseline->measure, (size_t)settings->number,
				&check->rows[i].place_count);
	}
}

static bool report(const struct check *check, const struct settings *settings, struct output *output,
	struct output *junit, struct error *error)
{
	if (settings->view.json) {
		check_write_json(check, output->file);
	} else {
		struct text text = text_begin(output->file);

		check_write_text(check, &text);
	}
	if (settings->junit) {
		check_write_junit(check, junit->file);
		if (!output_commit(junit, error))
			return false;
	}
	if (settings->github)
		check_write_github(check, stdout);
	if (!output_commit(output, error))
		return false;
	return !settings->github || output_flush_standard(error);
}

static bool check_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .view = VIEW_DEFAULT, .number = 5 };
	struct suppressions suppressions = { 0 };
	struct measured now = { 0 }, baseline = { 0 };
	struct check check = { .suppressions = &suppressions };
	struct output output = { 0 }, junit = { 0 };
	bool done = false;

	if (!command_parse(invocation, &settings, error) || !check_settings(&settings, error) ||
		(settings.suppressions && !suppressions_read(&suppressions, settings.suppressions, error)) ||
		!output_open(&output, settings.view.output, settings.view.force, error) ||
		(settings.junit && !output_open(&junit, settings.junit, settings.view.force, error)) ||
		!measured_init(&now, &settings, invocation, &suppressions, error) ||
		(settings.baseline && !load_baseline(&baseline, &settings, &suppressions, error)))
		goto out;
	judge(&check, &settings, &now, &baseline);
	done = report(&check, &settings, &output, &junit, error);
	invocation->status = check.exceeded ? STATUS_FINDINGS : STATUS_OK;
out:
	for (size_t i = 0; i < check.row_count; i++)
		free(check.rows[i].places);
	measured_finish(&now);
	measured_finish(&baseline);
	suppressions_finish(&suppressions);
	output_close(&junit);
	output_close(&output);
	return done;
}

static const struct command_example check_examples[] = {
	{ "sctmem check --max-peak 500MB --max-leak 0 capture.bin", "exit status 1 when one is exceeded" },
	{ "sctmem check --max-leak 64KB --suppressions leaks.supp", "the newest capture, with accepted leaks set apart" },
	{ "sctmem check --max-growth 5% --baseline main.bin new.bin", "nothing 5 percent above another capture's" },
	{ "sctmem check --max-peak 1GB --junit memory.xml --github", "for a CI server and GitHub's annotations" },
	{ "sctmem check --max-allocations 1000 --file /parser.py --json", "of one source file only, for a script" },
	{ 0 }
};

const struct command check_command = {
	.name = "check",
	.summary = "hold a capture against budgets; the exit status is the verdict",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Compares what was recorded with limits. Exit status 0: all are kept; 1: at least one is exceeded, with the "
		"places that weigh most in it; anything else: they could not be judged, and an error says why.\n\n"
		"The figures are those of the other verbs, to the byte: peak, total and allocations as sctmem stats prints "
		"them, leak as the group program of sctmem leaks, which leaves out what a Python interpreter keeps by design "
		"(--all counts that too). The filters mean what they mean everywhere.\n\n"
		"With --max-growth each figure may be that much larger than in the capture of --baseline; a line that moved "
		"within its function is the same place.\n\n"
		"The file of --suppressions has lines leak:PATTERN, comments (#) and empty lines, as LeakSanitizer's has: a "
		"stack is set apart when a frame's function, source file or module contains PATTERN, where * stands for any "
		"characters, and ^ and $ anchor it. The report says what each line hit; one that hits nothing can go.\n\n"
		"A capture from which events are missing (a full disk, damage) fails the check, since its figures may be too "
		"small, unless --allow-incomplete is given.",
	.groups = check_groups,
	.examples = check_examples,
	.run = check_run,
};
