/* SPDX-License-Identifier: MIT */
/*
 * Sites that allocate and free blocks of the same size again and again.
 *
 * An allocation is churn when its site has given back a block of this very size before that it has not taken again:
 * had the site kept it, it would not have had to ask.  What was live at once, at most, says how many it would keep.
 *
 * The first 16 sizes of a site are looked at; allocations of others are counted and said.
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"

enum { CHURN_COUNT, CHURN_BYTES, CHURN_SIZE, CHURN_LIVE_MAX, CHURN_TOTAL, CHURN_COLUMNS };
enum { SIZES_MAX = 16 };

static const struct analysis_column columns[] = {
	{ "churn_count", "again", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "churn_bytes", "bytes", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "size", "size", ANALYSIS_BYTES, ANALYSIS_KEY },
	{ "live_max_count", "live at once", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "total_count", "allocations", ANALYSIS_NUMBER, ANALYSIS_SUM },
};

static const struct analysis_table_class places = { .name = "places", .by_place = true, .columns = columns,
	.column_count = CHURN_COLUMNS, .sort = CHURN_COUNT };

/* One size of one site. */
struct slot {
	uint64_t size, total, churn, live, live_max, kept;   /* kept: freed and not taken again */
	uint32_t site, next;          /* next: index + 1 of the site's next size; 0: none */
};

struct churn_site {
	uint32_t first, count;        /* index + 1 of its first slot */
	uint64_t beyond;              /* allocations of sizes that have no slot */
};

struct churn {
	struct churn_site *sites;
	size_t site_capacity;
	struct slot *slots;
	size_t slot_count, slot_capacity;
};

/* *slot: index + 1 of the site's slot of this size; 0: it has too many. */
static bool find_slot(struct churn *own, uint32_t site, uint64_t size, uint32_t *slot, struct error *error)
{
	struct churn_site *its = &own->sites[site];
	uint32_t *link = &its->first;

	while (*link && own->slots[*link - 1].size != size)
		link = &own->slots[*link - 1].next;
	*slot = *link;
	if (*slot || its->count == SIZES_MAX)
		return true;
	its->count++;
	*slot = *link = (uint32_t)own->slot_count + 1;
	if (!array_reserve(&own->slots, &own->slot_capacity, own->slot_count + 1, sizeof(*own->slots), error))
		return false;
	own->slots[own->slot_count++] = (struct slot){ .size = size, .site = site };
	return true;
}

static bool on_alloc(void *state, const struct analysis_context *context, struct analysis_block *block,
	const struct analysis_block *replaced)
{
	struct churn *own = state;
	struct slot *slot;

	if (!array_reserve(&own->sites, &own->site_capacity, block->site + (size_t)1, sizeof(*own->sites),
		context->error) ||
	    !find_slot(own, block->site, block->size, &block->slot, context->error))
		return false;
	if (!block->slot) {
		own->sites[block->site].beyond++;
		return true;
	}
	slot = &own->slots[block->slot - 1];
	slot->total++;
	slot->live++;
	slot->live_max = slot->live > slot->live_max ? slot->live : slot->live_max;
	if (slot->kept) {
		slot->kept--;
		slot->churn++;
	}
	return true;
}

static bool on_free(void *state, const struct analysis_context *context, const struct analysis_block *block,
	const struct analysis_ending *ending)
{
	struct churn *own = state;
	struct slot *slot = block->slot ? &own->slots[block->slot - 1] : NULL;

	if (!slot)
		return true;
	slot->live--;
	/* A block that shrank in place cannot serve the size that it was allocated with. */
	slot->kept += block->size >= slot->size;
	return true;
}

static bool on_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	const struct churn *own = state;
	uint64_t beyond = 0;

	result->unavailable = context->replay->options.sampled ? context->incomplete : NULL;
	if (result->unavailable)
		return true;
	for (size_t i = 0; i < own->slot_count; i++) {
		const struct slot *slot = &own->slots[i];
		uint64_t *values;

		if (!slot->churn)
			continue;
		if (!analysis_add_row(result, 0, slot->site, &values, NULL, context->error))
			return false;
		values[CHURN_SIZE] = slot->size;
		values[CHURN_COUNT] = slot->churn;
		values[CHURN_BYTES] = slot->churn * slot->size;
		values[CHURN_LIVE_MAX] = slot->live_max;
		values[CHURN_TOTAL] = slot->total;
	}
	for (size_t site = 0; site < own->site_capacity; site++)
		beyond += own->sites[site].beyond;
	analysis_add_fact(result, "beyond_count", "allocations of sizes beyond the first 16 of their stack: not looked at",
		ANALYSIS_NUMBER, beyond);
	return true;
}

static void finish(void *state)
{
	struct churn *own = state;

	free(own->sites);
	free(own->slots);
}

const struct analysis_class analysis_churn = { .name = "churn", .title = "Churn of equal sizes",
	.state_size = sizeof(struct churn), .tables = { &places }, .on_alloc = on_alloc, .on_free = on_free,
	.on_end = on_end, .finish = finish };
