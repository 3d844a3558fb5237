/* SPDX-License-Identifier: MIT */
/*
 * See resident_reading.h.
 */
#include "resident_reading.h"

static const struct { const char *key, *title; } class_names[CLASSES] = {
	[CLASS_BLOCKS] = { "block_bytes", "live blocks" },
	[CLASS_SLOP] = { "slop_bytes", "slop of their size classes" },
	[CLASS_BESIDE] = { "beside_bytes", "free beside live blocks on the same page" },
	[CLASS_MAPPINGS] = { "mapping_bytes", "mappings of the program" },
	[CLASS_ARENAS] = { "arena_free_bytes", "free in arenas of Python's allocator" },
	[CLASS_FREE_HEAP] = { "heap_free_bytes", "free heap pages, not given back" },
	[CLASS_STACKS] = { "stack_bytes", "stacks" },
	[CLASS_MODULES] = { "module_bytes", "data of modules and files" },
	[CLASS_OWN] = { "recorder_bytes", "the recorder's own" },
	[CLASS_OTHER] = { "other_bytes", "other" },
	[CLASS_SHARED] = { "shared_bytes", "shared memory that the process has touched" },
};

/* false: it says nothing. */
static bool add_reading(struct resident_reading *sum, const struct resident_reading *reading)
{
	if (!reading->any || reading->unavailable)
		return false;
	for (unsigned class = 0; class < CLASSES; class++)
		sum->classes[class] += reading->classes[class];
	sum->live += reading->live;
	sum->live_resident += reading->live_resident;
	sum->live_absent += reading->live_absent;
	sum->live_swapped += reading->live_swapped;
	sum->live_untouched += reading->live_untouched;
	sum->swapped += reading->swapped;
	sum->shared += reading->shared;
	sum->counted.resident += reading->counted.resident;
	sum->counted.anonymous += reading->counted.anonymous;
	sum->time_ns = reading->time_ns > sum->time_ns ? reading->time_ns : sum->time_ns;
	return true;
}

static void add_live_facts(const struct resident_reading *sum, struct analysis_result *result)
{
	analysis_add_fact(result, "live_bytes", "live then", ANALYSIS_BYTES, sum->live);
	analysis_add_fact(result, "live_resident_bytes", "of that resident", ANALYSIS_BYTES, sum->live_resident);
	analysis_add_fact(result, "live_absent_bytes", sum->live_absent == sum->live_swapped + sum->live_untouched ?
		"not resident" : "not resident: never touched, given back, or swapped out", ANALYSIS_BYTES, sum->live_absent);
	analysis_add_fact(result, "live_swapped_bytes", "known to be swapped out", ANALYSIS_BYTES, sum->live_swapped);
	analysis_add_fact(result, "live_untouched_bytes", "known to be never touched, or given back", ANALYSIS_BYTES,
		sum->live_untouched);
	analysis_add_fact(result, "live_unseen_bytes", "not looked at", ANALYSIS_BYTES,
		sum->live - sum->live_resident - sum->live_absent);
	analysis_add_fact(result, "swapped_bytes", "private memory swapped out, live or not", ANALYSIS_BYTES, sum->swapped);
}

/* What the kernel calls resident is private, or shared memory, or pages of files. */
static void add_counted_facts(const struct resident_reading *sum, struct analysis_result *result)
{
	const uint64_t others = sum->counted.anonymous + sum->shared;

	analysis_add_fact(result, "anonymous_bytes", "private by the kernel's own count", ANALYSIS_BYTES,
		sum->counted.anonymous);
	analysis_add_fact(result, "kernel_bytes", "resident by the kernel's own count", ANALYSIS_BYTES,
		sum->counted.resident);
	analysis_add_fact(result, "file_bytes", "of that the rest: pages of files, and shared memory that was not seen",
		ANALYSIS_BYTES, sum->counted.resident > others ? sum->counted.resident - others : 0);
}

void resident_add_facts(const struct resident_reading *readings, size_t count, struct analysis_result *result)
{
	struct resident_reading sum = { 0 };
	uint64_t resident = 0, processes = 0, cut = 0, blind = 0;

	for (size_t i = 0; i < count; i++) {
		if (!add_reading(&sum, &readings[i]))
			continue;
		processes++;
		cut += readings[i].cut;
		blind += readings[i].blind;
	}
	for (unsigned class = 0; class < CLASSES; class++)
		resident += sum.classes[class];
	analysis_add_fact(result, "time_ns", "when the pages were looked at", ANALYSIS_TIME, sum.time_ns);
	analysis_add_fact(result, "resident_bytes", sum.classes[CLASS_SHARED] ? "resident, but for pages of files" :
		"resident and private", ANALYSIS_BYTES, resident);
	for (unsigned class = 0; class < CLASSES; class++)
		analysis_add_fact(result, class_names[class].key, class_names[class].title, ANALYSIS_BYTES, sum.classes[class]);
	add_live_facts(&sum, result);
	add_counted_facts(&sum, result);
	analysis_add_fact(result, "process_count", processes == 1 ? "process that was looked at" :
		"processes that were looked at", ANALYSIS_NUMBER, processes);
	analysis_add_fact(result, "cut_count", "of them not wholly", ANALYSIS_NUMBER, cut);
	analysis_add_fact(result, "blind_count", "of them with blocks that were not recorded", ANALYSIS_NUMBER, blind);
}
