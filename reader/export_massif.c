/* SPDX-License-Identifier: MIT */
/*
 * massif.out, as valgrind's massif writes it: snapshots of the heap over time, with trees of who holds it at the peak
 * and at the end, for ms_print and massif-visualizer.
 *
 *     snapshot=3  time=1500  mem_heap_B=4096  heap_tree=peak
 *     n2: 4096 (heap allocation functions) malloc/new/new[], --alloc-fns, etc.
 *      n1: 4000 0x0: load (app.py:10)
 *       n0: 4000 0x0: main (app.py:3)
 *      n0: 96 in 2 places, all below massif's threshold (1.00%)
 *
 * As massif does, the tree begins with the allocating frames, leaves out what is below 1 % and ends after 30 frames.
 * The time line knows no filters: where stacks are filtered, only the two snapshots with trees are written.
 */
#include <inttypes.h>
#include <string.h>

#include "export.h"
#include "memory.h"

enum { DEPTH_MAX = 30, THRESHOLD_PERCENT = 1 };

/* One stack while the tree is written: `at` moves from its innermost frame to the outermost. */
struct place {
	uint32_t at;                  /* node of the tree; 0: the stack has ended */
	uint32_t frame;               /* of that node, to sort by */
	uint64_t bytes;
};

struct group {
	size_t first, count;
	uint64_t bytes;
};

struct massif {
	const struct export *export;
	struct place *places;
	uint64_t all;                 /* of the snapshot */
	unsigned snapshots;
	uint64_t last_ms;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;

	if (left->frame != right->frame)
		return left->frame < right->frame ? -1 : 1;
	return left->at < right->at ? -1 : left->at > right->at;
}

static int compare_groups(const void *a, const void *b)
{
	const struct group *left = a, *right = b;

	if (left->bytes != right->bytes)
		return left->bytes > right->bytes ? -1 : 1;
	return left->first < right->first ? -1 : left->first > right->first;
}

/* Groups places[first..first+count) by frame; those whose stack has ended are left out.  Largest first. */
static struct group *make_groups(struct massif *massif, size_t first, size_t count, size_t *group_count)
{
	struct place *places = massif->places;
	struct group *groups = NULL;
	size_t capacity = 0;

	*group_count = 0;
	if (count > 1)
		qsort(places + first, count, sizeof(*places), compare_places);
	for (size_t i = first; i < first + count; i++) {
		if (places[i].at == 0)
			continue;
		if (*group_count == 0 || places[groups[*group_count - 1].first].frame != places[i].frame) {
			groups = memory_grow(groups, &capacity, *group_count + 1, sizeof(*groups));
			groups[(*group_count)++] = (struct group){ .first = i };
		}
		groups[*group_count - 1].count++;
		groups[*group_count - 1].bytes += places[i].bytes;
	}
	if (*group_count > 1)
		qsort(groups, *group_count, sizeof(*groups), compare_groups);
	return groups;
}

static void indent(const struct massif *massif, unsigned depth)
{
	fprintf(massif->export->file, "%*s", (int)depth, "");
}

/* A line for the caller of these places, which `title` names, and those of its own callers.  Depth is bounded. */
static void write_tree(struct massif *massif, size_t first, size_t count, uint64_t bytes, unsigned depth,
	const char *title)
{
	const struct export *export = massif->export;
	size_t group_count = 0, shown = 0, hidden = 0;
	uint64_t hidden_bytes = 0;
	char text[VIEW_FRAME_SIZE];
	struct group *groups = depth < DEPTH_MAX ? make_groups(massif, first, count, &group_count) : NULL;

	while (shown < group_count && groups[shown].bytes * 100.0 >= (double)massif->all * THRESHOLD_PERCENT)
		shown++;
	for (size_t i = shown; i < group_count; i++) {
		hidden++;
		hidden_bytes += groups[i].bytes;
	}
	indent(massif, depth);
	fprintf(export->file, "n%zu: %" PRIu64 " %s\n", shown + (hidden > 0), bytes, title);
	for (size_t i = 0; i < shown; i++) {
		const uint32_t frame = massif->places[groups[i].first].frame;

		for (size_t n = groups[i].first; n < groups[i].first + groups[i].count; n++) {
			massif->places[n].at = export->tree->nodes[massif->places[n].at].parent;
			massif->places[n].frame = export->tree->nodes[massif->places[n].at].frame;
		}
		snprintf(text, sizeof(text), "0x0: ");
		export_frame_text(export, frame, text + strlen(text), sizeof(text) - strlen(text));
		write_tree(massif, groups[i].first, groups[i].count, groups[i].bytes, depth + 1, text);
	}
	if (hidden) {
		indent(massif, depth + 1);
		fprintf(export->file, "n0: %" PRIu64 " in %zu place%s below massif's threshold (%d.00%%)\n", hidden_bytes, hidden,
			hidden > 1 ? "s, all" : ",", THRESHOLD_PERCENT);
	}
	free(groups);
}

/* Times never decrease, also where the time line and the peak were stamped by different clocks' steps. */
static void write_snapshot(struct massif *massif, uint64_t time_ns, uint64_t bytes, const char *tree)
{
	const uint64_t time_ms = time_ns / 1000000;

	if (time_ms > massif->last_ms)
		massif->last_ms = time_ms;
	fprintf(massif->export->file, "#-----------\nsnapshot=%u\n#-----------\ntime=%" PRIu64 "\nmem_heap_B=%" PRIu64 "\n"
		"mem_heap_extra_B=0\nmem_stacks_B=0\nheap_tree=%s\n", massif->snapshots++, massif->last_ms, bytes, tree);
}

static void write_detailed(struct massif *massif, uint64_t time_ns, enum metric metric, const char *tree_kind)
{
	const struct calltree *tree = massif->export->tree;
	size_t count = 0;

	massif->all = metric_bytes(&tree->inclusive[0], metric);
	for (uint32_t node = 1; node < tree->count; node++) {
		const uint64_t bytes = metric_bytes(&tree->own[node], metric);

		if (bytes)
			massif->places[count++] = (struct place){ .at = node, .frame = tree->nodes[node].frame, .bytes = bytes };
	}
	write_snapshot(massif, time_ns, massif->all, tree_kind);
	write_tree(massif, 0, count, massif->all, 0, "(heap allocation functions) malloc/new/new[], --alloc-fns, etc.");
}

static bool massif_write(const struct export *export, struct error *error)
{
	const struct profile *profile = export->profile;
	struct massif massif = { .export = export, .places = memory_new(export->tree->count, sizeof(*massif.places)) };
	const uint32_t points = export_is_filtered(export) ? 0 : profile->timeline_count;
	uint32_t i = 0;

	fprintf(export->file, "desc: sctmem %s\n", SCTMEM_VERSION);
	for (const char *const *line = export->warnings; *line; line++)
		fprintf(export->file, "desc: %s\n", *line);
	fprintf(export->file, "cmd: %s\ntime_unit: ms\n", *export->command ? export->command : export->program);
	for (; i < points && profile->timeline[i].time_ns < profile->peak_time_ns; i++)
		write_snapshot(&massif, profile->timeline[i].time_ns, profile->timeline[i].live_bytes, "empty");
	write_detailed(&massif, profile->peak_time_ns, METRIC_PEAK, "peak");
	for (; i < points && profile->timeline[i].time_ns < profile->at_time_ns; i++)
		write_snapshot(&massif, profile->timeline[i].time_ns, profile->timeline[i].live_bytes, "empty");
	if (profile->at_time_ns >= profile->peak_time_ns)
		write_detailed(&massif, profile->at_time_ns, METRIC_LIVE, "detailed");
	for (; i < points; i++)
		write_snapshot(&massif, profile->timeline[i].time_ns, profile->timeline[i].live_bytes, "empty");
	free(massif.places);
	return true;
}

const struct export_format export_massif = {
	.name = "massif",
	.ending = ".massif",
	.summary = "ms_print, massif-visualizer: the heap over time, trees at the peak and at the end",
	.timeline_points = 100,       /* as many as massif keeps */
	.write = massif_write,
};
