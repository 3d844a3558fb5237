/* SPDX-License-Identifier: MIT */
/*
 * Blocks that grow through realloc: how often, how often they moved, what was copied, how large they became, and what
 * size would have done from the start.
 *
 * A block that results from a realloc has the number of reallocs behind it; when it ends, and no other realloc goes
 * on with it, its size is a final one, of the site of its last realloc.
 *
 * Whether a moved block was copied is not in a capture: the bytes that both blocks have are what was, unless libc
 * moved whole pages (mremap), which is assumed where both have a mapping of their own: 16 bytes behind a page's start.
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"

enum { GROWTH_COPIED, GROWTH_MOVES, GROWTH_REMAPS, GROWTH_CALLS, GROWTH_BLOCKS, GROWTH_MOST, GROWTH_LARGEST,
	GROWTH_RESERVE, GROWTH_FINAL_BYTES, GROWTH_COLUMNS };
enum { MAPPED_MIN = 128 * 1024, MAPPED_OFFSET = 16 };

static const struct analysis_column columns[] = {
	{ "copied_bytes", "copied", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "move_count", "moves", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "remap_count", NULL, ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "realloc_count", "reallocs", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "block_count", "blocks", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "most_reallocs", "of one at most", ANALYSIS_NUMBER, ANALYSIS_MAX },
	{ "largest_bytes", "largest", ANALYSIS_BYTES, ANALYSIS_MAX },
	{ "reserve_bytes", "reserve", ANALYSIS_BYTES, ANALYSIS_DERIVED },
	{ "final_bytes", NULL, ANALYSIS_BYTES, ANALYSIS_SUM },
};

/* By the width of their sizes in bits: bin 7 has 64 to 127 bytes. */
static const struct analysis_series final_sizes[] = { { "final_sizes", NULL, ANALYSIS_NUMBER } };

/* The end of the bin in which nine of ten final sizes lie, and no more than the largest. */
static void derive(uint64_t *values, const uint64_t *series, const struct analysis_scale *scale)
{
	uint64_t seen = 0, reserve = 0;

	for (unsigned bin = 0; bin < ANALYSIS_BINS && seen * 10 < values[GROWTH_BLOCKS] * 9; bin++) {
		seen += series[bin];
		reserve = bin ? ((uint64_t)1 << bin) - 1 : 0;
	}
	values[GROWTH_RESERVE] = reserve < values[GROWTH_LARGEST] ? reserve : values[GROWTH_LARGEST];
}

static uint64_t bin_end(unsigned bin, const struct analysis_scale *scale)
{
	return (uint64_t)1 << bin;
}

static const struct analysis_table_class places = { .name = "places", .by_place = true, .keeps_all = true,
	.columns = columns, .column_count = GROWTH_COLUMNS, .sort = GROWTH_COPIED, .series = final_sizes, .series_count = 1,
	.bin_count = ANALYSIS_BINS, .bin_unit = ANALYSIS_BYTES, .bin_end = bin_end, .derive = derive };

/* Of a site that grew something: few do. */
struct grower {
	uint64_t values[GROWTH_COLUMNS];
	uint64_t sizes[ANALYSIS_BINS];
	uint32_t site;
};

struct growth {
	uint32_t *sites;              /* index + 1 of its grower */
	size_t site_capacity;
	struct grower *growers;
	size_t count, capacity;
};

static bool find_grower(struct growth *own, uint32_t site, struct grower **grower, struct error *error)
{
	if (!array_reserve(&own->sites, &own->site_capacity, site + (size_t)1, sizeof(*own->sites), error))
		return false;
	if (!own->sites[site]) {
		if (!array_reserve(&own->growers, &own->capacity, own->count + 1, sizeof(*own->growers), error))
			return false;
		own->growers[own->count++].site = site;
		own->sites[site] = (uint32_t)own->count;
	}
	*grower = &own->growers[own->sites[site] - 1];
	return true;
}

static bool is_mapped(const struct analysis_block *block, uint64_t page_size)
{
	return block->size >= MAPPED_MIN && block->address % page_size == MAPPED_OFFSET;
}

static bool on_alloc(void *state, const struct analysis_context *context, struct analysis_block *block,
	const struct analysis_block *replaced)
{
	const uint64_t page_size = context->replay->processes[block->process].page_size;
	struct grower *grower;

	if (!replaced || block->code < CAPTURE_MALLOC)
		return true;
	if (!find_grower(state, block->site, &grower, context->error))
		return false;
	block->moves = replaced->moves + 1;
	grower->values[GROWTH_CALLS]++;
	if (grower->values[GROWTH_MOST] < block->moves)
		grower->values[GROWTH_MOST] = block->moves;
	if (block->address == replaced->address)
		return true;
	grower->values[GROWTH_MOVES]++;
	if (is_mapped(block, page_size) && is_mapped(replaced, page_size))
		grower->values[GROWTH_REMAPS]++;
	else
		grower->values[GROWTH_COPIED] += block->size < replaced->size ? block->size : replaced->size;
	return true;
}

static bool add_final(struct growth *own, const struct analysis_context *context, const struct analysis_block *block)
{
	struct grower *grower;
	const unsigned width = size_bin(block->size);

	if (!find_grower(own, block->site, &grower, context->error))
		return false;
	grower->values[GROWTH_BLOCKS]++;
	grower->values[GROWTH_FINAL_BYTES] += block->size;
	grower->sizes[width < ANALYSIS_BINS ? width : ANALYSIS_BINS - 1]++;
	if (grower->values[GROWTH_LARGEST] < block->size)
		grower->values[GROWTH_LARGEST] = block->size;
	return true;
}

static bool on_free(void *state, const struct analysis_context *context, const struct analysis_block *block,
	const struct analysis_ending *ending)
{
	return !block->moves || ending->replaced || add_final(state, context, block);
}

static bool on_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	struct growth *own = state;

	result->unavailable = context->replay->options.sampled ? context->incomplete : NULL;
	if (result->unavailable)
		return true;
	for (size_t i = 0; i < context->block_count; i++) {
		const struct analysis_block *block = &context->blocks[i];

		if (block->used && !block->ended && block->moves && !add_final(own, context, block))
			return false;
	}
	for (size_t i = 0; i < own->count; i++) {
		uint64_t *values, *series;

		if (!analysis_add_row(result, 0, own->growers[i].site, &values, &series, context->error))
			return false;
		for (unsigned column = 0; column < GROWTH_COLUMNS; column++)
			values[column] = own->growers[i].values[column];
		for (unsigned bin = 0; bin < ANALYSIS_BINS; bin++)
			series[bin] = own->growers[i].sizes[bin];
	}
	return true;
}

static void finish(void *state)
{
	struct growth *own = state;

	free(own->sites);
	free(own->growers);
}

const struct analysis_class analysis_growth = { .name = "growth", .title = "Growth by realloc",
	.state_size = sizeof(struct growth), .tables = { &places }, .on_alloc = on_alloc, .on_free = on_free,
	.on_end = on_end, .finish = finish };
