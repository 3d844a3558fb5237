/* SPDX-License-Identifier: MIT */
/*
 * Slop: what allocators take beyond what was asked for, by the rules of their size classes (size_class.h).
 *
 * What a site had at the peak comes out of one pass as in replay.h: before a site changes, what it held at the newest
 * maximum is saved.
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"

enum { SLOP_PEAK, SLOP_PEAK_BYTES, SLOP_SHARE, SLOP_TOTAL, SLOP_TOTAL_BYTES, SLOP_COUNT, SLOP_UNKNOWN, SLOP_MEAN_SIZE,
	SLOP_MEAN_GIVEN, SLOP_COLUMNS };

static const struct analysis_column columns[] = {
	{ "peak_slop_bytes", "slop at the peak", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "peak_bytes", "asked for", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "peak_slop_permille", "share", ANALYSIS_PERMILLE, ANALYSIS_DERIVED },
	{ "total_slop_bytes", NULL, ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "total_bytes", NULL, ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "total_count", NULL, ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "unknown_bytes", NULL, ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "mean_size", "mean size", ANALYSIS_BYTES, ANALYSIS_DERIVED },
	{ "mean_given", "really", ANALYSIS_BYTES, ANALYSIS_DERIVED },
};

static void derive(uint64_t *values, const uint64_t *series, const struct analysis_scale *scale)
{
	const uint64_t taken = values[SLOP_PEAK] + values[SLOP_PEAK_BYTES];
	const uint64_t count = values[SLOP_COUNT];

	values[SLOP_SHARE] = taken ? (uint64_t)((double)values[SLOP_PEAK] * 1000 / (double)taken) : 0;
	values[SLOP_MEAN_SIZE] = count ? values[SLOP_TOTAL_BYTES] / count : 0;
	values[SLOP_MEAN_GIVEN] = count ? (values[SLOP_TOTAL_BYTES] + values[SLOP_TOTAL]) / count : 0;
}

static const struct analysis_table_class places = { .name = "places", .by_place = true, .columns = columns,
	.column_count = SLOP_COLUMNS, .sort = SLOP_PEAK, .derive = derive };

struct slop_site {
	uint64_t values[SLOP_COLUMNS];
	uint64_t live_bytes, live_slop;
	uint64_t epoch;
};

struct slop {
	struct slop_site *sites;
	size_t capacity;
};

/* Whether it is a block, and what is taken beyond the size; unknown: 0. */
static bool slop_of(const struct analysis_context *context, const struct analysis_block *block, uint64_t size,
	uint64_t *slop, bool *known)
{
	uint64_t given;

	if (block->domain != DOMAIN_HEAP && block->domain != DOMAIN_PYTHON)
		return false;
	given = size_class_given(&context->foresights[block->process].classes, block->domain == DOMAIN_PYTHON, size,
		block->address);
	*known = given != 0;
	*slop = given > size ? given - size : 0;
	return true;
}

static void save_peak(struct slop_site *site, uint64_t epoch)
{
	if (site->epoch == epoch)
		return;
	site->values[SLOP_PEAK] = site->live_slop;
	site->values[SLOP_PEAK_BYTES] = site->live_bytes;
	site->epoch = epoch;
}

static bool on_change(void *state, const struct analysis_context *context, const struct analysis_block *block,
	int live, uint64_t before, uint64_t now)
{
	struct slop *own = state;
	struct slop_site *site;
	uint64_t slop;
	bool known;

	if (!slop_of(context, block, before, &slop, &known))
		return true;
	if (!array_reserve(&own->sites, &own->capacity, block->site + (size_t)1, sizeof(*own->sites), context->error))
		return false;
	site = &own->sites[block->site];
	save_peak(site, context->epoch);
	/* A block of no bytes takes some, too. */
	if (live <= 0 && known) {
		site->live_bytes -= analysis_bytes(block, before);
		site->live_slop -= analysis_bytes(block, slop);
	}
	slop_of(context, block, now, &slop, &known);
	if (live >= 0 && known) {
		site->live_bytes += analysis_bytes(block, now);
		site->live_slop += analysis_bytes(block, slop);
	}
	return true;
}

static bool on_alloc(void *state, const struct analysis_context *context, struct analysis_block *block,
	const struct analysis_block *replaced)
{
	struct slop *own = state;
	uint64_t *values;
	uint64_t slop;
	bool known;

	if (!slop_of(context, block, block->size, &slop, &known))
		return true;
	values = own->sites[block->site].values;
	if (!known) {
		values[SLOP_UNKNOWN] += analysis_bytes(block, block->size);
		return true;
	}
	values[SLOP_TOTAL] += analysis_bytes(block, slop);
	values[SLOP_TOTAL_BYTES] += analysis_bytes(block, block->size);
	values[SLOP_COUNT] += block->count;
	return true;
}

static bool on_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	struct slop *own = state;

	for (size_t site = 1; site < own->capacity; site++) {
		struct slop_site *its = &own->sites[site];
		uint64_t *values;

		save_peak(its, context->epoch);
		if (!its->values[SLOP_COUNT] && !its->values[SLOP_UNKNOWN])
			continue;
		if (!analysis_add_row(result, 0, (uint32_t)site, &values, NULL, context->error))
			return false;
		for (unsigned i = 0; i < SLOP_COLUMNS; i++)
			values[i] = its->values[i];
	}
	return true;
}

static void finish(void *state)
{
	free(((struct slop *)state)->sites);
}

const struct analysis_class analysis_slop = { .name = "slop", .title = "Slop of size classes",
	.state_size = sizeof(struct slop), .needs_foresight = true, .tables = { &places },
	.on_alloc = on_alloc, .on_change = on_change, .on_end = on_end, .finish = finish };
