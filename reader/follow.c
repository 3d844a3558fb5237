/* SPDX-License-Identifier: MIT */
/*
 * See follow.h.  Here are the streams and their windows; where their blocks lie is follow_files.c's, in which order
 * what they hold is replayed follow_queues.c's, and what is left of a window that was aggregated follow_culled.c's.
 */
#include "follow.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"

enum {
	WAITS_MAX = 20,               /* a window whose block is not there after so many looks is lost */
	WAITS_MAX_GONE = 3,           /* the same where files of the run are gone */
	CHUNK_EVENTS = 4096,
	QUEUE_EVENTS_ALL = 1 << 19,   /* of all streams together, and one window more each: 16 MiB */
	QUEUE_EVENTS_SHORT = 1 << 15,
	QUEUE_EVENTS_MIN = 4096,
	WORDS_TRIES = 4,
};

bool follow_init(struct follow *follow, struct capture *capture, struct replay *replay, struct error *error)
{
	*follow = (struct follow){ .capture = capture, .replay = replay, .scan = malloc(CAPTURE_SCAN_BYTES) };
	decoder_init(&follow->decoder, capture, NULL);
	return follow->scan ? true : fail_memory(error);
}

void follow_finish(struct follow *follow)
{
	for (size_t i = 0; i < follow->stream_count; i++) {
		free(follow->streams[i].parts);
		free(follow->streams[i].later);
		free(follow->streams[i].words);
		free(follow->streams[i].events);
	}
	free(follow->streams);
	follow_files_finish(follow);
	free(follow->scan);
	decoder_finish(&follow->decoder);
	*follow = (struct follow){ 0 };
}

/* A run whose oldest files are gone: its streams begin with any window, and at first not all are there. */
static bool is_partial(const struct follow *follow)
{
	return follow->capture->segments && follow->capture->segments[0].number != 1;
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
	follow->streams[follow->stream_count] = (struct follow_stream){ .stream = number, .begun = !is_partial(follow) };
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
		if (CAPTURE_IS_METADATA(event.kind) || event.kind == CAPTURE_NODE)
			ok = capture_absorb(follow->capture, &event, error);
	capture_buffer_finish(&buffer);
	return result == CAPTURE_READ_NO_MEMORY ? fail_memory(error) : ok;
}

/* Of several files, in any order. */
static bool meet_window(struct follow_stream *stream, const struct follow_block *block, struct error *error)
{
	size_t at = stream->later_count;

	if (stream->block.offset == 0) {
		stream->block = *block;
		return true;
	}
	/* A second one in one file is damage; one in a file before is what the stream has left. */
	if (block->file <= stream->block.file)
		return true;
	if (!array_reserve(&stream->later, &stream->later_capacity, at + 1, sizeof(*stream->later), error))
		return false;
	for (; at > 0 && stream->later[at - 1].file > block->file; at--)
		stream->later[at] = stream->later[at - 1];
	stream->later[at] = *block;
	stream->later_count++;
	return true;
}

static bool meet_block(struct follow *follow, size_t number, uint64_t offset, const struct capture_block *block,
	struct error *error)
{
	const struct capture_part part = { .offset = offset, .payload_checksum = block->payload_checksum,
		.first_time_ns = block->first_time_ns, .last_time_ns = block->last_time_ns, .stored_size = block->stored_size,
		.raw_size = block->raw_size, .sequence = block->sequence, .event_count = block->event_count,
		.kind = block->kind, .flags = block->flags, .stream = block->stream, .segment = (uint32_t)number };
	struct follow_stream *stream;

	if (block->kind == CAPTURE_BLOCK_WORDS)
		return absorb_words(follow, &part, error);
	if (block->kind != CAPTURE_BLOCK_STREAM && block->kind != CAPTURE_BLOCK_EVENTS)
		return true;
	stream = find_stream(follow, block->stream, error);
	if (!stream)
		return false;
	if (block->kind == CAPTURE_BLOCK_STREAM) {
		const struct follow_block window = { .offset = offset, .file = (uint32_t)number,
			.words_max = (block->stored_size - sizeof(struct capture_stream)) / 8 };

		return block->stored_size < sizeof(struct capture_stream) || meet_window(stream, &window, error);
	}
	if (stream->begun && block->sequence < stream->sequence)
		return true;                  /* taken from its words already, or given up */
	if (!array_reserve(&stream->parts, &stream->part_capacity, stream->part_count + 1, sizeof(*stream->parts), error))
		return false;
	stream->parts[stream->part_count++] = part;
	return true;
}

/* ---- one stream ---- */

bool follow_decode(struct follow *follow, struct follow_stream *stream, const struct capture_part *part,
	uint64_t *words, const struct capture_stream *carry, uint32_t skip, struct error *error)
{
	const struct capture_stream_parts only = { .stream = stream->stream, .count = 1, .parts = part, .words = words,
		.carry = *carry };
	struct decoder *decoder = &follow->decoder;
	size_t got = 0;

	decoder_restart(decoder, &only);
	decoder->skip = skip;
	decoder->continues = stream->carry.used > 0;
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
	stream->word_count = 0;
	stream->waits = 0;
}

/* Goes on with the first window that is there. */
static void give_up(struct follow *follow, struct follow_stream *stream, uint64_t until)
{
	uint64_t next = until;

	for (size_t i = 0; i < stream->part_count; i++)
		if (stream->parts[i].sequence > stream->sequence && stream->parts[i].sequence < next)
			next = stream->parts[i].sequence;
	capture_note_damage(follow->capture, stream->block.offset, 0, "a window of a stream that is nowhere, of the one");
	follow->capture->damage.windows += next - stream->sequence;
	next_window(stream);
	stream->sequence = next;
}

/* Windows that were handed on; false in *done: the block of one is not to be found yet, or they are too many. */
static bool take_windows(struct follow *follow, struct follow_stream *stream, uint64_t until, bool *done,
	struct error *error)
{
	const size_t share = (follow->until_ns ? QUEUE_EVENTS_SHORT : QUEUE_EVENTS_ALL) / follow->stream_count;
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
			if (!follow_find_blocks(follow, true, meet_block, error))
				return false;
			if (!take_part(stream, &part)) {
				*done = ++stream->waits > (follow->capture->segments_missing ? WAITS_MAX_GONE : WAITS_MAX);
				if (!*done)
					return true;
				give_up(follow, stream, until);
				continue;
			}
		}
		if (!follow_take_rest(follow, stream, &part, error))
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
	const uint64_t at = stream->block.offset + sizeof(struct capture_block);
	const size_t file = stream->block.file;
	const uint64_t first = stream->carry.used, count = now->used - first;
	const struct capture_part part = { .offset = stream->block.offset, .kind = CAPTURE_BLOCK_STREAM,
		.stream = stream->stream };
	struct capture_stream carry, again;
	uint64_t *words;
	bool ok = true;

	*done = true;
	if (count == 0)
		return true;
	words = malloc(count * 8);
	if (!words)
		return fail_memory(error);
	*done = follow_read(follow, file, words, count * 8, at + sizeof(*now) + first * 8) &&
		follow_read(follow, file, &again, sizeof(again), at) && again.sequence == now->sequence;
	if (*done) {
		carry = first ? stream->carry : *now;
		carry.used = count;
		ok = follow_decode(follow, stream, &part, words, &carry, 0, error) &&
			(!(follow->capture->header.features & CAPTURE_AGGREGATED) ||
			follow_keep_words(stream, words, count, now, error));
		stream->carry.used = now->used;
	}
	free(words);
	return ok;
}

/* What the head of a window says; false: its writer is between two stores, or it is damaged: perhaps the next time. */
static bool read_window(struct follow *follow, const struct follow_block *block, struct capture_stream *now)
{
	return follow_read(follow, block->file, now, sizeof(*now), block->offset + sizeof(struct capture_block)) &&
		now->used <= block->words_max && now->used <= CAPTURE_STREAM_WORDS_MAX && !(now->first_stamp >> 56) &&
		!(now->first_time_ns >> 56);
}

/*
 * The window that counts, of those in several files.  One with the lower number has not been begun: the words are in
 * the one before, and in an EVENTS block.
 */
static bool choose_window(struct follow *follow, struct follow_stream *stream, struct capture_stream *now)
{
	bool found = stream->block.offset && read_window(follow, &stream->block, now);

	for (size_t i = stream->later_count; i-- > 0;) {
		struct capture_stream later;

		if (!read_window(follow, &stream->later[i], &later) || (found && (later.sequence < now->sequence ||
			(later.sequence == now->sequence && now->used > 0))))
			continue;
		*now = later;
		stream->block = stream->later[i];
		stream->later_count -= i + 1;
		memmove(stream->later, stream->later + i + 1, stream->later_count * sizeof(*stream->later));
		return true;
	}
	return found;
}

/* A window that its STREAM block has not yet, because its thread was killed before it began the next, or will soon. */
static uint64_t end_of_parts(const struct follow_stream *stream, uint64_t end)
{
	for (size_t i = 0; i < stream->part_count; i++)
		if (stream->parts[i].sequence >= end)
			end = (uint64_t)stream->parts[i].sequence + 1;
	return end;
}

/* The first window of a stream whose first ones are in files that are gone.  false: it cannot be told yet. */
static bool begin_stream(struct follow_stream *stream, const struct capture_stream *now, bool ended)
{
	uint64_t lowest = UINT64_MAX;

	for (size_t i = 0; i < stream->part_count; i++)
		if (stream->parts[i].sequence < lowest)
			lowest = stream->parts[i].sequence;
	/* Its window is about to be begun under the next number. */
	if (now && now->sequence == 0 && now->used == 0 && lowest != UINT64_MAX && lowest > 0 && !ended)
		return false;
	if (now && now->sequence < lowest && !(now->sequence == 0 && now->used == 0 && lowest != UINT64_MAX))
		lowest = now->sequence;
	stream->begun = lowest != UINT64_MAX;
	stream->sequence = stream->begun ? lowest : 0;
	return stream->begun;
}

static bool take_stream(struct follow *follow, struct follow_stream *stream, bool ended, struct error *error)
{
	for (int tries = 0; tries < WORDS_TRIES; tries++) {
		struct capture_stream now = { 0 };
		const bool found = choose_window(follow, stream, &now);
		uint64_t until;
		bool done;

		if ((!found && !ended) || (!stream->begun && !begin_stream(stream, found ? &now : NULL, ended)))
			return true;
		until = ended && now.used == 0 ? end_of_parts(stream, found ? now.sequence : 0) : now.sequence;
		if (until < stream->sequence || (until == stream->sequence && now.used < stream->carry.used))
			return true;                  /* between two stores of its writer, or damaged: perhaps the next time */
		if (!take_windows(follow, stream, until, &done, error))
			return false;
		if (!done || !found || until > now.sequence)
			return true;
		if (!take_words(follow, stream, &now, &done, error))
			return false;
		if (done)
			return true;
	}
	return true;
}

/* ---- all streams ---- */

/* The stamp at which the first window of a stream begins that has any before it. */
static bool raise_floor(struct follow *follow, struct follow_stream *stream, bool ended, struct error *error)
{
	struct capture_buffer buffer = { 0 };
	struct capture_stream now = { 0 };
	struct events_cursor cursor;
	const bool found = choose_window(follow, stream, &now);
	enum capture_read_result result = CAPTURE_READ_DAMAGED;
	uint64_t stamp = now.first_stamp;

	if (!begin_stream(stream, found ? &now : NULL, ended) || stream->sequence == 0)
		return true;
	for (size_t i = 0; i < stream->part_count && result == CAPTURE_READ_DAMAGED; i++) {
		if (stream->parts[i].sequence != stream->sequence)
			continue;
		struct capture_damage before = follow->capture->damage;

		result = capture_read(follow->capture, NULL, &stream->parts[i], &buffer, &cursor);
		follow->capture->damage = before;     /* it is read again, and said then */
		stamp = result == CAPTURE_READ ? cursor.stamp : 0;
	}
	capture_buffer_finish(&buffer);
	if (stamp > follow->capture->first_stamp)
		follow->capture->first_stamp = stamp;
	return result == CAPTURE_READ_NO_MEMORY ? fail_memory(error) : true;
}

/* As of a whole run (capture_index.c): what comes later is complete, for who comes later was idle. */
static bool find_floor(struct follow *follow, bool ended, struct error *error)
{
	bool ok = true;

	follow->floor_known = true;
	if (!is_partial(follow))
		return true;
	follow->capture->first_stamp = follow->capture->header.segment_stamp;
	for (size_t i = 0; ok && i < follow->stream_count; i++)
		ok = raise_floor(follow, &follow->streams[i], ended, error);
	return ok;
}

/* Streams that are new in a run whose first files are gone: all that comes before their windows is to be known. */
static bool is_one_new(const struct follow *follow)
{
	for (size_t i = 0; i < follow->stream_count; i++)
		if (!follow->streams[i].begun)
			return true;
	return false;
}

static bool take_all(struct follow *follow, bool ended, struct error *error)
{
	bool ok = follow_find_blocks(follow, false, meet_block, error) &&
		(!is_one_new(follow) || follow_find_blocks(follow, true, meet_block, error)) &&
		(follow->floor_known || find_floor(follow, ended, error));

	for (size_t i = 0; ok && i < follow->stream_count; i++)
		ok = take_stream(follow, &follow->streams[i], ended, error);
	return ok;
}

static bool is_over(const struct follow *follow)
{
	return follow->until_ns && clock_ns(CLOCK_THREAD_CPUTIME_ID) >= follow->until_ns;
}

static void give_queues_back(struct follow *follow)
{
	for (size_t i = 0; i < follow->stream_count; i++) {
		struct follow_stream *stream = &follow->streams[i];

		if (stream->event_count)
			continue;
		free(stream->events);
		stream->events = NULL;
		stream->event_capacity = 0;
	}
}

bool follow_look(struct follow *follow, bool ended, struct error *error)
{
	uint64_t until;
	bool more;

	follow->behind = false;

	/*
	 * The first look at a large capture, mostly: piece by piece, so that the queues stay short.  Meanwhile segments may
	 * come, and go again (--keep): what has been opened can be read.
	 */
	for (;;) {
		if (!ended && !capture_refresh_status(follow->capture, &more, error))
			return false;
		if (!take_all(follow, ended, error))
			return false;
		until = follow_known_stamp(follow);
		if (until == UINT64_MAX)
			break;
		if (!follow_replay(follow, until, error))
			return false;
		follow->behind = is_over(follow);
		if (follow->behind)
			return true;
	}
	until = follow_newest_stamp(follow);
	if (!ended && follow->stream_count > 1) {
		nanosleep(&(struct timespec){ .tv_nsec = CAPTURE_STORED_NS }, NULL);
		if (!take_all(follow, false, error))
			return false;
	} else {
		until = UINT64_MAX;
	}
	if (follow_known_stamp(follow) < until)
		until = follow_known_stamp(follow);
	follow_close_files(follow);
	if (!follow_replay(follow, until, error))
		return false;
	follow_forget_sums(follow);
	if (follow->until_ns)
		give_queues_back(follow);
	return capture_fold_held(follow->capture, error);
}
