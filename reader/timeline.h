/* SPDX-License-Identifier: MIT */
/*
 * The time line of a run, in bounded memory and without knowing how long the run will be: points lie `width`
 * apart; when there are too many, neighbours are joined and the width doubles.  Filled by replay.c.
 */
#ifndef SCTMEM_READER_TIMELINE_H
#define SCTMEM_READER_TIMELINE_H

#include "profile.h"

/* The state of the heap as replay knows it at one moment; allocations and bytes since the beginning. */
struct timeline_state {
	uint64_t live_bytes, live_max_bytes, live_max_ns;
	uint64_t domain_bytes[DOMAIN_COUNT];
	uint64_t resident_bytes;
	uint64_t allocations, allocated_bytes;
};

struct timeline {
	struct timeline_point *points;
	uint32_t count, capacity;     /* capacity: twice the points wanted */
	uint64_t width_ns;
	uint64_t allocations, allocated_bytes;   /* already in points */
};

/* points 0: no time line; the other calls do nothing then. */
MUST_CHECK bool timeline_init(struct timeline *timeline, uint32_t points, struct error *error);
void timeline_finish(struct timeline *timeline);

/* When the next point is due, which has all that happens at that time: timeline_advance is called for times beyond. */
static inline uint64_t timeline_due(const struct timeline *timeline)
{
	return timeline->capacity ? (uint64_t)(timeline->count + 1) * timeline->width_ns : UINT64_MAX;
}

/* The time has come to now_ns, and until then the state was this.  true: points were made. */
bool timeline_advance(struct timeline *timeline, uint64_t now_ns, const struct timeline_state *state);

/* The end: the last point lies at duration_ns; at most capacity / 2 points remain. */
void timeline_end(struct timeline *timeline, uint64_t duration_ns, const struct timeline_state *state);

#endif
