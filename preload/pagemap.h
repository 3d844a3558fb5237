/* SPDX-License-Identifier: MIT */
/*
 * What the system says of this process's pages, one by one: /proc/self/pagemap.  Used by pages.c, under its lock and
 * its bounds.
 *
 *     8 bytes a page, 40 to 90 ns a page, since the system looks at each page's own record, too
 *     or stretches of like pages (PAGEMAP_SCAN, as of Linux 6.15), 8 to 16 ns a page, which does not look there: where
 *     nobody asks whether they are a file's
 */
#ifndef SCTMEM_PRELOAD_PAGEMAP_H
#define SCTMEM_PRELOAD_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "descriptor.h"

/* Of a page; neither of the first two: there is nothing. */
enum pagemap_state {
	PAGEMAP_RESIDENT = 1 << 0,
	PAGEMAP_SWAPPED = 1 << 1,
	PAGEMAP_FILE = 1 << 2,        /* it is a file's, or shared memory's */
};

/* What the system writes down of a stretch. */
struct pagemap_region { uint64_t start, end, categories; };

enum { PAGEMAP_ENTRIES_MAX = 512, PAGEMAP_REGIONS_MAX = 512 };

struct pagemap {
	struct descriptor descriptor;
	bool no_regions;              /* this system only has entries */
	union {
		uint64_t entries[PAGEMAP_ENTRIES_MAX];
		struct pagemap_region regions[PAGEMAP_REGIONS_MAX];
	};
};

/*
 * The states of the first of `count` pages from `start` on, a byte each; returns of how many: 0, nothing can be said.
 * pagemap_look knows of no files.
 */
size_t pagemap_look(struct pagemap *pagemap, uintptr_t start, size_t count, uint8_t *states);
size_t pagemap_look_files(struct pagemap *pagemap, uintptr_t start, size_t count, uint8_t *states);

/*
 * Whether the process has swapped memory.  Where nobody on the machine has, which costs half a microsecond to ask,
 * surely not.  Else /proc/self/status is read, 12 us, into `text`, with a descriptor that is only open meanwhile; what
 * it counts is counted in batches, so that 0 is not known to be none.
 */
enum pagemap_swap { PAGEMAP_SWAP_NONE, PAGEMAP_SWAP_SOME, PAGEMAP_SWAP_UNKNOWN };
enum pagemap_swap pagemap_swap(struct descriptor *status, char *text, size_t size);

/* How the system's answers are read. */
bool pagemap_status_has_swap(const char *status);
void pagemap_of_entries(const uint64_t *entries, size_t count, uint8_t *states);
/* Pages from `start` on; of what lies in no region there is nothing. */
void pagemap_of_regions(const struct pagemap_region *regions, size_t region_count, uintptr_t start, size_t count,
	uint8_t *states);

#endif
