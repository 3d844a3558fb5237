/* SPDX-License-Identifier: MIT */
/*
 * How much each site allocates over time, in at most 64 bins that all sites share.  When the run has become longer
 * than the bins reach, neighbours are joined and the width doubles, as in timeline.h.
 *
 * A bin is never narrower than four ticks of the clock: all events of a tick have the same time, and would look like a
 * burst in a narrower one.
 *
 * A site keeps the bin that it is in, and a list of those before that are not empty, the newest first.
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"

enum { RATE_PEAK_BYTES, RATE_PEAK_COUNT, RATE_COUNT, RATE_BYTES, RATE_MEAN_BYTES, RATE_COLUMNS };

#define BIN_FIRST_NS ((uint64_t)1000000)
enum { BIN_TICKS = 4 };

static const struct analysis_column columns[] = {
	{ "peak_bytes_per_second", "bytes/s at most", ANALYSIS_BYTES, ANALYSIS_DERIVED },
	{ "peak_count_per_second", "allocations/s at most", ANALYSIS_PER_SECOND, ANALYSIS_DERIVED },
	{ "total_count", "allocations", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "total_bytes", "bytes", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "mean_bytes_per_second", "bytes/s on average", ANALYSIS_BYTES, ANALYSIS_DERIVED },
};

static const struct analysis_series series_of_rates[] = {
	{ "bytes", "over time", ANALYSIS_BYTES },
	{ "count", NULL, ANALYSIS_NUMBER },
};

static uint64_t per_second(uint64_t amount, uint64_t time_ns)
{
	__extension__ typedef unsigned __int128 wide;

	return time_ns ? (uint64_t)((wide)amount * 1000000000 / time_ns) : 0;
}

static void derive(uint64_t *values, const uint64_t *series, const struct analysis_scale *scale)
{
	uint64_t bytes = 0, count = 0;

	for (unsigned bin = 0; bin < ANALYSIS_BINS; bin++) {
		bytes = series[bin] > bytes ? series[bin] : bytes;
		count = series[ANALYSIS_BINS + bin] > count ? series[ANALYSIS_BINS + bin] : count;
	}
	values[RATE_PEAK_BYTES] = per_second(bytes, scale->bin_ns);
	values[RATE_PEAK_COUNT] = per_second(count, scale->bin_ns);
	values[RATE_MEAN_BYTES] = per_second(values[RATE_BYTES], scale->duration_ns);
}

static uint64_t bin_end(unsigned bin, const struct analysis_scale *scale)
{
	return (bin + (uint64_t)1) * scale->bin_ns;
}

static const struct analysis_table_class places = { .name = "places", .by_place = true, .keeps_all = true,
	.columns = columns, .column_count = RATE_COLUMNS, .sort = RATE_PEAK_BYTES, .series = series_of_rates,
	.series_count = 2,
	.bin_count = ANALYSIS_BINS, .bin_unit = ANALYSIS_TIME, .bin_end = bin_end, .derive = derive };

struct bin {
	uint64_t count, bytes;
	uint32_t number;
	uint32_t before;              /* index + 1 of the one before; 0: none */
};

struct rates {
	struct bin *sites;            /* the newest bin of each */
	size_t site_capacity;
	struct bin *bins;             /* those before */
	size_t bin_count, bin_capacity;
	uint32_t free_bin;
	uint64_t width_ns;
};

static uint64_t first_width(const struct analysis_context *context)
{
	uint64_t width_ns = BIN_FIRST_NS;

	while (width_ns < context->clock_ns * BIN_TICKS)
		width_ns *= 2;
	return width_ns;
}

static void join(struct rates *own, struct bin *newer)
{
	for (struct bin *bin = newer; bin->before;) {
		const uint32_t index = bin->before - 1;
		struct bin *before = &own->bins[index];

		before->number /= 2;
		if (before->number != bin->number) {
			bin = before;
			continue;
		}
		bin->count += before->count;
		bin->bytes += before->bytes;
		bin->before = before->before;
		before->before = own->free_bin;
		own->free_bin = index + 1;
	}
}

static void double_width(struct rates *own)
{
	own->width_ns *= 2;
	for (size_t site = 0; site < own->site_capacity; site++) {
		own->sites[site].number /= 2;
		join(own, &own->sites[site]);
	}
}

/* The site's newest bin goes into the list, and it begins another. */
static bool begin_bin(struct rates *own, struct bin *newest, uint32_t number, struct error *error)
{
	uint32_t index = own->free_bin;

	if (newest->count) {
		if (index) {
			own->free_bin = own->bins[--index].before;
		} else {
			index = (uint32_t)own->bin_count;
			if (!array_reserve(&own->bins, &own->bin_capacity, own->bin_count + 1, sizeof(*own->bins), error))
				return false;
			own->bin_count++;
		}
		own->bins[index] = *newest;
		*newest = (struct bin){ .before = index + 1 };
	}
	newest->number = number;
	return true;
}

static bool on_alloc(void *state, const struct analysis_context *context, struct analysis_block *block,
	const struct analysis_block *replaced)
{
	struct rates *own = state;
	struct bin *newest;
	uint64_t number;

	if (!array_reserve(&own->sites, &own->site_capacity, block->site + (size_t)1, sizeof(*own->sites), context->error))
		return false;
	if (!own->width_ns)
		own->width_ns = first_width(context);
	while ((number = block->born_ns / own->width_ns) >= ANALYSIS_BINS)
		double_width(own);
	newest = &own->sites[block->site];
	if (newest->number != number && !begin_bin(own, newest, (uint32_t)number, context->error))
		return false;
	newest->count += block->count;
	newest->bytes += analysis_bytes(block, block->size);
	return true;
}

static bool on_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	struct rates *own = state;

	if (!own->width_ns)
		own->width_ns = first_width(context);
	/* The bins reach to the end of the run. */
	while (context->duration_ns / own->width_ns >= ANALYSIS_BINS)
		double_width(own);
	result->scale.bin_ns = own->width_ns;
	for (size_t site = 1; site < own->site_capacity; site++) {
		uint64_t *values, *series;

		if (!own->sites[site].count)
			continue;
		if (!analysis_add_row(result, 0, (uint32_t)site, &values, &series, context->error))
			return false;
		for (const struct bin *bin = &own->sites[site];; bin = &own->bins[bin->before - 1]) {
			values[RATE_COUNT] += bin->count;
			values[RATE_BYTES] += bin->bytes;
			series[bin->number] += bin->bytes;
			series[ANALYSIS_BINS + bin->number] += bin->count;
			if (!bin->before)
				break;
		}
	}
	analysis_add_fact(result, "bin_ns", "width of a bin", ANALYSIS_TIME, own->width_ns);
	return true;
}

static void finish(void *state)
{
	struct rates *own = state;

	free(own->sites);
	free(own->bins);
}

const struct analysis_class analysis_rates = { .name = "rates", .title = "Allocation rates",
	.state_size = sizeof(struct rates), .tables = { &places }, .on_alloc = on_alloc, .on_end = on_end,
	.finish = finish };
