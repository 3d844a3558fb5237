/* SPDX-License-Identifier: MIT */
/*
 * What each analysis says in one sentence, whether that is worth a look, and how it is known.
 *
 * The limits below decide only what is shown in full without being asked for.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "insights.h"
#include "text.h"

#define MIB ((uint64_t)1 << 20)

static void say(struct insight *insight, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct insight *insight, const char *format, ...)
{
	const size_t used = strlen(insight->headline);
	va_list list;

	va_start(list, format);
	vsnprintf(insight->headline + used, sizeof insight->headline - used, format, list);
	va_end(list);
}

/* A column of the total of a table. */
static uint64_t total(const struct insight *insight, unsigned table, const char *key)
{
	const struct analysis_table_class *class = insight->tables[table].class;

	for (unsigned i = 0; i < class->column_count; i++)
		if (strcmp(class->columns[i].key, key) == 0)
			return insight->tables[table].total.values[i];
	return 0;
}

static uint64_t fact(const struct insight *insight, const char *key)
{
	return analysis_fact_value(insight->result, key);
}

static const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

static void say_temporary(struct insight *insight)
{
	const uint64_t count = total(insight, 0, "temporary_count"), all = total(insight, 0, "total_count");
	const uint64_t limit = fact(insight, "limit_count");

	say(insight, "%s of %s allocations (%s) were freed by their own thread within %s allocation%s or %s: %s.",
		text_count(count).text, text_count(all).text, text_percent(count, all).text, text_count(limit).text,
		plural(limit), text_time(fact(insight, "limit_ns")).text, text_bytes(total(insight, 0, "temporary_bytes")).text);
	insight->notable = count >= 1000 && count * 4 >= all;
	insight->note = "times are as coarse as the capture's clock; distances in allocations are exact";
}

static void say_lifetimes(struct insight *insight)
{
	const uint64_t median_ns = total(insight, 0, "median_ns"), freed = total(insight, 0, "freed_count");
	const uint64_t alive = total(insight, 0, "alive_count");

	if (freed)
		say(insight, "Half of the %s freed blocks lived %s %s; ", text_count(freed).text,
			median_ns == UINT64_MAX ? "longer than" : "less than",
			text_time(median_ns == UINT64_MAX ? analysis_life_bin_end(ANALYSIS_LIFE_BINS - 2) : median_ns).text);
	say(insight, "%s %s alive at the end (%s)", text_count(alive).text, alive == 1 ? "is" : "are",
		text_bytes(total(insight, 0, "alive_bytes")).text);
	if (alive)
		say(insight, ", the oldest for %s", text_time(total(insight, 0, "oldest_ns")).text);
	say(insight, ".");
	insight->notable = freed || alive;
	insight->note = "a realloc that moves or grows a block ends one life and begins another; "
		"times are as coarse as the capture's clock";
}

static void say_rates(struct insight *insight)
{
	const uint64_t bin_ns = fact(insight, "bin_ns");

	say(insight, "In its busiest %s the program allocated %s a second (%s allocations a second).",
		text_time(bin_ns).text, text_bytes(total(insight, 0, "peak_bytes_per_second")).text,
		text_count(total(insight, 0, "peak_count_per_second")).text);
	insight->notable = total(insight, 0, "total_count") > 0;
	insight->note = "each place has its own busiest moment";
}

static void say_churn(struct insight *insight)
{
	const uint64_t count = total(insight, 0, "churn_count"), beyond = fact(insight, "beyond_count");

	say(insight, "%s allocations (%s) asked again for a size that the same stack had just given back.",
		text_count(count).text, text_bytes(total(insight, 0, "churn_bytes")).text);
	if (beyond)
		say(insight, " %s allocations of further sizes were not looked at.", text_count(beyond).text);
	insight->notable = count >= 1000;
	insight->note = "keeping as many blocks as were live at once would save these calls";
}

static void say_growth(struct insight *insight)
{
	const uint64_t moves = total(insight, 0, "move_count"), copied = total(insight, 0, "copied_bytes");
	const uint64_t remaps = total(insight, 0, "remap_count");

	say(insight, "%s reallocs that grew or moved a block moved %s of them and copied %s.",
		text_count(total(insight, 0, "realloc_count")).text, text_count(moves).text, text_bytes(copied).text);
	if (remaps)
		say(insight, " %s moved by their pages, without copying.", text_count(remaps).text);
	insight->notable = copied >= MIB || moves >= 1000;
	insight->note = "estimate: what both sizes have in common is taken as copied, unless both blocks look like mappings "
		"of their own; reserve is enough for nine of ten blocks";
}

static void say_slop(struct insight *insight)
{
	const uint64_t slop = total(insight, 0, "peak_slop_bytes"), asked = total(insight, 0, "peak_bytes");
	const uint64_t unknown = total(insight, 0, "unknown_bytes");

	say(insight, "At the peak %s were asked for and %s more taken (%s of what was taken).", text_bytes(asked).text,
		text_bytes(slop).text, text_percent(slop, slop + asked).text);
	if (unknown)
		say(insight, " Of %s the allocator's rules are not known.", text_bytes(unknown).text);
	insight->notable = slop >= MIB / 16 && slop * 10 >= slop + asked;
	insight->note = "computed from the rules of the allocators' size classes, with headers of blocks; not measured";
}

static void say_arenas(struct insight *insight)
{
	const uint64_t bytes = fact(insight, "arena_bytes"), used = fact(insight, "used_bytes");
	const uint64_t nearly_empty = fact(insight, "nearly_empty_count"), count = fact(insight, "arena_count");

	say(insight, "%s arena%s (%s) held %s of blocks (%s); %s %s less than a quarter full (%s).", text_count(count).text,
		plural(count), text_bytes(bytes).text, text_bytes(used).text, text_percent(used, bytes).text,
		text_count(nearly_empty).text, nearly_empty == 1 ? "was" : "were",
		text_bytes(fact(insight, "nearly_empty_bytes")).text);
	insight->notable = fact(insight, "nearly_empty_bytes") >= 4 * MIB && used * 2 < bytes;
	insight->note = "at the end, or at what --at says; an arena's bytes are shared out by what its blocks take";
}

static void say_pages(struct insight *insight)
{
	const uint64_t page_bytes = fact(insight, "page_bytes"), block_bytes = fact(insight, "block_bytes");
	const uint64_t resident = fact(insight, "anonymous_bytes");

	if (resident)
		say(insight, "By the newest sample %s were resident and private and %s live. ", text_bytes(resident).text,
			text_bytes(fact(insight, "counted_bytes")).text);
	say(insight, "Pages with a live block took %s for %s of blocks; %s of them were less than a quarter used.",
		text_bytes(page_bytes).text, text_bytes(block_bytes).text, text_bytes(fact(insight, "sparse_bytes")).text);
	insight->notable = page_bytes >= block_bytes + MIB && (page_bytes - block_bytes) * 4 >= page_bytes;
	insight->note = "at the end, or at what --at says; from addresses, not measured: which pages are resident says "
		"resident";
}

static void say_resident(struct insight *insight)
{
	const uint64_t resident = fact(insight, "resident_bytes"), live = fact(insight, "live_bytes");
	const uint64_t absent = fact(insight, "live_absent_bytes"), swapped = fact(insight, "live_swapped_bytes");
	const uint64_t shared = fact(insight, "shared_bytes"), cut = fact(insight, "cut_count");
	const uint64_t unused = fact(insight, "beside_bytes") + fact(insight, "arena_free_bytes") +
		fact(insight, "heap_free_bytes");

	say(insight, "Measured after %s: %s were resident%s, of that %s live blocks and mappings",
		text_time(fact(insight, "time_ns")).text, text_bytes(resident).text, shared ? "" : " and private",
		text_bytes(fact(insight, "block_bytes") + fact(insight, "mapping_bytes")).text);
	if (shared)
		say(insight, ", %s shared memory", text_bytes(shared).text);
	say(insight, " and %s free but kept.", text_bytes(unused).text);
	if (absent)
		say(insight, " %s of %s live memory were not resident", text_bytes(absent).text, text_bytes(live).text);
	if (swapped)
		say(insight, ", %s of them swapped out", text_bytes(swapped).text);
	if (absent)
		say(insight, ".");
	if (cut)
		say(insight, " Not all of %s process%s was looked at.", text_count(cut).text, cut == 1 ? "" : "es");
	insight->notable = (unused >= 4 * MIB && unused * 4 >= resident) || (absent >= MIB && absent * 4 >= live);
	insight->note = "measured, page by page, at the newest sample before the end, or before what --at says; where in "
		"its page a block's slop lies is from its size class";
}

static void say_untouched(struct insight *insight)
{
	const uint64_t bytes = fact(insight, "untouched_bytes");

	if (bytes)
		say(insight, "At %s at least %s of %s live memory were not resident: never touched, or swapped out.",
			text_time(fact(insight, "time_ns")).text, text_bytes(bytes).text,
			text_bytes(fact(insight, "counted_bytes")).text);
	else
		say(insight, "At no sample was more memory live than resident.");
	insight->notable = bytes >= MIB;
	insight->note = "a lower bound, from samples of the sums; which blocks it is says resident, of the moment that it "
		"was measured";
}

static void say_cross_thread(struct insight *insight)
{
	const uint64_t count = total(insight, 0, "elsewhere_count"), freed = total(insight, 0, "freed_count");

	say(insight, "%s of %s freed blocks (%s) were freed by another thread than the one that allocated them: %s.",
		text_count(count).text, text_count(freed).text, text_percent(count, freed).text,
		text_bytes(total(insight, 0, "elsewhere_bytes")).text);
	insight->notable = count >= 100 && count * 100 >= freed;
	insight->note = "such frees need locks or remote queues in the allocator, and fill other threads' caches";
}

static void say_pairs(struct insight *insight)
{
	const size_t count = insight->tables[0].count;

	say(insight, "%s pair%s of an allocating place and thread with a freeing thread.", text_count(count).text,
		plural(count));
	insight->note = "frees are recorded with their thread and time, without a stack";
}

static void (*const sayers[ANALYSIS_COUNT])(struct insight *insight) = {
#define X(number, name) [number] = say_##name,
	ANALYSES(X)
#undef X
};

static const struct analysis_class *const classes[ANALYSIS_COUNT] = {
#define X(number, name) [number] = &analysis_##name,
	ANALYSES(X)
#undef X
};

void insight_say(struct insight *insight)
{
	if (insight->result->unavailable) {
		say(insight, "Not available: %s.", insight->result->unavailable);
		return;
	}
	for (unsigned i = 0; i < ANALYSIS_COUNT; i++)
		if (classes[i] == insight->result->class)
			sayers[i](insight);
}
