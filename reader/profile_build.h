/* SPDX-License-Identifier: MIT */
/*
 * What the files that build a profile share; nobody else includes this.
 *
 *     profile.c         the order of things; captures, threads, marks
 *     profile_frames.c  frames of captures -> frames of the profile: Python lines, symbols, names
 *     profile_tree.c    nodes of captures -> nodes of the profile
 *     profile_sites.c   sites of replay -> sites of the profile, filters, totals
 *     profile_slices.c  cells and losses of replay -> those of the profile
 */
#ifndef SCTMEM_READER_PROFILE_BUILD_H
#define SCTMEM_READER_PROFILE_BUILD_H

#include "analyses.h"
#include "capture.h"
#include "profile.h"
#include "replay.h"
#include "table.h"

/* One capture while a profile is built. */
struct build_capture {
	struct capture *capture;
	uint64_t start_ns;            /* of its time 0, since the start of the earliest capture */
	uint32_t *node_of;            /* capture node -> profile node, for used ones; BUILD_USED and BUILD_UNUSED before */
	uint32_t node_end;            /* size of node_of */
	struct map64 frame_spans;     /* capture frame -> index in build.spans */
};
enum { BUILD_UNUSED = 0, BUILD_USED = UINT32_MAX };

/* What one frame of a capture stands for: build.span_frames[first..first+count), outermost first. */
struct frame_span {
	uint32_t first, count;
};

struct build {
	struct profile *profile;
	const struct profile_options *options;
	struct error *error;
	struct build_capture *captures;
	uint32_t capture_count;
	struct replay replay;
	struct analyses analyses;     /* all zero: none was asked for */
	struct expression *window_names;   /* compiled; NULL: all */
	struct strings *strings;      /* of the profile */

	struct frame_span *spans; size_t span_count, span_capacity;
	uint32_t *span_frames; size_t span_frame_count, span_frame_capacity;
	size_t frame_capacity, node_capacity;
	uint32_t *frame_slots; size_t frame_slot_count;   /* frame index + 1 by hash */
	uint32_t *frame_keys; size_t frame_key_capacity;  /* ids of function, file and module, three a frame */
	struct map64 nodes;           /* parent and frame -> node */
	bool growing;                 /* profile_live.c: called again and again, and what is missing may still come */
	uint32_t *thread_of;          /* thread of replay -> thread of the profile; UINT32_MAX: left out */
};

/* A profile with what it owns. */
struct profile_owner {
	struct profile profile;       /* first: what callers hold */
	struct strings strings;
	struct pool pool;
	uint64_t epoch;               /* replay's number of the newest maximum */
};

/* profile.c: parts of the profile, from what replay and capture know. */
MUST_CHECK bool build_describe_capture(struct build *build, uint32_t number);
MUST_CHECK bool build_describe_threads(struct build *build);
MUST_CHECK bool build_describe_marks(struct build *build);
void build_take_replay(struct build *build);
bool build_is_sampled(const struct build *build);
uint64_t build_duration(const struct build *build, uint32_t number);
void build_finish(struct build *build);

MUST_CHECK bool build_string(struct build *build, const char *text, const char **out);
/* Processors beside the one that we run on. */
unsigned build_helpers(void);
void build_progress(struct build *build, const char *what, uint64_t done, uint64_t all);

static inline void cost_add(struct cost *sum, const struct cost *cost)
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

/* profile_frames.c */
MUST_CHECK bool build_frames(struct build *build);       /* spans of all frames of used nodes */
MUST_CHECK bool build_frame(struct build *build, const struct frame *frame, uint32_t *index);
MUST_CHECK bool build_special_frame(struct build *build, const char *name, uint32_t *index);

/* profile_tree.c */
MUST_CHECK bool build_tree(struct build *build);

/* profile_sites.c */
MUST_CHECK bool build_sites(struct build *build);

/* profile_slices.c: site_of[i] is the profile's site of replay's site i; BUILD_LEFT_OUT: a filter leaves it out */
MUST_CHECK bool build_slices(struct build *build, const uint32_t *site_of);
#define BUILD_LEFT_OUT UINT32_MAX

#endif
