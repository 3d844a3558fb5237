/* SPDX-License-Identifier: MIT */
/*
 * The profile of the golden capture, number by number; families, filters, and captures of real trouble.
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

#include "golden_capture.h"
#include "reader/profile.h"

static char path[2][64];

static int set_up(void **state)
{
	struct writer writer;

	for (int i = 0; i < 2; i++)
		snprintf(path[i], sizeof(path[i]), "/tmp/sctmem-test-profile-%d-%d.bin", (int)getpid(), i);
	golden_write(&writer);
	writer_save(&writer, path[0]);
	writer_free(&writer);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path[0]);
	unlink(path[1]);
	return 0;
}

static struct profile *build(const char *const *paths, size_t count, const struct profile_options *options)
{
	struct error error = { .text = "" };
	struct profile *profile;

	if (!profile_build(&profile, paths, count, options, &error))
		assert_string_equal(error.text, "");
	return profile;
}

static struct profile *build_golden(const struct profile_options *options)
{
	return build((const char *[]){ path[0] }, 1, options);
}

static const struct site *find_site(const struct profile *profile, const char *function, uint8_t allocator)
{
	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];

		if (site->allocator == allocator &&
		    strcmp(profile->frames[profile->nodes[site->node].frame].function, function) == 0)
			return site;
	}
	return NULL;
}

static void the_golden_capture_has_these_totals(void **state)
{
	struct profile *profile = build_golden(NULL);
	const uint64_t large = ((uint64_t)5 << 32) + 16;

	/* malloc 100, calloc 50, realloc 200, malloc large, pyobject 64, malloc 1000, memalign 3000, mmap 8192 */
	assert_int_equal(profile->total.total_count, 8);
	assert_int_equal(profile->total.total_bytes, 100 + 50 + 200 + large + 64 + 1000 + 3000 + 8192);
	assert_int_equal(profile->total.peak_bytes, 100 + large);
	assert_int_equal(profile->peak_bytes, profile->total.peak_bytes);
	assert_int_equal(profile->peak_time_ns, 1000000);
	assert_int_equal(profile->total.peak_count, 2);
	/* live at the end: malloc 1000 and the first page of the mapping */
	assert_int_equal(profile->total.live_bytes, 1000 + 4096);
	assert_int_equal(profile->total.live_count, 2);
	/* calloc by its realloc, the realloc, the large malloc, memalign */
	assert_int_equal(profile->total.temporary_count, 4);
	assert_int_equal(profile->total.temporary_bytes, 50 + 200 + large + 3000);
	assert_int_equal(profile->free_count, 6);
	assert_int_equal(profile->by_domain[DOMAIN_PYTHON].total_bytes, 64);
	assert_int_equal(profile->by_allocator[CAPTURE_MALLOC].total_count, 3);
	assert_int_equal(profile->by_allocator[CAPTURE_MAP].live_bytes, 4096);
	assert_int_equal(profile->resident_peak_bytes, 20 << 20);
	assert_int_equal(profile->duration_ns, 4000000);
	assert_int_equal(profile->at_time_ns, 4000000);
	assert_int_equal(profile->size_bin_count, 36);
	assert_int_equal(profile->size_bins[35].count, 1);
	assert_int_equal(profile->size_bins[7].count, 2);       /* 64 and 100 */
	assert_int_equal(profile->size_bins[7].min, 64);
	assert_int_equal(profile->size_bins[7].max, 127);
	profile_free(profile);
}

static void the_golden_capture_says_who_it_was(void **state)
{
	struct profile *profile = build_golden(NULL);
	const struct profile_capture *capture = &profile->captures[0];

	assert_int_equal(profile->capture_count, 1);
	assert_string_equal(capture->host, "build7");
	assert_string_equal(capture->arguments[0], "python3");
	assert_string_equal(capture->arguments[2], "--fast");
	assert_null(capture->arguments[3]);
	assert_string_equal(capture->python_allocator, "pymalloc");
	assert_int_equal(capture->python_version, 0x030b02f0);
	assert_int_equal(capture->unknown_frees, 1);
	assert_int_equal(capture->contradictions, 0);
	assert_int_equal(capture->events, 20);
	assert_int_equal(capture->state, CAPTURE_EXITED);
	assert_false(capture->damaged);
	assert_string_equal(capture->problem, "");
	assert_int_equal(profile->thread_count, 2);
	assert_string_equal(profile->threads[1].name, "worker");
	assert_int_equal(profile->threads[1].tid, 4243);
	assert_int_equal(profile->mark_count, 1);
	assert_string_equal(profile->marks[0].name, "loaded");
	assert_int_equal(profile->marks[0].time_ns, 2000000);
	profile_free(profile);
}

static void frames_have_names_lines_and_flags(void **state)
{
	struct profile *profile = build_golden(NULL);
	const struct site *site = find_site(profile, "main", CAPTURE_MALLOC);

	assert_non_null(site);
	assert_int_equal(profile->frames[profile->nodes[site->node].frame].line, 10);
	assert_int_equal(profile->frames[profile->nodes[site->node].frame].kind, FRAME_PYTHON);
	assert_int_equal(profile->nodes[site->node].parent, 0);
	assert_int_equal(site->cost.total_count, 2);
	site = find_site(profile, "_find_and_load", CAPTURE_CALLOC);
	assert_non_null(site);
	assert_int_equal(profile->frames[profile->nodes[site->node].frame].flags, FRAME_IMPORT | FRAME_LIBRARY);
	/* The module's file is not on this machine: its offset names the frame. */
	site = find_site(profile, "libwork.so+0x123", CAPTURE_PYOBJECT_MALLOC);
	assert_non_null(site);
	assert_string_equal(profile->frames[profile->nodes[site->node].frame].module, "libwork.so");
	assert_true(profile->frames[profile->nodes[site->node].frame].flags & FRAME_UNRESOLVED);
	site = find_site(profile, "<no stack>", CAPTURE_POSIX_MEMALIGN);
	assert_non_null(site);
	assert_int_equal(site->thread, 1);
	for (uint32_t i = 1; i < profile->node_count; i++)
		assert_true(profile->nodes[i].parent < i);
	profile_free(profile);
}

static void sums_agree_with_each_other(void **state)
{
	struct profile *profile = build_golden(NULL);
	struct cost *costs = calloc(profile->node_count, sizeof(*costs));
	uint64_t allocations = 0, bytes = 0, highest = 0;

	profile_inclusive(profile, costs);
	assert_memory_equal(&costs[0], &profile->total, sizeof(costs[0]));
	for (uint32_t i = 0; i < profile->timeline_count; i++) {
		const struct timeline_point *point = &profile->timeline[i];

		allocations += point->allocations;
		bytes += point->allocated_bytes;
		highest = point->live_max_bytes > highest ? point->live_max_bytes : highest;
		assert_true(point->live_bytes <= point->live_max_bytes);
		assert_true(i == 0 || point->time_ns > profile->timeline[i - 1].time_ns);
	}
	assert_in_range(profile->timeline_count, 2, 1000);
	assert_int_equal(profile->timeline[profile->timeline_count - 1].time_ns, profile->duration_ns);
	assert_int_equal(profile->timeline[profile->timeline_count - 1].live_bytes, profile->total.live_bytes);
	assert_int_equal(allocations, profile->total.total_count);
	assert_int_equal(bytes, profile->total.total_bytes);
	assert_int_equal(highest, profile->peak_bytes);
	allocations = 0;
	for (uint32_t i = 0; i < profile->size_bin_count; i++)
		allocations += profile->size_bins[i].count;
	assert_int_equal(allocations, profile->total.total_count);
	free(costs);
	profile_free(profile);
}

static void options_choose_what_is_counted(void **state)
{
	struct profile_options options = profile_options_default;
	struct profile *profile;

	options.at_ns = 1700000;
	profile = build_golden(&options);
	assert_int_equal(profile->total.live_bytes, 100 + 1000);
	assert_int_equal(profile->at_time_ns, 1700000);
	profile_free(profile);
	options = profile_options_default;
	options.at_peak = true;
	profile = build_golden(&options);
	assert_int_equal(profile->total.live_bytes, profile->peak_bytes);
	profile_free(profile);
	options = profile_options_default;
	options.thread = 4243;
	profile = build_golden(&options);
	assert_int_equal(profile->total.total_bytes, 4000);
	assert_int_equal(profile->total.peak_bytes, 0);
	profile_free(profile);
	options = profile_options_default;
	options.domains = 1 << DOMAIN_PYTHON;
	profile = build_golden(&options);
	assert_int_equal(profile->total.total_bytes, 64);
	profile_free(profile);
	options = profile_options_default;
	options.function = "^_find";
	profile = build_golden(&options);
	assert_int_equal(profile->total.total_count, 3);
	assert_int_equal(profile->total.total_bytes, 50 + 200 + 1000);
	profile_free(profile);
	options.file = "nothing like it";
	profile = build_golden(&options);
	assert_int_equal(profile->site_count, 0);
	profile_free(profile);
	options = profile_options_default;
	options.from_ns = 1500000;
	options.to_ns = 1600000;
	profile = build_golden(&options);
	assert_int_equal(profile->total.total_bytes, 4000);
	assert_int_equal(profile->peak_bytes, 4000);
	assert_int_equal(profile->total.live_bytes, 1000);
	profile_free(profile);
	options = profile_options_default;
	options.need_stacks = false;
	options.timeline_points = 0;
	profile = build_golden(&options);
	assert_int_equal(profile->node_count, 1);
	assert_int_equal(profile->timeline_count, 0);
	assert_int_equal(profile->total.total_count, 8);
	profile_free(profile);
}

static void a_wrong_expression_is_a_usage_error(void **state)
{
	struct profile_options options = profile_options_default;
	struct error error;
	struct profile *profile;

	options.function = "(";
	assert_false(profile_build(&profile, (const char *[]){ path[0] }, 1, &options, &error));
	assert_null(profile);
	assert_int_equal(error.status, STATUS_USAGE);
}

/* Two processes, 10 ms apart: the peak is that of the sum at one moment, addresses do not clash. */
static void a_family_is_replayed_on_one_clock(void **state)
{
	struct writer writer;
	struct writer_stream *stream;
	struct profile *profile;

	for (int i = 0; i < 2; i++) {
		writer_init(&writer);
		writer.header.pid = 100 + (uint32_t)i;
		writer.header.start_realtime_ns += (uint64_t)i * 10000000;
		writer_start(&writer);
		stream = writer_stream(&writer, 0, 64);
		put_time(stream, 1000000);
		put_alloc(stream, CAPTURE_MALLOC, 0x1000, 1000, 0);
		put_time(stream, 5000000);
		put_free(stream, CAPTURE_FREE, 0x1000);
		put_alloc(stream, CAPTURE_MALLOC, 0x2000, 300, 0);
		put_time(stream, i ? 6000000 : 30000000);
		put_free(stream, CAPTURE_FREE, 0x2000);
		writer_save(&writer, path[i]);
		writer_free(&writer);
	}
	profile = build((const char *[]){ path[1], path[0] }, 2, NULL);
	/* The second's 1000 at 11 ms, while the first still holds 300. */
	assert_int_equal(profile->peak_bytes, 1300);
	assert_int_equal(profile->peak_time_ns, 11000000);
	assert_int_equal(profile->total.total_bytes, 2600);
	assert_int_equal(profile->total.live_bytes, 0);
	assert_int_equal(profile->duration_ns, 30000000);
	assert_int_equal(profile->captures[0].contradictions + profile->captures[1].contradictions, 0);
	assert_int_equal(profile->captures[0].peak_time_ns, 1000000);
	assert_int_equal(profile->captures[1].peak_time_ns, 1000000);
	profile_free(profile);
	struct error error;
	assert_false(profile_build(&profile, (const char *[]){ path[0], path[0] }, 2, NULL, &error));
	assert_int_equal(error.status, STATUS_USAGE);
}

/* The story is told in golden_capture.c. */
static void what_lived_when_recording_stopped_is_neither_freed_nor_live(void **state)
{
	struct writer writer;

	golden_write_v2(&writer);
	writer_save(&writer, path[1]);
	writer_free(&writer);
	struct profile *profile = build((const char *[]){ path[1] }, 1, NULL);
	const struct profile_capture *capture = &profile->captures[0];

	assert_int_equal(profile->total.total_bytes, 100 + 200 + 8192 + 300 + 400);
	assert_int_equal(profile->total.total_count, 5);
	assert_int_equal(profile->total.live_bytes, 400);
	assert_int_equal(profile->total.live_count, 1);
	assert_int_equal(profile->peak_bytes, 100 + 8192 + 300);
	assert_int_equal(profile->total.peak_bytes, profile->peak_bytes);
	/* The move whose second half is not known is a free, right after the allocation; what is forgotten is none. */
	assert_int_equal(profile->free_count, 1);
	assert_int_equal(profile->total.temporary_bytes, 200);
	assert_int_equal(capture->forgotten_bytes, 100 + 8192 + 300);
	assert_int_equal(capture->forgotten_count, 3);
	assert_int_equal(capture->unknown_frees, 3);
	assert_int_equal(capture->contradictions, 0);
	assert_true(capture->paused);
	assert_int_equal(capture->gap_count, 3);
	assert_int_equal(capture->gap_ns, 5000000 + 3000000 + 2000000);
	assert_int_equal(profile->gap_count, 3);
	assert_int_equal(profile->gaps[0].from_ns, 0);
	assert_int_equal(profile->gaps[0].to_ns, 5000000);
	assert_int_equal(profile->gaps[1].from_ns, 6000000);
	assert_int_equal(profile->gaps[1].to_ns, 9000000);
	assert_int_equal(profile->gaps[1].forgotten_bytes, 100 + 8192 + 300);
	assert_int_equal(profile->gaps[2].from_ns, 10000000);
	assert_int_equal(profile->gaps[2].to_ns, UINT64_MAX);
	profile_free(profile);
}

static void arenas_count_when_python_blocks_are_not_recorded(void **state)
{
	for (unsigned recorded = 0; recorded < 2; recorded++) {
		struct writer writer;
		struct writer_stream *stream;
		struct profile *profile;

		writer_init(&writer);
		writer.header.features = recorded ? CAPTURE_PYTHON_ALLOCATORS : 0;
		writer_start(&writer);
		stream = writer_stream(&writer, 0, 64);
		put_map(stream, 0x7f0000000000, 1 << 20, CAPTURE_MAP_ARENA, 0);
		writer_save(&writer, path[0]);
		writer_free(&writer);
		profile = build_golden(NULL);
		assert_int_equal(profile->peak_bytes, recorded ? 0 : 1 << 20);
		assert_int_equal(profile->by_domain[DOMAIN_ARENA].peak_bytes, recorded ? 0 : 1 << 20);
		assert_int_equal(profile->by_domain[DOMAIN_ARENA].live_bytes, 1 << 20);
		profile_free(profile);
	}
}

/* The recorder's module is skipped; what no record names is said to be unknown. */
static void odd_frames_are_shown_as_what_they_are(void **state)
{
	static const uint64_t frames[] = { 0, CAPTURE_NATIVE_FRAME(0x7f0000000010, 0), CAPTURE_NATIVE_FRAME(0x33330000, 0),
		CAPTURE_PYTHON_FRAME(77, 1), CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_TRUNCATED),
		CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_UNKNOWN), CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_DEGRADED),
		CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_NO_PYTHON), CAPTURE_SPECIAL_FRAME(99), (uint64_t)3 << 62 };
	static const char *const names[] = { NULL, "<all>", "0x33330000", "<unknown code 77>", "<stack truncated>",
		"<unknown native frames>", "<stack table full>", "<python not understood>", "<unknown frame>", "<unknown frame>" };
	struct writer writer;
	struct writer_stream *stream;
	struct profile *profile;

	writer_init(&writer);
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 1024);
	put_module(stream, 0x7f0000000000, 0x7f0000010000, 0, 0, 2, "/x/libsctmem.so");
	for (uint32_t i = 1; i < 10; i++) {
		put_node(stream, i, 0, frames[i]);
		put_alloc(stream, CAPTURE_MALLOC, 0x1000 * i, i, i);
	}
	put_alloc(stream, CAPTURE_MALLOC, 0x100000, 1000, 4000);
	writer_save(&writer, path[0]);
	writer_free(&writer);
	profile = build_golden(NULL);
	assert_non_null(find_site(profile, "<unknown stack>", CAPTURE_MALLOC));
	for (uint32_t i = 1; i < 10; i++)
		assert_non_null(find_site(profile, names[i], CAPTURE_MALLOC));
	assert_true(profile->captures[0].damaged);
	assert_non_null(strstr(profile->captures[0].problem, "4000"));
	profile_free(profile);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_golden_capture_has_these_totals, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_golden_capture_says_who_it_was, set_up, tear_down),
		cmocka_unit_test_setup_teardown(frames_have_names_lines_and_flags, set_up, tear_down),
		cmocka_unit_test_setup_teardown(sums_agree_with_each_other, set_up, tear_down),
		cmocka_unit_test_setup_teardown(options_choose_what_is_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_wrong_expression_is_a_usage_error, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_family_is_replayed_on_one_clock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_lived_when_recording_stopped_is_neither_freed_nor_live, set_up, tear_down),
		cmocka_unit_test_setup_teardown(arenas_count_when_python_blocks_are_not_recorded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(odd_frames_are_shown_as_what_they_are, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
