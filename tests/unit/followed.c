/* SPDX-License-Identifier: MIT */
/* See followed.h. */
#include "followed.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "draw.h"

enum { PATH_SIZE = 1024 };

struct growing growing;

void followed_store(struct writer *writer, const char *path)
{
	int file = open(path, O_RDWR | O_CREAT, 0600);

	writer_finish(writer);
	assert_true(file >= 0);
	assert_int_equal(pwrite(file, writer->bytes, writer->size, 0), writer->size);
	close(file);
}

void *followed_map(const char *path)
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

/* What a reader of the whole file makes of it has a lower peak where some of it was dropped. */
static void compare_peaks(const struct profile *live, const struct profile *whole)
{
	const struct profile_capture *capture = &whole->captures[0];

	assert_int_equal(live->captures[0].unseen_bytes, capture->unseen_bytes);
	if (capture->unseen_bytes > 0) {
		assert_in_range(live->peak_bytes, whole->peak_bytes, whole->peak_bytes + capture->unseen_bytes);
		return;
	}
	assert_int_equal(live->peak_bytes, whole->peak_bytes);
	assert_int_equal(live->peak_time_ns, whole->peak_time_ns);
}

static void compare_costs(const struct cost *live, const struct cost *whole, bool peaks, const char *when,
	const char *text)
{
	struct cost left = *live, right = *whole;

	if (!peaks)
		left.peak_bytes = left.peak_count = right.peak_bytes = right.peak_count = 0;
	if (memcmp(&left, &right, sizeof(left)) != 0)
		print_error("%s: '%s' has %lu live in %lu, %lu total in %lu, %lu temporary in %lu; whole %lu in %lu, %lu in %lu, "
			"%lu in %lu\n", when, text, left.live_bytes, left.live_count, left.total_bytes, left.total_count,
			left.temporary_bytes, left.temporary_count, right.live_bytes, right.live_count, right.total_bytes,
			right.total_count, right.temporary_bytes, right.temporary_count);
	assert_memory_equal(&left, &right, sizeof(left));
}

static void compare_captures(const struct profile_capture *live, const struct profile_capture *whole)
{
	assert_int_equal(live->events, whole->events);
	assert_int_equal(live->unknown_frees, whole->unknown_frees);
	assert_int_equal(live->contradictions, whole->contradictions);
	assert_int_equal(live->sample_passed, whole->sample_passed);
	assert_int_equal(live->sample_passed_bytes, whole->sample_passed_bytes);
	assert_string_equal(live->problem, whole->problem);
	assert_int_equal(live->damaged, whole->damaged);
	assert_int_equal(live->segment_first, whole->segment_first);
	assert_int_equal(live->segment_last, whole->segment_last);
	assert_int_equal(live->left_out, whole->left_out);
}

void followed_compare(const struct profile *live, const char *path, const char *when)
{
	struct error error = { .text = "" };
	struct profile *whole;
	struct line *left, *right;

	if (!profile_build(&whole, (const char *[]){ path }, 1, NULL, &error))
		assert_string_equal(error.text, "");
	const bool peaks = whole->captures[0].unseen_bytes == 0;

	left = list_sites(live);
	right = list_sites(whole);
	if (live->site_count != whole->site_count)
		print_error("%s: %zu sites, of %lu events; whole %zu, of %lu\n", when, live->site_count, live->captures[0].events,
			whole->site_count, whole->captures[0].events);
	assert_int_equal(live->site_count, whole->site_count);
	for (size_t i = 0; i < whole->site_count; i++) {
		assert_string_equal(left[i].text, right[i].text);
		compare_costs(&left[i].cost, &right[i].cost, peaks, when, left[i].text);
	}
	compare_costs(&live->total, &whole->total, peaks, when, "total");
	for (unsigned i = 0; i < DOMAIN_COUNT; i++)
		compare_costs(&live->by_domain[i], &whole->by_domain[i], peaks, when, "domain");
	assert_int_equal(live->free_count, whole->free_count);
	compare_peaks(live, whole);
	assert_int_equal(live->duration_ns, whole->duration_ns);
	assert_int_equal(live->mark_count, whole->mark_count);
	assert_int_equal(live->gap_count, whole->gap_count);
	compare_captures(&live->captures[0], &whole->captures[0]);
	free(left);
	free(right);
	profile_free(whole);
}

struct profile_live *followed_open(const char *path)
{
	struct error error = { .text = "" };
	struct profile_live *live;

	if (!profile_live_open(&live, path, &profile_options_default, &error))
		assert_string_equal(error.text, "");
	return live;
}

void followed_look(struct profile_live *live)
{
	struct error error = { .text = "" };

	if (!profile_live_look(live, &error))
		assert_string_equal(error.text, "");
}

void run_path(char *out, size_t size, int folder, uint32_t number)
{
	if (number == 1)
		snprintf(out, size, "%s/run.bin", growing.folder[folder]);
	else
		snprintf(out, size, "%s/run.%06u.bin", growing.folder[folder], number);
}

static void store_segment(uint32_t number)
{
	char name[128];

	for (int folder = 0; folder < 2; folder++) {
		run_path(name, sizeof(name), folder, number);

		/* What has been removed stays so. */
		int file = open(name, O_RDWR);

		if (file < 0)
			continue;
		writer_finish(&growing.writers[number - 1]);
		assert_int_equal(pwrite(file, growing.writers[number - 1].bytes, growing.writers[number - 1].size, 0),
			growing.writers[number - 1].size);
		close(file);
	}
}

void run_store(void)
{
	for (uint32_t i = 1; i <= growing.count; i++)
		store_segment(i);
}

void run_put_nodes(struct writer_stream *stream, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++) {
		put_code(stream, i, 10 * i, CAPTURE_LINES_LNOTAB, "app.py", "function", NULL, 0);
		put_node(stream, i, growing.parents[i], CAPTURE_PYTHON_FRAME(i, 0));
	}
}

/* What each file has of those before it. */
static void copy_metadata(struct writer *to)
{
	struct writer scratch;
	struct writer_stream *stream;

	writer_init(&scratch);
	stream = writer_stream(&scratch, 0, 4096);
	run_put_nodes(stream, 1, growing.nodes);
	for (uint32_t s = 0; s < RUN_STREAMS; s++)
		if (growing.streams[s])
			put_thread_info(stream, s, 100 + s, 0, "thread");
	if (stream->carry.used)
		writer_words(to, 0, stream->words, (size_t)stream->carry.used);
	writer_free(&scratch);
}

void run_begin_segment(void)
{
	struct writer *writer = &growing.writers[growing.count++];
	char name[128];

	assert_true(growing.count <= RUN_SEGMENTS);
	writer_init(writer);
	writer->header.version = CAPTURE_VERSION;
	writer->header.pid = (uint32_t)getpid();
	writer->header.features = growing.features;
	writer->hand_on = growing.hand_on;
	writer->header.run_id = 77;
	writer->header.segment = growing.count;
	writer->header.segment_stamp = growing.count == 1 ? 0 : ++growing.stamp + growing.late;
	writer->header.segment_time_ns = growing.now;
	writer_start(writer);
	if (growing.count > 1) {
		copy_metadata(writer);
		growing.writers[growing.count - 2].status.state = CAPTURE_CONTINUED;
		growing.writers[growing.count - 2].status.end_time_ns = growing.now;
		munmap(growing.mapped, 4096);
	}
	for (int folder = 0; folder < 2; folder++) {
		run_path(name, sizeof(name), folder, growing.count);
		close(open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	}
	store_segment(growing.count);
	run_path(name, sizeof(name), 0, growing.count);
	growing.mapped = followed_map(name);
	if (growing.count > 1)
		store_segment(growing.count - 1);
}

void run_remove(int folder, uint32_t last)
{
	char name[128];

	for (uint32_t i = 1; i <= last; i++) {
		run_path(name, sizeof(name), folder, i);
		unlink(name);
	}
}

void run_begin(uint32_t seed, size_t window, uint64_t features, writer_hand_on *hand_on)
{
	memset(&growing, 0, sizeof(growing));
	for (int folder = 0; folder < 2; folder++) {
		snprintf(growing.folder[folder], sizeof(growing.folder[folder]), "/tmp/sctmem-test-follow-%d.%u.%d", (int)getpid(),
			seed, folder);
		mkdir(growing.folder[folder], 0700);
	}
	growing.random = seed * 0x9e3779b97f4a7c15u;
	growing.window = window;
	growing.features = features | CAPTURE_SEGMENTS;
	growing.hand_on = hand_on;
	growing.stamp = 1;
	run_begin_segment();
}

void run_end(void)
{
	munmap(growing.mapped, 4096);
	for (int folder = 0; folder < 2; folder++) {
		run_remove(folder, growing.count);
		assert_int_equal(rmdir(growing.folder[folder]), 0);
	}
	for (uint32_t i = 0; i < growing.count; i++)
		writer_free(&growing.writers[i]);
}

void run_look(struct profile_live *live)
{
	run_store();
	followed_look(live);
	growing.stamp++;
}

struct writer_stream *run_stream(uint32_t s, struct profile_live *live)
{
	struct writer *newest = &growing.writers[growing.count - 1];
	struct writer_stream *from = growing.streams[s];

	if (!from) {
		growing.streams[s] = writer_stream(newest, 5 + s * 3, growing.window);
		put_thread(growing.streams[s], s);
		put_thread_info(growing.streams[s], s, 100 + s, 0, "thread");
	} else if (from->writer != newest) {
		const bool watched = live && draw_below(&growing.random, 8) == 0;

		writer_move_words(from, newest);
		if (watched)
			run_look(live);
		growing.streams[s] = writer_move_block(from, newest, growing.window);
		if (watched)
			run_look(live);
		writer_move_window(from, growing.streams[s]);
	}
	return growing.streams[s];
}
