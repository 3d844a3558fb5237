/* SPDX-License-Identifier: MIT */
/*
 * See symbolize.h.
 *
 *     read all nodes and modules -> list native frames -> look up, as a view would -> what the capture lacks or has
 *     with fewer lines -> SYMBOLS records in WORDS blocks behind everything else
 *
 * Nothing that is in the file is touched, and a block's header is written after its payload has reached the disk: at
 * every instant the capture is what it was, or that and more.  Frames without a name are not written: whoever has their
 * module may still name them.
 */
#include "symbolize.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lz4.h>
#include <xxhash.h>

#include "capture.h"
#include "symbol_jobs.h"

enum { COPY_BYTES = 1 << 20, MODULE_RECORDER = 2, MODULE_VDSO = 4, HELPERS = 3 };

/* One native frame of the capture. */
struct wanted {
	uint64_t frame;
	uint64_t address;             /* in the ELF file */
	uint32_t module;              /* of symbols */
};

struct symbolize {
	const struct symbolize_options *options;
	struct capture *capture;
	struct wanted *wanted; size_t wanted_count, wanted_capacity;
	struct names_writer names;
	uint32_t generation;
	int file;                     /* what is appended to */
	uint64_t end;                 /* where the next block goes */
	bool in_place;
	struct symbolize_result *result;
	struct error *error;
};

static void say(const struct symbolize *work, const char *what, uint64_t done, uint64_t all)
{
	if (work->options->progress)
		work->options->progress(work->options->progress_context, what, done, all);
}

/* Takes nodes and modules out of all windows.  What is damaged is passed over, as in every view. */
static bool read_tables(struct symbolize *work)
{
	struct capture *capture = work->capture;
	struct capture_buffer buffer = { 0 };
	uint64_t done = 0;
	bool ok = true;

	for (size_t i = 0; ok && i < capture->stream_count; i++) {
		const struct capture_stream_parts *stream = &capture->streams[i];

		for (size_t n = 0; ok && n < stream->count; n++) {
			struct events_cursor cursor;
			struct capture_event event;
			const enum capture_read_result result = capture_read(capture, stream, &stream->parts[n], &buffer, &cursor);

			if (result == CAPTURE_READ_NO_MEMORY)
				ok = fail_memory(work->error);
			while (ok && result == CAPTURE_READ && events_next(&cursor, &event)) {
				if (event.kind == CAPTURE_NODE || event.kind == CAPTURE_MODULE || event.kind == CAPTURE_SYMBOLS)
					ok = capture_absorb(capture, &event, work->error);
			}
			say(work, "reading", ++done, capture->part_count);
		}
	}
	capture_buffer_finish(&buffer);
	for (size_t i = 0; i < capture->named_count; i++)
		if (capture->named[i].generation >= work->generation)
			work->generation = capture->named[i].generation + 1;
	return ok;
}

/* The frames that a view looks names up for: those in modules, but for the recorder's own and the vdso's. */
static bool list_wanted(struct symbolize *work)
{
	struct capture *capture = work->capture;
	struct map64 seen = { 0 };
	bool ok = true;

	capture_sort_modules(capture);
	for (uint32_t id = 1; ok && (id = capture_skip_nodes(capture, id)) < capture->node_end; id++) {
		const uint64_t frame = capture->nodes[id].frame;
		long found;

		if (!capture->nodes[id].present || CAPTURE_FRAME_KIND(frame) != CAPTURE_FRAME_NATIVE ||
		    map64_get(&seen, frame) != MAP64_NONE)
			continue;
		ok = map64_put(&seen, frame, 0, work->error);
		if (!ok || (found = capture_find_module(capture, frame)) < 0)
			continue;
		const struct capture_loaded_module *module = &capture->modules[found];
		if (module->info.flags & (MODULE_RECORDER | MODULE_VDSO))
			continue;
		ok = array_reserve(&work->wanted, &work->wanted_capacity, work->wanted_count + 1, sizeof(*work->wanted),
			work->error);
		if (ok)
			work->wanted[work->wanted_count++] = (struct wanted){ .frame = frame,
				.address = CAPTURE_FRAME_ADDRESS(frame) - module->info.bias,
				.module = symbols_add_module(work->options->symbols, module->path, module->build_id, module->info.build_id_size) };
	}
	map64_finish(&seen);
	work->result->frames = work->wanted_count;
	return ok;
}

static int compare_wanted(const void *a, const void *b)
{
	const struct wanted *left = a, *right = b;

	if (left->module != right->module)
		return left->module < right->module ? -1 : 1;
	if (left->address != right->address)
		return left->address < right->address ? -1 : 1;
	return left->frame < right->frame ? -1 : left->frame > right->frame;
}

/* Writes all of it, or says why not. */
static bool write_at(struct symbolize *work, const void *bytes, size_t size, uint64_t offset)
{
	const char *at = bytes;

	while (size > 0) {
		const ssize_t put = pwrite(work->file, at, size, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return fail(work->error, STATUS_OUTPUT, "cannot write the names of %s: %s%s", work->capture->path,
				strerror(put == 0 ? EIO : errno), errno == ENOSPC ? "; is there room on the disk?" : "");
		at += put;
		offset += (uint64_t)put;
		size -= (size_t)put;
	}
	return true;
}

/* Of a capture in place: what was written is on the disk.  A file system that has no such thing is believed. */
static bool on_disk(struct symbolize *work)
{
	if (!work->in_place || fdatasync(work->file) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS)
		return true;
	return fail(work->error, STATUS_OUTPUT, "cannot write the names of %s: %s", work->capture->path, strerror(errno));
}

/* The payload first and the header last, each on the disk before what follows. */
static bool append_block(struct symbolize *work, const void *words, size_t size)
{
	const int room = LZ4_compressBound((int)size);
	char *packed = malloc((size_t)room);

	if (!packed)
		return fail_memory(work->error);
	const int packed_size = LZ4_compress_default(words, packed, (int)size, room);
	const bool smaller = packed_size > 0 && (size_t)packed_size < size;
	const void *payload = smaller ? packed : words;
	struct capture_block block = { .magic = CAPTURE_BLOCK_MAGIC, .kind = CAPTURE_BLOCK_WORDS,
		.flags = smaller ? CAPTURE_BLOCK_LZ4 : 0, .stored_size = smaller ? (uint32_t)packed_size : (uint32_t)size,
		.raw_size = (uint32_t)size };
	const uint64_t whole = (sizeof(block) + block.stored_size + 7) & ~(uint64_t)7;

	block.payload_checksum = XXH3_64bits(payload, block.stored_size);
	block.header_checksum = XXH3_64bits(&block, offsetof(struct capture_block, header_checksum));
	bool ok = write_at(work, payload, block.stored_size, work->end + sizeof(block));
	ok = ok && on_disk(work);
	ok = ok && write_at(work, &block, sizeof(block), work->end);
	if (ok && ftruncate(work->file, (off_t)(work->end + whole)) != 0)
		ok = fail(work->error, STATUS_OUTPUT, "cannot write the names of %s: %s", work->capture->path, strerror(errno));
	ok = ok && on_disk(work);
	if (!ok && work->in_place && ftruncate(work->file, (off_t)work->end) != 0)
		errno = 0;                /* then the remains of an append stay, which readers pass over */
	if (ok) {
		work->end += whole;
		work->result->bytes_added += whole;
	}
	free(packed);
	return ok;
}

static bool append_names(struct symbolize *work)
{
	void *payload = NULL;
	size_t size;

	if (work->names.frame_count == 0)
		return true;
	if (!names_take(&work->names, work->generation, &payload, &size, work->error))
		return false;
	const size_t words = 1 + (size + 7) / 8;
	uint64_t *record = calloc(words, sizeof(*record));
	bool ok = record ? true : fail_memory(work->error);
	if (ok) {
		record[0] = CAPTURE_SYMBOLS | (uint64_t)size << 8;
		memcpy(record + 1, payload, size);
		ok = append_block(work, record, words * 8);
	}
	free(record);
	free(payload);
	return ok;
}

static size_t count_lines(const struct symbol_frame *found, size_t count)
{
	size_t lines = 0;

	for (size_t i = 0; i < count; i++)
		lines += found[i].line != 0;
	return lines;
}

/* Whether the capture has names for this frame, and so many lines as was found now. */
static bool is_known(const struct symbolize *work, uint64_t frame, size_t lines, bool *had)
{
	const struct capture_named *named = capture_find_named(work->capture, frame);
	size_t known = 0;

	*had = named != NULL;
	for (uint32_t i = 0; named && i < named->count; i++)
		known += named->places[i].line != 0;
	return named && known >= lines;
}

static bool take_found(struct symbolize *work, uint64_t frame, const struct symbol_frame *found, size_t count)
{
	bool had;

	if (count == 0 || !found[0].function) {
		work->result->named += capture_find_named(work->capture, frame) != NULL;
		return true;
	}
	work->result->named++;
	if (is_known(work, frame, count_lines(found, count), &had))
		return true;
	work->result->added += !had;
	work->result->renewed += had;
	return names_add(&work->names, frame, found, count, work->error) &&
		(!names_is_full(&work->names) || append_names(work));
}

static void show_resolved(void *context, size_t addresses)
{
	const struct symbolize *work = context;

	say(work, "resolving symbols", addresses, work->wanted_count);
}

static bool resolve(struct symbolize *work)
{
	uint64_t *addresses = calloc(work->wanted_count + 1, sizeof(*addresses));
	uint32_t *modules = calloc(work->wanted_count + 1, sizeof(*modules));
	size_t job_count, at = 0;
	bool ok = true;

	if (!addresses || !modules) {
		free(addresses);
		free(modules);
		return fail_memory(work->error);
	}
	if (work->wanted_count)
		qsort(work->wanted, work->wanted_count, sizeof(*work->wanted), compare_wanted);
	for (size_t i = 0; i < work->wanted_count; i++) {
		addresses[i] = work->wanted[i].address;
		modules[i] = work->wanted[i].module;
	}
	struct symbol_job *jobs = symbol_jobs_list(modules, addresses, work->wanted_count, &job_count);
	symbol_jobs_run(work->options->symbols, jobs, job_count, HELPERS, show_resolved, work);
	for (size_t i = 0; i < job_count; i++) {
		for (size_t n = 0; ok && n < jobs[i].count; n++)
			ok = take_found(work, work->wanted[at++].frame, jobs[i].frames + jobs[i].results[n].first,
				jobs[i].results[n].count);
		symbol_job_finish(&jobs[i]);
	}
	free(jobs);
	free(addresses);
	free(modules);
	return ok && append_names(work);
}

/* Copies a stretch of the capture to the same place; runs of zeros stay holes. */
static bool copy_bytes(struct symbolize *work, uint64_t from, uint64_t to)
{
	char *buffer = malloc(COPY_BYTES);
	bool ok = buffer ? true : fail_memory(work->error);

	while (ok && from < to) {
		const size_t wanted = to - from < COPY_BYTES ? (size_t)(to - from) : COPY_BYTES;
		const ssize_t got = pread(work->capture->file, buffer, wanted, (off_t)from);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ok = fail(work->error, STATUS_NO_INPUT, "cannot read %s: %s", work->capture->path, strerror(errno));
		if (got <= 0)
			break;
		const bool zeros = buffer[0] == 0 && memcmp(buffer, buffer + 1, (size_t)got - 1) == 0;
		ok = zeros || write_at(work, buffer, (size_t)got, from);
		from += (uint64_t)got;
		say(work, "copying", from, to);
	}
	free(buffer);
	return ok;
}

/* A STREAM block as it was when the capture was opened: its writer has gone on since. */
static bool copy_window(struct symbolize *work, const struct capture_part *part)
{
	for (size_t i = 0; i < work->capture->stream_count; i++) {
		const struct capture_stream_parts *stream = &work->capture->streams[i];
		struct capture_stream carry = stream->carry;
		struct capture_block block;

		if (stream->stream != part->stream)
			continue;
		if (!stream->words)
			carry.used = 0;
		return capture_block_at(work->capture->file, part->offset, &block) &&
			write_at(work, &block, sizeof(block), part->offset) &&
			write_at(work, &carry, sizeof(carry), part->offset + sizeof(block)) &&
			(carry.used == 0 || write_at(work, stream->words, carry.used * 8, part->offset + sizeof(block) + sizeof(carry)));
	}
	return true;
}

/*
 * A capture that is still written: of the file as it was when it was opened, what the reader found then.  Windows that
 * came later than their streams were looked at are left out, as the reader leaves them out.
 */
static bool copy_moment(struct symbolize *work)
{
	const struct capture *capture = work->capture;
	bool ok = true;

	for (size_t i = 0; ok && i < capture->part_count; i++) {
		const struct capture_part *part = &capture->parts[i];
		const uint64_t end = part->offset + sizeof(struct capture_block) + part->stored_size;

		if (part->kind == CAPTURE_BLOCK_STREAM)
			ok = copy_window(work, part);
		else if (part->kind == CAPTURE_BLOCK_WORDS)
			ok = copy_bytes(work, part->offset, end);
	}
	for (size_t i = 0; ok && i < capture->stream_count; i++)
		for (size_t n = 0; ok && n < capture->streams[i].count; n++) {
			const struct capture_part *part = &capture->streams[i].parts[n];

			if (part->kind == CAPTURE_BLOCK_EVENTS)
				ok = copy_bytes(work, part->offset, part->offset + sizeof(struct capture_block) + part->stored_size);
		}
	return ok;
}

/* Of all that was found in it; what has come since it was opened may lie behind the size that the file had then. */
static uint64_t end_of(const struct capture *capture)
{
	return capture->file_size > capture->used_size ? capture->file_size : capture->used_size;
}

static bool copy_capture(struct symbolize *work, FILE *out)
{
	struct stat status;

	work->file = fileno(out);
	if (fstat(work->file, &status) != 0 || !S_ISREG(status.st_mode))
		return fail(work->error, STATUS_OUTPUT, "a capture is written into a regular file: name another with -o");
	if (work->capture->alive ? !copy_moment(work) :
		!copy_bytes(work, work->capture->header.header_size, work->capture->file_size))
		return false;
	if (ftruncate(work->file, (off_t)end_of(work->capture)) != 0)
		return fail(work->error, STATUS_OUTPUT, "cannot write the capture: %s", strerror(errno));
	return true;
}

/* Last: what is left of a copy that came to nothing is no capture, and no segment of the run that it is of. */
static bool copy_header(struct symbolize *work)
{
	const struct capture *capture = work->capture;

	return copy_bytes(work, 0, capture->header.header_size) && (!capture->alive ||
		write_at(work, &capture->status, sizeof(capture->status), CAPTURE_STATUS_OFFSET));
}

/* Opens the capture for appending; nobody else appends meanwhile. */
static bool open_in_place(struct symbolize *work)
{
	const char *path = work->capture->path;
	struct stat status;

	if (work->capture->alive)
		return fail(work->error, STATUS_USAGE, "%s is still being recorded: wait for the end, or write a copy with -o FILE",
			path);
	work->file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (work->file < 0)
		return fail(work->error, STATUS_OUTPUT, "cannot write into %s: %s; write a copy with -o FILE", path,
			errno == ELOOP ? "it is a symbolic link" : strerror(errno));
	work->in_place = true;
	if (flock(work->file, LOCK_EX | LOCK_NB) != 0)
		return fail(work->error, STATUS_OUTPUT, "cannot write into %s: another command is at it; try again", path);
	if (fstat(work->file, &status) != 0 || status.st_dev != work->capture->file_device ||
	    status.st_ino != work->capture->file_inode || (uint64_t)status.st_size != work->capture->file_size)
		return fail(work->error, STATUS_OUTPUT, "%s has changed meanwhile; try again", path);
	return true;
}

bool symbolize_capture(const char *path, const struct symbolize_options *options, FILE *out,
	struct symbolize_result *result, struct error *error)
{
	struct symbolize work = { .options = options, .generation = 1, .file = -1, .result = result, .error = error };
	bool ok;

	*result = (struct symbolize_result){ 0 };
	ok = capture_open_segments(&work.capture, &path, 1, error);
	if (ok && work.capture->cut)
		ok = fail(error, STATUS_BAD_CAPTURE, "%s is cut within a block (%s): names behind it would not be found; copy it "
			"again from where it was recorded, or symbolize it there", path, work.capture->damage.first);
	ok = ok && (out ? copy_capture(&work, out) : open_in_place(&work));
	if (ok) {
		work.end = (end_of(work.capture) + 7) & ~(uint64_t)7;
		ok = read_tables(&work) && list_wanted(&work) && resolve(&work) && (!out || copy_header(&work));
	}
	names_finish(&work.names);
	free(work.wanted);
	if (work.in_place)
		close(work.file);
	capture_close(work.capture);
	return ok;
}
