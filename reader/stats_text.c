/* SPDX-License-Identifier: MIT */
/*
 * The text of `sctmem stats`.
 */
#include <inttypes.h>
#include <string.h>

#include "formats/capture.h"
#include "formats/events.h"
#include "stats.h"

const char *stats_state_word(const struct profile_capture *capture)
{
	if (capture->alive)
		return "recording";
	switch (capture->state) {
	case CAPTURE_EXITED: return "finished";
	case CAPTURE_STOPPED_STORAGE: return "stopped_storage";
	case CAPTURE_STOPPED_MEMORY: return "stopped_memory";
	case CAPTURE_STOPPED_USER: return "stopped_user";
	case CAPTURE_STOPPED_FILTER: return "stopped_filter";
	case CAPTURE_CONTINUED: return "continued";
	default: return "killed";
	}
}

const char *stats_state_text(const struct profile_capture *capture)
{
	if (capture->alive && capture->paused)
		return "running; recording is stopped: these are the figures of what was recorded";
	if (capture->alive)
		return "still recording: these are the figures of this moment";
	switch (capture->state) {
	case CAPTURE_EXITED: return "finished";
	case CAPTURE_STOPPED_STORAGE: return "recording stopped before the end: the file could not grow";
	case CAPTURE_STOPPED_MEMORY: return "recording stopped before the end: no memory for the recorder";
	case CAPTURE_STOPPED_USER: return "recording was ended by its user (sctmem detach, sctmem_stop)";
	case CAPTURE_STOPPED_FILTER:
		return "recording stopped before the end: the program had its system calls filtered (seccomp)";
	case CAPTURE_CONTINUED: return "the run goes on in its next segment, which was not read";
	default: return "killed, or ended by _exit: complete up to that moment";
	}
}

struct text_number stats_python_version(uint32_t version)
{
	struct text_number out = { "" };
	unsigned level = version >> 4 & 15, serial = version & 15;
	const char *phase = level == 0xa ? "a" : level == 0xb ? "b" : level == 0xc ? "rc" : "";

	if (version == 0)
		return out;
	snprintf(out.text, sizeof out.text, "%u.%u.%u%s", version >> 24, version >> 16 & 255, version >> 8 & 255, phase);
	if (*phase)
		snprintf(out.text + strlen(out.text), 4, "%u", serial);
	return out;
}

static void label(const struct text *text, const char *name)
{
	fprintf(text->file, "  %-14s", name);
}

static void print_command_line(const struct text *text, const struct profile_capture *capture)
{
	for (const char *const *argument = capture->arguments; argument && *argument; argument++) {
		if (argument != capture->arguments)
			putc(' ', text->file);
		text_write(text, *argument, 0);
	}
}

static void print_python(const struct text *text, const struct profile_capture *capture)
{
	if (capture->python_version == 0)
		return;
	label(text, "Python");
	fputs(stats_python_version(capture->python_version).text, text->file);
	if (capture->python_flags & 2)
		fputs(", free-threaded", text->file);
	if (*capture->python_allocator) {
		fputs(", allocator ", text->file);
		text_write(text, capture->python_allocator, 0);
	}
	if (view_misses_python(capture))
		fputs("; its objects are not recorded", text->file);
	else
		fputs(capture->features & CAPTURE_PYTHON_ALLOCATORS ? "; its blocks are recorded" : "; its arenas are recorded",
			text->file);
	if (capture->python_flags && !(capture->python_flags & 4))
		fputs("; its stacks are not understood by the library that recorded", text->file);
	putc('\n', text->file);
}

static void print_segments(const struct text *text, const struct profile_capture *capture)
{
	if (capture->segment_first == 0)
		return;
	label(text, "segments");
	fprintf(text->file, "%" PRIu32 " to %" PRIu32 " of the run", capture->segment_first, capture->segment_last);
	if (capture->segments_missing)
		fprintf(text->file, ", %" PRIu32 " in between missing", capture->segments_missing);
	if (capture->segment_first > 1)
		fprintf(text->file, "; the first are not here: what was allocated in them is not known, and %" PRIu64
			" events from before all threads' are here are left out", capture->left_out);
	putc('\n', text->file);
}

static void print_capture(const struct text *text, const struct profile_capture *capture)
{
	text_style(text, TEXT_BOLD);
	text_write(text, capture->path, 0);
	text_style(text, TEXT_PLAIN);
	putc('\n', text->file);
	label(text, "command");
	print_command_line(text, capture);
	putc('\n', text->file);
	label(text, "process");
	fprintf(text->file, "%" PRIu32 " on ", capture->pid);
	text_write(text, capture->host, 0);
	fputs(", ", text->file);
	text_write(text, capture->executable, 0);
	putc('\n', text->file);
	print_python(text, capture);
	label(text, "started");
	fprintf(text->file, "%s, recorded for %s%s\n", text_date(capture->start_realtime_ns).text,
		text_time(capture->duration_ns).text, capture->attached ?
		"; the process ran already, and what it had allocated before is not known" : "");
	print_segments(text, capture);
	label(text, "state");
	if (capture->state != CAPTURE_EXITED || capture->damaged)
		text_style(text, TEXT_WARNING);
	fputs(stats_state_text(capture), text->file);
	if (capture->damaged)
		fputs("; damaged", text->file);
	text_style(text, TEXT_PLAIN);
	putc('\n', text->file);
	if (capture->embedded_symbols) {
		label(text, "symbols");
		fprintf(text->file, "the capture has the names of %s native frames with it\n",
			text_count(capture->embedded_symbols).text);
	}
}

static void print_memory(const struct text *text, const struct profile *profile, const struct view *view)
{
	static const struct text_column columns[] = { { "" }, { "", true }, { "", true }, { "" } };
	struct text_table table = TEXT_TABLE(columns);
	const struct cost *total = &profile->total;
	const struct { const char *name, *unit; enum metric metric; } rows[] = {
		{ "peak", "block", METRIC_PEAK }, { metric_title(METRIC_LIVE, view), "block", METRIC_LIVE },
		{ "allocated", "allocation", METRIC_TOTAL }, { "temporary", "allocation", METRIC_TEMPORARY },
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const uint64_t bytes = metric_bytes(total, rows[i].metric), count = metric_count(total, rows[i].metric);
		char line[160];

		snprintf(line, sizeof line, "in %s %s%s%s%s", text_count(count).text, rows[i].unit,
			count == 1 ? "" : "s", i == 0 ? ", after " : "", i == 0 ? text_time(profile->peak_time_ns).text : "");
		text_table_add(&table, TEXT_PLAIN, rows[i].name);
		text_table_add(&table, TEXT_BOLD, text_bytes(bytes).text);
		text_table_add(&table, TEXT_PLAIN, text_count(bytes).text);
		text_table_add(&table, TEXT_PLAIN, line);
		if (profile->sample_mean_bytes == 0)
			continue;
		snprintf(line, sizeof line, "in %s", view_interval(view_count_interval(profile, rows[i].metric, total,
			&profile->total_spread), false).text);
		text_table_add(&table, TEXT_DIM, "  95 % interval");
		text_table_add(&table, TEXT_DIM, view_interval(view_bytes_interval(profile, rows[i].metric, total,
			&profile->total_spread), true).text);
		text_table_add(&table, TEXT_DIM, "");
		text_table_add(&table, TEXT_DIM, line);
	}
	text_heading(text, "Memory");
	text_table_print(&table, text, "  ");
	text_table_finish(&table);
	label(text, "frees");
	fprintf(text->file, "%s\n", text_count(profile->free_count).text);
	if (profile->resident_peak_bytes) {
		label(text, "resident");
		fprintf(text->file, "%s at most, as the system counts\n", text_bytes(profile->resident_peak_bytes).text);
	}
	label(text, "duration");
	fprintf(text->file, "%s\n\n", text_time(profile->duration_ns).text);
}

/* Arenas are sometimes counted: as sites of theirs say. */
static bool domain_counted(const struct profile *profile, unsigned domain)
{
	struct site site = { .domain = (uint8_t)domain };

	for (size_t i = 0; i < profile->site_count; i++)
		if (profile->sites[i].domain == domain)
			return profile_counts(profile, &profile->sites[i]);
	return domain != DOMAIN_ARENA && profile_counts(profile, &site);
}

static void print_domains(const struct text *text, const struct profile *profile)
{
	static const struct text_column columns[] = {
		{ "" }, { "allocated", true }, { "allocations", true }, { "at the peak", true }, { "live", true }, { "" },
	};
	struct text_table table = TEXT_TABLE(columns);

	for (unsigned i = 0; i < DOMAIN_COUNT; i++) {
		const struct cost *cost = &profile->by_domain[i];

		if (cost->total_count == 0 && cost->live_count == 0)
			continue;

		enum text_style style = domain_counted(profile, i) ? TEXT_PLAIN : TEXT_DIM;

		text_table_add(&table, style, domain_name((enum domain)i));
		text_table_add(&table, style, text_bytes(cost->total_bytes).text);
		text_table_add(&table, style, text_count(cost->total_count).text);
		text_table_add(&table, style, text_bytes(cost->peak_bytes).text);
		text_table_add(&table, style, text_bytes(cost->live_bytes).text);
		text_table_add(&table, style, style == TEXT_PLAIN ? "" : "not counted");
	}
	text_heading(text, "By kind of memory");
	text_table_print(&table, text, "  ");
	text_table_finish(&table);
	putc('\n', text->file);
}

static void print_allocators(const struct text *text, const struct profile *profile)
{
	static const struct text_column columns[] = { { "" }, { "allocations", true }, { "allocated", true }, { "" } };
	struct text_table table = TEXT_TABLE(columns);
	uint64_t all = 0;   /* not profile->total: mappings that are not counted are listed here too */

	for (unsigned i = 0; i < 64; i++)
		all += profile->by_allocator[i].total_bytes;
	for (unsigned i = 0; i < 64; i++) {
		const struct cost *cost = &profile->by_allocator[i];
		const char *name = events_kind_name(i);

		if (cost->total_count == 0)
			continue;
		text_table_add(&table, TEXT_PLAIN, name ? name : "?");
		text_table_add(&table, TEXT_PLAIN, text_count(cost->total_count).text);
		text_table_add(&table, TEXT_PLAIN, text_bytes(cost->total_bytes).text);
		text_table_add(&table, TEXT_PLAIN, text_percent(cost->total_bytes, all).text);
	}
	text_heading(text, "By allocator");
	text_table_print(&table, text, "  ");
	text_table_finish(&table);
	putc('\n', text->file);
}

static void print_sizes(const struct text *text, const struct profile *profile)
{
	uint64_t most = 0;

	text_heading(text, "By size");
	for (uint32_t i = 0; i < profile->size_bin_count; i++)
		if (profile->size_bins[i].count > most)
			most = profile->size_bins[i].count;
	for (uint32_t i = 0; i < profile->size_bin_count; i++) {
		const struct size_bin *bin = &profile->size_bins[i];
		char range[48];

		if (bin->count == 0)
			continue;
		if (bin->min == bin->max)
			snprintf(range, sizeof range, "%s", text_bytes(bin->min).text);
		else if (bin->max < 1024)
			snprintf(range, sizeof range, "%" PRIu64 " to %" PRIu64 " B", bin->min, bin->max);
		else
			snprintf(range, sizeof range, "from %s", text_bytes(bin->min).text);
		fprintf(text->file, "  %-16s %13s  ", range, text_count(bin->count).text);
		text_style(text, TEXT_COOL);
		text_bar(text, (double)bin->count / (double)most, 30);
		text_style(text, TEXT_PLAIN);
		putc('\n', text->file);
	}
	putc('\n', text->file);
}

static void print_top(const struct text *text, struct rank *rank, uint64_t number, bool by_count)
{
	static const struct text_column columns[] = { { "", true }, { "", true }, { "" } };
	struct text_table table = TEXT_TABLE(columns);
	const struct cost *whole = &rank->tree->profile->total;

	rank_sort(rank, by_count ? RANK_OWN_COUNT : RANK_OWN_BYTES, METRIC_TOTAL);
	for (size_t i = 0; i < rank->count && i < number; i++) {
		const struct cost *cost = &rank->rows[i].own;
		uint64_t part = by_count ? cost->total_count : cost->total_bytes;
		uint64_t all = by_count ? whole->total_count : whole->total_bytes;
		char place[VIEW_FRAME_SIZE];

		if (part == 0)
			break;
		text_table_add(&table, text_share_style(all ? (double)part / (double)all : 0), text_percent(part, all).text);
		text_table_add(&table, TEXT_PLAIN, by_count ? text_count(part).text : text_bytes(part).text);
		text_table_add(&table, TEXT_PLAIN, rank_row_text(rank, &rank->rows[i], place, sizeof place));
	}
	if (table.cell_count) {
		text_heading(text, by_count ? "Most allocations" : "Most bytes allocated");
		text_table_print(&table, text, "  ");
		putc('\n', text->file);
	}
	text_table_finish(&table);
}

static void print_count(const struct text *text, uint64_t count, const char *meaning)
{
	if (count)
		fprintf(text->file, "  %13s  %s\n", text_count(count).text, meaning);
}

static void print_trust(const struct text *text, const struct profile *profile)
{
	struct profile_capture all = { 0 };
	uint64_t file_bytes = 0;

	for (uint32_t i = 0; i < profile->capture_count; i++) {
		const struct profile_capture *capture = &profile->captures[i];

		all.events += capture->events;
		file_bytes += capture->file_bytes;
		all.lost_memory += capture->lost_memory;
		all.lost_storage += capture->lost_storage;
		all.lost_reentry += capture->lost_reentry;
		all.lost_threads += capture->lost_threads;
		all.stacks_truncated += capture->stacks_truncated;
		all.stacks_degraded += capture->stacks_degraded;
		all.unwind_guessed += capture->unwind_guessed;
		all.unwind_stopped += capture->unwind_stopped;
		all.python_refused += capture->python_refused;
		all.tracer_bytes += capture->tracer_bytes;
		all.unknown_frees += capture->unknown_frees;
		all.contradictions += capture->contradictions;
		all.gap_count += capture->gap_count;
		all.gap_ns += capture->gap_ns;
		all.forgotten_bytes += capture->forgotten_bytes;
		all.forgotten_count += capture->forgotten_count;
		all.damaged_bytes += capture->damaged_bytes;
		all.lost_events += capture->lost_events;
	}
	text_heading(text, "The capture itself");
	fprintf(text->file, "  %13s  events in %s of file, %.2f bytes an event\n", text_count(all.events).text,
		text_bytes(file_bytes).text, all.events ? (double)file_bytes / (double)all.events : 0.0);
	fprintf(text->file, "  %13s  taken by the recording library in the process\n", text_bytes(all.tracer_bytes).text);
	fprintf(text->file, "  %13s  threads\n", text_count(profile->thread_count).text);
	fprintf(text->file, "  %13s  events lost\n", text_count(all.lost_events).text);
	print_count(text, all.lost_memory, "of them for lack of memory");
	print_count(text, all.lost_storage, "of them for lack of room in the file");
	print_count(text, all.lost_reentry, "of them inside the recording library (signal handlers)");
	print_count(text, all.lost_threads, "threads that could not be recorded");
	print_count(text, all.stacks_truncated, "stacks cut at the depth limit (SCTMEM_DEPTH)");
	print_count(text, all.stacks_degraded, "stacks cut because the table of stacks was full");
	print_count(text, all.unwind_guessed, "native frames found by the frame pointer only");
	print_count(text, all.unwind_stopped, "native stacks that end at a frame without unwind information");
	print_count(text, all.python_refused, "Python stacks not taken: this Python is not understood");
	print_count(text, all.unknown_frees, "frees of blocks from before the recording, a stop of it, or the parent process");
	if (all.gap_count)
		fprintf(text->file, "  %13s  stretches without recording, %s in all\n", text_count(all.gap_count).text,
			text_time(all.gap_ns).text);
	if (all.forgotten_count)
		fprintf(text->file, "  %13s  blocks of %s that lived when recording stopped: what became of them is unknown\n",
			text_count(all.forgotten_count).text, text_bytes(all.forgotten_bytes).text);
	print_count(text, all.contradictions, "events that contradict others");
	print_count(text, all.damaged_bytes, "bytes of the file that could not be read");
	for (uint32_t i = 0; i < profile->capture_count; i++)
		if (profile->captures[i].damaged) {
			fputs("  damage: ", text->file);
			text_write(text, profile->captures[i].problem, 0);
			putc('\n', text->file);
		}
}

void stats_write_text(const struct text *text, const struct profile *profile, struct rank *rank, uint64_t number,
	const struct view *view)
{
	for (uint32_t i = 0; i < profile->capture_count; i++)
		print_capture(text, &profile->captures[i]);
	putc('\n', text->file);
	view_print_sample(profile, text);
	print_memory(text, profile, view);
	print_domains(text, profile);
	print_allocators(text, profile);
	print_sizes(text, profile);
	print_top(text, rank, number, false);
	print_top(text, rank, number, true);
	print_trust(text, profile);
}
