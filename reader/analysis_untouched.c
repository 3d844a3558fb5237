/* SPDX-License-Identifier: MIT */
/*
 * Memory that was asked for and never touched, as far as samples tell: where the live counted memory of a process is
 * more than its private resident memory, the difference is not resident.  It was never touched, or it was swapped
 * out; and it is at least so much, since resident memory holds other things too.
 *
 * The sample at which it was most is kept, and what large blocks each site had then: untouched pages lie in those,
 * since allocators hand out small blocks from pages that they use.  Which of them it is, a capture does not say.
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"

enum { LARGE_BYTES, LARGE_COUNT, LARGE_COLUMNS };
enum { LARGE_MIN = 128 * 1024 };

static const struct analysis_column columns[] = {
	{ "bytes", "in large blocks", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "block_count", "blocks", ANALYSIS_NUMBER, ANALYSIS_SUM },
};

static const struct analysis_table_class places = { .name = "places", .by_place = true, .columns = columns,
	.column_count = LARGE_COLUMNS, .sort = LARGE_BYTES };

struct large_site {
	uint64_t live_bytes, live_count;
	uint64_t most_bytes, most_count;   /* at the sample of number `epoch` */
	uint64_t epoch;
};

struct process_sample { uint64_t anonymous, counted; };

struct untouched {
	struct large_site *sites;
	size_t site_capacity;
	struct process_sample *samples;   /* the newest of each process */
	size_t sample_capacity;
	uint64_t epoch;               /* how often there was a new most */
	uint64_t most_bytes, most_ns, counted, anonymous;
	uint64_t sample_count;
};

static void save(struct large_site *site, uint64_t epoch)
{
	if (site->epoch == epoch)
		return;
	site->most_bytes = site->live_bytes;
	site->most_count = site->live_count;
	site->epoch = epoch;
}

static bool on_change(void *state, const struct analysis_context *context, const struct analysis_block *block,
	int live, uint64_t before, uint64_t now)
{
	struct untouched *own = state;
	struct large_site *site;

	if (!block->counted || (before < LARGE_MIN && now < LARGE_MIN))
		return true;
	if (!array_reserve(&own->sites, &own->site_capacity, block->site + (size_t)1, sizeof(*own->sites), context->error))
		return false;
	site = &own->sites[block->site];
	save(site, own->epoch);
	if (before >= LARGE_MIN) {
		site->live_bytes -= before;
		site->live_count--;
	}
	if (now >= LARGE_MIN) {
		site->live_bytes += now;
		site->live_count++;
	}
	return true;
}

static bool on_sample(void *state, const struct analysis_context *context, const struct profile_sample *sample)
{
	struct untouched *own = state;
	uint64_t counted = 0, anonymous = 0, untouched = 0;

	if (!array_reserve(&own->samples, &own->sample_capacity, sample->process + (size_t)1, sizeof(*own->samples),
		context->error))
		return false;
	own->samples[sample->process] = (struct process_sample){ .anonymous = sample->anonymous_bytes,
		.counted = sample->counted_bytes };
	own->sample_count++;
	for (size_t i = 0; i < own->sample_capacity; i++) {
		const struct process_sample *newest = &own->samples[i];

		counted += newest->counted;
		anonymous += newest->anonymous;
		untouched += newest->counted > newest->anonymous ? newest->counted - newest->anonymous : 0;
	}
	if (untouched > own->most_bytes) {
		own->most_bytes = untouched;
		own->most_ns = sample->time_ns;
		own->counted = counted;
		own->anonymous = anonymous;
		own->epoch++;
	}
	return true;
}

static bool on_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	struct untouched *own = state;

	if (!own->sample_count)
		result->unavailable = "the capture has no samples of resident memory (SCTMEM_SAMPLE_MS)";
	else
		result->unavailable = context->incomplete;
	if (result->unavailable)
		return true;
	analysis_add_fact(result, "untouched_bytes", "live but not resident, at least", ANALYSIS_BYTES, own->most_bytes);
	analysis_add_fact(result, "time_ns", "at this time", ANALYSIS_TIME, own->most_ns);
	analysis_add_fact(result, "counted_bytes", "live then", ANALYSIS_BYTES, own->counted);
	analysis_add_fact(result, "anonymous_bytes", "resident and private then", ANALYSIS_BYTES, own->anonymous);
	analysis_add_fact(result, "sample_count", "samples", ANALYSIS_NUMBER, own->sample_count);
	for (size_t site = 1; site < own->site_capacity && own->epoch; site++) {
		uint64_t *values;

		save(&own->sites[site], own->epoch);
		if (!own->sites[site].most_count)
			continue;
		if (!analysis_add_row(result, 0, (uint32_t)site, &values, NULL, context->error))
			return false;
		values[LARGE_BYTES] = own->sites[site].most_bytes;
		values[LARGE_COUNT] = own->sites[site].most_count;
	}
	return true;
}

static void finish(void *state)
{
	struct untouched *own = state;

	free(own->sites);
	free(own->samples);
}

const struct analysis_class analysis_untouched = { .name = "untouched", .title = "Live but never touched",
	.state_size = sizeof(struct untouched), .of_moments = true, .tables = { &places },
	.on_change = on_change, .on_sample = on_sample, .on_end = on_end, .finish = finish };
