/* SPDX-License-Identifier: MIT */
/* See family_heaps.h. */
#include "family_heaps.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "memory.h"

enum { PATIENCE = 3 };                /* so many times its share of processor time a call may last */

static void drop(struct family_heap *heap)
{
	profile_live_close(heap->live);
	free(heap->path);
	*heap = (struct family_heap){ 0 };
}

void family_heaps_finish(struct family_heaps *heaps)
{
	for (size_t i = 0; i < FAMILY_HEAPS_MAX; i++)
		drop(&heaps->heaps[i]);
}

static bool is_of(const struct family_heap *heap, const struct family_member *member)
{
	return heap->path && heap->pid == member->pid && heap->start_realtime_ns == member->start_realtime_ns &&
		strcmp(heap->path, member->path) == 0;
}

static struct family_heap *find(struct family_heaps *heaps, const struct family_member *member)
{
	for (size_t i = 0; i < FAMILY_HEAPS_MAX; i++)
		if (is_of(&heaps->heaps[i], member))
			return &heaps->heaps[i];
	return NULL;
}

struct family_figure family_heaps_figure(const struct family_heaps *heaps, const struct family_member *member)
{
	const struct family_heap *heap = find((struct family_heaps *)heaps, member);

	if (!heap || !heap->live || !member->alive)
		return (struct family_figure){ 0 };
	if (!heap->looked_ns)
		return (struct family_figure){ .reading = true };
	return (struct family_figure){ .known = true, .heap = heap->figure,
		.age_ns = clock_now_ns() - heap->looked_ns };
}

/* The place for one more: a free one, or that of the one that nobody has wanted for longest; NULL: all are wanted. */
static struct family_heap *find_room(struct family_heaps *heaps)
{
	struct family_heap *best = NULL;

	for (size_t i = 0; i < FAMILY_HEAPS_MAX; i++) {
		struct family_heap *heap = &heaps->heaps[i];

		if (!heap->path)
			return heap;
		if (!heap->wanted && (!best || heap->wanted_ns < best->wanted_ns))
			best = heap;
	}
	if (best)
		drop(best);
	return best;
}

void family_heaps_want(struct family_heaps *heaps, const struct family_member *members, size_t count)
{
	const uint64_t now_ns = clock_now_ns();

	for (size_t i = 0; i < FAMILY_HEAPS_MAX; i++)
		heaps->heaps[i].wanted = false;
	/* First those that are known, so that none of them makes room for another. */
	for (size_t i = 0; i < count; i++) {
		struct family_heap *heap = find(heaps, &members[i]);

		if (heap)
			heap->wanted = members[i].alive;
	}
	for (size_t i = 0; i < count; i++) {
		struct family_heap *heap = find(heaps, &members[i]);
		struct profile_options options = profile_options_default;
		struct error ignored = { .text = "" };

		if (!members[i].alive || members[i].self)
			continue;
		if (!heap && (heap = find_room(heaps))) {
			*heap = (struct family_heap){ .path = memory_text(members[i].path), .pid = members[i].pid,
				.start_realtime_ns = members[i].start_realtime_ns, .wanted = true };
			options.timeline_points = 0;
			options.no_symbols = true;
			if (!profile_live_open(&heap->live, heap->path, &options, &ignored))
				heap->live = NULL;
		}
		if (heap)
			heap->wanted_ns = now_ns;
	}
}

/* Of those that are due the one that has waited longest. */
static struct family_heap *choose(struct family_heaps *heaps, uint64_t now_ns, uint64_t age_ns)
{
	struct family_heap *best = NULL;

	for (size_t i = 0; i < FAMILY_HEAPS_MAX; i++) {
		struct family_heap *heap = &heaps->heaps[i];

		if (heap->wanted && heap->live && (heap->figure.behind || !heap->looked_ns ||
			now_ns - heap->looked_ns >= age_ns) && (!best || heap->tried_ns < best->tried_ns))
			best = heap;
	}
	return best;
}

/* What a process that has ended held is not what it holds. */
static void look(struct family_heap *heap, uint64_t until_ns)
{
	struct error ignored = { .text = "" };
	struct profile_live_heap figure;
	const uint64_t now_ns = clock_now_ns();

	heap->tried_ns = now_ns;
	if (!profile_live_measure(heap->live, until_ns, &figure, &ignored) || !profile_live_is_alive(heap->live)) {
		profile_live_close(heap->live);
		heap->live = NULL;
		heap->looked_ns = 0;
	} else {
		heap->figure = figure;
		heap->looked_ns = figure.behind && figure.moment_ns < now_ns ? figure.moment_ns : now_ns;
	}
}

bool family_heaps_look(struct family_heaps *heaps, uint64_t age_ns, uint64_t share_ns)
{
	const uint64_t start_ns = clock_now_ns(), until_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + share_ns;
	bool any = false;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < until_ns && clock_now_ns() - start_ns < share_ns * PATIENCE) {
		struct family_heap *heap = choose(heaps, clock_now_ns(), age_ns);

		if (!heap)
			break;
		look(heap, until_ns);
		any = true;
	}
	return any;
}
