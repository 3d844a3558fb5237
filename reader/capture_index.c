/* SPDX-License-Identifier: MIT */
/*
 * The list of a capture's blocks, and its windows by stream.
 *
 * Blocks follow one another, but anything may lie between them: zeros (space taken in advance, or reserved by a
 * thread that was killed before it wrote), the payload of an append that was cut short, damage.  Where a block
 * should be and is not, we go on at the next multiple of 8 that holds a valid block header.
 *
 * A capture may be written while we read.  The windows of all STREAM blocks are copied in one go after a first
 * walk over the file; blocks that came in since are looked for once more, from the first place on that may have been
 * filled.  So a window that was appended meanwhile is found in one place or the other, never in neither.
 *
 * Even so one thread's window is copied before another's, and the second may have freed by then what the first
 * allocated after its copy.  So all this is done twice: what the first time finds says by its newest stamp up to where
 * the second has everything, and what has a later stamp is left out (decode.c).
 */
#include "capture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

static ssize_t read_some(int file, void *out, size_t size, uint64_t offset)
{
	ssize_t got;

	do
		got = pread(file, out, size, (off_t)offset);
	while (got < 0 && errno == EINTR);
	return got;
}

static bool is_block_header(const struct capture_block *block)
{
	return block->magic == CAPTURE_BLOCK_MAGIC &&
		block->header_checksum == XXH3_64bits(block, offsetof(struct capture_block, header_checksum));
}

/* Compares the bytes with themselves, shifted: memcmp is as fast as memory.  size is at least 8. */
static bool is_zero(const uint8_t *bytes, size_t size)
{
	static const uint8_t zeros[8];

	return memcmp(bytes, zeros, 8) == 0 && memcmp(bytes, bytes + 8, size - 8) == 0;
}

static uint64_t align8(uint64_t offset)
{
	return (offset + 7) & ~(uint64_t)7;
}

/*
 * The offset of the next valid block header at or after `offset`, or the end of the file.  Holes of the file are
 * skipped without reading them.
 */
uint64_t capture_find_block(int file, uint64_t end, uint8_t *buffer, uint64_t offset)
{
	while (end - offset >= sizeof(struct capture_block)) {
		off_t data = lseek(file, (off_t)offset, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			return end;               /* nothing but a hole up to the end */
		if (data > 0 && (uint64_t)data > offset)
			offset = (uint64_t)data & ~(uint64_t)7;
		ssize_t got = read_some(file, buffer, CAPTURE_SCAN_BYTES, offset);
		if (got < (ssize_t)sizeof(struct capture_block))
			return end;
		size_t last = (size_t)got - sizeof(struct capture_block);
		for (size_t at = 0; at <= last; at += 8) {
			struct capture_block block;

			/* Zeros by the page. */
			while (last - at >= 4096 && is_zero(buffer + at, 4096))
				at += 4096;
			uint32_t magic;
			memcpy(&magic, buffer + at, sizeof(magic));
			if (magic != CAPTURE_BLOCK_MAGIC)
				continue;
			memcpy(&block, buffer + at, sizeof(block));
			if (is_block_header(&block))
				return offset + at;
		}
		offset += (last & ~(size_t)7) + 8;
	}
	return end;
}

bool capture_block_at(int file, uint64_t offset, struct capture_block *block)
{
	*block = (struct capture_block){ 0 };
	return read_some(file, block, sizeof(*block), offset) == (ssize_t)sizeof(*block) && is_block_header(block);
}

static bool add_part(struct capture *capture, uint64_t offset, const struct capture_block *block, struct error *error)
{
	if (!array_reserve(&capture->parts, &capture->part_capacity, capture->part_count + 1, sizeof(*capture->parts),
		error))
		return false;
	capture->parts[capture->part_count] = (struct capture_part){
		.offset = offset, .payload_checksum = block->payload_checksum,
		.first_time_ns = block->first_time_ns, .last_time_ns = block->last_time_ns,
		.stored_size = block->stored_size, .raw_size = block->raw_size, .sequence = block->sequence,
		.event_count = block->event_count, .kind = block->kind, .flags = block->flags, .stream = block->stream,
		.index = (uint32_t)capture->part_count,
		.segment = capture->walking,
	};
	capture->part_count++;
	return true;
}

/* How far the blocks of a file have been listed. */
struct walk {
	uint64_t end;                 /* of the last block */
	/* The first place before it where a block may still be written; 0: none. */
	uint64_t hole;
	size_t hole_parts;            /* parts before it */
	struct capture_damage hole_damage;
};

/* Walks the blocks from walk->end on. */
static bool walk_blocks(struct capture *capture, struct walk *walk, struct error *error)
{
	uint8_t *buffer = malloc(CAPTURE_SCAN_BYTES);
	uint64_t at = walk->end;
	bool ok = buffer ? true : fail_memory(error);

	while (ok && at < capture->file_size && capture->file_size - at >= sizeof(struct capture_block)) {
		struct capture_block block;

		if (!capture_block_at(capture->file, at, &block)) {
			bool unfinished = is_zero((const uint8_t *)&block, 8);
			uint64_t next = capture_find_block(capture->file, capture->file_size, buffer, at + 8);

			/* No header, then bytes: an append that was cut short.  Its window is still in its STREAM block. */
			if (!unfinished) {
				capture_note_damage(capture, at, next - at, "no valid block");
			} else if (!walk->hole) {
				walk->hole = at;
				walk->hole_parts = capture->part_count;
				walk->hole_damage = capture->damage;
			}
			at = next;
			continue;
		}
		uint64_t end = at + sizeof(block) + block.stored_size;
		if (end > capture->file_size && block.kind != CAPTURE_BLOCK_STREAM) {
			capture_note_damage(capture, at, capture->file_size - at, "the file is cut within a block");
			capture->cut = true;
			walk->end = at;
			break;
		}
		ok = add_part(capture, at, &block, error);
		at = walk->end = align8(end);
	}
	free(buffer);
	return ok;
}

/* Reads one STREAM block's window as it is at this moment. */
static bool copy_window(struct capture *capture, const struct capture_part *part, struct capture_stream_parts *stream,
	struct error *error)
{
	const uint64_t at = part->offset + sizeof(struct capture_block);
	const int file = capture->segments ? capture->segments[part->segment].file : capture->file;
	struct capture_stream now;

	if (part->stored_size < sizeof(now) || read_some(file, &stream->carry, sizeof(now), at) != sizeof(now)) {
		capture_note_damage(capture, part->offset, part->stored_size, "a stream that is cut");
		capture->cut = true;
		return true;
	}
	/* The writer may hand the window on while we copy: then what we copied is in an EVENTS block by now. */
	for (int attempt = 0; attempt < 4; attempt++) {
		uint64_t used = stream->carry.used;

		free(stream->words);
		stream->words = NULL;
		if (used > (part->stored_size - sizeof(now)) / 8 || used > stream->carry.capacity ||
		    used > CAPTURE_STREAM_WORDS_MAX || stream->carry.first_time_ns >> 56 || stream->carry.first_stamp >> 56) {
			capture_note_damage(capture, part->offset, part->stored_size, "a stream whose words do not fit it");
			stream->carry.used = 0;
			capture->damage.windows++;
			return true;
		}
		stream->words = malloc(used ? used * 8 : 8);
		if (!stream->words)
			return fail_memory(error);
		ssize_t got = read_some(file, stream->words, used * 8, at + sizeof(now));
		if (got < (ssize_t)(used * 8)) {
			capture_note_damage(capture, part->offset, used * 8 - (got < 0 ? 0 : (uint64_t)got), "a stream that is cut");
			stream->carry.used = got < 0 ? 0 : (uint64_t)got / 8;
			capture->damage.windows++;
			capture->cut = true;
			return true;
		}
		if (read_some(file, &now, sizeof(now), at) != sizeof(now) || now.sequence == stream->carry.sequence)
			return true;
		stream->carry = now;
	}
	stream->carry.used = 0;
	return true;
}

/* A thread's window lies in a later segment's file now, unless it had only just come there. */
static bool follow_window(struct capture *capture, const struct capture_part *part, struct capture_stream_parts *stream,
	struct error *error)
{
	struct capture_stream_parts later = { .stream = stream->stream };

	if (!copy_window(capture, part, &later, error)) {
		free(later.words);
		return false;
	}
	if (later.words && later.carry.sequence >= stream->carry.sequence) {
		free(stream->words);
		stream->words = later.words;
		stream->carry = later.carry;
	} else {
		free(later.words);
	}
	return true;
}

static int compare_parts(const void *a, const void *b)
{
	const struct capture_part *left = a, *right = b;

	if (left->stream != right->stream)
		return left->stream < right->stream ? -1 : 1;
	if (left->sequence != right->sequence)
		return left->sequence < right->sequence ? -1 : 1;
	return left->index < right->index ? -1 : left->index > right->index;
}

/* Whether an EVENTS block is what it says; quietly, since its window may be in the STREAM block still. */
static bool is_intact(struct capture *capture, const struct capture_part *part, struct capture_buffer *buffer)
{
	struct capture_damage before = capture->damage;
	struct events_cursor cursor;
	bool intact = capture_read(capture, NULL, part, buffer, &cursor) == CAPTURE_READ;

	capture->damage = before;
	return intact;
}

/*
 * Puts the parts of one stream, sorted[first..end), in order: one part a sequence number, the window last unless
 * its number is already there.  Returns the place after the last part written; parts move down only.
 */
static size_t arrange_stream(struct capture *capture, struct capture_stream_parts *stream, size_t first, size_t end,
	size_t place, uint64_t second_walk, struct capture_buffer *buffer)
{
	struct capture_part *sorted = capture->sorted;
	const size_t start = place;
	const bool has_window = stream->words != NULL;
	const uint64_t window = stream->carry.sequence;
	bool window_stored = false;
	struct capture_part window_part = { 0 };
	/* What came before the oldest segment that is here is not missing: it is left out. */
	bool whole = !capture->segments || capture->segments[0].number == 1;
	uint64_t expected = 0;

	for (size_t i = first; i < end; i++) {
		struct capture_part part = sorted[i];
		bool again = i + 1 < end && sorted[i + 1].kind == part.kind && sorted[i + 1].sequence == part.sequence;

		if (part.kind == CAPTURE_BLOCK_STREAM) {
			window_part = part;
			continue;
		}
		if (part.kind != CAPTURE_BLOCK_EVENTS || (place > start && sorted[place - 1].sequence == part.sequence))
			continue;
		/* What came in after the windows were copied belongs to a later moment than they do. */
		if (has_window && part.sequence > window && part.offset >= second_walk &&
			(!capture->segments || part.segment == capture->segment_count - 1))
			continue;
		if ((again || (has_window && part.sequence == window)) && !is_intact(capture, &part, buffer))
			continue;
		window_stored = window_stored || part.sequence == window;
		if (part.sequence > expected && (whole || place > start))
			stream->missing += (uint32_t)(part.sequence - expected);
		expected = (uint64_t)part.sequence + 1;
		sorted[place++] = part;
	}
	if (has_window && !window_stored) {
		if (window > expected && (whole || place > start))
			stream->missing += window - expected > UINT32_MAX ? UINT32_MAX : (uint32_t)(window - expected);
		window_part.sequence = (uint32_t)window;
		if (stream->carry.used > 0)
			sorted[place++] = window_part;
	}
	return place;
}

static void arrange_all(struct capture *capture, uint64_t second_walk)
{
	struct capture_buffer buffer = { 0 };
	size_t first = 0, place = 0;

	for (size_t i = 0; i < capture->stream_count; i++) {
		struct capture_stream_parts *stream = &capture->streams[i];
		size_t end = first, start = place;

		while (end < capture->part_count && capture->sorted[end].stream == stream->stream)
			end++;
		place = arrange_stream(capture, stream, first, end, place, second_walk, &buffer);
		stream->parts = capture->sorted + start;
		stream->count = place - start;
		first = end;
		if (stream->missing) {
			capture_note_damage(capture, stream->count ? stream->parts[stream->count - 1].offset : capture->used_size,
				0, "%" PRIu32 " windows of stream %" PRIu32 " are missing before the one", stream->missing, stream->stream);
			capture->damage.windows += stream->missing;
		}
	}
	capture_buffer_finish(&buffer);
}

/* One entry a stream; the windows are copied here, close together in time. */
static bool list_streams(struct capture *capture, struct error *error)
{
	struct map64 by_stream = { 0 };
	size_t capacity = 0;
	bool ok = true;

	for (size_t i = 0; ok && i < capture->part_count; i++) {
		const struct capture_part *part = &capture->parts[i];
		uint32_t slot = map64_get(&by_stream, part->stream);

		if (part->kind != CAPTURE_BLOCK_STREAM && part->kind != CAPTURE_BLOCK_EVENTS)
			continue;
		if (slot == MAP64_NONE) {
			slot = (uint32_t)capture->stream_count;
			ok = array_reserve(&capture->streams, &capacity, slot + (size_t)1, sizeof(*capture->streams), error) &&
				map64_put(&by_stream, part->stream, slot, error);
			if (!ok)
				break;
			capture->streams[slot] = (struct capture_stream_parts){ .stream = part->stream };
			capture->stream_count++;
		}
		if (part->kind == CAPTURE_BLOCK_STREAM && capture->streams[slot].words && capture->segments)
			ok = follow_window(capture, part, &capture->streams[slot], error);
		else if (part->kind == CAPTURE_BLOCK_STREAM && capture->streams[slot].words)
			capture_note_damage(capture, part->offset, part->stored_size, "a second block of stream %" PRIu32,
				part->stream);
		else if (part->kind == CAPTURE_BLOCK_STREAM)
			ok = copy_window(capture, part, &capture->streams[slot], error);
	}
	map64_finish(&by_stream);
	return ok;
}

static int compare_streams(const void *a, const void *b)
{
	const struct capture_stream_parts *left = a, *right = b;

	return left->stream < right->stream ? -1 : left->stream > right->stream;
}

/* Streams that the second walk brought have all their windows in EVENTS blocks, or began after our moment. */
static bool sort_parts(struct capture *capture, struct error *error)
{
	size_t count = 0;

	capture->sorted = malloc((capture->part_count + 1) * sizeof(*capture->sorted));
	if (!capture->sorted)
		return fail_memory(error);
	if (capture->stream_count)
		qsort(capture->streams, capture->stream_count, sizeof(*capture->streams), compare_streams);
	for (size_t i = 0; i < capture->part_count; i++) {
		struct capture_stream_parts key = { .stream = capture->parts[i].stream };

		if ((capture->parts[i].kind == CAPTURE_BLOCK_STREAM || capture->parts[i].kind == CAPTURE_BLOCK_EVENTS) &&
		    capture->stream_count &&
		    bsearch(&key, capture->streams, capture->stream_count, sizeof(key), compare_streams))
			capture->sorted[count++] = capture->parts[i];
	}
	if (count)
		qsort(capture->sorted, count, sizeof(*capture->sorted), compare_parts);
	/* arrange_all walks sorted by stream up to part_count: mark where it ends. */
	for (size_t i = count; i < capture->part_count; i++)
		capture->sorted[i] = (struct capture_part){ .stream = UINT32_MAX, .kind = 0, .sequence = UINT32_MAX };
	return true;
}

/*
 * Where the oldest segments of a run are not read: the moment from which on all is here.  Threads came into the first
 * one that is one after the other, some with words from before.
 */
static bool find_first_stamp(struct capture *capture, struct error *error)
{
	struct capture_buffer buffer = { 0 };
	struct events_cursor cursor;
	bool ok = true;

	if (!capture->segments || capture->segments[0].number == 1)
		return true;
	capture->first_stamp = capture->header.segment_stamp;
	for (size_t i = 0; ok && i < capture->stream_count; i++) {
		struct capture_stream_parts *stream = &capture->streams[i];

		if (stream->count == 0 || stream->parts[0].sequence == 0)
			continue;
		struct capture_damage before = capture->damage;
		enum capture_read_result result = capture_read(capture, stream, &stream->parts[0], &buffer, &cursor);

		capture->damage = before;     /* it is read again, and said then */
		if (result == CAPTURE_READ_NO_MEMORY)
			ok = fail_memory(error);
		if (result == CAPTURE_READ && cursor.stamp > capture->first_stamp)
			capture->first_stamp = cursor.stamp;
	}
	capture_buffer_finish(&buffer);
	return ok;
}

/* The blocks of all files of a run; *walk is that of the last. */
static bool walk_segments(struct capture *capture, struct walk *walk, struct error *error)
{
	const int file = capture->file;
	uint64_t size = 0;
	bool ok = true;

	capture->used_size = 0;
	for (size_t i = 0; ok && i < capture->segment_count; i++) {
		capture->walking = (uint32_t)i;
		capture->file = capture->segments[i].file;
		capture->file_size = capture->segments[i].size;
		*walk = (struct walk){ .end = capture->segments[i].header_size };
		ok = walk_blocks(capture, walk, error);
		capture->used_size += walk->end;
		size += capture->file_size;
	}
	capture->file = file;
	capture->file_size = size;
	return ok;
}

/* What has come since into the last file; what lies behind a hole is listed anew. */
static bool walk_again(struct capture *capture, struct walk *walk, struct error *error)
{
	const int file = capture->file;
	const uint64_t size = capture->file_size, end = walk->end;
	struct stat status;
	bool ok = true;

	if (capture->segments)
		capture->file = capture->segments[capture->segment_count - 1].file;
	if (fstat(capture->file, &status) == 0) {
		capture->file_size = (uint64_t)status.st_size;
		if (walk->hole) {
			capture->part_count = walk->hole_parts;
			capture->damage = walk->hole_damage;
			*walk = (struct walk){ .end = walk->hole };
		}
		ok = walk_blocks(capture, walk, error);
	}
	capture->file = file;
	if (capture->segments) {
		capture->file_size = size;
		capture->used_size += walk->end - end;
	}
	return ok;
}

/* The newest stamp in the windows that were copied, which are let go of again: they are copied anew. */
static uint64_t take_newest_stamp(struct capture *capture)
{
	uint64_t newest = 0;

	for (size_t i = 0; i < capture->stream_count; i++) {
		struct capture_stream_parts *stream = &capture->streams[i];
		struct capture_event event;
		struct events_cursor cursor;

		if (!stream->words)
			continue;
		events_open_words(&cursor, stream->stream, &stream->carry, stream->words, (size_t)stream->carry.used);
		while (events_next(&cursor, &event))
			continue;
		newest = cursor.stamp > newest ? cursor.stamp : newest;
		free(stream->words);
	}
	free(capture->streams);
	capture->streams = NULL;
	capture->stream_count = 0;
	return newest;
}

/*
 * For a capture that is being written by several threads: up to which moment all is there from now on.  An event is
 * stored a moment after it was given its stamp.
 */
static bool find_last_stamp(struct capture *capture, struct walk *walk, struct error *error)
{
	const struct capture_damage before = capture->damage;

	if (!list_streams(capture, error))
		return false;
	capture->damage = before;         /* it is copied again, and said then */
	if (capture->stream_count > 1)
		nanosleep(&(struct timespec){ .tv_nsec = CAPTURE_STORED_NS }, NULL);
	capture->last_stamp = take_newest_stamp(capture);
	return walk_again(capture, walk, error);
}

bool capture_index_blocks(struct capture *capture, struct error *error)
{
	struct walk walk = { .end = capture->header.header_size };
	bool ok = capture->segments ? walk_segments(capture, &walk, error) : walk_blocks(capture, &walk, error);

	if (!ok || (capture->alive && !find_last_stamp(capture, &walk, error)) || !list_streams(capture, error))
		return false;
	const uint64_t second_walk = walk.end;

	if (capture->alive && !walk_again(capture, &walk, error))
		return false;
	if (!capture->segments)
		capture->used_size = walk.end;
	if (!sort_parts(capture, error))
		return false;
	arrange_all(capture, second_walk);
	return find_first_stamp(capture, error);
}
