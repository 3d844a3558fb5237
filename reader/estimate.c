/* SPDX-License-Identifier: MIT */
/* See estimate.h. */
#include "estimate.h"

#include <math.h>

#define NORMAL_QUANTILE 1.959963984540054     /* of 97.5 per cent */

double estimate_weight(uint64_t size, uint64_t mean_bytes)
{
	return -1 / expm1(-(double)(size + !size) / (double)mean_bytes);
}

uint64_t estimate_scale(uint64_t x, double weight)
{
	const double scaled = (double)x * weight;

	return scaled < 0x1p62 ? (uint64_t)llround(scaled) : x;
}

/* To a whole number, and to 16 bits (Dekker, 1971: what is added is far larger, and pushes the others out). */
static double shorten(double x)
{
	const double with = x * 0x1p37 + x;

	return round(with - (with - x));
}

void spread_add_block(struct spread *spread, uint64_t size, double weight, double sign)
{
	const double bytes = (double)size, variance = weight * (weight - 1), part = weight - floor(weight);

	/* Sums of short whole numbers are exact: the same in any order, 0 when all is taken away, and they pack well. */
	spread->unseen_bytes += sign * round(bytes * (weight - 1));
	spread->unseen_count += sign * (weight - 1);
	spread->variance_bytes += sign * shorten(bytes * bytes * variance);
	/* Counts are made whole at random (replay.c), which makes them a little less certain. */
	spread->variance_count += sign * (variance + part * (1 - part));
}

void spread_add(struct spread *sum, const struct spread *spread)
{
	sum->unseen_bytes += spread->unseen_bytes;
	sum->unseen_count += spread->unseen_count;
	sum->variance_bytes += spread->variance_bytes;
	sum->variance_count += spread->variance_count;
}

struct spread spread_less(const struct spread *sum, const struct spread *spread)
{
	return (struct spread){ .unseen_bytes = sum->unseen_bytes - spread->unseen_bytes,
		.unseen_count = sum->unseen_count - spread->unseen_count,
		.variance_bytes = sum->variance_bytes - spread->variance_bytes,
		.variance_count = sum->variance_count - spread->variance_count };
}

void cost_spread_add(struct cost_spread *sum, const struct cost_spread *spread)
{
	spread_add(&sum->total, &spread->total);
	spread_add(&sum->peak, &spread->peak);
	spread_add(&sum->live, &spread->live);
	spread_add(&sum->temporary, &spread->temporary);
}

/* The chi-squared quantile of 2k degrees of freedom, halved: `direction` -1 for the lower, 1 for the upper end. */
static double byar(double k, double direction)
{
	const double root = 1 - 1 / (9 * k) + direction * NORMAL_QUANTILE / (3 * sqrt(k));

	return root > 0 ? k * root * root * root : 0;
}

static uint64_t round_to(double value, double limit)
{
	value = value < limit ? value : limit;
	return value > 0 ? (uint64_t)value : 0;
}

/* `one`: what one more block of the sample would have added, had there been one. */
static struct interval interval_of(uint64_t estimate, double unseen, double variance, double one)
{
	const double seen = (double)estimate > unseen ? (double)estimate - unseen : 0;
	double low = 0, high;

	if (unseen > 0 && variance > 0) {
		const double scale = variance / unseen;

		low = scale * byar(unseen / scale, -1);
	}
	const double scale = (variance + one * one) / (unseen + one);
	high = scale * byar((unseen + one) / scale, 1);
	const uint64_t from = round_to(seen + low, 0x1p63), to = round_to(ceil(seen + high), 0x1p63);
	return (struct interval){ from < estimate ? from : estimate, to > estimate ? to : estimate };
}

static double positive(double sum)
{
	return sum > 0 ? sum : 0;     /* what was added and taken away again may leave a trace of rounding */
}

struct interval estimate_bytes(uint64_t bytes, const struct spread *spread, uint64_t mean_bytes)
{
	if (mean_bytes == 0)
		return (struct interval){ bytes, bytes };
	return interval_of(bytes, positive(spread->unseen_bytes), positive(spread->variance_bytes), (double)mean_bytes);
}

struct interval estimate_count(uint64_t count, const struct spread *spread, uint64_t mean_bytes)
{
	enum { SMALLEST = 16 };       /* bytes: what an allocator gives at least; of the smallest a sample shows fewest */

	if (mean_bytes == 0)
		return (struct interval){ count, count };
	return interval_of(count, positive(spread->unseen_count), positive(spread->variance_count),
		mean_bytes > SMALLEST ? (double)mean_bytes / SMALLEST : 1);
}

static int64_t saturate(double value)
{
	return value >= 0x1p62 ? (int64_t)1 << 62 : value <= -0x1p62 ? -((int64_t)1 << 62) : (int64_t)value;
}

struct difference estimate_difference(uint64_t before, struct interval of_before, uint64_t after,
	struct interval of_after)
{
	const double growth = after >= before ? (double)(after - before) : -(double)(before - after);
	const double less = hypot((double)(after - of_after.low), (double)(of_before.high - before));
	const double more = hypot((double)(of_after.high - after), (double)(before - of_before.low));

	return (struct difference){ saturate(floor(growth - less)), saturate(ceil(growth + more)) };
}
