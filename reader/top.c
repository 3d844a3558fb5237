/* SPDX-License-Identifier: MIT */
/*
 * See top.h.  Rows are made from all stacks at each look: what that costs grows with them, not with events.
 */
#include "top.h"

#include <ctype.h>
#include <inttypes.h>
#include <strings.h>

#include "clock.h"
#include "memory.h"
#include "stats.h"
#include "table.h"

enum {
	TIMELINE_POINTS = 400,
	DEPTH_OPEN = 12,              /* levels that are open without being asked for, where one child holds most */
};

const char *const top_view_names[] = { "lines", "functions", "files", "modules", "threads", "tree", NULL };
const char *const top_sort_names[] = { "own", "total", "blocks", "growth", "allocated", NULL };
const char *const top_language_names[] = { "all", "python", "native", NULL };

bool top_open(struct top *top, const char *path, const struct profile_options *options, struct error *error)
{
	*top = (struct top){ .thread = UINT32_MAX, .options = *options };
	top->options.timeline_points = TIMELINE_POINTS;
	if (!profile_live_open(&top->live, path, &top->options, error))
		return false;
	top->path = memory_text(path);
	return true;
}

bool top_switch(struct top *top, const char *path, struct error *error)
{
	struct top other;

	if (!top_open(&other, path, &top->options, error))
		return false;
	other.view = top->view;
	other.sort = top->sort;
	other.language = top->language;
	strcpy(other.search, top->search);
	if (!top_look(&other, error)) {
		top_close(&other);
		return false;
	}
	top_close(top);
	*top = other;
	return true;
}

static void drop_rows(struct top *top)
{
	for (size_t i = 0; i < top->row_count; i++)
		free(top->rows[i].text);
	top->row_count = 0;
}

void top_close(struct top *top)
{
	drop_rows(top);
	free(top->path);
	free(top->rows);
	free(top->opened);
	free(top->sites);
	free(top->reference);
	if (top->has_tree)
		calltree_finish(&top->tree);
	profile_live_close(top->live);
	*top = (struct top){ 0 };
}

/* ---- a look ---- */

/* Sites are sorted the same way at each look, and keep their nodes and threads. */
static int compare_sites(const struct site *a, const struct site *b)
{
	if (a->node != b->node)
		return a->node < b->node ? -1 : 1;
	if (a->thread != b->thread)
		return a->thread < b->thread ? -1 : 1;
	if (a->domain != b->domain)
		return a->domain < b->domain ? -1 : 1;
	return (a->allocator > b->allocator) - (a->allocator < b->allocator);
}

static void keep_reference(struct top *top, const struct profile *profile)
{
	free(top->reference);
	top->reference = memory_new(profile->site_count, sizeof *top->reference);
	memcpy(top->reference, profile->sites, profile->site_count * sizeof *top->reference);
	top->reference_count = profile->site_count;
	top->has_reference = true;
}

/* Our own sites: those of the thread asked for; in the place of the peak, what they held at the reference moment. */
static void copy_sites(struct top *top, const struct profile *profile)
{
	size_t at = 0, count = 0;

	free(top->sites);
	top->sites = memory_new(profile->site_count, sizeof *top->sites);
	for (size_t i = 0; i < profile->site_count; i++) {
		struct site site = profile->sites[i];

		while (at < top->reference_count && compare_sites(&top->reference[at], &site) < 0)
			at++;
		site.cost.peak_bytes = site.cost.peak_count = 0;
		if (at < top->reference_count && compare_sites(&top->reference[at], &site) == 0) {
			site.cost.peak_bytes = top->reference[at].cost.live_bytes;
			site.cost.peak_count = top->reference[at].cost.live_count;
		}
		if (top->thread == UINT32_MAX || site.thread == top->thread)
			top->sites[count++] = site;
	}
	top->profile = *profile;
	top->profile.sites = top->sites;
	top->profile.site_count = count;
}

static uint64_t reference_bytes(const struct top *top, const struct profile *profile)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < top->reference_count; i++)
		if (profile_counts(profile, &top->reference[i]))
			bytes += top->reference[i].cost.live_bytes;
	return bytes;
}

static void take_numbers(struct top *top, const struct profile *profile)
{
	struct top_numbers *numbers = &top->numbers;
	const uint64_t step_ns = profile->duration_ns - top->last_time_ns;

	*numbers = (struct top_numbers){ .time_ns = profile->duration_ns, .live_bytes = profile->total.live_bytes,
		.live_blocks = profile->total.live_count, .peak_bytes = profile->peak_bytes,
		.resident_bytes = profile_live_resident(top->live), .resident_peak_bytes = profile->resident_peak_bytes,
		.allocations = profile->total.total_count, .allocations_per_s = -1, .bytes_per_s = -1,
		.growth_bytes = (int64_t)(profile->total.live_bytes - reference_bytes(top, profile)) };
	if (top->looked_ns) {
		/* The capture's own clock where it moves; a process that rests makes nothing. */
		const double seconds = step_ns ? (double)step_ns / 1e9 : 1;

		numbers->allocations_per_s = (double)(profile->total.total_count - top->last_allocations) / seconds;
		numbers->bytes_per_s = (double)(profile->total.total_bytes - top->last_bytes) / seconds;
	}
	top->last_allocations = profile->total.total_count;
	top->last_bytes = profile->total.total_bytes;
	top->last_time_ns = profile->duration_ns;
}

bool top_look(struct top *top, struct error *error)
{
	const uint64_t start = clock_now_ns();

	if (!profile_live_look(top->live, error))
		return false;

	const struct profile *profile = profile_live_get(top->live);

	if (!top->has_reference)
		keep_reference(top, profile);
	take_numbers(top, profile);
	top->went_on = top->segment && top->segment != profile->captures[0].segment_last;
	top->segment = profile->captures[0].segment_last;
	top_rows(top);
	/* The first look takes all that there is: the next ones will be shorter. */
	top->look_cost_ns = top->looked_ns ? clock_now_ns() - start : 0;
	top->looked_ns = clock_now_ns();
	return true;
}

void top_reset(struct top *top)
{
	keep_reference(top, profile_live_get(top->live));
	top->numbers.growth_bytes = 0;
	top_rows(top);
}

void top_next_thread(struct top *top, int step)
{
	const uint32_t count = profile_live_get(top->live)->thread_count;
	int64_t next = (top->thread == UINT32_MAX ? (step > 0 ? -1 : (int64_t)count) : (int64_t)top->thread) + step;

	top->thread = next < 0 || next >= (int64_t)count ? UINT32_MAX : (uint32_t)next;
	top_rows(top);
}

struct family_figure top_figure(const struct top *top, const struct family_heaps *heaps,
	const struct family_member *member)
{
	if (!member->self || !member->alive)
		return family_heaps_figure(heaps, member);
	return (struct family_figure){ .known = true, .heap = profile_live_heap(top->live),
		.age_ns = clock_now_ns() - top->looked_ns };
}

const char *top_state(const struct top *top)
{
	const struct profile_capture *capture = &profile_live_get(top->live)->captures[0];

	if (capture->alive)
		return capture->paused ? "stopped" : "recording";
	return stats_state_word(capture);
}

/* ---- rows ---- */

static bool holds(const char *text, const char *wanted)
{
	const size_t size = strlen(wanted);

	for (; *text; text++)
		if (strncasecmp(text, wanted, size) == 0)
			return true;
	return size == 0;
}

static bool is_wanted(const struct top *top, uint32_t frame, const char *text)
{
	const uint8_t kind = frame == UINT32_MAX ? FRAME_SPECIAL : top->profile.frames[frame].kind;

	if (frame != UINT32_MAX && ((top->language == TOP_PYTHON && kind != FRAME_PYTHON) ||
		(top->language == TOP_NATIVE && kind != FRAME_NATIVE)))
		return false;
	return holds(text, top->search);
}

static struct top_row *add_row(struct top *top, const char *text)
{
	top->rows = memory_grow(top->rows, &top->row_capacity, top->row_count + 1, sizeof *top->rows);
	top->rows[top->row_count] = (struct top_row){ .text = memory_text(text) };
	return &top->rows[top->row_count++];
}

static void fill_row(struct top_row *row, const struct cost *own, const struct cost *total)
{
	row->own_bytes = own->live_bytes;
	row->own_blocks = own->live_count;
	row->total_bytes = total->live_bytes;
	row->growth_bytes = (int64_t)(own->live_bytes - own->peak_bytes);
	row->allocated_bytes = own->total_bytes;
}

static uint64_t sort_key(const struct top_row *row, enum top_sort sort)
{
	switch (sort) {
	case TOP_OWN: return row->own_bytes;
	case TOP_TOTAL: return row->total_bytes;
	case TOP_BLOCKS: return row->own_blocks;
	case TOP_ALLOCATED: return row->allocated_bytes;
	default: return (uint64_t)row->growth_bytes + ((uint64_t)1 << 63);
	}
}

static int compare_rows(const void *a, const void *b, void *context)
{
	const struct top_row *x = a, *y = b;
	const enum top_sort sort = *(const enum top_sort *)context;
	const uint64_t left = sort_key(x, sort), right = sort_key(y, sort);

	if (left != right)
		return left > right ? -1 : 1;
	if (x->total_bytes != y->total_bytes)
		return x->total_bytes > y->total_bytes ? -1 : 1;
	return strcmp(x->text, y->text);
}

static void rank_rows(struct top *top)
{
	static const enum rank_by by[] = { [TOP_LINES] = RANK_LINE, [TOP_FUNCTIONS] = RANK_FUNCTION, [TOP_FILES] = RANK_FILE,
		[TOP_MODULES] = RANK_MODULE, [TOP_THREADS] = RANK_THREAD };
	struct rank rank;
	char text[VIEW_FRAME_SIZE];

	rank_init(&rank, &top->tree, by[top->view]);
	for (size_t i = 0; i < rank.count; i++) {
		const struct rank_row *from = &rank.rows[i];
		const uint32_t frame = top->view == TOP_THREADS ? UINT32_MAX : from->frame;

		/* What neither holds anything nor did at the reference moment has nothing to say but what it allocated once. */
		if (!from->total.live_count && !from->total.peak_count && !(top->sort == TOP_ALLOCATED && from->own.total_count))
			continue;
		rank_row_text(&rank, from, text, sizeof text);
		if (!is_wanted(top, frame, text))
			continue;

		struct top_row *row = add_row(top, text);

		row->frame = frame;
		fill_row(row, &from->own, &from->total);
	}
	rank_finish(&rank);
	if (top->row_count > 1)
		qsort_r(top->rows, top->row_count, sizeof *top->rows, compare_rows, &top->sort);
}

/* ---- the tree ---- */

static uint64_t path_hash(uint64_t above, uint32_t frame)
{
	uint64_t hash = (above ^ frame) * 0x9e3779b97f4a7c15u;

	return hash ^ hash >> 29;
}

static uint64_t hash_of(const struct top *top, uint32_t node)
{
	uint32_t path[256];
	unsigned count = 0;
	uint64_t hash = 1;

	for (uint32_t at = node; at != 0 && count < 256; at = top->tree.nodes[at].parent)
		path[count++] = top->tree.nodes[at].frame;
	while (count > 0)
		hash = path_hash(hash, path[--count]);
	return hash;
}

static bool was_turned(const struct top *top, uint64_t hash)
{
	for (size_t i = 0; i < top->opened_count; i++)
		if (top->opened[i] == hash)
			return true;
	return false;
}

void top_turn(struct top *top, const struct top_row *row)
{
	const uint64_t hash = hash_of(top, row->node);

	for (size_t i = 0; i < top->opened_count; i++) {
		if (top->opened[i] != hash)
			continue;
		top->opened[i] = top->opened[--top->opened_count];
		top_rows(top);
		return;
	}
	top->opened = memory_grow(top->opened, &top->opened_capacity, top->opened_count + 1, sizeof *top->opened);
	top->opened[top->opened_count++] = hash;
	top_rows(top);
}

struct child {
	struct top_row row;
	uint32_t node;
};

static int compare_children(const void *a, const void *b, void *context)
{
	const struct child *x = a, *y = b;
	const enum top_sort sort = *(const enum top_sort *)context;
	/* In a tree what lies below counts: of own there is little on the way. */
	const enum top_sort by = sort == TOP_OWN ? TOP_TOTAL : sort;
	const uint64_t left = sort_key(&x->row, by), right = sort_key(&y->row, by);

	return left != right ? (left > right ? -1 : 1) : (x->node > y->node) - (x->node < y->node);
}

static bool below_holds(const struct top *top, const bool *found, uint32_t node)
{
	return !*top->search || found[node];
}

/* Which nodes have the text that is searched for at them or below; NULL: nothing is searched for. */
static bool *find_matches(const struct top *top)
{
	const struct calltree *tree = &top->tree;
	char text[VIEW_FRAME_SIZE];
	bool *found;

	if (!*top->search)
		return NULL;
	found = memory_new(tree->count, sizeof *found);
	for (uint32_t i = tree->count; i-- > 1;) {
		found[i] = found[i] || holds(view_frame_text(text, sizeof text, &top->profile.frames[tree->nodes[i].frame]),
			top->search);
		found[tree->nodes[i].parent] |= found[i];
	}
	return found;
}

/* The children of a node that hold anything, largest first; *list is to be freed. */
static size_t list_children(const struct top *top, uint32_t node, const bool *found, struct child **list)
{
	const struct calltree *tree = &top->tree;
	size_t count = 0, capacity = 0;

	*list = NULL;
	for (uint32_t at = tree->nodes[node].first_child; at; at = tree->nodes[at].next_sibling) {
		const struct cost *total = &tree->inclusive[at];

		if ((!total->live_count && !total->peak_count) || !below_holds(top, found, at))
			continue;
		*list = memory_grow(*list, &capacity, count + 1, sizeof **list);
		(*list)[count] = (struct child){ .node = at };
		fill_row(&(*list)[count].row, &tree->own[at], total);
		(*list)[count].row.growth_bytes = (int64_t)(total->live_bytes - total->peak_bytes);
		(*list)[count].row.own_blocks = total->live_count;
		(*list)[count++].row.allocated_bytes = total->total_bytes;
	}
	if (count > 1)
		qsort_r(*list, count, sizeof **list, compare_children, (void *)&top->sort);
	return count;
}

/* What still has to be shown, the next on top; a capture decides how deep it gets. */
struct pending {
	struct child child;
	unsigned depth;
	bool main;                    /* on the path that is open by itself */
	uint64_t hash;
};

static void tree_rows(struct top *top)
{
	const struct calltree *tree = &top->tree;
	bool *found = find_matches(top);
	struct pending *stack = memory_new(1, sizeof *stack);
	size_t depth = 1, capacity = 1;
	char text[VIEW_FRAME_SIZE];

	stack[0] = (struct pending){ .main = true, .hash = 1 };
	fill_row(&stack[0].child.row, &tree->own[0], &tree->inclusive[0]);
	stack[0].child.row.growth_bytes = (int64_t)(tree->inclusive[0].live_bytes - tree->inclusive[0].peak_bytes);
	stack[0].child.row.own_blocks = tree->inclusive[0].live_count;
	stack[0].child.row.allocated_bytes = tree->inclusive[0].total_bytes;
	while (depth > 0) {
		const struct pending at = stack[--depth];
		const uint32_t node = at.child.node;
		struct child *children;
		const size_t count = list_children(top, node, found, &children);
		struct top_row *row = add_row(top, view_frame_text(text, sizeof text,
			&top->profile.frames[tree->nodes[node].frame]));
		char *const kept = row->text;

		*row = at.child.row;
		row->text = kept;
		row->node = node;
		row->frame = tree->nodes[node].frame;
		row->depth = at.depth;
		row->has_children = count > 0;
		row->open = (at.main || *top->search) != was_turned(top, at.hash);
		stack = memory_grow(stack, &capacity, depth + count + 1, sizeof *stack);
		for (size_t i = count; row->open && i-- > 0;)
			stack[depth++] = (struct pending){ .child = children[i], .depth = at.depth + 1,
				.main = at.main && at.depth < DEPTH_OPEN && i == 0 &&
					children[i].row.total_bytes * 2 >= at.child.row.total_bytes,
				.hash = path_hash(at.hash, tree->nodes[children[i].node].frame) };
		free(children);
	}
	free(stack);
	free(found);
}

void top_rows(struct top *top)
{
	drop_rows(top);
	copy_sites(top, profile_live_get(top->live));
	if (top->has_tree)
		calltree_finish(&top->tree);
	calltree_init(&top->tree, &top->profile, CALLTREE_HIDDEN_DEFAULT);
	top->has_tree = true;
	if (top->view == TOP_TREE)
		tree_rows(top);
	else
		rank_rows(top);
}
