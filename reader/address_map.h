/* SPDX-License-Identifier: MIT */
/*
 * From addresses to what lies there: compilation units, functions, inlined calls, symbols.
 *
 * Ranges are added in any order and may nest and overlap.  Building cuts them into segments that do not, so that a
 * look-up is one binary search:
 *
 *     ranges     |--------- 0 ---------|      |--- 2 ---|
 *                     |--- 1 ---|
 *     segments   | 0  | 1       | 0    | none | 2       | none
 *
 * Where ranges overlap, the one that begins later wins; of those that begin together, the one of higher rank.
 */
#ifndef SCTMEM_READER_ADDRESS_MAP_H
#define SCTMEM_READER_ADDRESS_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESS_MAP_NONE UINT32_MAX

struct address_range {
	uint64_t start, end;
	uint32_t value;
	uint32_t rank;
};

struct address_segment {
	uint64_t start;               /* it ends where the next one begins */
	uint32_t value;               /* or ADDRESS_MAP_NONE */
};

/* All zeros is an empty map. */
struct address_map {
	struct address_range *ranges; /* those added since the start; freed by building */
	size_t range_count, range_capacity;
	struct address_segment *segments;
	size_t segment_count, segment_capacity;
};

/* Empty and reversed ranges are left out. */
void address_map_add(struct address_map *map, uint64_t start, uint64_t end, uint32_t value, uint32_t rank);
void address_map_build(struct address_map *map);
uint32_t address_map_find(const struct address_map *map, uint64_t address);
void address_map_finish(struct address_map *map);

#endif
