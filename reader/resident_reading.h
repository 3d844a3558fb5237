/* SPDX-License-Identifier: MIT */
/*
 * What a sample of a process's pages came to: written by analysis_resident.c, which looks where each page belongs, and
 * summed up over processes as facts.
 */
#ifndef SCTMEM_READER_RESIDENT_READING_H
#define SCTMEM_READER_RESIDENT_READING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis.h"

/* Each resident byte is of one. */
enum page_class {
	CLASS_BLOCKS, CLASS_SLOP, CLASS_BESIDE, CLASS_MAPPINGS, CLASS_ARENAS, CLASS_FREE_HEAP, CLASS_STACKS, CLASS_MODULES,
	CLASS_OWN, CLASS_OTHER, CLASS_SHARED, CLASSES
};

/* What the kernel counts of a process. */
struct resident_counted { uint64_t resident, anonymous; };

/* Of a process. */
struct resident_reading {
	bool any;                     /* the rest is of a sample */
	bool unavailable, cut, blind;
	bool swap_told;               /* what is neither resident nor swapped was never touched, or given back */
	uint64_t classes[CLASSES];
	uint64_t live, live_resident, live_absent, live_swapped, live_untouched;
	uint64_t swapped, shared;     /* in all; shared: the recorder's as well */
	uint64_t time_ns;
	struct resident_counted counted;
};

/* The classes of all readings add up to what they say is resident. */
void resident_add_facts(const struct resident_reading *readings, size_t count, struct analysis_result *result);

#endif
