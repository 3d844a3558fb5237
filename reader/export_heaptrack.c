/* SPDX-License-Identifier: MIT */
/*
 * heaptrack's data file, gzipped, for heaptrack_gui and heaptrack_print: each allocation and each free in its order,
 * with stacks.  All numbers are hexadecimal.
 *
 *     v 10400 3                  heaptrack's version, the format's
 *     X command    I 1000 pages  page size and pages of memory: 0, we do not know
 *     s bytes text               a text and its size; they are numbered from 1
 *     i address module [function [file line]]        a place, numbered from 1; 0: nothing
 *     t place parent             a stack, numbered from 1: its innermost place, the stack of its caller
 *     a size stack               an allocation of this size there, numbered from 0
 *     + allocation    - allocation
 *     c milliseconds    R pages
 *
 * heaptrack knows no resizing: what realloc resizes in place, and a mapping of which a part goes, is a free and an
 * allocation there, as it is in heaptrack's own recordings.  So its count of allocations may be larger than ours.
 */
#include <inttypes.h>
#include <string.h>

#include "export.h"
#include "export_events.h"
#include "gzip.h"
#include "memory.h"
#include "table.h"

enum { PAGE_SIZE = 4096, NANOSECONDS_PER_MS = 1000000 };

struct heaptrack {
	const struct export *export;
	FILE *file;                   /* compresses */
	struct strings strings;
	uint32_t written;             /* of strings, beside "" */
	struct map64 sizes;           /* size -> number */
	struct map64 allocations;     /* number of the size, node -> number */
	uint64_t shown_ms;
	uint32_t point;               /* of the time line: the next */
	struct error *error;
	bool failed;
};

/* The text's number, written when it is new; 0 for none. */
static uint32_t text_number(struct heaptrack *heaptrack, const char *text)
{
	uint32_t id = 0;

	if (heaptrack->failed || !strings_add(&heaptrack->strings, text, &id, heaptrack->error)) {
		heaptrack->failed = true;
		return 0;
	}
	if (id > heaptrack->written) {
		fprintf(heaptrack->file, "s %zx %s\n", strlen(text), text);
		heaptrack->written = id;
	}
	return id;
}

/* Place n + 1 is frame n; an address of its own for each, since heaptrack merges places by it. */
static void write_places(struct heaptrack *heaptrack)
{
	const struct export *export = heaptrack->export;

	for (uint32_t i = 0; i < export->profile->frame_count; i++) {
		const struct export_frame *frame = &export->frames[i];
		const uint32_t module = text_number(heaptrack, *frame->module ? frame->module : export->program);
		const uint32_t function = text_number(heaptrack, frame->function);
		const uint32_t file = text_number(heaptrack, frame->file);

		fprintf(heaptrack->file, "i %x %x %x", i + 1, module, function);
		if (file)
			fprintf(heaptrack->file, " %x %x", file, export->profile->frames[i].line);
		putc('\n', heaptrack->file);
	}
}

/* Stack n + 1 is node n; the outermost frames have no caller, and not the root. */
static void write_stacks(struct heaptrack *heaptrack)
{
	const struct calltree *tree = heaptrack->export->tree;

	for (uint32_t i = 0; i < tree->count; i++) {
		const uint32_t parent = tree->nodes[i].parent;

		fprintf(heaptrack->file, "t %x %x\n", tree->nodes[i].frame + 1, parent ? parent + 1 : 0);
	}
}

/* A number for each key, from 0; *is_new says that it was given out now. */
static uint32_t number_of(struct heaptrack *heaptrack, struct map64 *map, uint64_t key, bool *is_new)
{
	uint32_t number = map64_get(map, key);

	*is_new = number == MAP64_NONE;
	if (*is_new) {
		number = (uint32_t)map->count;
		if (!map64_put(map, key, number, heaptrack->error))
			heaptrack->failed = true;
	}
	return number;
}

static uint32_t allocation_number(struct heaptrack *heaptrack, uint64_t size, uint32_t node)
{
	bool is_new;
	const uint64_t size_number = number_of(heaptrack, &heaptrack->sizes, size, &is_new);
	const uint32_t number = number_of(heaptrack, &heaptrack->allocations, size_number << 32 | node, &is_new);

	if (is_new)
		fprintf(heaptrack->file, "a %" PRIx64 " %x\n", size, node + 1);
	return number;
}

/* The time, when its millisecond is a new one, and the samples of resident memory until then. */
static void write_time(struct heaptrack *heaptrack, uint64_t time_ns)
{
	const struct profile *profile = heaptrack->export->profile;

	for (; heaptrack->point < profile->timeline_count && profile->timeline[heaptrack->point].time_ns <= time_ns;
		heaptrack->point++) {
		const uint64_t resident = profile->timeline[heaptrack->point].resident_bytes;

		if (resident && (heaptrack->point == 0 || resident != profile->timeline[heaptrack->point - 1].resident_bytes))
			fprintf(heaptrack->file, "R %" PRIx64 "\n", resident / PAGE_SIZE);
	}
	if (time_ns / NANOSECONDS_PER_MS <= heaptrack->shown_ms)
		return;
	heaptrack->shown_ms = time_ns / NANOSECONDS_PER_MS;
	fprintf(heaptrack->file, "c %" PRIx64 "\n", heaptrack->shown_ms);
}

static void write_event(struct heaptrack *heaptrack, const struct profile_event *event)
{
	const struct export *export = heaptrack->export;
	const uint32_t node = export->tree->node_of[export->profile->observed[event->site].node];
	const bool ends = event->live < 0 || (event->kind == PROFILE_RESIZED && event->live == 0);
	const bool begins = event->live > 0 || (event->kind == PROFILE_RESIZED && event->live == 0);

	if (ends || begins)
		write_time(heaptrack, event->time_ns);
	if (ends)
		fprintf(heaptrack->file, "- %x\n", allocation_number(heaptrack, event->bytes_before, node));
	if (begins) {
		const uint32_t number = allocation_number(heaptrack, event->bytes, node);

		fprintf(heaptrack->file, "+ %x\n", number);
	}
}

static bool write_all(struct heaptrack *heaptrack)
{
	const struct export *export = heaptrack->export;
	struct profile_event event;

	fprintf(heaptrack->file, "v 10400 3\nX %s\nI %x 0\n", *export->command ? export->command : export->program,
		PAGE_SIZE);
	write_places(heaptrack);
	write_stacks(heaptrack);
	if (!export_events_begin(export->events, heaptrack->error))
		return false;
	while (!heaptrack->failed && export_events_next(export->events, export->profile, &event))
		write_event(heaptrack, &event);
	write_time(heaptrack, export->profile->duration_ns);
	return !heaptrack->failed;
}

static bool heaptrack_write(const struct export *export, struct error *error)
{
	struct heaptrack heaptrack = { .export = export, .error = error };
	bool done;

	heaptrack.file = gzip_open(export->file);
	if (!heaptrack.file)
		memory_exhausted();
	done = strings_init(&heaptrack.strings, error) && map64_init(&heaptrack.sizes, 1024, error) &&
		map64_init(&heaptrack.allocations, 1024, error) && write_all(&heaptrack);
	done = gzip_close(heaptrack.file, error) && done;
	strings_finish(&heaptrack.strings);
	map64_finish(&heaptrack.sizes);
	map64_finish(&heaptrack.allocations);
	return done;
}

const struct export_format export_heaptrack = {
	.name = "heaptrack",
	.ending = ".heaptrack.gz",
	.summary = "heaptrack_gui, heaptrack_print: each allocation and free in its order",
	.flags = EXPORT_BINARY | EXPORT_EVENTS,
	.timeline_points = 1000,
	.write = heaptrack_write,
};
