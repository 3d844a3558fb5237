/* SPDX-License-Identifier: MIT */
/*
 * Two profiles laid over each other, so that each stack has what it cost before and what it costs now.  Used by the
 * verb diff, for its text and for its page.
 *
 *     before ---\
 *                >-- merged: frames, nodes and sites of both; sites[i].cost is of after, diff.before[i] of before
 *     after ----/
 *
 * Stacks are the same when their frames are of the same functions, source files and modules, in the same order: a line
 * that moved within its function makes no difference.  So lines are told only for a function of which one single line
 * is on stacks (that of `after`).  Threads are the same when they have the same name.  What is not counted in a profile
 * (file mappings, reserved addresses) is in neither.
 */
#ifndef SCTMEM_READER_DIFF_H
#define SCTMEM_READER_DIFF_H

#include "profile.h"

struct diff {
	struct profile merged;        /* where both cannot be held (captures, time line, slices) it has what `after` has */
	struct profile before_slices; /* those of before, by site of merged; merged.before_slices is the same */
	struct cost *before;          /* by site of merged; merged.before is the same */
	struct cost before_total, after_total;
	/* How uncertain these are: nothing where all was recorded.  That of sites[i] lies in before_spreads[i + 1]. */
	struct cost_spread *before_spreads;
	struct cost_spread before_total_spread, after_total_spread;
};

/* base_names: files are the same when their names without folders are.  Both profiles must outlive the diff. */
void diff_init(struct diff *diff, const struct profile *before, const struct profile *after, bool base_names);
void diff_finish(struct diff *diff);

#endif
