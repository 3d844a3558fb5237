/* SPDX-License-Identifier: MIT */
/*
 * See slices.h.  Cell i is replay.sites[i]; cell 0 is the site of nothing and belongs to no slice.
 */
#include "slices.h"

#include <stdlib.h>
#include <string.h>

#include "replay_cost.h"

/* As the time line's first width: its points and the borders fall together. */
enum { WIDTH_FIRST_NS = 1000, SLICES_MAX = 1 << 16 };

bool slices_init(struct slices *slices, uint32_t count, size_t entries_max, struct error *error)
{
	*slices = (struct slices){ .due_ns = UINT64_MAX };
	if (count == 0)
		return true;
	if (count > SLICES_MAX)
		count = SLICES_MAX;
	slices->capacity = (count + 1) / 2 * 2;
	slices->entries_max = entries_max;
	slices->width_ns = slices->due_ns = WIDTH_FIRST_NS;
	slices->ends = calloc(slices->capacity, sizeof(*slices->ends));
	return slices->ends ? true : fail_memory(error);
}

void slices_finish(struct slices *slices)
{
	free(slices->ends);
	free(slices->cells);
	free(slices->losses);
	free(slices->cell_spreads);
	free(slices->loss_spreads);
	free(slices->listed);
	free(slices->cell_sites);
	free(slices->cell_totals);
	free(slices->site_of);
	*slices = (struct slices){ .due_ns = UINT64_MAX };
}

static size_t first_cell(const struct slices *slices, uint32_t slice)
{
	return slice ? slices->ends[slice - 1].cell_end : 1;
}

static bool list_cell(struct replay *replay, uint32_t cell)
{
	struct slices *slices = &replay->slices;

	if (!array_reserve(&slices->listed, &slices->listed_capacity, slices->listed_count + 1, sizeof(*slices->listed),
		replay->error))
		return false;
	slices->listed[slices->listed_count++] = cell;
	slices->cells[cell].listed = true;
	return true;
}

static bool reserve_losses(struct replay *replay, size_t count)
{
	struct slices *slices = &replay->slices;

	return array_reserve(&slices->losses, &slices->loss_capacity, count, sizeof(*slices->losses), replay->error) &&
		(!replay->spreads || array_reserve(&slices->loss_spreads, &slices->loss_spread_capacity, count,
			sizeof(*slices->loss_spreads), replay->error));
}

static bool reserve_cells(struct replay *replay, size_t count)
{
	struct slices *slices = &replay->slices;

	return array_reserve(&slices->cells, &slices->cell_capacity, count, sizeof(*slices->cells), replay->error) &&
		(!replay->spreads || array_reserve(&slices->cell_spreads, &slices->cell_spread_capacity, count,
			sizeof(*slices->cell_spreads), replay->error));
}

static void take_loss_spread(const struct replay *replay, uint32_t number, size_t loss)
{
	struct spread *last;

	if (!replay->spreads)
		return;
	last = &replay->slices.cell_spreads[number].last;
	replay->slices.loss_spreads[loss] = spread_less(last, &replay->spreads[number].live);
	*last = replay->spreads[number].live;
}

/* What ended cells have lost since the border before. */
static bool take_losses(struct replay *replay)
{
	struct slices *slices = &replay->slices;
	size_t kept = 0;

	if (!reserve_losses(replay, slices->loss_count + slices->listed_count))
		return false;
	for (size_t i = 0; i < slices->listed_count; i++) {
		const uint32_t number = slices->listed[i];
		const struct replay_site *site = &replay->sites[number];
		struct slice_cell *cell = &slices->cells[number];

		if (site->live_bytes != cell->last_bytes || site->live_count != cell->last_count) {
			take_loss_spread(replay, number, slices->loss_count);
			slices->losses[slices->loss_count++] = (struct slice_loss){ .cell = number,
				.bytes = (int64_t)(cell->last_bytes - site->live_bytes),
				.count = (int64_t)(cell->last_count - site->live_count) };
		}
		cell->last_bytes = site->live_bytes;
		cell->last_count = site->live_count;
		cell->listed = site->live_bytes || site->live_count;
		if (cell->listed)
			slices->listed[kept++] = number;
	}
	slices->listed_count = kept;
	return true;
}

/* From now on allocations get new cells. */
static bool begin_slice(struct replay *replay)
{
	if (replay->site_by_key.count > 0) {
		map64_finish(&replay->site_by_key);
		if (!map64_init(&replay->site_by_key, 64, replay->error))
			return false;
	}
	memset(replay->memo, 0, sizeof(replay->memo));
	return true;
}

static bool end_slice(struct replay *replay, uint64_t time_ns)
{
	struct slices *slices = &replay->slices;
	const size_t first = first_cell(slices, slices->count);

	if (!take_losses(replay) || !reserve_cells(replay, replay->site_count))
		return false;
	for (size_t i = first; i < replay->site_count; i++) {
		const struct replay_site *site = &replay->sites[i];

		slices->cells[i] = (struct slice_cell){ .kept_bytes = site->live_bytes, .kept_count = site->live_count,
			.last_bytes = site->live_bytes, .last_count = site->live_count };
		if (replay->spreads)
			slices->cell_spreads[i] = (struct slice_cell_spread){ .kept = replay->spreads[i].live,
				.last = replay->spreads[i].live };
		if ((site->live_bytes || site->live_count) && !list_cell(replay, (uint32_t)i))
			return false;
	}
	slices->ends[slices->count++] = (struct slice_end){ .time_ns = time_ns, .cell_end = replay->site_count,
		.loss_end = slices->loss_count };
	return first == replay->site_count || begin_slice(replay);
}

bool slices_revive(struct replay *replay, uint32_t site)
{
	struct slices *slices = &replay->slices;

	/* A cell of the open slice is looked at when that ends. */
	if (site == REPLAY_SITE_NONE || site >= first_cell(slices, slices->count) || slices->cells[site].listed)
		return true;
	return list_cell(replay, site);
}

/* One cell takes in another of the same site, from the slice behind its own. */
static void join_cell(struct replay *replay, size_t to, size_t from)
{
	struct replay_site *site = &replay->sites[to], *gone = &replay->sites[from];
	struct replay_site_extra *extra = &replay->extras[to];
	const struct replay_site_extra *gone_extra = &replay->extras[from];
	struct slice_cell *cell = &replay->slices.cells[to];
	const struct slice_cell *gone_cell = &replay->slices.cells[from];

	replay_touch(replay, site);
	replay_touch(replay, gone);
	site->total_bytes += gone->total_bytes;
	site->total_count += gone->total_count;
	site->live_bytes += gone->live_bytes;
	site->live_count += gone->live_count;
	site->peak_bytes += gone->peak_bytes;
	site->peak_count += gone->peak_count;
	extra->temporary_bytes += gone_extra->temporary_bytes;
	extra->temporary_count += gone_extra->temporary_count;
	extra->at_bytes += gone_extra->at_bytes;
	extra->at_count += gone_extra->at_count;
	cell->kept_bytes += gone_cell->kept_bytes;
	cell->kept_count += gone_cell->kept_count;
	cell->last_bytes += gone_cell->last_bytes;
	cell->last_count += gone_cell->last_count;
	if (!replay->spreads)
		return;
	replay_spread_join(&replay->spreads[to], &replay->spreads[from]);
	spread_add(&replay->slices.cell_spreads[to].kept, &replay->slices.cell_spreads[from].kept);
	spread_add(&replay->slices.cell_spreads[to].last, &replay->slices.cell_spreads[from].last);
}

/* Cells move down over those that were joined; new_of[i] is where cell i went. */
static bool join_cells(struct replay *replay, uint32_t *new_of)
{
	struct slices *slices = &replay->slices;
	size_t to = 1, from = 1;

	new_of[0] = 0;
	for (uint32_t slice = 0; slice < slices->count; slice += 2) {
		const size_t later = slices->ends[slice].cell_end;
		const size_t end = slice + 1 < slices->count ? slices->ends[slice + 1].cell_end : later;
		struct map64 by_key = { 0 };
		bool ok = map64_init(&by_key, later - from, replay->error);

		for (; ok && from < end; from++) {
			const uint32_t known = map64_get(&by_key, replay->sites[from].key);

			if (known != MAP64_NONE) {
				join_cell(replay, known, from);
				new_of[from] = known;
				continue;
			}
			if (from < later)
				ok = map64_put(&by_key, replay->sites[from].key, (uint32_t)to, replay->error);
			new_of[from] = (uint32_t)to;
			replay->sites[to] = replay->sites[from];
			replay->extras[to] = replay->extras[from];
			if (replay->spreads) {
				replay->spreads[to] = replay->spreads[from];
				slices->cell_spreads[to] = slices->cell_spreads[from];
			}
			slices->cells[to++] = slices->cells[from];
		}
		map64_finish(&by_key);
		if (!ok)
			return false;
		slices->ends[slice / 2].cell_end = to;
	}
	/* What replay finds behind the last site must be new: zeros. */
	memset(&replay->extras[to], 0, (replay->site_count - to) * sizeof(*replay->extras));
	replay->site_count = to;
	return true;
}

/* A loss becomes none: the cell was born in its slice. */
static void unkeep(struct slices *slices, uint32_t cell, size_t loss)
{
	slices->cells[cell].kept_bytes -= (uint64_t)slices->losses[loss].bytes;
	slices->cells[cell].kept_count -= (uint64_t)slices->losses[loss].count;
	if (slices->loss_spreads)
		slices->cell_spreads[cell].kept = spread_less(&slices->cell_spreads[cell].kept, &slices->loss_spreads[loss]);
}

static void join_loss(struct slices *slices, size_t to, size_t from)
{
	slices->losses[to].bytes += slices->losses[from].bytes;
	slices->losses[to].count += slices->losses[from].count;
	if (slices->loss_spreads)
		spread_add(&slices->loss_spreads[to], &slices->loss_spreads[from]);
}

static void move_loss(struct slices *slices, size_t to, size_t from, uint32_t cell)
{
	slices->losses[to] = slices->losses[from];
	slices->losses[to].cell = cell;
	if (slices->loss_spreads)
		slices->loss_spreads[to] = slices->loss_spreads[from];
}

/* Losses of a pair of slices become those of one; those of cells that are born in it are none any more. */
static bool join_losses(struct replay *replay, const uint32_t *new_of)
{
	struct slices *slices = &replay->slices;
	uint32_t *newest = calloc(replay->site_count, sizeof(*newest));   /* index + 1 of each cell's newest loss */
	size_t to = 0, from = 0;

	if (!newest)
		return fail_memory(replay->error);
	for (uint32_t slice = 0; slice < slices->count; slice += 2) {
		const size_t end = slice + 1 < slices->count ? slices->ends[slice + 1].loss_end : slices->ends[slice].loss_end;
		const size_t born = slice ? slices->ends[slice / 2 - 1].cell_end : 1;
		const size_t start = to;

		for (; from < end; from++) {
			const uint32_t cell = new_of[slices->losses[from].cell];

			if (cell >= born) {
				unkeep(slices, cell, from);
			} else if (newest[cell] > start) {
				join_loss(slices, newest[cell] - 1, from);
			} else {
				move_loss(slices, to++, from, cell);
				newest[cell] = (uint32_t)to;
			}
		}
		slices->ends[slice / 2].loss_end = to;
	}
	slices->loss_count = to;
	free(newest);
	return true;
}

/* Everything that names a cell. */
static void rename_cells(struct replay *replay, const uint32_t *new_of)
{
	struct slices *slices = &replay->slices;
	size_t kept = 0;

	for (uint32_t i = 0; i < replay->process_count; i++) {
		const struct live *live = &replay->processes[i].live;

		for (size_t bucket = 0; live->buckets && bucket <= live->mask; bucket++) {
			for (unsigned lane = 0; lane < LIVE_LANES; lane++) {
				if (live->buckets[bucket].key[lane])   /* else it may name a cell that is no more */
					live->buckets[bucket].site[lane] = new_of[live->buckets[bucket].site[lane]];
			}
		}
	}
	for (size_t i = 0; i < replay->mapping_count; i++) {
		struct replay_mapping *mapping = &replay->mappings[i];

		if (mapping->left || mapping->held)   /* else it is free, and its site is a link */
			mapping->site = new_of[mapping->site];
	}
	for (size_t i = 0; i < replay->thread_count; i++) {
		for (uint32_t n = 0; n < replay->threads[i].move_count; n++) {
			struct live_block *block = &replay->threads[i].moves[n].block;

			if (block->site != REPLAY_MOVE_UNKNOWN)
				block->site = new_of[block->site];
		}
	}
	for (size_t i = 1; i < replay->site_count; i++)
		slices->cells[i].listed = false;
	for (size_t i = 0; i < slices->listed_count; i++) {
		const uint32_t cell = new_of[slices->listed[i]];

		if (slices->cells[cell].listed)
			continue;
		slices->cells[cell].listed = true;
		slices->listed[kept++] = cell;
	}
	slices->listed_count = kept;
}

/* Each two slices become one.  All sites belong to slices that have ended. */
static bool join_slices(struct replay *replay)
{
	struct slices *slices = &replay->slices;
	uint32_t *new_of = calloc(replay->site_count, sizeof(*new_of));
	bool ok;

	if (!new_of)
		return fail_memory(replay->error);
	ok = join_cells(replay, new_of) && join_losses(replay, new_of);
	if (ok)
		rename_cells(replay, new_of);
	free(new_of);
	for (uint32_t slice = 0; slice < slices->count; slice += 2)
		slices->ends[slice / 2].time_ns = slices->ends[slice + 1 < slices->count ? slice + 1 : slice].time_ns;
	slices->count = (slices->count + 1) / 2;
	slices->width_ns *= 2;
	return ok && begin_slice(replay);
}

static bool crowded(struct replay *replay)
{
	struct slices *slices = &replay->slices;

	if (replay->site_count + slices->loss_count <= slices->entries_max)
		return false;
	slices->crowded = true;
	return true;
}

bool slices_advance(struct replay *replay, uint64_t now_ns)
{
	struct slices *slices = &replay->slices;

	while (slices->due_ns < now_ns) {
		if (!end_slice(replay, slices->due_ns))
			return false;
		/* An odd number cannot be joined without one standing alone at half the width. */
		while (slices->count && slices->count % 2 == 0 && (slices->count == slices->capacity || crowded(replay))) {
			if (!join_slices(replay))
				return false;
		}
		slices->due_ns = (slices->count + (uint64_t)1) * slices->width_ns;
	}
	return true;
}

/* One site for all cells of a key. */
static bool fold_sites(struct replay *replay)
{
	struct slices *slices = &replay->slices;
	struct map64 by_key = { 0 };
	size_t to = 1;
	bool ok = map64_init(&by_key, 1024, replay->error);

	slices->site_of = calloc(replay->site_count, sizeof(*slices->site_of));
	if (ok && !slices->site_of)
		ok = fail_memory(replay->error);
	/* Totals of the cells are still needed: sites are summed up in new arrays. */
	struct replay_site *sites = ok ? calloc(replay->site_count, sizeof(*sites)) : NULL;
	struct replay_site_extra *extras = ok ? calloc(replay->site_count, sizeof(*extras)) : NULL;
	struct replay_spread *spreads = ok && replay->spreads ? calloc(replay->site_count, sizeof(*spreads)) : NULL;
	if (ok && (!sites || !extras || (replay->spreads && !spreads)))
		ok = fail_memory(replay->error);
	for (size_t i = 1; ok && i < replay->site_count; i++) {
		const struct replay_site *cell = &replay->sites[i];
		const struct replay_site_extra *extra = &replay->extras[i];
		uint32_t known = map64_get(&by_key, cell->key);

		if (known == MAP64_NONE) {
			known = (uint32_t)to++;
			ok = map64_put(&by_key, cell->key, known, replay->error);
			sites[known].key = cell->key;
			sites[known].epoch = replay->epoch;
		}
		slices->site_of[i] = known;
		sites[known].total_bytes += cell->total_bytes;
		sites[known].total_count += cell->total_count;
		sites[known].live_bytes += cell->live_bytes;
		sites[known].live_count += cell->live_count;
		sites[known].peak_bytes += cell->peak_bytes;
		sites[known].peak_count += cell->peak_count;
		extras[known].temporary_bytes += extra->temporary_bytes;
		extras[known].temporary_count += extra->temporary_count;
		extras[known].at_bytes += extra->at_bytes;
		extras[known].at_count += extra->at_count;
		if (spreads)
			replay_spread_join(&spreads[known], &replay->spreads[i]);
	}
	map64_finish(&by_key);
	if (!ok) {
		free(sites);
		free(extras);
		free(spreads);
		return false;
	}
	free(replay->extras);
	slices->cell_sites = replay->sites;
	slices->cell_count = replay->site_count;
	replay->sites = sites;
	replay->extras = extras;
	slices->cell_totals = replay->spreads;
	replay->spreads = spreads;
	replay->site_count = to;
	return true;
}

bool slices_end(struct replay *replay, uint64_t duration_ns)
{
	struct slices *slices = &replay->slices;

	if (slices->capacity == 0)
		return true;
	const uint64_t end_ns = duration_ns > replay->now_ns ? duration_ns : replay->now_ns;
	/* All that is left lies in the open slice, whose border is at or beyond the end, when time has gone on to it. */
	if (!slices_advance(replay, end_ns) || !end_slice(replay, end_ns))
		return false;
	while (slices->count > 1 && crowded(replay)) {
		if (!join_slices(replay))
			return false;
	}
	slices->due_ns = UINT64_MAX;
	return fold_sites(replay);
}
