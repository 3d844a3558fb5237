/* SPDX-License-Identifier: MIT */
/*
 * Sampling by bytes (SCTMEM_SAMPLE): which allocations are recorded, and which ends of blocks.
 *
 * Points lie on the line of all bytes that a thread allocates, at distances drawn from an exponential distribution:
 * a Poisson process.  A block is recorded when at least one point falls on it, which is so with probability
 * 1 - exp(-size / mean), independently of all others; one of no bytes counts as one of one byte.  So it is done in
 * tcmalloc (tcmalloc/internal/exponential_biased.h, sampler.h), in Go's runtime (runtime/malloc.go, nextSample) and, up
 * to the roundness of numbers, in jemalloc's profiler (src/prof.c, prof_sample_new_event_wait).  The reader weighs each
 * block by one over that probability.
 *
 *     thread:  |----- 300 KiB ----|--------------- 900 KiB ---------------|- 20 KiB -| ...
 *     blocks:  [..][...][.........X..][......][....][............][.......X]
 *                        recorded, with its end                    likewise
 *
 * What is not recorded costs a subtraction and a branch at its allocation, and a look at a table (known.h) at its end.
 * A thread counts what it passes over, so that the reader knows a block's number among its thread's (SKIP records).
 * Mappings are always recorded.
 *
 * A capture that may only be so large (SCTMEM_MAX_SIZE) begins with all blocks recorded, and each time half of what is
 * left of the file is used up, it takes a step.  With the first, blocks that are soon freed again become sums (cull.h),
 * unless they did from the start (SCTMEM_AGGREGATE): none is drawn yet.  With the next a sample begins, and with each
 * after it the mean becomes four times as large: so each step lasts about twice as long as the one before, however long
 * the run is.  The last part of the file is kept for the ends of blocks that are known: at last no other is drawn.
 *
 *     file  |-------- all --------|--- sums ---|- 1 KiB -|- 4 -|...| ends only |
 *           0                    1/2          3/4       7/8      15/16       SCTMEM_MAX_SIZE
 *
 * realloc: a block that moved, or has outgrown what the allocator had given it, is a new one: recorded or not by a
 * draw of its own.  One that stayed is recorded on if it was, with the weight that it had.  Whether it is a new one
 * does not depend on whether it was recorded: so no estimate is biased.
 */
#ifndef SCTMEM_PRELOAD_SAMPLE_H
#define SCTMEM_PRELOAD_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/capture.h"
#include "known.h"

/* Allocations that may be the second half of a realloc. */
#define SAMPLE_IS_REALLOC(kind) \
	((kind) == CAPTURE_REALLOC || (kind) == CAPTURE_PYMEM_REALLOC || (kind) == CAPTURE_PYOBJECT_REALLOC)

/* One thread's; in struct thread. */
struct sample {
	int64_t left;                 /* bytes to the next point */
	int64_t left_noted;           /* what it was when passed_bytes was made up */
	uint64_t passed, passed_bytes;   /* allocations since the last SKIP record that were not recorded */
	uint64_t random;
	uint64_t mean;                /* of the draw that `left` is of; 0: every block is recorded */
	uint64_t decided;             /* the same of the draw by which the last block was recorded */
	uint64_t window, named;       /* the window, counted from 1, whose last SAMPLING record says this mean */
	const void *moved;            /* the block of a realloc that is under way */
	size_t moved_usable;          /* what it has room for; SIZE_MAX: unknown, and then it only grows by moving */
	bool moved_known;
};

struct thread;

/* Nearly all allocations of a sample: not drawn, and passed over.  false: sample_allocation is to decide. */
static inline bool sample_passes(struct sample *sample, unsigned kind, const void *block, size_t size)
{
	int64_t left = sample->left - (int64_t)(size + !size);

	if (left < 0 || !KNOWN_HAS_PLACE(block) || SAMPLE_IS_REALLOC(kind))
		return false;
	sample->left = left;
	sample->passed++;
	return true;
}

enum sample_verdict {
	SAMPLE_RECORD = 1 << 0,       /* the allocation is to be recorded */
	SAMPLE_MOVE_ENDS = 1 << 1,    /* before that: the block that was moved, which is recorded, is gone */
	SAMPLE_FAILED = 1 << 2,       /* it was to be recorded, and there is no memory to remember it */
};

/* Once, at the start, and again in a fork child. */
void sample_start(void);
/* Whether the capture may hold fewer than all allocations. */
bool sample_is_on(void);

/* The file has come to this size.  From output.c, while it grows. */
void sample_file_grew(uint64_t size);
/* How often resident memory is looked at: so many times doubled is the time between. */
unsigned sample_slowness(void);

/* A thread begins to record. */
void sample_begin(struct thread *thread);

/* The rest only where thread->sampling is set.  An allocation of `kind`, done; an enum sample_verdict, ORed. */
unsigned sample_allocation(struct thread *thread, unsigned kind, const void *block, size_t size);
/* A FREE, MOVE or STAY, or their Python forms; whether it is to be recorded. */
bool sample_end(struct thread *thread, unsigned kind, const void *block);
/* realloc(block, 0) has freed it; whether MOVE_ENDS is to be recorded. */
bool sample_move_ends(struct thread *thread);
/* What the block that is being moved has room for, from the place that is asked beneath for more. */
void sample_moved_usable(struct thread *thread, const void *inner, size_t usable);
/* Before the words of an event that is recorded, whose room has been made: SAMPLING and SKIP, where they are due. */
void sample_put(struct thread *thread, bool allocation);
/* Says in the stream, once, that a step was taken.  Before an event. */
void sample_announce(struct thread *thread);
/* The last of a thread: what it passed over since its last event. */
void sample_put_rest(struct thread *thread);

#endif
