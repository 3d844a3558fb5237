/* SPDX-License-Identifier: MIT */
/*
 * What a view says of a capture that holds a sample of the blocks: in words and in JSON, with the 95 per cent
 * intervals of the totals.  Called by view_print_warnings and by each command that writes JSON.
 */
#include "view.h"

#include <inttypes.h>

#include "json.h"

struct figure {
	const char *name;
	uint64_t bytes, count;
	const struct spread *spread;
	uint64_t mean;
};

enum { FIGURES = 4 };

static void list_figures(const struct profile *profile, struct figure figures[FIGURES])
{
	const struct cost *cost = &profile->total;
	const struct cost_spread *spread = &profile->total_spread;

	figures[0] = (struct figure){ "peak", cost->peak_bytes, cost->peak_count, &spread->peak,
		profile->sample_mean_peak_bytes };
	figures[1] = (struct figure){ "live", cost->live_bytes, cost->live_count, &spread->live,
		profile->sample_mean_live_bytes };
	figures[2] = (struct figure){ "allocated", cost->total_bytes, cost->total_count, &spread->total,
		profile->sample_mean_bytes };
	figures[3] = (struct figure){ "temporary", cost->temporary_bytes, cost->temporary_count, &spread->temporary,
		profile->sample_mean_bytes };
}

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

void view_print_sample(const struct profile *profile, const struct text *text)
{
	const uint64_t mean = profile->sample_mean_bytes;
	struct figure figures[FIGURES];
	uint64_t recorded = 0, passed = 0;

	for (uint32_t i = 0; i < profile->capture_count; i++)
		if (profile->captures[i].compacted_ns)
			print_compacted(text, profile, &profile->captures[i]);
	if (mean == 0)
		return;
	for (uint32_t i = 0; i < profile->capture_count; i++) {
		recorded += profile->captures[i].sample_recorded;
		passed += profile->captures[i].sample_passed;
	}
	list_figures(profile, figures);
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
	for (size_t i = 0; profile->window_levels == 0 && i < FIGURES; i++)
		fprintf(text->file, "%s %s %s", i ? "," : "", figures[i].name,
			view_interval(estimate_bytes(figures[i].bytes, figures[i].spread, figures[i].mean), true).text);
	putc('\n', text->file);
}

static void write_interval(struct json *json, const char *key, struct interval interval)
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

void view_write_spread(struct json *json, const char *key, const struct profile *profile, const struct cost *cost,
	const struct cost_spread *spread)
{
	const uint64_t mean = profile->sample_mean_bytes, peak = profile->sample_mean_peak_bytes;
	const uint64_t live = profile->sample_mean_live_bytes;

	json_object(json, key);
	write_interval(json, "total_bytes", estimate_bytes(cost->total_bytes, &spread->total, mean));
	write_interval(json, "total_count", estimate_count(cost->total_count, &spread->total, mean));
	write_interval(json, "peak_bytes", estimate_bytes(cost->peak_bytes, &spread->peak, peak));
	write_interval(json, "peak_count", estimate_count(cost->peak_count, &spread->peak, peak));
	write_interval(json, "live_bytes", estimate_bytes(cost->live_bytes, &spread->live, live));
	write_interval(json, "live_count", estimate_count(cost->live_count, &spread->live, live));
	write_interval(json, "temporary_bytes", estimate_bytes(cost->temporary_bytes, &spread->temporary, mean));
	write_interval(json, "temporary_count", estimate_count(cost->temporary_count, &spread->temporary, mean));
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
