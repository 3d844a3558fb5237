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
 *
 * A run in segments is followed from file to file.  A thread that goes over appends what its window holds to the new
 * file and has another STREAM block there: of a stream's blocks the one with the highest number counts.
 */
#ifndef SCTMEM_READER_FOLLOW_H
#define SCTMEM_READER_FOLLOW_H

#include "decode.h"
#include "replay.h"

/* Where a stream has or had its window. */
struct follow_block {
	uint64_t offset;              /* of a STREAM block; 0: none */
	uint64_t words_max;           /* that fit it */
	uint32_t file;
};

/* A stream, and how far it was read. */
struct follow_stream {
	uint32_t stream;
	struct follow_block block;    /* of the window that is being read */
	struct follow_block *later; size_t later_count, later_capacity;   /* in files after it */
	uint64_t sequence;            /* the window that is being read */
	bool begun;                   /* that is known: a run whose oldest files are gone begins anywhere */
	struct capture_stream carry;  /* state after what was taken of it; used: words taken */
	uint32_t taken;               /* events taken of it */
	/* Of a capture that is aggregated: how the window began, and the words taken of it. */
	struct capture_stream first;
	uint64_t *words; size_t word_count, word_capacity;
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

/* What is known of the blocks in one file. */
struct follow_file {
	struct map64 known;           /* offsets, in units of 8 */
	struct follow_hole *holes; size_t hole_count, hole_capacity;
	uint64_t walk_from;           /* where the next look for blocks begins */
	uint64_t size, end;           /* of the file; of the last block */
	unsigned rests;               /* looks in which nobody needed it any more */
	bool closed;
};

struct follow {
	struct capture *capture;      /* opened by capture_open_growing */
	struct replay *replay;        /* with this capture as process 0 */
	struct follow_stream *streams; size_t stream_count, stream_capacity;
	struct follow_file *files; size_t file_count, file_capacity;   /* one; or those of the capture's segments */
	bool floor_known;             /* what lies before capture->first_stamp is left out */
	/*
	 * Not 0: when our thread has had so much processor time (CLOCK_THREAD_CPUTIME_ID) a look leaves the rest to the next;
	 * queues are kept short, and given back behind it.
	 */
	uint64_t until_ns;
	bool behind;                  /* the look has left some: what was replayed is of an earlier moment */
	struct decoder decoder;       /* of one window at a time */
	uint64_t bytes_read;          /* of the file, so far: what a look costs */
	uint8_t *scan;
};

MUST_CHECK bool follow_init(struct follow *follow, struct capture *capture, struct replay *replay, struct error *error);
void follow_finish(struct follow *follow);

/* Takes what is new.  `ended`: nothing more will come, so all is replayed.  false: no memory. */
MUST_CHECK bool follow_look(struct follow *follow, bool ended, struct error *error);

/* Decodes a window, or what is new of it, to the end of the queue.  `words` NULL: an EVENTS block. */
MUST_CHECK bool follow_decode(struct follow *follow, struct follow_stream *stream, const struct capture_part *part,
	uint64_t *words, const struct capture_stream *carry, uint32_t skip, struct error *error);

/* follow_culled.c: words taken of the present window; now: as its head was then. */
MUST_CHECK bool follow_keep_words(struct follow_stream *stream, const uint64_t *words, size_t count,
	const struct capture_stream *now, struct error *error);
/* The window's block: what has not been taken from its words. */
MUST_CHECK bool follow_take_rest(struct follow *follow, struct follow_stream *stream, const struct capture_part *part,
	struct error *error);

/* Sums that have been replayed are not needed any more: at the end of a look mostly all of them. */
void follow_forget_sums(struct follow *follow);

/* follow_queues.c: up to where the streams that have more are known; UINT64_MAX: there are none. */
uint64_t follow_known_stamp(const struct follow *follow);
uint64_t follow_newest_stamp(const struct follow *follow);
/* Replays what has a stamp of at most `until`. */
MUST_CHECK bool follow_replay(struct follow *follow, uint64_t until, struct error *error);

/*
 * The files, for follow.c alone (follow_files.c).  Reads exactly so many bytes of a file.
 */
bool follow_read(struct follow *follow, size_t number, void *out, size_t size, uint64_t offset);
/* Calls `met` for each new block; with `again` also in places that were passed over. */
typedef bool follow_met(struct follow *follow, size_t number, uint64_t offset, const struct capture_block *block,
	struct error *error);
MUST_CHECK bool follow_find_blocks(struct follow *follow, bool again, follow_met *met, struct error *error);
/* Closes those before the newest that nothing will come from. */
void follow_close_files(struct follow *follow);
void follow_files_finish(struct follow *follow);

#endif
