/* SPDX-License-Identifier: MIT */
/*
 * A small writer of captures for tests: what the recorder does, in memory, with every detail under the test's
 * control.  Not used by the product.
 *
 *     writer_init, writer_text ..., writer_start      the header; of an older version: columns in their first form
 *     writer_stream, put_* ..., writer_flush          windows; what is not flushed stays in the STREAM block
 *     writer_finish                                   the bytes of the file
 */
#ifndef SCTMEM_TESTS_CAPTURE_WRITER_H
#define SCTMEM_TESTS_CAPTURE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/capture.h"
#include "formats/events.h"

struct writer_stream {
	struct writer *writer;
	uint32_t id;
	uint64_t block;               /* offset of its STREAM block */
	struct capture_stream carry;
	uint64_t *words;
	uint64_t stamp, time_ns, thread;
};

/*
 * What is written of a window that is handed on: changes its words (there are stream->carry.used) and says how many
 * they are now.
 */
typedef size_t writer_hand_on(const struct writer_stream *stream, uint64_t *words);

struct writer {
	struct capture_header header;
	struct capture_status status;
	uint8_t *bytes;
	size_t size, capacity;
	struct writer_stream streams[64];
	uint32_t stream_count;
	writer_hand_on *hand_on;      /* NULL: its words as they are */
	bool no_lz4;                  /* store EVENTS blocks as they are */
};

void writer_init(struct writer *writer);
void writer_text(struct writer *writer, unsigned id, const void *text, size_t size);
void writer_start(struct writer *writer);
void writer_free(struct writer *writer);

/* A new stream with room for so many words. */
struct writer_stream *writer_stream(struct writer *writer, uint32_t id, size_t capacity);
/* The window becomes an EVENTS block.  Returns the offset of that block. */
uint64_t writer_flush(struct writer_stream *stream);
/* The same, but as if killed before the window was reset: it is in both places. */
uint64_t writer_flush_without_reset(struct writer_stream *stream);
/*
 * The stream goes on in the file of the next segment.  First what its window holds becomes an EVENTS block there, the
 * window stays as it is; then it gets another STREAM block, which as yet says nothing; then that is the window.
 */
void writer_move_words(struct writer_stream *from, struct writer *to);
struct writer_stream *writer_move_block(const struct writer_stream *from, struct writer *to, size_t capacity);
void writer_move_window(const struct writer_stream *from, struct writer_stream *stream);
/* Appends bytes that belong to no block; zeros when bytes is NULL. */
void writer_gap(struct writer *writer, const void *bytes, size_t size);
/* Appends a WORDS block. */
void writer_words(struct writer *writer, uint32_t stream, const uint64_t *words, size_t count);
/* Writes windows and status into the bytes, which are then those of the file. */
void writer_finish(struct writer *writer);
void writer_save(struct writer *writer, const char *path);

/* Records.  When the window is full it is flushed first. */
void put_word(struct writer_stream *stream, uint64_t word);
void put_room(struct writer_stream *stream, size_t words);
void put_time(struct writer_stream *stream, uint64_t time_ns);
void put_stamp(struct writer_stream *stream, uint64_t stamp);
void put_thread(struct writer_stream *stream, uint32_t thread);
void put_alloc(struct writer_stream *stream, unsigned kind, uint64_t address, uint64_t size, uint32_t stack);
void put_free(struct writer_stream *stream, unsigned kind, uint64_t address);
void put_map(struct writer_stream *stream, uint64_t address, uint64_t length, uint32_t flags, uint32_t stack);
void put_unmap(struct writer_stream *stream, unsigned kind, uint64_t address, uint64_t length);
void put_node(struct writer_stream *stream, uint32_t id, uint32_t parent, uint64_t frame);
void put_skip(struct writer_stream *stream, uint64_t count, uint64_t bytes);
void put_sample(struct writer_stream *stream, uint64_t resident, uint64_t anonymous, uint64_t tracer);
void put_metadata(struct writer_stream *stream, unsigned kind, const void *payload, size_t size);
void put_thread_info(struct writer_stream *stream, uint32_t index, uint32_t tid, uint64_t start_ns, const char *name);
void put_module(struct writer_stream *stream, uint64_t start, uint64_t end, uint64_t bias, uint32_t generation,
	uint32_t flags, const char *path);
void put_code(struct writer_stream *stream, uint32_t id, uint32_t first_line, uint32_t table_kind, const char *file,
	const char *name, const void *table, size_t table_size);
void put_python(struct writer_stream *stream, uint32_t version, uint32_t flags, const char *path,
	const char *allocator);

#endif
