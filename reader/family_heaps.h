/* SPDX-License-Identifier: MIT */
/*
 * The live heaps of a family's processes, for a list of them: each one's capture is followed as `sctmem top` follows
 * the one that it shows, but only the size of the heap is made of it, not who holds it.
 *
 *     family_heaps_want     which are to be known: those that are on the screen
 *     family_heaps_look     the one whose figure is oldest, then the next, until the time given is over
 *     family_heaps_figure   the newest figure, and how old it is
 *
 * So many processes cost no more than the time that is given: then their figures are older, and whoever shows one must
 * say how old it is.
 */
#ifndef SCTMEM_READER_FAMILY_HEAPS_H
#define SCTMEM_READER_FAMILY_HEAPS_H

#include "family.h"
#include "profile_live.h"

enum { FAMILY_HEAPS_MAX = 64 };       /* are followed at a time: of a Python process some MiB each */
#define FAMILY_HEAPS_FRESH_NS 2000000000u       /* a figure as old as that is not shown without its age */

struct family_heap {
	char *path;                   /* NULL: this place is free */
	uint32_t pid;
	uint64_t start_realtime_ns;
	struct profile_live *live;    /* NULL: it cannot be followed, or not any more */
	struct profile_live_heap figure;
	uint64_t looked_ns;           /* of CLOCK_MONOTONIC: the moment that the figure is of; 0: there is none yet */
	uint64_t tried_ns;            /* of the last look */
	uint64_t wanted_ns;           /* when it was last wanted */
	bool wanted;
};

/* All zeros is empty. */
struct family_heaps {
	struct family_heap heaps[FAMILY_HEAPS_MAX];
};

void family_heaps_finish(struct family_heaps *heaps);

/*
 * These and no others are looked at, but for the one that is shown anyway (`self`); what was known of others is kept
 * while there is room.
 */
void family_heaps_want(struct family_heaps *heaps, const struct family_member *members, size_t count);

/*
 * Looks at those whose figures are as old as age_ns, for so long in processor time; a look at a large capture goes on
 * in the next call.  false: there was nothing to do.
 */
bool family_heaps_look(struct family_heaps *heaps, uint64_t age_ns, uint64_t share_ns);

/* What is known of a process that runs. */
struct family_figure {
	bool known;
	bool reading;                 /* it will be */
	uint64_t age_ns;              /* from FAMILY_HEAPS_FRESH_NS on it is said with the figure */
	struct profile_live_heap heap;
};
struct family_figure family_heaps_figure(const struct family_heaps *heaps, const struct family_member *member);

#endif
