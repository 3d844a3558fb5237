/* SPDX-License-Identifier: MIT */
/* See intervals.h. */
#include "intervals.h"

uint64_t cost_bytes(const struct cost *cost, enum cost_figure figure)
{
	return figure == COST_TOTAL ? cost->total_bytes : figure == COST_PEAK ? cost->peak_bytes :
		figure == COST_LIVE ? cost->live_bytes : cost->temporary_bytes;
}

uint64_t cost_count(const struct cost *cost, enum cost_figure figure)
{
	return figure == COST_TOTAL ? cost->total_count : figure == COST_PEAK ? cost->peak_count :
		figure == COST_LIVE ? cost->live_count : cost->temporary_count;
}

struct spread cost_spread_of(const struct cost_spread *spread, enum cost_figure figure)
{
	if (!spread)
		return (struct spread){ 0 };
	return figure == COST_TOTAL ? spread->total : figure == COST_PEAK ? spread->peak :
		figure == COST_LIVE ? spread->live : spread->temporary;
}

/* How coarse the sample was, at most, while what the figure counts was allocated. */
static uint64_t mean_of(const struct profile *profile, enum cost_figure figure)
{
	return figure == COST_PEAK ? profile->sample_mean_peak_bytes :
		figure == COST_LIVE ? profile->sample_mean_live_bytes : profile->sample_mean_bytes;
}

struct interval interval_bytes(const struct profile *profile, enum cost_figure figure, const struct cost *cost,
	const struct cost_spread *spread)
{
	const struct spread its = cost_spread_of(spread, figure);

	return estimate_bytes(cost_bytes(cost, figure), &its, mean_of(profile, figure));
}

struct interval interval_count(const struct profile *profile, enum cost_figure figure, const struct cost *cost,
	const struct cost_spread *spread)
{
	const struct spread its = cost_spread_of(spread, figure);

	return estimate_count(cost_count(cost, figure), &its, mean_of(profile, figure));
}

void intervals_of(const struct profile *profile, const struct cost *cost, const struct cost_spread *spread,
	struct interval out[2 * COST_FIGURES])
{
	for (unsigned figure = 0; figure < COST_FIGURES; figure++) {
		out[2 * figure] = interval_bytes(profile, (enum cost_figure)figure, cost, spread);
		out[2 * figure + 1] = interval_count(profile, (enum cost_figure)figure, cost, spread);
	}
}
