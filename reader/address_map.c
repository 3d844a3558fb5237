/* SPDX-License-Identifier: MIT */
/* Cutting ranges into segments: a sweep over the sorted ranges with a stack of those that are still open. */
#include "address_map.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

void address_map_add(struct address_map *map, uint64_t start, uint64_t end, uint32_t value, uint32_t rank)
{
	if (start >= end)
		return;
	map->ranges = memory_grow(map->ranges, &map->range_capacity, map->range_count + 1, sizeof(*map->ranges));
	map->ranges[map->range_count++] =
		(struct address_range){ .start = start, .end = end, .value = value, .rank = rank };
}

static int compare_ranges(const void *left, const void *right)
{
	const struct address_range *a = left, *b = right;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->end != b->end)
		return a->end > b->end ? -1 : 1;
	return a->value < b->value ? -1 : a->value > b->value;
}

static void put_segment(struct address_map *map, uint64_t start, uint32_t value)
{
	if (map->segment_count != 0) {
		struct address_segment *last = &map->segments[map->segment_count - 1];
		if (last->start == start) {
			last->value = value;
			return;
		}
		if (last->value == value)
			return;
	}
	map->segments = memory_grow(map->segments, &map->segment_capacity, map->segment_count + 1,
		sizeof(*map->segments));
	map->segments[map->segment_count++] = (struct address_segment){ .start = start, .value = value };
}

/* Closes the open ranges that end at or before `limit`; what each uncovers goes on from its end. */
static size_t close_ranges(struct address_map *map, const struct address_range **open, size_t open_count,
	uint64_t limit)
{
	while (open_count != 0 && open[open_count - 1]->end <= limit) {
		uint64_t end = open[open_count - 1]->end;
		while (open_count != 0 && open[open_count - 1]->end <= end)
			open_count--;
		put_segment(map, end, open_count != 0 ? open[open_count - 1]->value : ADDRESS_MAP_NONE);
	}
	return open_count;
}

void address_map_build(struct address_map *map)
{
	const struct address_range **open = memory_new(map->range_count, sizeof(*open));
	size_t open_count = 0;

	map->segment_count = 0;
	if (map->range_count != 0)
		qsort(map->ranges, map->range_count, sizeof(*map->ranges), compare_ranges);
	for (size_t i = 0; i < map->range_count; i++) {
		const struct address_range *range = &map->ranges[i];
		open_count = close_ranges(map, open, open_count, range->start);
		put_segment(map, range->start, range->value);
		open[open_count++] = range;
	}
	close_ranges(map, open, open_count, UINT64_MAX);
	free(open);
	free(map->ranges);
	map->ranges = NULL;
	map->range_count = map->range_capacity = 0;
}

uint32_t address_map_find(const struct address_map *map, uint64_t address)
{
	size_t low = 0, high = map->segment_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (map->segments[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low != 0 ? map->segments[low - 1].value : ADDRESS_MAP_NONE;
}

void address_map_finish(struct address_map *map)
{
	free(map->ranges);
	free(map->segments);
	memset(map, 0, sizeof(*map));
}
