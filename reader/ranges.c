/* SPDX-License-Identifier: MIT */
/*
 * The treap of mapped ranges; see ranges.h.  Recursion goes as deep as the tree: O(log n) expected.
 */
#include "ranges.h"

#include <stdlib.h>

#include "table.h"

void ranges_finish(struct ranges *ranges)
{
	free(ranges->nodes);
	*ranges = (struct ranges){ 0 };
}

static uint32_t next_priority(struct ranges *ranges)
{
	if (ranges->random == 0)
		ranges->random = table_seed();
	ranges->random ^= ranges->random << 13;
	ranges->random ^= ranges->random >> 7;
	ranges->random ^= ranges->random << 17;
	return (uint32_t)(ranges->random >> 32);
}

static bool take_node(struct ranges *ranges, const struct range *range, uint32_t *node, struct error *error)
{
	if (ranges->free_list) {
		*node = ranges->free_list;
		ranges->free_list = ranges->nodes[*node].left;
	} else {
		if (!array_reserve(&ranges->nodes, &ranges->capacity, ranges->used + (size_t)2, sizeof(*ranges->nodes), error))
			return false;
		*node = ++ranges->used;
	}
	ranges->nodes[*node] = (struct range_node){ .range = *range, .priority = next_priority(ranges) };
	return true;
}

static void give_node(struct ranges *ranges, uint32_t node)
{
	ranges->nodes[node].left = ranges->free_list;
	ranges->free_list = node;
}

/* Splits by start: *left gets the ranges that start below `at`, *right the others. */
static void split(struct range_node *nodes, uint32_t root, uint64_t at, uint32_t *left, uint32_t *right)
{
	if (!root) {
		*left = *right = 0;
	} else if (nodes[root].range.start < at) {
		split(nodes, nodes[root].right, at, &nodes[root].right, right);
		*left = root;
	} else {
		split(nodes, nodes[root].left, at, left, &nodes[root].left);
		*right = root;
	}
}

/* All of left lies before all of right. */
static uint32_t join(struct range_node *nodes, uint32_t left, uint32_t right)
{
	if (!left || !right)
		return left ? left : right;
	if (nodes[left].priority > nodes[right].priority) {
		nodes[left].right = join(nodes, nodes[left].right, right);
		return left;
	}
	nodes[right].left = join(nodes, left, nodes[right].left);
	return right;
}

static uint32_t last_of(const struct range_node *nodes, uint32_t root)
{
	while (root && nodes[root].right)
		root = nodes[root].right;
	return root;
}

bool ranges_insert(struct ranges *ranges, const struct range *range, struct error *error)
{
	uint32_t node, left, right;

	if (!take_node(ranges, range, &node, error))
		return false;
	split(ranges->nodes, ranges->root, range->start, &left, &right);
	ranges->root = join(ranges->nodes, join(ranges->nodes, left, node), right);
	return true;
}

/* Hands out and frees a whole subtree in ascending order. */
static bool hand_out(struct ranges *ranges, uint32_t root, bool (*removed)(void *, const struct range *), void *context)
{
	if (!root)
		return true;
	struct range_node node = ranges->nodes[root];
	bool ok = hand_out(ranges, node.left, removed, context);

	ok = ok && removed(context, &node.range);
	give_node(ranges, root);
	return hand_out(ranges, node.right, removed, context) && ok;
}

bool ranges_cut(struct ranges *ranges, uint64_t start, uint64_t end,
	bool (*removed)(void *context, const struct range *piece), void *context, struct error *error)
{
	struct range rest = { 0 }, piece = { 0 };
	uint32_t before, inside, after, node;
	bool ok = true;

	split(ranges->nodes, ranges->root, start, &before, &after);
	split(ranges->nodes, after, end, &inside, &after);
	node = last_of(ranges->nodes, before);
	if (node && ranges->nodes[node].range.end > start) {
		struct range *range = &ranges->nodes[node].range;

		piece = (struct range){ start, range->end < end ? range->end : end, range->mapping };
		if (range->end > end)
			rest = (struct range){ end, range->end, range->mapping };
		range->end = start;
	}
	node = last_of(ranges->nodes, inside);
	if (node && ranges->nodes[node].range.end > end) {
		rest = (struct range){ end, ranges->nodes[node].range.end, ranges->nodes[node].range.mapping };
		ranges->nodes[node].range.end = end;
	}
	ranges->root = join(ranges->nodes, before, after);
	if (rest.end > rest.start)
		ok = ranges_insert(ranges, &rest, error);
	if (piece.end > piece.start)
		ok = removed(context, &piece) && ok;
	return hand_out(ranges, inside, removed, context) && ok;
}

static bool each_of(const struct ranges *ranges, uint32_t root, bool (*take)(void *, const struct range *),
	void *context)
{
	return root == 0 || (each_of(ranges, ranges->nodes[root].left, take, context) &&
		take(context, &ranges->nodes[root].range) && each_of(ranges, ranges->nodes[root].right, take, context));
}

bool ranges_each(const struct ranges *ranges, bool (*take)(void *context, const struct range *range), void *context)
{
	return each_of(ranges, ranges->root, take, context);
}
