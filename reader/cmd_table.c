/* SPDX-License-Identifier: MIT */
/*
 * sctmem table and sctmem summary: costs by function, file, module, line, stack or thread.
 *
 * summary is the table by function with the columns that memray's users know; both print the rows of rank.h.
 */
#include <inttypes.h>
#include <string.h>

#include "calltree.h"
#include "json.h"
#include "output.h"
#include "rank.h"
#include "report_file.h"
#include "view.h"

static const char *const by_words[] = { "function", "file", "module", "line", "stack", "thread", NULL };
static const enum rank_by by_values[] = { RANK_FUNCTION, RANK_FILE, RANK_MODULE, RANK_LINE, RANK_STACK, RANK_THREAD };

enum { SORT_TOTAL, SORT_OWN, SORT_COUNT, SORT_OWN_COUNT };
static const char *const sort_words[] = { "total", "own", "count", "own-count", NULL };
static const enum rank_sort sort_values[] = {
	RANK_TOTAL_BYTES, RANK_OWN_BYTES, RANK_TOTAL_COUNT, RANK_OWN_COUNT,
};

struct table {
	struct view view;
	int by, sort;
	uint64_t rows;
	bool html;
	const char *suppressions;
};

static const struct option_spec table_options[] = {
	OPTION_CHOICE('b', "by", "WHAT", struct table, by, by_words,
		"a row for each function, file, module, line, stack or thread (default line)"),
	OPTION_CHOICE('s', "sort", "COLUMN", struct table, sort, sort_words,
		"total, own, count or own-count (default own)"),
	OPTION_NUMBER('n', "rows", "N", struct table, rows, 0, UINT32_MAX, "rows; 0: all (default 30)"),
	OPTION_FLAG(0, "html", struct table, html, "write the page of sctmem report, beginning with its table of all sites"),
	OPTION_TEXT(0, "suppressions", "FILE", struct table, suppressions, "with --html: leaks that are accepted"),
	OPTION_LAST
};

static const struct option_spec summary_options[] = {
	OPTION_CHOICE('s', "sort", "COLUMN", struct table, sort, sort_words,
		"total, own, count or own-count (default total)"),
	OPTION_NUMBER('n', "rows", "N", struct table, rows, 0, UINT32_MAX, "rows; 0: all (default 30)"),
	OPTION_LAST
};

static const struct option_group table_groups[] = {
	VIEW_SELECTION(offsetof(struct table, view)),
	VIEW_METRIC(offsetof(struct table, view)),
	{ .title = "Rows", .options = table_options },
	VIEW_OUTPUT_JSON(offsetof(struct table, view)),
	{ 0 }
};

static const struct option_group summary_groups[] = {
	VIEW_SELECTION(offsetof(struct table, view)),
	VIEW_METRIC(offsetof(struct table, view)),
	{ .title = "Rows", .options = summary_options },
	VIEW_OUTPUT_JSON(offsetof(struct table, view)),
	{ 0 }
};

static void print_table(const struct text *text, const struct rank *rank, const struct table *settings,
	enum metric metric, size_t rows)
{
	static const struct text_column columns[] = {
		{ "total", true }, { "%", true }, { "own", true }, { "%", true }, { "count", true }, { "own count", true },
		{ "", false },
	};
	static const struct text_column sampled[] = {
		{ "total", true }, { "95 % interval", true }, { "%", true }, { "own", true }, { "95 % interval", true },
		{ "%", true }, { "count", true }, { "own count", true }, { "", false },
	};
	struct text_table table = TEXT_TABLE_EITHER(rank->spreads, sampled, columns);
	const struct profile *profile = rank->tree->profile;
	uint64_t all = metric_bytes(&profile->total, metric);

	text_heading(text, "Memory %s, by %s", metric_title(metric, &settings->view), by_words[settings->by]);
	fprintf(text->file, "%s in %s blocks\n\n", text_bytes(all).text,
		text_count(metric_count(&profile->total, metric)).text);
	for (size_t i = 0; i < rows; i++) {
		const struct rank_row *row = &rank->rows[i];
		uint64_t total = metric_bytes(&row->total, metric), own = metric_bytes(&row->own, metric);
		char name[VIEW_FRAME_SIZE];

		text_table_add(&table, TEXT_PLAIN, text_bytes(total).text);
		if (rank->spreads)
			text_table_add(&table, TEXT_DIM, view_interval(view_bytes_interval(profile, metric, &row->total,
				&rank->spreads[row->spread].total), true).text);
		text_table_add(&table, text_share_style(all ? (double)total / (double)all : 0), text_percent(total, all).text);
		text_table_add(&table, TEXT_PLAIN, text_bytes(own).text);
		if (rank->spreads)
			text_table_add(&table, TEXT_DIM, view_interval(view_bytes_interval(profile, metric, &row->own,
				&rank->spreads[row->spread].own), true).text);
		text_table_add(&table, text_share_style(all ? (double)own / (double)all : 0), text_percent(own, all).text);
		text_table_add(&table, TEXT_PLAIN, text_count(metric_count(&row->total, metric)).text);
		text_table_add(&table, TEXT_PLAIN, text_count(metric_count(&row->own, metric)).text);
		text_table_add(&table, TEXT_PLAIN, rank_row_text(rank, row, name, sizeof name));
	}
	text_table_print(&table, text, "");
	text_table_finish(&table);
}

static void write_frame(struct json *json, const struct frame *frame, int by)
{
	if (by == RANK_FUNCTION || by == RANK_LINE || by == RANK_STACK)
		json_text(json, "function", frame->function);
	if (by != RANK_MODULE)
		json_text(json, "file", frame->file);
	if (by == RANK_LINE || by == RANK_STACK)
		json_number(json, "line", frame->line);
	if (*frame->module)
		json_text(json, "module", frame->module);
}

static void write_stack(struct json *json, const struct calltree *tree, uint32_t node)
{
	char name[VIEW_FRAME_SIZE];

	json_array(json, "stack");
	for (; node != 0; node = tree->nodes[node].parent)
		json_text(json, NULL, view_frame_location(name, sizeof name,
			&tree->profile->frames[tree->nodes[node].frame]));
	json_array_end(json);
}

static void write_json(FILE *file, const struct rank *rank, const struct table *settings, enum metric metric,
	size_t rows)
{
	struct json json = json_begin(file, false);
	const struct profile *profile = rank->tree->profile;

	json_object(&json, NULL);
	json_text(&json, "metric", metric_name(metric));
	json_text(&json, "by", by_words[settings->by]);
	json_number(&json, "total_bytes", metric_bytes(&profile->total, metric));
	json_number(&json, "total_count", metric_count(&profile->total, metric));
	view_write_sample(&json, profile);
	json_number(&json, "row_count", rank->count);
	json_array(&json, "rows");
	for (size_t i = 0; i < rows; i++) {
		const struct rank_row *row = &rank->rows[i];

		json_object(&json, NULL);
		if (rank->by == RANK_THREAD) {
			json_number(&json, "tid", profile->threads[row->thread].tid);
			json_text(&json, "name", profile->threads[row->thread].name);
		} else {
			write_frame(&json, &profile->frames[row->frame], (int)rank->by);
		}
		if (rank->by == RANK_STACK)
			write_stack(&json, rank->tree, row->node);
		json_number(&json, "total_bytes", metric_bytes(&row->total, metric));
		json_number(&json, "total_count", metric_count(&row->total, metric));
		json_number(&json, "own_bytes", metric_bytes(&row->own, metric));
		json_number(&json, "own_count", metric_count(&row->own, metric));
		if (rank->spreads)
			view_write_intervals(&json, profile, metric, (const struct view_figure[]){
				{ "total", &row->total, &rank->spreads[row->spread].total },
				{ "own", &row->own, &rank->spreads[row->spread].own } }, 2);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
}

/* Frames that this metric does not touch. */
static void drop_empty(struct rank *rank, enum metric metric)
{
	size_t kept = 0;

	for (size_t i = 0; i < rank->count; i++)
		if (metric_bytes(&rank->rows[i].total, metric) || metric_count(&rank->rows[i].total, metric))
			rank->rows[kept++] = rank->rows[i];
	rank->count = kept;
}

static bool show(struct invocation *invocation, struct table *settings, struct error *error)
{
	struct profile *profile = NULL;
	struct output output = { 0 };
	struct calltree tree = { 0 };
	struct rank rank = { 0 };
	bool done = false;

	if (!command_parse(invocation, settings, error))
		goto out;
	if (settings->suppressions && !settings->html)
		return fail(error, STATUS_USAGE, "--suppressions sets leaks apart in the page: it goes with --html "
			"(or with sctmem leaks)");
	if (settings->html) {
		const struct report_file page = { .begin = "table", .suppressions = settings->suppressions,
			REPORT_FILE_DEFAULT };

		if (settings->view.json)
			return fail(error, STATUS_USAGE, "--html and --json: one of them");
		return report_file_write(&page, &settings->view, invocation, error);
	}
	if (!output_open(&output, settings->view.output, settings->view.force, error) ||
		!view_load(&settings->view, invocation, true, 0, &profile, error))
		goto out;

	enum metric metric = view_metric(&settings->view, METRIC_PEAK);

	calltree_init(&tree, profile, settings->view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	rank_init(&rank, &tree, by_values[settings->by]);
	drop_empty(&rank, metric);
	rank_sort(&rank, sort_values[settings->sort], metric);

	size_t rows = settings->rows && settings->rows < rank.count ? (size_t)settings->rows : rank.count;

	if (settings->view.json) {
		write_json(output.file, &rank, settings, metric, rows);
	} else {
		struct text text = text_begin(output.file);

		print_table(&text, &rank, settings, metric, rows);
		if (rows < rank.count)
			fprintf(output.file, "... and %s more; -n 0 shows all\n", text_count(rank.count - rows).text);
		view_print_warnings(profile, &text);
	}
	done = output_commit(&output, error);
out:
	rank_finish(&rank);
	calltree_finish(&tree);
	profile_free(profile);
	output_close(&output);
	return done;
}

static bool table_run(struct invocation *invocation, struct error *error)
{
	struct table settings = { .view = VIEW_DEFAULT, .by = 3, .sort = SORT_OWN, .rows = 30 };

	return show(invocation, &settings, error);
}

static bool summary_run(struct invocation *invocation, struct error *error)
{
	struct table settings = { .view = VIEW_DEFAULT, .by = 0, .sort = SORT_TOTAL, .rows = 30 };

	return show(invocation, &settings, error);
}

static const struct command_example table_examples[] = {
	{ "sctmem table", "the lines that held most at the peak" },
	{ "sctmem table --by module --metric total", "what each native module allocated in all" },
	{ "sctmem table --by stack --metric temporary -n 10", "the ten stacks with most short-lived blocks" },
	{ "sctmem table --by thread --json capture.bin", "for a script" },
	{ "sctmem table --html -o page.html", "all sites, in a browser" },
	{ 0 }
};

const struct command table_command = {
	.name = "table",
	.summary = "list costs by line, function, file, module, stack or thread",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Lists where memory was asked for. A row's own figures are what was allocated there; its total also what was "
		"allocated by what it called, counted once where a function calls itself.\n\n"
		"Frames inside the Python interpreter and inside allocators are left out unless -v is given: what they "
		"allocated is their caller's own.",
	.groups = table_groups,
	.examples = table_examples,
	.run = table_run,
};

static const struct command_example summary_examples[] = {
	{ "sctmem summary", "functions by what they and their callees held at the peak" },
	{ "sctmem summary --sort own --metric leaked", "by what they themselves allocated and nobody freed" },
	{ 0 }
};

const struct command summary_command = {
	.name = "summary",
	.summary = "list functions with their total and own memory",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Lists functions with the memory that they and what they called allocated (total), what they allocated "
		"themselves (own), both as a share of all, and the number of blocks. It is sctmem table --by function "
		"--sort total.",
	.groups = summary_groups,
	.examples = summary_examples,
	.run = summary_run,
};
