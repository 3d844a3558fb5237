/* SPDX-License-Identifier: MIT */
/* What a clock says, in nanoseconds. */
#ifndef SCTMEM_READER_CLOCK_H
#define SCTMEM_READER_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Of CLOCK_MONOTONIC. */
static inline uint64_t clock_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

#endif
