/* SPDX-License-Identifier: MIT */
/*
 * What a view says of a capture that holds a sample of the blocks: in words and in JSON, with the 95 per cent
 * intervals of the totals.  Called by view_print_warnings and by each command that writes JSON.
 */
#include "view.h"

#include <inttypes.h>

#include "json.h"

struct sample_text view_interval(struct interval interval, bool bytes)
{
	struct sample_text out;

	snprintf(out.text, sizeof out.text, "%s to %s",
		(bytes ? text_bytes(interval.low) : text_count(interval.low)).text,
		(bytes ? text_bytes(interval.high) : text_count(interval.high)).text);
	return out;
}

/* ", one block about every 1.0 KiB from 12 m 03 s on, 4.0 KiB from ..." */
static void print_steps(const struct text *text, const struct profile *profile, const struct profile_capture *capture)
{
	for (unsigned i = 0; i < capture->sample_step_count; i++) {
		if (i == 0 && profile->capture_count > 1)
			fprintf(text->file, ", process %" PRIu32, capture->pid);
		fprintf(text->file, ", %s%s", i ? "" : "one block about every ",
			text_bytes(capture->sample_steps[i].mean_bytes).text);
		/* The first block of a sample from the start is not there at once. */
		if (capture->sample_step_count > 1)
			fprintf(text->file, " from %s on", text_time(capture->sample_steps[i].time_ns).text);
	}
}

static void print_compacted(const struct text *text, const struct profile *profile,
	const struct profile_capture *capture)
{
	text_style(text, TEXT_WARNING);
	fputs("note: ", text->file);
	text_style(text, TEXT_PLAIN);
	text_write(text, capture->path, 0);
	fprintf(text->file, ": compacted: live memory is exact at the peak, at marks and every %s, and a lower bound "
		"in between, where what was freed again has its sums only", text_time(capture->compacted_ns).text);
	if (capture->compacted_limit != profile->temporary_limit)
		fprintf(text->file, "; of these, temporary is what was freed within %" PRIu32 " allocations",
			capture->compacted_limit);
	putc('\n', text->file);
}

/* Over several processes the peaks of each need not fall together: the sum is a bound all the same. */
static void print_aggregated(const struct text *text, const struct profile *profile)
{
	uint64_t blocks = 0, bytes = 0, count = 0;
	const bool is_sample = profile->sample_mean_bytes > 0;

	for (uint32_t i = 0; i < profile->capture_count; i++) {
		blocks += profile->captures[i].unseen_blocks;
		bytes += profile->captures[i].unseen_bytes;
		count += profile->captures[i].unseen_count;
	}
	if (blocks == 0)
		return;
	text_style(text, TEXT_WARNING);
	fputs("note: ", text->file);
	text_style(text, TEXT_PLAIN);
	fprintf(text->file, "aggregated: of %s blocks that were soon freed again there are sums only; totals, and what is "
		"live at samples of resident memory, at marks and at the end %s", text_count(blocks).text,
		is_sample ? "do not suffer from that" : "are exact");
	if (profile->window_levels == 0 && profile->total.peak_bytes > 0 && !is_sample)
		fprintf(text->file, ", the peak lies between %s and %s",
			text_bytes(profile->total.peak_bytes).text, text_bytes(profile->total.peak_bytes + bytes).text);
	fprintf(text->file, ", other moments%s are low by at most %s in %s blocks", is_sample ? ", the peak too," : "",
		text_bytes(bytes).text, text_count(count).text);
	if (profile->temporary_limit != 1)
		fputs("; of the sums, temporary is what was freed within 1 allocation", text->file);
	putc('\n', text->file);
}

void view_print_sample(const struct profile *profile, const struct text *text)
{
	const uint64_t mean = profile->sample_mean_bytes;
	static const struct { const char *name; enum metric metric; } figures[] = {
		{ "peak", METRIC_PEAK }, { "live", METRIC_LIVE }, { "allocated", METRIC_TOTAL },
		{ "temporary", METRIC_TEMPORARY },
	};
	uint64_t recorded = 0, passed = 0;

	for (uint32_t i = 0; i < profile->capture_count; i++)
		if (profile->captures[i].compacted_ns)
			print_compacted(text, profile, &profile->captures[i]);
	print_aggregated(text, profile);
	if (mean == 0)
		return;
	for (uint32_t i = 0; i < profile->capture_count; i++) {
		recorded += profile->captures[i].sample_recorded;
		passed += profile->captures[i].sample_passed;
	}
	text_style(text, TEXT_WARNING);
	fputs("note: ", text->file);
	text_style(text, TEXT_PLAIN);
	fputs("sampled", text->file);
	for (uint32_t i = 0; i < profile->capture_count; i++)
		print_steps(text, profile, &profile->captures[i]);
	fprintf(text->file, " (%s blocks", text_count(recorded).text);
	fprintf(text->file, " recorded, %s not); figures of blocks are estimates, mappings are exact",
		text_count(passed).text);
	/* What is measured window by window has no sums of its own. */
	if (profile->window_levels == 0)
		fputs("; 95 % intervals of all blocks:", text->file);
	for (size_t i = 0; profile->window_levels == 0 && i < sizeof figures / sizeof *figures; i++)
		fprintf(text->file, "%s %s %s", i ? "," : "", figures[i].name,
			view_interval(view_bytes_interval(profile, figures[i].metric, &profile->total, &profile->total_spread),
				true).text);
	putc('\n', text->file);
}

void view_write_interval(struct json *json, const char *key, struct interval interval)
{
	json_array(json, key);
	json_number(json, NULL, interval.low);
	json_number(json, NULL, interval.high);
	json_array_end(json);
}

void view_write_cost(struct json *json, const char *key, const struct cost *cost)
{
	json_object(json, key);
	json_number(json, "total_bytes", cost->total_bytes);
	json_number(json, "total_count", cost->total_count);
	json_number(json, "peak_bytes", cost->peak_bytes);
	json_number(json, "peak_count", cost->peak_count);
	json_number(json, "live_bytes", cost->live_bytes);
	json_number(json, "live_count", cost->live_count);
	json_number(json, "temporary_bytes", cost->temporary_bytes);
	json_number(json, "temporary_count", cost->temporary_count);
	json_object_end(json);
}

struct interval view_bytes_interval(const struct profile *profile, enum metric metric, const struct cost *cost,
	const struct cost_spread *spread)
{
	return interval_bytes(profile, metric_figure(metric), cost, spread);
}

struct interval view_count_interval(const struct profile *profile, enum metric metric, const struct cost *cost,
	const struct cost_spread *spread)
{
	return interval_count(profile, metric_figure(metric), cost, spread);
}

void view_write_intervals(struct json *json, const struct profile *profile, enum metric metric,
	const struct view_figure *figures, size_t count)
{
	if (profile->sample_mean_bytes == 0)
		return;
	json_object(json, "interval_95");
	for (size_t i = 0; i < count; i++) {
		const char *prefix = figures[i].prefix ? figures[i].prefix : "", *line = figures[i].prefix ? "_" : "";
		char key[64];

		snprintf(key, sizeof key, "%s%sbytes", prefix, line);
		view_write_interval(json, key, view_bytes_interval(profile, metric, figures[i].cost, figures[i].spread));
		snprintf(key, sizeof key, "%s%scount", prefix, line);
		view_write_interval(json, key, view_count_interval(profile, metric, figures[i].cost, figures[i].spread));
	}
	json_object_end(json);
}

void view_write_spread(struct json *json, const char *key, const struct profile *profile, const struct cost *cost,
	const struct cost_spread *spread)
{
	static const char *const keys[2 * COST_FIGURES] = { "total_bytes", "total_count", "peak_bytes", "peak_count",
		"live_bytes", "live_count", "temporary_bytes", "temporary_count" };
	struct interval intervals[2 * COST_FIGURES];

	intervals_of(profile, cost, spread, intervals);
	json_object(json, key);
	for (unsigned i = 0; i < 2 * COST_FIGURES; i++)
		view_write_interval(json, keys[i], intervals[i]);
	json_object_end(json);
}

void view_write_sample(struct json *json, const struct profile *profile)
{
	view_write_sample_as(json, "sample", profile);
}

void view_write_sample_as(struct json *json, const char *key, const struct profile *profile)
{
	uint64_t recorded = 0, passed = 0, passed_bytes = 0;

	if (profile->sample_mean_bytes == 0)
		return;
	for (uint32_t i = 0; i < profile->capture_count; i++) {
		recorded += profile->captures[i].sample_recorded;
		passed += profile->captures[i].sample_passed;
		passed_bytes += profile->captures[i].sample_passed_bytes;
	}
	json_object(json, key);
	json_number(json, "mean_bytes", profile->sample_mean_bytes);
	json_number(json, "recorded", recorded);
	json_number(json, "not_recorded", passed);
	json_number(json, "not_recorded_bytes", passed_bytes);
	json_array(json, "steps");
	for (uint32_t i = 0; i < profile->capture_count; i++) {
		for (unsigned n = 0; n < profile->captures[i].sample_step_count; n++) {
			json_object(json, NULL);
			json_number(json, "capture", i);
			json_number(json, "mean_bytes", profile->captures[i].sample_steps[n].mean_bytes);
			json_decimal(json, "time_s", (double)profile->captures[i].sample_steps[n].time_ns / 1e9, 9);
			json_object_end(json);
		}
	}
	json_array_end(json);
	view_write_spread(json, "interval_95", profile, &profile->total, &profile->total_spread);
	json_object_end(json);
}
