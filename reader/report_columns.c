/* SPDX-License-Identifier: MIT */
/*
 * The columns of a report page; see report_columns.h, and formats/report.md for the layout.
 *
 *     put_* -> packed bytes -> report_pack.c -> FILE
 *
 * Nothing is kept but the table of strings: the columns stream through buffers of fixed size, however large the
 * profile is.  A failure is remembered there and looked at once, at the end, so that the code that lists the
 * columns reads like the table in the document.
 */
#include "report_columns.h"

#include <stdlib.h>
#include <string.h>

#include "intervals.h"
#include "report_pack.h"
#include "report_strings.h"
#include "report_text.h"

enum { VARINT_SIZE_MAX = 10 };

struct writer {
	struct pack *pack;
	uint64_t *clamped;
};

static void put_byte(struct writer *writer, uint8_t byte)
{
	struct pack *pack = writer->pack;
	if (pack->used == PACK_SIZE)
		pack_flush(pack, false);
	pack->bytes[pack->used++] = byte;
}

static void put_bytes(struct writer *writer, const char *bytes, size_t size)
{
	struct pack *pack = writer->pack;
	while (size > 0) {
		if (pack->used == PACK_SIZE)
			pack_flush(pack, false);
		const size_t piece = size < PACK_SIZE - pack->used ? size : PACK_SIZE - pack->used;
		memcpy(pack->bytes + pack->used, bytes, piece);
		pack->used += piece;
		bytes += piece;
		size -= piece;
	}
}

static uint64_t clamp(struct writer *writer, uint64_t value)
{
	if (value <= REPORT_NUMBER_MAX)
		return value;
	++*writer->clamped;
	return REPORT_NUMBER_MAX;
}

static void put_packed(struct writer *writer, uint64_t value)
{
	struct pack *pack = writer->pack;
	if (pack->used > PACK_SIZE - VARINT_SIZE_MAX)
		pack_flush(pack, false);
	unsigned char *to = pack->bytes + pack->used;
	while (value > 0x7f) {
		*to++ = (unsigned char)(value | 0x80);
		value >>= 7;
	}
	*to++ = (unsigned char)value;
	pack->used = (size_t)(to - pack->bytes);
}

static void put_varint(struct writer *writer, uint64_t value)
{
	put_packed(writer, clamp(writer, value));
}

/* *before is the row before, 0 for the first. */
static void put_delta(struct writer *writer, uint64_t *before, uint64_t value)
{
	value = clamp(writer, value);
	put_packed(writer, value >= *before ? (value - *before) << 1 : (*before - value) * 2 - 1);
	*before = value;
}

static void put_signed(struct writer *writer, int64_t value)
{
	const uint64_t size = clamp(writer, value < 0 ? -(uint64_t)value : (uint64_t)value);
	put_packed(writer, value < 0 ? size * 2 - 1 : size << 1);
}

/* The bytes of an IEEE 754 number, the low ones first. */
static void put_double(struct writer *writer, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	for (unsigned i = 0; i < sizeof(bits); i++)
		put_byte(writer, (uint8_t)(bits >> 8 * i));
}

/* One column: `value` is an expression in the row number i. */
#define COLUMN_VARINT(writer, first, count, value) \
	do { \
		for (size_t i = (first); i < (count); i++) \
			put_varint((writer), (value)); \
	} while (0)
#define COLUMN_DELTA(writer, first, count, value) \
	do { \
		uint64_t before = 0; \
		for (size_t i = (first); i < (count); i++) \
			put_delta((writer), &before, (value)); \
	} while (0)
#define COLUMN_SIGNED(writer, first, count, value) \
	do { \
		for (size_t i = (first); i < (count); i++) \
			put_signed((writer), (value)); \
	} while (0)
#define COLUMN_BYTE(writer, first, count, value) \
	do { \
		for (size_t i = (first); i < (count); i++) \
			put_byte((writer), (uint8_t)(value)); \
	} while (0)

#define COLUMN_DOUBLE(writer, first, count, value) \
	do { \
		for (size_t i = (first); i < (count); i++) \
			put_double((writer), (value)); \
	} while (0)

static void put_text(struct writer *writer, const char *text)
{
	const size_t plain = report_text_plain(text);
	char piece[4];
	put_bytes(writer, text, plain);
	text += plain;
	for (size_t n; (n = report_text_next(&text, piece)) > 0;)
		put_bytes(writer, piece, n);
}

static void put_strings(struct writer *writer, const struct report_strings *strings)
{
	COLUMN_VARINT(writer, 0, report_strings_count(strings), report_text_size(report_strings_get(strings, i)));
	for (uint32_t i = 0; i < report_strings_count(strings); i++)
		put_text(writer, report_strings_get(strings, i));
}

static void put_frames(struct writer *writer, const struct profile *profile, const struct report_strings *strings)
{
	const struct frame *frames = profile->frames;
	size_t count = profile->frame_count;
	COLUMN_DELTA(writer, 0, count, report_strings_find(strings, frames[i].function));
	COLUMN_DELTA(writer, 0, count, report_strings_find(strings, frames[i].file));
	COLUMN_DELTA(writer, 0, count, report_strings_find(strings, frames[i].module));
	COLUMN_VARINT(writer, 0, count, frames[i].line);
	COLUMN_BYTE(writer, 0, count, frames[i].kind);
	COLUMN_BYTE(writer, 0, count, frames[i].flags);
}

static void put_nodes(struct writer *writer, const struct profile *profile)
{
	COLUMN_DELTA(writer, 1, profile->node_count, profile->nodes[i].parent);
	COLUMN_DELTA(writer, 1, profile->node_count, profile->nodes[i].frame);
}

static void put_threads(struct writer *writer, const struct profile *profile, const struct report_strings *strings)
{
	const struct profile_thread *threads = profile->threads;
	size_t count = profile->thread_count;
	COLUMN_VARINT(writer, 0, count, threads[i].capture);
	COLUMN_VARINT(writer, 0, count, threads[i].tid);
	COLUMN_DELTA(writer, 0, count, report_strings_find(strings, threads[i].name));
	COLUMN_VARINT(writer, 0, count, threads[i].start_ns / 1000);
}

static uint8_t site_byte(const struct profile *profile, const struct site *site)
{
	return (uint8_t)(site->domain | site->keeper << 3 | (profile_counts(profile, site) ? 0 : 128));
}

static void put_sites(struct writer *writer, const struct profile *profile)
{
	const struct site *sites = profile->sites;
	size_t count = profile->site_count;
	COLUMN_DELTA(writer, 0, count, sites[i].node);
	COLUMN_DELTA(writer, 0, count, sites[i].thread);
	COLUMN_BYTE(writer, 0, count, site_byte(profile, &sites[i]));
	COLUMN_BYTE(writer, 0, count, sites[i].allocator);
	COLUMN_VARINT(writer, 0, count, sites[i].cost.total_bytes);
	COLUMN_VARINT(writer, 0, count, sites[i].cost.total_count);
	COLUMN_VARINT(writer, 0, count, sites[i].cost.peak_bytes);
	COLUMN_VARINT(writer, 0, count, sites[i].cost.peak_count);
	COLUMN_VARINT(writer, 0, count, sites[i].cost.live_bytes);
	COLUMN_VARINT(writer, 0, count, sites[i].cost.live_count);
	COLUMN_VARINT(writer, 0, count, sites[i].cost.temporary_bytes);
	COLUMN_VARINT(writer, 0, count, sites[i].cost.temporary_count);
}

static void put_timeline(struct writer *writer, const struct profile *profile)
{
	const struct timeline_point *points = profile->timeline;
	size_t count = profile->timeline_count;
	COLUMN_DELTA(writer, 0, count, points[i].time_ns / 1000);
	COLUMN_DELTA(writer, 0, count, points[i].live_bytes);
	COLUMN_DELTA(writer, 0, count, points[i].live_max_bytes);
	COLUMN_DELTA(writer, 0, count, points[i].live_max_ns / 1000);
	for (unsigned domain = 0; domain < DOMAIN_COUNT; domain++)
		COLUMN_DELTA(writer, 0, count, points[i].domain_bytes[domain]);
	COLUMN_DELTA(writer, 0, count, points[i].resident_bytes);
	COLUMN_DELTA(writer, 0, count, points[i].allocations);
	COLUMN_DELTA(writer, 0, count, points[i].allocated_bytes);
}

static size_t cells_of(const struct profile *profile, size_t slice)
{
	return profile->slices[slice].cell_end - (slice ? profile->slices[slice - 1].cell_end : 0);
}

static size_t losses_of(const struct profile *profile, size_t slice)
{
	return profile->slices[slice].loss_end - (slice ? profile->slices[slice - 1].loss_end : 0);
}

static void put_slices(struct writer *writer, const struct profile *profile)
{
	const struct profile_cell *cells = profile->cells;
	const struct profile_loss *losses = profile->losses;
	COLUMN_DELTA(writer, 0, profile->slice_count, profile->slices[i].end_ns / 1000);
	COLUMN_VARINT(writer, 0, profile->slice_count, cells_of(profile, i));
	COLUMN_VARINT(writer, 0, profile->slice_count, losses_of(profile, i));
	COLUMN_DELTA(writer, 0, profile->cell_count, cells[i].site);
	COLUMN_VARINT(writer, 0, profile->cell_count, cells[i].total_bytes);
	COLUMN_VARINT(writer, 0, profile->cell_count, cells[i].total_count);
	COLUMN_VARINT(writer, 0, profile->cell_count, cells[i].kept_bytes);
	COLUMN_VARINT(writer, 0, profile->cell_count, cells[i].kept_count);
	COLUMN_DELTA(writer, 0, profile->loss_count, losses[i].cell);
	COLUMN_SIGNED(writer, 0, profile->loss_count, losses[i].bytes);
	COLUMN_SIGNED(writer, 0, profile->loss_count, losses[i].count);
}

static void put_before(struct writer *writer, const struct profile *profile)
{
	const struct cost *before = profile->before;
	size_t count = profile->site_count;
	COLUMN_VARINT(writer, 0, count, before[i].total_bytes);
	COLUMN_VARINT(writer, 0, count, before[i].total_count);
	COLUMN_VARINT(writer, 0, count, before[i].peak_bytes);
	COLUMN_VARINT(writer, 0, count, before[i].peak_count);
	COLUMN_VARINT(writer, 0, count, before[i].live_bytes);
	COLUMN_VARINT(writer, 0, count, before[i].live_count);
	COLUMN_VARINT(writer, 0, count, before[i].temporary_bytes);
	COLUMN_VARINT(writer, 0, count, before[i].temporary_count);
}

static struct spread site_spread(const struct profile *profile, size_t site, unsigned figure)
{
	const uint32_t number = profile->sites[site].spread;

	return cost_spread_of(number ? &profile->spreads[number] : NULL, (enum cost_figure)figure);
}

static struct spread before_spread(const struct profile *profile, size_t site, unsigned figure)
{
	return cost_spread_of(&profile->before_spreads[site], (enum cost_figure)figure);
}

static struct profile_cell_spread cell_spread(const struct profile *profile, size_t cell)
{
	return profile->cell_spreads ? profile->cell_spreads[cell] : (struct profile_cell_spread){ 0 };
}

static struct spread loss_spread(const struct profile *profile, size_t loss)
{
	return profile->loss_spreads ? profile->loss_spreads[loss] : (struct spread){ 0 };
}

/* What is too large is for clamp() to see. */
static int64_t whole(double bytes)
{
	const double limit = 0x1p53;
	return (int64_t)(bytes < -limit ? -limit : bytes > limit ? limit : bytes);
}

static uint64_t whole_positive(double bytes)
{
	return bytes > 0 ? (uint64_t)whole(bytes) : 0;
}

static void put_slice_spreads(struct writer *writer, const struct profile *profile)
{
	COLUMN_VARINT(writer, 0, profile->cell_count, whole_positive(cell_spread(profile, i).total.unseen_bytes));
	COLUMN_DOUBLE(writer, 0, profile->cell_count, cell_spread(profile, i).total.variance_bytes);
	COLUMN_VARINT(writer, 0, profile->cell_count, whole_positive(cell_spread(profile, i).kept.unseen_bytes));
	COLUMN_DOUBLE(writer, 0, profile->cell_count, cell_spread(profile, i).kept.variance_bytes);
	COLUMN_SIGNED(writer, 0, profile->loss_count, whole(loss_spread(profile, i).unseen_bytes));
	COLUMN_DOUBLE(writer, 0, profile->loss_count, loss_spread(profile, i).variance_bytes);
}

/* of: site_spread or before_spread.  Unseen bytes are whole, variances are not (estimate.c). */
static void put_spreads(struct writer *writer, const struct profile *profile,
	struct spread (*of)(const struct profile *profile, size_t site, unsigned figure))
{
	for (unsigned figure = 0; figure < COST_FIGURES; figure++) {
		COLUMN_VARINT(writer, 0, profile->site_count, whole_positive(of(profile, i, figure).unseen_bytes));
		COLUMN_DOUBLE(writer, 0, profile->site_count, of(profile, i, figure).variance_bytes);
	}
}

static void put_sources(struct writer *writer, const struct report_sources *sources,
	const struct report_strings *strings)
{
	size_t count = report_sources_count(sources);
	COLUMN_VARINT(writer, 0, count, report_strings_find(strings, report_sources_get(sources, i)->file));
	COLUMN_BYTE(writer, 0, count, report_sources_get(sources, i)->state);
	COLUMN_VARINT(writer, 0, count, report_sources_get(sources, i)->line_count);
	for (size_t file = 0; file < count; file++) {
		const struct report_source *source = report_sources_get(sources, file);
		COLUMN_DELTA(writer, 0, source->line_count, source->lines[i].number);
		COLUMN_VARINT(writer, 0, source->line_count, report_text_size(source->lines[i].text));
		for (size_t i = 0; i < source->line_count; i++)
			put_text(writer, source->lines[i].text);
	}
}

bool report_columns_write(const struct profile *profile, const struct report_strings *strings,
	const struct report_sources *sources, FILE *out, uint64_t *clamped, struct error *error)
{
	struct writer own = { .pack = pack_new(out), .clamped = clamped }, *writer = &own;
	if (!own.pack)
		return fail(error, STATUS_MEMORY, "cannot make the report: out of memory for compression");

	put_bytes(writer, "SCTR\1", 5);
	put_varint(writer, report_strings_count(strings));
	put_varint(writer, profile->frame_count);
	put_varint(writer, profile->node_count);
	put_varint(writer, profile->thread_count);
	put_varint(writer, profile->site_count);
	put_varint(writer, profile->timeline_count);
	put_varint(writer, report_sources_count(sources));
	put_varint(writer, profile->slice_count);
	put_varint(writer, profile->cell_count);
	put_varint(writer, profile->loss_count);
	put_varint(writer, profile->before ? profile->site_count : 0);
	put_varint(writer, profile->before_run ? profile->before_run->timeline_count : 0);
	put_varint(writer, profile->sample_mean_bytes ? profile->site_count : 0);
	put_varint(writer, profile->before_spreads ? profile->site_count : 0);
	put_varint(writer, profile->before_slices ? profile->before_slices->slice_count : 0);
	put_varint(writer, profile->before_slices ? profile->before_slices->cell_count : 0);
	put_varint(writer, profile->before_slices ? profile->before_slices->loss_count : 0);
	put_strings(writer, strings);
	put_frames(writer, profile, strings);
	put_nodes(writer, profile);
	put_threads(writer, profile, strings);
	put_sites(writer, profile);
	put_timeline(writer, profile);
	put_sources(writer, sources, strings);
	put_slices(writer, profile);
	if (profile->before)
		put_before(writer, profile);
	if (profile->before_run)
		put_timeline(writer, profile->before_run);
	if (profile->sample_mean_bytes) {
		put_spreads(writer, profile, site_spread);
		put_slice_spreads(writer, profile);
	}
	if (profile->before_spreads)
		put_spreads(writer, profile, before_spread);
	if (profile->before_slices)
		put_slices(writer, profile->before_slices);
	if (profile->before_slices && profile->before_spreads)
		put_slice_spreads(writer, profile->before_slices);
	put_bytes(writer, "END.", 4);
	pack_flush(own.pack, true);

	const bool failed = own.pack->failed;
	pack_free(own.pack);
	if (failed)
		return fail(error, STATUS_MEMORY, "cannot make the report: its data cannot be compressed");
	return true;
}
