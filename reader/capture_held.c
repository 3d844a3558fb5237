/* SPDX-License-Identifier: MIT */
/*
 * What blocks that were dropped as they were recorded held (HELD): the most that they can have held together at one
 * time, which bounds the peak.
 */
#include "capture.h"

#include <stdlib.h>
#include <string.h>

enum { HELD_FOLD = 4096 };            /* so many records are read at a look in no time */

struct held_edge {
	uint64_t time_ns, bytes, count;
	bool ends;
};

/* At one time beginnings come first: times are coarse. */
static int compare_edges(const void *left, const void *right)
{
	const struct held_edge *a = left, *b = right;

	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	return (int)a->ends - (int)b->ends;
}

/* Until this time. */
static bool find_most(const struct capture *capture, uint64_t until_ns, struct capture_unseen *unseen,
	struct error *error)
{
	struct held_edge *edges = calloc(capture->held_count + 1, 2 * sizeof(*edges));
	uint64_t bytes = 0, count = 0;

	*unseen = (struct capture_unseen){ 0 };
	if (!edges)
		return fail_memory(error);
	for (size_t i = 0; i < capture->held_count; i++) {
		const struct capture_held *held = &capture->helds[i];

		edges[2 * i] = (struct held_edge){ held->first_time_ns, held->bytes, held->count, false };
		edges[2 * i + 1] = (struct held_edge){ held->last_time_ns, held->bytes, held->count, true };
		unseen->dropped += held->dropped;
	}
	qsort(edges, 2 * capture->held_count, sizeof(*edges), compare_edges);
	for (size_t i = 0; i < 2 * capture->held_count && edges[i].time_ns <= until_ns; i++) {
		bytes += edges[i].ends ? -edges[i].bytes : edges[i].bytes;
		count += edges[i].ends ? -edges[i].count : edges[i].count;
		unseen->bytes = bytes > unseen->bytes ? bytes : unseen->bytes;
		unseen->count = count > unseen->count ? count : unseen->count;
	}
	free(edges);
	return true;
}

bool capture_unseen(const struct capture *capture, struct capture_unseen *unseen, struct error *error)
{
	return find_most(capture, UINT64_MAX, unseen, error);
}

bool capture_fold_held(struct capture *capture, struct error *error)
{
	struct capture_held sum = { .first_time_ns = UINT64_MAX };
	struct capture_unseen most;
	size_t kept = 0;

	if (capture->held_count < capture->held_fold || capture->held_count < HELD_FOLD)
		return true;
	/* They come about in the order of time. */
	sum.last_time_ns = capture->helds[capture->held_count / 2].last_time_ns;
	if (!find_most(capture, sum.last_time_ns, &most, error))
		return false;
	for (size_t i = 0; i < capture->held_count; i++) {
		struct capture_held held = capture->helds[i];

		if (held.first_time_ns < sum.first_time_ns)
			sum.first_time_ns = held.first_time_ns;
		if (held.last_time_ns <= sum.last_time_ns) {
			sum.dropped += held.dropped;
			continue;
		}
		/* What it held before is in the sum. */
		if (held.first_time_ns <= sum.last_time_ns)
			held.first_time_ns = sum.last_time_ns + 1;
		capture->helds[kept++] = held;
	}
	sum.bytes = most.bytes;
	sum.count = most.count;
	capture->helds[kept++] = sum;
	capture->held_count = kept;
	capture->held_fold = 2 * kept;
	return true;
}
