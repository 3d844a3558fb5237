/* SPDX-License-Identifier: MIT */
/*
 * See view.h.
 */
#include "view.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expression.h"
#include "find.h"
#include "formats/capture.h"
#include "memory.h"
#include "symbol_cache.h"

static const char *const metric_names[] = {
	[METRIC_PEAK] = "peak", [METRIC_LEAKED] = "leaked", [METRIC_TOTAL] = "total", [METRIC_TEMPORARY] = "temporary",
	[METRIC_LIVE] = "live", NULL,
};
static const char *const symbol_words[] = { "embedded", "local", NULL };
static const char *const at_words[] = { "peak", "end", NULL };
static const char *const domain_words[] = { "heap", "python", "mapped", "arena", "file", "reserved", NULL };

static bool parse_at(const char *value, void *field, struct error *error)
{
	struct view_at at = { .given = true, .time_ns = UINT64_MAX };

	if (!*value)
		return fail(error, STATUS_USAGE, "not peak, end, a mark, or a time like 90, 1.5s or 1m30s");
	if (strcmp(value, "peak") == 0)
		at.peak = true;
	else if (strcmp(value, "end") != 0 && !options_parse_time(value, &at.time_ns))
		at.mark = value;
	*(struct view_at *)field = at;
	return true;
}

bool view_parse_range(const char *value, void *field, struct error *error)
{
	struct view_range range = { 0, UINT64_MAX };
	const char *dots = strstr(value, "..");
	char from[64];

	if (!dots || (size_t)(dots - value) >= sizeof from)
		return fail(error, STATUS_USAGE, "not a range like 10..20, 1m30s.. or ..5s");
	memcpy(from, value, (size_t)(dots - value));
	from[dots - value] = 0;
	if ((*from && !options_parse_time(from, &range.from_ns)) ||
		(dots[2] && !options_parse_time(dots + 2, &range.to_ns)))
		return fail(error, STATUS_USAGE, "not a range like 10..20, 1m30s.. or ..5s");
	if (range.from_ns > range.to_ns)
		return fail(error, STATUS_USAGE, "it ends before it begins");
	*(struct view_range *)field = range;
	return true;
}

static bool parse_domains(const char *value, void *field, struct error *error)
{
	unsigned mask = 0;

	for (const char *at = value; *at;) {
		size_t size = strcspn(at, ",");
		unsigned domain = 0;

		while (domain < DOMAIN_COUNT && (strlen(domain_words[domain]) != size ||
			memcmp(domain_words[domain], at, size) != 0))
			domain++;
		if (domain == DOMAIN_COUNT)
			return fail(error, STATUS_USAGE, "not a list of heap, python, mapped, arena, file, reserved");
		mask |= 1u << domain;
		at += size + (at[size] == ',');
	}
	if (mask == 0)
		return fail(error, STATUS_USAGE, "not a list of heap, python, mapped, arena, file, reserved");
	*(unsigned *)field |= mask;
	return true;
}

/* A pattern that does not compile is the user's slip: said here, with the option's name. */
bool view_parse_pattern(const char *value, void *field, struct error *error)
{
	struct expression *compiled;

	if (!expression_compile(&compiled, value, error))
		return false;
	expression_free(compiled);
	*(const char **)field = value;
	return true;
}

const struct option_spec view_selection_options[] = {
	OPTION_CUSTOM(0, "at", "peak|end|TIME|MARK", struct view, at, struct view_at, parse_at, at_words,
		"what was live then (default end); TIME since the start: 90, 1.5s, 1m30s; MARK: the first of that name"),
	OPTION_CUSTOM(0, "time", "A..B", struct view, range, struct view_range, view_parse_range, NULL,
		"only what was allocated between these times; either may be left out"),
	OPTION_TEXT(0, "from", "MARK", struct view, from, "only what was allocated after this mark (sctmem_mark)"),
	OPTION_TEXT(0, "to", "MARK", struct view, to,
		"and before the next mark of this name, which then is the end, unless --at says otherwise"),
	OPTION_NUMBER(0, "thread", "TID", struct view, thread, 0, INT_MAX, "only what this thread allocated"),
	OPTION_CUSTOM(0, "domain", "NAME[,NAME]", struct view, domains, unsigned, parse_domains, domain_words,
		"only this kind of memory: heap, python, mapped, arena, file, reserved"),
	OPTION_CUSTOM(0, "function", "REGEX", struct view, function, const char *, view_parse_pattern, NULL,
		"only stacks with a function that matches (as in Perl)"),
	OPTION_CUSTOM(0, "file", "REGEX", struct view, file, const char *, view_parse_pattern, NULL,
		"only stacks with a source file that matches"),
	OPTION_CUSTOM(0, "module", "REGEX", struct view, module, const char *, view_parse_pattern, NULL,
		"only stacks with a native module that matches"),
	OPTION_NUMBER(0, "temporary-limit", "N", struct view, temporary_limit, 0, UINT32_MAX,
		"what is freed within N allocations of its thread is temporary (default 1)"),
	OPTION_FLAG(0, "no-symbols", struct view, no_symbols, "show native frames as module+0xoffset"),
	OPTION_CHOICE(0, "symbols", "WHICH", struct view, symbols, symbol_words,
		"embedded: names that sctmem symbolize has put into the capture, before those of this machine's files "
		"(default); local: these files alone"),
	OPTION_FLAG(0, "debuginfod", struct view, debuginfod, "fetch missing debug information from DEBUGINFOD_URLS"),
	VIEW_NO_CACHE(struct view, no_cache),
	OPTION_LAST
};

const struct option_spec view_metric_options[] = {
	OPTION_CHOICE('m', "metric", "NAME", struct view, metric, metric_names,
		"peak, leaked, total, temporary or live (with --at)"),
	OPTION_LAST
};

#define OUTPUT_ROWS \
	OPTION_TEXT('o', "output", "FILE", struct view, output, "write to FILE instead of standard output"), \
	OPTION_FLAG('f', "force", struct view, force, "replace FILE when it exists")

const struct option_spec view_output_options[] = {
	OUTPUT_ROWS,
	OPTION_LAST
};

const struct option_spec view_json_options[] = {
	OPTION_FLAG('j', "json", struct view, json, "write JSON (its keys: docs/json.md)"),
	OUTPUT_ROWS,
	OPTION_TIMES('v', "verbose", struct view, verbose, "show the interpreter's and the allocators' own frames too"),
	OPTION_LAST
};

void view_drop_slices(struct profile *profile)
{
	profile->slice_count = 0;
	profile->cell_count = profile->loss_count = 0;
}

void view_drop_few_slices(struct profile *profile)
{
	enum { SLICES_WORTH = 4 };

	if (profile->slices_crowded && profile->slice_count < SLICES_WORTH)
		view_drop_slices(profile);
}

bool view_load(const struct view *view, struct invocation *invocation, bool need_stacks, uint32_t timeline_points,
	struct profile **profile, struct error *error)
{
	struct text_progress progress = text_progress_begin();
	struct profile_options options = profile_options_default;
	char *newest = NULL, cache[PATH_MAX];
	const char *const *paths = (const char *const *)invocation->arguments.argv;
	size_t count = (size_t)invocation->arguments.count;

	if (view->metric == METRIC_LEAKED && view->at.given && (view->at.peak || view->at.mark ||
		view->at.time_ns != UINT64_MAX))
		return fail(error, STATUS_USAGE, "leaked is what lives at the end; with --at use --metric live");
	if (count == 0) {
		if (!find_newest_said(&newest, error))
			return false;
		paths = (const char *const *)&newest;
		count = 1;
	}
	options.at_peak = view->at.peak;
	options.at_ns = view->at.time_ns;
	options.at_mark = view->at.mark;
	options.from_ns = view->range.from_ns;
	options.to_ns = view->range.to_ns;
	options.from_mark = view->from;
	options.to_mark = view->to;
	options.at_to_mark = view->to && !view->at.given;
	options.windows = view->windows;
	options.own_thread = view->own_thread;
	options.window_names = view->window_names;
	options.window_level = view->window_level;
	options.temporary_limit = (uint32_t)view->temporary_limit;
	options.timeline_points = timeline_points;
	options.slices = (uint32_t)view->slices;
	options.need_stacks = need_stacks;
	options.no_symbols = view->no_symbols;
	options.debuginfod = view->debuginfod;
	if (!view->no_cache && symbol_cache_folder(cache, sizeof(cache)))
		options.cache_folder = cache;
	options.local_symbols = view->symbols == 1;
	options.thread = view->thread == UINT64_MAX ? -1 : (int)view->thread;
	options.domains = view->domains;
	options.function = view->function;
	options.file = view->file;
	options.module = view->module;
	options.observer = view->observer;
	options.analyses = view->analyses;
	options.temporary_ns = view->temporary_ns ? view->temporary_ns : options.temporary_ns;
	options.progress = text_progress_update;
	options.progress_context = &progress;

	bool built = profile_build(profile, paths, count, &options, error);

	text_progress_end(&progress);
	free(newest);
	return built;
}

enum metric view_metric(const struct view *view, enum metric usual)
{
	if (view->metric >= 0)
		return (enum metric)view->metric;
	return view->at.given ? METRIC_LIVE : usual;
}

const char *metric_name(enum metric metric)
{
	return metric_names[metric];
}

const char *metric_title(enum metric metric, const struct view *view)
{
	switch (metric) {
	case METRIC_PEAK: return "live at the peak";
	case METRIC_TOTAL: return "allocated in all";
	case METRIC_TEMPORARY: return "temporary";
	case METRIC_LEAKED:
	case METRIC_LIVE: break;
	}
	if (view->to && !view->at.given)
		return "live at the mark asked for";
	if (view->at.peak)
		return "live at the peak";
	if (view->at.mark)
		return "live at the mark asked for";
	return view->at.time_ns == UINT64_MAX ? "live at the end" : "live at the time asked for";
}

enum cost_figure metric_figure(enum metric metric)
{
	switch (metric) {
	case METRIC_PEAK: return COST_PEAK;
	case METRIC_TOTAL: return COST_TOTAL;
	case METRIC_TEMPORARY: return COST_TEMPORARY;
	case METRIC_LEAKED:
	case METRIC_LIVE: break;
	}
	return COST_LIVE;
}

uint64_t metric_bytes(const struct cost *cost, enum metric metric)
{
	return cost_bytes(cost, metric_figure(metric));
}

uint64_t metric_count(const struct cost *cost, enum metric metric)
{
	return cost_count(cost, metric_figure(metric));
}

void cost_add(struct cost *sum, const struct cost *cost)
{
	sum->total_bytes += cost->total_bytes;
	sum->total_count += cost->total_count;
	sum->peak_bytes += cost->peak_bytes;
	sum->peak_count += cost->peak_count;
	sum->live_bytes += cost->live_bytes;
	sum->live_count += cost->live_count;
	sum->temporary_bytes += cost->temporary_bytes;
	sum->temporary_count += cost->temporary_count;
}

char *view_frame_text(char *out, size_t size, const struct frame *frame)
{
	if (*frame->file && frame->line)
		snprintf(out, size, "%s (%s:%" PRIu32 ")", frame->function, frame->file, frame->line);
	else if (*frame->file)
		snprintf(out, size, "%s (%s)", frame->function, frame->file);
	else if (*frame->module && !(frame->flags & FRAME_UNRESOLVED))
		snprintf(out, size, "%s (%s)", frame->function, frame->module);
	else
		snprintf(out, size, "%s", frame->function);
	return out;
}

char *view_frame_location(char *out, size_t size, const struct frame *frame)
{
	if (frame->kind == FRAME_SPECIAL)
		snprintf(out, size, "%s", frame->function);
	else
		snprintf(out, size, "%s:%s:%" PRIu32, frame->function, *frame->file ? frame->file : frame->module, frame->line);
	return out;
}

static void warn(const struct text *text, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void warn(const struct text *text, const char *path, const char *format, ...)
{
	char line[1024];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	text_style(text, TEXT_WARNING);
	fputs("warning: ", text->file);
	text_style(text, TEXT_PLAIN);
	text_write(text, path, 0);
	fputs(": ", text->file);
	text_write(text, line, 0);
	putc('\n', text->file);
}

bool view_misses_python(const struct profile_capture *capture)
{
	enum { FREE_THREADED = 2 };

	return capture->python_version != 0 && !(capture->features & CAPTURE_PYTHON_ALLOCATORS) &&
		((capture->python_flags & FREE_THREADED) || strncmp(capture->python_allocator, "mimalloc", 8) == 0);
}

void view_print_warnings(const struct profile *profile, const struct text *text)
{
	for (uint32_t i = 0; i < profile->capture_count; i++) {
		const struct profile_capture *capture = &profile->captures[i];

		if (capture->damaged)
			warn(text, capture->path, "damaged: %s (%s bytes skipped); what was allocated there is in no figure, and what "
				"was freed there counts as live",
				capture->problem, text_count(capture->damaged_bytes).text);
		if (capture->segment_first > 1)
			warn(text, capture->path, "the segments before number %" PRIu32 " are not here: what was allocated in them is in no "
				"figure", capture->segment_first);
		if (capture->state == CAPTURE_CONTINUED)
			warn(text, capture->path, "the run goes on in segments that are not here: what lives at the end lived when "
				"number %" PRIu32 " ended", capture->segment_last);
		if (capture->lost_events)
			warn(text, capture->path, "%s events were lost; see sctmem stats for the reasons",
				text_count(capture->lost_events).text);
		if (capture->paused && capture->events == 0)
			warn(text, capture->path, "recording was never started: nothing is known (sctmem_start(), or sctmem ctl start)");
		else if (capture->paused)
			warn(text, capture->path, "recording was stopped before the end; what lives at the end is what lived then");
		if (capture->forgotten_count)
			warn(text, capture->path, "recording was stopped meanwhile; what lived then, %s in %s blocks, is not followed "
				"any more, and counts neither as freed nor as live", text_bytes(capture->forgotten_bytes).text,
				text_count(capture->forgotten_count).text);
		else if (capture->gap_count > capture->paused)
			warn(text, capture->path, "recording was stopped for %s in all: what was allocated then is missing",
				text_time(capture->gap_ns).text);
		if (view_misses_python(capture))
			warn(text, capture->path, "objects of this Python (its allocator is mimalloc) are in no figure: record "
				"without --no-python-allocators or SCTMEM_PYTHON_ALLOCATORS=no");
		if (capture->contradictions)
			warn(text, capture->path, "%s events contradict the others (frees that were not seen?)",
				text_count(capture->contradictions).text);
		if (capture->stacks_degraded)
			warn(text, capture->path, "%s stacks were cut because the table of stacks was full",
				text_count(capture->stacks_degraded).text);
	}
	view_print_sample(profile, text);
}
