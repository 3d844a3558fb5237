/* SPDX-License-Identifier: MIT */
/* Reads the whole file at once; what lies between blocks must be zeros. */
#include "recorded.h"

#include <inttypes.h>
#include <lz4.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static bool wrong(struct recorded *recorded, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (!recorded->error[0])
		vsnprintf(recorded->error, sizeof(recorded->error), format, arguments);
	va_end(arguments);
	return false;
}

static bool load(struct recorded *recorded, const char *path)
{
	FILE *file = fopen(path, "rb");

	if (!file || fseek(file, 0, SEEK_END) != 0)
		return wrong(recorded, "cannot open %s", path);
	recorded->file_size = (size_t)ftell(file);
	recorded->file = malloc(recorded->file_size + 1);
	rewind(file);
	bool ok = recorded->file && fread(recorded->file, 1, recorded->file_size, file) == recorded->file_size;

	fclose(file);
	if (!ok || recorded->file_size < CAPTURE_HEADER_SIZE_MIN)
		return wrong(recorded, "%s is too short", path);
	memcpy(&recorded->header, recorded->file, sizeof(recorded->header));
	memcpy(&recorded->status, recorded->file + CAPTURE_STATUS_OFFSET, sizeof(recorded->status));
	if (memcmp(recorded->header.magic, CAPTURE_MAGIC, 8) != 0)
		return wrong(recorded, "no magic");
	uint64_t checksum = XXH3_64bits(&recorded->header, offsetof(struct capture_header, checksum));

	checksum = XXH3_64bits_withSeed(recorded->file + CAPTURE_TEXT_OFFSET, recorded->header.text_size, checksum);
	return checksum == recorded->header.checksum || wrong(recorded, "the header's checksum is wrong");
}

static struct recorded_window *new_window(struct recorded *recorded)
{
	recorded->windows = realloc(recorded->windows, (recorded->window_count + 1) * sizeof(*recorded->windows));
	struct recorded_window *window = &recorded->windows[recorded->window_count++];

	memset(window, 0, sizeof(*window));
	return window;
}

static bool meet_block(struct recorded *recorded, const struct capture_block *block, const uint8_t *payload)
{
	struct recorded_window *window = new_window(recorded);

	window->stream = block->stream;
	window->sequence = block->sequence;
	window->bytes = payload;
	window->size = block->stored_size;
	window->flags = block->flags;
	recorded->block_count++;
	if (block->kind == CAPTURE_BLOCK_STREAM) {
		memcpy(&window->state, payload, sizeof(window->state));
		window->sequence = window->state.sequence;
		window->bytes = payload + sizeof(window->state);
		window->size = window->state.used * 8;
		recorded->stream_count++;
		return window->state.used <= window->state.capacity
			|| wrong(recorded, "stream %u: more words than fit", block->stream);
	}
	window->is_block = true;
	if (XXH3_64bits(payload, block->stored_size) != block->payload_checksum)
		return wrong(recorded, "a payload's checksum is wrong");
	if (block->kind == CAPTURE_BLOCK_WORDS) {
		window->is_block = false;
		window->sequence = UINT64_MAX;
		window->stream = UINT32_MAX;
		return true;
	}
	if (block->flags & CAPTURE_BLOCK_LZ4) {
		window->owned = malloc(block->raw_size);
		window->bytes = window->owned;
		window->size = block->raw_size;
		if (LZ4_decompress_safe((const char *)payload, (char *)window->owned, (int)block->stored_size,
				(int)block->raw_size) != (int)block->raw_size)
			return wrong(recorded, "a block does not decompress");
	}
	return true;
}

static bool find_blocks(struct recorded *recorded)
{
	for (size_t at = recorded->header.header_size; at + sizeof(struct capture_block) <= recorded->file_size;) {
		struct capture_block block;

		memcpy(&block, recorded->file + at, sizeof(block));
		if (block.magic != CAPTURE_BLOCK_MAGIC
				|| XXH3_64bits(&block, offsetof(struct capture_block, header_checksum)) != block.header_checksum) {
			at += 8;              /* zeros, or an append cut short by a kill */
			continue;
		}
		if (at + sizeof(block) + block.stored_size > recorded->file_size)
			return wrong(recorded, "a block ends outside the file");
		if (!meet_block(recorded, &block, recorded->file + at + sizeof(block)))
			return false;
		at = (at + sizeof(block) + block.stored_size + 7) & ~(size_t)7;
	}
	return true;
}

static int compare_windows(const void *left, const void *right)
{
	const struct recorded_window *a = left, *b = right;

	if (a->stream != b->stream)
		return a->stream < b->stream ? -1 : 1;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? -1 : 1;
	return b->is_block - a->is_block;         /* the block of a window comes before the window itself */
}

static bool decode_window(struct recorded *recorded, const struct recorded_window *window, size_t *capacity)
{
	static struct addresses addresses;
	struct events_cursor cursor;
	struct capture_event event;

	if (window->is_block)
		events_open_columns(&cursor, window->stream, window->flags, window->bytes, window->size, &addresses);
	else
		events_open_words(&cursor, window->stream, window->stream == UINT32_MAX ? NULL : &window->state,
			(const uint64_t *)(const void *)window->bytes, window->size / 8);
	while (events_next(&cursor, &event)) {
		if (recorded->event_count == *capacity) {
			*capacity = *capacity ? *capacity * 2 : 1024;
			recorded->events = realloc(recorded->events, *capacity * sizeof(event));
		}
		recorded->events[recorded->event_count++] = event;
	}
	return !cursor.bad || wrong(recorded, "stream %u, window %" PRIu64 ": the records contradict themselves",
		window->stream, window->sequence);
}

static bool decode_windows(struct recorded *recorded)
{
	size_t capacity = 0;

	if (recorded->window_count)
		qsort(recorded->windows, recorded->window_count, sizeof(*recorded->windows), compare_windows);
	for (size_t i = 0; i < recorded->window_count; i++) {
		const struct recorded_window *window = &recorded->windows[i], *last = i ? window - 1 : NULL;

		if (last && last->stream == window->stream && window->stream != UINT32_MAX) {
			if (last->sequence == window->sequence) {
				if (!last->is_block || window->is_block)
					return wrong(recorded, "stream %u: window %" PRIu64 " comes twice",
						window->stream, window->sequence);
				continue;     /* it is in the block */
			}
			if (last->sequence + 1 != window->sequence)
				return wrong(recorded, "stream %u: window %" PRIu64 " is missing", window->stream,
					last->sequence + 1);
		} else if (window->stream != UINT32_MAX && window->sequence != 0) {
			return wrong(recorded, "stream %u: window 0 is missing", window->stream);
		}
		if (!decode_window(recorded, window, &capacity))
			return false;
	}
	return true;
}

bool recorded_read(struct recorded *recorded, const char *path)
{
	*recorded = (struct recorded){ 0 };
	return load(recorded, path) && find_blocks(recorded) && decode_windows(recorded);
}

void recorded_finish(struct recorded *recorded)
{
	for (size_t i = 0; i < recorded->window_count; i++)
		free(recorded->windows[i].owned);
	free(recorded->windows);
	free(recorded->events);
	free(recorded->file);
	*recorded = (struct recorded){ 0 };
}

/* The addresses that are owned: open addressing with linear probes, as large as all events could need. */
struct owned {
	uint64_t *slots;              /* address + 1; 0: never used, 1: given up */
	size_t mask, count;
};

static uint64_t *find_slot(struct owned *owned, uint64_t address, bool insert)
{
	uint64_t *free_slot = NULL;

	for (size_t at = (size_t)((address >> 4) * 0x9e3779b97f4a7c15u >> 20);; at++) {
		uint64_t *slot = &owned->slots[at & owned->mask];

		if (*slot == address + 1)
			return slot;
		if (*slot == 1 && !free_slot)
			free_slot = slot;
		if (*slot == 0)
			return insert ? free_slot ? free_slot : slot : NULL;
	}
}

static bool apply(struct recorded *recorded, struct owned *owned, const struct capture_event *event)
{
	uint64_t *slot;

	if (event->kind == CAPTURE_RECORDING && event->payload[0] == 1) {
		/* What happened before is not known. */
		memset(owned->slots, 0, (owned->mask + 1) * sizeof(*owned->slots));
		owned->count = 0;
		recorded->resumed = true;
	} else if (CAPTURE_IS_ALLOCATION(event->kind) || event->kind == CAPTURE_STAY) {
		slot = find_slot(owned, event->address, true);
		if (*slot == event->address + 1)
			return wrong(recorded, "stream %u stamp %" PRIu64 ": %s of %" PRIx64 ", which is owned",
				event->stream, event->stamp, events_kind_name(event->kind), event->address);
		*slot = event->address + 1;
		owned->count++;
	} else if (event->kind == CAPTURE_FREE || event->kind == CAPTURE_FREE_PYTHON || event->kind == CAPTURE_MOVE
			|| event->kind == CAPTURE_MOVE_PYTHON) {
		slot = find_slot(owned, event->address, false);
		if (!slot && recorded->resumed)
			return true;
		if (!slot)
			return wrong(recorded, "stream %u stamp %" PRIu64 ": %s of %" PRIx64 ", which is not owned",
				event->stream, event->stamp, events_kind_name(event->kind), event->address);
		*slot = 1;
		owned->count--;
	}
	return true;
}

/* Where the merge stands in one stream. */
struct lane {
	size_t at, end;
};

static bool comes_before(const struct capture_event *a, const struct capture_event *b)
{
	if (a->stamp != b->stamp)
		return a->stamp < b->stamp;
	return !CAPTURE_IS_ALLOCATION(a->kind) && CAPTURE_IS_ALLOCATION(b->kind);
}

bool recorded_replay(struct recorded *recorded, size_t *live)
{
	struct owned owned = { .mask = 1 };
	struct lane *lanes = calloc(recorded->event_count + 1, sizeof(*lanes));
	size_t lane_count = 0;
	bool ok = true;

	while (owned.mask < recorded->event_count * 2)
		owned.mask = owned.mask * 2 + 1;
	owned.slots = calloc(owned.mask + 1, sizeof(*owned.slots));
	for (size_t i = 0; i < recorded->event_count; i++) {
		if (i == 0 || recorded->events[i].stream != recorded->events[i - 1].stream)
			lanes[lane_count++].at = i;
		lanes[lane_count - 1].end = i + 1;
	}
	while (ok) {
		struct lane *first = NULL;

		for (size_t i = 0; i < lane_count; i++)
			if (lanes[i].at < lanes[i].end
					&& (!first || comes_before(&recorded->events[lanes[i].at], &recorded->events[first->at])))
				first = &lanes[i];
		if (!first)
			break;
		ok = apply(recorded, &owned, &recorded->events[first->at++]);
	}
	*live = owned.count;
	free(owned.slots);
	free(lanes);
	return ok;
}

size_t recorded_count(const struct recorded *recorded, unsigned kind)
{
	size_t count = 0;

	for (size_t i = 0; i < recorded->event_count; i++)
		count += recorded->events[i].kind == kind;
	return count;
}

uint64_t recorded_last_stamp(const struct recorded *recorded)
{
	uint64_t last = 0;

	for (size_t i = 0; i < recorded->event_count; i++)
		if (recorded->events[i].stamp > last)
			last = recorded->events[i].stamp;
	return last;
}
