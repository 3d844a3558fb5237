/* SPDX-License-Identifier: MIT */
/* What holds of every profile, whatever capture it was made of.  For the fuzz targets that build profiles. */
#ifndef SCTMEM_TESTS_FUZZ_CHECK_PROFILE_H
#define SCTMEM_TESTS_FUZZ_CHECK_PROFILE_H

#include <string.h>

#include "input.h"
#include "reader/analysis.h"
#include "reader/profile.h"

static inline void check_profile(const struct profile *profile)
{
	struct cost *costs = calloc(profile->node_count, sizeof(*costs));
	uint64_t total = 0;

	if (!costs)
		return;
	for (uint32_t i = 1; i < profile->node_count; i++) {
		if (profile->nodes[i].parent >= i || profile->nodes[i].frame >= profile->frame_count)
			abort();
	}
	for (size_t i = 0; i < profile->site_count; i++) {
		if (profile->sites[i].node >= profile->node_count || profile->sites[i].thread >= profile->thread_count)
			abort();
		if (profile_counts(profile, &profile->sites[i]))
			total += profile->sites[i].cost.total_bytes;
	}
	profile_inclusive(profile, costs);
	if (total != profile->total.total_bytes || memcmp(&costs[0], &profile->total, sizeof(costs[0])) != 0)
		abort();
	free(costs);
	for (unsigned i = 0; i < profile->analysis_count * ANALYSIS_TABLES_MAX; i++) {
		const struct analysis_table *table = &profile->analyses[i / ANALYSIS_TABLES_MAX].tables[i % ANALYSIS_TABLES_MAX];

		for (size_t row = 0; row < table->count; row++) {
			if (table->rows[row].site >= profile->observed_count)
				abort();
		}
	}
}

#endif
