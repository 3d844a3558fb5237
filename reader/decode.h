/* SPDX-License-Identifier: MIT */
/*
 * One stream's windows, decoded in order into arrays of compact events.  Used by merge.c only.
 *
 * Metadata goes straight into the capture's tables; a MARK is an event too, since it has its place among them.
 * Events keep their order.  A change of the time or of the
 * thread becomes an event of its own (TIME, THREAD) before the first event that it applies to.
 */
#ifndef SCTMEM_READER_DECODE_H
#define SCTMEM_READER_DECODE_H

#include "capture.h"

/* What replay consumes: 32 bytes, so that a chunk stays in the cache between decoder and replay. */
struct decoded_event {
	uint64_t head;                /* kind in the low eight bits; above: address, time, thread, resident bytes, mark */
	uint64_t size;                /* SAMPLE: anonymous bytes */
	uint64_t stamp;
	uint32_t stack;
	uint32_t flags;               /* MAP */
};
/*
 * No records, and kinds that the format keeps free.  MEAN: that of what follows in the stream (size), as SAMPLING or
 * the start of a window says.  DROPPED: a block that was replayed from the words of its window is in sums by now
 * (follow_culled.c); flags say what is to be done.
 */
enum { DECODED_DROPPED = 14, DECODED_MEAN = 15 };
enum decoded_dropped {
	DROPPED_FIGURES,              /* so many events (above), allocations (size), unknown frees (stack) are not counted */
	DROPPED_BLOCK,                /* the block at this address has ended; of this stack and kind (size) */
	DROPPED_MOVE,                 /* the realloc of this address that waits has ended */
};
#define DECODED_KIND(event) ((unsigned)((event)->head & 0xff))
#define DECODED_OPERAND(event) ((event)->head >> 8)

/* Metadata that has its place among the events. */
static inline bool decoded_is_moment(unsigned kind)
{
	return kind == CAPTURE_MARK || kind == CAPTURE_RECORDING || kind == CAPTURE_CULLED || kind == CAPTURE_PAGES;
}

/* What changes how the events behind it are understood, and travels with the next of them. */
static inline bool decoded_is_state(const struct decoded_event *event)
{
	const unsigned kind = DECODED_KIND(event);

	return kind == CAPTURE_TIME || kind == CAPTURE_THREAD || kind == DECODED_MEAN || kind == CAPTURE_SKIP;
}

struct decoder {
	struct capture *capture;
	const struct capture_stream_parts *stream;
	size_t next_part;
	const struct capture_part *part;
	struct capture_buffer buffer;
	struct events_cursor cursor;
	bool open;                    /* cursor reads part */
	bool no_memory;               /* sticky */
	bool slow;                    /* tests: only by events_next */
	bool continues;               /* the first part goes on where another was left: no window begins with it */
	uint32_t skip;                /* events at the beginning that were read before, from the window's words */
	uint32_t taken;               /* events that events_next gave */
	uint64_t stamp, time_ns;      /* of what was decoded last; never decrease */
	uint64_t thread;              /* UINT64_MAX before the first event */
	uint64_t mean;                /* of sampling, as told */
	bool mean_ends;               /* a window has begun, and with it the recording of all blocks */
};

void decoder_init(struct decoder *decoder, struct capture *capture, const struct capture_stream_parts *stream);
void decoder_finish(struct decoder *decoder);
/* Begins anew with other windows, in the memory that it has. */
void decoder_restart(struct decoder *decoder, const struct capture_stream_parts *stream);

/*
 * Decodes up to `room` (at least 5) events; many fewer only at the end of the stream: each hand-over to another thread
 * costs as much as some hundred events.  0: the stream has ended, or no_memory is set.
 */
size_t decoder_next(struct decoder *decoder, struct decoded_event *events, size_t room);

/* Room beyond which decoder_next never gives more events at once: no stream has more records. */
size_t decoder_room(const struct decoder *decoder);

#endif
