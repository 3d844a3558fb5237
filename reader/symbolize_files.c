/* SPDX-License-Identifier: MIT */
/* See symbolize_files.h. */
#include "symbolize_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture.h"
#include "memory.h"
#include "segments.h"

static void add(struct symbolize_files *files, const char *path, char *copy)
{
	files->files[files->count++] = (struct symbolize_file){ .path = path, .copy = copy };
}

/* As the recorder calls a run's files (preload/naming.c): run.bin, run.000002.bin ... */
static char *copy_path(const char *output, uint32_t number)
{
	const size_t length = strlen(output), size = length + sizeof(".4294967295");
	const bool ends = length > 4 && strcmp(output + length - 4, ".bin") == 0;
	char *path;

	if (number == 1)
		return memory_text(output);
	path = memory_new(size, 1);
	snprintf(path, size, "%.*s.%06" PRIu32 "%s", (int)(ends ? length - 4 : length), output, number, ends ? ".bin" : "");
	return path;
}

/*
 * The recorder cuts off what it had taken in advance when it leaves a segment, and then makes the first block of the
 * next one: before that, what is appended to the one that it leaves would be lost.
 */
static bool is_begun(const struct capture_segment *segment)
{
	struct capture_block block;

	return capture_block_at(segment->file, segment->header_size, &block);
}

/* How many segments, from the first on, nobody writes any more. */
static size_t count_left(const struct capture *run)
{
	const size_t count = run->segment_count;

	if (!run->alive)
		return count;
	return count > 1 && !is_begun(&run->segments[count - 1]) ? count - 2 : count - 1;
}

static bool list_segments(struct symbolize_files *files, const char *path, const char *output, bool alone,
	struct error *error)
{
	const struct capture *run = files->run;
	const struct capture_segment *segments = run->segments;
	const bool whole = access(path, F_OK) != 0 || (!alone && segments[0].number == 1);
	const size_t left = output ? run->segment_count : count_left(run);
	char stem[SEGMENTS_STEM_SIZE];

	if (output && segments_would_mix(segments[0].path, output, stem))
		return fail(error, STATUS_USAGE, "%s would be taken for a part of the run that it is a copy of: write into another "
			"folder, or choose a name that does not begin with %s", output, stem);
	files->growing = run->alive;
	/* What there is nothing to be done with is refused by whoever tries: it is still being recorded. */
	if (!whole || left == 0) {
		if (!whole && left == 0 && run->segment_count > 1)
			return fail(error, STATUS_USAGE, "%s has only just been left by its process: try again", path);
		add(files, whole ? segments[run->segment_count - 1].path : path, output ? memory_text(output) : NULL);
		return true;
	}
	for (size_t i = left; i-- > 0;)
		add(files, segments[i].path, output ? copy_path(output, segments[i].number) : NULL);
	if (left < run->segment_count)
		files->recording = segments[run->segment_count - 1].path;
	return true;
}

bool symbolize_files_list(struct symbolize_files *files, const char *path, const char *output, bool alone,
	struct error *error)
{
	*files = (struct symbolize_files){ 0 };
	if (!capture_open_growing(&files->run, path, error))
		return false;
	files->files = memory_new(files->run->segment_count + 1, sizeof(*files->files));
	if (files->run->segment_count)
		return list_segments(files, path, output, alone, error);
	add(files, path, output ? memory_text(output) : NULL);
	return true;
}

void symbolize_files_finish(struct symbolize_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		free(files->files[i].copy);
	free(files->files);
	capture_close(files->run);
	*files = (struct symbolize_files){ 0 };
}
