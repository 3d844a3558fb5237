/* SPDX-License-Identifier: MIT */
/*
 * Which addresses are mapped by what: disjoint half-open ranges in a treap ordered by start, so that a cut or an
 * insertion costs O(log n) whatever the program's pattern of munmap is.  Used by replay.c.
 *
 * Nodes live in one array and refer to each other by index; 0 is no node.  Priorities are random, drawn from a
 * seed that no capture can know, so no capture can make the tree deep.
 */
#ifndef SCTMEM_READER_RANGES_H
#define SCTMEM_READER_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct range {
	uint64_t start, end;
	uint32_t mapping;             /* the caller's */
};

struct range_node {
	struct range range;
	uint32_t priority;
	uint32_t left, right;
};

/* All zero is empty. */
struct ranges {
	struct range_node *nodes;
	size_t capacity;
	uint32_t used, free_list, root;
	uint64_t random;
};

void ranges_finish(struct ranges *ranges);

/* Inserts a range that overlaps none. */
MUST_CHECK bool ranges_insert(struct ranges *ranges, const struct range *range, struct error *error);

/*
 * Takes [start, end) out: what overlaps is removed, shortened or left in two pieces, and each removed piece is
 * handed to removed() in ascending order.  false: no memory, or removed() said so.
 */
MUST_CHECK bool ranges_cut(struct ranges *ranges, uint64_t start, uint64_t end,
	bool (*removed)(void *context, const struct range *piece), void *context, struct error *error);

/* Calls for each range in ascending order, until false, which it then returns. */
MUST_CHECK bool ranges_each(const struct ranges *ranges, bool (*take)(void *context, const struct range *range),
	void *context);

#endif
