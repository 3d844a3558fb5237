/* SPDX-License-Identifier: MIT */
/*
 * Who frees what another thread allocated (`cross_thread`), and the pairs of allocating place, allocating thread and
 * freeing thread with their lifetimes (`pairs`).  A free has a thread and a time in the capture, but no stack: what a
 * free costs to record is most of why it is cheap; so pairs end at the thread.
 *
 * Both count by (site, freeing thread); a site has the allocating thread in its key.
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"

struct meeting {
	uint64_t count, bytes, life_ns;
	uint64_t bins[ANALYSIS_LIFE_BINS];   /* pairs only */
	uint32_t site, thread;
};

struct meetings {
	struct map64 by_key;          /* site << 24 | freeing thread -> index */
	struct meeting *list;
	size_t count, capacity;
	struct { uint32_t thread, number; } *newest;   /* by site: its latest meeting's thread, and its index + 1; 0: none */
	size_t newest_capacity;
	uint64_t unseen;              /* ended, but by nobody that was seen */
};

static uint32_t maker_of(const struct analysis_context *context, uint32_t site)
{
	return site_thread(context->site_keys[site]);
}

/* NULL: no memory. */
static struct meeting *find_meeting(struct meetings *own, uint32_t site, uint32_t thread, struct error *error)
{
	const uint64_t key = (uint64_t)site << 24 | (thread & 0xffffff);
	uint32_t index;

	if (!array_reserve(&own->newest, &own->newest_capacity, site + (size_t)1, sizeof(*own->newest), error))
		return NULL;
	/* Most sites' blocks are freed by one thread. */
	if (own->newest[site].number && own->newest[site].thread == thread)
		return &own->list[own->newest[site].number - 1];
	index = map64_get(&own->by_key, key);
	if (index == MAP64_NONE) {
		index = (uint32_t)own->count;
		if (!array_reserve(&own->list, &own->capacity, own->count + 1, sizeof(*own->list), error) ||
		    !map64_put(&own->by_key, key, index, error))
			return NULL;
		own->list[own->count++] = (struct meeting){ .site = site, .thread = thread };
	}
	own->newest[site].thread = thread;
	own->newest[site].number = index + 1;
	return &own->list[index];
}

static bool on_free(void *state, const struct analysis_context *context, const struct analysis_block *block,
	const struct analysis_ending *ending)
{
	struct meetings *own = state;
	const uint64_t life_ns = ending->time_ns > block->born_ns ? ending->time_ns - block->born_ns : 0;
	struct meeting *meeting;

	if (ending->thread == PROFILE_NOBODY) {
		own->unseen += block->count;
		return true;
	}
	meeting = find_meeting(own, block->site, ending->thread, context->error);
	if (!meeting)
		return false;
	meeting->count += block->count;
	meeting->bytes += analysis_bytes(block, block->size);
	meeting->life_ns += life_ns * block->count;
	meeting->bins[analysis_life_bin(life_ns)] += block->count;
	return true;
}

static void finish(void *state)
{
	struct meetings *own = state;

	free(own->list);
	free(own->newest);
	map64_finish(&own->by_key);
}

/* ---- cross_thread ---- */

enum { CROSS_COUNT, CROSS_BYTES, CROSS_FREED, CROSS_COLUMNS };

static const struct analysis_column cross_columns[] = {
	{ "elsewhere_count", "freed elsewhere", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "elsewhere_bytes", "bytes", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "freed_count", "of freed", ANALYSIS_NUMBER, ANALYSIS_SUM },
};

static const struct analysis_table_class cross_places = { .name = "places", .by_place = true,
	.columns = cross_columns, .column_count = CROSS_COLUMNS, .sort = CROSS_COUNT };

enum { MATRIX_COUNT, MATRIX_BYTES, MATRIX_FROM, MATRIX_TO, MATRIX_COLUMNS };

static const struct analysis_column matrix_columns[] = {
	{ "count", "freed", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "bytes", "bytes", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "allocated_by", "allocated by", ANALYSIS_THREAD, ANALYSIS_KEY },
	{ "freed_by", "freed by", ANALYSIS_THREAD, ANALYSIS_KEY },
};

static const struct analysis_table_class cross_matrix = { .name = "threads", .columns = matrix_columns,
	.column_count = MATRIX_COLUMNS, .sort = MATRIX_COUNT };

static bool cross_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	const struct meetings *own = state;

	for (size_t i = 0; i < own->count; i++) {
		const struct meeting *meeting = &own->list[i];
		const uint32_t maker = maker_of(context, meeting->site);
		uint64_t *values;

		if (!analysis_add_row(result, 0, meeting->site, &values, NULL, context->error))
			return false;
		values[CROSS_FREED] = meeting->count;
		values[CROSS_COUNT] = maker == meeting->thread ? 0 : meeting->count;
		values[CROSS_BYTES] = maker == meeting->thread ? 0 : meeting->bytes;
		if (!analysis_add_row(result, 1, meeting->site, &values, NULL, context->error))
			return false;
		values[MATRIX_COUNT] = meeting->count;
		values[MATRIX_BYTES] = meeting->bytes;
		values[MATRIX_FROM] = maker;
		values[MATRIX_TO] = meeting->thread;
	}
	return true;
}

const struct analysis_class analysis_cross_thread = { .name = "cross_thread", .title = "Frees across threads",
	.state_size = sizeof(struct meetings), .tables = { &cross_places, &cross_matrix }, .on_free = on_free,
	.on_end = cross_end, .finish = finish };

/* ---- pairs ---- */

enum { PAIR_COUNT, PAIR_BYTES, PAIR_MEAN, PAIR_MEDIAN, PAIR_FROM, PAIR_TO, PAIR_LIFE, PAIR_COLUMNS };

static const struct analysis_column pair_columns[] = {
	{ "count", "freed", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "bytes", "bytes", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "mean_ns", "lived on average", ANALYSIS_TIME, ANALYSIS_DERIVED },
	{ "median_ns", "half within", ANALYSIS_TIME, ANALYSIS_DERIVED },
	{ "allocated_by", "allocated by", ANALYSIS_THREAD, ANALYSIS_KEY },
	{ "freed_by", "freed by", ANALYSIS_THREAD, ANALYSIS_KEY },
	{ "lifetimes_ns", NULL, ANALYSIS_TIME, ANALYSIS_SUM },
};

static const struct analysis_series pair_series[] = { { "lifetimes", "lifetimes", ANALYSIS_NUMBER } };

static void derive_pairs(uint64_t *values, const uint64_t *series, const struct analysis_scale *scale)
{
	values[PAIR_MEAN] = values[PAIR_COUNT] ? values[PAIR_LIFE] / values[PAIR_COUNT] : 0;
	values[PAIR_MEDIAN] = analysis_life_median(series, scale);
}

static const struct analysis_table_class pair_places = { .name = "places", .by_place = true, .columns = pair_columns,
	.column_count = PAIR_COLUMNS, .sort = PAIR_COUNT, .series = pair_series, .series_count = 1,
	.bin_count = ANALYSIS_LIFE_BINS, .bin_unit = ANALYSIS_TIME, .bin_end = analysis_life_end, .derive = derive_pairs };

static bool pairs_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	const struct meetings *own = state;

	for (size_t i = 0; i < own->count; i++) {
		const struct meeting *meeting = &own->list[i];
		uint64_t *values, *series;

		if (!analysis_add_row(result, 0, meeting->site, &values, &series, context->error))
			return false;
		values[PAIR_COUNT] = meeting->count;
		values[PAIR_BYTES] = meeting->bytes;
		values[PAIR_LIFE] = meeting->life_ns;
		values[PAIR_FROM] = maker_of(context, meeting->site);
		values[PAIR_TO] = meeting->thread;
		for (unsigned bin = 0; bin < ANALYSIS_LIFE_BINS; bin++)
			series[bin] = meeting->bins[bin];
	}
	analysis_add_fact(result, "unseen_count", "blocks whose free was not seen", ANALYSIS_NUMBER, own->unseen);
	return true;
}

const struct analysis_class analysis_pairs = { .name = "pairs", .title = "Pairs of allocation and free",
	.state_size = sizeof(struct meetings), .tables = { &pair_places }, .on_free = on_free, .on_end = pairs_end,
	.finish = finish };
