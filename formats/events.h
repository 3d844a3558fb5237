/* SPDX-License-Identifier: MIT */
/*
 * Records: how they lie in a stream's window (words), how they travel in an EVENTS block (columns), and one
 * cursor that reads both.  No I/O, no allocation, no policy; used by the library that writes and the command
 * that reads.  formats/capture.md, section "Records", is normative.
 */
#ifndef SCTMEM_FORMATS_EVENTS_H
#define SCTMEM_FORMATS_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addresses.h"
#include "capture.h"

/* One record, decoded.  Which fields mean something depends on kind; the rest are zero. */
struct capture_event {
	uint8_t kind;                 /* enum capture_record */
	uint32_t stream;
	uint32_t thread;              /* index of the thread, as of the last THREAD */
	uint32_t stack;               /* allocations and MAP: innermost node.  NODE: its id */
	uint32_t flags;               /* MAP: enum capture_map_flag */
	uint32_t parent;              /* NODE */
	uint64_t stamp;               /* order among all streams; equal stamps: frees before allocations */
	uint64_t time_ns;
	uint64_t address;             /* SAMPLE: resident bytes */
	uint64_t size;                /* bytes.  SAMPLE: anonymous bytes */
	uint64_t frame;               /* NODE.  SAMPLE: the tracer's own bytes */
	const uint8_t *payload;       /* metadata */
	size_t payload_size;
};

/* Columns of an EVENTS block, in the order in which they are stored. */
enum events_column {
	EVENTS_KINDS,                 /* two bits a record, a byte for rare ones; first form: one byte a record */
	EVENTS_ALLOCATED,             /* addresses of allocations, by formats/addresses.h */
	EVENTS_FREED,                 /* addresses of frees and moves, likewise */
	EVENTS_SIZES,
	EVENTS_STACKS,
	EVENTS_TIMES,                 /* TIME */
	EVENTS_STAMPS,                /* STAMP */
	EVENTS_NODES,                 /* NODE: id, frame, parent */
	EVENTS_OTHERS,                /* the operands of all other records, and metadata payloads */
	EVENTS_COLUMNS
};

/* Before the columns: the state carried in, then each column's length in bytes. */
struct events_prefix {
	uint64_t first_stamp;
	uint64_t first_time_ns;
	uint64_t first_thread;
	uint32_t record_count;
	uint32_t lengths[EVENTS_COLUMNS];
};
_Static_assert(sizeof(struct events_prefix) == 64, "capture.md, EVENTS blocks");

/* Of the second form's column of kinds: how many kinds have a code; a code of that many stands for any other kind. */
enum { EVENTS_USUAL = 3 };

/* Of sizes in the second form: the first bytes of such as take two, and the one before a varint. */
enum {
	EVENTS_SIZE_TWO = 192,
	EVENTS_SIZE_LONG = 255,
};

/* What events_encode saw, for the block's header. */
struct events_summary {
	uint64_t first_time_ns, last_time_ns;
	uint64_t last_stamp;
	uint64_t last_thread;
	uint32_t event_count;         /* records of kinds 16 to 63 */
};

/* Scratch memory that events_encode needs for `words` words, and the most that it writes. */
size_t events_scratch_size(size_t words);
size_t events_encoded_max(size_t words);

/*
 * Re-codes complete records as columns, for a block with CAPTURE_BLOCK_SECOND among its flags.  `words` must be as the
 * recorder wrote them (trusted).  Returns the bytes written to out, which has room for events_encoded_max(count).
 */
size_t events_encode(const uint64_t *words, size_t count, const struct capture_stream *carry, uint8_t *out,
	uint8_t *scratch, struct events_summary *summary);

/* Reads the records of one block.  The input may be anything; a cursor never reads outside it. */
struct events_cursor {
	bool columns;                 /* else words */
	bool bad;                     /* sticky: the input contradicts itself at this point */
	uint32_t stream;
	uint32_t remaining;           /* columns: records left */
	enum addresses_form form;     /* of the columns */
	const uint8_t *usual;         /* second form: the usual kinds, and behind them the records' codes */
	uint32_t taken;               /* records read */
	const uint64_t *word, *words_end;
	const uint8_t *at[EVENTS_COLUMNS], *end[EVENTS_COLUMNS];
	uint64_t last_address;        /* of the records that addresses.h does not predict */
	uint64_t last_stack, last_id, last_frame;
	struct addresses *addresses;  /* columns: the caller's memory */
	uint64_t stamp, time_ns, size_high;
	uint32_t thread;
};

/*
 * `flags` are the block's.  `addresses` is memory for the cursor's picture of the window; it must stay while the cursor
 * is used.
 */
bool events_open_columns(struct events_cursor *cursor, uint32_t stream, unsigned flags, const uint8_t *payload,
	size_t size, struct addresses *addresses);
void events_open_words(struct events_cursor *cursor, uint32_t stream, const struct capture_stream *carry,
	const uint64_t *words, size_t count);

/*
 * The next record; false at the end or, with cursor->bad set, at the first contradiction.
 * TIME, STAMP, THREAD and SIZE_HIGH are consumed: their effect is in the fields of what follows.
 */
bool events_next(struct events_cursor *cursor, struct capture_event *event);

/* Second form: the code of a record's kind.  There must be so many records. */
static inline unsigned events_code(const struct events_cursor *cursor, uint32_t record)
{
	return cursor->usual[EVENTS_USUAL + record / 4] >> record % 4 * 2 & EVENTS_USUAL;
}

/* Whether the last record of a block that was just opened has that kind, which is one of metadata. */
bool events_ends_with(const struct events_cursor *cursor, unsigned kind);

/* "malloc", "free_python", ...; NULL for a number that version 1 does not know. */
const char *events_kind_name(unsigned kind);

#endif
