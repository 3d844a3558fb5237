/* SPDX-License-Identifier: MIT */
/*
 * Opening a capture: the file, its header, text fields and status; and reading one window of it.
 * The list of blocks is capture_index.c's, the tables of metadata are capture_metadata.c's.
 */
#include "capture.h"
#include "segments.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <lz4.h>
#include <xxhash.h>

/* LZ4 cannot expand more than this: a block that claims to is refused before memory is taken for it. */
enum { LZ4_RATIO_MAX = 255 };

void capture_note_damage(struct capture *capture, uint64_t offset, uint64_t bytes, const char *format, ...)
{
	va_list arguments;
	char what[200];

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&capture->lock);
	if (capture->damage.count++ == 0)
		snprintf(capture->damage.first, sizeof(capture->damage.first), "%s at offset %" PRIu64, what, offset);
	capture->damage.bytes += bytes;
	pthread_mutex_unlock(&capture->lock);
}

/* Reads exactly size bytes; false when the file has fewer or cannot be read. */
static bool read_at(int file, void *out, size_t size, uint64_t offset)
{
	char *at = out;

	while (size > 0) {
		ssize_t got = pread(file, at, size, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = EIO;
		if (got <= 0)
			return false;
		at += got;
		offset += (uint64_t)got;
		size -= (size_t)got;
	}
	return true;
}

static bool fail_mangled(const char *path, const char *start, struct error *error)
{
	if (memcmp(start, "SCTMEM\n", 7) == 0)
		return fail(error, STATUS_BAD_CAPTURE,
			"%s was changed by a text-mode transfer (offset 6): copy it again in binary mode", path);
	return fail(error, STATUS_BAD_CAPTURE,
		"%s is not a capture of sctmem (offset 0): name a file that sctmem run or the library wrote", path);
}

static bool check_header(struct capture *capture, struct error *error)
{
	const struct capture_header *header = &capture->header;

	if (header->header_size < CAPTURE_HEADER_SIZE_MIN || header->header_size > CAPTURE_HEADER_SIZE_MAX ||
	    header->header_size % 4096 != 0)
		return fail(error, STATUS_BAD_CAPTURE,
			"%s has a damaged header (offset 12: size %" PRIu32 "): copy it again from where it was recorded",
			capture->path, header->header_size);
	if (header->text_size > header->header_size - CAPTURE_TEXT_OFFSET)
		return fail(error, STATUS_BAD_CAPTURE,
			"%s has a damaged header (offset 80: text size %" PRIu32 "): copy it again from where it was recorded",
			capture->path, header->text_size);
	if (capture->file_size < header->header_size)
		return fail(error, STATUS_BAD_CAPTURE,
			"%s is cut within its header (offset %" PRIu64 " of %" PRIu32 "): copy it again from where it was recorded",
			capture->path, capture->file_size, header->header_size);
	return true;
}

/* The text fields: each pointer ends up at a copy with a NUL after it. */
static bool parse_text(struct capture *capture, const uint8_t *text, size_t size, struct error *error)
{
	const char **const fields[] = {
		[CAPTURE_TEXT_HOST] = &capture->host, [CAPTURE_TEXT_EXECUTABLE] = &capture->executable,
		[CAPTURE_TEXT_PARENT] = &capture->parent_path, [CAPTURE_TEXT_DIRECTORY] = &capture->directory,
		[CAPTURE_TEXT_LIBC] = &capture->libc, [CAPTURE_TEXT_KERNEL] = &capture->kernel,
		[CAPTURE_TEXT_WRITER] = &capture->writer,
	};
	size_t at = 0, count = 0, capacity = 0;
	const char **arguments = NULL;
	bool ok = true;

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		if (fields[i])
			*fields[i] = "";
	}
	while (ok && size - at >= 8) {
		uint16_t id;
		uint32_t length;

		memcpy(&id, text + at, sizeof(id));
		memcpy(&length, text + at + 4, sizeof(length));
		at += 8;
		if (length > size - at) {
			capture_note_damage(capture, CAPTURE_TEXT_OFFSET + at, 0, "a text field that leaves the header");
			break;
		}
		const char *copy = pool_copy(&capture->pool, text + at, length);
		if (!copy) {
			ok = fail_memory(error);
			break;
		}
		if (id < sizeof(fields) / sizeof(*fields) && fields[id])
			*fields[id] = copy;
		for (const char *word = copy; ok && id == CAPTURE_TEXT_COMMAND && word < copy + length; word += strlen(word) + 1) {
			ok = array_reserve(&arguments, &capacity, count + 2, sizeof(*arguments), error);
			if (ok)
				arguments[count++] = word;
		}
		at += length + (8 - length % 8) % 8;
		if (at > size)
			break;
	}
	static const char *const none[] = { NULL };
	const char *const *kept = none;
	if (ok && count > 0) {
		kept = pool_take(&capture->pool, (count + 1) * sizeof(*arguments));
		if (kept)
			memcpy((void *)kept, arguments, (count + 1) * sizeof(*arguments));
		else
			ok = fail_memory(error);
	}
	capture->arguments = kept;
	free(arguments);
	return ok;
}

bool capture_read_header(struct capture *capture, struct error *error)
{
	struct capture_header *header = &capture->header;
	uint8_t *text;
	uint64_t sum;
	bool ok = false;

	if (!read_at(capture->file, header->magic, sizeof(header->magic), 0) ||
	    memcmp(header->magic, CAPTURE_MAGIC, sizeof(header->magic)) != 0)
		return fail_mangled(capture->path, header->magic, error);
	if (!read_at(capture->file, header, sizeof(*header), 0))
		return fail(error, STATUS_BAD_CAPTURE,
			"%s is cut within its header (offset %" PRIu64 "): copy it again from where it was recorded",
			capture->path, capture->file_size);
	/* A plausible larger version is believed before its checksum: that may have moved too. */
	if (header->version > CAPTURE_VERSION && header->version < 1000)
		return fail(error, STATUS_NEWER_CAPTURE,
			"%s has format version %" PRIu32 " (offset 8) but this sctmem reads up to %u: update sctmem",
			capture->path, header->version, CAPTURE_VERSION);
	if (!check_header(capture, error))
		return false;
	text = malloc(header->text_size + 1);
	if (!text)
		return fail_memory(error);
	sum = XXH3_64bits(header, offsetof(struct capture_header, checksum));
	if (!read_at(capture->file, text, header->text_size, CAPTURE_TEXT_OFFSET) ||
	    !read_at(capture->file, &capture->status, sizeof(capture->status), CAPTURE_STATUS_OFFSET))
		fail(error, STATUS_NO_INPUT, "cannot read %s: %s", capture->path, strerror(errno));
	else if (XXH3_64bits_withSeed(text, header->text_size, sum) != header->checksum || header->version == 0 ||
	    header->version > CAPTURE_VERSION)
		fail(error, STATUS_BAD_CAPTURE,
			"%s has a damaged header (checksum at offset 504): copy it again from where it was recorded", capture->path);
	else
		ok = parse_text(capture, text, header->text_size, error);
	free(text);
	return ok;
}

/*
 * Whether the recorder is still at it: a running process of the capture's pid on this host that has this very
 * file mapped.  When its maps may not be read, a process of that pid is taken for it.
 */
static bool is_alive(const struct capture *capture)
{
	char name[256], wanted[64];
	FILE *maps;
	bool found = false;

	if (capture->status.state != CAPTURE_RUNNING || gethostname(name, sizeof(name) - 1) != 0)
		return false;
	name[sizeof(name) - 1] = '\0';
	if (capture->host[0] != '\0' && strcmp(name, capture->host) != 0)
		return false;
	snprintf(name, sizeof(name), "/proc/%" PRIu32 "/maps", capture->header.pid);
	maps = fopen(name, "re");
	if (!maps)
		return errno == EACCES || errno == EPERM;
	snprintf(wanted, sizeof(wanted), " %02x:%02x %" PRIu64 " ", major(capture->file_device),
		minor(capture->file_device), capture->file_inode);
	char *line = NULL;
	size_t size = 0;
	while (!found && getline(&line, &size, maps) > 0)
		found = strstr(line, wanted) != NULL;
	free(line);
	fclose(maps);
	return found;
}

static bool open_file(struct capture *capture, const char *path, struct error *error)
{
	struct stat status;

	/* O_NONBLOCK: opening a FIFO must not wait for a writer; it is refused below. */
	capture->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (capture->file < 0 && errno == EACCES)
		return fail(error, STATUS_NO_INPUT,
			"cannot open %s: permission denied: read it as the user who recorded it", capture->path);
	if (capture->file < 0)
		return fail(error, STATUS_NO_INPUT, "cannot open %s: %s: check the name and the folder", capture->path,
			strerror(errno));
	if (fstat(capture->file, &status) != 0)
		return fail(error, STATUS_NO_INPUT, "cannot examine %s: %s", capture->path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return fail(error, STATUS_NO_INPUT, "%s is %s, not a regular file: copy the capture into a file first",
			capture->path, S_ISDIR(status.st_mode) ? "a directory" : "a pipe or device");
	if (status.st_size == 0)
		return fail(error, STATUS_BAD_CAPTURE,
			"%s is empty (offset 0): nothing was recorded; record it again", capture->path);
	capture->file_size = (uint64_t)status.st_size;
	capture->file_device = status.st_dev;
	capture->file_inode = status.st_ino;
	return true;
}

/* WORDS blocks hold metadata only; windows may refer to it from anywhere, so it is taken now. */
static bool absorb_words_blocks(struct capture *capture, struct error *error)
{
	struct capture_buffer buffer = { 0 };
	bool ok = true;

	for (size_t i = 0; ok && i < capture->part_count; i++) {
		struct events_cursor cursor;
		struct capture_event event;

		if (capture->parts[i].kind != CAPTURE_BLOCK_WORDS)
			continue;
		enum capture_read_result result = capture_read(capture, NULL, &capture->parts[i], &buffer, &cursor);
		if (result == CAPTURE_READ_NO_MEMORY)
			ok = fail_memory(error);
		if (result != CAPTURE_READ)
			continue;
		while (ok && events_next(&cursor, &event)) {
			if (CAPTURE_IS_METADATA(event.kind) || event.kind == CAPTURE_NODE)
				ok = capture_absorb(capture, &event, error);
		}
		if (cursor.bad)
			capture_note_damage(capture, capture->parts[i].offset, 0, "records that contradict themselves in a block");
	}
	capture_buffer_finish(&buffer);
	return ok;
}

/*
 * Sizes as of after the status was read: a writer that had gone on, or away, by then has appended nothing since.  One
 * that was still there has, and is looked at once more.
 */
static void measure(struct capture *capture)
{
	struct stat status;

	if (fstat(capture->file, &status) == 0)
		capture->file_size = (uint64_t)status.st_size;
	for (size_t i = 0; i < capture->segment_count; i++)
		if (fstat(capture->segments[i].file, &status) == 0)
			capture->segments[i].size = (uint64_t)status.st_size;
}

/* Which files the run has; what the newest says of how it stands counts for all. */
static bool open_segments(struct capture *capture, const char *const *paths, size_t count, bool beside, uint32_t from,
	struct error *error)
{
	bool ok = true;

	if (beside)
		ok = segments_gather(capture, capture->path, capture->header.run_id, from, error);
	for (size_t i = 0; ok && !beside && i < count; i++)
		ok = segments_add(capture, paths[i], capture->header.run_id, error);
	ok = ok && segments_settle(capture, error);
	if (!ok || capture->segment_count == 0)
		return ok;
	const struct capture_segment *first = &capture->segments[0], *last = first + capture->segment_count - 1;

	capture->file_device = last->device;
	capture->file_inode = last->inode;
	if (!read_at(first->file, &capture->header, sizeof(capture->header), 0) ||
		!read_at(last->file, &capture->status, sizeof(capture->status), CAPTURE_STATUS_OFFSET))
		return fail(error, STATUS_NO_INPUT, "cannot read %s or %s: %s", first->path, last->path, strerror(errno));
	return true;
}

/* How much of a run in segments is meant. */
enum reach {
	REACH_NAMED,                  /* these files */
	REACH_RUN,                    /* all, where it is named by its first file; else this one */
	REACH_GROWING,                /* from this file on */
};

static bool open_capture(struct capture **out, const char *const *paths, size_t count, enum reach reach,
	struct error *error)
{
	const bool growing = reach == REACH_GROWING;
	struct capture *capture = calloc(1, sizeof(*capture));
	const char *path = paths[0];
	char *left = NULL;
	bool ok;

	*out = NULL;
	if (!capture)
		return fail_memory(error);
	capture->file = -1;
	pthread_mutex_init(&capture->lock, NULL);
	/* The first file of a run may be gone, and is its name all the same. */
	if (reach != REACH_NAMED && access(path, F_OK) != 0 && errno == ENOENT)
		left = segments_first_left(path);
	capture->path = pool_copy(&capture->pool, path, strlen(path));
	ok = capture->path ? true : fail_memory(error);
	ok = ok && open_file(capture, left ? left : path, error) && capture_read_header(capture, error);
	if (ok && capture->header.segment)
		ok = open_segments(capture, paths, count, growing || (reach == REACH_RUN && (left || capture->header.segment == 1)),
			growing ? capture->header.segment : 0, error);
	free(left);
	capture->alive = ok && is_alive(capture);
	if (ok)
		measure(capture);
	if (ok && growing)
		capture->used_size = capture->header.header_size;
	else
		ok = ok && capture_index_blocks(capture, error) && absorb_words_blocks(capture, error);
	if (!ok) {
		capture_close(capture);
		return false;
	}
	*out = capture;
	return true;
}

bool capture_open(struct capture **out, const char *path, struct error *error)
{
	return open_capture(out, &path, 1, REACH_RUN, error);
}

bool capture_open_segments(struct capture **out, const char *const *paths, size_t count, struct error *error)
{
	return open_capture(out, paths, count, REACH_NAMED, error);
}

bool capture_open_growing(struct capture **out, const char *path, struct error *error)
{
	return open_capture(out, &path, 1, REACH_GROWING, error);
}

bool capture_refresh_status(struct capture *capture, bool *more, struct error *error)
{
	const struct capture_segment *last;
	struct capture_status status;
	bool found;

	*more = false;
	do {
		last = capture->segment_count ? &capture->segments[capture->segment_count - 1] : NULL;
		if (read_at(last ? last->file : capture->file, &status, sizeof(status), CAPTURE_STATUS_OFFSET))
			capture->status = status;
		found = false;
		if (last && capture->status.state == CAPTURE_CONTINUED && !segments_find_later(capture, &found, error))
			return false;
		if (found) {
			last = &capture->segments[capture->segment_count - 1];
			capture->file_device = last->device;
			capture->file_inode = last->inode;
		}
		*more = *more || found;
	} while (found);
	capture->alive = is_alive(capture);
	return true;
}

void capture_close(struct capture *capture)
{
	if (!capture)
		return;
	if (capture->file >= 0)
		close(capture->file);
	for (size_t i = 0; i < capture->stream_count; i++)
		free(capture->streams[i].words);
	free(capture->streams);
	free(capture->parts);
	free(capture->sorted);
	segments_close(capture);
	capture_metadata_finish(capture);
	pool_finish(&capture->pool);
	pthread_mutex_destroy(&capture->lock);
	free(capture);
}

bool capture_has_magic(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char magic[8];
	bool found;

	if (file < 0)
		return false;
	found = read_at(file, magic, sizeof(magic), 0) && memcmp(magic, CAPTURE_MAGIC, sizeof(magic)) == 0;
	close(file);
	return found;
}

static bool reserve_bytes(uint8_t **bytes, size_t *capacity, size_t size)
{
	if (size <= *capacity)
		return true;
	free(*bytes);
	*capacity = size + size / 4;
	*bytes = malloc(*capacity);
	if (!*bytes)
		*capacity = 0;
	return *bytes != NULL;
}

void capture_buffer_finish(struct capture_buffer *buffer)
{
	free(buffer->stored);
	free(buffer->raw);
	*buffer = (struct capture_buffer){ 0 };
}

static enum capture_read_result damaged(struct capture *capture, const struct capture_part *part, const char *what)
{
	capture_note_damage(capture, part->offset, sizeof(struct capture_block) + part->stored_size, "%s", what);
	pthread_mutex_lock(&capture->lock);
	capture->damage.windows++;
	pthread_mutex_unlock(&capture->lock);
	return CAPTURE_READ_DAMAGED;
}

enum capture_read_result capture_read(struct capture *capture, const struct capture_stream_parts *stream,
	const struct capture_part *part, struct capture_buffer *buffer, struct events_cursor *cursor)
{
	const uint8_t *payload;

	if (part->kind == CAPTURE_BLOCK_STREAM) {
		events_open_words(cursor, part->stream, &stream->carry, stream->words, (size_t)stream->carry.used);
		return CAPTURE_READ;
	}
	if (part->raw_size > CAPTURE_RAW_SIZE_MAX)
		return damaged(capture, part, "a block larger than the format allows");
	if (!reserve_bytes(&buffer->stored, &buffer->stored_capacity, part->stored_size + (size_t)8))
		return CAPTURE_READ_NO_MEMORY;
	if (!read_at(capture->segments ? capture->segments[part->segment].file : capture->file, buffer->stored,
		part->stored_size, part->offset + sizeof(struct capture_block)))
		return damaged(capture, part, "a block that cannot be read");
	if (XXH3_64bits(buffer->stored, part->stored_size) != part->payload_checksum)
		return damaged(capture, part, "a block whose checksum does not match");
	payload = buffer->stored;
	if (part->flags & CAPTURE_BLOCK_LZ4) {
		if (part->raw_size / LZ4_RATIO_MAX > part->stored_size)
			return damaged(capture, part, "a block that cannot have its size");
		if (!reserve_bytes(&buffer->raw, &buffer->raw_capacity, part->raw_size + (size_t)8))
			return CAPTURE_READ_NO_MEMORY;
		if (LZ4_decompress_safe((const char *)buffer->stored, (char *)buffer->raw, (int)part->stored_size,
			(int)part->raw_size) != (int)part->raw_size)
			return damaged(capture, part, "a block that does not decompress");
		payload = buffer->raw;
	} else if (part->raw_size != part->stored_size) {
		return damaged(capture, part, "a block whose sizes differ");
	}
	if (part->kind == CAPTURE_BLOCK_WORDS)
		events_open_words(cursor, part->stream, NULL, (const uint64_t *)(const void *)payload, part->raw_size / 8);
	else if (!events_open_columns(cursor, part->stream, part->flags, payload, part->raw_size, &buffer->addresses))
		return damaged(capture, part, "a block whose columns do not fit it");
	return CAPTURE_READ;
}
