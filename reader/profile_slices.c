/* SPDX-License-Identifier: MIT */
/*
 * Cells and losses of replay (slices.h), by replay's sites, become the profile's: those of sites that a filter leaves
 * out go, those of sites that became alike are joined.  Within a slice cells are in the order of sites, and losses in
 * that of cells: they pack well, and two profiles of the same events are the same.
 */
#include "profile_build.h"

#include <stdlib.h>

/* What is sorted: where it belongs, and which it was. */
struct place {
	uint32_t to, from;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;

	if (left->to != right->to)
		return left->to < right->to ? -1 : 1;
	return left->from < right->from ? -1 : left->from > right->from;
}

/* Of a sample: what is known of replay's cell goes to the newest of the profile's. */
static void add_cell_spread(const struct build *build, uint32_t from)
{
	const struct slices *slices = &build->replay.slices;
	const struct profile *profile = build->profile;

	if (!profile->cell_spreads)
		return;
	spread_add(&profile->cell_spreads[profile->cell_count - 1].total, &slices->cell_totals[from].total);
	spread_add(&profile->cell_spreads[profile->cell_count - 1].kept, &slices->cell_spreads[from].kept);
}

static void take_cells(struct build *build, const uint32_t *site_of, struct place *places, uint32_t *cell_of)
{
	struct profile *profile = build->profile;
	const struct slices *slices = &build->replay.slices;
	size_t from = 1;

	for (uint32_t slice = 0; slice < slices->count; slice++) {
		const size_t first = profile->cell_count;
		size_t count = 0;

		for (; from < slices->ends[slice].cell_end; from++) {
			const uint32_t site = site_of[slices->site_of[from]];

			cell_of[from] = BUILD_LEFT_OUT;
			if (site != BUILD_LEFT_OUT)
				places[count++] = (struct place){ site, (uint32_t)from };
		}
		if (count > 1)
			qsort(places, count, sizeof(*places), compare_places);
		for (size_t i = 0; i < count; i++) {
			const struct replay_site *total = &slices->cell_sites[places[i].from];
			const struct slice_cell *kept = &slices->cells[places[i].from];

			if (profile->cell_count == first || profile->cells[profile->cell_count - 1].site != places[i].to)
				profile->cells[profile->cell_count++] = (struct profile_cell){ .site = places[i].to };
			struct profile_cell *cell = &profile->cells[profile->cell_count - 1];
			cell->total_bytes += total->total_bytes;
			cell->total_count += total->total_count;
			cell->kept_bytes += kept->kept_bytes;
			cell->kept_count += kept->kept_count;
			add_cell_spread(build, places[i].from);
			cell_of[places[i].from] = (uint32_t)profile->cell_count - 1;
		}
		profile->slices[slice] = (struct profile_slice){ .end_ns = slices->ends[slice].time_ns,
			.cell_end = profile->cell_count };
	}
}

static void take_losses(struct build *build, struct place *places, const uint32_t *cell_of)
{
	struct profile *profile = build->profile;
	const struct slices *slices = &build->replay.slices;
	size_t from = 0;

	for (uint32_t slice = 0; slice < slices->count; slice++) {
		const size_t first = profile->loss_count;
		size_t count = 0;

		for (; from < slices->ends[slice].loss_end; from++) {
			const uint32_t cell = cell_of[slices->losses[from].cell];

			if (cell != BUILD_LEFT_OUT)
				places[count++] = (struct place){ cell, (uint32_t)from };
		}
		if (count > 1)
			qsort(places, count, sizeof(*places), compare_places);
		for (size_t i = 0; i < count; i++) {
			const struct slice_loss *loss = &slices->losses[places[i].from];

			if (profile->loss_count == first || profile->losses[profile->loss_count - 1].cell != places[i].to)
				profile->losses[profile->loss_count++] = (struct profile_loss){ .cell = places[i].to };
			profile->losses[profile->loss_count - 1].bytes += loss->bytes;
			profile->losses[profile->loss_count - 1].count += loss->count;
			if (profile->loss_spreads)
				spread_add(&profile->loss_spreads[profile->loss_count - 1], &slices->loss_spreads[places[i].from]);
		}
		profile->slices[slice].loss_end = profile->loss_count;
	}
}

bool build_slices(struct build *build, const uint32_t *site_of)
{
	struct profile *profile = build->profile;
	const struct slices *slices = &build->replay.slices;
	const size_t places_max = slices->cell_count > slices->loss_count ? slices->cell_count : slices->loss_count;
	struct place *places = calloc(places_max + 1, sizeof(*places));
	uint32_t *cell_of = calloc(slices->cell_count + 1, sizeof(*cell_of));
	bool ok;

	profile->slice_count = slices->count;
	profile->slice_limit = build->options->slices;
	profile->slices_crowded = slices->crowded;
	profile->slices = calloc(slices->count + (size_t)1, sizeof(*profile->slices));
	profile->cells = calloc(slices->cell_count + 1, sizeof(*profile->cells));
	profile->losses = calloc(slices->loss_count + 1, sizeof(*profile->losses));
	ok = places && cell_of && profile->slices && profile->cells && profile->losses;
	if (slices->cell_totals) {
		profile->cell_spreads = calloc(slices->cell_count + 1, sizeof(*profile->cell_spreads));
		profile->loss_spreads = calloc(slices->loss_count + 1, sizeof(*profile->loss_spreads));
		ok = ok && profile->cell_spreads && profile->loss_spreads;
	}
	ok = ok || fail_memory(build->error);
	if (ok) {
		take_cells(build, site_of, places, cell_of);
		take_losses(build, places, cell_of);
	}
	free(places);
	free(cell_of);
	return ok;
}
