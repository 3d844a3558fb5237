/* SPDX-License-Identifier: MIT */
/*
 * See follow.h.  What a look costs grows with what is new, and with the number of blocks behind the first hole that may
 * still be filled: seldom more than those of one extent (preload/output.c).
 */
#include "follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "merge.h"

enum {
	PAUSE_NS = 5000000,           /* between the two reads of a look */
	HOLE_LOOKS = 3,               /* a hole that nothing came into for so long is passed over */
	WAITS_MAX = 20,               /* a window whose block is not there after so many looks is lost */
	CHUNK_EVENTS = 4096,
	QUEUE_EVENTS_ALL = 1 << 19,   /* of all streams together, and one window more each: 16 MiB */
	QUEUE_EVENTS_MIN = 4096,
	WORDS_TRIES = 4,
};

bool follow_init(struct follow *follow, struct capture *capture, struct replay *replay, struct error *error)
{
	*follow = (struct follow){ .capture = capture, .replay = replay, .walk_from = capture->header.header_size,
		.scan = malloc(CAPTURE_SCAN_BYTES) };
	decoder_init(&follow->decoder, capture, NULL);
	return (follow->scan ? true : fail_memory(error)) && map64_init(&follow->known, 1024, error);
}

void follow_finish(struct follow *follow)
{
	for (size_t i = 0; i < follow->stream_count; i++) {
		free(follow->streams[i].parts);
		free(follow->streams[i].events);
	}
	free(follow->streams);
	free(follow->holes);
	free(follow->scan);
	decoder_finish(&follow->decoder);
	map64_finish(&follow->known);
	*follow = (struct follow){ 0 };
}

static bool read_exactly(struct follow *follow, void *out, size_t size, uint64_t offset)
{
	ssize_t got;

	do
		got = pread(follow->capture->file, out, size, (off_t)offset);
	while (got < 0 && errno == EINTR);
	follow->bytes_read += got > 0 ? (uint64_t)got : 0;
	return got == (ssize_t)size;
}

/* ---- blocks ---- */

/* The stream of this number, made when it is new; replay learns of it, too. */
static struct follow_stream *find_stream(struct follow *follow, uint32_t number, struct error *error)
{
	struct replay_process *process = &follow->replay->processes[0];
	uint32_t *threads;
	uint64_t *means;

	for (size_t i = 0; i < follow->stream_count; i++)
		if (follow->streams[i].stream == number)
			return &follow->streams[i];
	if (!array_reserve(&follow->streams, &follow->stream_capacity, follow->stream_count + 1, sizeof(*follow->streams),
		error))
		return NULL;
	threads = realloc(process->stream_thread, (follow->stream_count + 2) * sizeof(*threads));
	if (!threads) {
		fail_memory(error);
		return NULL;
	}
	process->stream_thread = threads;
	means = realloc(process->stream_mean, (follow->stream_count + 2) * sizeof(*means));
	if (!means) {
		fail_memory(error);
		return NULL;
	}
	process->stream_mean = means;
	means[follow->stream_count] = 0;
	threads[follow->stream_count] = 0;    /* until the stream says whose it is: the first thread of all */
	follow->streams[follow->stream_count] = (struct follow_stream){ .stream = number };
	return &follow->streams[follow->stream_count++];
}

/* WORDS hold metadata only: taken at once. */
static bool absorb_words(struct follow *follow, const struct capture_part *part, struct error *error)
{
	struct capture_buffer buffer = { 0 };
	struct events_cursor cursor;
	struct capture_event event;
	bool ok = true;
	enum capture_read_result result = capture_read(follow->capture, NULL, part, &buffer, &cursor);

	while (result == CAPTURE_READ && ok && events_next(&cursor, &event))
		if (CAPTURE_IS_METADATA(event.kind))
			ok = capture_absorb(follow->capture, &event, error);
	capture_buffer_finish(&buffer);
	return result == CAPTURE_READ_NO_MEMORY ? fail_memory(error) : ok;
}

static bool meet_block(struct follow *follow, uint64_t offset, const struct capture_block *block, struct error *error)
{
	const struct capture_part part = { .offset = offset, .payload_checksum = block->payload_checksum,
		.first_time_ns = block->first_time_ns, .last_time_ns = block->last_time_ns, .stored_size = block->stored_size,
		.raw_size = block->raw_size, .sequence = block->sequence, .event_count = block->event_count,
		.kind = block->kind, .flags = block->flags, .stream = block->stream };
	struct follow_stream *stream;

	if (block->kind == CAPTURE_BLOCK_WORDS)
		return absorb_words(follow, &part, error);
	if (block->kind != CAPTURE_BLOCK_STREAM && block->kind != CAPTURE_BLOCK_EVENTS)
		return true;
	stream = find_stream(follow, block->stream, error);
	if (!stream)
		return false;
	if (block->kind == CAPTURE_BLOCK_STREAM) {
		if (stream->block == 0 && block->stored_size >= sizeof(struct capture_stream)) {
			stream->block = offset;
			stream->words_max = (block->stored_size - sizeof(struct capture_stream)) / 8;
		}
		return true;
	}
	if (block->sequence < stream->sequence)
		return true;                  /* taken from its words already, or given up */
	if (!array_reserve(&stream->parts, &stream->part_capacity, stream->part_count + 1, sizeof(*stream->parts), error))
		return false;
	stream->parts[stream->part_count++] = part;
	return true;
}

static bool note_hole(struct follow *follow, const struct follow_hole *before, size_t before_count, uint64_t start,
	struct error *error)
{
	struct follow_hole hole = { .start = start };

	for (size_t i = 0; i < before_count; i++)
		if (before[i].start == start)
			hole.looks = before[i].looks + 1;
	if (!array_reserve(&follow->holes, &follow->hole_capacity, follow->hole_count + 1, sizeof(*follow->holes), error))
		return false;
	follow->holes[follow->hole_count++] = hole;
	return true;
}

/* Looks for blocks that have come since, and where the next look must begin. */
static bool find_blocks(struct follow *follow, struct error *error)
{
	struct capture *capture = follow->capture;
	struct follow_hole *before = follow->holes;
	const size_t before_count = follow->hole_count;
	uint64_t at = follow->walk_from;
	struct stat status;
	bool ok = true;

	if (fstat(capture->file, &status) == 0)
		capture->file_size = (uint64_t)status.st_size;
	follow->holes = NULL;
	follow->hole_count = follow->hole_capacity = 0;
	while (ok && at < capture->file_size && capture->file_size - at >= sizeof(struct capture_block)) {
		struct capture_block block;

		follow->bytes_read += sizeof(block);
		if (!capture_block_at(capture, at, &block)) {
			ok = note_hole(follow, before, before_count, at, error);
			at = capture_find_block(capture, follow->scan, at + 8);
			continue;
		}
		const uint64_t end = at + sizeof(block) + block.stored_size;
		/* A block that leaves the file is still being written, or the file is cut there. */
		if (end > capture->file_size) {
			ok = note_hole(follow, before, before_count, at, error);
			break;
		}
		if (map64_get(&follow->known, at / 8) == MAP64_NONE)
			ok = map64_put(&follow->known, at / 8, 0, error) && meet_block(follow, at, &block, error);
		if (end > capture->used_size)
			capture->used_size = end;
		at = (end + 7) & ~(uint64_t)7;
	}
	free(before);
	/* The end is a hole, too. */
	follow->walk_from = at < capture->file_size ? at : capture->file_size & ~(uint64_t)7;
	for (size_t i = follow->hole_count; i-- > 0;) {
		if (follow->holes[i].looks < HOLE_LOOKS)
			follow->walk_from = follow->holes[i].start;
	}
	return ok;
}

/* ---- one stream ---- */

/* Decodes a window, or what is new of it, to the end of the queue.  `words` NULL: an EVENTS block. */
static bool decode_part(struct follow *follow, struct follow_stream *stream, const struct capture_part *part,
	uint64_t *words, const struct capture_stream *carry, uint32_t skip, struct error *error)
{
	const struct capture_stream_parts only = { .stream = stream->stream, .count = 1, .parts = part, .words = words,
		.carry = *carry };
	struct decoder *decoder = &follow->decoder;
	size_t got = 0;

	decoder_restart(decoder, &only);
	decoder->skip = skip;
	decoder->continues = skip > 0 || (words && stream->carry.used > 0);
	decoder->mean = stream->mean;
	decoder->mean_ends = stream->mean_ends;
	do {
		if (!array_reserve(&stream->events, &stream->event_capacity, stream->event_count + CHUNK_EVENTS,
			sizeof(*stream->events), error))
			return false;
		got = decoder_next(decoder, stream->events + stream->event_count, CHUNK_EVENTS);
		stream->event_count += got;
	} while (got > 0);
	stream->mean = decoder->mean;
	stream->mean_ends = decoder->mean_ends;
	if (words) {
		stream->taken += decoder->taken;
		stream->carry.first_stamp = decoder->cursor.stamp;
		stream->carry.first_time_ns = decoder->cursor.time_ns;
		stream->carry.first_thread = decoder->cursor.thread;
	}
	return decoder->no_memory ? fail_memory(error) : true;
}

/* The EVENTS block of the window that is being read, if it has been found. */
static bool take_part(struct follow_stream *stream, struct capture_part *part)
{
	for (size_t i = 0; i < stream->part_count; i++) {
		if (stream->parts[i].sequence != stream->sequence)
			continue;
		*part = stream->parts[i];
		stream->parts[i] = stream->parts[--stream->part_count];
		return true;
	}
	return false;
}

static void next_window(struct follow_stream *stream)
{
	stream->sequence++;
	stream->carry = (struct capture_stream){ 0 };
	stream->taken = 0;
	stream->waits = 0;
}

/* Windows that were handed on; false in *done: the block of one is not to be found yet, or they are too many. */
static bool take_windows(struct follow *follow, struct follow_stream *stream, uint64_t until, bool *done,
	struct error *error)
{
	const size_t share = QUEUE_EVENTS_ALL / follow->stream_count;
	const size_t room = share > QUEUE_EVENTS_MIN ? share : QUEUE_EVENTS_MIN;

	*done = true;
	stream->more = false;
	while (stream->sequence < until) {
		struct capture_part part;

		if (stream->event_count >= room) {
			stream->more = true;
			*done = false;
			return true;
		}
		if (!take_part(stream, &part)) {
			/* Whatever was passed over is looked at again. */
			follow->walk_from = follow->capture->header.header_size;
			if (!find_blocks(follow, error))
				return false;
			if (!take_part(stream, &part)) {
				*done = ++stream->waits > WAITS_MAX;
				if (!*done)
					return true;
				capture_note_damage(follow->capture, stream->block, 0, "a window of a stream that is nowhere, of the one");
				follow->capture->damage.windows++;
				next_window(stream);
				continue;
			}
		}
		if (!decode_part(follow, stream, &part, NULL, &stream->carry, stream->taken, error))
			return false;
		follow->bytes_read += part.stored_size;
		next_window(stream);
	}
	return true;
}

/* The words that were added to the present window.  false in *done: it has been handed on meanwhile. */
static bool take_words(struct follow *follow, struct follow_stream *stream, const struct capture_stream *now,
	bool *done, struct error *error)
{
	const uint64_t at = stream->block + sizeof(struct capture_block);
	const uint64_t first = stream->carry.used, count = now->used - first;
	const struct capture_part part = { .offset = stream->block, .kind = CAPTURE_BLOCK_STREAM, .stream = stream->stream };
	struct capture_stream carry, again;
	uint64_t *words;
	bool ok = true;

	*done = true;
	if (count == 0)
		return true;
	words = malloc(count * 8);
	if (!words)
		return fail_memory(error);
	*done = read_exactly(follow, words, count * 8, at + sizeof(*now) + first * 8) &&
		read_exactly(follow, &again, sizeof(again), at) && again.sequence == now->sequence;
	if (*done) {
		carry = first ? stream->carry : *now;
		carry.used = count;
		ok = decode_part(follow, stream, &part, words, &carry, 0, error);
		stream->carry.used = now->used;
	}
	free(words);
	return ok;
}

static bool take_stream(struct follow *follow, struct follow_stream *stream, struct error *error)
{
	for (int tries = 0; stream->block && tries < WORDS_TRIES; tries++) {
		struct capture_stream now;
		bool done;

		if (!read_exactly(follow, &now, sizeof(now), stream->block + sizeof(struct capture_block)))
			return true;
		if (now.used > stream->words_max || now.used > CAPTURE_STREAM_WORDS_MAX || now.first_stamp >> 56 ||
		    now.first_time_ns >> 56 || now.sequence < stream->sequence ||
		    (now.sequence == stream->sequence && now.used < stream->carry.used))
			return true;                  /* between two stores of its writer, or damaged: perhaps the next time */
		if (!take_windows(follow, stream, now.sequence, &done, error))
			return false;
		if (!done)
			return true;
		if (!take_words(follow, stream, &now, &done, error))
			return false;
		if (done)
			return true;
	}
	return true;
}

/* ---- all streams ---- */

static bool take_all(struct follow *follow, struct error *error)
{
	bool ok = find_blocks(follow, error);

	for (size_t i = 0; ok && i < follow->stream_count; i++)
		ok = take_stream(follow, &follow->streams[i], error);
	return ok;
}

/* Up to where the streams that have more are known; UINT64_MAX: there are none. */
static uint64_t known_stamp(const struct follow *follow)
{
	uint64_t known = UINT64_MAX;

	for (size_t i = 0; i < follow->stream_count; i++) {
		const struct follow_stream *stream = &follow->streams[i];

		if (stream->more && stream->events[stream->event_count - 1].stamp < known)
			known = stream->events[stream->event_count - 1].stamp;
	}
	return known;
}

static uint64_t newest_stamp(const struct follow *follow)
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

/* Replays what has a stamp of at most `until`. */
static bool replay_queues(struct follow *follow, uint64_t until, struct error *error)
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

bool follow_look(struct follow *follow, bool ended, struct error *error)
{
	uint64_t until;

	/* The first look at a large capture, mostly: piece by piece, so that the queues stay short. */
	for (;;) {
		if (!take_all(follow, error))
			return false;
		until = known_stamp(follow);
		if (until == UINT64_MAX)
			break;
		if (!replay_queues(follow, until, error))
			return false;
	}
	until = newest_stamp(follow);
	if (!ended && follow->stream_count > 1) {
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
		if (!take_all(follow, error))
			return false;
	} else {
		until = UINT64_MAX;
	}
	if (known_stamp(follow) < until)
		until = known_stamp(follow);
	return replay_queues(follow, until, error);
}
