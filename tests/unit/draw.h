/* SPDX-License-Identifier: MIT */
/*
 * Numbers drawn at random, the same in each run of a test: xorshift64 (G. Marsaglia, "Xorshift RNGs", Journal of
 * Statistical Software 8, 2003).  A state of zero stays zero: do not begin with it.
 */
#ifndef SCTMEM_TESTS_DRAW_H
#define SCTMEM_TESTS_DRAW_H

#include <stdint.h>

static inline uint64_t draw_bits(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* From 0 to below - 1; of the upper bits, which are the better ones. */
static inline uint64_t draw_below(uint64_t *state, uint64_t below)
{
	return (draw_bits(state) >> 33) % below;
}

#endif
