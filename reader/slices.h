/* SPDX-License-Identifier: MIT */
/*
 * The run cut into slices of equal time, so that the live heap by stack can be told at every border between them, and
 * of each window from border to border what was allocated in it and what is left of that.  Exact, in the one pass of
 * replay.c, and in memory that is bounded however long the run is.
 *
 *     slice             0                1                2
 *     border       ---------------|----------------|----------------|   its events lie within (before, border]
 *     cell (site, 0)  total  kept |      -loss     |      -loss     |
 *     cell (site, 1)              |  total  kept   |      -loss     |   live at the border: kept less all losses so far
 *
 * In each slice allocations get sites of their own, the cells (as windows do, replay_marks.c): so each block knows when
 * it was born, and nothing is added to what an event costs.  At a border, cells that were alive at the last one are
 * compared with what they held then; the difference is a loss.  It may be negative: a realloc or munmap that is undone
 * later brings bytes back.
 *
 * Of a sample the same is kept of how uncertain the bytes are, which adds up as they do.
 *
 * When there are too many slices, or too many cells and losses, neighbours are joined and the width doubles, as in
 * timeline.h: every border is also one of the narrower slices, so all stays exact.
 */
#ifndef SCTMEM_READER_SLICES_H
#define SCTMEM_READER_SLICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "estimate.h"

struct replay;
struct replay_site;
struct replay_spread;

/* One for each of replay.sites: what was allocated at a site in one slice. */
struct slice_cell {
	uint64_t kept_bytes, kept_count;   /* alive when the slice ended */
	uint64_t last_bytes, last_count;   /* alive at the newest border */
	bool listed;                       /* in slices.listed */
};

/* How uncertain these are. */
struct slice_cell_spread {
	struct spread kept, last;
};

/* What a cell has less at one border than at the one before. */
struct slice_loss {
	uint32_t cell;
	int64_t bytes, count;
};

/* A slice that has ended: its cells and the losses in it are those behind the slice's before, up to these. */
struct slice_end {
	uint64_t time_ns;             /* its border; what happens at that time belongs to it */
	size_t cell_end, loss_end;
};

struct slices {
	uint32_t capacity;            /* even; 0: the run is not cut */
	uint32_t count;               /* that have ended */
	size_t entries_max;           /* cells and losses */
	uint64_t width_ns;
	uint64_t due_ns;              /* the border of the slice that is open; UINT64_MAX when the run is not cut */
	struct slice_end *ends;
	struct slice_cell *cells; size_t cell_capacity;
	struct slice_loss *losses; size_t loss_count, loss_capacity;
	/* Of a sample: of each cell, and of each loss. */
	struct slice_cell_spread *cell_spreads; size_t cell_spread_capacity;
	struct spread *loss_spreads; size_t loss_spread_capacity;
	uint32_t *listed; size_t listed_count, listed_capacity;   /* ended cells that hold something */
	/* After slices_end: the cells (totals), and the site of each, in replay.sites as it is then. */
	struct replay_site *cell_sites; size_t cell_count;
	struct replay_spread *cell_totals;    /* of a sample */
	uint32_t *site_of;
	bool crowded;                 /* joined because of entries_max, not only because time went on */
};

/* count: at most so many slices; 0: none, and the other calls do nothing.  Beyond entries_max they are joined. */
MUST_CHECK bool slices_init(struct slices *slices, uint32_t count, size_t entries_max, struct error *error);
void slices_finish(struct slices *slices);

/* The time has come to now_ns, beyond due_ns; nothing of that time is booked yet. */
MUST_CHECK bool slices_advance(struct replay *replay, uint64_t now_ns);

/* A site gains what it had lost: seldom. */
MUST_CHECK bool slices_revive(struct replay *replay, uint32_t site);

/*
 * The last slice ends at duration_ns.  The cells of one site become one of replay's sites again, as if the run had not
 * been cut; site_of says which.
 */
MUST_CHECK bool slices_end(struct replay *replay, uint64_t duration_ns);

#endif
