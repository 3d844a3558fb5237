/* SPDX-License-Identifier: MIT */
/*
 * See callgraph.h.  One walk over the tree, linear in its nodes.
 */
#include "callgraph.h"

#include "memory.h"
#include "table.h"

struct callgraph_cost callgraph_cost(const struct callgraph *graph, uint32_t function)
{
	const struct rank_row *row = &graph->functions.rows[function];
	struct callgraph_cost cost = { .own = row->own, .total = row->total };

	if (function == graph->root) {
		cost_add(&cost.own, &graph->root_own);
		cost.total = graph->functions.tree->inclusive[0];
	}
	return cost;
}

bool callgraph_has(const struct callgraph *graph, uint32_t function)
{
	return graph->used[function];
}

static struct callgraph_call *find_call(struct callgraph *graph, struct map64 *lookup, size_t *capacity,
	uint32_t caller, uint32_t callee)
{
	const uint64_t key = (uint64_t)caller << 32 | callee;
	uint32_t index = map64_get(lookup, key);
	struct error error;

	if (index == MAP64_NONE) {
		index = (uint32_t)graph->call_count++;
		graph->calls = memory_grow(graph->calls, capacity, graph->call_count, sizeof(*graph->calls));
		graph->calls[index] = (struct callgraph_call){ .caller = caller, .callee = callee };
		if (!map64_put(lookup, key, index, &error))
			memory_exhausted();
	}
	return &graph->calls[index];
}

/* Depth first without recursion, as rank.c: a capture decides how deep. */
static void collect_calls(struct callgraph *graph, const struct calltree *tree)
{
	uint32_t *on_path = memory_new(graph->functions.count, sizeof(*on_path));
	struct map64 lookup = { 0 };
	size_t capacity = 0;
	uint32_t at = 0;
	struct error error;

	if (!map64_init(&lookup, tree->count, &error))
		memory_exhausted();
	for (bool down = true;;) {
		const struct calltree_node *node = &tree->nodes[at];

		if (down && at != 0) {
			const uint32_t callee = graph->functions.key_of[node->frame];
			struct callgraph_call *call = find_call(graph, &lookup, &capacity, tree->nodes[node->parent].frame, callee);

			cost_add(&call->own, &tree->own[at]);
			if (on_path[callee]++ == 0)
				cost_add(&call->total, &tree->inclusive[at]);
		}
		if (down && node->first_child) {
			at = node->first_child;
			continue;
		}
		if (at == 0)
			break;
		on_path[graph->functions.key_of[node->frame]]--;
		down = node->next_sibling != 0;
		at = down ? node->next_sibling : node->parent;
	}
	free(on_path);
	map64_finish(&lookup);
}

static int compare_calls(const void *a, const void *b, void *context)
{
	const struct callgraph_call *left = a, *right = b;
	const struct callgraph *graph = context;
	const struct frame *frames = graph->functions.tree->profile->frames;
	const uint32_t left_function = callgraph_caller(graph, left), right_function = callgraph_caller(graph, right);

	if (left_function != right_function)
		return left_function < right_function ? -1 : 1;
	if (frames[left->caller].line != frames[right->caller].line)
		return frames[left->caller].line < frames[right->caller].line ? -1 : 1;
	if (left->callee != right->callee)
		return left->callee < right->callee ? -1 : 1;
	return left->caller < right->caller ? -1 : left->caller > right->caller;
}

void callgraph_init(struct callgraph *graph, const struct calltree *tree)
{
	const struct profile *profile = tree->profile;

	*graph = (struct callgraph){ 0 };
	rank_init(&graph->functions, tree, RANK_FUNCTION);
	graph->root = graph->functions.key_of[tree->nodes[0].frame];
	graph->root_own = tree->own[0];
	graph->used = memory_new(graph->functions.count, sizeof(*graph->used));
	graph->used[graph->root] = true;
	graph->lines = memory_new(graph->functions.count, sizeof(*graph->lines));
	graph->frames = memory_new(profile->frame_count, sizeof(*graph->frames));
	for (uint32_t i = 0; i < profile->frame_count; i++) {
		uint32_t *line = &graph->lines[graph->functions.key_of[i]];

		if (profile->frames[i].line && (*line == 0 || profile->frames[i].line < *line))
			*line = profile->frames[i].line;
	}
	for (uint32_t i = 0; i < tree->count; i++) {
		cost_add(&graph->frames[tree->nodes[i].frame], &tree->own[i]);
		graph->used[graph->functions.key_of[tree->nodes[i].frame]] = true;
	}
	collect_calls(graph, tree);
	if (graph->call_count > 1)
		qsort_r(graph->calls, graph->call_count, sizeof(*graph->calls), compare_calls, graph);
}

void callgraph_finish(struct callgraph *graph)
{
	rank_finish(&graph->functions);
	free(graph->lines);
	free(graph->frames);
	free(graph->calls);
	free(graph->used);
	*graph = (struct callgraph){ 0 };
}
