/* SPDX-License-Identifier: MIT */
/*
 * Writes the captures whose reports are compared with the texts in cli/:  golden_captures FOLDER [plain]
 *
 *     sample.bin    a Python program that finished: app, imports, an extension, temporary blocks, a mapping, a thread
 *     killed.bin    the same without its end: no exit, the last free missing
 *     hostile.bin   names that try to act on a terminal or to fool the eye
 *     child.bin     a fork child of sample's process, to be merged with it
 *     windows.bin   marks, and windows between them
 *     pages.bin     samples of resident pages: at a mark, and at the end; one that was cut
 *     swapped.bin   one that tells what is swapped out, and of shared memory
 *     leaky.bin     two seconds with a leak, a cache that fills and is cleared at the end, a table, and churn
 *     leakier.bin   the same program changed: lines moved, the leak doubled, the churn gone, a thread's block new
 *
 * All of it is fixed: times, addresses, host, process ids.  With `plain` the same is in small windows and in blocks that
 * are not compressed: so each byte means something, as seeds of a fuzzer should.
 */
#include <stdio.h>
#include <string.h>

#include "formats/pages.h"
#include "tests/unit/capture_writer.h"

enum { BASE = 0x10000000, MODULE_START = 0x7f0000000000 };

static struct writer writer;
static bool plain;

static struct writer_stream *new_stream(uint32_t id, size_t words)
{
	return writer_stream(&writer, id, plain ? 128 : words);
}

static void begin(uint32_t pid, uint32_t parent_pid, unsigned long long start_ns)
{
	static const char command[] = "python3\0app.py\0--size\0" "10";

	writer_init(&writer);
	writer.no_lz4 = plain;
	writer.header.features = CAPTURE_NATIVE_LEAF | CAPTURE_PYTHON_STACKS | CAPTURE_PYTHON_ALLOCATORS;
	writer.header.start_realtime_ns = start_ns;
	writer.header.start_monotonic_ns = 1000;
	writer.header.pid = pid;
	writer.header.parent_pid = parent_pid;
	writer.header.page_size = 4096;
	writer.header.clock_resolution_ns = 1000000;
	writer.header.machine = 62;
	writer_text(&writer, CAPTURE_TEXT_HOST, "golden-host", 11);
	writer_text(&writer, CAPTURE_TEXT_COMMAND, command, sizeof command);
	writer_text(&writer, CAPTURE_TEXT_EXECUTABLE, "/usr/bin/python3.11", 19);
	writer_text(&writer, CAPTURE_TEXT_DIRECTORY, "/srv", 4);
	writer_text(&writer, CAPTURE_TEXT_LIBC, "glibc 2.36", 10);
	writer_text(&writer, CAPTURE_TEXT_KERNEL, "Linux 6.1.0", 11);
	writer_text(&writer, CAPTURE_TEXT_WRITER, "sctmem 0.1.0", 12);
	writer_start(&writer);
}

static void finish(const char *folder, const char *name, uint64_t state)
{
	char path[4096];

	writer.status.state = state;
	writer.status.end_time_ns = state == CAPTURE_EXITED ? 2000000000 : 0;
	writer.status.tracer_bytes = 1 << 20;
	writer_finish(&writer);
	snprintf(path, sizeof path, "%s/%s", folder, name);
	writer_save(&writer, path);
	writer_free(&writer);
}

/* A code object whose instructions all lie on its first line. */
static void code(struct writer_stream *stream, uint32_t id, uint32_t line, const char *file, const char *name)
{
	put_code(stream, id, line, CAPTURE_LINES_LNOTAB, file, name, "", 0);
}

/* Lines of decoder.py, and of app.py but for <module>, lie that much further down. */
static uint32_t moved;

/*
 *  1 <module> app.py:40
 *  2   load app.py:10          5 import re.py at app.py:1 (importlib)      8 demo.so, native, under load
 *  3     parse decoder.py:353  6   <module> re.py:5                         9 worker app.py:30, own thread
 *  4       parse (recursion)   7 interpreter, native, outside Python
 */
static void names(struct writer_stream *stream)
{
	static const uint64_t import_frame = CAPTURE_PYTHON_FRAME(4, 0);

	put_thread_info(stream, 0, 4242, 0, "MainThread");
	put_thread_info(stream, 1, 4243, 500000000, "worker");
	put_python(stream, 0x030b02f0, 1 | 4 | 8, "/usr/bin/python3.11", "pymalloc");
	put_module(stream, MODULE_START, MODULE_START + 0x10000, MODULE_START, 0, 0, "/opt/golden/libdemo.so");
	put_module(stream, 0x400000, 0x800000, 0x400000, 0, 1, "/opt/golden/python3.11");
	code(stream, 1, 40, "app.py", "<module>");
	code(stream, 2, 10 + moved, "app.py", "load");
	code(stream, 3, 353 + moved, "/usr/lib/python3.11/json/decoder.py", "JSONDecoder.raw_decode");
	code(stream, 4, 1178, "<frozen importlib._bootstrap>", "_find_and_load");
	code(stream, 5, 5, "/usr/lib/python3.11/re.py", "<module>");
	code(stream, 6, 30 + moved, "app.py", "worker");
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_node(stream, 2, 1, CAPTURE_PYTHON_FRAME(2, 0));
	put_node(stream, 3, 2, CAPTURE_PYTHON_FRAME(3, 0));
	put_node(stream, 4, 3, CAPTURE_PYTHON_FRAME(3, 0));
	put_node(stream, 5, 1, import_frame);
	put_node(stream, 6, 5, CAPTURE_PYTHON_FRAME(5, 0));
	put_node(stream, 7, 0, CAPTURE_NATIVE_FRAME(0x401234, 0));
	put_node(stream, 8, 2, CAPTURE_NATIVE_FRAME(MODULE_START + 0x1234, 0));
	put_node(stream, 9, 0, CAPTURE_PYTHON_FRAME(6, 0));
}

static void at(struct writer_stream *stream, uint64_t stamp, uint64_t time_ms)
{
	put_time(stream, time_ms * 1000000);
	put_stamp(stream, stamp);
}

static void story(bool killed)
{
	struct writer_stream *stream = new_stream(0, 4096);
	struct writer_stream *other = new_stream(1, 1024);

	names(stream);
	put_thread(stream, 0);
	at(stream, 1, 10);
	put_alloc(stream, CAPTURE_MALLOC, BASE, 5000, 7);
	for (unsigned i = 0; i < 10; i++)
		put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, BASE + 0x10000 + i * 0x1000, 300, 6);
	put_sample(stream, 8 << 20, 6 << 20, 1 << 20);
	at(stream, 2, 500);
	put_alloc(stream, CAPTURE_PYMEM_MALLOC, BASE + 0x100000, 1 << 20, 4);
	put_alloc(stream, CAPTURE_CALLOC, BASE + 0x300000, 1 << 16, 8);
	put_map(stream, 0x20000000, 1 << 18, 0, 8);
	put_map(stream, 0x30000000, 1 << 24, CAPTURE_MAP_RESERVE, 8);
	put_sample(stream, 12 << 20, 9 << 20, 1 << 20);
	for (unsigned i = 0; i < 20; i++) {
		put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, BASE + 0x400000, 64, 3);
		put_free(stream, CAPTURE_FREE_PYTHON, BASE + 0x400000);
	}
	put_thread(other, 1);
	at(other, 3, 700);
	put_alloc(other, CAPTURE_MALLOC, BASE + 0x500000, 100000, 9);
	at(stream, 4, 1500);
	put_free(stream, CAPTURE_FREE_PYTHON, BASE + 0x100000);
	put_unmap(stream, CAPTURE_UNMAP, 0x20000000, 1 << 18);
	if (!killed)
		put_free(stream, CAPTURE_FREE, BASE);
	put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, BASE + 0x600000, 4000, 2);
}

static void hostile_story(void)
{
	struct writer_stream *stream = new_stream(0, 4096);

	put_thread_info(stream, 0, 7, 0, "\x1b]0;owned\x07");
	code(stream, 1, 1, "app\xe2\x80\xae" "yp.exe", "\x1b[31mred\x1b[0m\r\n");
	code(stream, 2, 2, "\xff\xfe.py", "caf\xc3\xa9 <script>alert(1)</script>");
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_node(stream, 2, 1, CAPTURE_PYTHON_FRAME(2, 0));
	put_thread(stream, 0);
	at(stream, 1, 1);
	put_alloc(stream, CAPTURE_MALLOC, BASE, 100, 1);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x1000, 300, 2);
}

static void child_story(void)
{
	struct writer_stream *stream = new_stream(0, 4096);

	put_thread_info(stream, 0, 4300, 0, "MainThread");
	code(stream, 1, 30, "app.py", "worker");
	put_node(stream, 1, 0, CAPTURE_PYTHON_FRAME(1, 0));
	put_thread(stream, 0);
	at(stream, 1, 100);
	put_alloc(stream, CAPTURE_MALLOC, BASE, 1000000, 1);
}

static void mark(struct writer_stream *stream, const char *name)
{
	put_metadata(stream, CAPTURE_MARK, name, strlen(name));
}

/* Two tests, the first with a window in it; what was there before is freed in the second. */
static void windows_story(void)
{
	struct writer_stream *stream = new_stream(0, 4096);

	names(stream);
	put_thread(stream, 0);
	at(stream, 1, 10);
	put_alloc(stream, CAPTURE_MALLOC, BASE, 5000, 2);
	mark(stream, "begin test_\x1b[2Ja");
	put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, BASE + 0x10000, 100, 3);
	mark(stream, "begin load");
	at(stream, 2, 500);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x20000, 2000, 8);
	put_alloc(stream, CAPTURE_PYMEM_MALLOC, BASE + 0x30000, 300, 2);
	put_free(stream, CAPTURE_FREE, BASE + 0x20000);
	mark(stream, "end load");
	mark(stream, "end test_\x1b[2Ja");
	mark(stream, "begin test_b");
	at(stream, 3, 700);
	put_free(stream, CAPTURE_FREE, BASE);
	put_free(stream, CAPTURE_FREE_PYTHON, BASE + 0x30000);
	put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, BASE + 0x40000, 64, 3);
}

/*
 * A heap of 16 pages, a stack of 4 and a mapping of 64, of which every third page is resident; 2 pages are ours.  With
 * PAGES_SWAP_TOLD the page behind a resident one is swapped out, and there is shared memory of 32 pages.
 */
static void pages(struct writer_stream *stream, uint32_t number, uint16_t flags)
{
	uint8_t payload[512], resident[64], swapped[64], *to = payload + sizeof(struct capture_pages);
	const struct capture_pages head = { .number = number, .flags = PAGES_LAST | flags, .duration_ns = 123456,
		.reason = number ? PAGES_EXIT : PAGES_ASKED };
	uint64_t end = 0;

	for (unsigned i = 0; i < 64; i++) {
		resident[i] = i % 3 == 0;
		swapped[i] = i % 3 == 1;
	}
	memcpy(payload, &head, sizeof head);
	to = pages_put_owner(to, PAGES_OWN, BASE / 4096 + 100, &end, 2);
	to = pages_put_range(to, PAGES_BREAK, BASE / 4096, &end, resident, 16);
	to = pages_put_range(to, PAGES_ANONYMOUS, BASE / 4096 + 100, &end, resident, 2);
	to = pages_put_range(to, PAGES_ANONYMOUS, 0x20000, &end, resident, 64);
	to = pages_put_range(to, PAGES_STACK, 0x7ffff000, &end, resident, 4);
	if (flags & PAGES_SWAP_TOLD) {
		to = pages_put_range(to, PAGES_SWAPPED, BASE / 4096, &end, swapped, 16);
		to = pages_put_range(to, PAGES_SWAPPED, 0x20000, &end, swapped, 64);
		to = pages_put_range(to, PAGES_SHARED, 0x30000, &end, resident, 32);
	}
	put_metadata(stream, CAPTURE_PAGES, payload, (size_t)(to - payload));
}

static void pages_story(bool newer)
{
	struct writer_stream *stream = new_stream(0, 4096);

	names(stream);
	put_thread(stream, 0);
	at(stream, 1, 10);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 16, 5000, 2);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x8010, 20000, 3);
	put_map(stream, 0x20000000, 64 * 4096, 0, 8);
	if (newer)
		put_map(stream, 0x30000000, 32 * 4096, CAPTURE_MAP_SHARED, 8);
	put_sample(stream, 8 << 20, 180224, 1 << 20);
	at(stream, 2, 500);
	pages(stream, 0, newer ? PAGES_SWAP_TOLD : 0);
	mark(stream, "full");
	put_free(stream, CAPTURE_FREE, BASE + 0x8010);
	put_unmap(stream, CAPTURE_UNMAP, 0x20000000, 48 * 4096);
	at(stream, 3, 900);
	if (!newer)
		pages(stream, 1, PAGES_CUT);
}

enum { STEPS = 200, CACHED = 40 };

/*
 * One step each 10 ms: at 4 a block, of which every second is freed five steps later; at 3 an entry of a cache that holds
 * the newest 40 and is cleared in the last 2 %; at 8 churn; at 2 a table, at 6 what an import made, once.
 */
static void leaky_story(bool more)
{
	struct writer_stream *stream = writer_stream(&writer, 0, 1 << 14);
	const uint64_t leak = BASE, cache = BASE + 0x1000000, churn = BASE + 0x2000000;

	names(stream);
	put_thread(stream, 0);
	at(stream, 1, 5);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x3000000, 50000, 2);
	put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, BASE + 0x3100000, 3000, 6);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x3200000, 4000, 7);
	for (uint64_t step = 0; step < STEPS; step++) {
		at(stream, step + 2, 10 * step + 10);
		put_alloc(stream, CAPTURE_PYMEM_MALLOC, leak + step * 0x1000, more ? 2000 : 1000, 4);
		if (step >= 5 && step % 2 == 1)
			put_free(stream, CAPTURE_FREE_PYTHON, leak + (step - 5) * 0x1000);
		if (step >= CACHED)
			put_free(stream, CAPTURE_FREE_PYTHON, cache + (step - CACHED) * 0x1000);
		put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, cache + step * 0x1000, 500 + step, 3);
		if (more && step == 100)
			put_alloc(stream, CAPTURE_MALLOC, BASE + 0x3300000, 7000, 9);
		if (more)
			continue;
		put_alloc(stream, CAPTURE_MALLOC, churn, 300, 8);
		put_free(stream, CAPTURE_FREE, churn);
	}
	for (uint64_t step = STEPS - CACHED; step < STEPS; step++)
		put_free(stream, CAPTURE_FREE_PYTHON, cache + step * 0x1000);
}

int main(int argc, char **argv)
{
	const unsigned long long start = 1700000000000000000;

	plain = argc == 3 && strcmp(argv[2], "plain") == 0;
	if (argc != 2 && !plain) {
		fprintf(stderr, "usage: golden_captures FOLDER [plain]\n");
		return 2;
	}
	begin(4242, 1, start);
	story(false);
	finish(argv[1], "sample.bin", CAPTURE_EXITED);
	begin(4242, 1, start);
	story(true);
	finish(argv[1], "killed.bin", CAPTURE_RUNNING);
	begin(7, 1, start);
	hostile_story();
	finish(argv[1], "hostile.bin", CAPTURE_EXITED);
	begin(4242, 1, start);
	windows_story();
	finish(argv[1], "windows.bin", CAPTURE_EXITED);
	begin(4242, 1, start);
	pages_story(false);
	finish(argv[1], "pages.bin", CAPTURE_EXITED);
	begin(4242, 1, start);
	pages_story(true);
	finish(argv[1], "swapped.bin", CAPTURE_EXITED);
	begin(4242, 1, start);
	leaky_story(false);
	finish(argv[1], "leaky.bin", CAPTURE_EXITED);
	moved = 7;
	begin(4242, 1, start);
	leaky_story(true);
	finish(argv[1], "leakier.bin", CAPTURE_EXITED);
	moved = 0;
	begin(4300, 4242, start + 600000000);
	child_story();
	finish(argv[1], "child.bin", CAPTURE_EXITED);
	return 0;
}
