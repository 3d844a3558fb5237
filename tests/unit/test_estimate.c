/* SPDX-License-Identifier: MIT */
/*
 * Samples, read: weights, what keeps them, what is counted; and the intervals, against the exact ones of the Poisson
 * distribution and against what they are for: that 95 of 100 hold the truth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "capture_writer.h"
#include "reader/estimate.h"
#include "reader/profile.h"
#include "draw.h"

enum { MEAN = 4096, BASE = 0x100000 };

#define fail_with(...) (print_error(__VA_ARGS__), print_error("\n"), assert_true(false))

static char path[64];

static void put_sampling(struct writer_stream *stream, uint64_t mean)
{
	put_metadata(stream, CAPTURE_SAMPLING, &mean, sizeof(mean));
}

static struct writer_stream *begin(struct writer *writer)
{
	writer_init(writer);
	writer->header.version = CAPTURE_VERSION;
	writer->header.features = CAPTURE_SAMPLED;
	writer_start(writer);
	struct writer_stream *stream = writer_stream(writer, 0, 1024);

	put_time(stream, 1000000);
	return stream;
}

static struct profile *read_profile(struct writer *writer)
{
	struct error error = { .text = "" };
	struct profile *profile;

	snprintf(path, sizeof(path), "/tmp/sctmem-test-estimate-%d.bin", (int)getpid());
	writer_save(writer, path);
	writer_free(writer);
	if (!profile_build(&profile, (const char *[]){ path }, 1, NULL, &error))
		assert_string_equal(error.text, "");
	unlink(path);
	return profile;
}

static double weight(double size)
{
	return 1 / -expm1(-size / MEAN);
}

static void assert_near(uint64_t measured, double expected)
{
	if (fabs((double)measured - expected) > 1 + expected * 1e-5)
		fail_with("%llu, not %f", (unsigned long long)measured, expected);
}

/* Counts are whole: each block of the sample may be off by less than one. */
static void assert_count(uint64_t measured, double expected, unsigned blocks)
{
	if (fabs((double)measured - expected) >= blocks)
		fail_with("%llu, not %f, of %u blocks", (unsigned long long)measured, expected, blocks);
}

static void blocks_stand_for_others_of_their_size(void **state)
{
	struct writer writer;
	struct writer_stream *stream = begin(&writer);

	put_alloc(stream, CAPTURE_MALLOC, BASE, 100, 0);          /* before SAMPLING: itself */
	put_sampling(stream, MEAN);
	put_skip(stream, 7, 700);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x1000, 64, 0);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x2003, 64, 0);  /* no place in the recorder's table: itself */
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x3000, 0, 0);
	put_free(stream, CAPTURE_FREE, BASE + 0x1000);
	put_map(stream, 0x7e0000000000, 8192, 0, 0);
	put_sampling(stream, 0);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x4000, 10, 0);
	struct profile *profile = read_profile(&writer);

	assert_near(profile->total.total_bytes, 100 + 64 * weight(64) + 64 + 0 + 8192 + 10);
	assert_count(profile->total.total_count, 1 + weight(64) + 1 + weight(1) + 1 + 1, 2);
	assert_near(profile->total.live_bytes, 100 + 64 + 8192 + 10);
	assert_count(profile->total.live_count, 1 + 1 + weight(1) + 1 + 1, 1);
	assert_count(profile->free_count, weight(64), 1);
	assert_int_equal(profile->captures[0].sample_recorded, 2);
	assert_int_equal(profile->captures[0].sample_passed, 7);
	assert_int_equal(profile->captures[0].sample_passed_bytes, 700);
	assert_int_equal(profile->sample_mean_bytes, MEAN);
	assert_near((uint64_t)profile->total_spread.total.variance_bytes, 64 * 64 * weight(64) * (weight(64) - 1));
	assert_near((uint64_t)(profile->total_spread.live.variance_bytes + 0.5), 0);
	profile_free(profile);
}

static void a_window_begins_with_all_blocks_recorded(void **state)
{
	struct writer writer;
	struct writer_stream *stream = begin(&writer);

	put_sampling(stream, MEAN);
	put_alloc(stream, CAPTURE_MALLOC, BASE, 64, 0);
	writer_flush(stream);
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x1000, 64, 0);
	put_free(stream, CAPTURE_FREE, BASE);
	struct profile *profile = read_profile(&writer);

	assert_near(profile->total.total_bytes, 64 * weight(64) + 64);
	assert_near(profile->total.live_bytes, 64);
	profile_free(profile);
}

/* The thread's allocations that are not recorded lie in between, too. */
static void what_is_temporary_is_judged_by_all_allocations(void **state)
{
	for (unsigned passed = 0; passed < 3; passed++) {
		struct writer writer;
		struct writer_stream *stream = begin(&writer);

		put_sampling(stream, MEAN);
		put_alloc(stream, CAPTURE_MALLOC, BASE, 64, 0);
		if (passed)
			put_skip(stream, passed, passed * 10);
		put_free(stream, CAPTURE_FREE, BASE);
		struct profile *profile = read_profile(&writer);

		assert_near(profile->total.temporary_bytes, passed <= 1 ? 64 * weight(64) : 0);
		profile_free(profile);
	}
}

static void realloc_goes_on_with_the_weight_or_is_another_block(void **state)
{
	struct writer writer;
	struct writer_stream *stream = begin(&writer);

	put_sampling(stream, MEAN);
	/* Stays and shrinks: the same block, of another size. */
	put_alloc(stream, CAPTURE_MALLOC, BASE, 1000, 0);
	put_free(stream, CAPTURE_MOVE, BASE);
	put_alloc(stream, CAPTURE_REALLOC, BASE, 10, 0);
	/* Grows in its place: an allocation of its new size, by the draw of the old one. */
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x1000, 20, 0);
	put_free(stream, CAPTURE_MOVE, BASE + 0x1000);
	put_alloc(stream, CAPTURE_REALLOC, BASE + 0x1000, 24, 0);
	/* Another block, which is drawn. */
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x2000, 500, 0);
	put_free(stream, CAPTURE_MOVE, BASE + 0x2000);
	put_free(stream, CAPTURE_MOVE_ENDS, BASE + 0x2000);
	put_alloc(stream, CAPTURE_REALLOC, BASE + 0x2000, 400, 0);
	/* Another block, which is not. */
	put_alloc(stream, CAPTURE_MALLOC, BASE + 0x3000, 300, 0);
	put_free(stream, CAPTURE_MOVE, BASE + 0x3000);
	put_free(stream, CAPTURE_MOVE_ENDS, BASE + 0x3000);
	put_free(stream, CAPTURE_MOVE_ENDS, BASE + 0x3000);       /* a contradiction */
	struct profile *profile = read_profile(&writer);

	assert_near(profile->total.live_bytes, 10 * weight(1000) + 24 * weight(20) + 400 * weight(400));
	assert_near(profile->total.total_bytes, 1000 * weight(1000) + (20 + 24) * weight(20) + 500 * weight(500)
		+ 400 * weight(400) + 300 * weight(300));
	assert_int_equal(profile->captures[0].contradictions, 1);
	assert_int_equal(profile->captures[0].unknown_frees, 0);
	profile_free(profile);
}

static void a_sample_in_a_capture_that_says_it_has_none_is_damage(void **state)
{
	struct writer writer;
	struct writer_stream *stream;

	writer_init(&writer);
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 1024);
	put_sampling(stream, MEAN);
	put_alloc(stream, CAPTURE_MALLOC, BASE, 64, 0);
	struct profile *profile = read_profile(&writer);

	assert_true(profile->captures[0].damaged);
	assert_int_equal(profile->total.live_bytes, 64);
	profile_free(profile);
}

/* Many sites with one block each of weight 1.3: three tenths of them would be lost if each were rounded down. */
static void counts_of_many_sites_add_up(void **state)
{
	enum { SITES = 3000, SIZE = 6000 };
	struct writer writer;
	struct writer_stream *stream = begin(&writer);

	for (uint32_t i = 1; i <= SITES; i++)
		put_node(stream, i, 0, CAPTURE_NATIVE_FRAME(0x1000 + i, 0));
	for (uint32_t i = 1; i <= SITES; i++) {
		/* In one window with what it is for. */
		put_room(stream, 8);
		put_sampling(stream, MEAN);
		put_alloc(stream, CAPTURE_MALLOC, BASE + i * 0x2000, SIZE, i);
	}
	struct profile *profile = read_profile(&writer);
	uint64_t sum = 0;

	for (size_t i = 0; i < profile->site_count; i++)
		sum += profile->sites[i].cost.total_count;
	assert_int_equal(sum, profile->total.total_count);
	/* Five standard deviations of so many draws. */
	assert_count(sum, SITES * weight(SIZE), (unsigned)(5 * sqrt(SITES * 0.25)));
	profile_free(profile);
}

/* n blocks much smaller than the mean: the exact limits are quantiles of the chi-squared distribution. */
static void intervals_are_those_of_poisson_counts(void **state)
{
	static const struct { unsigned n; double low, high; } limits[] = {
		{ 0, 0, 3.689 }, { 1, 0.0253, 5.572 }, { 2, 0.2422, 7.225 }, { 5, 1.623, 11.668 }, { 10, 4.795, 18.390 },
		{ 30, 20.241, 42.827 }, { 100, 81.364, 121.627 },
	};
	const uint64_t mean = 1 << 30;

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct spread spread = { 0 };

		for (unsigned n = 0; n < limits[i].n; n++)
			spread_add_block(&spread, 16, estimate_weight(16, mean), 1);
		struct interval interval = estimate_bytes((uint64_t)limits[i].n * mean, &spread, mean);
		assert_true(fabs((double)interval.low / (double)mean - limits[i].low) < 0.03);
		assert_true(fabs((double)interval.high / (double)mean - limits[i].high) < 0.05);
	}
	struct interval exact = estimate_bytes(12345, &(struct spread){ 0 }, 0);
	assert_int_equal(exact.low, 12345);
	assert_int_equal(exact.high, 12345);
}

static double uniform(uint64_t *state)
{
	return (double)(draw_bits(state) >> 11) * 0x1p-53;
}

/*
 * Whole populations, drawn 4,000 times each: small blocks, blocks around the mean, few and many, mixed.  The interval
 * holds the truth in 95 per cent by its making, in a few more where samples are small; never in fewer than 93.5.
 */
static void intervals_hold_the_truth(void **state)
{
	enum { TRIALS = 4000 };
	static const struct { unsigned count; uint64_t sizes[4]; } populations[] = {
		{ 400, { 16, 64, 256, 1024 } }, { 8000, { 16, 64, 256, 1024 } }, { 60, { 4096, 8192, 2048, 16384 } },
		{ 1500, { 32, 512, 4096, 100000 } }, { 3000, { 48, 48, 48, 48 } }, { 20, { 100, 200, 40000, 300000 } },
	};
	uint64_t random = 0x2545f4914f6cdd1du;

	for (size_t p = 0; p < sizeof(populations) / sizeof(*populations); p++) {
		unsigned bytes_held = 0, count_held = 0;
		uint64_t truth = 0;
		double sum = 0;

		for (unsigned i = 0; i < populations[p].count; i++)
			truth += populations[p].sizes[i % 4];
		for (unsigned trial = 0; trial < TRIALS; trial++) {
			struct spread spread = { 0 };
			double bytes = 0, count = 0;

			for (unsigned i = 0; i < populations[p].count; i++) {
				const uint64_t size = populations[p].sizes[i % 4];
				const double w = estimate_weight(size, MEAN);

				if (uniform(&random) * w >= 1)
					continue;
				bytes += (double)size * w;
				count += w;
				spread_add_block(&spread, size, w, 1);
			}
			const struct interval in_bytes = estimate_bytes((uint64_t)bytes, &spread, MEAN);
			const struct interval in_count = estimate_count((uint64_t)count, &spread, MEAN);
			bytes_held += in_bytes.low <= truth && truth <= in_bytes.high;
			count_held += in_count.low <= populations[p].count && populations[p].count <= in_count.high;
			sum += bytes;
		}
		if (bytes_held < TRIALS * 0.935)
			fail_with("population %zu: %u of %u intervals of bytes hold the truth", p, bytes_held, TRIALS);
		if (count_held < TRIALS * 0.935)
			fail_with("population %zu: %u of %u intervals of counts hold the truth", p, count_held, TRIALS);
		/* Unbiased: the mean of many estimates is the truth. */
		assert_true(fabs(sum / TRIALS / (double)truth - 1) < 0.03);
		if (getenv("SCTMEM_SAMPLE_SHOW"))
			print_message("population %zu: bytes %.2f %%, counts %.2f %%\n", p, 100.0 * bytes_held / TRIALS,
				100.0 * count_held / TRIALS);
	}
}

/* Poisson, by Knuth's product of uniform numbers; a mean of some hundred at most. */
static unsigned draw_poisson(uint64_t *state, double mean)
{
	const double limit = exp(-mean);
	double product = 1;
	unsigned count = 0;

	while ((product *= (double)(draw_bits(state) >> 11) * 0x1p-53) > limit)
		count++;
	return count;
}

/* Two samples of many blocks of one size, of which the one run had `before` and the other `after` (in the mean). */
static void intervals_of_differences_hold_the_truth(void **state)
{
	static const struct { unsigned before, after; } seen[] = { { 3, 3 }, { 1, 12 }, { 40, 10 }, { 200, 230 }, { 0, 5 } };
	enum { TRIALS = 4000, SIZE = 64 };
	const double each = weight(SIZE), bytes = SIZE * each;
	uint64_t drawn = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(seen) / sizeof(*seen); i++) {
		const double truth = ((double)seen[i].after - (double)seen[i].before) * bytes;
		unsigned held = 0;

		for (unsigned trial = 0; trial < TRIALS; trial++) {
			uint64_t sums[2];
			struct interval intervals[2];

			for (unsigned side = 0; side < 2; side++) {
				const unsigned count = draw_poisson(&drawn, side ? seen[i].after : seen[i].before);
				struct spread spread = { 0 };

				for (unsigned n = 0; n < count; n++)
					spread_add_block(&spread, SIZE, each, 1);
				sums[side] = (uint64_t)llround(bytes * count);
				intervals[side] = estimate_bytes(sums[side], &spread, MEAN);
			}
			const struct difference of = estimate_difference(sums[0], intervals[0], sums[1], intervals[1]);

			assert_true(of.low <= (int64_t)(sums[1] - sums[0]) && (int64_t)(sums[1] - sums[0]) <= of.high);
			held += (double)of.low <= truth && truth <= (double)of.high;
		}
		if (held < TRIALS * 0.935)
			fail_with("%u and %u blocks: %u of %u intervals hold the truth", seen[i].before, seen[i].after, held, TRIALS);
		if (getenv("SCTMEM_SAMPLE_SHOW"))
			print_message("%u and %u blocks: %.2f %%\n", seen[i].before, seen[i].after, 100.0 * held / TRIALS);
	}
}

static void a_difference_of_exact_figures_is_exact(void **state)
{
	const struct difference less = estimate_difference(900, (struct interval){ 900, 900 }, 100,
		(struct interval){ 100, 100 });
	const struct difference more = estimate_difference(0, (struct interval){ 0, 0 }, UINT64_MAX,
		(struct interval){ UINT64_MAX, UINT64_MAX });

	(void)state;
	assert_true(less.low == -800 && less.high == -800);
	assert_true(more.low == (int64_t)1 << 62 && more.high == (int64_t)1 << 62);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_stand_for_others_of_their_size),
		cmocka_unit_test(a_window_begins_with_all_blocks_recorded),
		cmocka_unit_test(what_is_temporary_is_judged_by_all_allocations),
		cmocka_unit_test(realloc_goes_on_with_the_weight_or_is_another_block),
		cmocka_unit_test(a_sample_in_a_capture_that_says_it_has_none_is_damage),
		cmocka_unit_test(counts_of_many_sites_add_up),
		cmocka_unit_test(intervals_are_those_of_poisson_counts),
		cmocka_unit_test(intervals_hold_the_truth),
		cmocka_unit_test(intervals_of_differences_hold_the_truth),
		cmocka_unit_test(a_difference_of_exact_figures_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
