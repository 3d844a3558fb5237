/* SPDX-License-Identifier: MIT */
/*
 * The 95 per cent intervals of a profile's figures, of whatever part of it: a site, a row, a window, all.  Used by the
 * views and by the page; estimate.h says how they are made.
 *
 *     cost + how uncertain it is (struct cost_spread) + how coarse the sample was then (profile) -> low, high
 */
#ifndef SCTMEM_READER_INTERVALS_H
#define SCTMEM_READER_INTERVALS_H

#include "profile.h"

/* In the order in which struct cost, its JSON and the page have them; of each the bytes, then the blocks. */
enum cost_figure { COST_TOTAL, COST_PEAK, COST_LIVE, COST_TEMPORARY, COST_FIGURES };

uint64_t cost_bytes(const struct cost *cost, enum cost_figure figure);
uint64_t cost_count(const struct cost *cost, enum cost_figure figure);
/* spread NULL: it is exact. */
struct spread cost_spread_of(const struct cost_spread *spread, enum cost_figure figure);

/* spread NULL: nothing of it is an estimate.  The cost must be of this profile: another was sampled otherwise. */
struct interval interval_bytes(const struct profile *profile, enum cost_figure figure, const struct cost *cost,
	const struct cost_spread *spread);
struct interval interval_count(const struct profile *profile, enum cost_figure figure, const struct cost *cost,
	const struct cost_spread *spread);

/* All of them. */
void intervals_of(const struct profile *profile, const struct cost *cost, const struct cost_spread *spread,
	struct interval out[2 * COST_FIGURES]);

#endif
