/* SPDX-License-Identifier: MIT */
/*
 * A capture that grows: after each look the profile is the one that a reader of the whole file makes of it.  Random
 * programs of several threads are written step by step, windows handed on in any order, blocks in places that were
 * passed over; and the profiles are compared site by site, with their stacks.
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
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "capture_writer.h"
#include "reader/profile_live.h"
#include "draw.h"

enum { STREAMS = 4, NODES = 40, BLOCKS = 300, PATH_SIZE = 1024 };

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

static void compare(const struct profile *live, const char *when)
{
	struct error error = { .text = "" };
	struct profile *whole;
	struct line *left, *right;

	if (!profile_build(&whole, (const char *[]){ path }, 1, NULL, &error))
		assert_string_equal(error.text, "");
	left = list_sites(live);
	right = list_sites(whole);
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
	assert_int_equal(live->captures[0].damaged, whole->captures[0].damaged);
	free(left);
	free(right);
	profile_free(whole);
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

static void put_something(struct writer_stream *stream, uint32_t *nodes)
{
	const uint32_t what = draw(100);
	const uint64_t address = 0x10000 + draw(BLOCKS) * 64ul;
	const struct capture_recording recording = { .on = draw(2) };
	const struct capture_sampling sampling = { .mean_bytes = draw(3) ? 1u << draw(14) : 0 };
	char name[16];

	if (*nodes < NODES && draw(8) == 0) {
		put_code(stream, *nodes + 1, 10 * *nodes + 1, CAPTURE_LINES_LNOTAB, "app.py", "function", NULL, 0);
		put_node(stream, *nodes + 1, draw(*nodes + 1), CAPTURE_PYTHON_FRAME(*nodes + 1, 0));
		(*nodes)++;
	}
	if (what < 50)
		put_alloc(stream, 32 + draw(14), address, draw(3000), draw(*nodes + 1));
	else if (what < 85)
		put_free(stream, draw(2) ? CAPTURE_FREE : CAPTURE_FREE_PYTHON, address);
	else if (what < 90)
		put_map(stream, 0x7f0000000000 + draw(50) * 4096ul, 4096ul * (1 + draw(8)), 0, draw(*nodes + 1));
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
		put_something(streams[s], &nodes);
		if (draw(300) == 0)
			writer_gap(&writer, NULL, 8 * draw(400));
		if (draw(steps / 12) == 0) {
			store(&writer);
			look(live);
			/* What is as new as the newest stamp of the first is replayed by the second. */
			look(live);
			stamp++;
			snprintf(when, sizeof(when), "seed %u, step %u", seed, i);
			assert_true(profile_live_is_alive(live));
			compare(profile_live_get(live), when);
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
	munmap(mapped, 4096);
	profile_live_close(live);
	writer_free(&writer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_look_says_what_the_whole_file_says, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_window_that_comes_late_is_waited_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_look_reads_what_is_new, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
