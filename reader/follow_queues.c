/* SPDX-License-Identifier: MIT */
/*
 * The queues of the streams of a capture that grows (follow.h), merged by stamp into the replay.  It is the order of
 * merge.c; but here a stream may have nothing now and something later.
 */
#include "follow.h"

#include <string.h>

#include "merge.h"

uint64_t follow_known_stamp(const struct follow *follow)
{
	uint64_t known = UINT64_MAX;

	for (size_t i = 0; i < follow->stream_count; i++) {
		const struct follow_stream *stream = &follow->streams[i];

		if (stream->more && stream->events[stream->event_count - 1].stamp < known)
			known = stream->events[stream->event_count - 1].stamp;
	}
	return known;
}

uint64_t follow_newest_stamp(const struct follow *follow)
{
	uint64_t newest = 0;

	for (size_t i = 0; i < follow->stream_count; i++) {
		const struct follow_stream *stream = &follow->streams[i];
		const uint64_t last = stream->event_count ? stream->events[stream->event_count - 1].stamp : 0;

		newest = last > newest ? last : newest;
	}
	return newest;
}

static bool comes_before(const struct follow_stream *a, const struct follow_stream *b)
{
	const int order = merge_compare((struct merge_head){ a->events + a->event_at, a->events + a->event_count },
		(struct merge_head){ b->events + b->event_at, b->events + b->event_count });

	return order ? order < 0 : a->stream < b->stream;
}

/* The stream that is next and the one after it; stream_count: none. */
static void choose(const struct follow *follow, size_t *first, size_t *second)
{
	*first = *second = follow->stream_count;
	for (size_t i = 0; i < follow->stream_count; i++) {
		const struct follow_stream *stream = &follow->streams[i];

		if (stream->event_at == stream->event_count)
			continue;
		if (*first == follow->stream_count || comes_before(stream, &follow->streams[*first])) {
			*second = *first;
			*first = i;
		} else if (*second == follow->stream_count || comes_before(stream, &follow->streams[*second])) {
			*second = i;
		}
	}
}

bool follow_replay(struct follow *follow, uint64_t until, struct error *error)
{
	size_t first, second;

	for (choose(follow, &first, &second); first < follow->stream_count; choose(follow, &first, &second)) {
		struct follow_stream *stream = &follow->streams[first];
		const struct decoded_event *events = stream->events + stream->event_at;
		const size_t left = stream->event_count - stream->event_at;
		size_t count = 0, done;
		/* Below the other's next stamp all are this one's; at it, one with the changes of time and thread before it. */
		const uint64_t limit = second < follow->stream_count ?
			follow->streams[second].events[follow->streams[second].event_at].stamp : UINT64_MAX;

		while (count < left && events[count].stamp < limit && events[count].stamp <= until)
			count++;
		if (count == 0 && events[0].stamp > until)
			break;
		if (count == 0)
			count = merge_one(events, left);
		if (!replay_run(follow->replay, 0, (uint32_t)first, events, count, left - count, UINT64_MAX, &done, error))
			return false;
		stream->event_at += count;
	}
	for (size_t i = 0; i < follow->stream_count; i++) {
		struct follow_stream *stream = &follow->streams[i];
		const size_t left = stream->event_count - stream->event_at;

		if (left && stream->event_at)
			memmove(stream->events, stream->events + stream->event_at, left * sizeof(*stream->events));
		stream->event_at = 0;
		stream->event_count = left;
	}
	return true;
}
