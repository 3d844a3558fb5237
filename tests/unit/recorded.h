/* SPDX-License-Identifier: MIT */
/*
 * A capture in memory, for tests of what writes it: every record, stream by stream, and the replay of its events in
 * their order.  Slow and strict: whatever a reader would have to forgive is an error here.
 */
#ifndef SCTMEM_TESTS_RECORDED_H
#define SCTMEM_TESTS_RECORDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/events.h"

struct recorded_window {
	uint32_t stream;
	uint64_t sequence;
	bool is_block;                /* an EVENTS block; else what is in the stream's window */
	const uint8_t *bytes;         /* decompressed columns, or words */
	size_t size;
	unsigned flags;                   /* of its block */
	struct capture_stream state;
	uint8_t *owned;
};

struct recorded {
	uint8_t *file;
	size_t file_size;
	struct capture_header header;
	struct capture_status status;
	struct recorded_window *windows;  /* by stream, then sequence */
	size_t window_count;
	struct capture_event *events;     /* in the order of the windows; payloads point into file or windows */
	size_t event_count;
	size_t block_count, stream_count;
	bool resumed;                     /* recording began anew: what is freed from there on may not have been seen */
	char error[256];                  /* empty: none */
};

/* false: see error.  In both cases recorded_finish() is due. */
bool recorded_read(struct recorded *recorded, const char *path);
void recorded_finish(struct recorded *recorded);

/*
 * Merges the streams by stamp (at equal stamps frees first) and follows who owns what.  false: an address was
 * allocated while it was owned, or freed while it was not; error tells which.  *live: blocks owned at the end.
 */
bool recorded_replay(struct recorded *recorded, size_t *live);
size_t recorded_count(const struct recorded *recorded, unsigned kind);
/* The largest stamp; those of the processor's counter are above 2^48. */
uint64_t recorded_last_stamp(const struct recorded *recorded);

#endif
