/* SPDX-License-Identifier: MIT */
/*
 * The JSON of `sctmem stats`: docs/json.md.  Keys that memray's `stats --json` has mean the same here.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "formats/capture.h"
#include "formats/events.h"
#include "json.h"
#include "memory.h"
#include "stats.h"

static void write_date(struct json *json, const char *key, uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / 1000000000);
	struct tm parts;
	char date[40] = "";

	if (!gmtime_r(&seconds, &parts) || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
		json_null(json, key);
		return;
	}
	json_format(json, key, "%s.%06" PRIu64 "+00:00", date, realtime_ns % 1000000000 / 1000);
}

static void write_command_line(struct json *json, const struct profile_capture *capture)
{
	size_t size = 1;

	for (const char *const *argument = capture->arguments; argument && *argument; argument++)
		size += strlen(*argument) + 1;

	char *line = memory_new(size, 1), *at = line;

	for (const char *const *argument = capture->arguments; argument && *argument; argument++)
		at += sprintf(at, "%s%s", at == line ? "" : " ", *argument);
	json_text(json, "command_line", line);
	free(line);
}

static void write_capture(struct json *json, const char *key, const struct profile_capture *capture)
{
	const struct { const char *key; uint64_t value; } numbers[] = {
		{ "events", capture->events },
		{ "capture_bytes", capture->file_bytes },
		{ "tracer_bytes", capture->tracer_bytes },
		{ "lost_events", capture->lost_events },
		{ "lost_memory", capture->lost_memory },
		{ "lost_storage", capture->lost_storage },
		{ "lost_reentry", capture->lost_reentry },
		{ "lost_threads", capture->lost_threads },
		{ "stacks_truncated", capture->stacks_truncated },
		{ "stacks_degraded", capture->stacks_degraded },
		{ "unwind_guessed", capture->unwind_guessed },
		{ "unwind_stopped", capture->unwind_stopped },
		{ "python_refused", capture->python_refused },
		{ "unknown_frees", capture->unknown_frees },
		{ "contradictions", capture->contradictions },
		{ "gaps", capture->gap_count },
		{ "forgotten_bytes", capture->forgotten_bytes },
		{ "forgotten_count", capture->forgotten_count },
		{ "damaged_bytes", capture->damaged_bytes },
		{ "sample_mean_bytes", capture->sample_mean_bytes },
		{ "compacted_ns", capture->compacted_ns },
		{ "embedded_symbols", capture->embedded_symbols },
		{ "aggregated_blocks", capture->unseen_blocks },
		{ "aggregated_peak_bytes", capture->unseen_bytes },
		{ "aggregated_peak_count", capture->unseen_count },
		{ "clock_resolution_ns", capture->clock_resolution_ns },
	};

	json_object(json, key);
	json_text(json, "path", capture->path);
	write_command_line(json, capture);
	json_number(json, "pid", capture->pid);
	json_number(json, "parent_pid", capture->parent_pid);
	json_text(json, "host", capture->host);
	json_text(json, "executable", capture->executable);
	json_text(json, "directory", capture->directory);
	write_date(json, "start_time", capture->start_realtime_ns);
	write_date(json, "end_time", capture->start_realtime_ns + capture->duration_ns);
	json_decimal(json, "duration_s", (double)capture->duration_ns / 1e9, 9);
	json_number(json, "peak_bytes", capture->peak_bytes);
	json_decimal(json, "peak_time_s", (double)capture->peak_time_ns / 1e9, 9);
	json_text(json, "state", stats_state_word(capture));
	json_bool(json, "paused", capture->paused);
	json_decimal(json, "gaps_s", (double)capture->gap_ns / 1e9, 9);
	json_bool(json, "damaged", capture->damaged);
	json_text(json, "problem", capture->problem);
	if (capture->python_version)
		json_text(json, "python_version", stats_python_version(capture->python_version).text);
	else
		json_null(json, "python_version");
	json_text(json, "python_allocator", capture->python_allocator);
	json_bool(json, "attached", capture->attached);
	json_number(json, "segment_first", capture->segment_first);
	json_number(json, "segment_last", capture->segment_last);
	json_number(json, "segments_missing", capture->segments_missing);
	json_number(json, "events_left_out", capture->left_out);
	json_bool(json, "trace_python_allocators", capture->features & CAPTURE_PYTHON_ALLOCATORS);
	json_text(json, "native_traces", capture->features & CAPTURE_NATIVE_FULL ? "full"
		: capture->features & CAPTURE_NATIVE_LEAF ? "leaf" : "no");
	json_text(json, "libc", capture->libc);
	json_text(json, "writer", capture->writer);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		json_number(json, numbers[i].key, numbers[i].value);
	json_object_end(json);
}

/* Of the family: what memray has of one process, of the first process; sums where a sum means something. */
static void write_metadata(struct json *json, const struct profile *profile)
{
	const struct profile_capture none = { .host = "", .executable = "", .path = "" };
	const struct profile_capture *first = profile->capture_count ? &profile->captures[0] : &none;
	uint64_t lost = 0, events = 0, bytes = 0, tracer = 0, truncated = 0, damaged = 0;

	for (uint32_t i = 0; i < profile->capture_count; i++) {
		const struct profile_capture *capture = &profile->captures[i];

		if (capture->start_realtime_ns < first->start_realtime_ns)
			first = capture;
		lost += capture->lost_events;
		events += capture->events;
		bytes += capture->file_bytes;
		tracer += capture->tracer_bytes;
		truncated += capture->stacks_truncated;
		damaged += capture->damaged;
	}
	json_object(json, "metadata");
	json_number(json, "peak_memory", profile->peak_bytes);
	json_number(json, "pid", first->pid);
	write_command_line(json, first);
	write_date(json, "start_time", first->start_realtime_ns);
	write_date(json, "end_time", first->start_realtime_ns + profile->duration_ns);
	json_number(json, "total_allocations", profile->total.total_count);
	json_decimal(json, "duration_s", (double)profile->duration_ns / 1e9, 9);
	json_text(json, "host", first->host);
	json_text(json, "executable", first->executable);
	if (first->python_version)
		json_text(json, "python_version", stats_python_version(first->python_version).text);
	else
		json_null(json, "python_version");
	json_text(json, "python_allocator", first->python_allocator ? first->python_allocator : "");
	json_bool(json, "trace_python_allocators", first->features & CAPTURE_PYTHON_ALLOCATORS);
	json_bool(json, "has_native_traces", first->features & (CAPTURE_NATIVE_FULL | CAPTURE_NATIVE_LEAF));
	json_text(json, "state", stats_state_word(first));
	json_number(json, "captures", profile->capture_count);
	json_number(json, "damaged_captures", damaged);
	json_number(json, "threads", profile->thread_count);
	json_number(json, "events", events);
	json_number(json, "lost_events", lost);
	json_number(json, "stacks_truncated", truncated);
	json_number(json, "capture_bytes", bytes);
	json_decimal(json, "bytes_per_event", events ? (double)bytes / (double)events : 0, 3);
	json_number(json, "tracer_bytes", tracer);
	json_number(json, "resident_peak_bytes", profile->resident_peak_bytes);
	json_bool(json, "symbols_resolved", profile->symbols_resolved);
	json_object_end(json);
}

static void write_costs(struct json *json, const struct profile *profile)
{
	const char *allocator;

	json_object(json, "peak");
	json_number(json, "bytes", profile->total.peak_bytes);
	json_number(json, "count", profile->total.peak_count);
	json_decimal(json, "time_s", (double)profile->peak_time_ns / 1e9, 9);
	json_object_end(json);
	/* Also when --at chose another moment: its time_s says which. */
	json_object(json, "live_at_end");
	json_number(json, "bytes", profile->total.live_bytes);
	json_number(json, "count", profile->total.live_count);
	json_decimal(json, "time_s", (double)profile->at_time_ns / 1e9, 9);
	json_object_end(json);
	json_object(json, "temporary");
	json_number(json, "bytes", profile->total.temporary_bytes);
	json_number(json, "count", profile->total.temporary_count);
	json_number(json, "limit", profile->temporary_limit);
	json_object_end(json);
	json_number(json, "total_num_frees", profile->free_count);
	view_write_cost(json, "total", &profile->total);
	json_object(json, "by_domain");
	for (unsigned i = 0; i < DOMAIN_COUNT; i++)
		view_write_cost(json, domain_name((enum domain)i), &profile->by_domain[i]);
	json_object_end(json);
	if (profile->sample_mean_bytes) {
		json_object(json, "by_domain_interval_95");
		for (unsigned i = 0; i < DOMAIN_COUNT; i++)
			if (i == DOMAIN_HEAP || i == DOMAIN_PYTHON)
				view_write_spread(json, domain_name((enum domain)i), profile, &profile->by_domain[i],
					&profile->domain_spreads[i]);
		json_object_end(json);
	}
	json_object(json, "by_allocator");
	for (unsigned i = 0; i < 64; i++)
		if ((profile->by_allocator[i].total_count || profile->by_allocator[i].live_count) &&
			(allocator = events_kind_name(i)))
			view_write_cost(json, allocator, &profile->by_allocator[i]);
	json_object_end(json);
}

static void write_top(struct json *json, struct rank *rank, uint64_t number, bool by_count)
{
	rank_sort(rank, by_count ? RANK_OWN_COUNT : RANK_OWN_BYTES, METRIC_TOTAL);
	json_array(json, by_count ? "top_allocations_by_count" : "top_allocations_by_size");
	for (size_t i = 0; i < rank->count && i < number; i++) {
		const struct rank_row *row = &rank->rows[i];
		uint64_t value = by_count ? row->own.total_count : row->own.total_bytes;
		char place[VIEW_FRAME_SIZE];

		if (value == 0)
			break;
		json_object(json, NULL);
		json_text(json, "location", view_frame_location(place, sizeof place, &rank->tree->profile->frames[row->frame]));
		json_number(json, by_count ? "count" : "size", value);
		json_object_end(json);
	}
	json_array_end(json);
}

static void write_sizes(struct json *json, const struct profile *profile)
{
	json_array(json, "allocation_size_histogram");
	for (uint32_t i = 0; i < profile->size_bin_count; i++) {
		json_object(json, NULL);
		json_number(json, "min", profile->size_bins[i].min);
		json_number(json, "max", profile->size_bins[i].max);
		json_number(json, "count", profile->size_bins[i].count);
		json_number(json, "bytes", profile->size_bins[i].bytes);
		json_object_end(json);
	}
	json_array_end(json);
}

static void write_threads(struct json *json, const struct profile *profile)
{
	struct cost *costs = memory_new(profile->thread_count, sizeof *costs);

	for (size_t i = 0; i < profile->site_count; i++)
		if (profile_counts(profile, &profile->sites[i]) && profile->sites[i].thread < profile->thread_count)
			cost_add(&costs[profile->sites[i].thread], &profile->sites[i].cost);
	json_array(json, "threads");
	for (uint32_t i = 0; i < profile->thread_count; i++) {
		const struct profile_thread *thread = &profile->threads[i];

		json_object(json, NULL);
		json_number(json, "tid", thread->tid);
		json_text(json, "name", thread->name);
		json_number(json, "capture", thread->capture);
		json_decimal(json, "start_s", (double)thread->start_ns / 1e9, 9);
		view_write_cost(json, "cost", &costs[i]);
		json_object_end(json);
	}
	json_array_end(json);
	free(costs);
}

void stats_write_json(FILE *file, const struct profile *profile, struct rank *rank, uint64_t number)
{
	struct json json = json_begin(file, false);

	json_object(&json, NULL);
	json_number(&json, "total_num_allocations", profile->total.total_count);
	json_number(&json, "total_bytes_allocated", profile->total.total_bytes);
	view_write_sample(&json, profile);
	write_sizes(&json, profile);
	json_object(&json, "allocator_type_distribution");
	for (unsigned i = 0; i < 64; i++)
		if (profile->by_allocator[i].total_count && events_kind_name(i))
			json_number(&json, events_kind_name(i), profile->by_allocator[i].total_count);
	json_object_end(&json);
	write_top(&json, rank, number, false);
	write_top(&json, rank, number, true);
	write_metadata(&json, profile);
	write_costs(&json, profile);
	write_threads(&json, profile);
	json_array(&json, "captures");
	for (uint32_t i = 0; i < profile->capture_count; i++)
		write_capture(&json, NULL, &profile->captures[i]);
	json_array_end(&json);
	json_object_end(&json);
}
