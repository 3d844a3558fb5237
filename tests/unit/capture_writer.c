/* SPDX-License-Identifier: MIT */
/*
 * The tests' writer of captures; see capture_writer.h.
 */
#include "capture_writer.h"
#include "first_form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <xxhash.h>

static void reserve(struct writer *writer, size_t more)
{
	while (writer->size + more > writer->capacity) {
		writer->capacity = writer->capacity ? writer->capacity * 2 : 65536;
		writer->bytes = realloc(writer->bytes, writer->capacity);
		if (!writer->bytes)
			abort();
	}
}

static void append(struct writer *writer, const void *bytes, size_t size)
{
	reserve(writer, size + 8);
	if (bytes)
		memcpy(writer->bytes + writer->size, bytes, size);
	else
		memset(writer->bytes + writer->size, 0, size);
	writer->size += size;
}

void writer_init(struct writer *writer)
{
	*writer = (struct writer){ .header = { .version = CAPTURE_VERSION, .header_size = 4096,
		.start_realtime_ns = 1700000000000000000u, .start_monotonic_ns = 5000000000u, .pid = 4242, .parent_pid = 4241,
		.page_size = 4096, .clock_resolution_ns = 1000000, .machine = 62 } };
	memcpy(writer->header.magic, CAPTURE_MAGIC, 8);
	append(writer, NULL, 4096);
}

void writer_text(struct writer *writer, unsigned id, const void *text, size_t size)
{
	uint8_t *at = writer->bytes + CAPTURE_TEXT_OFFSET + writer->header.text_size;
	const uint16_t id16 = (uint16_t)id;
	const uint32_t length = (uint32_t)size;

	memcpy(at, &id16, 2);
	memcpy(at + 4, &length, 4);
	memcpy(at + 8, text, size);
	writer->header.text_size += 8 + (uint32_t)((size + 7) & ~(size_t)7);
}

void writer_start(struct writer *writer)
{
	struct capture_header *header = &writer->header;

	header->checksum = XXH3_64bits_withSeed(writer->bytes + CAPTURE_TEXT_OFFSET, header->text_size,
		XXH3_64bits(header, offsetof(struct capture_header, checksum)));
	memcpy(writer->bytes, header, sizeof(*header));
}

void writer_free(struct writer *writer)
{
	for (uint32_t i = 0; i < writer->stream_count; i++)
		free(writer->streams[i].words);
	free(writer->bytes);
	*writer = (struct writer){ 0 };
}

static void append_block(struct writer *writer, struct capture_block *block, const void *payload)
{
	block->magic = CAPTURE_BLOCK_MAGIC;
	if (block->kind != CAPTURE_BLOCK_STREAM)
		block->payload_checksum = XXH3_64bits(payload, block->stored_size);
	block->header_checksum = XXH3_64bits(block, offsetof(struct capture_block, header_checksum));
	append(writer, block, sizeof(*block));
	append(writer, payload, block->stored_size);
	append(writer, NULL, (8 - writer->size % 8) % 8);
}

struct writer_stream *writer_stream(struct writer *writer, uint32_t id, size_t capacity)
{
	struct writer_stream *stream = &writer->streams[writer->stream_count++];
	struct capture_block block = { .kind = CAPTURE_BLOCK_STREAM, .stream = id,
		.stored_size = (uint32_t)(sizeof(struct capture_stream) + capacity * 8),
		.raw_size = (uint32_t)(sizeof(struct capture_stream) + capacity * 8) };

	*stream = (struct writer_stream){ .writer = writer, .id = id, .block = writer->size,
		.carry = { .capacity = capacity } };
	stream->words = calloc(capacity, 8);
	if (!stream->words)
		abort();
	append_block(writer, &block, NULL);
	return stream;
}

static uint64_t append_window(struct writer *writer, const struct writer_stream *stream)
{
	size_t count = (size_t)stream->carry.used;
	uint64_t *words = malloc(count * 8 + 8);
	uint8_t *raw = malloc(events_encoded_max(count)), *scratch = malloc(events_scratch_size(count));
	struct events_summary summary;
	const uint64_t offset = writer->size;

	if (!words || !raw || !scratch)
		abort();
	memcpy(words, stream->words, count * 8);
	if (writer->hand_on)
		count = writer->hand_on(stream, words);
	size_t size = events_encode(words, count, &stream->carry, raw, scratch, &summary);
	const bool first_form = writer->header.version < CAPTURE_VERSION;

	if (first_form)
		size = first_form_encode(words, count, &stream->carry, raw);
	char *packed = malloc((size_t)LZ4_compressBound((int)size));
	int packed_size = LZ4_compress_default((const char *)raw, packed, (int)size, LZ4_compressBound((int)size));
	struct capture_block block = { .kind = CAPTURE_BLOCK_EVENTS, .stream = stream->id,
		.sequence = (uint32_t)stream->carry.sequence, .raw_size = (uint32_t)size,
		.stored_size = writer->no_lz4 ? (uint32_t)size : (uint32_t)packed_size,
		.flags = (uint16_t)((writer->no_lz4 ? 0 : CAPTURE_BLOCK_LZ4) | (first_form ? 0 : CAPTURE_BLOCK_SECOND)),
		.first_time_ns = summary.first_time_ns,
		.last_time_ns = summary.last_time_ns, .event_count = summary.event_count };
	append_block(writer, &block, writer->no_lz4 ? (const void *)raw : packed);
	free(words);
	free(raw);
	free(scratch);
	free(packed);
	return offset;
}

uint64_t writer_flush_without_reset(struct writer_stream *stream)
{
	return append_window(stream->writer, stream);
}

uint64_t writer_flush(struct writer_stream *stream)
{
	const uint64_t offset = writer_flush_without_reset(stream);

	stream->carry.sequence++;
	stream->carry.used = 0;
	stream->carry.first_stamp = stream->stamp;
	stream->carry.first_time_ns = stream->time_ns;
	stream->carry.first_thread = stream->thread;
	return offset;
}

void writer_move_words(struct writer_stream *from, struct writer *to)
{
	if (from->carry.used > 0)
		append_window(to, from);
}

struct writer_stream *writer_move_block(const struct writer_stream *from, struct writer *to, size_t capacity)
{
	struct writer_stream *stream = writer_stream(to, from->id, capacity);

	stream->stamp = from->stamp;
	stream->time_ns = from->time_ns;
	stream->thread = from->thread;
	return stream;
}

void writer_move_window(const struct writer_stream *from, struct writer_stream *stream)
{
	stream->carry.sequence = from->carry.sequence + (from->carry.used > 0);
	stream->carry.first_stamp = from->stamp;
	stream->carry.first_time_ns = from->time_ns;
	stream->carry.first_thread = from->thread;
}

void writer_gap(struct writer *writer, const void *bytes, size_t size)
{
	append(writer, bytes, size);
}

void writer_words(struct writer *writer, uint32_t stream, const uint64_t *words, size_t count)
{
	struct capture_block block = { .kind = CAPTURE_BLOCK_WORDS, .stream = stream, .stored_size = (uint32_t)(count * 8),
		.raw_size = (uint32_t)(count * 8) };

	append_block(writer, &block, words);
}

void writer_finish(struct writer *writer)
{
	for (uint32_t i = 0; i < writer->stream_count; i++) {
		const struct writer_stream *stream = &writer->streams[i];
		uint8_t *at = writer->bytes + stream->block + sizeof(struct capture_block);

		memcpy(at, &stream->carry, sizeof(stream->carry));
		memcpy(at + sizeof(stream->carry), stream->words, stream->carry.used * 8);
	}
	memcpy(writer->bytes + CAPTURE_STATUS_OFFSET, &writer->status, sizeof(writer->status));
}

void writer_save(struct writer *writer, const char *path)
{
	FILE *file = fopen(path, "wb");

	writer_finish(writer);
	if (!file || fwrite(writer->bytes, 1, writer->size, file) != writer->size || fclose(file) != 0)
		abort();
}

void put_room(struct writer_stream *stream, size_t words)
{
	if (stream->carry.used + words > stream->carry.capacity)
		writer_flush(stream);
	if (words > stream->carry.capacity)
		abort();
}

void put_word(struct writer_stream *stream, uint64_t word)
{
	stream->words[stream->carry.used++] = word;
}

static void put_state(struct writer_stream *stream, unsigned kind, uint64_t value)
{
	put_room(stream, 1);
	put_word(stream, value << 8 | kind);
}

void put_time(struct writer_stream *stream, uint64_t time_ns)
{
	put_state(stream, CAPTURE_TIME, time_ns);
	stream->time_ns = time_ns;
}

void put_stamp(struct writer_stream *stream, uint64_t stamp)
{
	put_state(stream, CAPTURE_STAMP, stamp);
	stream->stamp = stamp;
}

void put_thread(struct writer_stream *stream, uint32_t thread)
{
	put_state(stream, CAPTURE_THREAD, thread);
	stream->thread = thread;
}

void put_alloc(struct writer_stream *stream, unsigned kind, uint64_t address, uint64_t size, uint32_t stack)
{
	put_room(stream, 3);
	if (size >> 32)
		put_word(stream, (size >> 32) << 8 | CAPTURE_SIZE_HIGH);
	put_word(stream, address << 8 | kind);
	put_word(stream, (size & UINT32_MAX) | (uint64_t)stack << 32);
}

void put_free(struct writer_stream *stream, unsigned kind, uint64_t address)
{
	put_state(stream, kind, address);
}

void put_map(struct writer_stream *stream, uint64_t address, uint64_t length, uint32_t flags, uint32_t stack)
{
	put_room(stream, 3);
	put_word(stream, address << 8 | CAPTURE_MAP);
	put_word(stream, length);
	put_word(stream, flags | (uint64_t)stack << 32);
}

void put_unmap(struct writer_stream *stream, unsigned kind, uint64_t address, uint64_t length)
{
	put_room(stream, 2);
	put_word(stream, address << 8 | kind);
	put_word(stream, length);
}

void put_node(struct writer_stream *stream, uint32_t id, uint32_t parent, uint64_t frame)
{
	put_room(stream, 3);
	put_word(stream, (uint64_t)id << 8 | CAPTURE_NODE);
	put_word(stream, frame);
	put_word(stream, parent);
}

void put_skip(struct writer_stream *stream, uint64_t count, uint64_t bytes)
{
	put_room(stream, 2);
	put_word(stream, CAPTURE_SKIP | count << 8);
	put_word(stream, bytes);
}

void put_sample(struct writer_stream *stream, uint64_t resident, uint64_t anonymous, uint64_t tracer)
{
	put_room(stream, 3);
	put_word(stream, resident << 8 | CAPTURE_SAMPLE);
	put_word(stream, anonymous);
	put_word(stream, tracer);
}

void put_metadata(struct writer_stream *stream, unsigned kind, const void *payload, size_t size)
{
	put_room(stream, 1 + (size + 7) / 8);
	put_word(stream, (uint64_t)size << 8 | kind);
	memset(stream->words + stream->carry.used, 0, (size + 7) / 8 * 8);
	memcpy(stream->words + stream->carry.used, payload, size);
	stream->carry.used += (size + 7) / 8;
}

/* A payload of a fixed part and up to three variable ones. */
static void put_parts(struct writer_stream *stream, unsigned kind, const void *const *parts, const size_t *sizes,
	size_t count)
{
	uint8_t payload[8192];
	size_t size = 0;

	for (size_t i = 0; i < count; i++) {
		if (size + sizes[i] > sizeof(payload))
			abort();
		if (sizes[i])
			memcpy(payload + size, parts[i], sizes[i]);
		size += sizes[i];
	}
	put_metadata(stream, kind, payload, size);
}

void put_thread_info(struct writer_stream *stream, uint32_t index, uint32_t tid, uint64_t start_ns, const char *name)
{
	struct capture_thread_info info = { .index = index, .tid = tid, .start_time_ns = start_ns,
		.name_size = (uint32_t)strlen(name), .flags = index == 0 };

	put_parts(stream, CAPTURE_THREAD_INFO, (const void *[]){ &info, name }, (size_t[]){ sizeof(info), strlen(name) }, 2);
}

void put_module(struct writer_stream *stream, uint64_t start, uint64_t end, uint64_t bias, uint32_t generation,
	uint32_t flags, const char *path)
{
	static const uint8_t build_id[20] = { 0xde, 0xad, 0xbe, 0xef };
	struct capture_module info = { .start = start, .end = end, .bias = bias, .generation = generation, .flags = flags,
		.path_size = (uint32_t)strlen(path), .build_id_size = sizeof(build_id) };

	put_parts(stream, CAPTURE_MODULE, (const void *[]){ &info, path, build_id },
		(size_t[]){ sizeof(info), strlen(path), sizeof(build_id) }, 3);
}

void put_code(struct writer_stream *stream, uint32_t id, uint32_t first_line, uint32_t table_kind, const char *file,
	const char *name, const void *table, size_t table_size)
{
	struct capture_code info = { .id = id, .first_line = first_line, .table_kind = table_kind,
		.file_size = (uint32_t)strlen(file), .name_size = (uint32_t)strlen(name), .table_size = (uint32_t)table_size };

	put_parts(stream, CAPTURE_CODE, (const void *[]){ &info, file, name, table },
		(size_t[]){ sizeof(info), strlen(file), strlen(name), table_size }, 4);
}

void put_python(struct writer_stream *stream, uint32_t version, uint32_t flags, const char *path, const char *allocator)
{
	struct capture_python info = { .version = version, .flags = flags, .path_size = (uint32_t)strlen(path),
		.allocator_size = (uint32_t)strlen(allocator) };

	put_parts(stream, CAPTURE_PYTHON, (const void *[]){ &info, path, allocator },
		(size_t[]){ sizeof(info), strlen(path), strlen(allocator) }, 3);
}
