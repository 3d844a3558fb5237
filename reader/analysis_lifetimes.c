/* SPDX-License-Identifier: MIT */
/*
 * How long blocks live: what is given back at once (`temporary`), and how lifetimes are spread at each site
 * (`lifetimes`).
 *
 * A lifetime is the difference of two times that are as coarse as the capture's clock.  The distance in allocations is
 * exact, and is what profile->total.temporary_* counts: the sums are the same.
 */
#include "replay_cost.h"

#include <stdlib.h>

#include "analysis.h"

static uint32_t thread_of(const struct analysis_block *block)
{
	return (uint32_t)(block->id >> 32);
}

static uint64_t life_of(const struct analysis_block *block, uint64_t end_ns)
{
	return end_ns > block->born_ns ? end_ns - block->born_ns : 0;
}

/* ---- temporary ---- */

enum { QUICK_COUNT, QUICK_BYTES, NEAR_COUNT, NEAR_BYTES, SOON_COUNT, SOON_BYTES, ALL_COUNT, ALL_BYTES, QUICK_COLUMNS };

static const struct analysis_column temporary_columns[] = {
	{ "temporary_count", "temporary", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "temporary_bytes", "bytes", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "by_distance_count", NULL, ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "by_distance_bytes", NULL, ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "by_time_count", NULL, ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "by_time_bytes", NULL, ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "total_count", "of", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "total_bytes", NULL, ANALYSIS_BYTES, ANALYSIS_SUM },
};

static const struct analysis_table_class temporary_places = { .name = "places", .by_place = true,
	.columns = temporary_columns, .column_count = QUICK_COLUMNS, .sort = QUICK_COUNT };

struct temporary_site { uint64_t values[QUICK_COLUMNS]; };

struct temporary {
	struct temporary_site *sites;
	size_t capacity;
};

static bool temporary_alloc(void *state, const struct analysis_context *context, struct analysis_block *block,
	const struct analysis_block *replaced)
{
	struct temporary *own = state;

	if (!array_reserve(&own->sites, &own->capacity, block->site + (size_t)1, sizeof(*own->sites), context->error))
		return false;
	own->sites[block->site].values[ALL_COUNT] += block->count;
	own->sites[block->site].values[ALL_BYTES] += analysis_bytes(block, block->size);
	return true;
}

static bool temporary_free(void *state, const struct analysis_context *context, const struct analysis_block *block,
	const struct analysis_ending *ending)
{
	struct temporary *own = state;
	uint64_t *values = own->sites[block->site].values;
	/* A mapping is unmapped piece by piece: its size is that of the last one. */
	const uint64_t bytes = analysis_bytes(block, block->code < CAPTURE_MALLOC ? block->length : block->size);
	const bool own_thread = ending->thread == thread_of(block);
	const bool near = own_thread && ending->distance <= context->temporary_limit;
	const bool soon = own_thread && life_of(block, ending->time_ns) <= context->temporary_ns;

	if (near) {
		values[NEAR_COUNT] += block->count;
		values[NEAR_BYTES] += bytes;
	}
	if (soon) {
		values[SOON_COUNT] += block->count;
		values[SOON_BYTES] += bytes;
	}
	if (near || soon) {
		values[QUICK_COUNT] += block->count;
		values[QUICK_BYTES] += bytes;
	}
	return true;
}

static bool temporary_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	const struct temporary *own = state;

	for (size_t site = 1; site < own->capacity; site++) {
		uint64_t *values;

		if (!own->sites[site].values[ALL_COUNT])
			continue;
		if (!analysis_add_row(result, 0, (uint32_t)site, &values, NULL, context->error))
			return false;
		for (unsigned i = 0; i < QUICK_COLUMNS; i++)
			values[i] = own->sites[site].values[i];
	}
	analysis_add_fact(result, "limit_count", "within this many allocations of its thread", ANALYSIS_NUMBER,
		context->temporary_limit);
	analysis_add_fact(result, "limit_ns", "or within this time, by the same thread", ANALYSIS_TIME,
		context->temporary_ns);
	return true;
}

static void temporary_finish(void *state)
{
	free(((struct temporary *)state)->sites);
}

const struct analysis_class analysis_temporary = { .name = "temporary", .title = "Temporary allocations",
	.state_size = sizeof(struct temporary), .tables = { &temporary_places }, .on_alloc = temporary_alloc,
	.on_free = temporary_free, .on_end = temporary_end, .finish = temporary_finish };

/* ---- lifetimes ---- */

enum { LIFE_MEAN, LIFE_FREED, LIFE_MEDIAN, LIFE_ALIVE_COUNT, LIFE_ALIVE_BYTES, LIFE_OLDEST, LIFE_HELD, LIFE_UNSEEN,
	LIFE_COLUMNS };

static const struct analysis_column lifetime_columns[] = {
	{ "mean_live_bytes", "held on average", ANALYSIS_BYTES, ANALYSIS_DERIVED },
	{ "freed_count", "freed", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "median_ns", "half within", ANALYSIS_TIME, ANALYSIS_DERIVED },
	{ "alive_count", "alive", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "alive_bytes", "alive bytes", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "oldest_ns", "oldest", ANALYSIS_TIME, ANALYSIS_MAX },
	{ "byte_milliseconds", NULL, ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "unseen_count", NULL, ANALYSIS_NUMBER, ANALYSIS_SUM },
};

static const struct analysis_series lifetime_series[] = { { "freed", "lifetimes", ANALYSIS_NUMBER } };

/* Byte-milliseconds are exact enough: what is shorter holds nothing. */
static uint64_t byte_milliseconds(uint64_t bytes, uint64_t time_ns)
{
	__extension__ typedef unsigned __int128 wide;

	return (uint64_t)((wide)bytes * time_ns / 1000000);
}

static void derive_lifetimes(uint64_t *values, const uint64_t *series, const struct analysis_scale *scale)
{
	const uint64_t duration_ms = scale->duration_ns / 1000000;

	values[LIFE_MEDIAN] = analysis_life_median(series, scale);
	values[LIFE_MEAN] = duration_ms ? values[LIFE_HELD] / duration_ms : 0;
}

static const struct analysis_table_class lifetime_places = { .name = "places", .by_place = true, .keeps_all = true,
	.columns = lifetime_columns, .column_count = LIFE_COLUMNS, .sort = LIFE_MEAN, .series = lifetime_series,
	.series_count = 1, .bin_count = ANALYSIS_LIFE_BINS, .bin_unit = ANALYSIS_TIME, .bin_end = analysis_life_end,
	.derive = derive_lifetimes };

struct lifetime_site {
	uint64_t values[LIFE_COLUMNS];
	uint32_t newest;              /* index + 1 of the count of its latest free's bin, */
	uint8_t newest_bin;           /* and that bin */
	bool used;
};

struct lifetimes {
	struct lifetime_site *sites;
	size_t capacity;
	struct map64 bins;            /* site << 5 | bin -> index of its count: most sites need one or two */
	uint64_t *counts;
	size_t count, count_capacity;
};

static bool lifetimes_alloc(void *state, const struct analysis_context *context, struct analysis_block *block,
	const struct analysis_block *replaced)
{
	struct lifetimes *own = state;

	if (!array_reserve(&own->sites, &own->capacity, block->site + (size_t)1, sizeof(*own->sites), context->error))
		return false;
	own->sites[block->site].used = true;
	return true;
}

static bool lifetimes_resize(void *state, const struct analysis_context *context, struct analysis_block *block,
	uint64_t before, uint64_t now_ns)
{
	struct lifetimes *own = state;

	own->sites[block->site].values[LIFE_HELD] += byte_milliseconds(analysis_bytes(block, before),
		now_ns - block->since_ns);
	return true;
}

static bool count_life(struct lifetimes *own, const struct analysis_context *context, uint32_t site, unsigned bin,
	uint64_t count)
{
	const uint64_t key = (uint64_t)site << 5 | bin;
	struct lifetime_site *its = &own->sites[site];
	uint32_t index;

	if (its->newest && its->newest_bin == bin) {
		own->counts[its->newest - 1] += count;
		return true;
	}
	index = map64_get(&own->bins, key);
	if (index == MAP64_NONE) {
		index = (uint32_t)own->count;
		if (!array_reserve(&own->counts, &own->count_capacity, own->count + 1, sizeof(*own->counts), context->error) ||
		    !map64_put(&own->bins, key, index, context->error))
			return false;
		own->count++;
	}
	its->newest = index + 1;
	its->newest_bin = (uint8_t)bin;
	own->counts[index] += count;
	return true;
}

static bool lifetimes_free(void *state, const struct analysis_context *context, const struct analysis_block *block,
	const struct analysis_ending *ending)
{
	struct lifetimes *own = state;
	uint64_t *values = own->sites[block->site].values;

	values[LIFE_HELD] += byte_milliseconds(analysis_bytes(block, block->size), ending->time_ns - block->since_ns);
	if (ending->thread == PROFILE_NOBODY) {
		values[LIFE_UNSEEN] += block->count;
		return true;
	}
	values[LIFE_FREED] += block->count;
	return count_life(own, context, block->site, analysis_life_bin(life_of(block, ending->time_ns)), block->count);
}

static void count_alive(struct lifetimes *own, const struct analysis_context *context)
{
	for (size_t i = 0; i < context->block_count; i++) {
		const struct analysis_block *block = &context->blocks[i];
		const uint64_t age_ns = life_of(block, context->duration_ns);
		uint64_t *values;

		if (!block->used || block->ended)
			continue;
		values = own->sites[block->site].values;
		values[LIFE_ALIVE_COUNT] += block->count;
		values[LIFE_ALIVE_BYTES] += analysis_bytes(block, block->size);
		values[LIFE_OLDEST] = age_ns > values[LIFE_OLDEST] ? age_ns : values[LIFE_OLDEST];
		values[LIFE_HELD] += byte_milliseconds(analysis_bytes(block, block->size),
			context->duration_ns > block->since_ns ? context->duration_ns - block->since_ns : 0);
	}
}

static bool lifetimes_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	struct lifetimes *own = state;

	count_alive(own, context);
	for (size_t site = 1; site < own->capacity; site++) {
		uint64_t *values, *series;

		if (!own->sites[site].used)
			continue;
		if (!analysis_add_row(result, 0, (uint32_t)site, &values, &series, context->error))
			return false;
		for (unsigned i = 0; i < LIFE_COLUMNS; i++)
			values[i] = own->sites[site].values[i];
		for (unsigned bin = 0; bin < ANALYSIS_LIFE_BINS; bin++) {
			const uint32_t index = map64_get(&own->bins, (uint64_t)site << 5 | bin);

			series[bin] = index == MAP64_NONE ? 0 : own->counts[index];
		}
	}
	return true;
}

static void lifetimes_finish(void *state)
{
	struct lifetimes *own = state;

	free(own->sites);
	free(own->counts);
	map64_finish(&own->bins);
}

const struct analysis_class analysis_lifetimes = { .name = "lifetimes", .title = "Lifetimes",
	.state_size = sizeof(struct lifetimes), .tables = { &lifetime_places }, .on_alloc = lifetimes_alloc,
	.on_resize = lifetimes_resize, .on_free = lifetimes_free, .on_end = lifetimes_end, .finish = lifetimes_finish };
