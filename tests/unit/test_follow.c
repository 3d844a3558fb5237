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

#include "draw.h"
#include "followed.h"

enum { STREAMS = RUN_STREAMS, NODES = RUN_NODES, BLOCKS = 300, SEGMENTS = RUN_SEGMENTS };

static char path[64];

static uint32_t draw(uint32_t below)
{
	return (uint32_t)draw_below(&growing.random, below);
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

	growing.random = seed * 0x9e3779b97f4a7c15u;
	writer_init(&writer);
	writer.header.pid = (uint32_t)getpid();
	writer.header.features = seed % 4 == 0 ? CAPTURE_SAMPLED : 0;
	writer_start(&writer);
	streams[0] = writer_stream(&writer, 5, window);
	put_thread_info(streams[0], 0, 100, 0, "first");
	unlink(path);
	followed_store(&writer, path);
	mapped = followed_map(path);
	live = followed_open(path);
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

			followed_store(&writer, path);
			while (draw(2) && !measure(live, &heap))
				continue;
			followed_look(live);
			/* What is as new as the newest stamp of the first is replayed by the second. */
			followed_look(live);
			stamp++;
			snprintf(when, sizeof(when), "seed %u, step %u", seed, i);
			assert_true(profile_live_is_alive(live));
			followed_compare(profile_live_get(live), path, when);
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
	followed_store(&writer, path);
	followed_look(live);
	assert_false(profile_live_is_alive(live));
	followed_compare(profile_live_get(live), path, "the end");
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
	followed_store(&writer, path);
	mapped = followed_map(path);
	live = followed_open(path);
	followed_look(live);
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
	followed_store(&writer, path);
	for (int i = 0; i < 8; i++)
		followed_look(live);
	assert_int_equal(profile_live_get(live)->total.live_bytes, 100);
	memcpy(writer.bytes + offset, late, size);
	followed_store(&writer, path);
	followed_look(live);
	assert_int_equal(profile_live_get(live)->total.live_bytes, 1500);
	followed_compare(profile_live_get(live), path, "late");
	/* One that never comes is given up, and said. */
	put_alloc(stream, CAPTURE_MALLOC, 0x5000, 1600, 0);
	offset = writer_flush(stream);
	put_alloc(stream, CAPTURE_MALLOC, 0x6000, 3200, 0);
	memset(writer.bytes + offset, 0, writer.size - offset);
	followed_store(&writer, path);
	for (int i = 0; i < 30; i++)
		followed_look(live);
	assert_int_equal(profile_live_get(live)->total.live_bytes, 1500 + 3200);
	assert_true(profile_live_get(live)->captures[0].damaged);
	munmap(mapped, 4096);
	profile_live_close(live);
	writer_free(&writer);
}

/* Who may look for a short time only comes to the same in the end, and knows how far he is. */
static void measure_in_pieces(const struct profile *profile, uint64_t start_ns)
{
	struct profile_live *live = followed_open(path);
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
	followed_store(&writer, path);
	mapped = followed_map(path);
	live = followed_open(path);
	for (int i = 0; i < 6; i++)
		followed_look(live);
	before = profile_live_bytes_read(live);
	assert_true(before > 1 << 20);
	put_stamp(stream, 1000000);
	for (uint64_t i = 0; i < 100; i++)
		put_alloc(stream, CAPTURE_MALLOC, 0x10000000 + i * 64, 10, 0);
	followed_store(&writer, path);
	followed_look(live);
	assert_true(profile_live_bytes_read(live) - before < 128 << 10);
	followed_compare(profile_live_get(live), path, "the end");
	measure_in_pieces(profile_live_get(live), writer.header.start_monotonic_ns);
	munmap(mapped, 4096);
	profile_live_close(live);
	writer_free(&writer);
}

/* ---- segments ---- */

static void begin_run(uint32_t seed)
{
	run_begin(seed, seed % 2 ? 120 : 600, 0, NULL);
}

static void run_step(struct profile_live *live, uint32_t idle)
{
	struct writer_stream *stream;
	uint32_t s = draw(STREAMS);

	/* One of the threads rests for long, and so stays in an old file. */
	if (s == idle)
		s = (s + 1) % STREAMS;
	stream = run_stream(s, live);
	put_room(stream, 16);
	growing.stamp += draw(3) != 0;
	if (stream->stamp < growing.stamp)
		put_stamp(stream, growing.stamp);
	if (draw(30) == 0)
		put_time(stream, growing.now += 1000000);
	if (growing.nodes < NODES && draw(8) == 0) {
		growing.parents[growing.nodes + 1] = draw(growing.nodes + 1);
		growing.nodes++;
		run_put_nodes(stream, growing.nodes, growing.nodes);
	}
	put_something(stream, growing.nodes);
	if (draw(300) == 0)
		writer_gap(&growing.writers[growing.count - 1], NULL, 8 * draw(400));
}

/* `gone`: so many files were removed before anybody looked; `keep`: so many stay while we look, 0: all. */
static void follow_run(uint32_t seed, uint32_t gone, uint32_t keep)
{
	struct profile_live *live = NULL;
	struct error error = { .text = "" };
	char all[128], first[128], when[64];
	const uint32_t steps = 6000;

	begin_run(seed);
	snprintf(all, sizeof(all), "%s/run.bin", growing.folder[1]);
	for (uint32_t i = 0; i < steps; i++) {
		run_step(live, i / 700 % (STREAMS + 1));
		if (draw(120) == 0 && growing.count < SEGMENTS) {
			run_begin_segment();
			if (live && keep && growing.count > keep) {
				run_look(live);       /* what goes before it was seen is another test's */
				run_remove(0, growing.count - keep);
			}
		}
		if (!live && growing.count > gone) {
			run_store();
			run_remove(0, gone);
			run_remove(1, gone);
			/* The run has the name of its first file, also when that is gone. */
			run_path(first, sizeof(first), 0, seed % 3 ? gone + 1 : 1);
			if (!profile_live_open(&live, first, &profile_options_default, &error))
				assert_string_equal(error.text, "");
		}
		if (live && draw(steps / 20) == 0) {
			run_store();
			followed_look(live);
			run_look(live);
			snprintf(when, sizeof(when), "seed %u, step %u, %u files", seed, i, growing.count);
			assert_true(profile_live_is_alive(live));
			followed_compare(profile_live_get(live), all, when);
		}
	}
	growing.writers[growing.count - 1].status.state = CAPTURE_EXITED;
	growing.writers[growing.count - 1].status.end_time_ns = growing.now + 5;
	run_store();
	followed_look(live);
	assert_false(profile_live_is_alive(live));
	followed_compare(profile_live_get(live), all, "the end");
	assert_true(growing.count > gone + 20);
	profile_live_close(live);
	run_end();
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
	run_store();
	run_path(name, sizeof(name), 0, 1);
	if (!profile_live_open(&live, name, &profile_options_default, &error))
		assert_string_equal(error.text, "");
	followed_look(live);
	for (int file = 0; file < 5; file++) {
		for (uint32_t i = 0; i < 500; i++)
			run_step(NULL, STREAMS);
		run_begin_segment();
		for (uint32_t i = 0; i < 100; i++)
			run_step(NULL, STREAMS);
	}
	run_store();
	run_remove(0, growing.count - 2);
	for (int i = 0; i < 8; i++)
		followed_look(live);

	const struct profile_capture *capture = &profile_live_get(live)->captures[0];

	assert_int_equal(capture->segments_missing, 3);
	assert_true(capture->damaged);
	assert_non_null(strstr(capture->problem, "3 segments of the run are gone"));
	assert_int_equal(capture->segment_last, 6);
	assert_true(profile_live_is_alive(live));
	const uint64_t events = capture->events;

	for (uint32_t i = 0; i < 400; i++)
		run_step(NULL, STREAMS);
	run_store();
	followed_look(live);
	followed_look(live);
	assert_true(profile_live_get(live)->captures[0].events > events + 300);
	profile_live_close(live);
	run_end();
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
	run_store();
	run_path(name, sizeof(name), 0, 1);
	if (!profile_live_open(&live, name, &profile_options_default, &error))
		assert_string_equal(error.text, "");
	before = count_descriptors();
	for (int file = 0; file < 40; file++) {
		run_begin_segment();
		for (uint32_t i = 0; i < 100; i++)
			run_step(NULL, STREAMS);
		run_store();
		followed_look(live);
	}
	assert_true(count_descriptors() < before + 8);
	followed_look(live);
	snprintf(name, sizeof(name), "%s/run.bin", growing.folder[1]);
	followed_compare(profile_live_get(live), name, "after 40 files");
	profile_live_close(live);
	run_end();
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
