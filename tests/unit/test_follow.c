/* SPDX-License-Identifier: MIT */
/*
 * A capture that grows: after each look the profile is the one that a reader of the whole file makes of it.  Random
 * programs of several threads are written step by step, windows handed on in any order, blocks in places that were
 * passed over; and the profiles are compared site by site, with their stacks.  The same of runs in segments, followed
 * from file to file while the oldest are removed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "capture_writer.h"
#include "reader/profile_live.h"
#include "draw.h"

enum { STREAMS = 4, NODES = 40, BLOCKS = 300, PATH_SIZE = 1024, SEGMENTS = 64 };

static char path[64];
static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)draw_below(&random_state, below);
}

static int set_up(void **state)
{
	snprintf(path, sizeof(path), "/tmp/sctmem-test-follow-%d.bin", (int)getpid());
	unlink(path);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	return 0;
}

/* Writes what there is into the same file, as its process would: the bytes change in place. */
static void store(struct writer *writer)
{
	int file = open(path, O_RDWR | O_CREAT, 0600);

	writer_finish(writer);
	assert_true(file >= 0);
	assert_int_equal(pwrite(file, writer->bytes, writer->size, 0), writer->size);
	close(file);
}

/* As the recorder has it: so the process of the capture, which we are, is alive. */
static void *map_capture(void)
{
	int file = open(path, O_RDWR);
	void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	assert_true(mapped != MAP_FAILED);
	close(file);
	return mapped;
}

struct line {
	char text[PATH_SIZE];
	struct cost cost;
};

static int compare_lines(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

/* One line a site: its stack, thread, domain and allocator; sorted. */
static struct line *list_sites(const struct profile *profile)
{
	struct line *lines = calloc(profile->site_count + 1, sizeof(*lines));

	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];
		size_t used = (size_t)snprintf(lines[i].text, PATH_SIZE, "%u %u %u", profile->threads[site->thread].tid,
			site->domain, site->allocator);

		for (uint32_t node = site->node; node && used < PATH_SIZE; node = profile->nodes[node].parent) {
			const struct frame *frame = &profile->frames[profile->nodes[node].frame];

			used += (size_t)snprintf(lines[i].text + used, PATH_SIZE - used, " %s:%u", frame->function, frame->line);
		}
		lines[i].cost = site->cost;
	}
	if (profile->site_count)
		qsort(lines, profile->site_count, sizeof(*lines), compare_lines);
	return lines;
}

static void compare_with(const struct profile *live, const char *all, const char *when)
{
	struct error error = { .text = "" };
	struct profile *whole;
	struct line *left, *right;

	if (!profile_build(&whole, (const char *[]){ all }, 1, NULL, &error))
		assert_string_equal(error.text, "");
	left = list_sites(live);
	right = list_sites(whole);
	if (live->site_count != whole->site_count)
		print_error("%s: %zu sites, of %lu events; whole %zu, of %lu\n", when, live->site_count, live->captures[0].events,
			whole->site_count, whole->captures[0].events);
	assert_int_equal(live->site_count, whole->site_count);
	for (size_t i = 0; i < whole->site_count; i++) {
		if (strcmp(left[i].text, right[i].text) != 0 || memcmp(&left[i].cost, &right[i].cost, sizeof(left[i].cost)) != 0)
			print_error("%s: '%s' has %lu live, '%s' %lu\n", when, left[i].text, left[i].cost.live_bytes, right[i].text,
				right[i].cost.live_bytes);
		assert_string_equal(left[i].text, right[i].text);
		assert_memory_equal(&left[i].cost, &right[i].cost, sizeof(left[i].cost));
	}
	assert_memory_equal(&live->total, &whole->total, sizeof(live->total));
	assert_memory_equal(live->by_domain, whole->by_domain, sizeof(live->by_domain));
	assert_int_equal(live->free_count, whole->free_count);
	assert_int_equal(live->peak_bytes, whole->peak_bytes);
	assert_int_equal(live->peak_time_ns, whole->peak_time_ns);
	assert_int_equal(live->duration_ns, whole->duration_ns);
	assert_int_equal(live->mark_count, whole->mark_count);
	assert_int_equal(live->gap_count, whole->gap_count);
	assert_int_equal(live->captures[0].events, whole->captures[0].events);
	assert_int_equal(live->captures[0].unknown_frees, whole->captures[0].unknown_frees);
	assert_int_equal(live->captures[0].contradictions, whole->captures[0].contradictions);
	assert_string_equal(live->captures[0].problem, whole->captures[0].problem);
	assert_int_equal(live->captures[0].damaged, whole->captures[0].damaged);
	assert_int_equal(live->captures[0].segment_first, whole->captures[0].segment_first);
	assert_int_equal(live->captures[0].segment_last, whole->captures[0].segment_last);
	assert_int_equal(live->captures[0].left_out, whole->captures[0].left_out);
	free(left);
	free(right);
	profile_free(whole);
}

static void compare(const struct profile *live, const char *when)
{
	compare_with(live, path, when);
}

static struct profile_live *open_live(void)
{
	struct error error = { .text = "" };
	struct profile_live *live;

	if (!profile_live_open(&live, path, &profile_options_default, &error))
		assert_string_equal(error.text, "");
	return live;
}

static void look(struct profile_live *live)
{
	struct error error = { .text = "" };

	if (!profile_live_look(live, &error))
		assert_string_equal(error.text, "");
}

/* Takes the next piece of what is new; true: there is no more. */
static bool measure(struct profile_live *live, struct profile_live_heap *heap)
{
	struct error error = { .text = "" };

	/* So little time is over at once. */
	if (!profile_live_measure(live, 1, heap, &error))
		assert_string_equal(error.text, "");
	return !heap->behind;
}

static void put_something(struct writer_stream *stream, uint32_t nodes)
{
	const uint32_t what = draw(100);
	const uint64_t address = 0x10000 + draw(BLOCKS) * 64ul;
	const struct capture_recording recording = { .on = draw(2) };
	const struct capture_sampling sampling = { .mean_bytes = draw(3) ? 1u << draw(14) : 0 };
	char name[16];

	if (what < 50)
		put_alloc(stream, 32 + draw(14), address, draw(3000), draw(nodes + 1));
	else if (what < 85)
		put_free(stream, draw(2) ? CAPTURE_FREE : CAPTURE_FREE_PYTHON, address);
	else if (what < 90)
		put_map(stream, 0x7f0000000000 + draw(50) * 4096ul, 4096ul * (1 + draw(8)), 0, draw(nodes + 1));
	else if (what < 95)
		put_unmap(stream, CAPTURE_UNMAP, 0x7f0000000000 + draw(50) * 4096ul, 4096);
	else if (what < 97)
		put_sample(stream, draw(1 << 30), 1, 1);
	else if (what < 99)
		put_metadata(stream, CAPTURE_MARK, name, (size_t)snprintf(name, sizeof(name), "mark %u", draw(100)));
	else if (draw(4) == 0)
		put_metadata(stream, CAPTURE_RECORDING, &recording, sizeof(recording));
	else if (stream->writer->header.features & CAPTURE_SAMPLED)
		put_metadata(stream, CAPTURE_SAMPLING, &sampling, sizeof(sampling));
}

static void grow_and_look(uint32_t seed, uint32_t steps, size_t window)
{
	struct writer writer;
	struct writer_stream *streams[STREAMS] = { 0 };
	struct profile_live *live;
	uint64_t stamp = 1, now = 0;
	uint32_t nodes = 0;
	void *mapped;
	char when[64];

	random_state = seed * 0x9e3779b97f4a7c15u;
	writer_init(&writer);
	writer.header.pid = (uint32_t)getpid();
	writer.header.features = seed % 4 == 0 ? CAPTURE_SAMPLED : 0;
	writer_start(&writer);
	streams[0] = writer_stream(&writer, 5, window);
	put_thread_info(streams[0], 0, 100, 0, "first");
	unlink(path);
	store(&writer);
	mapped = map_capture();
	live = open_live();
	for (uint32_t i = 0; i < steps; i++) {
		const uint32_t s = draw(STREAMS);

		if (!streams[s]) {
			streams[s] = writer_stream(&writer, 5 + s * 3, window);
			put_thread(streams[s], s);
			put_thread_info(streams[s], s, 100 + s, now, "other");
		}
		put_room(streams[s], 16);
		stamp += draw(3) != 0;
		if (streams[s]->stamp < stamp)
			put_stamp(streams[s], stamp);
		if (draw(30) == 0)
			put_time(streams[s], now += 1000000);
		if (nodes < NODES && draw(8) == 0) {
			put_code(streams[s], nodes + 1, 10 * nodes + 1, CAPTURE_LINES_LNOTAB, "app.py", "function", NULL, 0);
			put_node(streams[s], nodes + 1, draw(nodes + 1), CAPTURE_PYTHON_FRAME(nodes + 1, 0));
			nodes++;
		}
		put_something(streams[s], nodes);
		if (draw(300) == 0)
			writer_gap(&writer, NULL, 8 * draw(400));
		if (draw(steps / 12) == 0) {
			struct profile_live_heap heap;

			store(&writer);
			while (draw(2) && !measure(live, &heap))
				continue;
			look(live);
			/* What is as new as the newest stamp of the first is replayed by the second. */
			look(live);
			stamp++;
			snprintf(when, sizeof(when), "seed %u, step %u", seed, i);
			assert_true(profile_live_is_alive(live));
			compare(profile_live_get(live), when);
			assert_int_equal(profile_live_heap(live).bytes, profile_live_get(live)->total.live_bytes);
			assert_true(measure(live, &heap));
			assert_int_equal(heap.bytes, profile_live_get(live)->total.live_bytes);
			assert_int_equal(heap.partial || heap.estimated, profile_live_get(live)->gap_count ||
				profile_live_get(live)->captures[0].paused || profile_live_get(live)->captures[0].contradictions ||
				profile_live_get(live)->sample_mean_bytes);
		}
	}
	writer.status.state = CAPTURE_EXITED;
	writer.status.end_time_ns = now + 5;
	store(&writer);
	look(live);
	assert_false(profile_live_is_alive(live));
	compare(profile_live_get(live), "the end");
	munmap(mapped, 4096);
	profile_live_close(live);
	writer_free(&writer);
}

static void each_look_says_what_the_whole_file_says(void **state)
{
	for (uint32_t seed = 1; seed <= 12; seed++)
		grow_and_look(seed, seed % 3 == 0 ? 20000 : 3000, seed % 2 ? 80 : 1024);
}

/* A block that is published late, in a place that was passed over as empty. */
static void a_window_that_comes_late_is_waited_for(void **state)
{
	struct writer writer;
	struct writer_stream *stream;
	struct profile_live *live;
	uint8_t late[4096];
	uint64_t offset, size;
	void *mapped;

	writer_init(&writer);
	writer.header.pid = (uint32_t)getpid();
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 80);
	put_thread_info(stream, 0, 100, 0, "first");
	put_alloc(stream, CAPTURE_MALLOC, 0x1000, 100, 0);
	store(&writer);
	mapped = map_capture();
	live = open_live();
	look(live);
	assert_int_equal(profile_live_get(live)->total.live_bytes, 100);
	put_alloc(stream, CAPTURE_MALLOC, 0x2000, 200, 0);
	offset = writer_flush(stream);
	size = writer.size - offset;
	assert_true(size < sizeof(late));
	put_alloc(stream, CAPTURE_MALLOC, 0x3000, 400, 0);
	writer_flush(stream);
	put_alloc(stream, CAPTURE_MALLOC, 0x4000, 800, 0);
	memcpy(late, writer.bytes + offset, size);
	memset(writer.bytes + offset, 0, size);
	store(&writer);
	for (int i = 0; i < 8; i++)
		look(live);
	assert_int_equal(profile_live_get(live)->total.live_bytes, 100);
	memcpy(writer.bytes + offset, late, size);
	store(&writer);
	look(live);
	assert_int_equal(profile_live_get(live)->total.live_bytes, 1500);
	compare(profile_live_get(live), "late");
	/* One that never comes is given up, and said. */
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 1600, 0);
	offset = writer_flush(stream);
	put_alloc(stream, CAPTURE_MALLOC, 0x6000, 3200, 0);
	memset(writer.bytes + offset, 0, writer.size - offset);
	store(&writer);
	for (int i = 0; i < 30; i++)
		look(live);
	assert_int_equal(profile_live_get(live)->total.live_bytes, 1500 + 3200);
	assert_true(profile_live_get(live)->captures[0].damaged);
	munmap(mapped, 4096);
	profile_live_close(live);
	writer_free(&writer);
}

/* Who may look for a short time only comes to the same in the end, and knows how far he is. */
static void measure_in_pieces(const struct profile *profile, uint64_t start_ns)
{
	struct profile_live *live = open_live();
	struct profile_live_heap heap = { 0 };
	uint64_t last_ns = start_ns, different = 0, bytes = 0, pieces = 0;

	while (!measure(live, &heap)) {
		assert_true(heap.moment_ns >= last_ns);
		assert_true(heap.moment_ns - start_ns <= profile->duration_ns);
		different += heap.bytes != bytes;
		last_ns = heap.moment_ns;
		bytes = heap.bytes;
		pieces++;
	}
	assert_true(pieces > 10 && different > 10 && last_ns > start_ns);
	assert_int_equal(heap.bytes, profile->total.live_bytes);
	assert_false(heap.partial);
	profile_live_close(live);
}

/*
 * What a look costs: it reads what is new, not the whole file.  The first one has more than its queues may hold, of two
 * threads, of which one frees what the other allocated.
 */
static void a_look_reads_what_is_new(void **state)
{
	struct writer writer;
	struct writer_stream *stream, *other;
	struct profile_live *live;
	uint64_t before;
	void *mapped;

	writer_init(&writer);
	writer.header.pid = (uint32_t)getpid();
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 4096);
	put_thread_info(stream, 0, 100, 0, "first");
	other = writer_stream(&writer, 1, 4096);
	put_thread(other, 1);
	put_thread_info(other, 1, 101, 0, "second");
	for (uint64_t i = 0; i < 400000; i++) {
		if (i % 1000 == 0) {
			put_stamp(stream, 2 * i + 1);
			put_stamp(other, 2 * i + 2);
			put_time(stream, i);
		}
		put_alloc(stream, CAPTURE_MALLOC, 0x10000 + i % 5000 * 64, (i * 7919) % 5000, 0);
		put_free(other, CAPTURE_FREE, 0x10000 + i % 5000 * 64);
	}
	writer_gap(&writer, NULL, 1 << 20);
	store(&writer);
	mapped = map_capture();
	live = open_live();
	for (int i = 0; i < 6; i++)
		look(live);
	before = profile_live_bytes_read(live);
	assert_true(before > 1 << 20);
	put_stamp(stream, 1000000);
	for (uint64_t i = 0; i < 100; i++)
		put_alloc(stream, CAPTURE_MALLOC, 0x10000000 + i * 64, 10, 0);
	store(&writer);
	look(live);
	assert_true(profile_live_bytes_read(live) - before < 128 << 10);
	compare(profile_live_get(live), "the end");
	measure_in_pieces(profile_live_get(live), writer.header.start_monotonic_ns);
	munmap(mapped, 4096);
	profile_live_close(live);
	writer_free(&writer);
}

/* ---- segments ---- */

/*
 * A run of two folders: in one its files come and go, in the other all stay.  A stream's thread goes over into the
 * newest file with its next event.
 */
static struct run {
	char folder[2][64];
	struct writer writers[SEGMENTS];
	uint32_t count;               /* of files */
	size_t window;
	struct writer_stream *streams[STREAMS];
	uint32_t parents[NODES + 1], nodes;
	uint64_t stamp, now;
	void *mapped;                 /* the newest file */
} run;

static void segment_path(char *out, size_t size, int folder, uint32_t number)
{
	if (number == 1)
		snprintf(out, size, "%s/run.bin", run.folder[folder]);
	else
		snprintf(out, size, "%s/run.%06u.bin", run.folder[folder], number);
}

static void store_segment(uint32_t number)
{
	char name[128];

	for (int folder = 0; folder < 2; folder++) {
		segment_path(name, sizeof(name), folder, number);

		/* What has been removed stays so. */
		int file = open(name, O_RDWR);

		if (file < 0)
			continue;
		writer_finish(&run.writers[number - 1]);
		assert_int_equal(pwrite(file, run.writers[number - 1].bytes, run.writers[number - 1].size, 0),
			run.writers[number - 1].size);
		close(file);
	}
}

static void store_run(void)
{
	for (uint32_t i = 1; i <= run.count; i++)
		store_segment(i);
}

static void put_nodes(struct writer_stream *stream, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++) {
		put_code(stream, i, 10 * i, CAPTURE_LINES_LNOTAB, "app.py", "function", NULL, 0);
		put_node(stream, i, run.parents[i], CAPTURE_PYTHON_FRAME(i, 0));
	}
}

/* What each file has of those before it. */
static void copy_metadata(struct writer *to)
{
	struct writer scratch;
	struct writer_stream *stream;

	writer_init(&scratch);
	stream = writer_stream(&scratch, 0, 4096);
	put_nodes(stream, 1, run.nodes);
	for (uint32_t s = 0; s < STREAMS; s++)
		if (run.streams[s])
			put_thread_info(stream, s, 100 + s, 0, "thread");
	if (stream->carry.used)
		writer_words(to, 0, stream->words, (size_t)stream->carry.used);
	writer_free(&scratch);
}

/* The next file; the one before says so, as the recorder does it. */
static void begin_segment(void)
{
	struct writer *writer = &run.writers[run.count++];
	char name[128];

	assert_true(run.count <= SEGMENTS);
	writer_init(writer);
	writer->header.version = CAPTURE_VERSION;
	writer->header.pid = (uint32_t)getpid();
	writer->header.features = CAPTURE_SEGMENTS;
	writer->header.run_id = 77;
	writer->header.segment = run.count;
	writer->header.segment_stamp = run.count == 1 ? 0 : ++run.stamp;
	writer->header.segment_time_ns = run.now;
	writer_start(writer);
	if (run.count > 1) {
		copy_metadata(writer);
		run.writers[run.count - 2].status.state = CAPTURE_CONTINUED;
		run.writers[run.count - 2].status.end_time_ns = run.now;
		munmap(run.mapped, 4096);
	}
	for (int folder = 0; folder < 2; folder++) {
		segment_path(name, sizeof(name), folder, run.count);
		close(open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	}
	store_segment(run.count);
	segment_path(name, sizeof(name), 0, run.count);

	int file = open(name, O_RDWR);

	run.mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	assert_true(run.mapped != MAP_FAILED);
	close(file);
	if (run.count > 1)
		store_segment(run.count - 1);
}

static void remove_segments(int folder, uint32_t last)
{
	char name[128];

	for (uint32_t i = 1; i <= last; i++) {
		segment_path(name, sizeof(name), folder, i);
		unlink(name);
	}
}

static void begin_run(uint32_t seed)
{
	random_state = seed * 0x9e3779b97f4a7c15u;
	memset(&run, 0, sizeof(run));
	for (int folder = 0; folder < 2; folder++) {
		snprintf(run.folder[folder], sizeof(run.folder[folder]), "/tmp/sctmem-test-follow-%d.%u.%d", (int)getpid(),
			seed, folder);
		mkdir(run.folder[folder], 0700);
	}
	run.window = seed % 2 ? 120 : 600;
	run.stamp = 1;
	begin_segment();
}

static void end_run(void)
{
	munmap(run.mapped, 4096);
	for (int folder = 0; folder < 2; folder++) {
		remove_segments(folder, run.count);
		assert_int_equal(rmdir(run.folder[folder]), 0);
	}
	for (uint32_t i = 0; i < run.count; i++)
		writer_free(&run.writers[i]);
}

/* What comes after it has later stamps: at one stamp the order of two threads is that in which they are read. */
static void look_now(struct profile_live *live)
{
	store_run();
	look(live);
	run.stamp++;
}

/* The stream's place in the newest file.  Now and then somebody looks while its thread is on the way. */
static struct writer_stream *stream_here(uint32_t s, struct profile_live *live)
{
	struct writer *newest = &run.writers[run.count - 1];
	struct writer_stream *from = run.streams[s];

	if (!from) {
		run.streams[s] = writer_stream(newest, 5 + s * 3, run.window);
		put_thread(run.streams[s], s);
		put_thread_info(run.streams[s], s, 100 + s, 0, "thread");
	} else if (from->writer != newest) {
		const bool watched = live && draw(8) == 0;

		writer_move_words(from, newest);
		if (watched)
			look_now(live);
		run.streams[s] = writer_move_block(from, newest, run.window);
		if (watched)
			look_now(live);
		writer_move_window(from, run.streams[s]);
	}
	return run.streams[s];
}

static void run_step(struct profile_live *live, uint32_t idle)
{
	struct writer_stream *stream;
	uint32_t s = draw(STREAMS);

	/* One of the threads rests for long, and so stays in an old file. */
	if (s == idle)
		s = (s + 1) % STREAMS;
	stream = stream_here(s, live);
	put_room(stream, 16);
	run.stamp += draw(3) != 0;
	if (stream->stamp < run.stamp)
		put_stamp(stream, run.stamp);
	if (draw(30) == 0)
		put_time(stream, run.now += 1000000);
	if (run.nodes < NODES && draw(8) == 0) {
		run.parents[run.nodes + 1] = draw(run.nodes + 1);
		run.nodes++;
		put_nodes(stream, run.nodes, run.nodes);
	}
	put_something(stream, run.nodes);
	if (draw(300) == 0)
		writer_gap(&run.writers[run.count - 1], NULL, 8 * draw(400));
}

/* `gone`: so many files were removed before anybody looked; `keep`: so many stay while we look, 0: all. */
static void follow_run(uint32_t seed, uint32_t gone, uint32_t keep)
{
	struct profile_live *live = NULL;
	struct error error = { .text = "" };
	char all[128], first[128], when[64];
	const uint32_t steps = 6000;

	begin_run(seed);
	snprintf(all, sizeof(all), "%s/run.bin", run.folder[1]);
	for (uint32_t i = 0; i < steps; i++) {
		run_step(live, i / 700 % (STREAMS + 1));
		if (draw(120) == 0 && run.count < SEGMENTS) {
			begin_segment();
			if (live && keep && run.count > keep) {
				look_now(live);       /* what goes before it was seen is another test's */
				remove_segments(0, run.count - keep);
			}
		}
		if (!live && run.count > gone) {
			store_run();
			remove_segments(0, gone);
			remove_segments(1, gone);
			/* The run has the name of its first file, also when that is gone. */
			segment_path(first, sizeof(first), 0, seed % 3 ? gone + 1 : 1);
			if (!profile_live_open(&live, first, &profile_options_default, &error))
				assert_string_equal(error.text, "");
		}
		if (live && draw(steps / 20) == 0) {
			store_run();
			look(live);
			look_now(live);
			snprintf(when, sizeof(when), "seed %u, step %u, %u files", seed, i, run.count);
			assert_true(profile_live_is_alive(live));
			compare_with(profile_live_get(live), all, when);
		}
	}
	run.writers[run.count - 1].status.state = CAPTURE_EXITED;
	run.writers[run.count - 1].status.end_time_ns = run.now + 5;
	store_run();
	look(live);
	assert_false(profile_live_is_alive(live));
	compare_with(profile_live_get(live), all, "the end");
	assert_true(run.count > gone + 20);
	profile_live_close(live);
	end_run();
}

static void a_run_is_followed_from_file_to_file(void **state)
{
	for (uint32_t seed = 1; seed <= 4; seed++)
		follow_run(seed, 0, seed % 2 ? 2 : 0);
}

static void a_run_whose_oldest_files_are_gone_is_followed(void **state)
{
	for (uint32_t seed = 11; seed <= 14; seed++)
		follow_run(seed, 3, seed % 2 ? 2 : 0);
}

/* More files come and go than anybody has looked at: said, and what there is goes on. */
static void files_that_went_before_they_were_seen_are_missed(void **state)
{
	struct profile_live *live;
	struct error error = { .text = "" };
	char name[128];

	begin_run(21);
	for (uint32_t i = 0; i < 500; i++)
		run_step(NULL, STREAMS);
	store_run();
	segment_path(name, sizeof(name), 0, 1);
	if (!profile_live_open(&live, name, &profile_options_default, &error))
		assert_string_equal(error.text, "");
	look(live);
	for (int file = 0; file < 5; file++) {
		for (uint32_t i = 0; i < 500; i++)
			run_step(NULL, STREAMS);
		begin_segment();
		for (uint32_t i = 0; i < 100; i++)
			run_step(NULL, STREAMS);
	}
	store_run();
	remove_segments(0, run.count - 2);
	for (int i = 0; i < 8; i++)
		look(live);

	const struct profile_capture *capture = &profile_live_get(live)->captures[0];

	assert_int_equal(capture->segments_missing, 3);
	assert_true(capture->damaged);
	assert_non_null(strstr(capture->problem, "3 segments of the run are gone"));
	assert_int_equal(capture->segment_last, 6);
	assert_true(profile_live_is_alive(live));
	const uint64_t events = capture->events;

	for (uint32_t i = 0; i < 400; i++)
		run_step(NULL, STREAMS);
	store_run();
	look(live);
	look(live);
	assert_true(profile_live_get(live)->captures[0].events > events + 300);
	profile_live_close(live);
	end_run();
}

static size_t count_descriptors(void)
{
	size_t count = 0;

	for (int i = 0; i < 1024; i++)
		count += fcntl(i, F_GETFD) >= 0;
	return count;
}

/* A run of months must not take a descriptor for each of its files. */
static void files_that_all_threads_have_left_are_closed(void **state)
{
	struct profile_live *live;
	struct error error = { .text = "" };
	char name[128];
	size_t before;

	begin_run(31);
	for (uint32_t i = 0; i < 100; i++)
		run_step(NULL, STREAMS);
	store_run();
	segment_path(name, sizeof(name), 0, 1);
	if (!profile_live_open(&live, name, &profile_options_default, &error))
		assert_string_equal(error.text, "");
	before = count_descriptors();
	for (int file = 0; file < 40; file++) {
		begin_segment();
		for (uint32_t i = 0; i < 100; i++)
			run_step(NULL, STREAMS);
		store_run();
		look(live);
	}
	assert_true(count_descriptors() < before + 8);
	look(live);
	snprintf(name, sizeof(name), "%s/run.bin", run.folder[1]);
	compare_with(profile_live_get(live), name, "after 40 files");
	profile_live_close(live);
	end_run();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_look_says_what_the_whole_file_says, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_window_that_comes_late_is_waited_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_look_reads_what_is_new, set_up, tear_down),
		cmocka_unit_test(a_run_is_followed_from_file_to_file),
		cmocka_unit_test(a_run_whose_oldest_files_are_gone_is_followed),
		cmocka_unit_test(files_that_went_before_they_were_seen_are_missed),
		cmocka_unit_test(files_that_all_threads_have_left_are_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
