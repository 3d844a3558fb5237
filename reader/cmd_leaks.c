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
#include "leak_evidence.h"
#include "leaks.h"
#include "memory.h"
#include "output.h"
#include "view.h"

struct settings {
	struct view view;
	uint64_t number, frames;
	const char *suppressions;
	bool all, late;
	uint64_t max_leak;            /* UINT64_MAX: no limit was given */
	uint64_t score_min;           /* percent */
};

static bool parse_limit(const char *value, void *field, struct error *error)
{
	return options_parse_size(value, field) ? true :
		fail(error, STATUS_USAGE, "not a size like 0, 4096, 64KB, 1.5MiB or 2GB");
}

static const struct option_spec leaks_options[] = {
	OPTION_NUMBER('n', "number", "N", struct settings, number, 0, UINT32_MAX, "stacks to list; 0: all (default 20)"),
	OPTION_NUMBER(0, "frames", "N", struct settings, frames, 0, UINT32_MAX, "frames of each stack; 0: all (default 12)"),
	OPTION_FLAG('a', "all", struct settings, all, "list what the interpreter keeps by design too, not its sum only"),
	OPTION_NUMBER(0, "min-score", "PERCENT", struct settings, score_min, 0, 100,
		"only stacks whose score is at least that (default 0)"),
	OPTION_FLAG(0, "late", struct settings, late, "list what was freed only in the last 2 percent of the run instead"),
	OPTION_CUSTOM(0, "max-leak", "SIZE", struct settings, max_leak, uint64_t, parse_limit, NULL,
		"exit with status 1 when the program left more than that unfreed: 0, 4096, 64KB"),
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
	const struct suppressions *suppressions;
	struct leaks leaks;
	struct evidences evidences;
};

/* Drops those that the user did not ask to see one by one; their sums stay. */
static void drop_unwanted(struct report *report)
{
	struct leaks *leaks = &report->leaks;
	size_t kept = 0;

	for (size_t i = 0; i < leaks->count; i++) {
		const struct evidence *evidence = evidences_find(&report->evidences, &leaks->list[i]);

		if (!report->settings->all && leaks->list[i].keeper != KEEPER_PROGRAM)
			continue;
		if (evidence && evidence->score * 100 < (double)report->settings->score_min)
			continue;
		leaks->list[kept++] = leaks->list[i];
	}
	leaks->count = kept;
}

static int compare_held(const void *a, const void *b)
{
	const struct leak *x = a, *y = b;

	if (x->held.bytes != y->held.bytes)
		return x->held.bytes > y->held.bytes ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

/* Lists what was freed only at the end in the place of what never was. */
static void take_late(struct report *report)
{
	const struct evidences *evidences = &report->evidences;
	struct leaks *leaks = &report->leaks;

	leaks->count = 0;
	for (size_t i = 0; i < evidences->count; i++) {
		const struct evidence *evidence = &evidences->list[i];

		if (evidence->late_count == 0)
			continue;
		leaks->list = memory_grow(leaks->list, &leaks->capacity, leaks->count + 1, sizeof *leaks->list);
		leaks->list[leaks->count++] = (struct leak){ .node = evidence->node, .keeper = evidence->keeper,
			.held = { evidence->late_bytes, evidence->late_count } };
	}
	if (leaks->count > 1)
		qsort(leaks->list, leaks->count, sizeof *leaks->list, compare_held);
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

/* A line that rises as what is held did; eighths of a block, or digits where there is ASCII only. */
static void print_growth(const struct report *report, const struct text *text, const struct evidence *evidence)
{
	static const char *const blocks[] = { "\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588" };
	uint64_t most = 1;

	for (unsigned part = 0; part < report->evidences.parts; part++)
		most = evidence->held_bytes[part] > most ? evidence->held_bytes[part] : most;
	for (unsigned part = 0; part < report->evidences.parts; part++) {
		const unsigned level = (unsigned)((double)evidence->held_bytes[part] / (double)most * 7 + 0.5);

		if (evidence->held_bytes[part] == 0)
			putc(text->utf8 ? ' ' : '.', text->file);
		else if (text->utf8)
			fputs(blocks[level], text->file);
		else
			putc((int)('1' + level), text->file);
	}
}

static void print_evidence(const struct report *report, const struct text *text, const struct leak *leak)
{
	const struct evidence *evidence = evidences_find(&report->evidences, leak);
	FILE *file = text->file;

	if (!evidence)
		return;
	text_style(text, TEXT_DIM);
	fprintf(file, "      score %.2f: %s of ", evidence->score, text_count(evidence->live_count).text);
	fprintf(file, "%s blocks allocated here were never freed; grew in %u of %u parts of the run",
		text_count(evidence->total_count).text, evidence->grown, report->evidences.parts);
	if (evidence->shrunk)
		fprintf(file, ", shrank in %u", evidence->shrunk);
	fputs("  ", file);
	print_growth(report, text, evidence);
	fprintf(file, "  %s\n", evidence_word(&report->evidences, evidence));
	if (evidence->oldest_to_ns) {
		fprintf(file, "      the oldest of them was allocated between %s and ", text_time(evidence->oldest_from_ns).text);
		fprintf(file, "%s\n", text_time(evidence->oldest_to_ns).text);
	}
	text_style(text, TEXT_PLAIN);
}

/* What was held nearly to the end, and by whom. */
static void print_late(const struct report *report, const struct text *text)
{
	const struct evidences *evidences = &report->evidences;
	struct held late = { 0 };

	for (int keeper = 0; keeper < KEEPER_COUNT; keeper++) {
		late.bytes += evidences->sums[keeper].late_bytes;
		late.count += evidences->sums[keeper].late_count;
	}
	if (!evidences->late_from_ns || late.count == 0)
		return;
	fprintf(text->file, "Apart from that, %s in %s blocks were freed only after ", text_bytes(late.bytes).text,
		text_count(late.count).text);
	fprintf(text->file, "%s, in the last 2 %% of the run, having been allocated before ",
		text_time(evidences->late_from_ns).text);
	fprintf(text->file, "%s%s\n", text_time(evidences->late_born_ns).text,
		report->settings->late ? ":" : "; --late lists them");
}

static void print_suppressions(const struct report *report, const struct text *text)
{
	const struct suppressions *suppressions = report->suppressions;

	if (suppressions->count == 0)
		return;
	fputs("\nSuppressions, with what each hit:\n", text->file);
	for (size_t i = 0; i < suppressions->count; i++) {
		const struct suppression *rule = &suppressions->rules[i];

		fprintf(text->file, "  %10s  %13s blocks  leak:", text_bytes(rule->bytes).text, text_count(rule->count).text);
		text_write(text, rule->pattern, 0);
		fputs(rule->count ? "\n" : "  (nothing: it can go)\n", text->file);
	}
}

static void print_sum(const struct text *text, const struct report *report, const struct held *held,
	const char *meaning)
{
	fprintf(text->file, "  %10s  %7s  %13s blocks  ", text_bytes(held->bytes).text,
		text_percent(held->bytes, report->leaks.all.bytes).text, text_count(held->count).text);
	if (report->profile->sample_mean_bytes)
		fprintf(text->file, "%24s  ", view_interval(held_bytes_interval(report->profile, held), true).text);
	fprintf(text->file, "%s\n", meaning);
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
			print_sum(&text, report, &report->leaks.sums[keeper], keeper_meaning(keeper));
	print_sum(&text, report, &report->leaks.all, "all");
	print_late(report, &text);
	for (size_t i = 0; i < number; i++) {
		const struct leak *leak = &report->leaks.list[i];
		const bool late = report->settings->late;
		double share = report->leaks.all.bytes ? (double)leak->held.bytes / (double)report->leaks.all.bytes : 0;

		putc('\n', file);
		text_style(&text, TEXT_BOLD);
		fprintf(file, "%s", text_bytes(leak->held.bytes).text);
		text_style(&text, TEXT_PLAIN);
		fprintf(file, " in %s block%s, ", text_count(leak->held.count).text, leak->held.count == 1 ? "" : "s");
		if (late) {
			fputs("freed late", file);
		} else {
			text_style(&text, text_share_style(share));
			fputs(text_percent(leak->held.bytes, report->leaks.all.bytes).text, file);
			text_style(&text, TEXT_PLAIN);
			if (report->profile->sample_mean_bytes)
				fprintf(file, ", 95 %% interval %s",
					view_interval(held_bytes_interval(report->profile, &leak->held), true).text);
		}
		if (leak->keeper == KEEPER_SUPPRESSED)
			fputs(", suppressed", file);
		else if (leak->keeper != KEEPER_PROGRAM)
			fprintf(file, ", kept by design: %s", keeper_word(leak->keeper));
		putc('\n', file);
		if (!late)
			print_evidence(report, &text, leak);
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
	print_suppressions(report, &text);
	view_print_warnings(report->profile, &text);
}

static double seconds(uint64_t time_ns)
{
	return (double)time_ns / 1e9;
}

static void write_evidence(struct json *json, const struct report *report, const struct evidence *evidence)
{
	const struct evidences *evidences = &report->evidences;

	if (!evidence)
		return;
	json_object(json, "evidence");
	json_decimal(json, "score", evidence->score, 4);
	json_text(json, "growth", evidence_word(evidences, evidence));
	json_number(json, "parts_grown", evidence->grown);
	json_number(json, "parts_shrunk", evidence->shrunk);
	json_number(json, "allocated_bytes", evidence->total_bytes);
	json_number(json, "allocated_count", evidence->total_count);
	if (evidence->oldest_to_ns) {
		json_decimal(json, "oldest_from_s", seconds(evidence->oldest_from_ns), 9);
		json_decimal(json, "oldest_to_s", seconds(evidence->oldest_to_ns), 9);
	}
	json_array(json, "held_bytes");
	for (unsigned part = 0; part < evidences->parts; part++)
		json_number(json, NULL, evidence->held_bytes[part]);
	json_array_end(json);
	json_object_end(json);
}

static void write_parts(struct json *json, const struct report *report)
{
	const struct evidences *evidences = &report->evidences;
	struct held late = { 0 };

	if (evidences->parts == 0)
		return;
	json_array(json, "part_ends_s");
	for (unsigned part = 0; part < evidences->parts; part++)
		json_decimal(json, NULL, seconds(evidences->part_ends_ns[part]), 9);
	json_array_end(json);
	if (!evidences->late_from_ns)
		return;
	for (int keeper = 0; keeper < KEEPER_COUNT; keeper++) {
		late.bytes += evidences->sums[keeper].late_bytes;
		late.count += evidences->sums[keeper].late_count;
	}
	json_object(json, "late");
	json_decimal(json, "born_before_s", seconds(evidences->late_born_ns), 9);
	json_decimal(json, "freed_after_s", seconds(evidences->late_from_ns), 9);
	json_number(json, "bytes", late.bytes);
	json_number(json, "count", late.count);
	json_object_end(json);
}

static void write_suppressions(struct json *json, const struct suppressions *suppressions)
{
	if (suppressions->count == 0)
		return;
	json_array(json, "suppressions");
	for (size_t i = 0; i < suppressions->count; i++) {
		json_object(json, NULL);
		json_text(json, "pattern", suppressions->rules[i].pattern);
		json_number(json, "bytes", suppressions->rules[i].bytes);
		json_number(json, "count", suppressions->rules[i].count);
		json_object_end(json);
	}
	json_array_end(json);
}

static void write_json(const struct report *report, FILE *file, size_t number)
{
	struct json json = json_begin(file, false);
	const struct calltree *tree = report->tree;
	char name[VIEW_FRAME_SIZE];

	json_object(&json, NULL);
	view_write_sample(&json, report->profile);
	json_object(&json, "total");
	leaks_write_held(&json, report->profile, &report->leaks.all);
	json_object_end(&json);
	json_object(&json, "groups");
	for (int keeper = KEEPER_PROGRAM; keeper < KEEPER_COUNT; keeper++) {
		json_object(&json, keeper_word(keeper));
		leaks_write_held(&json, report->profile, &report->leaks.sums[keeper]);
		json_object_end(&json);
	}
	json_object_end(&json);
	write_parts(&json, report);
	write_suppressions(&json, report->suppressions);
	json_number(&json, "stack_count", report->leaks.count);
	json_array(&json, "leaks");
	for (size_t i = 0; i < number; i++) {
		json_object(&json, NULL);
		if (report->settings->late) {
			json_number(&json, "bytes", report->leaks.list[i].held.bytes);
			json_number(&json, "count", report->leaks.list[i].held.count);
		} else {
			leaks_write_held(&json, report->profile, &report->leaks.list[i].held);
		}
		json_text(&json, "group", keeper_word(report->leaks.list[i].keeper));
		if (!report->settings->late)
			write_evidence(&json, report, evidences_find(&report->evidences, &report->leaks.list[i]));
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

/* Evidence is of what lives at the end: elsewhere there is none. */
static bool choose_evidence(struct settings *settings, struct error *error)
{
	const bool at_end = !settings->view.to && (!settings->view.at.given ||
		(!settings->view.at.peak && settings->view.at.time_ns == UINT64_MAX));

	if (!at_end && (settings->late || settings->score_min))
		return fail(error, STATUS_USAGE, "%s is of what lives at the end: it cannot go with --at or --to",
			settings->late ? "--late" : "--min-score");
	settings->view.slices = at_end ? VIEW_SLICES_DEFAULT : 0;
	return true;
}

static bool leaks_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .view = VIEW_DEFAULT, .number = 20, .frames = 12, .max_leak = UINT64_MAX };
	struct profile *profile = NULL;
	struct output output = { 0 };
	struct calltree tree = { 0 };
	struct suppressions suppressions = { 0 };
	struct leak_rules rules = { 0 };
	struct report report = { .settings = &settings, .tree = &tree, .suppressions = &suppressions };
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (!choose_evidence(&settings, error) ||
		(settings.suppressions && !suppressions_read(&suppressions, settings.suppressions, error)) ||
		!output_open(&output, settings.view.output, settings.view.force, error) ||
		!view_load(&settings.view, invocation, true, 0, &profile, error))
		goto out;
	calltree_init(&tree, profile, settings.view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	report.profile = profile;
	leak_rules_init(&rules, profile, &suppressions);
	leaks_init(&report.leaks, &tree, &rules, 0, profile->site_count);
	evidences_init(&report.evidences, &tree, &rules);
	invocation->status = report.leaks.sums[KEEPER_PROGRAM].bytes > settings.max_leak ? STATUS_FINDINGS : STATUS_OK;
	if (settings.late)
		take_late(&report);
	drop_unwanted(&report);

	size_t number = settings.number && settings.number < report.leaks.count ? (size_t)settings.number : report.leaks.count;

	if (settings.view.json)
		write_json(&report, output.file, number);
	else
		print_text(&report, output.file, number);
	done = output_commit(&output, error);
out:
	evidences_finish(&report.evidences);
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
	{ "sctmem leaks --max-leak 0 --suppressions leaks.supp", "exit status 1 when the program leaks anything else" },
	{ "sctmem leaks --min-score 80", "only what grew nearly all the time" },
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
		"the interpreter outside any Python code allocated; the table of interned strings and code objects that the "
		"program compiled, where the runtime's symbols tell; arenas whose blocks were not recorded. The bodies of your "
		"own modules count as your program. What free lists keep was allocated by whoever needed the object first, and "
		"counts as his. --all lists the stacks of these groups too; -v shows the interpreter's own frames.\n\n"
		"Beside each stack stands what speaks for a leak. The run is cut into up to 16 parts; growing means that more "
		"was held after at least one of the last four than before it, stopped that this was so earlier only (a cache "
		"that is full), once that it was so in a single part. The score is the chance that more will be held after a "
		"further part, by the rule of succession: (parts grown - parts shrunk + 1) / (parts + 2). It is near 1 for a "
		"leak, also where most blocks are freed, and near 0 for what is allocated once. Which object refers to a block "
		"a capture does not know.\n\n"
		"A stack is suppressed, and set apart likewise, when a frame's function, source file or module contains a "
		"PATTERN of the file of --suppressions: * stands for any characters, ^ and $ anchor it.",
	.groups = leaks_groups,
	.examples = leaks_examples,
	.run = leaks_run,
};
