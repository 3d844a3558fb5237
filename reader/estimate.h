/* SPDX-License-Identifier: MIT */
/*
 * What a sample says of the whole.  A block of s bytes is in a sampled capture with probability p = 1 - exp(-s/mean),
 * independently of the others (Poisson sampling), and stands for 1/p blocks of its size.  Used by replay and by the
 * views.
 *
 *     estimate     sum of y/p                       y: bytes or 1; unbiased (Horvitz and Thompson, 1952)
 *     variance     sum of y^2 (1 - p)/p^2           unbiased too (Saerndal, Swensson, Wretman: Model Assisted Survey
 *                                                   Sampling, 1992, section 3.5)
 *
 * The interval is that of a weighted sum of Poisson counts (Fay and Feuer, 1997) with Byar's approximation of the
 * chi-squared quantiles (Breslow and Day, 1987), which holds for small samples too, where the normal one does not.  It
 * is laid around what was not seen; what was seen is there for certain and is added.
 */
#ifndef SCTMEM_READER_ESTIMATE_H
#define SCTMEM_READER_ESTIMATE_H

#include <stdint.h>

enum { ESTIMATE_MEAN_BITS_MAX = 44 };

/* How uncertain a sum is.  Sums of disjoint blocks add up. */
struct spread {
	double unseen_bytes, unseen_count;         /* what the blocks of the sample stand for beside themselves */
	double variance_bytes, variance_count;
};

/* The spreads of a struct cost. */
struct cost_spread {
	struct spread total, peak, live, temporary;
};

struct interval {
	uint64_t low, high;
};

/* How many blocks of this size one in the sample stands for. */
double estimate_weight(uint64_t size, uint64_t mean_bytes);

/* x * weight as an integer; x itself where that is no number. */
uint64_t estimate_scale(uint64_t x, double weight);

/* Adds a block, or (sign -1) takes it away. */
void spread_add_block(struct spread *spread, uint64_t size, double weight, double sign);
void spread_add(struct spread *sum, const struct spread *spread);
struct spread spread_less(const struct spread *sum, const struct spread *spread);
void cost_spread_add(struct cost_spread *sum, const struct cost_spread *spread);

/* 95 per cent: of 100 samples of one program, the intervals of about 95 hold the truth. */
struct interval estimate_bytes(uint64_t bytes, const struct spread *spread, uint64_t mean_bytes);
struct interval estimate_count(uint64_t count, const struct spread *spread, uint64_t mean_bytes);

/*
 * Of after - before, two independent estimates with their intervals: recovered from these (MOVER; Zou and Donner,
 * Construction of confidence limits about effect measures, 2008).  Saturates.
 */
struct difference {
	int64_t low, high;
};
struct difference estimate_difference(uint64_t before, struct interval of_before, uint64_t after,
	struct interval of_after);

#endif
