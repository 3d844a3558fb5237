/* SPDX-License-Identifier: MIT */
/*
 * The time line; see timeline.h.
 */
#include "timeline.h"

#include <stdlib.h>

#include "table.h"

/* A first width far below any clock's resolution that the recorder uses; doubling reaches a day in 27 steps. */
enum { WIDTH_FIRST_NS = 1000, POINTS_MAX = 1 << 20 };

bool timeline_init(struct timeline *timeline, uint32_t points, struct error *error)
{
	*timeline = (struct timeline){ .width_ns = WIDTH_FIRST_NS };
	if (points == 0)
		return true;
	if (points > POINTS_MAX)
		points = POINTS_MAX;
	if (points < 2)
		points = 2;
	timeline->points = calloc(2 * (size_t)points, sizeof(*timeline->points));
	if (!timeline->points)
		return fail_memory(error);
	timeline->capacity = 2 * points;
	return true;
}

void timeline_finish(struct timeline *timeline)
{
	free(timeline->points);
	*timeline = (struct timeline){ 0 };
}

/* Two neighbours become the later one, with the maximum (the first of two that are equal) and the sums of both. */
static void join_points(struct timeline *timeline)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < timeline->count; i += 2) {
		struct timeline_point point = timeline->points[i];

		if (i + 1 < timeline->count) {
			const struct timeline_point *earlier = &timeline->points[i];

			point = timeline->points[i + 1];
			if (earlier->live_max_bytes >= point.live_max_bytes) {
				point.live_max_bytes = earlier->live_max_bytes;
				point.live_max_ns = earlier->live_max_ns;
			}
			point.allocations += earlier->allocations;
			point.allocated_bytes += earlier->allocated_bytes;
		}
		timeline->points[kept++] = point;
	}
	timeline->count = kept;
	timeline->width_ns *= 2;
}

/* first: the state's maximum lies before this point, not before an earlier one. */
static void add_point(struct timeline *timeline, uint64_t time_ns, const struct timeline_state *state, bool first)
{
	const uint64_t before_ns = timeline->count ? timeline->points[timeline->count - 1].time_ns : 0;
	struct timeline_point *point = &timeline->points[timeline->count++];

	*point = (struct timeline_point){
		.time_ns = time_ns, .live_bytes = state->live_bytes, .resident_bytes = state->resident_bytes,
		.live_max_bytes = first && state->live_max_bytes > state->live_bytes ? state->live_max_bytes : state->live_bytes,
		.live_max_ns = first ? state->live_max_ns : before_ns,
		.allocations = state->allocations - timeline->allocations,
		.allocated_bytes = state->allocated_bytes - timeline->allocated_bytes,
	};
	for (int domain = 0; domain < DOMAIN_COUNT; domain++)
		point->domain_bytes[domain] = state->domain_bytes[domain];
	timeline->allocations = state->allocations;
	timeline->allocated_bytes = state->allocated_bytes;
}

bool timeline_advance(struct timeline *timeline, uint64_t now_ns, const struct timeline_state *state)
{
	bool made = false;

	if (timeline->capacity == 0)
		return false;
	while (timeline_due(timeline) < now_ns) {
		/* An odd number of points cannot be joined without one standing alone at half the width. */
		if (timeline->count == timeline->capacity) {
			join_points(timeline);
			continue;
		}
		add_point(timeline, timeline_due(timeline), state, !made);
		made = true;
	}
	return made;
}

void timeline_end(struct timeline *timeline, uint64_t duration_ns, const struct timeline_state *state)
{
	if (timeline->capacity == 0)
		return;
	const bool made = timeline_advance(timeline, duration_ns, state);
	if (timeline->count == timeline->capacity)
		join_points(timeline);
	uint64_t last = timeline->count ? timeline->points[timeline->count - 1].time_ns : 0;
	if (timeline->count == 0 || last < duration_ns || state->allocations > timeline->allocations)
		add_point(timeline, duration_ns > last ? duration_ns : last, state, !made);
	if (timeline->count > timeline->capacity / 2)
		join_points(timeline);
}
