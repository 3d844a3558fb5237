/* SPDX-License-Identifier: MIT */
/*
 * What became of the first words of a window when the window was handed on with less in it (preload/cull.h).  Used by
 * follow_culled.c, which has replayed those words.
 *
 *     words       [a1 a2 f2 a3 a4 f4 a5]
 *     the block   [   SKIP 2  a3  SKIP 2  F  SUMS  HELD]    a1, a2, a4 and a5 were dropped: SUMS are theirs
 *
 * SKIP says how many allocations were dropped before the next event of the program that was kept; and what was dropped
 * is whole blocks, each of which its thread freed within the window, while nobody else had the address.  So both are
 * walked in order, and of each word it is certain what became of it:
 *
 *     allocation                   dropped, while fewer have been than SKIP says
 *     free, first half of realloc  dropped, if the newest block at its address was
 *     second half of realloc       dropped, if the first was
 *     all else                     kept: the block's next record says the same
 *
 * What the replay has counted of what was dropped is counted here as it does it: by the number of allocations in
 * between what is temporary, and without events from before all that is known of a run.
 */
#ifndef SCTMEM_READER_CULLED_WALK_H
#define SCTMEM_READER_CULLED_WALK_H

#include "capture.h"
#include "replay.h"

/* A block that the thread allocated in this window. */
struct own_block {
	uint64_t address, size;
	uint64_t row;                 /* culled_row of its allocation */
	uint32_t sequence;            /* of its allocation in the window */
	bool lives, dropped;
	bool replayed;                /* its allocation was */
};

/* A realloc whose second half has not come. */
struct own_move {
	uint64_t address;
	uint32_t block;               /* UINT32_MAX: it is not of this window */
	bool dropped, replayed;
	bool temporary;               /* its block was counted as that */
};

struct culled_walk {
	/* Given. */
	uint64_t first_stamp;         /* what has a smaller one was not replayed */
	uint64_t page_size;
	uint32_t temporary_limit;
	/* What comes of it. */
	bool contradicts;             /* the block is not what is left of the window */
	uint32_t matched;             /* records of the block, from its first on, that say what words have said */
	uint64_t dropped;             /* allocations that SKIP behind those tells of again */
	struct own_block *blocks; size_t block_count, block_capacity;   /* some of which live on */
	struct own_move moves[REPLAY_MOVES_MAX]; unsigned move_count;   /* newest last */
	/*
	 * Dropped allocations that were replayed, less those of sums within `matched`: some of these were not replayed,
	 * where all that is known begins within a window.
	 */
	struct capture_culled *sums; size_t sum_count, sum_capacity;
	struct map64 sum_of;          /* by row */
	uint64_t allocations;         /* dropped, */
	uint64_t events;              /* and events that were replayed */
	int64_t left_out;             /* records from before first_stamp: those of the block less words of what was dropped */
	uint32_t unknown_frees;       /* of blocks that were dropped and not replayed */
	/* The walk's own. */
	struct error *error;          /* of the running call */
	struct events_cursor left;    /* over the block */
	struct capture_event next;    /* the program's next event there; kind 0: there is none */
	struct capture_event *between; size_t between_count, between_capacity;   /* records of the block before it */
	uint64_t skipped;             /* allocations dropped before `next`, of which `dropped` were met */
	uint32_t others;              /* words' records that are no events of the program, since the last that was kept */
	struct map64 block_at;        /* newest at its address */
	uint32_t thread, sequence;
	struct replay_pages unmapped; /* by the last event; end 0: it was something else */
};

/* The row of sums that a block is in. */
uint64_t culled_row(uint32_t stack, unsigned kind, unsigned bin);

/*
 * `words` are those of the window's beginning, `left` is at the first record of its block and what lies behind it stays
 * while the walk is used.  false: no memory.
 */
MUST_CHECK bool culled_walk(struct culled_walk *walk, struct events_cursor *words, const struct events_cursor *left,
	struct error *error);
void culled_walk_finish(struct culled_walk *walk);

#endif
