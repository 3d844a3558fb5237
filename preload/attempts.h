/* SPDX-License-Identifier: MIT */
/*
 * Whether a short cut is worth trying that costs a little each time and saves several times as much when it succeeds.
 * Where it hardly ever does, it is left out for a while; then it is asked again.
 */
#ifndef SCTMEM_PRELOAD_ATTEMPTS_H
#define SCTMEM_PRELOAD_ATTEMPTS_H

#include <stdbool.h>
#include <stdint.h>

/* All zeros: nothing was tried yet.  The user counts hits. */
struct attempts {
	uint32_t tries, hits, rest;
};

/* false: it is left out now. */
static inline bool attempts_again(struct attempts *attempts)
{
	enum { LOOK = 256, HITS_MIN = 64, REST = 8192 };

	if (attempts->rest > 0) {
		attempts->rest--;
		return false;
	}
	if (__builtin_expect(++attempts->tries > LOOK, 0)) {
		attempts->rest = attempts->hits < HITS_MIN ? REST : 0;
		attempts->tries = attempts->hits = 0;
	}
	return true;
}

#endif
