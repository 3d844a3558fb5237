/* SPDX-License-Identifier: MIT */
/* See capture_out.h. */
#include "capture_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lz4.h>
#include <xxhash.h>

enum { WINDOW_WORDS = 1 << 16, RECORD_WORDS_MAX = WINDOW_WORDS / 4 };

static bool write_bytes(struct capture_out *out, const void *bytes, size_t size, struct error *error)
{
	if (fwrite(bytes, 1, size, out->file) != size)
		return fail(error, STATUS_OUTPUT, "cannot write the capture: %s; is there room on the disk?", strerror(errno));
	out->written += size;
	return true;
}

static bool write_block(struct capture_out *out, struct capture_block *block, const void *payload, struct error *error)
{
	static const uint8_t zeros[8];

	block->magic = CAPTURE_BLOCK_MAGIC;
	block->payload_checksum = XXH3_64bits(payload, block->stored_size);
	block->header_checksum = XXH3_64bits(block, offsetof(struct capture_block, header_checksum));
	return write_bytes(out, block, sizeof(*block), error) && write_bytes(out, payload, block->stored_size, error) &&
		write_bytes(out, zeros, -block->stored_size & 7, error);
}

/* The header and text fields as they were; only what the capture now is differs. */
static bool write_head(struct capture_out *out, const struct capture *from, uint64_t features, struct error *error)
{
	const size_t size = from->header.header_size;
	struct capture_header header = from->header;
	struct capture_status status = from->status;
	uint8_t *bytes = calloc(1, size);
	bool ok;

	if (!bytes)
		return fail_memory(error);
	ok = pread(from->file, bytes, size, 0) == (ssize_t)size ? true :
		fail(error, STATUS_NO_INPUT, "cannot read %s: %s", from->path, strerror(errno));
	header.version = CAPTURE_VERSION;
	/* However many files it was read from. */
	header.features &= ~(uint64_t)CAPTURE_SEGMENTS;
	header.segment = 0;
	header.run_id = header.segment_time_ns = 0;
	header.features |= features;
	header.checksum = XXH3_64bits(&header, offsetof(struct capture_header, checksum));
	header.checksum = XXH3_64bits_withSeed(bytes + CAPTURE_TEXT_OFFSET, header.text_size, header.checksum);
	status.request = status.answer = status.request_size = status.file_bytes = 0;
	memset(status.request_name, 0, sizeof(status.request_name));
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + CAPTURE_STATUS_OFFSET, &status, sizeof(status));
	ok = ok && write_bytes(out, bytes, size, error);
	free(bytes);
	return ok;
}

bool capture_out_begin(struct capture_out *out, const struct capture *from, uint64_t features, FILE *file,
	struct error *error)
{
	const size_t encoded_max = events_encoded_max(WINDOW_WORDS);

	*out = (struct capture_out){ .file = file, .packed_size = (size_t)LZ4_compressBound((int)encoded_max) };
	out->words = malloc(WINDOW_WORDS * sizeof(*out->words));
	out->encoded = malloc(encoded_max);
	out->scratch = malloc(events_scratch_size(WINDOW_WORDS));
	out->packed = malloc(out->packed_size);
	if (!out->words || !out->encoded || !out->scratch || !out->packed)
		return fail_memory(error);
	return write_head(out, from, features, error);
}

void capture_out_finish(struct capture_out *out)
{
	free(out->words);
	free(out->encoded);
	free(out->scratch);
	free(out->packed);
	*out = (struct capture_out){ 0 };
}

static bool flush(struct capture_out *out, struct error *error)
{
	struct events_summary summary;

	if (out->used == 0)
		return true;
	const size_t size = events_encode(out->words, out->used, &out->carry, out->encoded, out->scratch, &summary);
	const int packed = LZ4_compress_default((const char *)out->encoded, out->packed, (int)size, (int)out->packed_size);
	const bool smaller = packed > 0 && (size_t)packed < size;
	struct capture_block block = { .kind = CAPTURE_BLOCK_EVENTS,
		.flags = CAPTURE_BLOCK_SECOND | (smaller ? CAPTURE_BLOCK_LZ4 : 0),
		.stored_size = smaller ? (uint32_t)packed : (uint32_t)size, .raw_size = (uint32_t)size,
		.sequence = out->sequence++, .first_time_ns = summary.first_time_ns, .last_time_ns = summary.last_time_ns,
		.event_count = summary.event_count };

	out->used = 0;
	out->carry.first_time_ns = out->time_ns;
	out->carry.first_thread = out->thread;
	return write_block(out, &block, smaller ? (const void *)out->packed : out->encoded, error);
}

bool capture_out_words(struct capture_out *out, const uint64_t *words, size_t count, struct error *error)
{
	if (out->used + count > WINDOW_WORDS && !flush(out, error))
		return false;
	memcpy(out->words + out->used, words, count * sizeof(*words));
	out->used += count;
	return true;
}

bool capture_out_at(struct capture_out *out, uint64_t time_ns, uint32_t thread, struct error *error)
{
	/* With room for what comes behind: a window's words must know their thread. */
	if (out->used + 16 > WINDOW_WORDS && !flush(out, error))
		return false;
	if (time_ns > out->time_ns) {
		out->time_ns = time_ns;
		out->words[out->used++] = CAPTURE_TIME | time_ns << 8;
	}
	if (thread != out->thread) {
		out->thread = thread;
		out->words[out->used++] = CAPTURE_THREAD | (uint64_t)thread << 8;
	}
	return true;
}

/* Too large for a window: a block of its own. */
static bool write_large(struct capture_out *out, uint64_t *words, size_t count, struct error *error)
{
	struct capture_block block = { .kind = CAPTURE_BLOCK_WORDS, .stored_size = (uint32_t)(count * 8),
		.raw_size = (uint32_t)(count * 8) };

	return write_block(out, &block, words, error);
}

bool capture_out_metadata(struct capture_out *out, unsigned kind, const void *fixed, size_t fixed_size,
	const void *const *texts, const size_t *sizes, size_t count, struct error *error)
{
	size_t size = fixed_size;

	for (size_t i = 0; i < count; i++)
		size += sizes[i];
	const size_t words = 1 + (size + 7) / 8;
	uint64_t *record = calloc(words, sizeof(*record));
	if (!record)
		return fail_memory(error);
	uint8_t *at = (uint8_t *)(record + 1);
	record[0] = kind | (uint64_t)size << 8;
	if (fixed_size)
		memcpy(at, fixed, fixed_size);
	at += fixed_size;
	for (size_t i = 0; i < count; i++) {
		memcpy(at, texts[i], sizes[i]);
		at += sizes[i];
	}
	const bool ok = words > RECORD_WORDS_MAX ? write_large(out, record, words, error) :
		capture_out_words(out, record, words, error);
	free(record);
	return ok;
}

static bool put_names(struct capture_out *out, const struct capture *from, struct error *error)
{
	bool ok = true;

	for (size_t i = 0; ok && i < from->thread_count; i++) {
		const struct capture_thread *thread = &from->threads[i];
		const struct capture_thread_info info = { .index = thread->index, .tid = thread->tid,
			.start_time_ns = thread->start_time_ns, .name_size = (uint32_t)strlen(thread->name), .flags = thread->flags };

		ok = capture_out_metadata(out, CAPTURE_THREAD_INFO, &info, sizeof(info), (const void *[]){ thread->name },
			(size_t[]){ info.name_size }, 1, error);
	}
	for (size_t i = 0; ok && i < from->module_count; i++) {
		const struct capture_loaded_module *module = &from->modules[i];

		ok = capture_out_metadata(out, CAPTURE_MODULE, &module->info, sizeof(module->info),
			(const void *[]){ module->path, module->build_id },
			(size_t[]){ module->info.path_size, module->info.build_id_size }, 2, error);
	}
	for (size_t i = 0; ok && i < from->name_record_count; i++)
		ok = capture_out_metadata(out, CAPTURE_SYMBOLS, NULL, 0, (const void *[]){ from->name_records[i].payload },
			(size_t[]){ from->name_records[i].size }, 1, error);
	for (size_t i = 0; ok && i < from->runtime_count; i++) {
		const struct capture_runtime *runtime = &from->runtimes[i];

		ok = capture_out_metadata(out, CAPTURE_PYTHON, &runtime->info, sizeof(runtime->info),
			(const void *[]){ runtime->path, runtime->allocator },
			(size_t[]){ runtime->info.path_size, runtime->info.allocator_size }, 2, error);
	}
	for (size_t i = 0; ok && i < from->note_count; i++)
		if (!from->notes[i].is_mark)
			ok = capture_out_metadata(out, CAPTURE_NOTE, NULL, 0, (const void *[]){ from->notes[i].text },
				(size_t[]){ strlen(from->notes[i].text) }, 1, error);
	return ok;
}

bool capture_out_tables(struct capture_out *out, const struct capture *from, struct error *error)
{
	bool ok = put_names(out, from, error);

	for (size_t i = 0; ok && i < from->code_count; i++) {
		const struct capture_code_object *code = &from->codes[i];

		ok = capture_out_metadata(out, CAPTURE_CODE, &code->info, sizeof(code->info),
			(const void *[]){ code->file, code->name, code->table },
			(size_t[]){ code->info.file_size, code->info.name_size, code->info.table_size }, 3, error);
	}
	for (uint32_t id = 1; ok && id < from->node_end; id++) {
		const struct capture_node *node = capture_find_node(from, id);

		if (node)
			ok = capture_out_words(out, (const uint64_t[]){ CAPTURE_NODE | (uint64_t)id << 8, node->frame, node->parent },
				3, error);
	}
	return ok;
}

bool capture_out_end(struct capture_out *out, struct error *error)
{
	return flush(out, error);
}
