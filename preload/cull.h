/* SPDX-License-Identifier: MIT */
/*
 * Aggregation as it is recorded (SCTMEM_AGGREGATE): blocks that are allocated and freed again within one window of one
 * thread become sums when the window is handed on.  Called by stream.c (the culling) and record.c (who owns what).
 *
 *     window, as recorded     [a1 a2 f2 a3 m3 r4 f4 a5 F f1 ...]      F: of a block from an earlier window
 *     block in the file       [a5 F  SUMS  HELD]                      1, 2 and the chain 3 -> 4 are in the sums
 *
 * Until then all its words lie in the file, as ever; so a kill loses nothing.
 *
 * That a window holds an allocation and later a free of its address does not make the two a pair: in between another
 * thread may have freed the block, been given the address, and passed it back.  Its own events stand in its own window
 * and would be left without their other halves.  So each allocation writes its stream beside its address into a table
 * of the process, and a free that still finds itself there is marked: nobody else was given the address meanwhile.
 * (Whoever passes a block on does it through memory, and with it what was written to the table before.)  Where two
 * addresses share a place, the older one's free is not marked: its pair is kept, and nothing is wrong.  As long as
 * there is one stream only, all blocks are its own, and nobody looks at the table.
 *
 * Kept whole, too, is what lives across a moment: a sample of resident memory or of its pages, a mark, or a start or
 * stop of recording, of whatever thread.  So the live heap is exact there.  Each of those registers its stamp before a
 * window can be handed on that lies around it:
 *
 *     who makes a moment               who hands a window on
 *     moments_open + 1                 the stamps of its last events
 *     the moment's stamp               moments_open is 0, and the moments that there are
 *     the moment; moments_open - 1
 *
 * With a full fence after the first line of both, one of them sees the other: the window is not culled, or it ends
 * before the moment.  A thread that is so slow that more moments than are remembered lie in one window of its own is
 * not culled: its events are few.
 */
#ifndef SCTMEM_PRELOAD_CULL_H
#define SCTMEM_PRELOAD_CULL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/capture.h"

enum {
	CULL_WINDOW_WORDS_MAX = 65536 - 16,   /* more than without: the larger the window, the more is culled */
	CULL_OWNED_BYTES = (CULL_WINDOW_WORDS_MAX + 63) / 64 * 8,
	CULL_OWNER_BITS = 16,
	CULL_MOMENTS_MAX = 512,               /* that one window may have around it; samples come every 10 ms or so */
	CULL_TEMPORARY_LIMIT = 1,             /* what the sums call temporary */
	CULL_MOVES_MAX = 4,                   /* as many as a reader remembers */
};

/*
 * MOVEs of the thread that wait for their second half, newest last, from one window to the next: without one that waits
 * a REALLOC is realloc(NULL, size), an allocation like others.
 */
struct cull_moves {
	uint64_t addresses[CULL_MOVES_MAX];
	uint32_t count;
	bool unknown;                         /* there may be more, below these */
};

extern _Atomic uint64_t cull_owners[1 << CULL_OWNER_BITS];
extern bool cull_on;                  /* windows are kept so that they can be culled: since the start, or never */
extern _Atomic bool cull_shared;      /* there is, or was, more than one stream; set before the second records */

static inline _Atomic uint64_t *cull_owner_place(const void *block)
{
	return &cull_owners[((uintptr_t)block >> 4) * 0x9e3779b97f4a7c15u >> (64 - CULL_OWNER_BITS)];
}

/* An address of 48 bits and a stream of 16; 0, which no free finds, where either is larger. */
static inline uint64_t cull_owner(uint32_t stream, const void *block)
{
	return (uintptr_t)block >> 48 || stream >> 16 ? 0 : (uint64_t)stream << 48 | (uintptr_t)block;
}

/* The stream has been given the block: after the real call. */
static inline void cull_own(uint32_t stream, const void *block)
{
	if (atomic_load_explicit(&cull_shared, memory_order_relaxed))
		atomic_store_explicit(cull_owner_place(block), cull_owner(stream, block), memory_order_relaxed);
}

/* Whether nobody else has been given the address since: before the real call. */
static inline bool cull_owns(uint32_t stream, const void *block)
{
	uint64_t owner = cull_owner(stream, block);

	if (!atomic_load_explicit(&cull_shared, memory_order_relaxed))
		return true;
	return owner && atomic_load_explicit(cull_owner_place(block), memory_order_relaxed) == owner;
}

/*
 * Around the recording of a moment, whose stamp is taken in between.  At those that are no mere samples, sums are
 * complete as well.
 */
enum cull_moment { CULL_SAMPLE, CULL_MARK };
void cull_moment_begin(void);
void cull_moment_end(uint64_t stamp, enum cull_moment what);

/*
 * Moments that no dropped block may live across, ascending: stamp << 1 | whether it is more than a sample.  false: not
 * all are known, so cull nothing.
 */
bool cull_moments(uint64_t first_stamp, uint64_t *moments, size_t *count);

/* At the start, and again in a fork child.  A sample is not culled: its blocks stand for others. */
void cull_start(void);
/* From now on windows are culled; true: they were not before.  From sample.c, as the file nears its largest size. */
bool cull_begin(void);
bool cull_has_begun(void);
/* A stream begins, with this number. */
void cull_stream_begins(uint32_t stream);

/* Memory for one window at a time; it begins as zeros. */
struct cull_memory;
size_t cull_memory_size(void);

/*
 * Writes to `out`, which has room for `count` words, what is left of the window's words; returns how many they are, or
 * 0: it is to be written as it is.  Bit i of `owned` belongs to word i: a free or move that is of the thread's own
 * block.  The moves are those of before, and then those of after the window.  Touches nothing but its arguments.
 */
size_t cull_window(struct cull_memory *memory, const uint64_t *words, size_t count, const uint64_t *owned,
	const struct capture_stream *carry, struct cull_moves *moves, const uint64_t *moments, size_t moment_count,
	uint64_t *out);

#endif
