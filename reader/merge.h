/* SPDX-License-Identifier: MIT */
/*
 * The streams of a capture merged into one order: by stamp; at equal stamps frees before allocations, then by
 * stream.  Within a stream the order of the file is kept.
 *
 *     windows --decode (other threads)--> two chunks a stream --merge_run--> slices of one stream's chunk --> replay
 *
 * A run is a slice of decoded events of one stream that all come before the next event of any other stream, so a
 * capture of one thread is replayed straight from its chunks.  Memory: two chunks and one window a stream.
 */
#ifndef SCTMEM_READER_MERGE_H
#define SCTMEM_READER_MERGE_H

#include "decode.h"

/* Threads that decode ahead; shared by the captures of a family. */
struct decode_crew;
MUST_CHECK bool decode_crew_new(struct decode_crew **out, unsigned thread_count, struct error *error);
void decode_crew_free(struct decode_crew *crew);

struct merge;
MUST_CHECK bool merge_open(struct merge **out, struct capture *capture, struct decode_crew *crew, struct error *error);
void merge_close(struct merge *merge);

/* How many streams; the `stream` of merge_run is below it. */
size_t merge_stream_count(const struct merge *merge);

/*
 * The next events in order: *count of them, all of stream number *stream.  After them lie *ahead more of the same
 * stream that may be looked at (to prefetch), not consumed.  *count 0: the end.
 */
MUST_CHECK bool merge_run(struct merge *merge, const struct decoded_event **events, size_t *count, size_t *ahead,
	uint32_t *stream, struct error *error);
/* The first `count` of the last run are done; the next merge_run goes on after them. */
void merge_consume(struct merge *merge, size_t count);

/* Windows whose decoding has begun; *all: how many there are.  For progress. */
uint64_t merge_done(const struct merge *merge, uint64_t *all);

#endif
