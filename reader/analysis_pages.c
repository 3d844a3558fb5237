/* SPDX-License-Identifier: MIT */
/*
 * Pages at one moment: the system gives and takes memory in pages, and one small live block keeps a whole page.  For
 * each page with a live block on it, its bytes are shared out among the blocks there by what they hold of it; what a
 * site's shares are beyond its blocks is what it keeps resident without using it, when those pages are resident.
 *
 * From addresses alone it cannot be known whether a page is resident; samples tell how much is in all.
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"

enum { PAGE_GAP, PAGE_HELD, PAGE_BYTES, PAGE_BLOCKS, PAGE_SPARSE, PAGE_COLUMNS };
enum { SPARSE = 4 };              /* less than this part of the page is in use */

static const struct analysis_column columns[] = {
	{ "gap_bytes", "unused", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "page_bytes", "of its pages", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "bytes", "for", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "block_count", "blocks", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "sparse_bytes", "on sparse pages", ANALYSIS_BYTES, ANALYSIS_SUM },
};

static const struct analysis_table_class places = { .name = "places", .by_place = true, .columns = columns,
	.column_count = PAGE_COLUMNS, .sort = PAGE_GAP };

struct page_site { uint64_t values[PAGE_COLUMNS]; };

/* What one block holds of one page that it does not fill. */
struct part {
	uint64_t page;
	uint64_t address;
	uint32_t process, site, bytes;
};

struct process_sample { uint64_t resident, anonymous, counted; };

struct pages {
	struct page_site *sites;
	size_t site_capacity;
	struct process_sample *samples; size_t sample_capacity;   /* the newest of each process */
	struct process_sample sum;    /* at the moment */
	uint64_t page_bytes, sparse_bytes, live_bytes;
	bool looked;
};

static bool on_sample(void *state, const struct analysis_context *context, const struct profile_sample *sample)
{
	struct pages *own = state;

	if (!array_reserve(&own->samples, &own->sample_capacity, sample->process + (size_t)1, sizeof(*own->samples),
		context->error))
		return false;
	own->samples[sample->process] = (struct process_sample){ .resident = sample->resident_bytes,
		.anonymous = sample->anonymous_bytes, .counted = sample->counted_bytes };
	return true;
}

static int compare_parts(const void *a, const void *b)
{
	const struct part *left = a, *right = b;

	if (left->process != right->process)
		return left->process < right->process ? -1 : 1;
	if (left->page != right->page)
		return left->page < right->page ? -1 : 1;
	return left->address < right->address ? -1 : left->address > right->address;
}

/* Splits a block at the borders of pages; whole pages are its own. */
static bool take_block(struct pages *own, const struct analysis_context *context, const struct analysis_block *block,
	struct part *parts, size_t *count)
{
	const uint64_t page_size = context->replay->processes[block->process].page_size;
	const uint64_t end = block->address + block->size;
	const uint64_t first = block->address / page_size, last = end / page_size;
	struct part part = { .address = block->address, .process = block->process, .site = block->site };
	struct page_site *site;
	uint64_t whole = last - first;

	if (!array_reserve(&own->sites, &own->site_capacity, block->site + (size_t)1, sizeof(*own->sites), context->error))
		return false;
	site = &own->sites[block->site];
	site->values[PAGE_BYTES] += block->size;
	site->values[PAGE_BLOCKS]++;
	own->live_bytes += block->size;
	if (first == last) {
		part.page = first;
		part.bytes = (uint32_t)block->size;
		parts[(*count)++] = part;
		return true;
	}
	if (block->address % page_size) {
		part.page = first;
		part.bytes = (uint32_t)(page_size - block->address % page_size);
		parts[(*count)++] = part;
		whole--;
	}
	if (end % page_size) {
		part.page = last;
		part.bytes = (uint32_t)(end % page_size);
		parts[(*count)++] = part;
	}
	site->values[PAGE_HELD] += whole * page_size;
	own->page_bytes += whole * page_size;
	return true;
}

/* One page's parts, by address. */
static void share_page(struct pages *own, const struct analysis_context *context, const struct part *parts,
	size_t count)
{
	const uint64_t page_size = context->replay->processes[parts->process].page_size;
	uint64_t bytes = 0, left = page_size;

	for (size_t i = 0; i < count; i++)
		bytes += parts[i].bytes;
	own->page_bytes += page_size;
	if (bytes * SPARSE < page_size)
		own->sparse_bytes += page_size;
	for (size_t i = 0; i < count; i++) {
		uint64_t *values = own->sites[parts[i].site].values;
		const uint64_t share = i + 1 == count ? left : page_size * parts[i].bytes / bytes;

		values[PAGE_HELD] += share;
		if (bytes * SPARSE < page_size)
			values[PAGE_SPARSE] += share;
		left -= share;
	}
}

static bool on_at(void *state, const struct analysis_context *context)
{
	struct pages *own = state;
	struct part *parts = calloc(context->block_count + 1, 2 * sizeof(*parts));
	size_t count = 0;

	if (!parts)
		return fail_memory(context->error);
	for (size_t i = 0; i < context->block_count; i++) {
		const struct analysis_block *block = &context->blocks[i];

		/* Mappings are whole pages by themselves, and what is not on any page holds none. */
		if (!block->used || block->ended || block->size == 0 || block->code < CAPTURE_MALLOC || block->size >> 56)
			continue;
		if (!take_block(own, context, block, parts, &count)) {
			free(parts);
			return false;
		}
	}
	qsort(parts, count, sizeof(*parts), compare_parts);
	for (size_t i = 0, end; i < count; i = end) {
		for (end = i; end < count && parts[end].page == parts[i].page && parts[end].process == parts[i].process;)
			end++;
		share_page(own, context, parts + i, end - i);
	}
	free(parts);
	for (size_t i = 0; i < own->sample_capacity; i++) {
		own->sum.resident += own->samples[i].resident;
		own->sum.anonymous += own->samples[i].anonymous;
		own->sum.counted += own->samples[i].counted;
	}
	own->looked = true;
	return true;
}

static bool on_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	const struct pages *own = state;

	result->unavailable = context->incomplete;
	if (result->unavailable)
		return true;
	analysis_add_fact(result, "resident_bytes", "resident, by the newest sample", ANALYSIS_BYTES, own->sum.resident);
	analysis_add_fact(result, "anonymous_bytes", "of that private to the process", ANALYSIS_BYTES, own->sum.anonymous);
	analysis_add_fact(result, "counted_bytes", "live at that sample", ANALYSIS_BYTES, own->sum.counted);
	analysis_add_fact(result, "gap_bytes", "resident beyond what was live", ANALYSIS_BYTES,
		own->sum.anonymous > own->sum.counted ? own->sum.anonymous - own->sum.counted : 0);
	analysis_add_fact(result, "page_bytes", "pages with a live block", ANALYSIS_BYTES, own->page_bytes);
	analysis_add_fact(result, "block_bytes", "live blocks on them", ANALYSIS_BYTES, own->live_bytes);
	analysis_add_fact(result, "sparse_bytes", "pages of which less than a quarter is used", ANALYSIS_BYTES,
		own->sparse_bytes);
	for (size_t site = 1; site < own->site_capacity; site++) {
		const uint64_t *sums = own->sites[site].values;
		uint64_t *values;

		if (!sums[PAGE_BLOCKS])
			continue;
		if (!analysis_add_row(result, 0, (uint32_t)site, &values, NULL, context->error))
			return false;
		for (unsigned i = 0; i < PAGE_COLUMNS; i++)
			values[i] = sums[i];
		values[PAGE_GAP] = sums[PAGE_HELD] > sums[PAGE_BYTES] ? sums[PAGE_HELD] - sums[PAGE_BYTES] : 0;
	}
	return true;
}

static void finish(void *state)
{
	struct pages *own = state;

	free(own->sites);
	free(own->samples);
}

const struct analysis_class analysis_pages = { .name = "pages", .title = "Resident and live, from addresses",
	.state_size = sizeof(struct pages), .of_moments = true, .tables = { &places }, .on_sample = on_sample,
	.on_at = on_at, .on_end = on_end, .finish = finish };
