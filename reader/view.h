/* SPDX-License-Identifier: MIT */
/*
 * What every view of captures shares: the options that choose what is looked at, which mean the same in each verb,
 * and the way from the command line to a profile.
 */
#ifndef SCTMEM_READER_VIEW_H
#define SCTMEM_READER_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "command.h"
#include "options.h"
#include "intervals.h"
#include "profile.h"
#include "text.h"

enum metric { METRIC_PEAK, METRIC_LEAKED, METRIC_TOTAL, METRIC_TEMPORARY, METRIC_LIVE };

struct view_at {
	bool peak, given;
	const char *mark;             /* NULL: none */
	uint64_t time_ns;             /* UINT64_MAX: the end */
};

struct view_range { uint64_t from_ns, to_ns; };
/* For rows of OPTION_CUSTOM: "10..20", "1m30s..", "..5s" into a struct view_range. */
bool view_parse_range(const char *value, void *field, struct error *error);
/* A regular expression (expression.h), into a const char * of the field. */
bool view_parse_pattern(const char *value, void *field, struct error *error);

struct view {
	bool json, force;
	const char *output;
	uint64_t thread;              /* UINT64_MAX: all */
	struct view_range range;
	const char *from, *to;        /* names of marks; NULL: none */
	struct view_at at;
	unsigned domains;
	const char *function, *file, *module;
	int metric;                   /* enum metric, -1: not given */
	bool no_symbols, debuginfod, no_cache;
	int symbols;                  /* 0: those that a capture has with it first; 1: those of this machine alone */
	uint64_t temporary_limit;
	uint64_t slices;              /* see profile_options; 0 but where a page or a verb wants them */
	const struct profile_observer *observer;   /* not an option: who must see each event */
	bool windows, own_thread;     /* see profile_options; set by the verb windows */
	const char *window_names;
	unsigned window_level;
	unsigned analyses;            /* bits of enum analysis_number; set by verbs that show them */
	uint64_t temporary_ns;
	int verbose;                  /* -v: frames of the interpreter and of allocators are shown too */
};

#define VIEW_DEFAULT \
	{ .thread = UINT64_MAX, .range = { 0, UINT64_MAX }, .at = { .time_ns = UINT64_MAX }, .metric = -1, \
	  .temporary_limit = 1 }

/* Into how many slices of time a run is cut, at most, where they are wanted. */
enum { VIEW_SLICES_DEFAULT = 256 };

/* Fewer than four, as so many places allocate, tell nothing, and would be megabytes: the page says why it has none. */
void view_drop_few_slices(struct profile *profile);
void view_drop_slices(struct profile *profile);

/* Groups for a command's list; the struct view lies at `where` in its settings. */
extern const struct option_spec view_selection_options[];
extern const struct option_spec view_metric_options[];
extern const struct option_spec view_output_options[];
extern const struct option_spec view_json_options[];
#define VIEW_SELECTION(where) { .title = "What is looked at", .options = view_selection_options, .offset = (where) }
#define VIEW_METRIC(where) { .title = "What is measured", .options = view_metric_options, .offset = (where) }
#define VIEW_OUTPUT(where) { .title = "Output", .options = view_output_options, .offset = (where) }
/* With --json, too. */
#define VIEW_OUTPUT_JSON(where) { .title = "Output", .options = view_json_options, .offset = (where) }

/* For every command that looks names up: the field is a bool. */
#define VIEW_NO_CACHE(type, field) \
	OPTION_FLAG(0, "no-cache", type, field, \
		"look all native names up anew; else those found before are kept in ~/.cache/sctmem")

/* Builds the profile from the operands; without any from the newest capture here, named on stderr. */
MUST_CHECK bool view_load(const struct view *view, struct invocation *invocation, bool need_stacks,
	uint32_t timeline_points, struct profile **profile, struct error *error);

/* The metric asked for; else `usual`, or LIVE when --at was given. */
enum metric view_metric(const struct view *view, enum metric usual);
const char *metric_name(enum metric metric);                 /* "peak" ... as the option spells it */
/* "live at the peak", "allocated in all" ...; depends on --at for METRIC_LIVE. */
const char *metric_title(enum metric metric, const struct view *view);
enum cost_figure metric_figure(enum metric metric);
uint64_t metric_bytes(const struct cost *cost, enum metric metric);
uint64_t metric_count(const struct cost *cost, enum metric metric);

/*
 * Whether Python's objects are in no figure: they were not recorded, and this interpreter's allocator (mimalloc, always
 * in free-threaded builds) takes them out of address space that it reserves once, so that no arena stands for them.
 */
bool view_misses_python(const struct profile_capture *capture);

void cost_add(struct cost *sum, const struct cost *cost);

/* "function (file:line)", "function (module)" or "function"; unescaped, cut at size. */
char *view_frame_text(char *out, size_t size, const struct frame *frame);
/* As memray writes locations: "function:file:line". */
char *view_frame_location(char *out, size_t size, const struct frame *frame);
enum { VIEW_FRAME_SIZE = 2048 };

/* Of a sample: how far the figures can be trusted.  Nothing when every block was recorded. */
void view_print_sample(const struct profile *profile, const struct text *text);
struct json;
void view_write_sample(struct json *json, const struct profile *profile);      /* the key "sample" of an open object */
void view_write_sample_as(struct json *json, const char *key, const struct profile *profile);
/* Costs as an object, and the 95 per cent intervals of the same. */
void view_write_cost(struct json *json, const char *key, const struct cost *cost);
void view_write_spread(struct json *json, const char *key, const struct profile *profile, const struct cost *cost,
	const struct cost_spread *spread);
/* intervals.h's, by metric. */
struct interval view_bytes_interval(const struct profile *profile, enum metric metric, const struct cost *cost,
	const struct cost_spread *spread);
struct interval view_count_interval(const struct profile *profile, enum metric metric, const struct cost *cost,
	const struct cost_spread *spread);
/*
 * The key "interval_95" of an open object, an object itself: for each figure "PREFIX_bytes" and "PREFIX_count", or
 * without a prefix "bytes" and "count".  Nothing when every block was recorded.
 */
struct view_figure { const char *prefix; const struct cost *cost; const struct cost_spread *spread; };
void view_write_intervals(struct json *json, const struct profile *profile, enum metric metric,
	const struct view_figure *figures, size_t count);
void view_write_interval(struct json *json, const char *key, struct interval interval);        /* [low, high] */
struct sample_text { char text[2 * TEXT_NUMBER_SIZE + 8]; };
struct sample_text view_interval(struct interval interval, bool bytes);       /* "1.5 MiB to 2.1 MiB" */

/* What the reader must know before he trusts a number: lost events, damage, cut stacks.  Nothing when all is well. */
void view_print_warnings(const struct profile *profile, const struct text *text);

#endif
