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

/* What a stream has next: events from `at` to `end`, at least one. */
struct merge_head {
	const struct decoded_event *at, *end;
};

/* Frees come first among equal stamps: the block whose address another thread got next was free by then. */
static inline unsigned merge_class(const struct decoded_event *event)
{
	switch (DECODED_KIND(event)) {
	case CAPTURE_TIME:
	case CAPTURE_THREAD:
	case DECODED_MEAN:
	case DECODED_DROPPED:
	case CAPTURE_SKIP:
	case CAPTURE_FREE:
	case CAPTURE_FREE_PYTHON:
	case CAPTURE_MOVE:
	case CAPTURE_MOVE_PYTHON:
	case CAPTURE_UNMAP:
		return 0;
	default:
		return 1;
	}
}

/*
 * How many events belong to the first: it, with the changes of time and thread in front of it, which travel with it.
 * MEAN and SKIP may have been written under an earlier stamp than what comes next: that waits for its own turn.
 */
static inline size_t merge_one(const struct decoded_event *events, size_t count)
{
	size_t n = 1;

	while (n < count && decoded_is_state(&events[n - 1]) && events[n].stamp == events[0].stamp)
		n++;
	return n;
}

/* Whether the next event of a comes before that of b; between equals whoever asks decides by the streams' order. */
static inline int merge_compare(struct merge_head a, struct merge_head b)
{
	if (a.at->stamp != b.at->stamp)
		return a.at->stamp < b.at->stamp ? -1 : 1;
	/*
	 * The class of what comes after the changes of time and thread: they never end a chunk, since the decoder leaves
	 * room for them; MEAN and SKIP may, and concern only their own thread.
	 */
	const unsigned left = merge_class(a.at + merge_one(a.at, (size_t)(a.end - a.at)) - 1);
	const unsigned right = merge_class(b.at + merge_one(b.at, (size_t)(b.end - b.at)) - 1);

	return left == right ? 0 : left < right ? -1 : 1;
}

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
