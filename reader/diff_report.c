/* SPDX-License-Identifier: MIT */
/*
 * See diff_report.h.
 */
#include "diff_report.h"

#include <inttypes.h>
#include <string.h>

#include "json.h"
#include "memory.h"
#include "text.h"

/* What a row is: whether anything was ever allocated there, before and after. */
static const char *row_state(const struct diff_row *row, enum metric metric)
{
	const uint64_t before = metric_bytes(&row->before, metric), after = metric_bytes(&row->after, metric);

	if (row->before.total_count == 0)
		return "new";
	if (row->after.total_count == 0)
		return "gone";
	return before == after ? "same" : before < after ? "grown" : "shrunk";
}

static int64_t growth(const struct diff_row *row, enum metric metric)
{
	return (int64_t)(metric_bytes(&row->after, metric) - metric_bytes(&row->before, metric));
}

static int64_t growth_count(const struct diff_row *row, enum metric metric)
{
	return (int64_t)(metric_count(&row->after, metric) - metric_count(&row->before, metric));
}

static int compare_rows(const void *a, const void *b, void *report)
{
	const struct diff_row *x = a, *y = b;
	const struct diff_report *compared = report;
	const int64_t more = growth(x, compared->metric), other = growth(y, compared->metric);
	const int64_t count = growth_count(x, compared->metric), other_count = growth_count(y, compared->metric);
	const struct frame *frames = compared->diff->merged.frames;

	if (more != other)
		return more > other ? -1 : 1;
	if (count != other_count)
		return count > other_count ? -1 : 1;
	int order = strcmp(frames[x->frame].function, frames[y->frame].function);
	if (order == 0)
		order = strcmp(frames[x->frame].file, frames[y->frame].file);
	return order ? order : (x->node > y->node) - (x->node < y->node);
}

/* Where a node's own costs are booked. */
static uint32_t key_of(const struct diff_report *report, uint32_t node)
{
	switch (report->by) {
	case DIFF_STACK: return node;
	case DIFF_FUNCTION: return report->tree.nodes[node].frame;
	case DIFF_PLACE: break;
	}
	return (uint32_t)(calltree_location(&report->tree, node) - report->diff->merged.frames);
}

void diff_report_init(struct diff_report *report, unsigned hidden)
{
	/* The tree of before: the same nodes, since it has the same sites. */
	struct profile earlier = report->diff->merged;
	struct calltree before;
	struct diff_row *rows;
	size_t count = 0;

	earlier.sites = memory_new(earlier.site_count, sizeof *earlier.sites);
	for (size_t i = 0; i < earlier.site_count; i++) {
		earlier.sites[i] = report->diff->merged.sites[i];
		earlier.sites[i].cost = report->diff->before[i];
		earlier.sites[i].spread = (uint32_t)i + 1;
	}
	earlier.spreads = report->diff->before_spreads;
	earlier.sample_mean_bytes = report->before->sample_mean_bytes;
	calltree_init(&report->tree, &report->diff->merged, hidden);
	calltree_init(&before, &earlier, hidden);
	const size_t all = report->by == DIFF_STACK ? report->tree.count : earlier.frame_count;

	rows = memory_new(all, sizeof *rows);
	if (before.own_spreads || report->tree.own_spreads)
		report->spreads = memory_new(all, sizeof *report->spreads);
	for (uint32_t node = 0; node < report->tree.count; node++) {
		const uint32_t key = key_of(report, node);

		rows[key].frame = report->by == DIFF_STACK ? report->tree.nodes[node].frame : key;
		rows[key].node = report->by == DIFF_STACK ? node : 0;
		cost_add(&rows[key].before, &before.own[node]);
		cost_add(&rows[key].after, &report->tree.own[node]);
		rows[key].spread = key;
		if (before.own_spreads)
			cost_spread_add(&report->spreads[key].before, &before.own_spreads[node]);
		if (report->tree.own_spreads)
			cost_spread_add(&report->spreads[key].after, &report->tree.own_spreads[node]);
	}
	for (size_t i = 0; i < all; i++) {
		if (growth(&rows[i], report->metric) || growth_count(&rows[i], report->metric))
			rows[count++] = rows[i];
		else
			report->same += rows[i].before.total_count > 0;
	}
	if (count > 1)
		qsort_r(rows, count, sizeof *rows, compare_rows, report);
	report->rows = rows;
	report->row_count = count;
	calltree_finish(&before);
	free(earlier.sites);
}

void diff_report_finish(struct diff_report *report)
{
	calltree_finish(&report->tree);
	free(report->rows);
	free(report->spreads);
}

/* Of what is more after than before, in this metric. */
static struct difference growth_interval(const struct diff_report *report, enum metric metric,
	const struct cost *before, const struct cost *after, const struct diff_spread *spread, bool bytes)
{
	const struct profile *then = report->before, *now = &report->diff->merged;

	return bytes ? estimate_difference(metric_bytes(before, metric),
			view_bytes_interval(then, metric, before, &spread->before), metric_bytes(after, metric),
			view_bytes_interval(now, metric, after, &spread->after)) :
		estimate_difference(metric_count(before, metric),
			view_count_interval(then, metric, before, &spread->before), metric_count(after, metric),
			view_count_interval(now, metric, after, &spread->after));
}

/* "+1.5 MiB", "-12", "0". */
static struct text_number signed_number(int64_t value, bool bytes)
{
	const uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
	const struct text_number plain = bytes ? text_bytes(size) : text_count(size);
	struct text_number out;

	snprintf(out.text, sizeof out.text, "%s%.30s", value < 0 ? "-" : value > 0 ? "+" : "", plain.text);
	return out;
}

static struct text_number growth_percent(uint64_t before, uint64_t after)
{
	struct text_number out;

	if (before == 0)
		snprintf(out.text, sizeof out.text, "%s", after ? "new" : "");
	else
		snprintf(out.text, sizeof out.text, "%+.1f %%", ((double)after - (double)before) / (double)before * 100);
	return out;
}

static struct sample_text growth_interval_text(struct difference interval)
{
	struct sample_text out;

	snprintf(out.text, sizeof out.text, "%s to %s", signed_number(interval.low, true).text,
		signed_number(interval.high, true).text);
	return out;
}

static void print_totals(const struct diff_report *report, const struct text *text)
{
	static const struct text_column columns[] = { { "", false }, { "before", true }, { "after", true },
		{ "growth", true }, { "", true }, { "blocks", true } };
	static const struct text_column sampled[] = { { "", false }, { "before", true }, { "after", true },
		{ "growth", true }, { "95 % interval", true }, { "", true }, { "blocks", true } };
	static const enum metric metrics[] = { METRIC_PEAK, METRIC_LEAKED, METRIC_TOTAL, METRIC_TEMPORARY };
	const struct cost *before = &report->diff->before_total, *after = &report->diff->after_total;
	const struct diff_spread spread = { report->diff->before_total_spread, report->diff->after_total_spread };
	struct text_table table = TEXT_TABLE_EITHER(report->spreads, sampled, columns);

	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
		const uint64_t old = metric_bytes(before, metrics[i]), now = metric_bytes(after, metrics[i]);
		const enum text_style style = now > old ? TEXT_HOT : now < old ? TEXT_COOL : TEXT_PLAIN;

		text_table_add(&table, TEXT_PLAIN, metric_title(metrics[i], report->view));
		text_table_add(&table, TEXT_PLAIN, text_bytes(old).text);
		text_table_add(&table, TEXT_PLAIN, text_bytes(now).text);
		text_table_add(&table, style, signed_number((int64_t)(now - old), true).text);
		if (report->spreads)
			text_table_add(&table, TEXT_DIM, growth_interval_text(growth_interval(report, metrics[i], before, after, &spread,
				true)).text);
		text_table_add(&table, style, growth_percent(old, now).text);
		text_table_add(&table, TEXT_PLAIN, signed_number((int64_t)(metric_count(after, metrics[i]) -
			metric_count(before, metrics[i])), false).text);
	}
	text_table_print(&table, text, "  ");
	text_table_finish(&table);
}

static void print_stack(const struct diff_report *report, const struct text *text, uint32_t node)
{
	char name[VIEW_FRAME_SIZE];
	uint64_t shown = 0, left = 0;

	for (; node != 0; node = report->tree.nodes[node].parent) {
		if (report->frames && shown == report->frames) {
			left++;
			continue;
		}
		shown++;
		fputs("      ", text->file);
		text_write(text, view_frame_text(name, sizeof name, &report->diff->merged.frames[report->tree.nodes[node].frame]),
			text->width > 30 ? text->width - 6 : 0);
		putc('\n', text->file);
	}
	if (left)
		fprintf(text->file, "      ... %" PRIu64 " more frames; --frames 0 shows all\n", left);
}

static struct difference row_interval(const struct diff_report *report, const struct diff_row *row, bool bytes)
{
	return growth_interval(report, report->metric, &row->before, &row->after, &report->spreads[row->spread], bytes);
}

static void add_row(const struct diff_report *report, struct text_table *table, const struct diff_row *row)
{
	const uint64_t before = metric_bytes(&row->before, report->metric), after = metric_bytes(&row->after, report->metric);
	const enum text_style style = after > before ? TEXT_HOT : after < before ? TEXT_COOL : TEXT_PLAIN;
	char name[VIEW_FRAME_SIZE];

	text_table_add(table, style, signed_number(growth(row, report->metric), true).text);
	if (report->spreads)
		text_table_add(table, TEXT_DIM, growth_interval_text(row_interval(report, row, true)).text);
	text_table_add(table, TEXT_PLAIN, text_bytes(before).text);
	text_table_add(table, TEXT_PLAIN, text_bytes(after).text);
	text_table_add(table, TEXT_PLAIN, signed_number(growth_count(row, report->metric), false).text);
	text_table_add(table, TEXT_PLAIN, row_state(row, report->metric));
	text_table_add(table, TEXT_PLAIN, view_frame_text(name, sizeof name, &report->diff->merged.frames[row->frame]));
}

/* rows[first], rows[first + step] ...: `count` of them, of which --number are shown. */
static void print_list(const struct diff_report *report, const struct text *text, size_t first, int step, size_t count,
	const char *title)
{
	static const struct text_column columns[] = { { "growth", true }, { "before", true }, { "after", true },
		{ "blocks", true }, { "", false }, { "", false } };
	static const struct text_column sampled[] = { { "growth", true }, { "95 % interval", true }, { "before", true },
		{ "after", true }, { "blocks", true }, { "", false }, { "", false } };
	const size_t shown = report->number && report->number < count ? (size_t)report->number : count;
	struct text_table table = TEXT_TABLE_EITHER(report->spreads, sampled, columns);

	if (count == 0)
		return;
	putc('\n', text->file);
	text_heading(text, "%s", title);
	for (size_t i = 0; i < shown; i++) {
		const struct diff_row *row = &report->rows[step > 0 ? first + i : first - i];

		if (report->by != DIFF_STACK) {
			add_row(report, &table, row);
			continue;
		}
		fprintf(text->file, "%s%s ", i ? "\n" : "", signed_number(growth(row, report->metric), true).text);
		fprintf(text->file, "(%s ", text_bytes(metric_bytes(&row->before, report->metric)).text);
		fprintf(text->file, "to %s), ", text_bytes(metric_bytes(&row->after, report->metric)).text);
		fprintf(text->file, "%s blocks, %s", signed_number(growth_count(row, report->metric), false).text,
			row_state(row, report->metric));
		if (report->spreads)
			fprintf(text->file, ", 95 %% interval %s", growth_interval_text(row_interval(report, row, true)).text);
		putc('\n', text->file);
		print_stack(report, text, row->node);
	}
	if (report->by != DIFF_STACK)
		text_table_print(&table, text, "  ");
	text_table_finish(&table);
	if (shown < count)
		fprintf(text->file, "  ... %zu more; -n 0 lists all\n", count - shown);
}

static void print_captures(const struct text *text, const char *word, const struct profile *profile)
{
	for (uint32_t n = 0; n < profile->capture_count; n++) {
		const struct profile_capture *capture = &profile->captures[n];

		fprintf(text->file, "  %-7s ", n ? "" : word);
		text_write(text, capture->path, 0);
		fputs("  ", text->file);
		for (size_t i = 0; capture->arguments[i]; i++) {
			putc(' ', text->file);
			text_write(text, capture->arguments[i], 0);
		}
		putc('\n', text->file);
	}
}

void diff_write_text(const struct diff_report *report, FILE *file)
{
	static const char *const units[] = { "place", "function", "stack" };
	const struct text text = text_begin(file);
	size_t grown = 0;
	char title[128];

	print_captures(&text, "before", report->before);
	print_captures(&text, "after", &report->diff->merged);
	putc('\n', file);
	print_totals(report, &text);
	/* What has the same bytes in more or fewer blocks stands with what grew. */
	while (grown < report->row_count && growth(&report->rows[grown], report->metric) >= 0)
		grown++;
	snprintf(title, sizeof title, "More %s, by %s", metric_title(report->metric, report->view), units[report->by]);
	print_list(report, &text, 0, 1, grown, title);
	snprintf(title, sizeof title, "Less %s, by %s", metric_title(report->metric, report->view), units[report->by]);
	print_list(report, &text, report->row_count - 1, -1, report->row_count - grown, title);
	if (report->row_count == 0)
		fprintf(file, "\nNo %s differs: %s.\n", units[report->by], metric_title(report->metric, report->view));
	view_print_warnings(report->before, &text);
	view_print_warnings(&report->diff->merged, &text);
}

static void write_paths(struct json *json, const char *key, const struct profile *profile)
{
	json_array(json, key);
	for (uint32_t i = 0; i < profile->capture_count; i++)
		json_text(json, NULL, profile->captures[i].path);
	json_array_end(json);
}

static void write_difference(struct json *json, const char *key, struct difference interval)
{
	json_array(json, key);
	json_decimal(json, NULL, (double)interval.low, 0);
	json_decimal(json, NULL, (double)interval.high, 0);
	json_array_end(json);
}

static void write_row_intervals(struct json *json, const struct diff_report *report, const struct diff_row *row)
{
	const struct profile *before = report->before, *after = &report->diff->merged;
	const enum metric metric = report->metric;

	if (!report->spreads)
		return;
	const struct diff_spread *spread = &report->spreads[row->spread];

	json_object(json, "interval_95");
	view_write_interval(json, "before_bytes", view_bytes_interval(before, metric, &row->before, &spread->before));
	view_write_interval(json, "before_count", view_count_interval(before, metric, &row->before, &spread->before));
	view_write_interval(json, "after_bytes", view_bytes_interval(after, metric, &row->after, &spread->after));
	view_write_interval(json, "after_count", view_count_interval(after, metric, &row->after, &spread->after));
	write_difference(json, "growth_bytes", row_interval(report, row, true));
	write_difference(json, "growth_count", row_interval(report, row, false));
	json_object_end(json);
}

static void write_row(struct json *json, const struct diff_report *report, const struct diff_row *row)
{
	const struct frame *frame = &report->diff->merged.frames[row->frame];
	char name[VIEW_FRAME_SIZE];

	json_object(json, NULL);
	json_text(json, "state", row_state(row, report->metric));
	json_text(json, "function", frame->function);
	json_text(json, "file", frame->file);
	json_number(json, "line", frame->line);
	json_text(json, "module", frame->module);
	json_number(json, "before_bytes", metric_bytes(&row->before, report->metric));
	json_number(json, "before_count", metric_count(&row->before, report->metric));
	json_number(json, "after_bytes", metric_bytes(&row->after, report->metric));
	json_number(json, "after_count", metric_count(&row->after, report->metric));
	write_row_intervals(json, report, row);
	if (report->by == DIFF_STACK) {
		json_array(json, "stack");
		for (uint32_t node = row->node; node != 0; node = report->tree.nodes[node].parent)
			json_text(json, NULL, view_frame_location(name, sizeof name,
				&report->diff->merged.frames[report->tree.nodes[node].frame]));
		json_array_end(json);
	}
	json_object_end(json);
}

void diff_write_json(const struct diff_report *report, FILE *file)
{
	struct json json = json_begin(file, false);
	size_t left_out = 0;

	json_object(&json, NULL);
	json_text(&json, "metric", metric_name(report->metric));
	json_text(&json, "before_path", report->before->captures[0].path);
	json_text(&json, "after_path", report->diff->merged.captures[0].path);
	write_paths(&json, "before_paths", report->before);
	write_paths(&json, "after_paths", &report->diff->merged);
	view_write_cost(&json, "before", &report->diff->before_total);
	view_write_cost(&json, "after", &report->diff->after_total);
	view_write_sample_as(&json, "before_sample", report->before);
	view_write_sample(&json, &report->diff->merged);
	json_number(&json, "same_count", report->same);
	json_number(&json, "row_count", report->row_count);
	json_array(&json, "rows");
	/* From both ends, as the text has it. */
	if (report->number && report->row_count > 2 * report->number)
		left_out = report->row_count - 2 * (size_t)report->number;
	for (size_t i = 0; i < report->row_count; i++)
		if (!left_out || i < report->number || i >= report->row_count - report->number)
			write_row(&json, report, &report->rows[i]);
	json_array_end(&json);
	json_object_end(&json);
}
