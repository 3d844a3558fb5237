/* SPDX-License-Identifier: MIT */
/*
 * A run that was recorded in segments, read as one capture.
 *
 *     capture.bin  capture.000002.bin  capture.000003.bin ...     one run_id, each with its number in the header
 *
 * Named by its first file, or by that file's name when it is gone, a run is all that lies beside it; named by another,
 * that segment alone; several named together are read together, whatever their names.  What belongs together is told
 * by the headers, never by names: those only narrow down which files are looked at.  Headers are untrusted: numbers are
 * compared and counted, and nothing is sized by them.
 */
#include "segments.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

enum { SEGMENTS_MAX = 100000, NUMBER_DIGITS = 6 };

/* Whether the file has a whole header of a segment; its checksum holds. */
static bool read_header(int file, struct capture_header *header)
{
	char *text;
	bool ok;

	if (pread(file, header, sizeof(*header), 0) != (ssize_t)sizeof(*header) ||
		memcmp(header->magic, CAPTURE_MAGIC, sizeof(header->magic)) != 0 || header->version > CAPTURE_VERSION ||
		header->segment == 0 || header->header_size < CAPTURE_HEADER_SIZE_MIN ||
		header->header_size > CAPTURE_HEADER_SIZE_MAX ||
		header->text_size > header->header_size - CAPTURE_TEXT_OFFSET)
		return false;
	text = malloc(header->text_size + (size_t)1);
	ok = text && pread(file, text, header->text_size, CAPTURE_TEXT_OFFSET) == (ssize_t)header->text_size &&
		XXH3_64bits_withSeed(text, header->text_size,
			XXH3_64bits(header, offsetof(struct capture_header, checksum))) == header->checksum;
	free(text);
	return ok;
}

bool segments_peek(const char *path, uint64_t *run_id, uint32_t *segment)
{
	struct capture_header header;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool ok = file >= 0 && read_header(file, &header);

	if (file >= 0)
		close(file);
	if (ok) {
		*run_id = header.run_id;
		*segment = header.segment;
	}
	return ok;
}

/* A run may have more files than a process may have open by default. */
static void allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

bool segments_add(struct capture *capture, const char *path, uint64_t run_id, struct error *error)
{
	struct capture_segment segment = { 0 };
	struct capture_header header;
	struct stat status;

	segment.file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (segment.file < 0)
		return fail(error, STATUS_NO_INPUT, "cannot open %s, a segment of the run: %s", path, strerror(errno));
	if (fstat(segment.file, &status) != 0 || !S_ISREG(status.st_mode) || !read_header(segment.file, &header) ||
		header.run_id != run_id) {
		close(segment.file);
		return true;                  /* something else, by this time */
	}
	segment.size = (uint64_t)status.st_size;
	segment.device = status.st_dev;
	segment.inode = status.st_ino;
	segment.number = header.segment;
	segment.header_size = header.header_size;
	segment.path = pool_copy(&capture->pool, path, strlen(path));
	if (!segment.path || capture->segment_count == SEGMENTS_MAX ||
		!array_reserve(&capture->segments, &capture->segment_capacity, capture->segment_count + 1,
			sizeof(segment), error)) {
		close(segment.file);
		return capture->segment_count == SEGMENTS_MAX ?
			fail(error, STATUS_USAGE, "more than %d segments: name some of them", SEGMENTS_MAX) : fail_memory(error);
	}
	capture->segments[capture->segment_count++] = segment;
	return true;
}

/*
 * The folder, and what the names of all files of the run begin with: "capture." of capture.bin and capture.bin.0; and
 * of capture.000007.bin, where that is `numbered`, a later segment's file.
 */
static void split(const char *path, bool numbered, char *folder, size_t folder_size, char *stem, size_t stem_size)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t length = strlen(name), digits = length;

	snprintf(folder, folder_size, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
	while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9')
		digits--;
	if (digits < length && digits > 4 && strncmp(name + digits - 5, ".bin.", 5) == 0)
		length = digits - 1;
	if (length > 4 && strncmp(name + length - 4, ".bin", 4) == 0)
		length -= 4;
	for (digits = length; digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9';)
		digits--;
	if (numbered && length - digits >= NUMBER_DIGITS && digits > 1 && name[digits - 1] == '.')
		length = digits - 1;
	snprintf(stem, stem_size, "%.*s.", (int)length, name);
}

/* Calls `use` for each file beside `path` that may be of the same run; until it says false. */
static bool look_beside(const char *path, bool numbered, bool (*use)(void *argument, const char *path), void *argument)
{
	char folder[4096], stem[512], full[4096 + 512];
	DIR *directory;
	bool ok = true;

	split(path, numbered, folder, sizeof(folder), stem, sizeof(stem));
	directory = opendir(folder);
	for (struct dirent *entry; ok && directory && (entry = readdir(directory));) {
		if (strncmp(entry->d_name, stem, strlen(stem)) != 0 ||
			(entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK))
			continue;
		if (snprintf(full, sizeof(full), "%s%s", strrchr(path, '/') ? folder : "", entry->d_name) < (int)sizeof(full))
			ok = use(argument, full);
	}
	if (directory)
		closedir(directory);
	return ok;
}

struct gathering {
	struct capture *capture;
	uint64_t run_id;
	uint32_t from;
	struct error *error;
};

static bool gather(void *argument, const char *path)
{
	struct gathering *gathering = argument;
	uint64_t run_id;
	uint32_t segment;

	return !segments_peek(path, &run_id, &segment) || run_id != gathering->run_id || segment < gathering->from ||
		segments_add(gathering->capture, path, run_id, gathering->error);
}

static int by_number(const void *a, const void *b)
{
	const struct capture_segment *left = a, *right = b;

	if (left->number != right->number)
		return left->number < right->number ? -1 : 1;
	return left->inode < right->inode ? -1 : left->inode > right->inode;
}

/* One file by two names (a link beside it, or named twice) is one segment.  `segments` are in order. */
static size_t drop_repeated(struct capture_segment *segments, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (kept > 0 && segments[kept - 1].number == segments[i].number &&
			segments[kept - 1].device == segments[i].device && segments[kept - 1].inode == segments[i].inode)
			close(segments[i].file);
		else
			segments[kept++] = segments[i];
	}
	return kept;
}

bool segments_settle(struct capture *capture, struct error *error)
{
	struct capture_segment *segments = capture->segments;
	uint64_t missing;

	if (capture->segment_count == 0)
		return true;
	qsort(segments, capture->segment_count, sizeof(*segments), by_number);
	capture->segment_count = drop_repeated(segments, capture->segment_count);
	for (size_t i = 1; i < capture->segment_count; i++)
		if (segments[i].number == segments[i - 1].number)
			return fail(error, STATUS_BAD_CAPTURE, "%s and %s are both segment %" PRIu32 " of one run (offset 96): "
				"move one of them away, or name those that are to be read", segments[i - 1].path, segments[i].path,
				segments[i].number);
	missing = (uint64_t)segments[capture->segment_count - 1].number - segments[0].number + 1 - capture->segment_count;
	capture->segments_missing = (uint32_t)missing;
	if (missing) {
		capture->damage.count++;
		snprintf(capture->damage.first, sizeof(capture->damage.first),
			"%" PRIu64 " of the segments %" PRIu32 " to %" PRIu32 " of the run are not here", missing, segments[0].number,
			segments[capture->segment_count - 1].number);
	}
	return true;
}

bool segments_gather(struct capture *capture, const char *path, uint64_t run_id, uint32_t from, struct error *error)
{

	struct gathering gathering = { capture, run_id, from, error };

	allow_many_files();
	/* What too many names match costs a look at each. */
	return look_beside(path, from > 1, gather, &gathering);
}

/* By number; of several of one number, which are copies, the one that is called the most like the run comes first. */
static int by_number_and_name(const void *a, const void *b)
{
	const struct capture_segment *left = a, *right = b;
	const size_t left_size = strlen(left->path), right_size = strlen(right->path);

	if (left->number != right->number)
		return left->number < right->number ? -1 : 1;
	if (left_size != right_size)
		return left_size < right_size ? -1 : 1;
	return strcmp(left->path, right->path);
}

/*
 * Somebody may copy a segment beside itself while we follow: unlike segments_settle this is no reason to end.  What has
 * been removed before we saw it is counted.
 */
bool segments_find_later(struct capture *capture, bool *found, struct error *error)
{
	const size_t before = capture->segment_count;
	const struct capture_segment last = capture->segments[before - 1];
	size_t kept = before;

	*found = false;
	if (last.number == UINT32_MAX)
		return true;
	if (!segments_gather(capture, last.path, capture->header.run_id, last.number + 1, error))
		return false;

	struct capture_segment *segments = capture->segments;

	if (capture->segment_count > before)
		qsort(segments + before, capture->segment_count - before, sizeof(*segments), by_number_and_name);
	for (size_t i = before; i < capture->segment_count; i++) {
		if (segments[i].number == segments[kept - 1].number) {
			close(segments[i].file);
			continue;
		}
		const uint32_t missing = segments[i].number - segments[kept - 1].number - 1;

		if (missing) {
			capture->segments_missing += missing;
			capture_note_damage(capture, 0, 0, "%" PRIu32 " segments of the run are gone before %s, of which what is there "
				"begins", missing, segments[i].path);
		}
		segments[kept++] = segments[i];
	}
	capture->segment_count = kept;
	*found = kept > before;
	return true;
}

/* Whether a run whose first file is called `first` calls a later one `later`: see preload/naming.c. */
static bool is_name_of(const char *first, const char *later)
{
	const size_t length = strlen(first);
	const size_t stem = length > 4 && strcmp(first + length - 4, ".bin") == 0 ? length - 4 : length;
	size_t digits = 0;

	if (strncmp(first, later, stem) != 0 || later[stem] != '.')
		return false;
	while (later[stem + 1 + digits] >= '0' && later[stem + 1 + digits] <= '9')
		digits++;
	return digits >= NUMBER_DIGITS && strcmp(later + stem + 1 + digits, first + stem) == 0;
}

struct newest {
	const char *first;            /* as the run's first file is called */
	char *path;
	uint64_t start_ns;
	uint32_t segment;
};

static bool choose(void *argument, const char *path)
{
	struct newest *newest = argument;
	struct capture_header header;

	/* Children's runs lie beside it, too. */
	if (!is_name_of(newest->first, path))
		return true;

	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool ok = file >= 0 && read_header(file, &header);

	if (file >= 0)
		close(file);
	if (!ok || (newest->path && (header.start_realtime_ns < newest->start_ns ||
		(header.start_realtime_ns == newest->start_ns && header.segment > newest->segment))))
		return true;
	free(newest->path);
	newest->path = strdup(path);
	newest->start_ns = header.start_realtime_ns;
	newest->segment = header.segment;
	return newest->path != NULL;
}

char *segments_first_left(const char *path)
{
	struct newest newest = { .first = path };

	look_beside(path, false, choose, &newest);
	return newest.path;
}

struct beside {
	uint64_t run_id;
	uint32_t segment;
	bool newest;
	char *path;
};

static bool look_further(void *argument, const char *path)
{
	struct beside *beside = argument;
	uint64_t run_id;
	uint32_t segment;

	if (!segments_peek(path, &run_id, &segment) || run_id != beside->run_id ||
		(beside->path && (beside->newest ? segment <= beside->segment : segment >= beside->segment)))
		return true;
	free(beside->path);
	beside->path = strdup(path);
	beside->segment = segment;
	return beside->path != NULL;
}

static char *find_beside(const char *path, bool newest)
{
	struct beside beside = { .newest = newest };

	if (!segments_peek(path, &beside.run_id, &beside.segment))
		return NULL;
	beside.path = strdup(path);
	look_beside(path, beside.segment > 1, look_further, &beside);
	return beside.path;
}

char *segments_first_beside(const char *path)
{
	return find_beside(path, false);
}

char *segments_newest_beside(const char *path)
{
	return find_beside(path, true);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool segments_would_mix(const char *path, const char *copy, char stem[SEGMENTS_STEM_SIZE])
{
	char folder[4096], copy_folder[4096], copy_stem[SEGMENTS_STEM_SIZE];
	struct stat here, there;
	uint64_t run_id;
	uint32_t segment = 1;

	(void)segments_peek(path, &run_id, &segment);
	split(path, segment > 1, folder, sizeof(folder), stem, SEGMENTS_STEM_SIZE);
	split(copy, false, copy_folder, sizeof(copy_folder), copy_stem, sizeof(copy_stem));
	return stat(folder, &here) == 0 && stat(copy_folder, &there) == 0 && here.st_dev == there.st_dev &&
		here.st_ino == there.st_ino && (strncmp(last_part(copy), stem, strlen(stem)) == 0 ||
		strncmp(last_part(path), copy_stem, strlen(copy_stem)) == 0);
}

void segments_close(struct capture *capture)
{
	for (size_t i = 0; i < capture->segment_count; i++)
		if (capture->segments[i].file >= 0)
			close(capture->segments[i].file);
	free(capture->segments);
}
