/* SPDX-License-Identifier: MIT */
/*
 * See diff_slices.h.  Cells keep their order; two of a slice may have become those of one site, which adds up the same.
 */
#include "diff_slices.h"

#include <stdlib.h>

#include "memory.h"

static void take_cell(struct profile *to, const struct profile *from, size_t cell, uint32_t site)
{
	to->cells[to->cell_count] = from->cells[cell];
	to->cells[to->cell_count].site = site;
	if (from->cell_spreads)
		to->cell_spreads[to->cell_count] = from->cell_spreads[cell];
	to->cell_count++;
}

static void take_loss(struct profile *to, const struct profile *from, size_t loss, uint32_t cell)
{
	to->losses[to->loss_count] = from->losses[loss];
	to->losses[to->loss_count].cell = cell;
	if (from->loss_spreads)
		to->loss_spreads[to->loss_count] = from->loss_spreads[loss];
	to->loss_count++;
}

void diff_slices_take(struct profile *to, const struct profile *from, const uint32_t *site_of)
{
	uint32_t *cell_of = memory_new(from->cell_count, sizeof *cell_of);
	size_t cell = 0, loss = 0;

	to->slice_count = from->slice_count;
	to->cell_count = to->loss_count = 0;
	to->slices = memory_new(from->slice_count, sizeof *to->slices);
	to->cells = memory_new(from->cell_count, sizeof *to->cells);
	to->losses = memory_new(from->loss_count, sizeof *to->losses);
	to->cell_spreads = from->cell_spreads ? memory_new(from->cell_count, sizeof *to->cell_spreads) : NULL;
	to->loss_spreads = from->loss_spreads ? memory_new(from->loss_count, sizeof *to->loss_spreads) : NULL;
	for (uint32_t slice = 0; slice < from->slice_count; slice++) {
		for (; cell < from->slices[slice].cell_end; cell++) {
			const uint32_t site = site_of[from->cells[cell].site];

			cell_of[cell] = site == DIFF_SITE_NONE ? DIFF_SITE_NONE : (uint32_t)to->cell_count;
			if (site != DIFF_SITE_NONE)
				take_cell(to, from, cell, site);
		}
		for (; loss < from->slices[slice].loss_end; loss++)
			if (cell_of[from->losses[loss].cell] != DIFF_SITE_NONE)
				take_loss(to, from, loss, cell_of[from->losses[loss].cell]);
		to->slices[slice] = (struct profile_slice){ .end_ns = from->slices[slice].end_ns, .cell_end = to->cell_count,
			.loss_end = to->loss_count };
	}
	free(cell_of);
}
