/* SPDX-License-Identifier: MIT */
/*
 * A second reader of captures, written from formats/capture.md alone, for use as an oracle: it includes nothing of
 * formats/ or reader/, and decompresses by itself (the checksums are libxxhash's), so that an error which the
 * library's encoder and the command's decoder share is not taken for agreement.  Unlike the command, it tolerates
 * nothing: at any contradiction in the file it says what and where, and ends the program with status 1.
 *
 * Its memory grows with the file, the stacks and one window for each stream, not with the events: ten million of them
 * are read in seconds.  Used by check_random.c, which compares, and list_capture.c, which prints.
 */
#ifndef SCTMEM_TESTS_SECOND_READER_H
#define SCTMEM_TESTS_SECOND_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kinds of records; capture.md, section 5. */
enum {
	TIME = 1, STAMP, THREAD, SIZE_HIGH, NODE, SAMPLE,
	FREE = 16, FREE_PYTHON, MOVE, STAY, UNMAP, UNMAP_FAILED, MAP, MOVE_PYTHON,
	FIRST_ALLOCATION = 32, REALLOC = 34, PYMEM_REALLOC = 42, PYOBJECT_REALLOC = 45, LAST_ALLOCATION = 63,
	THREAD_INFO = 64, MODULE = 65, CODE = 66,
};

struct event {
	uint64_t stamp, time_ns, address, size;
	uint32_t stream, thread, stack, flags;
	uint8_t kind;
};

struct node {
	uint64_t frame;
	uint32_t parent;
	bool known;
};

struct metadata {
	const uint8_t *payload;       /* in the file, or on the heap for good */
	size_t size;
	uint8_t kind;
};

struct window {
	const uint8_t *payload;
	uint64_t sequence;
	uint32_t stream, stored_size, raw_size;
	bool is_block, compressed, second;   /* second: columns in their second form */
};

struct capture {
	uint8_t *file;
	size_t size;
	uint32_t pid;
	uint64_t features;
	struct window *windows;       /* by stream, then sequence; each window once */
	size_t window_count;
	uint32_t stream_count;        /* one more than the highest number */
	struct node *nodes;
	uint32_t node_count;
	struct metadata *metadata;    /* in the order of the file */
	size_t metadata_count;
};

/* Where the merge of the streams stands in one of them. */
struct lane {
	size_t window, window_end;    /* the next one to decode, and the end of the stream's windows */
	struct event *events;         /* of the window decoded last */
	size_t at, count, room;
};

struct merge {
	struct capture *capture;
	struct lane *lanes;
	uint32_t lane_count;
};

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Zeroed memory, and memory made larger; both end the program when there is none. */
void *new_memory(size_t count, size_t size);
void *more_memory(void *memory, size_t count, size_t size);

static inline uint32_t get_u32(const uint8_t *from)
{
	return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static inline uint64_t get_u64(const uint8_t *from)
{
	return get_u32(from) | (uint64_t)get_u32(from + 4) << 32;
}

static inline bool is_allocation(unsigned kind)
{
	return kind >= FIRST_ALLOCATION && kind <= LAST_ALLOCATION;
}

static inline bool is_reallocation(unsigned kind)
{
	return kind == REALLOC || kind == PYMEM_REALLOC || kind == PYOBJECT_REALLOC;
}

static inline bool is_move(unsigned kind)
{
	return kind == MOVE || kind == MOVE_PYTHON;
}

static inline bool is_free(unsigned kind)
{
	return kind == FREE || kind == FREE_PYTHON;
}

/* Reads the file, its windows, nodes and metadata. */
void capture_open(struct capture *capture, const char *path);

/* The events, all streams merged in the order of replay (capture.md, section 7); NULL at the end. */
void merge_begin(struct merge *merge, struct capture *capture);
const struct event *merge_next(struct merge *merge);

/* The events of one window of capture->windows, as they were recorded, appended to the lane's. */
void window_decode(struct capture *capture, const struct window *window, struct lane *lane, bool with_tables);

#endif
