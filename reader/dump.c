/* SPDX-License-Identifier: MIT */
/*
 * See dump.h.  Both forms are written from the same list of fields of a record, so that neither can lack one.
 */
#include "dump.h"

#include <inttypes.h>
#include <string.h>

/* A field in whichever form. */
static void put_number(struct dump_writer *writer, const char *key, uint64_t value)
{
	if (writer->as_json)
		json_number(&writer->json, key, value);
	else
		fprintf(writer->text.file, " %s=%" PRIu64, key, value);
}

/* Frames and addresses: hexadecimal, in JSON as text, since numbers there end at 2^53. */
static void put_hex(struct dump_writer *writer, const char *key, uint64_t value)
{
	if (writer->as_json)
		json_format(&writer->json, key, "0x%" PRIx64, value);
	else
		fprintf(writer->text.file, " %s=0x%" PRIx64, key, value);
}

static void put_bytes(struct dump_writer *writer, const char *key, const void *bytes, size_t size)
{
	char shown[4096];

	if (writer->as_json) {
		json_bytes(&writer->json, key, bytes, size);
		return;
	}
	if (size >= sizeof shown)
		size = sizeof shown - 1;
	memcpy(shown, bytes, size);
	shown[size] = 0;
	fprintf(writer->text.file, " %s=\"", key);
	text_write(&writer->text, shown, 0);
	putc('"', writer->text.file);
}

static void put_text(struct dump_writer *writer, const char *key, const char *text)
{
	put_bytes(writer, key, text, strlen(text));
}

static void open_line(struct dump_writer *writer, const char *what)
{
	if (writer->as_json) {
		json_object(&writer->json, NULL);
		json_text(&writer->json, "kind", what);
	} else {
		fprintf(writer->text.file, "# %s", what);
	}
}

static void close_line(struct dump_writer *writer)
{
	if (writer->as_json)
		json_object_end(&writer->json);
	else
		putc('\n', writer->text.file);
}

static void dump_status(struct dump_writer *writer, const struct capture *capture)
{
	static const char *const states[] = { "running", "exited", "stopped_storage", "stopped_memory", "stopped_user",
		"continued", "stopped_filter" };
	const struct capture_status *status = &capture->status;
	const struct { const char *key; uint64_t value; } fields[] = {
		{ "end_time_ns", status->end_time_ns },
		{ "lost_memory", status->lost_memory },
		{ "lost_storage", status->lost_storage },
		{ "lost_reentry", status->lost_reentry },
		{ "lost_threads", status->lost_threads },
		{ "stacks_truncated", status->stacks_truncated },
		{ "stacks_degraded", status->stacks_degraded },
		{ "tracer_bytes", status->tracer_bytes },
		{ "unwind_guessed", status->unwind_guessed },
		{ "unwind_stopped", status->unwind_stopped },
		{ "python_refused", status->python_refused },
		{ "file_bytes", status->file_bytes },
	};

	open_line(writer, "status");
	put_text(writer, "state", status->state < sizeof(states) / sizeof(states[0]) ? states[status->state] : "unknown");
	if (capture->alive)
		put_text(writer, "process", "alive");
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		put_number(writer, fields[i].key, fields[i].value);
	put_number(writer, "streams", capture->stream_count);
	put_number(writer, "blocks", capture->part_count);
	close_line(writer);
}

void dump_header(struct dump_writer *writer, const struct capture *capture)
{
	const struct capture_header *header = &capture->header;
	const struct { const char *key; uint64_t value; } fields[] = {
		{ "version", header->version },
		{ "header_size", header->header_size },
		{ "features", header->features },
		{ "start_realtime_ns", header->start_realtime_ns },
		{ "start_monotonic_ns", header->start_monotonic_ns },
		{ "pid", header->pid },
		{ "parent_pid", header->parent_pid },
		{ "parent_stamp", header->parent_stamp },
		{ "parent_time_ns", header->parent_time_ns },
		{ "page_size", header->page_size },
		{ "clock_resolution_ns", header->clock_resolution_ns },
		{ "sequence", header->sequence },
		{ "machine", header->machine },
		{ "origin", header->origin },
		{ "file_size", capture->file_size },
	};

	open_line(writer, "header");
	put_text(writer, "path", capture->path);
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		put_number(writer, fields[i].key, fields[i].value);
	put_text(writer, "host", capture->host);
	put_text(writer, "executable", capture->executable);
	put_text(writer, "directory", capture->directory);
	put_text(writer, "parent", capture->parent_path);
	put_text(writer, "libc", capture->libc);
	put_text(writer, "kernel", capture->kernel);
	put_text(writer, "writer", capture->writer);
	if (writer->as_json)
		json_array(&writer->json, "arguments");
	for (const char *const *argument = capture->arguments; argument && *argument; argument++)
		put_text(writer, writer->as_json ? NULL : "argument", *argument);
	if (writer->as_json)
		json_array_end(&writer->json);
	close_line(writer);
	dump_status(writer, capture);
}

/* The bytes behind a metadata payload's fixed part, one after another; never beyond the payload. */
struct tail { const uint8_t *at; size_t left; };

static void put_tail(struct dump_writer *writer, struct tail *tail, const char *key, size_t size, bool hex)
{
	char digits[2 * 64 + 1] = "";

	if (size > tail->left)
		size = tail->left;
	if (hex) {
		for (size_t i = 0; i < size && i < 64; i++)
			sprintf(digits + 2 * i, "%02x", tail->at[i]);
		put_text(writer, key, digits);
	} else if (size > 0) {
		put_bytes(writer, key, tail->at, size);
	} else {
		put_text(writer, key, "");
	}
	tail->at += size;
	tail->left -= size;
}

/* Copies the fixed part; false when the payload is too short to have one. */
static bool take_fixed(const struct capture_event *event, void *fixed, size_t size, struct tail *tail)
{
	if (event->payload_size < size)
		return false;
	memcpy(fixed, event->payload, size);
	*tail = (struct tail){ .at = event->payload + size, .left = event->payload_size - size };
	return true;
}

static bool put_module(struct dump_writer *writer, const struct capture_event *event)
{
	struct capture_module module;
	struct tail tail;

	if (!take_fixed(event, &module, sizeof module, &tail))
		return false;
	put_hex(writer, "start", module.start);
	put_hex(writer, "end", module.end);
	put_hex(writer, "bias", module.bias);
	put_number(writer, "generation", module.generation);
	put_number(writer, "flags", module.flags);
	put_tail(writer, &tail, "path", module.path_size, false);
	put_tail(writer, &tail, "build_id", module.build_id_size, true);
	return true;
}

static bool put_code(struct dump_writer *writer, const struct capture_event *event)
{
	struct capture_code code;
	struct tail tail;

	if (!take_fixed(event, &code, sizeof code, &tail))
		return false;
	put_number(writer, "code", code.id);
	put_tail(writer, &tail, "file", code.file_size, false);
	put_tail(writer, &tail, "name", code.name_size, false);
	put_number(writer, "first_line", code.first_line);
	put_number(writer, "table_kind", code.table_kind);
	put_number(writer, "table_size", code.table_size);
	return true;
}

static bool put_pages(struct dump_writer *writer, const struct capture_event *event)
{
	struct capture_pages head;
	struct tail tail;
	struct pages_run run;
	uint64_t resident = 0, absent = 0, swapped = 0, shared = 0, others = 0;

	if (!take_fixed(event, &head, sizeof head, &tail))
		return false;
	struct pages_cursor cursor = { .at = tail.at, .end = tail.at + tail.left };
	while (pages_next(&cursor, &run)) {
		if (run.kind < PAGES_OWN)
			*(run.state == PAGES_RESIDENT ? &resident : &absent) += run.count;
		else if (run.state == PAGES_RESIDENT)
			*(run.kind == PAGES_SWAPPED ? &swapped : run.kind == PAGES_SHARED ? &shared : &others) += run.count;
	}
	put_number(writer, "sample", head.number);
	put_number(writer, "part", head.part);
	put_number(writer, "flags", head.flags);
	put_number(writer, "reason", head.reason);
	put_number(writer, "error", head.error);
	put_number(writer, "duration_ns", head.duration_ns);
	put_number(writer, "resident_pages", resident);
	put_number(writer, "absent_pages", absent);
	put_number(writer, "swapped_pages", swapped);
	put_number(writer, "shared_pages", shared);
	if (cursor.bad)
		put_text(writer, "problem", "the ranges contradict themselves");
	return true;
}

static bool put_culled(struct dump_writer *writer, const struct capture_event *event)
{
	struct capture_culled culled;
	struct tail tail;
	const char *name;

	if (!take_fixed(event, &culled, sizeof culled, &tail))
		return false;
	name = culled.kind < 256 ? events_kind_name(culled.kind) : NULL;
	put_text(writer, "of", name ? name : "unknown");
	put_number(writer, "stack", culled.stack);
	put_number(writer, "bin", culled.bin);
	put_number(writer, "count", culled.count);
	put_number(writer, "bytes", culled.bytes);
	put_number(writer, "temporary_count", culled.temporary_count);
	put_number(writer, "temporary_bytes", culled.temporary_bytes);
	return true;
}

static bool put_held(struct dump_writer *writer, const struct capture_event *event)
{
	struct capture_held held;
	struct tail tail;

	if (!take_fixed(event, &held, sizeof held, &tail))
		return false;
	put_number(writer, "bytes", held.bytes);
	put_number(writer, "count", held.count);
	put_number(writer, "dropped", held.dropped);
	put_number(writer, "first_time_ns", held.first_time_ns);
	put_number(writer, "last_time_ns", held.last_time_ns);
	return true;
}

static bool put_metadata(struct dump_writer *writer, const struct capture_event *event)
{
	struct capture_thread_info info;
	struct capture_python python;
	struct capture_recording recording;
	struct capture_sampling sampling;
	struct capture_symbols symbols;
	struct tail tail = { .at = event->payload, .left = event->payload_size };

	switch (event->kind) {
	case CAPTURE_MODULE:
		return put_module(writer, event);
	case CAPTURE_CODE:
		return put_code(writer, event);
	case CAPTURE_THREAD_INFO:
		if (!take_fixed(event, &info, sizeof info, &tail))
			return false;
		put_number(writer, "index", info.index);
		put_number(writer, "tid", info.tid);
		put_number(writer, "start_time_ns", info.start_time_ns);
		put_number(writer, "flags", info.flags);
		put_tail(writer, &tail, "name", info.name_size, false);
		return true;
	case CAPTURE_PYTHON:
		if (!take_fixed(event, &python, sizeof python, &tail))
			return false;
		put_hex(writer, "version", python.version);
		put_number(writer, "flags", python.flags);
		put_tail(writer, &tail, "path", python.path_size, false);
		put_tail(writer, &tail, "allocator", python.allocator_size, false);
		return true;
	case CAPTURE_RECORDING:
		if (!take_fixed(event, &recording, sizeof recording, &tail))
			return false;
		put_number(writer, "on", recording.on);
		put_number(writer, "by", recording.by);
		return true;
	case CAPTURE_SAMPLING:
		if (!take_fixed(event, &sampling, sizeof sampling, &tail))
			return false;
		put_number(writer, "mean_bytes", sampling.mean_bytes);
		return true;
	case CAPTURE_PAGES:
		return put_pages(writer, event);
	case CAPTURE_CULLED:
		return put_culled(writer, event);
	case CAPTURE_HELD:
		return put_held(writer, event);
	case CAPTURE_SYMBOLS:
		if (!take_fixed(event, &symbols, sizeof symbols, &tail))
			return false;
		put_number(writer, "frames", symbols.frame_count);
		put_number(writer, "places", symbols.place_count);
		put_number(writer, "text_size", symbols.text_size);
		put_number(writer, "generation", symbols.generation);
		return true;
	case CAPTURE_MARK:
	case CAPTURE_NOTE:
		put_tail(writer, &tail, "text", tail.left, false);
		return true;
	default:
		return true;
	}
}

static void put_operands(struct dump_writer *writer, const struct capture_event *event)
{
	if (CAPTURE_IS_ALLOCATION(event->kind)) {
		put_hex(writer, "address", event->address);
		put_number(writer, "size", event->size);
		put_number(writer, "stack", event->stack);
		return;
	}
	switch (event->kind) {
	case CAPTURE_FREE:
	case CAPTURE_FREE_PYTHON:
	case CAPTURE_MOVE:
	case CAPTURE_MOVE_PYTHON:
	case CAPTURE_STAY:
	case CAPTURE_MOVE_ENDS:
		put_hex(writer, "address", event->address);
		break;
	case CAPTURE_SKIP:
		put_number(writer, "count", event->address);
		put_number(writer, "bytes", event->size);
		break;
	case CAPTURE_MAP:
		put_hex(writer, "address", event->address);
		put_number(writer, "size", event->size);
		put_number(writer, "stack", event->stack);
		put_number(writer, "flags", event->flags);
		break;
	case CAPTURE_UNMAP:
	case CAPTURE_UNMAP_FAILED:
		put_hex(writer, "address", event->address);
		put_number(writer, "size", event->size);
		break;
	case CAPTURE_NODE:
		put_number(writer, "node", event->stack);
		put_number(writer, "parent", event->parent);
		put_hex(writer, "frame", event->frame);
		break;
	case CAPTURE_SAMPLE:
		put_number(writer, "resident", event->address);
		put_number(writer, "anonymous", event->size);
		put_number(writer, "tracer", event->frame);
		break;
	default:
		put_number(writer, "payload_size", event->payload_size);
		if (!put_metadata(writer, event))
			put_text(writer, "problem", "the payload is too short for its kind");
		break;
	}
}

void dump_event(struct dump_writer *writer, const struct capture_event *event)
{
	const char *name = events_kind_name(event->kind);
	char unknown[16];

	if (!name) {
		snprintf(unknown, sizeof unknown, "kind_%u", event->kind);
		name = unknown;
	}
	if (writer->as_json) {
		json_object(&writer->json, NULL);
		json_text(&writer->json, "kind", name);
		json_number(&writer->json, "time_ns", event->time_ns);
		json_number(&writer->json, "stream", event->stream);
		json_number(&writer->json, "thread", event->thread);
		json_number(&writer->json, "stamp", event->stamp);
	} else {
		fprintf(writer->text.file, "%" PRIu64 ".%09" PRIu64 " s%" PRIu32 " t%" PRIu32 " %s",
			event->time_ns / 1000000000, event->time_ns % 1000000000, event->stream, event->thread, name);
	}
	put_operands(writer, event);
	close_line(writer);
}

void dump_damage(struct dump_writer *writer, const struct capture_part *part, const char *problem, uint64_t number)
{
	open_line(writer, "damaged");
	put_number(writer, "offset", part->offset);
	put_number(writer, "stream", part->stream);
	put_number(writer, "sequence", part->sequence);
	put_number(writer, "size", part->stored_size);
	put_text(writer, "problem", problem);
	if (number)
		put_number(writer, "records", number);
	close_line(writer);
}

void dump_summary(struct dump_writer *writer, const struct capture *capture)
{
	for (size_t i = 0; i < capture->stream_count; i++)
		if (capture->streams[i].missing) {
			open_line(writer, "missing");
			put_number(writer, "stream", capture->streams[i].stream);
			put_number(writer, "windows", capture->streams[i].missing);
			close_line(writer);
		}
	if (capture->damage.count == 0)
		return;
	open_line(writer, "damage");
	put_number(writer, "findings", capture->damage.count);
	put_number(writer, "bytes", capture->damage.bytes);
	put_text(writer, "first", capture->damage.first);
	close_line(writer);
}
