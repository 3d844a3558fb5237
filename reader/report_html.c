/* SPDX-License-Identifier: MIT */
/*
 * Writes the report page:  the parts of web/page.h, and between them what they ask for.
 *
 *     page text | title | page text | summary | page text | columns (base64) | page text | meta (JSON) | page text
 *
 * The page's code is constant, hashed, and the only code that its content policy lets run; this file adds data only.
 * Every text from a capture goes through report_text.c, so that none can leave the element that holds it.  What the
 * two blocks of data hold is in formats/report.md.
 */
#include "report_html.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/capture.h"
#include "intervals.h"
#include "json.h"
#include "report_columns.h"
#include "report_insights.h"
#include "report_source.h"
#include "report_text.h"
#include "suppressions.h"
#include "web/page.h"

/* What the profile does not know is an empty text. */
static void put_text(struct json *json, const char *key, const char *text)
{
	json_text(json, key, text ? text : "");
}

static void put_cost(struct json *json, const char *key, const struct cost *cost)
{
	json_array(json, key);
	json_number(json, NULL, cost->total_bytes);
	json_number(json, NULL, cost->total_count);
	json_number(json, NULL, cost->peak_bytes);
	json_number(json, NULL, cost->peak_count);
	json_number(json, NULL, cost->live_bytes);
	json_number(json, NULL, cost->live_count);
	json_number(json, NULL, cost->temporary_bytes);
	json_number(json, NULL, cost->temporary_count);
	json_array_end(json);
}

static void put_interval(struct json *json, struct interval interval)
{
	json_number(json, NULL, interval.low);
	json_number(json, NULL, interval.high);
}

/* Of a sample: [mean, recorded, not recorded, then low and high of the eight figures, as put_cost has them]. */
static void put_sample(struct json *json, const struct profile *profile)
{
	const uint64_t mean = profile->sample_mean_bytes;
	struct interval intervals[2 * COST_FIGURES];
	uint64_t recorded = 0, passed = 0;

	if (mean == 0)
		return;
	for (uint32_t i = 0; i < profile->capture_count; i++) {
		recorded += profile->captures[i].sample_recorded;
		passed += profile->captures[i].sample_passed;
	}
	intervals_of(profile, &profile->total, &profile->total_spread, intervals);
	json_array(json, "sample_steps");
	for (uint32_t i = 0; i < profile->capture_count; i++) {
		for (unsigned n = 0; n < profile->captures[i].sample_step_count; n++) {
			const struct sample_step *step = &profile->captures[i].sample_steps[n];
			json_array(json, NULL);
			json_number(json, NULL, i);
			json_number(json, NULL, step->mean_bytes);
			/* Rounded up: whether a border of slices, a whole number, lies before it must not change. */
			json_number(json, NULL, (profile->captures[i].start_ns + step->time_ns + 999) / 1000);
			json_array_end(json);
		}
	}
	json_array_end(json);
	json_array(json, "sample_means");
	json_number(json, NULL, mean);
	json_number(json, NULL, profile->sample_mean_peak_bytes);
	json_number(json, NULL, profile->sample_mean_live_bytes);
	json_number(json, NULL, mean);
	json_array_end(json);
	json_array(json, "sample");
	json_number(json, NULL, mean);
	json_number(json, NULL, recorded);
	json_number(json, NULL, passed);
	for (unsigned i = 0; i < 2 * COST_FIGURES; i++)
		put_interval(json, intervals[i]);
	json_array_end(json);
}

static const char *allocator_name(unsigned allocator)
{
	switch (allocator) {
#define X(number, upper, lower) case number: return #lower;
	CAPTURE_RECORDS(X)
#undef X
	default:
		return "unknown";
	}
}

static void put_allocators(struct json *json, const struct profile *profile)
{
	bool used[256] = { false };
	for (size_t i = 0; i < profile->site_count; i++)
		used[profile->sites[i].allocator] = true;
	static const struct cost none;
	json_object(json, "allocators");
	for (unsigned i = 0; i < 256; i++) {
		const struct cost *cost = i < 64 ? &profile->by_allocator[i] : &none;
		if (!used[i] && !cost->total_count)
			continue;
		char key[4];
		snprintf(key, sizeof(key), "%u", i);
		json_object(json, key);
		put_text(json, "name", allocator_name(i));
		put_cost(json, "costs", cost);
		json_object_end(json);
	}
	json_object_end(json);
}

static void put_size_bins(struct json *json, const struct profile *profile)
{
	json_array(json, "size_bins");
	for (uint32_t i = 0; i < profile->size_bin_count; i++) {
		const struct size_bin *bin = &profile->size_bins[i];
		json_array(json, NULL);
		json_number(json, NULL, bin->min);
		/* The last bins of an address space of 64 bits: nothing was allocated there, the bound is only a label. */
		json_number(json, NULL, bin->max < REPORT_NUMBER_MAX ? bin->max : REPORT_NUMBER_MAX);
		json_number(json, NULL, bin->count);
		json_number(json, NULL, bin->bytes);
		json_array_end(json);
	}
	json_array_end(json);
}

static void put_capture(struct json *json, const struct profile_capture *capture)
{
	json_object(json, NULL);
	put_text(json, "path", capture->path);
	put_text(json, "host", capture->host);
	put_text(json, "executable", capture->executable);
	put_text(json, "directory", capture->directory);
	put_text(json, "libc", capture->libc);
	put_text(json, "writer", capture->writer);
	put_text(json, "parent_path", capture->parent_path);
	json_array(json, "arguments");
	for (size_t i = 0; capture->arguments && capture->arguments[i]; i++)
		put_text(json, NULL, capture->arguments[i]);
	json_array_end(json);
	json_number(json, "pid", capture->pid);
	json_number(json, "parent_pid", capture->parent_pid);
	json_number(json, "start_ms", capture->start_realtime_ns / 1000000);
	json_number(json, "duration_us", capture->duration_ns / 1000);
	json_number(json, "peak_bytes", capture->peak_bytes);
	json_number(json, "peak_time_us", capture->peak_time_ns / 1000);
	json_number(json, "events", capture->events);
	json_number(json, "file_bytes", capture->file_bytes);
	json_number(json, "python_version", capture->python_version);
	json_number(json, "python_flags", capture->python_flags);
	put_text(json, "python_allocator", capture->python_allocator);
	json_number(json, "features", capture->features);
	json_number(json, "state", capture->state);
	json_bool(json, "alive", capture->alive);
	json_number(json, "segment_first", capture->segment_first);
	json_number(json, "segment_last", capture->segment_last);
	json_bool(json, "damaged", capture->damaged);
	put_text(json, "problem", capture->problem);
	json_number(json, "damaged_bytes", capture->damaged_bytes);
	json_number(json, "compacted_us", (capture->compacted_ns + 999) / 1000);
	json_number(json, "aggregated_blocks", capture->unseen_blocks);
	json_number(json, "aggregated_peak_bytes", capture->unseen_bytes);
	json_number(json, "lost_events", capture->lost_events);
	json_number(json, "lost_memory", capture->lost_memory);
	json_number(json, "lost_storage", capture->lost_storage);
	json_number(json, "lost_reentry", capture->lost_reentry);
	json_number(json, "lost_threads", capture->lost_threads);
	json_number(json, "stacks_truncated", capture->stacks_truncated);
	json_number(json, "stacks_degraded", capture->stacks_degraded);
	json_number(json, "unwind_guessed", capture->unwind_guessed);
	json_number(json, "unwind_stopped", capture->unwind_stopped);
	json_number(json, "python_refused", capture->python_refused);
	json_number(json, "tracer_bytes", capture->tracer_bytes);
	json_number(json, "clock_resolution_ns", capture->clock_resolution_ns);
	json_number(json, "unknown_frees", capture->unknown_frees);
	json_number(json, "contradictions", capture->contradictions);
	json_number(json, "gaps", capture->gap_count);
	json_number(json, "gaps_us", capture->gap_ns / 1000);
	json_number(json, "forgotten_bytes", capture->forgotten_bytes);
	json_number(json, "forgotten_count", capture->forgotten_count);
	json_bool(json, "paused", capture->paused);
	json_object_end(json);
}

/* The title as one text on the heap: what was asked for, or the command line.  NULL: no memory. */
static char *title_new(const struct profile *profile, const struct report_options *options)
{
	const struct profile_capture *capture = profile->capture_count ? &profile->captures[0] : NULL;
	const char *fallback = capture && capture->path ? capture->path : "";
	const char *const single[] = { options->title && *options->title ? options->title : fallback, NULL };
	const char *const *words = single;
	if (single[0] == fallback && capture && capture->arguments && capture->arguments[0])
		words = capture->arguments;
	size_t size = 1;
	for (size_t i = 0; words[i]; i++)
		size += strlen(words[i]) + 1;
	char *title = malloc(size);
	if (!title)
		return NULL;
	char *to = title;
	for (size_t i = 0; words[i]; i++) {
		if (i)
			*to++ = ' ';
		to = stpcpy(to, words[i]);
	}
	*to = '\0';
	return title;
}

static void put_captures(struct json *json, const struct profile *profile)
{
	json_array(json, "captures");
	for (uint32_t i = 0; i < profile->capture_count; i++)
		put_capture(json, &profile->captures[i]);
	json_array_end(json);
}

/* Of the run compared with: what its time line needs, and what to know before trusting it. */
static void put_before_run(struct json *json, const struct profile *profile)
{
	json_object(json, "before_run");
	json_number(json, "duration_us", profile->duration_ns / 1000);
	json_number(json, "peak_time_us", profile->peak_time_ns / 1000);
	json_number(json, "resident_peak_bytes", profile->resident_peak_bytes);
	json_bool(json, "symbols_resolved", profile->symbols_resolved);
	put_sample(json, profile);
	put_captures(json, profile);
	json_object_end(json);
}

/* Stretches without recording, [capture, from, to, bytes and blocks let go of at its end]; of very many the first. */
static void put_gaps(struct json *json, const struct profile *profile)
{
	enum { GAPS_MAX = 1000 };

	json_array(json, "gaps");
	for (size_t i = 0; i < profile->gap_count && i < GAPS_MAX; i++) {
		const struct profile_gap *gap = &profile->gaps[i];
		const uint64_t to_ns = gap->to_ns == UINT64_MAX ? profile->duration_ns : gap->to_ns;
		json_array(json, NULL);
		json_number(json, NULL, gap->capture);
		json_number(json, NULL, gap->from_ns / 1000);
		json_number(json, NULL, to_ns / 1000);
		json_number(json, NULL, gap->forgotten_bytes);
		json_number(json, NULL, gap->forgotten_count);
		json_array_end(json);
	}
	json_array_end(json);
}

static void put_meta_profile(struct json *json, const struct profile *profile)
{
	put_text(json, "writer", "sctmem " SCTMEM_VERSION);
	put_cost(json, "total", &profile->total);
	if (profile->before)
		put_cost(json, "before", &profile->before_total);
	put_sample(json, profile);
	json_array(json, "domains");
	for (unsigned i = 0; i < DOMAIN_COUNT; i++) {
		json_object(json, NULL);
		put_text(json, "name", domain_name((enum domain)i));
		put_cost(json, "costs", &profile->by_domain[i]);
		json_object_end(json);
	}
	json_array_end(json);
	put_allocators(json, profile);
	put_size_bins(json, profile);
	json_number(json, "free_count", profile->free_count);
	json_number(json, "resident_peak_bytes", profile->resident_peak_bytes);
	json_number(json, "temporary_limit", profile->temporary_limit);
	json_bool(json, "symbols_resolved", profile->symbols_resolved);
	json_number(json, "peak_time_us", profile->peak_time_ns / 1000);
	json_number(json, "duration_us", profile->duration_ns / 1000);
	json_number(json, "at_time_us", profile->at_time_ns / 1000);
	json_number(json, "slice_limit", profile->slice_limit);
	json_bool(json, "slices_crowded", profile->slices_crowded);
	json_array(json, "marks");
	for (uint32_t i = 0; i < profile->mark_count; i++) {
		json_array(json, NULL);
		json_number(json, NULL, profile->marks[i].time_ns / 1000);
		put_text(json, NULL, profile->marks[i].name);
		json_array_end(json);
	}
	json_array_end(json);
	put_gaps(json, profile);
	put_captures(json, profile);
	if (profile->before_run)
		put_before_run(json, profile->before_run);
}

/* [pattern, bytes, blocks] of each: what it suppressed of what is live at the end (or at the moment of --at). */
static void put_suppressions(struct json *json, const struct suppressions *suppressions)
{
	if (!suppressions || suppressions->count == 0)
		return;
	json_array(json, "suppressions");
	for (size_t i = 0; i < suppressions->count; i++) {
		json_array(json, NULL);
		put_text(json, NULL, suppressions->rules[i].pattern);
		json_number(json, NULL, suppressions->rules[i].bytes);
		json_number(json, NULL, suppressions->rules[i].count);
		json_array_end(json);
	}
	json_array_end(json);
}

/* For a reader whose browser runs no scripts. */
static void put_summary(FILE *out, const struct profile *profile)
{
	const struct cost *total = &profile->total;
	fprintf(out, "<p>Peak: %" PRIu64 " bytes in %" PRIu64 " blocks. ", total->peak_bytes, total->peak_count);
	fprintf(out, "Live at the end: %" PRIu64 " bytes in %" PRIu64 " blocks. ", total->live_bytes, total->live_count);
	fprintf(out, "Allocated in all: %" PRIu64 " bytes in %" PRIu64 " blocks.</p>", total->total_bytes,
		total->total_count);
	if (profile->sample_mean_bytes)
		fprintf(out, "<p>A sample, one block about every %" PRIu64 " bytes: figures of blocks are estimates.</p>",
			profile->sample_mean_bytes);
}

static const char *metric_checked(const char *metric)
{
	static const char *const metrics[] = { "peak", "leaked", "total", "temporary" };
	for (size_t i = 0; metric && i < sizeof(metrics) / sizeof(*metrics); i++) {
		if (!strcmp(metric, metrics[i]))
			return metrics[i];
	}
	return metric ? NULL : metrics[0];
}

/* What the page's slots are filled from. */
struct page {
	const struct profile *profile;
	const struct report_options *options;
	const char *metric;
	char *title;
	struct report_strings *strings;
	struct report_sources *sources;   /* NULL: not asked for */
	uint64_t clamped;                 /* by the columns, which come before the meta data for this reason */
};

static void put_meta(const struct page *page, FILE *out)
{
	struct json json = json_begin_compact(out, report_text_json, REPORT_NUMBER_MAX);

	json_object(&json, NULL);
	json_number(&json, "format", 1);
	put_text(&json, "title", page->title);
	put_text(&json, "view", page->options->view);
	put_text(&json, "metric", page->metric);
	json_bool(&json, "inverted", page->options->inverted);
	put_meta_profile(&json, page->profile);
	put_suppressions(&json, page->options->suppressions);
	if (page->options->insights)
		report_insights_write(page->options->insights, &json);
	json_number(&json, "clamped", json.clamped + page->clamped);
	json_object_end(&json);
}

static bool put_slot(struct page *page, enum page_slot slot, FILE *out, struct error *error)
{
	switch (slot) {
	case PAGE_TITLE:
		report_text_html(out, page->title);
		break;
	case PAGE_SUMMARY:
		put_summary(out, page->profile);
		break;
	case PAGE_COLUMNS:
		return report_columns_write(page->profile, page->strings, page->sources, out, &page->clamped, error);
	case PAGE_META:
		put_meta(page, out);
		break;
	case PAGE_END:
		break;
	}
	return true;
}

static bool put_page(struct page *page, FILE *out, struct error *error)
{
	const struct page_part *part = page_parts;
	for (bool last = false; !last; part++) {
		last = part->slot == PAGE_END;
		fwrite(part->text, 1, part->size, out);
		if (!put_slot(page, part->slot, out, error))
			return false;
		/* Not to pack millions of nodes for a full disk. */
		if (ferror(out))
			break;
	}
	if (fflush(out) || ferror(out))
		return fail(error, STATUS_OUTPUT, "cannot write the report: %s; is there room on the disk?", strerror(errno));
	return true;
}

bool report_html_write(const struct profile *profile, const struct report_options *options, FILE *out,
	struct error *error)
{
	struct page page = { .profile = profile, .options = options, .metric = metric_checked(options->metric) };
	if (!page.metric)
		return fail(error, STATUS_USAGE, "no such metric: %s (peak, leaked, total, temporary)", options->metric);
	page.title = title_new(profile, options);
	bool good = page.title ? true : fail(error, STATUS_MEMORY, "cannot make the report: out of memory");
	good = good && report_strings_new(&page.strings, profile, error);
	good = good && (options->source == REPORT_SOURCE_NONE ||
		report_sources_new(&page.sources, profile, options->source == REPORT_SOURCE_ALL, error));
	good = good && put_page(&page, out, error);
	report_sources_free(page.sources);
	report_strings_free(page.strings);
	free(page.title);
	return good;
}
