/* SPDX-License-Identifier: MIT */
/*
 * Slices of time against one replay for each question: random programs, with reallocs and munmaps that are torn apart,
 * undone or make no sense, are replayed once in slices, and then once more for each border and window, in the plain way
 * of --at and --time.  Both must say the same of every site.  Half of the programs are samples, which get coarser and
 * finer: then both must say the same of how uncertain the bytes are, too, exactly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "capture_writer.h"
#include "reader/replay.h"
#include "reader/replay_cost.h"
#include "draw.h"

enum { STREAMS = 3, STACKS = 12 };
#define MAP_BASE 0x7f0000000000u

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)draw_below(&random_state, below);
}

static uint64_t address(void) { return 0x1000 + draw(300) * 16ul; }

static void put_random_event(struct writer_stream *stream, uint64_t *moving)
{
	static const unsigned kinds[] = { CAPTURE_MALLOC, CAPTURE_CALLOC, CAPTURE_PYOBJECT_MALLOC };
	static const uint32_t flags[] = { 0, CAPTURE_MAP_RESERVE, CAPTURE_MAP_FILE, CAPTURE_MAP_ARENA, CAPTURE_MAP_MOVED };
	const uint64_t page = MAP_BASE + draw(40) * 4096ul, length = (1 + draw(12)) * 4096ul;

	switch (draw(12)) {
	case 0: case 1: case 2: case 3:
		put_alloc(stream, kinds[draw(3)], address(), draw(20) ? draw(500) : (uint64_t)draw(9) << 30, draw(STACKS));
		break;
	case 4: case 5: case 6:
		put_free(stream, CAPTURE_FREE, address());
		break;
	case 7:
		*moving = address();
		put_free(stream, CAPTURE_MOVE, *moving);
		break;
	case 8:
		if (draw(2))
			put_free(stream, CAPTURE_STAY, *moving);
		else
			put_alloc(stream, CAPTURE_REALLOC, draw(2) ? *moving : address(), draw(300), draw(STACKS));
		break;
	case 9:
		put_map(stream, page, length, flags[draw(5)], draw(STACKS));
		break;
	case 10:
		put_unmap(stream, CAPTURE_UNMAP, page, length);
		if (draw(3) == 0)
			put_unmap(stream, CAPTURE_UNMAP_FAILED, page, length);
		break;
	default:
		put_unmap(stream, CAPTURE_UNMAP_FAILED, page, length);
	}
}

static void put_sampling(struct writer_stream *stream)
{
	const uint64_t mean = draw(4) ? UINT64_C(16) << draw(8) : 0;

	put_metadata(stream, CAPTURE_SAMPLING, &mean, sizeof(mean));
}

/* Returns when it ends.  Some stretches of time are empty, some moments have many events. */
static uint64_t write_random_program(const char *path, uint32_t steps, bool sampled)
{
	struct writer writer;
	struct writer_stream *streams[STREAMS];
	uint64_t moving[STREAMS] = { 0 }, stamp = 1, now = 0;

	writer_init(&writer);
	if (sampled) {
		writer.header.version = CAPTURE_VERSION;
		writer.header.features = CAPTURE_SAMPLED;
	}
	writer_start(&writer);
	for (uint32_t i = 0; i < STREAMS; i++) {
		streams[i] = writer_stream(&writer, i, 256);
		streams[i]->thread = streams[i]->carry.first_thread = i;
	}
	for (uint32_t i = 1; i < STACKS; i++)
		put_node(streams[0], i, i / 2, CAPTURE_NATIVE_FRAME(0x400000 + i, 0));
	for (uint32_t i = 0; i < steps; i++) {
		const uint32_t s = draw(STREAMS);

		put_room(streams[s], 8);
		stamp += 1 + draw(3);
		put_stamp(streams[s], stamp);
		if (draw(6) == 0) {
			/* Often on a border, one before or one behind it. */
			now = (now + 999) / 1000 * 1000 + 1000 * draw(4) + (draw(60) == 0 ? 300000 : 0);
			now += draw(4) ? 0 : draw(2) ? 1 : 999;
			put_time(streams[s], now);
		}
		if (sampled && draw(50) == 0)
			put_sampling(streams[s]);
		put_random_event(streams[s], &moving[s]);
	}
	writer_save(&writer, path);
	writer_free(&writer);
	return now;
}

static void replay_file(struct replay *replay, const char *path, const struct replay_options *options, uint64_t end_ns)
{
	struct error error = { 0 };
	struct capture *capture;
	struct decode_crew *crew;
	struct merge *merge;

	assert_true(capture_open(&capture, path, &error));
	assert_true(decode_crew_new(&crew, 0, &error));
	assert_true(replay_init(replay, 1, options, &error));
	assert_true(merge_open(&merge, capture, crew, &error));
	assert_true(replay_add_process(replay, 0, capture, 0, merge_stream_count(merge), &error));
	for (;;) {
		const struct decoded_event *events;
		size_t count, ahead, done;
		uint32_t stream;

		assert_true(merge_run(merge, &events, &count, &ahead, &stream, &error));
		if (count == 0)
			break;
		assert_true(replay_run(replay, 0, stream, events, count, ahead, UINT64_MAX, &done, &error));
		merge_consume(merge, done);
	}
	assert_true(replay_end(replay, end_ns, &error));
	merge_close(merge);
	decode_crew_free(crew);
	capture_close(capture);
}

static struct replay sliced, plain;
static size_t uncertain;         /* compared figures that were estimates */

/* What a site is asked for, summed up over the slices from..to. */
struct sums { uint64_t total_bytes, total_count, live_bytes, live_count; struct spread total, live; };

/* born_from: cells of earlier slices are left out. */
static struct sums sum_slices(uint32_t site, uint32_t born_from, uint32_t to)
{
	const struct slices *slices = &sliced.slices;
	const size_t first = born_from ? slices->ends[born_from - 1].cell_end : 1;
	struct sums sums = { 0 };

	for (size_t i = first; i < slices->ends[to].cell_end; i++) {
		if (slices->site_of[i] != site)
			continue;
		sums.total_bytes += slices->cell_sites[i].total_bytes;
		sums.total_count += slices->cell_sites[i].total_count;
		sums.live_bytes += slices->cells[i].kept_bytes;
		sums.live_count += slices->cells[i].kept_count;
		if (!slices->cell_totals)
			continue;
		spread_add(&sums.total, &slices->cell_totals[i].total);
		spread_add(&sums.live, &slices->cell_spreads[i].kept);
	}
	for (size_t i = 0; i < slices->ends[to].loss_end; i++) {
		if (slices->losses[i].cell < first || slices->site_of[slices->losses[i].cell] != site)
			continue;
		sums.live_bytes -= (uint64_t)slices->losses[i].bytes;
		sums.live_count -= (uint64_t)slices->losses[i].count;
		if (slices->cell_totals)
			sums.live = spread_less(&sums.live, &slices->loss_spreads[i]);
	}
	return sums;
}

static uint32_t find_key(const struct replay *replay, uint64_t key)
{
	for (uint32_t i = 1; i < replay->site_count; i++)
		if (replay->sites[i].key == key)
			return i;
	return 0;
}

/* Those of bytes are sums of short numbers: not even a rounding lies between two ways to add them up. */
static void compare_spreads(const struct spread *one, const struct spread *two)
{
	assert_true(one->unseen_bytes == two->unseen_bytes);
	assert_true(one->variance_bytes == two->variance_bytes);
	uncertain += one->variance_bytes > 0;
}

/* Slices from..to against a replay of what was allocated in them, and of what lived at their end. */
static void compare_window(const char *path, uint32_t from, uint32_t to, uint64_t end_ns)
{
	const struct slices *slices = &sliced.slices;
	const struct replay_options options = { .temporary_limit = 1, .at_ns = slices->ends[to].time_ns,
		.from_ns = from ? slices->ends[from - 1].time_ns + 1 : 0, .to_ns = slices->ends[to].time_ns,
		.sampled = sliced.options.sampled };

	replay_file(&plain, path, &options, end_ns);
	for (uint32_t i = 1; i < plain.site_count; i++)
		assert_int_not_equal(find_key(&sliced, plain.sites[i].key), 0);
	for (uint32_t i = 1; i < sliced.site_count; i++) {
		const struct sums sums = sum_slices(i, from, to);
		const uint32_t other = find_key(&plain, sliced.sites[i].key);

		assert_int_equal(sums.total_bytes, plain.sites[other].total_bytes * (other != 0));
		assert_int_equal(sums.total_count, plain.sites[other].total_count * (other != 0));
		assert_int_equal(sums.live_bytes, plain.extras[other].at_bytes * (other != 0));
		assert_int_equal(sums.live_count, plain.extras[other].at_count * (other != 0));
		if (!sliced.slices.cell_totals)
			continue;
		compare_spreads(&sums.total, other ? &plain.spreads[other].total : &(struct spread){ 0 });
		compare_spreads(&sums.live, other ? &plain.spreads[other].at : &(struct spread){ 0 });
	}
	replay_finish(&plain);
}

/* The run as a whole is what it is without slices. */
static void compare_whole(const char *path, struct replay_options options, uint64_t end_ns)
{
	options.slices = 0;
	replay_file(&plain, path, &options, end_ns);
	assert_int_equal(plain.site_count, sliced.site_count);
	assert_int_equal(plain.peak_bytes, sliced.peak_bytes);
	assert_int_equal(plain.peak_time_ns, sliced.peak_time_ns);
	assert_int_equal(plain.free_count, sliced.free_count);
	for (uint32_t i = 1; i < plain.site_count; i++) {
		const uint32_t other = find_key(&sliced, plain.sites[i].key);
		const struct replay_site *a = &plain.sites[i], *b = &sliced.sites[other];

		assert_int_equal(a->total_bytes, b->total_bytes);
		assert_int_equal(a->total_count, b->total_count);
		assert_int_equal(a->live_bytes, b->live_bytes);
		assert_int_equal(a->live_count, b->live_count);
		assert_int_equal(a->peak_bytes, b->peak_bytes);
		assert_int_equal(a->peak_count, b->peak_count);
		assert_memory_equal(&plain.extras[i], &sliced.extras[other], sizeof(plain.extras[i]));
	}
	replay_finish(&plain);
}

/* What is live, summed up event by event, and the most of it behind each point of the time line until the next. */
struct heap {
	uint64_t live, max[64], max_ns[64];
	uint32_t point;
};

static void book_event(void *context, const struct profile_event *event)
{
	const struct timeline *timeline = &sliced.timeline;
	struct heap *heap = context;

	for (; heap->point + 1 < timeline->count && event->time_ns > timeline->points[heap->point].time_ns; heap->point++) {
		heap->max[heap->point + 1] = heap->live;
		heap->max_ns[heap->point + 1] = timeline->points[heap->point].time_ns;
	}
	if (site_counted(plain.sites[event->site].key))
		heap->live += event->bytes - event->bytes_before;
	if (heap->live > heap->max[heap->point]) {
		heap->max[heap->point] = heap->live;
		heap->max_ns[heap->point] = event->time_ns;
	}
}

/* The time line of what is no sample, whose events are told as they are. */
static void compare_points(const char *path, struct replay_options options, uint64_t end_ns)
{
	struct heap heap = { 0 };

	assert_true(sliced.timeline.count <= 64);
	options.slices = 0;
	options.observer = &(struct profile_observer){ .context = &heap, .event = book_event };
	replay_file(&plain, path, &options, end_ns);
	for (uint32_t i = 0; i <= heap.point; i++) {
		assert_int_equal(sliced.timeline.points[i].live_max_bytes, heap.max[i]);
		assert_int_equal(sliced.timeline.points[i].live_max_ns, heap.max_ns[i]);
	}
	replay_finish(&plain);
}

/* Each point's maximum, and when it was first reached, against points so narrow that each has few events. */
static void compare_timeline(const char *path, struct replay_options options, uint64_t end_ns)
{
	const struct timeline *coarse = &sliced.timeline;
	uint64_t most = 0, most_ns = 0;
	uint32_t fine = 0;

	options.slices = 0;
	options.timeline_points = 20000;
	replay_file(&plain, path, &options, end_ns);
	assert_true(plain.timeline.width_ns < coarse->width_ns || plain.timeline.count == coarse->count);
	for (uint32_t i = 0; i < coarse->count; i++) {
		const uint32_t first = fine;
		uint64_t max = 0, max_ns = 0;

		for (; fine < plain.timeline.count && plain.timeline.points[fine].time_ns <= coarse->points[i].time_ns; fine++) {
			const struct timeline_point *point = &plain.timeline.points[fine];

			max_ns = point->live_max_bytes > max || fine == first ? point->live_max_ns : max_ns;
			max = point->live_max_bytes > max ? point->live_max_bytes : max;
			assert_true(point->live_max_ns <= point->time_ns);
		}
		assert_int_equal(coarse->points[i].live_max_bytes, max);
		assert_int_equal(coarse->points[i].live_max_ns, max_ns);
		most_ns = max > most ? max_ns : most_ns;
		most = max > most ? max : most;
	}
	assert_int_equal(fine, plain.timeline.count);
	assert_int_equal(most, plain.peak_bytes);
	assert_int_equal(most_ns, plain.peak_time_ns);
	replay_finish(&plain);
}

static void slices_say_what_a_replay_of_their_times_says(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/sctmem-test-slices-%d.bin", (int)getpid());
	for (uint32_t seed = 1; seed <= 30; seed++) {
		struct replay_options options = { .to_ns = UINT64_MAX, .temporary_limit = 1, .timeline_points = 40 };
		uint64_t now, end_ns;

		random_state = seed * 0x9e3779b97f4a7c15u;
		options.sampled = seed % 2;
		now = write_random_program(path, 50 + draw(2000), options.sampled);
		end_ns = now + (draw(2) ? draw(5000) : 0);
		options.slices = 2 + 2 * draw(20);
		options.slice_entries_max = draw(2) ? SIZE_MAX : 1 + draw(600);
		options.at_ns = draw(2) ? UINT64_MAX : draw((uint32_t)now + 1);
		replay_file(&sliced, path, &options, end_ns);
		const uint32_t count = sliced.slices.count;
		assert_in_range(count, 1, options.slices);
		assert_int_equal(sliced.slices.ends[count - 1].time_ns, end_ns);
		if (sliced.slices.site_of && options.slice_entries_max != SIZE_MAX && count > 1)
			assert_true(sliced.slices.cell_count + sliced.slices.loss_count <= options.slice_entries_max);
		compare_whole(path, options, end_ns);
		compare_timeline(path, options, end_ns);
		if (!options.sampled)
			compare_points(path, options, end_ns);
		for (uint32_t to = 0; to < count; to++)
			compare_window(path, draw(to + 1), to, end_ns);
		for (uint32_t i = 0; i < 8; i++) {
			const uint32_t to = draw(count);

			compare_window(path, draw(to + 1), to, end_ns);
		}
		/* The time line at a border has what is live there. */
		for (uint32_t slice = 0; slice < count; slice++) {
			uint64_t live = 0;

			for (uint32_t site = 1; site < sliced.site_count; site++)
				live += site_counted(sliced.sites[site].key) ? sum_slices(site, 0, slice).live_bytes : 0;
			for (uint32_t i = 0; i < sliced.timeline.count; i++)
				if (sliced.timeline.points[i].time_ns == sliced.slices.ends[slice].time_ns)
					assert_int_equal(sliced.timeline.points[i].live_bytes, live);
		}
		replay_finish(&sliced);
	}
	assert_true(uncertain > 1000);
	unlink(path);
}

static void an_empty_run_is_one_slice(void **state)
{
	const struct replay_options options = { .at_ns = UINT64_MAX, .to_ns = UINT64_MAX, .slices = 8,
		.slice_entries_max = 100 };
	char path[64];
	struct writer writer;

	snprintf(path, sizeof(path), "/tmp/sctmem-test-slices-%d.bin", (int)getpid());
	writer_init(&writer);
	writer_start(&writer);
	writer_stream(&writer, 0, 64);
	writer_save(&writer, path);
	writer_free(&writer);
	replay_file(&sliced, path, &options, 0);
	assert_int_equal(sliced.slices.count, 1);
	assert_int_equal(sliced.slices.cell_count, 1);
	assert_int_equal(sliced.slices.loss_count, 0);
	replay_finish(&sliced);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_say_what_a_replay_of_their_times_says),
		cmocka_unit_test(an_empty_run_is_one_slice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
