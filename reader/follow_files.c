/* SPDX-License-Identifier: MIT */
/*
 * Where a capture that grows has new blocks.  Blocks are written in any order into space that was taken in advance: so
 * each look begins at the first place that may still be filled.  A look costs what is new, and the number of blocks
 * behind the first hole that may still be filled: seldom more than those of one extent (preload/output.c).
 *
 *     file    | header | block | block | . . . . | block | . . . zeros
 *                                      hole             the end is one, too
 *
 * A run in segments has several files.  Those before the newest are looked at for as long as a stream's window lies in
 * them: until then its thread may still be writing there.  So idle threads keep some files open, and nobody else.
 */
#include "follow.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOLE_LOOKS = 3 };              /* a hole that nothing came into for so long is passed over */

static int descriptor_of(const struct follow *follow, size_t number)
{
	return follow->capture->segments ? follow->capture->segments[number].file : follow->capture->file;
}

bool follow_read(struct follow *follow, size_t number, void *out, size_t size, uint64_t offset)
{
	ssize_t got;

	do
		got = pread(descriptor_of(follow, number), out, size, (off_t)offset);
	while (got < 0 && errno == EINTR);
	follow->bytes_read += got > 0 ? (uint64_t)got : 0;
	return got == (ssize_t)size;
}

/* One for each file that there is by now. */
static bool meet_files(struct follow *follow, struct error *error)
{
	const struct capture *capture = follow->capture;
	const size_t count = capture->segments ? capture->segment_count : 1;

	if (!array_reserve(&follow->files, &follow->file_capacity, count, sizeof(*follow->files), error))
		return false;
	for (; follow->file_count < count; follow->file_count++) {
		struct follow_file *file = &follow->files[follow->file_count];

		*file = (struct follow_file){ .walk_from = capture->segments
			? capture->segments[follow->file_count].header_size : capture->header.header_size };
		file->end = file->walk_from;
		if (!map64_init(&file->known, 1024, error))
			return false;
	}
	return true;
}

void follow_files_finish(struct follow *follow)
{
	for (size_t i = 0; i < follow->file_count; i++) {
		map64_finish(&follow->files[i].known);
		free(follow->files[i].holes);
	}
	free(follow->files);
}

static bool note_hole(struct follow_file *file, const struct follow_hole *before, size_t before_count, uint64_t start,
	struct error *error)
{
	struct follow_hole hole = { .start = start };

	for (size_t i = 0; i < before_count; i++)
		if (before[i].start == start)
			hole.looks = before[i].looks + 1;
	if (!array_reserve(&file->holes, &file->hole_capacity, file->hole_count + 1, sizeof(*file->holes), error))
		return false;
	file->holes[file->hole_count++] = hole;
	return true;
}

/* Looks for blocks that have come since, and where the next look must begin. */
static bool find_in_file(struct follow *follow, size_t number, follow_met *met, struct error *error)
{
	struct follow_file *file = &follow->files[number];
	struct follow_hole *before = file->holes;
	const size_t before_count = file->hole_count;
	const int descriptor = descriptor_of(follow, number);
	uint64_t at = file->walk_from, size = 0;
	struct stat status;
	bool ok = true;

	if (fstat(descriptor, &status) == 0)
		size = (uint64_t)status.st_size;
	file->holes = NULL;
	file->hole_count = file->hole_capacity = 0;
	while (ok && at < size && size - at >= sizeof(struct capture_block)) {
		struct capture_block block;

		follow->bytes_read += sizeof(block);
		if (!capture_block_at(descriptor, at, &block)) {
			ok = note_hole(file, before, before_count, at, error);
			at = capture_find_block(descriptor, size, follow->scan, at + 8);
			continue;
		}
		const uint64_t end = at + sizeof(block) + block.stored_size;
		/* A block that leaves the file is still being written, or the file is cut there. */
		if (end > size) {
			ok = note_hole(file, before, before_count, at, error);
			break;
		}
		if (map64_get(&file->known, at / 8) == MAP64_NONE)
			ok = map64_put(&file->known, at / 8, 0, error) && met(follow, number, at, &block, error);
		file->end = end > file->end ? end : file->end;
		at = (end + 7) & ~(uint64_t)7;
	}
	free(before);
	/* The end is a hole, too. */
	file->walk_from = at < size ? at : size & ~(uint64_t)7;
	for (size_t i = file->hole_count; i-- > 0;) {
		if (file->holes[i].looks < HOLE_LOOKS)
			file->walk_from = file->holes[i].start;
	}
	file->size = size;
	return ok;
}

bool follow_find_blocks(struct follow *follow, bool again, follow_met *met, struct error *error)
{
	struct capture *capture = follow->capture;
	bool ok = meet_files(follow, error);

	capture->file_size = capture->used_size = 0;
	for (size_t i = 0; ok && i < follow->file_count; i++) {
		struct follow_file *file = &follow->files[i];

		if (!file->closed && again)
			file->walk_from = capture->segments ? capture->segments[i].header_size : capture->header.header_size;
		ok = file->closed || find_in_file(follow, i, met, error);
		capture->file_size += file->size;
		capture->used_size += file->end;
	}
	return ok;
}

/* Whether a thread may still write there, or something found there is still to be read. */
static bool is_needed(const struct follow *follow, size_t number)
{
	for (size_t i = 0; i < follow->stream_count; i++) {
		const struct follow_stream *stream = &follow->streams[i];

		if (stream->block.offset == 0 || stream->block.file == number || stream->waits)
			return true;
		for (size_t j = 0; j < stream->later_count; j++)
			if (stream->later[j].file == number)
				return true;
		for (size_t j = 0; j < stream->part_count; j++)
			if (stream->parts[j].segment == number)
				return true;
	}
	return false;
}

void follow_close_files(struct follow *follow)
{
	for (size_t i = 0; i + 1 < follow->file_count; i++) {
		struct follow_file *file = &follow->files[i];

		if (file->closed || is_needed(follow, i))
			continue;
		/* What is behind the windows of all is WORDS of a copy, and none that are still to come. */
		if (file->rests++ < HOLE_LOOKS)
			continue;
		close(follow->capture->segments[i].file);
		follow->capture->segments[i].file = -1;
		map64_finish(&file->known);
		free(file->holes);
		file->known = (struct map64){ 0 };
		file->holes = NULL;
		file->hole_count = file->hole_capacity = 0;
		file->closed = true;
	}
}
