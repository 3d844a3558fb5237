/* SPDX-License-Identifier: MIT */
/*
 * See rank.h.  Frames are numbered by what they share (their key); then one walk over the tree, with a counter of
 * how often each key is on the path, gives recursion-safe totals in time linear in the nodes.
 */
#include "rank.h"

#include <inttypes.h>

#include "memory.h"

static const char *module_of(const struct frame *frame)
{
	return *frame->module ? frame->module : frame->kind == FRAME_PYTHON ? "(python)" : "(unknown)";
}

static const char *file_of(const struct frame *frame)
{
	return *frame->file ? frame->file : *frame->module ? frame->module : frame->function;
}

static int compare_keys(const struct frame *a, const struct frame *b, enum rank_by by)
{
	int order;

	switch (by) {
	case RANK_FILE:
		return strcmp(file_of(a), file_of(b));
	case RANK_MODULE:
		return strcmp(module_of(a), module_of(b));
	default:
		order = strcmp(a->function, b->function);
		if (order == 0)
			order = strcmp(a->file, b->file);
		if (order == 0)
			order = strcmp(a->module, b->module);
		if (order == 0 && (by == RANK_LINE || by == RANK_LOCATION))
			order = (a->line > b->line) - (a->line < b->line);
		return order;
	}
}

struct key_order { const struct frame *frames; enum rank_by by; };

static int compare_frames(const void *a, const void *b, void *context)
{
	const struct key_order *order = context;

	return compare_keys(&order->frames[*(const uint32_t *)a], &order->frames[*(const uint32_t *)b], order->by);
}

/* Room for so many. */
static void make_rows(struct rank *rank, size_t count)
{
	rank->rows = memory_new(count, sizeof *rank->rows);
	if (rank->tree->own_spreads)
		rank->spreads = memory_new(count, sizeof *rank->spreads);
	for (size_t i = 0; i < count; i++)
		rank->rows[i].spread = (uint32_t)i;
}

static void add_own(struct rank *rank, size_t row, uint32_t node)
{
	cost_add(&rank->rows[row].own, &rank->tree->own[node]);
	if (rank->spreads)
		cost_spread_add(&rank->spreads[row].own, &rank->tree->own_spreads[node]);
}

static void add_total(struct rank *rank, size_t row, uint32_t node)
{
	cost_add(&rank->rows[row].total, &rank->tree->inclusive[node]);
	if (rank->spreads)
		cost_spread_add(&rank->spreads[row].total, &rank->tree->inclusive_spreads[node]);
}

/* Of rows that have no callees. */
static void total_is_own(struct rank *rank)
{
	for (size_t i = 0; i < rank->count; i++) {
		rank->rows[i].total = rank->rows[i].own;
		if (rank->spreads)
			rank->spreads[i].total = rank->spreads[i].own;
	}
}

/* One row for each distinct key. */
static uint32_t *make_keys(struct rank *rank)
{
	const struct profile *profile = rank->tree->profile;
	struct key_order order = { .frames = profile->frames, .by = rank->by };
	uint32_t *sorted = memory_new(profile->frame_count, sizeof *sorted);
	uint32_t *key_of = memory_new(profile->frame_count, sizeof *key_of);

	for (uint32_t i = 0; i < profile->frame_count; i++)
		sorted[i] = i;
	qsort_r(sorted, profile->frame_count, sizeof *sorted, compare_frames, &order);
	make_rows(rank, profile->frame_count);
	for (uint32_t i = 0; i < profile->frame_count; i++) {
		if (i == 0 || compare_frames(&sorted[i - 1], &sorted[i], &order) != 0)
			rank->rows[rank->count++].frame = sorted[i];
		key_of[sorted[i]] = (uint32_t)rank->count - 1;
	}
	free(sorted);
	return key_of;
}

static void rank_frames(struct rank *rank)
{
	const struct calltree *tree = rank->tree;
	const uint32_t *key_of = rank->key_of = make_keys(rank);
	uint32_t *on_path = memory_new(rank->count, sizeof *on_path);
	uint32_t node = 0;

	/* Depth first without recursion, since a capture decides how deep: down to the first child, else along to the
	 * next sibling of the nearest ancestor that has one.  The root stands for no frame. */
	for (bool down = true;;) {
		const struct calltree_node *at = &tree->nodes[node];

		if (down && node != 0) {
			uint32_t key = key_of[at->frame];

			add_own(rank, key, node);
			if (on_path[key]++ == 0)
				add_total(rank, key, node);
		}
		if (down && at->first_child) {
			node = at->first_child;
			continue;
		}
		if (node == 0)
			break;
		on_path[key_of[at->frame]]--;
		down = at->next_sibling != 0;
		node = down ? at->next_sibling : at->parent;
	}
	free(on_path);
}

static void rank_stacks(struct rank *rank)
{
	const struct calltree *tree = rank->tree;

	make_rows(rank, tree->count);
	for (uint32_t i = 0; i < tree->count; i++) {
		if (!tree->own[i].total_count && !tree->own[i].live_count && !tree->own[i].peak_count)
			continue;
		rank->rows[rank->count].node = i;
		rank->rows[rank->count].frame = tree->nodes[i].frame;
		add_own(rank, rank->count++, i);
	}
	total_is_own(rank);
}

static void rank_locations(struct rank *rank)
{
	const struct calltree *tree = rank->tree;
	const uint32_t *key_of = rank->key_of = make_keys(rank);

	for (uint32_t i = 0; i < tree->count; i++) {
		uint32_t frame = (uint32_t)(calltree_location(tree, i) - tree->profile->frames);

		add_own(rank, key_of[frame], i);
	}
	total_is_own(rank);
}

static void rank_threads(struct rank *rank)
{
	const struct profile *profile = rank->tree->profile;

	rank->count = profile->thread_count;
	make_rows(rank, rank->count);
	for (uint32_t i = 0; i < profile->thread_count; i++)
		rank->rows[i].thread = i;
	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];

		if (!profile_counts(profile, site) || site->thread >= rank->count)
			continue;
		cost_add(&rank->rows[site->thread].own, &site->cost);
		if (rank->spreads && site->spread)
			cost_spread_add(&rank->spreads[site->thread].own, &profile->spreads[site->spread]);
	}
	total_is_own(rank);
}

void rank_init(struct rank *rank, const struct calltree *tree, enum rank_by by)
{
	*rank = (struct rank){ .tree = tree, .by = by };
	switch (by) {
	case RANK_STACK:
		rank_stacks(rank);
		break;
	case RANK_THREAD:
		rank_threads(rank);
		break;
	case RANK_LOCATION:
		rank_locations(rank);
		break;
	case RANK_FUNCTION:
	case RANK_FILE:
	case RANK_MODULE:
	case RANK_LINE:
		rank_frames(rank);
		break;
	}
}

void rank_finish(struct rank *rank)
{
	free(rank->rows);
	free(rank->spreads);
	free(rank->key_of);
	*rank = (struct rank){ 0 };
}

struct sort_order { const struct rank *rank; enum rank_sort sort; enum metric metric; };

static uint64_t sort_value(const struct rank_row *row, const struct sort_order *order)
{
	switch (order->sort) {
	case RANK_TOTAL_BYTES: return metric_bytes(&row->total, order->metric);
	case RANK_OWN_BYTES: return metric_bytes(&row->own, order->metric);
	case RANK_TOTAL_COUNT: return metric_count(&row->total, order->metric);
	case RANK_OWN_COUNT: break;
	}
	return metric_count(&row->own, order->metric);
}

static int compare_rows(const void *a, const void *b, void *context)
{
	const struct sort_order *order = context;
	const struct rank_row *x = a, *y = b;
	const struct frame *frames = order->rank->tree->profile->frames;
	uint64_t left = sort_value(x, order), right = sort_value(y, order);

	if (left != right)
		return left > right ? -1 : 1;
	if (order->rank->by == RANK_THREAD)
		return (x->thread > y->thread) - (x->thread < y->thread);

	int names = compare_keys(&frames[x->frame], &frames[y->frame], order->rank->by);

	return names ? names : (x->node > y->node) - (x->node < y->node);
}

void rank_sort(struct rank *rank, enum rank_sort sort, enum metric metric)
{
	struct sort_order order = { .rank = rank, .sort = sort, .metric = metric };

	if (rank->count > 1)
		qsort_r(rank->rows, rank->count, sizeof *rank->rows, compare_rows, &order);
}

char *rank_row_text(const struct rank *rank, const struct rank_row *row, char *out, size_t size)
{
	const struct profile *profile = rank->tree->profile;
	const struct frame *frame = &profile->frames[row->frame];

	switch (rank->by) {
	case RANK_FILE:
		snprintf(out, size, "%s", file_of(frame));
		break;
	case RANK_MODULE:
		snprintf(out, size, "%s", module_of(frame));
		break;
	case RANK_THREAD: {
		const struct profile_thread *thread = &profile->threads[row->thread];

		snprintf(out, size, "%" PRIu32 "%s%s%s", thread->tid, *thread->name ? " (" : "", thread->name,
			*thread->name ? ")" : "");
		break;
	}
	case RANK_FUNCTION:
		if (*frame->file || *frame->module)
			snprintf(out, size, "%s (%s)", frame->function, *frame->file ? frame->file : frame->module);
		else
			snprintf(out, size, "%s", frame->function);
		break;
	case RANK_LINE:
	case RANK_STACK:
	case RANK_LOCATION:
		view_frame_text(out, size, frame);
		break;
	}
	return out;
}
