/* SPDX-License-Identifier: MIT */
/*
 * A capture, opened: its header, its status, the list of its windows by stream, and the metadata that its
 * records have brought so far.  Used by merge.c (events), profile.c (names) and the verb that dumps.
 *
 *     capture_open      header and status checked, blocks listed, windows of STREAM blocks copied, WORDS absorbed
 *     capture_read      one window: checked, decompressed, and a cursor over its records
 *     capture_absorb    takes one metadata record into the tables: nodes, threads, modules, code objects, marks
 *
 * The file is read with pread: a capture may be cut or trimmed by its writer while we read, which would kill a
 * reader that maps it.  It may be damaged anywhere: what cannot be read is counted in capture.damage and skipped.
 * Nothing is believed: sizes are held against the file, ids against the tables.
 */
#ifndef SCTMEM_READER_CAPTURE_H
#define SCTMEM_READER_CAPTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "formats/capture.h"
#include "formats/events.h"
#include "formats/pages.h"
#include "names.h"
#include "table.h"

enum {
	CAPTURE_NODES_MAX = 1 << 26,      /* more distinct stack nodes than this are damage */
	CAPTURE_STEPS_MAX = 32,           /* of the mean of sampling */
	CAPTURE_NODE_GROUP = 1 << 12,
	CAPTURE_STORED_NS = 5000000,      /* after so long an event has been stored that was given a stamp */
};

/* One window of a stream: the words still in its STREAM block, or an EVENTS or WORDS block. */
struct capture_part {
	uint64_t offset;              /* of the block in the file */
	uint64_t payload_checksum;
	uint64_t first_time_ns, last_time_ns;
	uint32_t stored_size, raw_size;
	uint32_t sequence;
	uint32_t event_count;
	uint16_t kind;                /* enum capture_block_kind */
	uint16_t flags;
	uint32_t stream;
	uint32_t index;               /* order of discovery, which is order in the file */
	uint32_t segment;             /* place in capture.segments, where there are any */
};

/* The windows of one stream in order; the last may be the words of its STREAM block. */
struct capture_stream_parts {
	uint32_t stream;
	size_t count;
	const struct capture_part *parts;
	uint64_t *words;              /* copy of the STREAM block's words */
	struct capture_stream carry;
	uint32_t missing;             /* windows between the first and the last that are nowhere in the file */
};

/* A node of the trie of stacks.  present 0: no record named this id. */
struct capture_node {
	uint64_t frame;
	uint32_t parent;
	uint32_t present;
};

struct capture_thread {
	uint32_t index, tid;
	uint64_t start_time_ns;
	uint64_t named_ns;            /* time of the newest THREAD_INFO */
	const char *name;
	uint32_t flags;
};

struct capture_loaded_module {
	struct capture_module info;
	const char *path;
	const uint8_t *build_id;
};

struct capture_code_object {
	struct capture_code info;
	const char *file, *name;
	const uint8_t *table;
};

struct capture_runtime {
	struct capture_python info;
	const char *path, *allocator;
};

struct capture_note {
	uint64_t time_ns, stamp;
	const char *text;
	bool is_mark;                 /* MARK, else NOTE */
};

/* One file of a run in segments. */
struct capture_segment {
	int file;                     /* -1: followed to its end and not needed any more */
	uint32_t number, header_size;
	uint64_t size, device, inode;
	const char *path;
};

/* What could not be read. */
struct capture_damage {
	uint64_t bytes;               /* of the file, skipped */
	uint64_t windows;             /* of streams, missing or unreadable */
	uint64_t records;             /* refused: cyclic, too large, naming unknown things */
	uint64_t count;               /* of all findings */
	char first[256];              /* the first finding, with its offset; "" when none */
};

struct capture {
	const char *path;
	int file;
	uint64_t file_size;           /* when opened */
	uint64_t used_size;           /* end of the last block */
	bool cut;                     /* the file ends within a block: nothing can be appended behind it */
	uint64_t file_device, file_inode;
	struct capture_header header;
	struct capture_status status; /* copied when opened */
	const char *host, *executable, *parent_path, *directory, *libc, *kernel, *writer;   /* never NULL */
	const char *const *arguments; /* NULL at the end */
	bool alive;                   /* its process still runs here and still writes it */

	/* The run's files that are read, by number; `file` is the one that was named.  None: it has no segments. */
	struct capture_segment *segments; size_t segment_count;
	uint32_t segments_missing;    /* between the first and the last */
	uint64_t first_stamp;         /* before it not all is here, and what is here is left out; 0: all is */
	uint64_t left_out;            /* events; under the lock */
	/* Of one that is being written: all that belongs to before it is here, what came later is not looked at. */
	uint64_t last_stamp;          /* 0: there is no such limit */
	uint32_t walking;             /* the segment whose blocks are being listed */

	struct capture_part *parts; size_t part_count;     /* all blocks, in file order */
	struct capture_stream_parts *streams; size_t stream_count;

	pthread_mutex_t lock;         /* guards all below while windows are decoded by several threads */
	struct capture_damage damage;
	struct capture_node *nodes; size_t node_capacity; uint32_t node_end;   /* by id */
	uint8_t *node_groups;         /* which CAPTURE_NODE_GROUP ids after each other have any node */
	struct capture_thread *threads; size_t thread_count;
	struct capture_loaded_module *modules; size_t module_count;
	struct capture_code_object *codes; size_t code_count;
	struct capture_runtime *runtimes; size_t runtime_count;
	struct capture_note *notes; size_t note_count;
	struct capture_culled *culled; size_t culled_count;   /* sums of blocks that compact dropped */
	/* Samples of resident pages, part by part, until capture_take_pages; a payload of NULL: refused, or taken. */
	struct capture_page_part { uint8_t *payload; size_t size; uint64_t time_ns; } *page_parts;
	size_t page_part_count;
	struct capture_compacted compacted;
	/* Names of native frames that the capture brings along, and the records that they came in. */
	struct capture_named { const struct capture_place *places; const char *text; uint32_t count, generation; } *named;
	size_t named_count;
	struct capture_names { const void *payload; size_t size; } *name_records;
	size_t name_record_count;
	struct capture_held *helds; size_t held_count;   /* what was dropped as it was recorded held, a window each */
	struct capture_step { uint64_t mean_bytes, time_ns; } steps[CAPTURE_STEPS_MAX];   /* means of sampling, by size */
	unsigned step_count;

	/* private */
	size_t part_capacity, thread_capacity, module_capacity, code_capacity, runtime_capacity, note_capacity,
		culled_capacity, held_capacity, held_fold, page_part_capacity, segment_capacity, named_capacity, name_record_capacity;
	struct map64 repeated;        /* metadata that each segment has a copy of */
	struct capture_part *sorted;  /* by stream and sequence: what streams[].parts point into */
	struct map64 thread_by_index, code_by_id, named_by_frame;
	struct pool pool;
};

MUST_CHECK bool capture_open(struct capture **out, const char *path, struct error *error);
/* Of a run in segments exactly these files, also when it is one. */
MUST_CHECK bool capture_open_segments(struct capture **out, const char *const *paths, size_t count,
	struct error *error);
void capture_close(struct capture *capture);

/* Memory that capture_read uses again and again; zeroed at first, freed by capture_buffer_finish. */
struct capture_buffer {
	uint8_t *stored, *raw;
	size_t stored_capacity, raw_capacity;
	struct addresses addresses;   /* of the window that the cursor reads */
};
void capture_buffer_finish(struct capture_buffer *buffer);

enum capture_read_result { CAPTURE_READ, CAPTURE_READ_DAMAGED, CAPTURE_READ_NO_MEMORY };

/*
 * Opens a cursor over one part.  The records lie in buffer until its next use.  Damage is noted.
 * parts of kind STREAM need the stream that they belong to (in streams); others may pass NULL.
 * May be called from several threads with a buffer each.
 */
enum capture_read_result capture_read(struct capture *capture, const struct capture_stream_parts *stream,
	const struct capture_part *part, struct capture_buffer *buffer, struct events_cursor *cursor);

/* Takes a metadata record or NODE into the tables.  The caller holds lock when other threads may read windows. */
MUST_CHECK bool capture_absorb(struct capture *capture, const struct capture_event *event, struct error *error);

/* Notes damage of so many bytes at an offset; keeps the text of the first.  Takes the lock. */
void capture_note_damage(struct capture *capture, uint64_t offset, uint64_t bytes, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The node of this id; NULL when no record named it. */
static inline const struct capture_node *capture_find_node(const struct capture *capture, uint32_t id)
{
	return id < capture->node_end && capture->nodes[id].present ? &capture->nodes[id] : NULL;
}

/*
 * For loops over all nodes: the first id, from this one on, of a group that has any; node_end when none is left.  Ids
 * are dense, unless somebody wants a small file to cost a gigabyte.
 */
static inline uint32_t capture_skip_nodes(const struct capture *capture, uint32_t id)
{
	while (id < capture->node_end && !capture->node_groups[id / CAPTURE_NODE_GROUP])
		id = (id / CAPTURE_NODE_GROUP + 1) * CAPTURE_NODE_GROUP;
	return id < capture->node_end ? id : capture->node_end;
}

/* The name of a mark, by the index that its decoded event carries.  Takes the lock. */
const char *capture_mark_name(struct capture *capture, uint64_t index);

/*
 * What the blocks that were dropped as they were recorded may have held together at one time, at most: added over the
 * windows of all threads whose times overlap.  Call when all windows have been decoded.
 */
struct capture_unseen {
	uint64_t bytes, count, dropped;
};
MUST_CHECK bool capture_unseen(const struct capture *capture, struct capture_unseen *unseen, struct error *error);
/* For who follows a capture for days: makes one record of the older half when there are many.  It bounds the same. */
MUST_CHECK bool capture_fold_held(struct capture *capture, struct error *error);

/* Adds sums as a CULLED record does; their index is the last culled_count. */
MUST_CHECK bool capture_add_culled(struct capture *capture, const struct capture_culled *sums, struct error *error);

static inline bool culled_is_nothing(const struct capture_culled *sums)
{
	return !(sums->count | sums->bytes | sums->temporary_count | sums->temporary_bytes);
}

static inline void culled_subtract(struct capture_culled *from, const struct capture_culled *sums)
{
	from->count -= sums->count;
	from->bytes -= sums->bytes;
	from->temporary_count -= sums->temporary_count;
	from->temporary_bytes -= sums->temporary_bytes;
}

/* The bin of a size, as in a CULLED record: how many bits it has. */
static inline unsigned size_bin(uint64_t size)
{
	return size ? 64 - (unsigned)__builtin_clzll(size) : 0;
}

/* The sums of a CULLED record, by the index that its decoded event carries.  Takes the lock. */
struct capture_culled capture_culled_sums(struct capture *capture, uint64_t index);

/*
 * A PAGES record, by the index that its decoded event carries: its payload is the caller's from here on, to be freed.
 * NULL: it was refused, or has been taken.  It has a whole struct capture_pages, and ranges that can be.  Takes the
 * lock.
 */
struct capture_page_part capture_take_pages(struct capture *capture, uint64_t index);

/* NULL when there is none. */
const struct capture_thread *capture_find_thread(const struct capture *capture, uint32_t index);
const struct capture_code_object *capture_find_code(const struct capture *capture, uint32_t id);
/* The names of a native frame that the capture has with it. */
const struct capture_named *capture_find_named(const struct capture *capture, uint64_t frame);
/* Of the module mapped at the frame's address in its generation; -1 when none. */
long capture_find_module(const struct capture *capture, uint64_t frame);
/* To be called once all metadata is absorbed, before capture_find_module. */
void capture_sort_modules(struct capture *capture);

/* Whether the first bytes of the file are those of a capture. */
bool capture_has_magic(const char *path);

/*
 * For a file that grows: only header and status are read; the caller looks for blocks and takes what is in them.  Of a
 * run in segments it has all from the one that is named on.
 */
MUST_CHECK bool capture_open_growing(struct capture **out, const char *path, struct error *error);
/* Reads the status anew.  Where the run goes on in further segments, they are added first: *more. */
MUST_CHECK bool capture_refresh_status(struct capture *capture, bool *more, struct error *error);
/* Whether a block begins at this offset; *block is its header then. */
bool capture_block_at(int file, uint64_t offset, struct capture_block *block);
/* The offset of the next block at or after this one, or `end`, the file's size.  `buffer`: CAPTURE_SCAN_BYTES. */
enum { CAPTURE_SCAN_BYTES = 128 * 1024 };
uint64_t capture_find_block(int file, uint64_t end, uint8_t *buffer, uint64_t offset);

/* Used by capture_open only, one file each. */
MUST_CHECK bool capture_read_header(struct capture *capture, struct error *error);
MUST_CHECK bool capture_index_blocks(struct capture *capture, struct error *error);
void capture_metadata_finish(struct capture *capture);
/* capture_names.c: of a record SYMBOLS.  *problem: what is wrong with it, and nothing was taken; else NULL. */
MUST_CHECK bool capture_take_names(struct capture *capture, const struct capture_event *event, const char **problem,
	struct error *error);

#endif
