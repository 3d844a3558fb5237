/* SPDX-License-Identifier: MIT */
/*
 * Writes the golden capture; see golden_capture.h.
 */
#include "golden_capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pages.h"

static void write_texts(struct writer *writer)
{
	writer_text(writer, CAPTURE_TEXT_HOST, "build7", 6);
	writer_text(writer, CAPTURE_TEXT_COMMAND, "python3\0app.py\0--fast", 22);
	writer_text(writer, CAPTURE_TEXT_EXECUTABLE, "/usr/bin/python3.11", 19);
	writer_text(writer, CAPTURE_TEXT_DIRECTORY, "/srv", 4);
	writer_text(writer, CAPTURE_TEXT_LIBC, "glibc 2.36", 10);
	writer_text(writer, CAPTURE_TEXT_KERNEL, "Linux 6.1.0", 11);
	writer_text(writer, CAPTURE_TEXT_WRITER, "sctmem 0.1.0", 12);
}

/* What may still be changed before writer_start. */
static void prepare(struct writer *writer, uint32_t version, uint32_t features)
{
	writer_init(writer);
	writer->header.version = version;
	writer->header.features = features;
	/* So that the bytes do not depend on the version of liblz4. */
	writer->no_lz4 = true;
	write_texts(writer);
}

static void begin(struct writer *writer, uint32_t version, uint32_t features)
{
	prepare(writer, version, features);
	writer_start(writer);
}

static void write_metadata(struct writer_stream *stream)
{
	/* Line 10, then 12 from byte offset 6 on. */
	static const uint8_t lnotab[] = { 6, 2 };

	put_thread_info(stream, 0, 4242, 0, "python3");
	put_module(stream, 0x400000, 0x500000, 0x400000, 0, 1, "/usr/bin/python3.11");
	put_module(stream, 0x7f0000000000, 0x7f0000010000, 0x7f0000000000, 0, 2, "/usr/lib/sctmem/libsctmem.so");
	put_module(stream, 0x7f0000100000, 0x7f0000200000, 0x7f0000100000, 0, 0, "/opt/app/libwork.so");
	put_python(stream, 0x030b02f0, 1 | 4 | 8, "/usr/bin/python3.11", "pymalloc");
	put_code(stream, 1, 10, CAPTURE_LINES_LNOTAB, "/srv/app.py", "main", lnotab, sizeof(lnotab));
	put_code(stream, 2, 1, CAPTURE_LINES_LNOTAB, "<frozen importlib._bootstrap>", "_find_and_load", NULL, 0);
}

/* The first thread: an EVENTS block, then words in its STREAM block. */
static void write_first_thread(struct writer_stream *stream)
{
	put_stamp(stream, 100);
	put_time(stream, 1000000);
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_node(stream, 2, 1, CAPTURE_PYTHON_FRAME(2, 0));
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 100, 1);
	put_alloc(stream, CAPTURE_CALLOC, 0x6000, 50, 2);
	put_stamp(stream, 101);
	put_free(stream, CAPTURE_MOVE, 0x6000);
	put_alloc(stream, CAPTURE_REALLOC, 0x7000, 200, 2);
	put_free(stream, CAPTURE_FREE, 0x7000);
	put_alloc(stream, CAPTURE_MALLOC, 0x100000, (uint64_t)5 << 32 | 16, 1);
	put_free(stream, CAPTURE_FREE, 0x100000);
	put_sample(stream, 20 << 20, 10 << 20, 1 << 20);
	writer_flush(stream);
	put_time(stream, 2000000);
	put_stamp(stream, 200);
	put_node(stream, 3, 1, CAPTURE_NATIVE_FRAME(0x7f0000100123, 0));
	put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, 0x8000, 64, 3);
	put_map(stream, 0x7e0000000000, 8192, 0, 3);
	put_unmap(stream, CAPTURE_UNMAP, 0x7e0000001000, 4096);
	put_metadata(stream, CAPTURE_MARK, "loaded", 6);
	put_metadata(stream, CAPTURE_NOTE, "a note", 6);
}

/* The second thread: only words.  It frees what the first allocated. */
static void write_second_thread(struct writer_stream *stream)
{
	put_thread(stream, 1);
	put_thread_info(stream, 1, 4243, 1500000, "worker");
	put_stamp(stream, 150);
	put_time(stream, 1500000);
	put_alloc(stream, CAPTURE_MALLOC, 0x9000, 1000, 2);
	put_alloc(stream, CAPTURE_POSIX_MEMALIGN, 0xa000, 3000, 0);
	put_free(stream, CAPTURE_FREE, 0xa000);
	put_stamp(stream, 210);
	put_free(stream, CAPTURE_FREE, 0x5000);
	put_free(stream, CAPTURE_FREE, 0xdead0);
	put_free(stream, CAPTURE_MOVE, 0x9000);
	put_free(stream, CAPTURE_STAY, 0x9000);
	put_unmap(stream, CAPTURE_UNMAP, 0x7e0000000000, 4096);
	put_unmap(stream, CAPTURE_UNMAP_FAILED, 0x7e0000000000, 4096);
	put_time(stream, 3000000);
	put_free(stream, CAPTURE_FREE_PYTHON, 0x8000);
}

/* At 4 ms, by exit(), with room left at the end. */
static void exited(struct writer *writer)
{
	writer_gap(writer, NULL, 512);
	writer->status.state = CAPTURE_EXITED;
	writer->status.end_time_ns = 4000000;
	writer->status.tracer_bytes = 1 << 20;
	writer->status.file_bytes = writer->size - 512;
	writer_finish(writer);
}

void golden_write(struct writer *writer)
{
	struct writer_stream *first, *second;

	begin(writer, 1, CAPTURE_NATIVE_LEAF | CAPTURE_PYTHON_STACKS | CAPTURE_PYTHON_ALLOCATORS);
	first = writer_stream(writer, 0, 128);
	second = writer_stream(writer, 1, 64);
	write_metadata(first);
	write_first_thread(first);
	write_second_thread(second);
	exited(writer);
}

/* Whatever the second form of columns writes in another way than the first; then words. */
static void write_second_form(struct writer_stream *stream)
{
	put_stamp(stream, 100);
	put_time(stream, 1000000);
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 100, 1);
	put_alloc(stream, CAPTURE_MALLOC, 0x5070, 100, 1);
	put_alloc(stream, CAPTURE_CALLOC, 0x50e0, 300, 1);
	put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, 0x8000, 64, 1);
	put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, 0x8040, 64, 1);
	put_free(stream, CAPTURE_FREE, 0x5000);
	put_free(stream, CAPTURE_FREE, 0x5070);
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 100, 1);
	put_alloc(stream, CAPTURE_MALLOC, 0x5070, 104, 1);
	put_alloc(stream, CAPTURE_MALLOC, 0x100000, 20000, 1);
	put_free(stream, CAPTURE_FREE, 0x5000);
	put_free(stream, CAPTURE_FREE_PYTHON, 0x8000);
	put_free(stream, CAPTURE_FREE, 0xdead0);
	put_alloc(stream, CAPTURE_MALLOC, 0x110000, (uint64_t)5 << 32 | 16, 1);
	writer_flush(stream);
	put_stamp(stream, 200);
	put_time(stream, 2000000);
	put_free(stream, CAPTURE_FREE, 0x110000);
}

void golden_write_second_form(struct writer *writer)
{
	struct writer_stream *stream;

	begin(writer, 6, CAPTURE_NATIVE_LEAF | CAPTURE_PYTHON_STACKS | CAPTURE_PYTHON_ALLOCATORS);
	stream = writer_stream(writer, 0, 128);
	write_metadata(stream);
	write_second_form(stream);
	exited(writer);
}

static void put_recording(struct writer_stream *stream, uint32_t on, uint32_t by)
{
	const struct capture_recording recording = { .on = on, .by = by };

	put_metadata(stream, CAPTURE_RECORDING, &recording, sizeof(recording));
}

/* Begins stopped; a stop by the program that another thread comes out of; at the end a stop by a request. */
static void write_gaps(struct writer_stream *first, struct writer_stream *second)
{
	put_stamp(first, 1);
	put_time(first, 5000000);
	put_recording(first, 1, CAPTURE_BY_COMMAND);
	put_alloc(first, CAPTURE_MALLOC, 0x5000, 100, 0);
	put_alloc(first, CAPTURE_MALLOC, 0x6000, 200, 0);
	put_map(first, 0x7e0000000000, 8192, 0, 0);
	put_free(first, CAPTURE_FREE, 0x4000);
	put_free(first, CAPTURE_MOVE, 0x6000);
	put_thread(second, 1);
	put_thread_info(second, 1, 4243, 5000000, "worker");
	put_stamp(second, 2);
	put_time(second, 6000000);
	put_recording(second, 0, CAPTURE_BY_PROGRAM);
	put_stamp(first, 3);
	put_alloc(first, CAPTURE_MALLOC, 0x7000, 300, 0);
	writer_flush(first);
	put_stamp(second, 4);
	put_time(second, 9000000);
	put_recording(second, 1, CAPTURE_BY_PROGRAM);
	put_stamp(first, 5);
	put_time(first, 9000000);
	put_free(first, CAPTURE_FREE, 0x5000);
	put_alloc(first, CAPTURE_MALLOC, 0x5000, 400, 0);
	put_unmap(first, CAPTURE_UNMAP, 0x7e0000000000, 8192);
	put_stamp(first, 6);
	put_time(first, 10000000);
	put_recording(first, 0, CAPTURE_BY_COMMAND);
}

void golden_write_v2(struct writer *writer)
{
	struct writer_stream *first, *second;

	begin(writer, 2, CAPTURE_NATIVE_LEAF);
	first = writer_stream(writer, 0, 64);
	second = writer_stream(writer, 1, 64);
	put_thread_info(first, 0, 4242, 0, "server");
	write_gaps(first, second);
	writer->status.state = CAPTURE_EXITED;
	writer->status.end_time_ns = 12000000;
	writer->status.file_bytes = writer->size;
	writer->status.paused = 1;
	writer->status.request = 3 << 8 | CAPTURE_ASK_STOP;
	writer->status.answer = 3 << 8 | CAPTURE_ANSWER_DONE;
	writer_finish(writer);
}

/* A sample: a window of which half is sampled, and one that is sampled from its start. */
void golden_write_sample(struct writer *writer)
{
	static const uint64_t mean = 512 << 10;
	struct writer_stream *stream;

	begin(writer, 3, CAPTURE_NATIVE_LEAF | CAPTURE_PYTHON_STACKS | CAPTURE_PYTHON_ALLOCATORS | CAPTURE_SAMPLED);
	stream = writer_stream(writer, 0, 128);
	write_metadata(stream);
	put_stamp(stream, 100);
	put_time(stream, 1000000);
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 1000, 1);
	put_metadata(stream, CAPTURE_SAMPLING, &mean, sizeof(mean));
	put_skip(stream, 5, 400);
	put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, 0x6000, 64, 1);
	put_free(stream, CAPTURE_MOVE, 0x5000);
	put_free(stream, CAPTURE_MOVE_ENDS, 0x5000);
	writer_flush(stream);
	put_metadata(stream, CAPTURE_SAMPLING, &mean, sizeof(mean));
	put_skip(stream, 7000, 1 << 20);
	put_alloc(stream, CAPTURE_REALLOC, 0x100000, 5000, 1);
	put_time(stream, 2000000);
	put_skip(stream, 1, 16);
	put_free(stream, CAPTURE_FREE, 0x6000);
	writer->status.state = CAPTURE_EXITED;
	writer->status.end_time_ns = 4000000;
	writer_finish(writer);
}

/* As compact leaves it: one stream without a window, sums of dropped blocks, and one block that is kept. */
void golden_write_compacted(struct writer *writer)
{
	static const struct capture_compacted about = { .width_ns = 1000000, .temporary_limit = 1 };
	static const struct capture_culled culled = { .stack = 1, .kind = CAPTURE_CALLOC, .bin = 7, .count = 30, .bytes = 3000,
		.temporary_count = 10, .temporary_bytes = 1000 };
	struct writer_stream *stream;

	begin(writer, 3, CAPTURE_NATIVE_LEAF | CAPTURE_PYTHON_STACKS | CAPTURE_PYTHON_ALLOCATORS | CAPTURE_COMPACTED);
	stream = writer_stream(writer, 0, 128);
	write_metadata(stream);
	put_metadata(stream, CAPTURE_ABOUT_COMPACTED, &about, sizeof(about));
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_time(stream, 1000000);
	put_skip(stream, 30, 0);
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 1000, 1);
	put_metadata(stream, CAPTURE_CULLED, &culled, sizeof(culled));
	writer->status.state = CAPTURE_EXITED;
	writer->status.end_time_ns = 4000000;
	writer_finish(writer);
}

/* As it is aggregated: a window with sums and what they held, and one as it was recorded. */
void golden_write_aggregated(struct writer *writer)
{
	static const struct capture_culled culled = { .stack = 1, .kind = CAPTURE_CALLOC, .bin = 7, .count = 30, .bytes = 3000,
		.temporary_count = 10, .temporary_bytes = 1000 };
	static const struct capture_held held = { .bytes = 700, .count = 8, .dropped = 30, .first_time_ns = 1000000,
		.last_time_ns = 2000000 };
	struct writer_stream *stream;

	begin(writer, 5, CAPTURE_NATIVE_LEAF | CAPTURE_PYTHON_STACKS | CAPTURE_PYTHON_ALLOCATORS | CAPTURE_AGGREGATED);
	stream = writer_stream(writer, 0, 128);
	write_metadata(stream);
	put_stamp(stream, 100);
	put_time(stream, 1000000);
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_skip(stream, 20, 0);
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 1000, 1);
	put_time(stream, 2000000);
	put_metadata(stream, CAPTURE_CULLED, &culled, sizeof(culled));
	put_skip(stream, 10, 0);
	put_metadata(stream, CAPTURE_HELD, &held, sizeof(held));
	writer_flush(stream);
	put_free(stream, CAPTURE_FREE, 0x5000);
	writer->status.state = CAPTURE_EXITED;
	writer->status.end_time_ns = 4000000;
	writer_finish(writer);
}

/* As symbolize leaves it: a record of names behind all else; one is hostile, one frame has a function inlined. */
void golden_write_symbols(struct writer *writer)
{
	static const struct {
		uint64_t head;
		struct capture_symbols symbols;
		struct capture_named_frame frames[2];
		struct capture_place places[3];
		char text[64];
	} names = { CAPTURE_SYMBOLS | (uint64_t)(16 + 2 * 16 + 3 * 16 + 64) << 8,
		{ .frame_count = 2, .place_count = 3, .text_size = 64, .generation = 1 },
		{ { .frame = CAPTURE_NATIVE_FRAME(0x401000, 0), .place_count = 2 },
			{ .frame = CAPTURE_NATIVE_FRAME(0x402000, 0), .place_count = 1 } },
		{ { .function = 1, .file = 7, .line = 12, .flags = CAPTURE_PLACE_INLINED | CAPTURE_PLACE_EXACT },
			{ .function = 14, .file = 7, .line = 30, .flags = CAPTURE_PLACE_EXACT }, { .function = 19 } },
		"\0inner\0main.c\0main\0\033[31m<script>alert(1)</script>\n" };
	struct writer_stream *stream;

	begin(writer, 3, CAPTURE_NATIVE_FULL);
	stream = writer_stream(writer, 0, 64);
	put_module(stream, 0x400000, 0x500000, 0x400000, 0, 1, "/no/such/program");
	put_node(stream, 1, 0, CAPTURE_NATIVE_FRAME(0x401000, 0));
	put_node(stream, 2, 1, CAPTURE_NATIVE_FRAME(0x402000, 0));
	put_node(stream, 3, 1, CAPTURE_NATIVE_FRAME(0x403000, 0));
	put_time(stream, 1000000);
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 1000, 2);
	put_alloc(stream, CAPTURE_MALLOC, 0x6000, 500, 3);
	writer_flush(stream);
	writer_words(writer, 0, &names.head, sizeof(names) / 8);
	writer->status.state = CAPTURE_EXITED;
	writer->status.end_time_ns = 4000000;
	writer_finish(writer);
}

/* A sample of pages in two parts, at a snapshot; what it is of is one block of three pages and the break. */
void golden_write_pages(struct writer *writer)
{
	static const uint8_t resident[] = { 1, 0, 0, 1 };
	uint8_t payload[sizeof(struct capture_pages) + 64], *at = payload + sizeof(struct capture_pages);
	struct capture_pages head = { .number = 0, .reason = PAGES_ASKED };
	struct writer_stream *stream;
	uint64_t end = 0;

	begin(writer, 1, CAPTURE_NATIVE_LEAF);
	stream = writer_stream(writer, 0, 64);
	put_thread_info(stream, 0, 4242, 0, "server");
	put_stamp(stream, 100);
	put_time(stream, 1000000);
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 3 * 4096, 0);
	put_stamp(stream, 101);
	at = pages_put_owner(at, PAGES_OWN, 0x20, &end, 8);
	at = pages_put_range(at, PAGES_ANONYMOUS, 0x5, &end, resident, 3);
	memcpy(payload, &head, sizeof(head));
	put_metadata(stream, CAPTURE_PAGES, payload, (size_t)(at - payload));
	head.part = 1;
	head.flags = PAGES_LAST;
	head.duration_ns = 150000;
	end = 0;
	at = pages_put_range(payload + sizeof(head), PAGES_BREAK, 0x100, &end, resident, 4);
	memcpy(payload, &head, sizeof(head));
	put_metadata(stream, CAPTURE_PAGES, payload, (size_t)(at - payload));
	put_metadata(stream, CAPTURE_MARK, "here", 4);
	writer->status.state = CAPTURE_EXITED;
	writer->status.end_time_ns = 4000000;
	writer_finish(writer);
}

static void begin_segment(struct writer *writer, uint32_t number, uint64_t stamp, uint64_t time_ns)
{
	prepare(writer, 4, CAPTURE_PYTHON_STACKS | CAPTURE_SEGMENTS);
	writer->header.run_id = 0x5e6e57;
	writer->header.segment = number;
	writer->header.segment_stamp = stamp;
	writer->header.segment_time_ns = time_ns;
	writer_start(writer);
}

static void put_segment_metadata(struct writer_stream *stream)
{
	put_code(stream, 1, 10, CAPTURE_LINES_LNOTAB, "app.py", "serve", NULL, 0);
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_thread_info(stream, 0, 4242, 0, "server");
}

/* The first thread goes over into the second segment, the other one rests: its window stays where it is. */
static void write_segments(struct writer *first, struct writer *second)
{
	struct writer_stream *server, *worker, *again, *copy;
	struct writer scratch;

	begin_segment(first, 1, 0, 0);
	server = writer_stream(first, 0, 64);
	worker = writer_stream(first, 1, 64);
	put_segment_metadata(server);
	put_stamp(server, 10);
	put_time(server, 1000000);
	put_alloc(server, CAPTURE_MALLOC, 0x1000, 100, 1);
	put_alloc(server, CAPTURE_MALLOC, 0x2000, 200, 1);
	put_thread(worker, 1);
	put_thread_info(worker, 1, 4243, 1500000, "worker");
	put_stamp(worker, 20);
	put_time(worker, 2000000);
	put_alloc(worker, CAPTURE_CALLOC, 0x3000, 300, 0);
	first->status.state = CAPTURE_CONTINUED;
	first->status.end_time_ns = 3000000;
	begin_segment(second, 2, 20, 3000000);
	writer_init(&scratch);
	copy = writer_stream(&scratch, 0, 64);
	put_segment_metadata(copy);
	put_thread_info(copy, 1, 4243, 1500000, "worker");
	writer_words(second, 0, copy->words, (size_t)copy->carry.used);
	writer_free(&scratch);
	writer_move_words(server, second);
	again = writer_move_block(server, second, 64);
	writer_move_window(server, again);
	put_stamp(again, 30);
	put_time(again, 4000000);
	put_alloc(again, CAPTURE_MALLOC, 0x4000, 400, 1);
	put_free(again, CAPTURE_FREE, 0x2000);
	put_free(again, CAPTURE_FREE, 0x3000);
	second->status.state = CAPTURE_EXITED;
	second->status.end_time_ns = 5000000;
	first->status.file_bytes = first->size;
	second->status.file_bytes = second->size;
	writer_finish(first);
	writer_finish(second);
}

void golden_write_first_segment(struct writer *writer)
{
	struct writer second;

	write_segments(writer, &second);
	writer_free(&second);
}

void golden_write_second_segment(struct writer *writer)
{
	struct writer first;

	write_segments(&first, writer);
	writer_free(&first);
}

const char *golden_path(const char *name)
{
	static char path[4096];
	const char *folder = getenv("SCTMEM_GOLDEN");

	snprintf(path, sizeof(path), "%s/%s", folder ? folder : "tests/golden", name);
	return path;
}
