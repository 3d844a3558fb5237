/* SPDX-License-Identifier: MIT */
/*
 * The analyses against slow and obvious recomputations: every row of every analysis of random programs must be what
 * loops over the list of all lives say, with the peak, the end or another moment as the one to look at.
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

#include "random_lives.h"
#include "formats/capture.h"
#include "formats/pages.h"
#include "reader/analysis.h"

enum { ROWS_MAX = 6000 };

/* ---- expected rows ---- */

struct expected {
	unsigned thread, stack, code;     /* the site */
	uint64_t values[ANALYSIS_COLUMNS_MAX];
	uint64_t series[2 * ANALYSIS_BINS];
};

static struct expected rows[ROWS_MAX];
static unsigned row_count;

/* The row of a life's site, and where `key_column` is not negative of this value in it. */
static struct expected *row_of(const struct life *life, int key_column, uint64_t key)
{
	for (unsigned i = 0; i < row_count; i++) {
		if (rows[i].thread == life->thread && rows[i].stack == life->stack && rows[i].code == life->code &&
		    (key_column < 0 || rows[i].values[key_column] == key))
			return &rows[i];
	}
	assert_true(row_count < ROWS_MAX);
	rows[row_count] = (struct expected){ .thread = life->thread, .stack = life->stack, .code = life->code };
	if (key_column >= 0)
		rows[row_count].values[key_column] = key;
	return &rows[row_count++];
}

static uint64_t fact(const struct analysis_result *result, const char *key)
{
	return analysis_fact_value(result, key);
}

/* Each row of the analysis is expected, and each expected row is there; derived columns are another test's. */
static void compare_rows(const struct profile *profile, const struct analysis_table *table, int key_column)
{
	const struct analysis_table_class *class = table->class;
	const size_t bins = (size_t)class->series_count * class->bin_count;

	assert_int_equal(table->count, row_count);
	for (size_t i = 0; i < table->count; i++) {
		const struct analysis_row *row = &table->rows[i];
		const struct observed_site *site = &profile->observed[row->site];
		const char *name = profile->frames[profile->nodes[site->node].frame].function;
		const struct life like = { .thread = profile->threads[site->thread].tid - 100, .stack = (unsigned)atoi(name + 1),
			.code = site->domain == DOMAIN_ARENA ? ARENA : site->allocator };
		const unsigned known = row_count;
		const struct expected *expected = row_of(&like, key_column, key_column < 0 ? 0 : row->values[key_column]);

		assert_int_equal(row_count, known);
		for (unsigned column = 0; column < class->column_count; column++) {
			if (class->columns[column].join == ANALYSIS_DERIVED || class->columns[column].join == ANALYSIS_KEY)
				continue;
			if (row->values[column] != expected->values[column])
				print_error("%s of f%u thread %u code %u\n", class->columns[column].key, like.stack, like.thread,
					like.code);
			assert_int_equal(row->values[column], expected->values[column]);
		}
		for (size_t bin = 0; bin < bins; bin++)
			assert_int_equal(table->series[i * bins + bin], expected->series[bin]);
	}
}

/* ---- recomputations ---- */

static uint64_t life_ns(const struct life *life)
{
	return step_ns[life->ended] - step_ns[life->born];
}

/* Other allocations of its thread from its birth on, until a step. */
static unsigned allocations_between(const struct life *life, unsigned step)
{
	unsigned count = 0;

	for (unsigned i = 0; i < life_count; i++)
		count += lives[i].thread == life->thread && &lives[i] > life && lives[i].born <= step;
	return count;
}

static void check_temporary(const struct profile *profile, const struct analysis_result *result, unsigned limit,
	uint64_t limit_ns)
{
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		struct expected *row = row_of(life, -1, 0);
		const bool own = life->ended_by == (int)life->thread;
		const bool near = own && allocations_between(life, life->ended) <= limit;
		const bool soon = own && life_ns(life) <= limit_ns;
		const uint64_t size = life->code == CAPTURE_MAP ? life->sizes[0].size : life_last_size(life);

		row->values[0] += near || soon;
		row->values[1] += near || soon ? size : 0;
		row->values[2] += near;
		row->values[3] += near ? size : 0;
		row->values[4] += soon;
		row->values[5] += soon ? size : 0;
		row->values[6]++;
		row->values[7] += life->sizes[0].size;
	}
	compare_rows(profile, &result->tables[0], -1);
}

/* Whether it lives at a step, and is not in the middle of a realloc. */
static bool lives_at(const struct life *life, unsigned step)
{
	return life_size_at(life, step) != UINT64_MAX;
}

static unsigned life_bin(uint64_t time_ns)
{
	unsigned bin = 0;

	for (uint64_t end_ns = 1000; bin < ANALYSIS_LIFE_BINS - 1 && time_ns >= end_ns; bin++)
		end_ns = bin % 2 ? end_ns / 3 * 10 : end_ns * 3;
	return bin;
}

static void check_lifetimes(const struct profile *profile, const struct analysis_result *result)
{
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		struct expected *row = row_of(life, -1, 0);
		uint64_t size = life->sizes[0].size;
		unsigned since = life->born;

		/* While it is in the middle of a realloc that leaves it where it is, it goes on. */
		for (unsigned n = 1; n < life->size_count; n++) {
			if (life->sizes[n].size == UINT64_MAX || life->sizes[n].size == size)
				continue;
			row->values[6] += size * (step_ns[life->sizes[n].step] - step_ns[since]) / 1000000;
			size = life->sizes[n].size;
			since = life->sizes[n].step;
		}
		row->values[6] += size * (step_ns[life->ended] - step_ns[since]) / 1000000;
		if (life->ended < STEPS) {
			row->values[1]++;
			row->series[life_bin(life_ns(life))]++;
			continue;
		}
		row->values[3]++;
		row->values[4] += size;
		row->values[5] = life_ns(life) > row->values[5] ? life_ns(life) : row->values[5];
	}
	compare_rows(profile, &result->tables[0], -1);
}

static void check_rates(const struct profile *profile, const struct analysis_result *result)
{
	uint64_t width_ns = 1000000;

	/* The writer's clock has ticks of 1 ms. */
	while (step_ns[STEPS] / width_ns >= 64 || width_ns < 4000000)
		width_ns *= 2;
	assert_int_equal(fact(result, "bin_ns"), width_ns);
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		struct expected *row = row_of(&lives[i], -1, 0);
		const uint64_t bin = step_ns[lives[i].born] / width_ns;

		row->values[2]++;
		row->values[3] += lives[i].sizes[0].size;
		row->series[bin] += lives[i].sizes[0].size;
		row->series[64 + bin]++;
	}
	compare_rows(profile, &result->tables[0], -1);
}

static bool same_site(const struct life *left, const struct life *right)
{
	return left->thread == right->thread && left->stack == right->stack && left->code == right->code;
}

/* What the site has of this size just before the life is born: given back and not taken again, and live. */
static void count_kept(const struct life *life, unsigned *kept, unsigned *live)
{
	*kept = *live = 0;
	for (unsigned step = 0; step <= life->born; step++) {
		for (const struct life *other = lives; other < life; other++) {
			if (!same_site(other, life) || other->sizes[0].size != life->sizes[0].size)
				continue;
			/* A realloc gives the old block back when it is done, just before the new one is born. */
			if (step == (other->after < 0 ? other->ended : lives[other->after].born)) {
				*kept += life_last_size(other) >= other->sizes[0].size;
				(*live)--;
			}
			if (other->born == step) {
				*kept -= *kept > 0;
				(*live)++;
			}
		}
	}
}

static bool is_among_first_sizes(const struct life *life)
{
	uint64_t sizes[16];
	unsigned count = 0;

	for (const struct life *other = lives; other <= life; other++) {
		unsigned i = 0;

		if (!same_site(other, life))
			continue;
		while (i < count && sizes[i] != other->sizes[0].size)
			i++;
		if (i == count && count < 16)
			sizes[count++] = other->sizes[0].size;
		if (other == life)
			return i < 16;
	}
	return false;
}

static void check_churn(const struct profile *profile, const struct analysis_result *result)
{
	uint64_t beyond = 0;
	unsigned left = 0;

	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		struct expected *row;
		unsigned kept, live;

		if (!is_among_first_sizes(life)) {
			beyond++;
			continue;
		}
		row = row_of(life, 2, life->sizes[0].size);
		count_kept(life, &kept, &live);
		row->values[0] += kept > 0;
		row->values[1] += kept > 0 ? life->sizes[0].size : 0;
		row->values[3] = live + 1 > row->values[3] ? live + 1 : row->values[3];
		row->values[4]++;
	}
	for (unsigned i = 0; i < row_count; i++) {
		if (rows[i].values[0])
			rows[left++] = rows[i];
	}
	row_count = left;
	assert_int_equal(fact(result, "beyond_count"), beyond);
	compare_rows(profile, &result->tables[0], 2);
}

static bool has_own_mapping(const struct life *life, uint64_t size)
{
	return size >= 128 * 1024 && life->address % 4096 == 16;
}

static void check_growth(const struct profile *profile, const struct analysis_result *result)
{
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i], *before = life->before < 0 ? NULL : &lives[life->before];
		struct expected *row;
		unsigned chain = 0, width = 0;

		if (!before)
			continue;
		for (int at = life->before; at >= 0; at = lives[at].before)
			chain++;
		row = row_of(life, -1, 0);
		row->values[3]++;
		row->values[5] = chain > row->values[5] ? chain : row->values[5];
		if (life->address != before->address) {
			const uint64_t old = life_last_size(before), new = life->sizes[0].size;
			const bool mapped = has_own_mapping(life, new) && has_own_mapping(before, old);

			row->values[1]++;
			row->values[2] += mapped;
			row->values[0] += mapped ? 0 : old < new ? old : new;
		}
		if (life->after >= 0)
			continue;
		row->values[4]++;
		row->values[8] += life_last_size(life);
		row->values[6] = life_last_size(life) > row->values[6] ? life_last_size(life) : row->values[6];
		while (life_last_size(life) >> width)
			width++;
		row->series[width]++;
	}
	compare_rows(profile, &result->tables[0], -1);
}

static uint64_t glibc_takes(uint64_t size, uint64_t address)
{
	uint64_t chunk = 32;

	while (chunk < size + 8)
		chunk += 16;
	if (size >= 128 * 1024 && address % 4096 == 16)
		chunk = (chunk + 8 + 4095) / 4096 * 4096;
	return chunk;
}

static uint64_t takes(const struct life *life, uint64_t size)
{
	uint64_t class = 16;

	if (life->code < CAPTURE_PYMEM_MALLOC || size > 512)
		return glibc_takes(size, life->address);
	while (class < size)
		class += 16;
	return class;
}

/* The step behind which most is live, the first one. */
static unsigned peak_step(void)
{
	uint64_t most = 0;
	unsigned peak = 0;

	for (unsigned step = 0; step < STEPS; step++) {
		if (lives_counted_at(step) > most) {
			most = lives_counted_at(step);
			peak = step;
		}
	}
	return peak;
}

static void check_slop(const struct profile *profile, const struct analysis_result *result)
{
	const unsigned peak = peak_step();
	uint64_t asked = 0;

	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		const uint64_t size = life->sizes[0].size, now = life_size_at(life, peak);
		struct expected *row;

		if (life->code == CAPTURE_MAP || life->code == ARENA)
			continue;
		row = row_of(life, -1, 0);
		row->values[5]++;
		row->values[4] += size;
		row->values[3] += takes(life, size) - size;
		if (!lives_at(life, peak))
			continue;
		row->values[1] += now;
		row->values[0] += takes(life, now) - now;
		asked += now;
	}
	assert_int_equal(asked, profile->by_domain[DOMAIN_HEAP].peak_bytes + profile->by_domain[DOMAIN_PYTHON].peak_bytes);
	compare_rows(profile, &result->tables[0], -1);
}

/* Live blocks of an arena, by address; how many. */
static unsigned blocks_in(uint64_t start, uint64_t end, unsigned at, const struct life **blocks)
{
	unsigned count = 0;

	for (uint64_t address = start; address < end; address += 16) {
		for (unsigned i = 0; i < life_count; i++) {
			if (lives[i].address == address && lives_at(&lives[i], at) && lives[i].code >= CAPTURE_PYMEM_MALLOC &&
			    lives[i].code != ARENA)
				blocks[count++] = &lives[i];
		}
	}
	return count;
}

static void check_arenas(const struct profile *profile, const struct analysis_result *result, unsigned at)
{
	static const struct life *blocks[LIVES_MAX];
	const struct analysis_table *list = &result->tables[1];
	unsigned outside = 0;

	row_count = 0;
	assert_int_equal(list->count, ARENAS);
	for (unsigned arena = 0; arena < ARENAS; arena++) {
		const uint64_t start = ARENA_BASE + arena * 256 * 1024ul, *values = list->rows[arena].values;
		const unsigned count = blocks_in(start, start + 256 * 1024, at, blocks);
		uint64_t used = 0, given = 0, left = 256 * 1024;
		bool pools[64] = { false };
		unsigned pool_count = 0;

		for (unsigned i = 0; i < count; i++) {
			used += life_size_at(blocks[i], at);
			given += takes(blocks[i], life_size_at(blocks[i], at));
			pools[(blocks[i]->address - start) / 4096] = true;
		}
		for (unsigned i = 0; i < 64; i++)
			pool_count += pools[i];
		assert_int_equal(values[0], used);
		assert_int_equal(values[1], 256 * 1024);
		assert_int_equal(values[2], count);
		assert_int_equal(values[3], pool_count);
		assert_int_equal(values[4], start);
		for (unsigned i = 0; i < count && given < 64 * 1024; i++) {
			struct expected *row = row_of(blocks[i], -1, 0);
			const uint64_t part = i + 1 == count ? left : 256 * 1024 * takes(blocks[i], life_size_at(blocks[i], at)) / given;

			row->values[0] += part;
			row->values[1] += life_size_at(blocks[i], at);
			row->values[2]++;
			left -= part;
		}
	}
	for (unsigned i = 0; i < life_count; i++)
		outside += lives_at(&lives[i], at) && lives[i].code >= CAPTURE_PYMEM_MALLOC && lives[i].code != ARENA &&
			life_size_at(&lives[i], at) <= 512 && (lives[i].address < ARENA_BASE || lives[i].address >= LARGE_BASE);
	assert_int_equal(fact(result, "outside_count"), outside);
	compare_rows(profile, &result->tables[0], -1);
}

/* What a block has of a page. */
static uint64_t bytes_on(const struct life *life, uint64_t size, uint64_t page)
{
	const uint64_t start = life->address > page ? life->address : page;
	const uint64_t end = life->address + size < page + 4096 ? life->address + size : page + 4096;

	return end > start ? end - start : 0;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct life *const *left = a, *const *right = b;

	return (*left)->address < (*right)->address ? -1 : (*left)->address > (*right)->address;
}

static void check_pages(const struct profile *profile, const struct analysis_result *result, unsigned at)
{
	static const struct life *blocks[LIVES_MAX];
	uint64_t sparse = 0, pages = 0, newest = 0;
	unsigned count = 0;

	row_count = 0;
	for (unsigned i = 0; i < life_count; i++)
		if (lives_at(&lives[i], at) && lives[i].code >= 32 && lives[i].code != ARENA && life_size_at(&lives[i], at) > 0)
			blocks[count++] = &lives[i];
	qsort(blocks, count, sizeof(*blocks), compare_addresses);
	for (unsigned i = 0; i < count; i++) {
		struct expected *row = row_of(blocks[i], -1, 0);

		row->values[2] += life_size_at(blocks[i], at);
		row->values[3]++;
	}
	/* Each page once: the next page is that of the next byte that any block has. */
	for (uint64_t page = 0, next; ; page = next) {
		uint64_t bytes = 0, left = 4096;
		const struct life *last = NULL;

		next = UINT64_MAX;
		for (unsigned i = 0; i < count; i++) {
			const uint64_t size = life_size_at(blocks[i], at), end = blocks[i]->address + size;

			bytes += bytes_on(blocks[i], size, page);
			last = bytes_on(blocks[i], size, page) ? blocks[i] : last;
			if (end > page + 4096 && blocks[i]->address / 4096 * 4096 < next)
				next = blocks[i]->address < page + 4096 ? page + 4096 : blocks[i]->address / 4096 * 4096;
		}
		for (unsigned i = 0; i < count; i++) {
			const uint64_t own = bytes_on(blocks[i], life_size_at(blocks[i], at), page);
			struct expected *row;
			uint64_t share;

			if (!own)
				continue;
			row = row_of(blocks[i], -1, 0);
			share = blocks[i] == last ? left : 4096 * own / bytes;
			row->values[1] += share;
			row->values[4] += bytes < 1024 ? share : 0;
			left -= share;
		}
		pages += bytes ? 4096 : 0;
		sparse += bytes && bytes < 1024 ? 4096 : 0;
		if (next == UINT64_MAX)
			break;
	}
	for (unsigned i = 0; i < row_count; i++)
		rows[i].values[0] = rows[i].values[1] > rows[i].values[2] ? rows[i].values[1] - rows[i].values[2] : 0;
	for (unsigned i = 0; i < sample_count && samples[i].step <= at; i++)
		newest = samples[i].anonymous;
	assert_int_equal(fact(result, "anonymous_bytes"), newest);
	assert_int_equal(fact(result, "page_bytes"), pages);
	assert_int_equal(fact(result, "sparse_bytes"), sparse);
	compare_rows(profile, &result->tables[0], -1);
}

/* Marks what of the page at this address is blocks' bytes (1), and what their slop (2). */
static void mark_page(uint8_t *bytes, uint64_t page, unsigned step)
{
	memset(bytes, 0, 4096);
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		const uint64_t size = life_size_at(life, step);

		if (size == UINT64_MAX || life->code == CAPTURE_MAP || life->code == ARENA)
			continue;
		const bool small = life->code >= CAPTURE_PYMEM_MALLOC && size <= 512;
		const uint64_t head = small ? 0 : has_own_mapping(life, size) ? 16 : 8;
		const uint64_t start = life->address - head, end = start + takes(life, size);

		for (uint64_t at = start > page ? start : page; at < end && at < page + 4096; at++) {
			if (at >= life->address && at < life->address + size)
				bytes[at - page] = 1;
			else if (!bytes[at - page])
				bytes[at - page] = 2;
		}
	}
}

static bool is_mapped(uint64_t page, unsigned step, unsigned code)
{
	for (unsigned i = 0; i < life_count; i++)
		if (lives[i].code == code && lives_at(&lives[i], step) && page >= lives[i].address &&
		    page < lives[i].address + life_size_at(&lives[i], step))
			return true;
	return false;
}

static bool was_held(uint64_t page, unsigned step)
{
	for (unsigned i = 0; i < life_count; i++)
		if (lives[i].code != CAPTURE_MAP && lives[i].code != ARENA && lives[i].born <= step &&
		    lives[i].address / 4096 * 4096 <= page &&
		    page < lives[i].address + (lives[i].sizes[0].size ? lives[i].sizes[0].size : 1))
			return true;
	return false;
}

static bool in_extra(uint64_t page, unsigned from, unsigned to)
{
	return page >= EXTRA_BASE + from * 4096ul && page < EXTRA_BASE + to * 4096ul;
}

enum { BLOCKS, SLOP, BESIDE, MAPPINGS, ARENA_FREE, HEAP_FREE, STACKS, MODULES, OWN, OTHER, SHARED, CLASSES };
static const char *const class_keys[CLASSES] = { "block_bytes", "slop_bytes", "beside_bytes", "mapping_bytes",
	"arena_free_bytes", "heap_free_bytes", "stack_bytes", "module_bytes", "recorder_bytes", "other_bytes",
	"shared_bytes" };
static uint64_t class_bytes[CLASSES];     /* seen in all */

static void classify_page(uint64_t page, unsigned kind, unsigned step, uint64_t *sums)
{
	uint8_t bytes[4096];
	unsigned counts[3] = { 0 };

	mark_page(bytes, page, step);
	for (unsigned i = 0; i < 4096; i++)
		counts[bytes[i]]++;
	if (in_extra(page, EXTRA_OWN, EXTRA_OWN_END) || in_extra(page, EXTRA_RECORDER, EXTRA_RECORDER_END)) {
		sums[OWN] += 4096;
	} else if (kind == PAGES_SHARED) {
		sums[SHARED] += 4096;
	} else if (kind == PAGES_STACK || in_extra(page, EXTRA_STACK, EXTRA_STACK_END)) {
		sums[STACKS] += 4096;
	} else if (kind == PAGES_FILE) {
		sums[MODULES] += 4096;
	} else if (counts[1] || counts[2]) {
		sums[BLOCKS] += counts[1];
		sums[SLOP] += counts[2];
		sums[BESIDE] += counts[0];
	} else {
		sums[is_mapped(page, step, CAPTURE_MAP) ? MAPPINGS : is_mapped(page, step, ARENA) ? ARENA_FREE :
			kind == PAGES_BREAK || was_held(page, step) ? HEAP_FREE :
			kind == PAGES_ZEROED || in_extra(page, EXTRA_MODULE, EXTRA_MODULE_END) ? MODULES : OTHER] += 4096;
	}
}

/* Whether a page was looked at, and what it was. */
static bool look_up(const struct life_pages *sample, uint64_t page, unsigned *state, unsigned *kind)
{
	for (unsigned i = 0; i < sample->range_count; i++) {
		const struct life_page_range *range = &sample->ranges[i];

		if (range->kind != PAGES_FILE && page / 4096 >= range->first && page / 4096 < range->first + range->count) {
			*state = range->states[page / 4096 - range->first];
			*kind = range->kind;
			return true;
		}
	}
	return false;
}

/* A row for each life's memory, by page; returns what is known to be untouched. */
enum { LIVE_ABSENT, LIVE_SWAPPED, LIVE_RESIDENT, LIVE_UNSEEN, LIVE_BYTES };
static uint64_t expect_live(const struct life_pages *sample)
{
	unsigned left = 0, state, kind;
	uint64_t untouched = 0;

	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		const uint64_t size = life_size_at(life, sample->step);
		struct expected *row;

		if (size == UINT64_MAX || life->code == ARENA)
			continue;
		row = row_of(life, -1, 0);
		row->values[LIVE_BYTES] += size;
		for (uint64_t page = life->address / 4096 * 4096; page < life->address + size; page += 4096) {
			const unsigned bytes = bytes_on(life, size, page);

			if (!look_up(sample, page, &state, &kind)) {
				row->values[LIVE_UNSEEN] += bytes;
				continue;
			}
			row->values[state == LIFE_RESIDENT ? LIVE_RESIDENT : LIVE_ABSENT] += bytes;
			row->values[LIVE_SWAPPED] += state == LIFE_SWAPPED ? bytes : 0;
			untouched += sample->swap_told && state == LIFE_ABSENT && kind != PAGES_SHARED ? bytes : 0;
		}
	}
	for (unsigned i = 0; i < row_count; i++)
		if (rows[i].values[LIVE_BYTES])
			rows[left++] = rows[i];
	row_count = left;
	return untouched;
}

/* By the newest sample; there is one before each moment that the tests ask for. */
static void check_resident(const struct profile *profile, const struct analysis_result *result, unsigned at)
{
	const struct life_pages *sample = page_samples;
	uint64_t sums[CLASSES] = { 0 }, all = 0, swapped = 0;

	while (sample + 1 < page_samples + page_sample_count && sample[1].step <= at)
		sample++;
	for (unsigned i = 0; i < sample->range_count; i++)
		for (unsigned n = 0; n < sample->ranges[i].count; n++)
			if (sample->ranges[i].states[n] == LIFE_SWAPPED)
				swapped += 4096;
			else if (sample->ranges[i].states[n] == LIFE_RESIDENT)
				classify_page((sample->ranges[i].first + n) * 4096, sample->ranges[i].kind, sample->step, sums);
	assert_null(result->unavailable);
	for (unsigned class = 0; class < CLASSES; class++) {
		if (fact(result, class_keys[class]) != sums[class])
			print_error("%s\n", class_keys[class]);
		assert_int_equal(fact(result, class_keys[class]), sums[class]);
		class_bytes[class] += sums[class];
		all += sums[class];
	}
	assert_int_equal(fact(result, "resident_bytes"), all);
	assert_int_equal(fact(result, "time_ns"), step_ns[sample->step]);
	assert_int_equal(fact(result, "live_bytes"), lives_counted_at(sample->step));
	assert_int_equal(fact(result, "cut_count") + fact(result, "blind_count"), 0);
	assert_int_equal(fact(result, "swapped_bytes"), swapped);
	assert_int_equal(fact(result, "live_untouched_bytes"), expect_live(sample));
	compare_rows(profile, &result->tables[0], -1);
}

static void check_untouched(const struct profile *profile, const struct analysis_result *result)
{
	uint64_t most = 0;
	unsigned when = 0;

	row_count = 0;
	for (unsigned i = 0; i < sample_count; i++) {
		if (samples[i].counted > samples[i].anonymous && samples[i].counted - samples[i].anonymous > most) {
			most = samples[i].counted - samples[i].anonymous;
			when = i;
		}
	}
	assert_int_equal(fact(result, "untouched_bytes"), most);
	assert_int_equal(fact(result, "time_ns"), step_ns[samples[when].step]);
	assert_int_equal(fact(result, "sample_count"), sample_count);
	for (unsigned i = 0; i < life_count && most; i++) {
		const uint64_t size = life_size_at(&lives[i], samples[when].step);
		struct expected *row;

		if (size == UINT64_MAX || size < 128 * 1024 || lives[i].code == ARENA)
			continue;
		row = row_of(&lives[i], -1, 0);
		row->values[0] += size;
		row->values[1]++;
	}
	compare_rows(profile, &result->tables[0], -1);
}

static void check_pairs(const struct profile *profile, const struct analysis_result *result)
{
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		struct expected *row;

		if (life->ended == STEPS)
			continue;
		row = row_of(life, 5, (uint64_t)life->ended_by);
		row->values[0]++;
		row->values[1] += life_last_size(life);
		row->values[6] += life_ns(life);
		row->series[life_bin(life_ns(life))]++;
	}
	/* Threads of the profile are in the order of their first events; here they have their own numbers. */
	for (unsigned i = 0; i < row_count; i++) {
		for (uint32_t thread = 0; thread < profile->thread_count; thread++) {
			if (profile->threads[thread].tid == 100 + rows[i].values[5]) {
				rows[i].values[5] = thread;
				break;
			}
		}
	}
	compare_rows(profile, &result->tables[0], 5);
}

static void check_cross_thread(const struct profile *profile, const struct analysis_result *result)
{
	uint64_t freed[THREADS][THREADS] = { { 0 } }, elsewhere = 0;

	for (unsigned i = 0; i < life_count; i++) {
		if (lives[i].ended < STEPS) {
			freed[lives[i].thread][lives[i].ended_by]++;
			elsewhere += lives[i].ended_by != (int)lives[i].thread;
		}
	}
	for (size_t i = 0; i < result->tables[1].count; i++) {
		const uint64_t *values = result->tables[1].rows[i].values;

		freed[profile->threads[values[2]].tid - 100][profile->threads[values[3]].tid - 100] -= values[0];
		elsewhere -= result->tables[0].rows[i].values[0];
	}
	for (unsigned i = 0; i < THREADS * THREADS; i++)
		assert_int_equal(freed[i / THREADS][i % THREADS], 0);
	assert_int_equal(elsewhere, 0);
}

/* ---- the tests ---- */

static struct profile *build(const char *path, const struct profile_options *options)
{
	struct profile *profile;
	struct error error = { 0 };

	if (!profile_build(&profile, &path, 1, options, &error))
		print_error("%s\n", error.text);
	assert_non_null(profile);
	return profile;
}

/* Rows seen in all, by analysis: a comparison of nothing with nothing shows nothing. */
static size_t covered[ANALYSIS_COUNT];

/* All analyses in one pass; at: the step behind which they look at the heap. */
static void check_all(const char *path, struct profile_options *options, unsigned at)
{
	struct profile *profile;
	const struct analysis_result *results;

	options->analyses = (1u << ANALYSIS_COUNT) - 1;
	options->timeline_points = 0;
	profile = build(path, options);
	results = profile->analyses;
	assert_int_equal(profile->analysis_count, ANALYSIS_COUNT);
	assert_int_equal(profile->captures[0].contradictions, 0);
	assert_int_equal(profile->captures[0].unknown_frees, 0);
	check_temporary(profile, &results[ANALYSIS_temporary], options->temporary_limit, options->temporary_ns);
	check_lifetimes(profile, &results[ANALYSIS_lifetimes]);
	check_rates(profile, &results[ANALYSIS_rates]);
	check_churn(profile, &results[ANALYSIS_churn]);
	check_growth(profile, &results[ANALYSIS_growth]);
	check_slop(profile, &results[ANALYSIS_slop]);
	check_arenas(profile, &results[ANALYSIS_arenas], at);
	check_pages(profile, &results[ANALYSIS_pages], at);
	check_resident(profile, &results[ANALYSIS_resident], at);
	check_untouched(profile, &results[ANALYSIS_untouched]);
	check_cross_thread(profile, &results[ANALYSIS_cross_thread]);
	check_pairs(profile, &results[ANALYSIS_pairs]);
	for (unsigned i = 0; i < ANALYSIS_COUNT; i++)
		covered[i] += results[i].tables[0].count;
	profile_free(profile);
}

static void random_programs_are_analysed_as_slow_loops_say(void **state)
{
	/* SCTMEM_ANALYSES_SEEDS=100 tries more. */
	const unsigned seeds = getenv("SCTMEM_ANALYSES_SEEDS") ? (unsigned)atoi(getenv("SCTMEM_ANALYSES_SEEDS")) : 3;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/sctmem-test-analyses-%d.bin", (int)getpid());
	for (unsigned seed = 1; seed <= seeds; seed++) {
		struct profile_options options = profile_options_default;
		unsigned at = STEPS;

		lives_write(path, seed);
		options.slices = seed % 2 ? 32 : 0;   /* sites are numbered anew, then */
		options.temporary_limit = seed;
		options.temporary_ns = seed * 1000000;
		if (seed % 3 == 1) {
			options.at_peak = true;
			at = peak_step();
		} else if (seed % 3 == 2) {
			options.at_ns = step_ns[STEPS / 3];
			for (at = STEPS; step_ns[at] > options.at_ns;)
				at--;
		} else {
			at = STEPS - 1;
		}
		check_all(path, &options, at);
	}
	unlink(path);
	for (unsigned i = 0; i < ANALYSIS_COUNT; i++)
		assert_true(covered[i] > 10);
	for (unsigned class = 0; class < CLASSES; class++)
		assert_true(class_bytes[class] > 0);
}

static void lifetimes_fall_into_half_decades(void **state)
{
	for (unsigned i = 0; i < 100000; i++) {
		const uint64_t time_ns = (uint64_t)lives_draw(1000000000) << lives_draw(30);

		assert_int_equal(analysis_life_bin(time_ns), life_bin(time_ns));
	}
	assert_int_equal(analysis_life_bin(999), 0);
	assert_int_equal(analysis_life_bin(1000), 1);
	assert_int_equal(analysis_life_bin(UINT64_MAX), ANALYSIS_LIFE_BINS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_programs_are_analysed_as_slow_loops_say),
		cmocka_unit_test(lifetimes_fall_into_half_decades),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
