/* SPDX-License-Identifier: MIT */
/*
 * sctmem leaks: what was never freed, by stack, largest first, with what the interpreter keeps by design set apart
 * (leaks.h says how), so that list and groups together are exactly the live bytes that every other view shows.
 */
#include <inttypes.h>
#include <string.h>

#include "calltree.h"
#include "formats/capture.h"
#include "json.h"
#include "leaks.h"
#include "output.h"
#include "view.h"

struct settings {
	struct view view;
	uint64_t number, frames;
	const char *suppressions;
	bool all;
};

static const struct option_spec leaks_options[] = {
	OPTION_NUMBER('n', "number", "N", struct settings, number, 0, UINT32_MAX, "stacks to list; 0: all (default 20)"),
	OPTION_NUMBER(0, "frames", "N", struct settings, frames, 0, UINT32_MAX, "frames of each stack; 0: all (default 12)"),
	OPTION_FLAG('a', "all", struct settings, all, "list what the interpreter keeps by design too, not its sum only"),
	OPTION_TEXT(0, "suppressions", "FILE", struct settings, suppressions,
		"leaks that are accepted: lines leak:PATTERN, as LeakSanitizer takes them"),
	OPTION_LAST
};

static const struct option_group leaks_groups[] = {
	VIEW_SELECTION(offsetof(struct settings, view)),
	{ .title = "Stacks", .options = leaks_options },
	VIEW_OUTPUT_JSON(offsetof(struct settings, view)),
	{ 0 }
};

struct report {
	const struct settings *settings;
	const struct profile *profile;
	const struct calltree *tree;
	struct leaks leaks;
};

/* Drops those that the user did not ask to see one by one; their sums stay. */
static void drop_kept_by_design(struct report *report)
{
	struct leaks *leaks = &report->leaks;
	size_t kept = 0;

	for (size_t i = 0; i < leaks->count; i++)
		if (leaks->list[i].keeper == KEEPER_PROGRAM)
			leaks->list[kept++] = leaks->list[i];
	leaks->count = kept;
}

static void print_stack(const struct report *report, const struct text *text, uint32_t node)
{
	const struct calltree *tree = report->tree;
	uint64_t shown = 0, left = 0;
	char name[VIEW_FRAME_SIZE];

	if (node == 0)
		fputs("      <no stack>\n", text->file);
	for (; node != 0; node = tree->nodes[node].parent) {
		if (report->settings->frames && shown == report->settings->frames) {
			left++;
			continue;
		}
		shown++;
		fputs("      ", text->file);
		text_write(text, view_frame_text(name, sizeof name, &report->profile->frames[tree->nodes[node].frame]),
			text->width > 30 ? text->width - 6 : 0);
		putc('\n', text->file);
	}
	if (left)
		fprintf(text->file, "      ... %" PRIu64 " more frames; --frames 0 shows all\n", left);
}

static void print_sum(const struct text *text, const struct report *report, struct held held, const char *meaning)
{
	fprintf(text->file, "  %10s  %7s  %13s blocks  %s\n", text_bytes(held.bytes).text,
		text_percent(held.bytes, report->leaks.all.bytes).text, text_count(held.count).text, meaning);
}

static void print_text(const struct report *report, FILE *file, size_t number)
{
	struct text text = text_begin(file);
	bool ended = true;

	for (uint32_t i = 0; i < report->profile->capture_count; i++)
		ended = ended && report->profile->captures[i].state == CAPTURE_EXITED;
	text_heading(&text, "Memory %s: %s in %s blocks", metric_title(METRIC_LIVE, &report->settings->view),
		text_bytes(report->leaks.all.bytes).text, text_count(report->leaks.all.count).text);
	if (!ended)
		fputs("The program did not end by itself: this is what it held when the recording ended.\n", file);
	putc('\n', file);
	for (int keeper = KEEPER_PROGRAM; keeper < KEEPER_COUNT; keeper++)
		if (report->leaks.sums[keeper].count || keeper == KEEPER_PROGRAM)
			print_sum(&text, report, report->leaks.sums[keeper], keeper_meaning(keeper));
	print_sum(&text, report, report->leaks.all, "all");
	for (size_t i = 0; i < number; i++) {
		const struct leak *leak = &report->leaks.list[i];
		double share = report->leaks.all.bytes ? (double)leak->held.bytes / (double)report->leaks.all.bytes : 0;

		putc('\n', file);
		text_style(&text, TEXT_BOLD);
		fprintf(file, "%s", text_bytes(leak->held.bytes).text);
		text_style(&text, TEXT_PLAIN);
		fprintf(file, " in %s block%s, ", text_count(leak->held.count).text, leak->held.count == 1 ? "" : "s");
		text_style(&text, text_share_style(share));
		fputs(text_percent(leak->held.bytes, report->leaks.all.bytes).text, file);
		text_style(&text, TEXT_PLAIN);
		if (leak->keeper == KEEPER_SUPPRESSED)
			fputs(", suppressed", file);
		else if (leak->keeper != KEEPER_PROGRAM)
			fprintf(file, ", kept by design: %s", keeper_word(leak->keeper));
		putc('\n', file);
		print_stack(report, &text, leak->node);
	}
	if (number < report->leaks.count) {
		struct held rest = { 0 };

		for (size_t i = number; i < report->leaks.count; i++) {
			rest.bytes += report->leaks.list[i].held.bytes;
			rest.count += report->leaks.list[i].held.count;
		}
		fprintf(file, "\n%s more stacks hold %s in ", text_count(report->leaks.count - number).text,
			text_bytes(rest.bytes).text);
		fprintf(file, "%s blocks; -n 0 lists all\n", text_count(rest.count).text);
	}
	view_print_warnings(report->profile, &text);
}

static void write_held(struct json *json, struct held held)
{
	json_number(json, "bytes", held.bytes);
	json_number(json, "count", held.count);
}

static void write_json(const struct report *report, FILE *file, size_t number)
{
	struct json json = json_begin(file, false);
	const struct calltree *tree = report->tree;
	char name[VIEW_FRAME_SIZE];

	json_object(&json, NULL);
	view_write_sample(&json, report->profile);
	json_object(&json, "total");
	write_held(&json, report->leaks.all);
	json_object_end(&json);
	json_object(&json, "groups");
	for (int keeper = KEEPER_PROGRAM; keeper < KEEPER_COUNT; keeper++) {
		json_object(&json, keeper_word(keeper));
		write_held(&json, report->leaks.sums[keeper]);
		json_object_end(&json);
	}
	json_object_end(&json);
	json_number(&json, "stack_count", report->leaks.count);
	json_array(&json, "leaks");
	for (size_t i = 0; i < number; i++) {
		json_object(&json, NULL);
		write_held(&json, report->leaks.list[i].held);
		json_text(&json, "group", keeper_word(report->leaks.list[i].keeper));
		json_array(&json, "stack");
		for (uint32_t node = report->leaks.list[i].node; node != 0; node = tree->nodes[node].parent)
			json_text(&json, NULL, view_frame_location(name, sizeof name,
				&report->profile->frames[tree->nodes[node].frame]));
		json_array_end(&json);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
}

static bool leaks_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .view = VIEW_DEFAULT, .number = 20, .frames = 12 };
	struct profile *profile = NULL;
	struct output output = { 0 };
	struct calltree tree = { 0 };
	struct suppressions suppressions = { 0 };
	struct leak_rules rules = { 0 };
	struct report report = { .settings = &settings, .tree = &tree };
	bool done = false;

	if (!command_parse(invocation, &settings, error) ||
		(settings.suppressions && !suppressions_read(&suppressions, settings.suppressions, error)) ||
		!output_open(&output, settings.view.output, settings.view.force, error) ||
		!view_load(&settings.view, invocation, true, 0, &profile, error))
		goto out;
	calltree_init(&tree, profile, settings.view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	report.profile = profile;
	leak_rules_init(&rules, profile, &suppressions);
	leaks_init(&report.leaks, &tree, &rules, 0, profile->site_count);
	if (!settings.all)
		drop_kept_by_design(&report);

	size_t number = settings.number && settings.number < report.leaks.count ? (size_t)settings.number : report.leaks.count;

	if (settings.view.json)
		write_json(&report, output.file, number);
	else
		print_text(&report, output.file, number);
	done = output_commit(&output, error);
out:
	leaks_finish(&report.leaks);
	leak_rules_finish(&rules);
	suppressions_finish(&suppressions);
	calltree_finish(&tree);
	profile_free(profile);
	output_close(&output);
	return done;
}

static const struct command_example leaks_examples[] = {
	{ "sctmem leaks", "what the newest capture's program never freed" },
	{ "sctmem leaks --file myproject -n 5", "the five largest with a frame in myproject" },
	{ "sctmem leaks --time 60.. --at 5m", "allocated after the first minute and still there after five" },
	{ "sctmem leaks --all --json > leaks.json", "everything, for a script" },
	{ 0 }
};

const struct command leaks_command = {
	.name = "leaks",
	.summary = "list what was never freed, by stack",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Lists the stacks that allocated what was still live at the end, the largest first, each with the innermost "
		"frame first. The figures add up to the live memory that sctmem stats prints.\n\n"
		"What a Python interpreter keeps until its end by design is set apart as groups with their sums: what imports "
		"of the standard library and of packages created; what the interpreter's start-up (with the site module) and "
		"the interpreter outside any Python code allocated; arenas whose blocks were not recorded. The bodies of your "
		"own modules count as your program. --all lists the stacks of these groups too; -v shows the interpreter's "
		"own frames.\n\n"
		"A stack is suppressed, and set apart likewise, when a frame's function, source file or module contains a "
		"PATTERN of the file of --suppressions: * stands for any characters, ^ and $ anchor it.",
	.groups = leaks_groups,
	.examples = leaks_examples,
	.run = leaks_run,
};
