/* SPDX-License-Identifier: MIT */
/*
 * Runs the analyses that were asked for beside the replay: keeps a record of each live block, and tells each analysis
 * what it wants to see.  Used by profile.c; nothing of this exists when no analysis was asked for.
 */
#ifndef SCTMEM_READER_ANALYSES_H
#define SCTMEM_READER_ANALYSES_H

#include "analysis.h"
#include "live.h"

struct replay;

enum { ANALYSES_MEMO = 512, ANALYSES_BATCH = 64 };

/* One function of one analysis, for a kind of event. */
struct analysis_call {
	const struct analysis_class *class;
	void *state;
};

/* An event, and what replay said when it told of it. */
struct analyses_told {
	struct profile_event event;
	uint64_t key;                 /* its site's */
	uint64_t epoch;
	uint32_t sequence;            /* allocations so far of the event's thread, when the block is its own */
};

struct analyses {
	struct profile_observer observer;   /* for replay; its context is this object */
	struct analysis_context context;
	uint64_t at_epoch;            /* the blocks of the maximum of this number are looked at; 0: when replay says so */
	uint64_t at_ns;               /* when that moment is, where it is known; UINT64_MAX: the end, */
	const char *at_mark;          /* or the first mark of this name */
	bool at_done;
	bool failed;                  /* context.error says why */
	struct foresight *foresights;
	/* Sites by replay's keys: replay numbers its own anew when it cuts the run into slices. */
	struct map64 site_by_key;
	uint64_t *site_keys;          /* 0 is the site of nothing */
	size_t site_count, site_capacity;
	struct { uint64_t key; uint32_t site; } memo[ANALYSES_MEMO];   /* before site_by_key; zeros say: key 0 is site 0 */
	struct live places;           /* id of a block, shifted -> index of its record */
	struct analysis_block *blocks;
	size_t block_count, block_capacity;
	uint32_t *spare_blocks;       /* indexes of the records that are free; the last is taken next */
	size_t spare_count, spare_capacity;
	struct analyses_told told[ANALYSES_BATCH];   /* not taken yet; in their order */
	unsigned told_count;
	struct analysis_block replaced;   /* the block whose successor will be told next */
	struct analysis_call on_alloc[ANALYSIS_COUNT], on_change[ANALYSIS_COUNT], on_resize[ANALYSIS_COUNT],
		on_free[ANALYSIS_COUNT], on_sample[ANALYSIS_COUNT], on_pages[ANALYSIS_COUNT], on_at[ANALYSIS_COUNT];
	unsigned alloc_count, change_count, resize_count, free_count, sample_count, pages_count, at_count;
	struct analysis_call wanted[ANALYSIS_COUNT];
	unsigned wanted_count;
};

/* By enum analysis_number. */
extern const struct analysis_class *const analysis_classes[ANALYSIS_COUNT];

/* Of this replay, which need not have been initialised.  wanted: bits of enum analysis_number. */
MUST_CHECK bool analyses_init(struct analyses *analyses, const struct replay *replay, unsigned wanted,
	const struct profile_options *options, struct error *error);
void analyses_finish(struct analyses *analyses);

/* Once replay knows its processes. */
MUST_CHECK bool analyses_begin(struct analyses *analyses);
/* After replay_end: one result for each analysis wanted, in results[0..*count), of sites as replay numbers them now. */
MUST_CHECK bool analyses_end(struct analyses *analyses, uint64_t duration_ns, struct analysis_result *results,
	unsigned *count);

void analysis_results_finish(struct analysis_result *results, unsigned count);

#endif
