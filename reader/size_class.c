/* SPDX-License-Identifier: MIT */
/*
 * The rules of size classes; see size_class.h.
 */
#include "size_class.h"

#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "formats/events.h"
#include "table.h"

enum {
	GLIBC_HEADER = 8,             /* the size of the chunk; the rest of its header lies in the chunk before */
	GLIBC_ALIGNMENT = 16,
	GLIBC_CHUNK_MIN = 32,
	GLIBC_MAPPED_MIN = 128 * 1024,    /* the threshold grows with what is freed, and never falls */
	PYTHON_3_10 = 0x030a0000,
	PYTHON_DEBUG_EXTRA = 3 * 8,
	QUARTERS_FROM = 128,          /* below, classes are 16 bytes apart */
};

static uint64_t round_up(uint64_t size, uint64_t unit)
{
	return (size + unit - 1) / unit * unit;
}

/* A block of its own mapping begins 16 bytes behind a page's start; its length is of whole pages. */
static uint64_t glibc_given(uint64_t size, uint64_t address, uint64_t page_size)
{
	const uint64_t chunk = round_up(size + GLIBC_HEADER, GLIBC_ALIGNMENT);

	if (size >= GLIBC_MAPPED_MIN && address % page_size == GLIBC_ALIGNMENT)
		return round_up(chunk + GLIBC_HEADER, page_size);
	return chunk < GLIBC_CHUNK_MIN ? GLIBC_CHUNK_MIN : chunk;
}

static uint64_t quarters_given(uint64_t size)
{
	unsigned width;

	if (size <= 8)
		return 8;
	if (size <= QUARTERS_FROM)
		return round_up(size, 16);
	width = 64 - (unsigned)__builtin_clzll(size - 1);   /* size is at most 1 << width */
	return round_up(size, (uint64_t)1 << (width - 3));
}

static uint64_t given(const struct size_classes *classes, enum size_rule rule, uint64_t size, uint64_t address)
{
	switch (rule) {
	case SIZE_RULE_GLIBC:
		return glibc_given(size, address, classes->page_size);
	case SIZE_RULE_PYMALLOC:
		if (size <= SIZE_PYMALLOC_MAX)
			return size ? round_up(size, 16) : 16;
		return given(classes, classes->heap, size, address);
	case SIZE_RULE_QUARTERS:
		return quarters_given(size);
	case SIZE_RULE_UNKNOWN:
		break;
	}
	return 0;
}

uint64_t size_class_given(const struct size_classes *classes, bool python, uint64_t size, uint64_t address)
{
	if (size >> 56)
		return 0;
	if (!python)
		return given(classes, classes->heap, size, address);
	return given(classes, classes->python, size + classes->python_extra, address);
}

uint64_t size_class_head(const struct size_classes *classes, bool python, uint64_t size, uint64_t address)
{
	const enum size_rule rule = !python || (classes->python == SIZE_RULE_PYMALLOC &&
		!size_class_in_pool(classes, python, size)) ? classes->heap : classes->python;

	if (rule != SIZE_RULE_GLIBC || size >> 56)
		return 0;
	return size >= GLIBC_MAPPED_MIN && address % classes->page_size == GLIBC_ALIGNMENT ? 2 * GLIBC_HEADER : GLIBC_HEADER;
}

bool size_class_in_pool(const struct size_classes *classes, bool python, uint64_t size)
{
	return python && classes->python == SIZE_RULE_PYMALLOC && size + classes->python_extra <= SIZE_PYMALLOC_MAX;
}

static bool has_module(const struct capture *capture, const char *name)
{
	for (size_t i = 0; i < capture->module_count; i++) {
		const char *slash = strrchr(capture->modules[i].path, '/');

		if (strncmp(slash ? slash + 1 : capture->modules[i].path, name, strlen(name)) == 0)
			return true;
	}
	return false;
}

struct size_classes size_classes_of(const struct capture *capture)
{
	const struct capture_runtime *runtime =
		capture->runtime_count ? &capture->runtimes[capture->runtime_count - 1] : NULL;
	const uint32_t page_size = capture->header.page_size;
	struct size_classes classes = { .heap = SIZE_RULE_UNKNOWN,
		.page_size = page_size >= 512 && page_size <= 1 << 24 ? page_size : 4096 };

	if (has_module(capture, "libjemalloc") || has_module(capture, "libmimalloc"))
		classes.heap = SIZE_RULE_QUARTERS;
	else if (!has_module(capture, "libtcmalloc") && strncmp(capture->libc, "glibc", 5) == 0)
		classes.heap = SIZE_RULE_GLIBC;
	classes.python = classes.heap;
	if (!runtime || !runtime->allocator)
		return classes;
	if (strncmp(runtime->allocator, "pymalloc", 8) == 0) {
		classes.python = SIZE_RULE_PYMALLOC;
		classes.arena_bytes = runtime->info.version >= PYTHON_3_10 ? 1 << 20 : 1 << 18;
		classes.pool_bytes = runtime->info.version >= PYTHON_3_10 ? 1 << 14 : 1 << 12;
	} else if (strncmp(runtime->allocator, "mimalloc", 8) == 0) {
		classes.python = SIZE_RULE_QUARTERS;
	}
	if (strstr(runtime->allocator, "_debug"))
		classes.python_extra = PYTHON_DEBUG_EXTRA;
	return classes;
}

/* What is looked for beside allocators. */
struct foresight {
	struct capture *capture;
	const char *mark;             /* NULL: no mark is */
	uint64_t at_ns;
};

/* Whether a window has a record that says something of it.  The words of a stream's last one may have. */
static bool tells(const struct foresight *sight, const struct events_cursor *cursor)
{
	const uint8_t *kinds = cursor->at[EVENTS_KINDS];
	const size_t size = cursor->columns ? (size_t)(cursor->end[EVENTS_KINDS] - kinds) : 0;

	return !cursor->columns || (size && (memchr(kinds, CAPTURE_MODULE, size) || memchr(kinds, CAPTURE_PYTHON, size) ||
		memchr(kinds, CAPTURE_PAGES, size) || (sight->mark && memchr(kinds, CAPTURE_MARK, size))));
}

static bool absorb_window(struct foresight *sight, struct events_cursor *cursor, struct error *error)
{
	struct capture *capture = sight->capture;
	struct capture_event event;
	bool ok = true;

	if (!tells(sight, cursor))
		return true;
	while (ok && events_next(cursor, &event)) {
		if (event.kind == CAPTURE_MODULE || event.kind == CAPTURE_PYTHON || event.kind == CAPTURE_PAGES ||
		    (event.kind == CAPTURE_MARK && sight->mark))
			ok = capture_absorb(capture, &event, error);
		/* When it was taken is enough. */
		if (event.kind == CAPTURE_PAGES && capture->page_part_count)
			free(capture_take_pages(capture, capture->page_part_count - 1).payload);
	}
	return ok;
}

/* When the newest sample of pages before the moment was taken; 0: there is none, or the moment is not known. */
static uint64_t newest_pages_ns(const struct foresight *sight)
{
	const struct capture *capture = sight->capture;
	uint64_t at_ns = sight->at_ns, newest_ns = 0;
	bool known = !sight->mark;

	for (size_t i = 0; i < capture->note_count; i++) {
		const struct capture_note *note = &capture->notes[i];

		if (!sight->mark || !note->is_mark || strcmp(note->text, sight->mark) != 0)
			continue;
		at_ns = note->time_ns < at_ns ? note->time_ns : at_ns;
		known = true;
	}
	/* Within a tick of the clock it is not known here which comes first. */
	for (size_t i = 0; known && i < capture->page_part_count; i++)
		if (capture->page_parts[i].time_ns < at_ns && capture->page_parts[i].time_ns > newest_ns)
			newest_ns = capture->page_parts[i].time_ns;
	return newest_ns;
}

bool size_classes_read(const char *path, uint64_t at_ns, const char *mark, struct size_classes *classes,
	struct error *error)
{
	struct capture_buffer buffer = { 0 };
	struct events_cursor cursor;
	struct foresight sight = { .mark = mark, .at_ns = at_ns };
	bool ok = true;

	if (!capture_open(&sight.capture, path, error))
		return false;
	for (size_t i = 0; ok && i < sight.capture->stream_count; i++) {
		const struct capture_stream_parts *stream = &sight.capture->streams[i];

		for (size_t part = 0; ok && part < stream->count; part++) {
			switch (capture_read(sight.capture, stream, &stream->parts[part], &buffer, &cursor)) {
			case CAPTURE_READ:
				ok = absorb_window(&sight, &cursor, error);
				break;
			case CAPTURE_READ_NO_MEMORY:
				ok = fail_memory(error);
				break;
			case CAPTURE_READ_DAMAGED:
				break;
			}
		}
	}
	*classes = size_classes_of(sight.capture);
	classes->pages_from_ns = newest_pages_ns(&sight);
	capture_buffer_finish(&buffer);
	capture_close(sight.capture);
	return ok;
}
