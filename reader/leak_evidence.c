/* SPDX-License-Identifier: MIT */
/*
 * See leak_evidence.h.  One walk over the slices in the order of time keeps what each stack holds, and is stopped at
 * the end of each part of the run to write it down.
 */
#include "leak_evidence.h"

#include <string.h>

#include "memory.h"

struct walk {
	struct evidences *evidences;
	const struct profile *profile;
	uint32_t *of_site;            /* index in the list; UINT32_MAX: not counted */
	uint64_t *held;               /* by index: live now */
	uint64_t *alive;              /* by cell: blocks that are never freed */
};

static uint64_t key_of(uint32_t node, enum keeper keeper)
{
	return (uint64_t)node << 8 | (unsigned)keeper;
}

static uint32_t find_or_add(struct evidences *evidences, size_t *capacity, uint32_t node, enum keeper keeper)
{
	const uint64_t key = key_of(node, keeper);
	const uint32_t known = map64_get(&evidences->of_leak, key);
	struct error error;

	if (known != MAP64_NONE)
		return known;
	evidences->list = memory_grow(evidences->list, capacity, evidences->count + 1, sizeof *evidences->list);
	evidences->list[evidences->count] = (struct evidence){ .node = node, .keeper = keeper };
	if (!map64_put(&evidences->of_leak, key, (uint32_t)evidences->count, &error))
		memory_exhausted();
	return (uint32_t)evidences->count++;
}

static void find_sites(struct walk *walk, const struct calltree *tree, const struct leak_rules *rules)
{
	const struct profile *profile = walk->profile;
	size_t capacity = 0;

	walk->of_site = memory_new(profile->site_count, sizeof *walk->of_site);
	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];

		walk->of_site[i] = UINT32_MAX;
		if (!profile_counts(profile, site))
			continue;
		walk->of_site[i] = find_or_add(walk->evidences, &capacity, tree->node_of[site->node],
			leak_rules_keeper(rules, site));
		struct evidence *evidence = &walk->evidences->list[walk->of_site[i]];
		evidence->total_bytes += site->cost.total_bytes;
		evidence->total_count += site->cost.total_count;
		evidence->live_bytes += site->cost.live_bytes;
		evidence->live_count += site->cost.live_count;
	}
}

/* The last slice that ends at or before a time; slice_count: none does. */
static uint32_t slice_before(const struct profile *profile, uint64_t time_ns)
{
	uint32_t found = profile->slice_count;

	for (uint32_t i = 0; i < profile->slice_count && profile->slices[i].end_ns <= time_ns; i++)
		found = i;
	return found;
}

/* Where parts end, and what late is: always at borders, so that what is said there is exact. */
static void choose_borders(struct evidences *evidences, const struct profile *profile)
{
	const uint32_t count = profile->slice_count;
	const uint64_t end_ns = count ? profile->slices[count - 1].end_ns : 0;
	const uint32_t born = slice_before(profile, end_ns - end_ns / 10), late = slice_before(profile, end_ns - end_ns / 50);

	evidences->parts = count < EVIDENCE_PARTS_MAX ? count : EVIDENCE_PARTS_MAX;
	for (unsigned part = 0; part < evidences->parts; part++)
		evidences->part_ends_ns[part] = profile->slices[(part + 1) * (uint64_t)count / evidences->parts - 1].end_ns;
	if (born < late && late + 1 < count) {
		evidences->late_born_ns = profile->slices[born].end_ns;
		evidences->late_from_ns = profile->slices[late].end_ns;
	}
}

static void count_alive(struct walk *walk)
{
	const struct profile *profile = walk->profile;

	walk->alive = memory_new(profile->cell_count, sizeof *walk->alive);
	for (size_t i = 0; i < profile->cell_count; i++)
		walk->alive[i] = profile->cells[i].kept_count;
	for (size_t i = 0; i < profile->loss_count; i++)
		walk->alive[profile->losses[i].cell] -= (uint64_t)profile->losses[i].count;
}

static void walk_cells(struct walk *walk, size_t from, size_t end, uint64_t start_ns, uint64_t end_ns)
{
	for (size_t i = from; i < end; i++) {
		const struct profile_cell *cell = &walk->profile->cells[i];
		const uint32_t index = walk->of_site[cell->site];

		if (index == UINT32_MAX)
			continue;
		walk->held[index] += cell->kept_bytes;
		if (walk->alive[i] && walk->evidences->list[index].oldest_to_ns == 0) {
			walk->evidences->list[index].oldest_from_ns = start_ns;
			walk->evidences->list[index].oldest_to_ns = end_ns;
		}
	}
}

/* late_cells: losses of cells before are what was held until the end; 0: it is not the end yet. */
static void walk_losses(struct walk *walk, size_t from, size_t end, size_t late_cells)
{
	for (size_t i = from; i < end; i++) {
		const struct profile_loss *loss = &walk->profile->losses[i];
		const uint32_t index = walk->of_site[walk->profile->cells[loss->cell].site];

		if (index == UINT32_MAX)
			continue;
		walk->held[index] -= (uint64_t)loss->bytes;
		if (loss->cell < late_cells) {
			walk->evidences->list[index].late_bytes += (uint64_t)loss->bytes;
			walk->evidences->list[index].late_count += (uint64_t)loss->count;
		}
	}
}

static void walk_slices(struct walk *walk)
{
	const struct profile *profile = walk->profile;
	struct evidences *evidences = walk->evidences;
	size_t cell = 0, loss = 0, born_cells = 0;
	uint64_t start_ns = 0;
	unsigned part = 0;

	for (uint32_t i = 0; i < profile->slice_count; i++) {
		const struct profile_slice *slice = &profile->slices[i];
		const bool late = evidences->late_from_ns && start_ns >= evidences->late_from_ns;

		walk_cells(walk, cell, slice->cell_end, start_ns, slice->end_ns);
		walk_losses(walk, loss, slice->loss_end, late ? born_cells : 0);
		cell = slice->cell_end;
		loss = slice->loss_end;
		start_ns = slice->end_ns;
		if (slice->end_ns == evidences->late_born_ns)
			born_cells = cell;
		for (; part < evidences->parts && evidences->part_ends_ns[part] == slice->end_ns; part++)
			for (size_t n = 0; n < evidences->count; n++)
				evidences->list[n].held_bytes[part] = walk->held[n];
	}
}

static void judge(const struct evidences *evidences, struct evidence *evidence)
{
	uint64_t before = 0;

	for (unsigned part = 0; part < evidences->parts; part++) {
		evidence->grown += evidence->held_bytes[part] > before;
		evidence->shrunk += evidence->held_bytes[part] < before;
		before = evidence->held_bytes[part];
	}
	const unsigned net = evidence->grown > evidence->shrunk ? evidence->grown - evidence->shrunk : 0;
	evidence->score = (net + 1.0) / (evidences->parts + 2.0);
}

static void sum_up(struct evidences *evidences)
{
	for (size_t i = 0; i < evidences->count; i++) {
		const struct evidence *evidence = &evidences->list[i];
		struct evidence *sum = &evidences->sums[evidence->keeper];

		sum->total_bytes += evidence->total_bytes;
		sum->total_count += evidence->total_count;
		sum->live_bytes += evidence->live_bytes;
		sum->live_count += evidence->live_count;
		sum->late_bytes += evidence->late_bytes;
		sum->late_count += evidence->late_count;
		for (unsigned part = 0; part < evidences->parts; part++)
			sum->held_bytes[part] += evidence->held_bytes[part];
	}
}

void evidences_init(struct evidences *evidences, const struct calltree *tree, const struct leak_rules *rules)
{
	struct walk walk = { .evidences = evidences, .profile = tree->profile };
	struct error error;

	*evidences = (struct evidences){ 0 };
	if (tree->profile->slice_count == 0)
		return;
	if (!map64_init(&evidences->of_leak, 64, &error))
		memory_exhausted();
	find_sites(&walk, tree, rules);
	choose_borders(evidences, tree->profile);
	count_alive(&walk);
	walk.held = memory_new(evidences->count, sizeof *walk.held);
	walk_slices(&walk);
	for (size_t i = 0; i < evidences->count; i++)
		judge(evidences, &evidences->list[i]);
	sum_up(evidences);
	for (int keeper = 0; keeper < KEEPER_COUNT; keeper++)
		judge(evidences, &evidences->sums[keeper]);
	free(walk.of_site);
	free(walk.held);
	free(walk.alive);
}

void evidences_finish(struct evidences *evidences)
{
	free(evidences->list);
	map64_finish(&evidences->of_leak);
	*evidences = (struct evidences){ 0 };
}

const struct evidence *evidences_find(const struct evidences *evidences, const struct leak *leak)
{
	const uint32_t index = map64_get(&evidences->of_leak, key_of(leak->node, leak->keeper));

	return index == MAP64_NONE ? NULL : &evidences->list[index];
}

const char *evidence_word(const struct evidences *evidences, const struct evidence *evidence)
{
	const unsigned quarter = evidences->parts / 4 ? evidences->parts / 4 : 1;
	unsigned earliest = evidences->parts, latest = 0;
	uint64_t before = 0;

	for (unsigned part = 0; part < evidences->parts; part++) {
		if (evidence->held_bytes[part] > before) {
			earliest = part < earliest ? part : earliest;
			latest = part;
		}
		before = evidence->held_bytes[part];
	}
	/* What is done once may lie across the border between two parts. */
	if (latest <= earliest + 1)
		return "once";
	return latest + quarter >= evidences->parts ? "growing" : "stopped";
}
