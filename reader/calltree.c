/* SPDX-License-Identifier: MIT */
/*
 * See calltree.h.  Time and memory grow with the distinct stacks.
 */
#include "calltree.h"

#include "memory.h"
#include "table.h"
#include "view.h"

static uint32_t find_or_add(struct calltree *tree, struct map64 *lookup, uint32_t parent, uint32_t frame)
{
	uint64_t key = (uint64_t)parent << 32 | frame;
	uint32_t node = map64_get(lookup, key);
	struct error error;

	if (node != MAP64_NONE)
		return node;
	node = tree->count++;
	tree->nodes[node] = (struct calltree_node){ .parent = parent, .frame = frame };
	if (!map64_put(lookup, key, node, &error))
		memory_exhausted();
	return node;
}

enum mark {
	MARK_SHOWN = 1 << 0,          /* the node itself */
	MARK_COVERED = 1 << 1,        /* something is shown at it or above */
	MARK_PYTHON = 1 << 2,         /* it or one above is a Python frame */
	MARK_INTERPRETER = 1 << 3,    /* it is the interpreter's own */
};

static uint8_t *mark_nodes(const struct profile *profile, unsigned hidden)
{
	uint8_t *marks = memory_new(profile->node_count, 1);

	for (uint32_t i = 1; i < profile->node_count; i++) {
		const struct frame *frame = &profile->frames[profile->nodes[i].frame];
		uint8_t above = marks[profile->nodes[i].parent];
		bool enters = frame->flags & FRAME_INTERPRETER && !(above & (MARK_PYTHON | MARK_INTERPRETER));

		marks[i] = above & (MARK_COVERED | MARK_PYTHON);
		if (frame->kind == FRAME_PYTHON)
			marks[i] |= MARK_PYTHON;
		if (frame->flags & FRAME_INTERPRETER)
			marks[i] |= MARK_INTERPRETER;
		if (!(frame->flags & hidden) || enters)
			marks[i] |= MARK_SHOWN | MARK_COVERED;
	}
	/* No stack is left without a frame. */
	for (size_t i = 0; i < profile->site_count; i++)
		if (profile->sites[i].node != 0 && !(marks[profile->sites[i].node] & MARK_COVERED))
			marks[profile->sites[i].node] |= MARK_SHOWN;
	return marks;
}

/* Siblings in the order of their indices: the profile's own, which is stable. */
static void link_children(struct calltree *tree)
{
	for (uint32_t i = tree->count; i-- > 1;) {
		struct calltree_node *parent = &tree->nodes[tree->nodes[i].parent];

		tree->nodes[i].next_sibling = parent->first_child;
		parent->first_child = i;
	}
}

static void sum_costs(struct calltree *tree)
{
	const struct profile *profile = tree->profile;

	tree->own = memory_new(tree->count, sizeof *tree->own);
	tree->inclusive = memory_new(tree->count, sizeof *tree->inclusive);
	for (size_t i = 0; i < profile->site_count; i++)
		if (profile_counts(profile, &profile->sites[i]))
			cost_add(&tree->own[tree->node_of[profile->sites[i].node]], &profile->sites[i].cost);
	memcpy(tree->inclusive, tree->own, tree->count * sizeof *tree->own);
	for (uint32_t i = tree->count; i-- > 1;)
		cost_add(&tree->inclusive[tree->nodes[i].parent], &tree->inclusive[i]);
}

static void sum_spreads(struct calltree *tree)
{
	const struct profile *profile = tree->profile;

	if (profile->sample_mean_bytes == 0)
		return;
	tree->own_spreads = memory_new(tree->count, sizeof *tree->own_spreads);
	tree->inclusive_spreads = memory_new(tree->count, sizeof *tree->inclusive_spreads);
	for (size_t i = 0; i < profile->site_count; i++)
		if (profile_counts(profile, &profile->sites[i]) && profile->sites[i].spread)
			cost_spread_add(&tree->own_spreads[tree->node_of[profile->sites[i].node]],
				&profile->spreads[profile->sites[i].spread]);
	memcpy(tree->inclusive_spreads, tree->own_spreads, tree->count * sizeof *tree->own_spreads);
	for (uint32_t i = tree->count; i-- > 1;)
		cost_spread_add(&tree->inclusive_spreads[tree->nodes[i].parent], &tree->inclusive_spreads[i]);
}

void calltree_init(struct calltree *tree, const struct profile *profile, unsigned hidden)
{
	struct map64 lookup = { 0 };
	struct error error;
	uint32_t node_count = profile->node_count ? profile->node_count : 1;
	uint8_t *marks = mark_nodes(profile, hidden);

	if (!map64_init(&lookup, node_count, &error))
		memory_exhausted();
	*tree = (struct calltree){ .profile = profile, .count = 1 };
	tree->nodes = memory_new(node_count, sizeof *tree->nodes);
	tree->node_of = memory_new(node_count, sizeof *tree->node_of);
	for (uint32_t i = 1; i < profile->node_count; i++) {
		const struct node *node = &profile->nodes[i];
		uint32_t parent = tree->node_of[node->parent];

		tree->node_of[i] = marks[i] & MARK_SHOWN ? find_or_add(tree, &lookup, parent, node->frame) : parent;
	}
	free(marks);
	map64_finish(&lookup);
	link_children(tree);
	sum_costs(tree);
	sum_spreads(tree);
}

void calltree_finish(struct calltree *tree)
{
	free(tree->nodes);
	free(tree->own);
	free(tree->inclusive);
	free(tree->own_spreads);
	free(tree->inclusive_spreads);
	free(tree->node_of);
	*tree = (struct calltree){ 0 };
}

const struct frame *calltree_location(const struct calltree *tree, uint32_t node)
{
	const struct frame *frames = tree->profile->frames;
	const struct frame *user = NULL;

	for (uint32_t at = node; at != 0; at = tree->nodes[at].parent) {
		const struct frame *frame = &frames[tree->nodes[at].frame];

		if (frame->kind == FRAME_PYTHON)
			return frame;
		if (!user && !(frame->flags & (FRAME_LIBRARY | FRAME_ALLOCATOR | FRAME_INTERPRETER)))
			user = frame;
	}
	return user ? user : &frames[tree->nodes[node].frame];
}
