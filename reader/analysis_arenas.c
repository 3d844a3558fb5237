/* SPDX-License-Identifier: MIT */
/*
 * Arenas of Python's allocator at one moment: how full each is, and which sites have the blocks that keep nearly empty
 * ones from being given back.  pymalloc returns an arena to the system only when every pool in it is empty.
 *
 *     arena   | pool | pool | pool |  ...         1 MiB and 16 KiB since Python 3.10, 256 KiB and 4 KiB before
 *     pool    | block | block | free |            of one size class
 *
 * Arenas are mappings, in the capture; which blocks lie in which follows from their addresses.
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"

enum { NEARLY_EMPTY = 4 };        /* less than this part of it is in use */

enum { ARENA_HELD, ARENA_BYTES, ARENA_BLOCKS, ARENA_COLUMNS };

static const struct analysis_column place_columns[] = {
	{ "held_bytes", "holds open", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "bytes", "with", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "block_count", "blocks", ANALYSIS_NUMBER, ANALYSIS_SUM },
};

static const struct analysis_table_class places = { .name = "places", .by_place = true, .columns = place_columns,
	.column_count = ARENA_COLUMNS, .sort = ARENA_HELD };

enum { LIST_USED, LIST_BYTES, LIST_BLOCKS, LIST_POOLS, LIST_ADDRESS, LIST_CAPTURE, LIST_COLUMNS };

static const struct analysis_column list_columns[] = {
	{ "used_bytes", "used", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "bytes", "of", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "block_count", "blocks", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "pool_count", "pools in use", ANALYSIS_NUMBER, ANALYSIS_SUM },
	{ "address", "address", ANALYSIS_ADDRESS, ANALYSIS_KEY },
	{ "capture", NULL, ANALYSIS_NUMBER, ANALYSIS_KEY },
};

static const struct analysis_table_class arena_list = { .name = "arenas", .first_is_least = true, .keeps_all = true,
	.columns = list_columns, .column_count = LIST_COLUMNS, .sort = LIST_USED };

/* An arena, or a block in a pool. */
struct item {
	uint64_t address, size;
	uint32_t process, site;
	bool arena;
};

struct arena {
	uint64_t address, size, used, given, blocks, pools;
	uint32_t process;
};

struct site_sum { uint64_t held, bytes, blocks; };

struct arenas {
	struct arena *list;
	size_t count, capacity;
	struct site_sum *sites;
	size_t site_capacity;
	uint64_t outside_count;       /* blocks of pools in arenas that were not seen */
	bool looked;
};

static int compare_items(const void *a, const void *b)
{
	const struct item *left = a, *right = b;

	if (left->process != right->process)
		return left->process < right->process ? -1 : 1;
	if (left->address != right->address)
		return left->address < right->address ? -1 : 1;
	return (int)right->arena - (int)left->arena;
}

/* The blocks of one arena, items[0..count), by address. */
static bool take_arena(struct arenas *own, const struct analysis_context *context, const struct item *arena,
	const struct item *items, size_t count)
{
	const struct size_classes *classes = &context->foresights[arena->process].classes;
	struct arena sum = { .address = arena->address, .size = arena->size, .process = arena->process, .blocks = count };
	uint64_t pool = UINT64_MAX, left;
	__extension__ typedef unsigned __int128 wide;

	for (size_t i = 0; i < count; i++) {
		sum.used += items[i].size;
		sum.given += size_class_given(classes, true, items[i].size, items[i].address);
		if (classes->pool_bytes && items[i].address / classes->pool_bytes != pool) {
			pool = items[i].address / classes->pool_bytes;
			sum.pools++;
		}
	}
	if (!array_reserve(&own->list, &own->capacity, own->count + 1, sizeof(*own->list), context->error))
		return false;
	own->list[own->count++] = sum;
	left = arena->size;
	for (size_t i = 0; i < count && sum.given * NEARLY_EMPTY < arena->size; i++) {
		const uint64_t given = size_class_given(classes, true, items[i].size, items[i].address);
		const uint64_t part = i + 1 == count ? left : (uint64_t)((wide)arena->size * given / sum.given);
		struct site_sum *site;

		if (!array_reserve(&own->sites, &own->site_capacity, items[i].site + (size_t)1, sizeof(*own->sites),
			context->error))
			return false;
		site = &own->sites[items[i].site];
		site->held += part;
		site->bytes += items[i].size;
		site->blocks++;
		left -= part;
	}
	return true;
}

static bool walk(struct arenas *own, const struct analysis_context *context, const struct item *items, size_t count)
{
	const struct item *arena = NULL;
	size_t first = 0;

	for (size_t i = 0; i <= count; i++) {
		const bool ends = i == count || items[i].arena || (arena && (items[i].process != arena->process ||
			items[i].address >= arena->address + arena->size));

		if (arena && ends) {
			if (!take_arena(own, context, arena, items + first, i - first))
				return false;
			arena = NULL;
		}
		if (i < count && items[i].arena) {
			arena = &items[i];
			first = i + 1;
		} else if (i < count && !arena) {
			own->outside_count++;
		}
	}
	return true;
}

static bool on_at(void *state, const struct analysis_context *context)
{
	struct item *items = calloc(context->block_count + 1, sizeof(*items));
	size_t count = 0;
	bool ok;

	if (!items)
		return fail_memory(context->error);
	for (size_t i = 0; i < context->block_count; i++) {
		const struct analysis_block *block = &context->blocks[i];
		const struct size_classes *classes = &context->foresights[block->process].classes;
		const bool arena = block->domain == DOMAIN_ARENA;

		if (!block->used || block->ended || !classes->arena_bytes)
			continue;
		if (!arena && !size_class_in_pool(classes, block->domain == DOMAIN_PYTHON, block->size))
			continue;
		items[count++] = (struct item){ .address = block->address, .size = block->size, .process = block->process,
			.site = block->site, .arena = arena };
	}
	qsort(items, count, sizeof(*items), compare_items);
	ok = walk(state, context, items, count);
	((struct arenas *)state)->looked = true;
	free(items);
	return ok;
}

static void add_facts(const struct arenas *own, const struct analysis_context *context, struct analysis_result *result)
{
	uint64_t bytes = 0, used = 0, given = 0, pool_bytes = 0, blocks = 0, nearly_empty = 0, nearly_empty_bytes = 0;

	for (size_t i = 0; i < own->count; i++) {
		const struct arena *arena = &own->list[i];

		bytes += arena->size;
		used += arena->used;
		given += arena->given;
		blocks += arena->blocks;
		pool_bytes += arena->pools * context->foresights[arena->process].classes.pool_bytes;
		if (arena->given * NEARLY_EMPTY < arena->size) {
			nearly_empty++;
			nearly_empty_bytes += arena->size;
		}
	}
	analysis_add_fact(result, "arena_count", "arenas", ANALYSIS_NUMBER, own->count);
	analysis_add_fact(result, "arena_bytes", "bytes of arenas", ANALYSIS_BYTES, bytes);
	analysis_add_fact(result, "used_bytes", "asked for in them", ANALYSIS_BYTES, used);
	analysis_add_fact(result, "class_slop_bytes", "lost to size classes", ANALYSIS_BYTES, given - used);
	analysis_add_fact(result, "pool_slack_bytes", "free in pools that are in use", ANALYSIS_BYTES,
		pool_bytes > given ? pool_bytes - given : 0);
	analysis_add_fact(result, "free_pool_bytes", "pools without a block", ANALYSIS_BYTES,
		bytes > pool_bytes ? bytes - pool_bytes : 0);
	analysis_add_fact(result, "block_count", "blocks in them", ANALYSIS_NUMBER, blocks);
	analysis_add_fact(result, "nearly_empty_count", "arenas of which less than a quarter is used", ANALYSIS_NUMBER,
		nearly_empty);
	analysis_add_fact(result, "nearly_empty_bytes", "bytes of those", ANALYSIS_BYTES, nearly_empty_bytes);
	analysis_add_fact(result, "outside_count", "blocks in arenas that were not seen", ANALYSIS_NUMBER,
		own->outside_count);
}

static bool on_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	const struct arenas *own = state;
	bool pymalloc = false;

	for (uint32_t i = 0; i < context->replay->process_count; i++)
		pymalloc |= context->foresights[i].classes.arena_bytes && !context->replay->processes[i].arenas_counted;
	if (!pymalloc)
		result->unavailable = "no process had Python's small-block allocator with its blocks recorded";
	else
		result->unavailable = context->incomplete;
	if (result->unavailable)
		return true;
	add_facts(own, context, result);
	for (size_t site = 1; site < own->site_capacity; site++) {
		uint64_t *values;

		if (!own->sites[site].blocks)
			continue;
		if (!analysis_add_row(result, 0, (uint32_t)site, &values, NULL, context->error))
			return false;
		values[ARENA_HELD] = own->sites[site].held;
		values[ARENA_BYTES] = own->sites[site].bytes;
		values[ARENA_BLOCKS] = own->sites[site].blocks;
	}
	for (size_t i = 0; i < own->count; i++) {
		uint64_t *values;

		if (!analysis_add_row(result, 1, ANALYSIS_NO_SITE, &values, NULL, context->error))
			return false;
		values[LIST_USED] = own->list[i].used;
		values[LIST_BYTES] = own->list[i].size;
		values[LIST_BLOCKS] = own->list[i].blocks;
		values[LIST_POOLS] = own->list[i].pools;
		values[LIST_ADDRESS] = own->list[i].address;
		values[LIST_CAPTURE] = own->list[i].process;
	}
	return true;
}

static void finish(void *state)
{
	struct arenas *own = state;

	free(own->list);
	free(own->sites);
}

const struct analysis_class analysis_arenas = { .name = "arenas", .title = "Arenas of Python's allocator",
	.state_size = sizeof(struct arenas), .needs_foresight = true, .of_moments = true,
	.tables = { &places, &arena_list }, .on_at = on_at, .on_end = on_end, .finish = finish };
