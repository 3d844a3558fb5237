/* SPDX-License-Identifier: MIT */
/*
 * A capture that grows while it is read: each look takes what has come since the last one, and replays it.
 * Used by profile_live.c.
 *
 *     file     | header | STREAM 0 | EVENTS | EVENTS | . . . zeros . . . | STREAM 1 | . . .
 *                          |              new blocks: looked for from the first place on that may still be filled
 *                          +-- words used since the last look
 *     stream   EVENTS of windows that were handed on meanwhile (less the records taken from their words before), then
 *              the words of the present one  --> queue of decoded events
 *     queues   merged by stamp, up to the newest stamp of the look before --> replay
 *
 * The last line is why a look reads twice: an event is stored a moment after it was given its stamp, and streams are
 * read one after another; what is replayed has had that moment.
 */
#ifndef SCTMEM_READER_FOLLOW_H
#define SCTMEM_READER_FOLLOW_H

#include "decode.h"
#include "replay.h"

/* A stream, and how far it was read. */
struct follow_stream {
	uint32_t stream;
	uint64_t block;               /* offset of its STREAM block; 0: not found yet */
	uint64_t words_max;           /* that fit its block */
	uint64_t sequence;            /* the window that is being read */
	struct capture_stream carry;  /* state after what was taken of it; used: words taken */
	uint32_t taken;               /* events taken of it */
	uint64_t mean;                /* of sampling, as the decoder's */
	bool mean_ends;
	bool more;                    /* there are windows that were not taken, because the queue is long */
	unsigned waits;               /* looks in which the block of the window was not to be found */
	struct capture_part *parts; size_t part_count, part_capacity;   /* EVENTS not read yet, in any order */
	struct decoded_event *events; size_t event_at, event_count, event_capacity;   /* the queue */
};

/* A place between blocks where one may still be written. */
struct follow_hole {
	uint64_t start;
	unsigned looks;               /* in which nothing came */
};

struct follow {
	struct capture *capture;      /* opened by capture_open_growing */
	struct replay *replay;        /* with this capture as process 0 */
	struct follow_stream *streams; size_t stream_count, stream_capacity;
	struct map64 known;           /* offsets of blocks, in units of 8 */
	struct follow_hole *holes; size_t hole_count, hole_capacity;
	uint64_t walk_from;           /* where the next look for blocks begins */
	struct decoder decoder;       /* of one window at a time */
	uint64_t bytes_read;          /* of the file, so far: what a look costs */
	uint8_t *scan;
};

MUST_CHECK bool follow_init(struct follow *follow, struct capture *capture, struct replay *replay, struct error *error);
void follow_finish(struct follow *follow);

/* Takes what is new.  `ended`: nothing more will come, so all is replayed.  false: no memory. */
MUST_CHECK bool follow_look(struct follow *follow, bool ended, struct error *error);

#endif
