/* SPDX-License-Identifier: MIT */
/*
 * See diff.h.  Names become numbers once for each frame; after that all matching is of numbers.
 */
#include "diff.h"

#include <string.h>

#include "diff_slices.h"
#include "memory.h"
#include "table.h"
#include "view.h"

struct merge_state {
	struct diff *diff;
	struct strings strings;
	struct map64 pairs, frames, nodes, places, sites, threads;
	uint32_t pair_count;
	size_t frame_capacity, node_capacity, site_capacity, before_capacity, thread_capacity;
	size_t spread_capacity, before_spread_capacity;
	bool *several_lines;          /* by frame: stacks of one profile have more than one of its lines */
	size_t several_capacity;
	bool base_names;
};

static uint32_t string_number(struct merge_state *state, const char *text)
{
	struct error error;
	uint32_t id;

	if (!strings_add(&state->strings, text, &id, &error))
		memory_exhausted();
	return id;
}

/* The number of a key in a map, `next` when it is new. */
static uint32_t number_of(struct map64 *map, uint64_t key, uint32_t next)
{
	uint32_t known = map64_get(map, key);
	struct error error;

	if (known != MAP64_NONE)
		return known;
	if (!map64_put(map, key, next, &error))
		memory_exhausted();
	return next;
}

static const char *file_name(const struct merge_state *state, const char *file)
{
	const char *slash = state->base_names ? strrchr(file, '/') : NULL;

	return slash ? slash + 1 : file;
}

/* The merged frame of each frame of a profile. */
static uint32_t *merge_frames(struct merge_state *state, const struct profile *profile)
{
	struct profile *merged = &state->diff->merged;
	uint32_t *frame_of = memory_new(profile->frame_count, sizeof *frame_of);
	const uint32_t known_before = merged->frame_count;

	for (uint32_t i = 0; i < profile->frame_count; i++) {
		const struct frame *frame = &profile->frames[i];
		const uint64_t names = (uint64_t)string_number(state, frame->function) << 32 |
			string_number(state, file_name(state, frame->file));
		const uint32_t pair = number_of(&state->pairs, names, state->pair_count);
		const uint64_t key = (uint64_t)pair << 32 | string_number(state, frame->module) << 2 | (frame->kind & 3u);
		const uint32_t number = number_of(&state->frames, key, merged->frame_count);

		state->pair_count += pair == state->pair_count;
		frame_of[i] = number;
		if (number == merged->frame_count) {
			merged->frames = memory_grow(merged->frames, &state->frame_capacity, number + (size_t)1, sizeof *frame);
			state->several_lines = memory_grow(state->several_lines, &state->several_capacity, number + (size_t)1, 1);
			merged->frames[merged->frame_count++] = *frame;
			state->several_lines[number] = false;
		} else if (number >= known_before && merged->frames[number].line != frame->line) {
			state->several_lines[number] = true;
		}
	}
	return frame_of;
}

static uint32_t *merge_nodes(struct merge_state *state, const struct profile *profile, const uint32_t *frame_of)
{
	struct profile *merged = &state->diff->merged;
	uint32_t *node_of = memory_new(profile->node_count, sizeof *node_of);

	for (uint32_t i = 0; i < profile->node_count; i++) {
		const struct node node = { .parent = i ? node_of[profile->nodes[i].parent] : 0,
			.frame = frame_of[profile->nodes[i].frame] };
		/* The root is its own parent; nothing else has its frame. */
		const uint32_t number = number_of(&state->nodes, (uint64_t)node.parent << 32 | node.frame, merged->node_count);

		node_of[i] = number;
		if (number == merged->node_count) {
			merged->nodes = memory_grow(merged->nodes, &state->node_capacity, number + (size_t)1, sizeof node);
			merged->nodes[merged->node_count++] = node;
		}
	}
	return node_of;
}

static uint32_t *merge_threads(struct merge_state *state, const struct profile *profile, bool after)
{
	struct profile *merged = &state->diff->merged;
	uint32_t *thread_of = memory_new(profile->thread_count, sizeof *thread_of);

	for (uint32_t i = 0; i < profile->thread_count; i++) {
		const struct profile_thread *thread = &profile->threads[i];
		const uint32_t number = number_of(&state->threads, string_number(state, thread->name), merged->thread_count);

		thread_of[i] = number;
		if (number != merged->thread_count)
			continue;
		merged->threads = memory_grow(merged->threads, &state->thread_capacity, number + (size_t)1, sizeof *thread);
		merged->threads[merged->thread_count] = *thread;
		if (!after)
			merged->threads[merged->thread_count].capture = 0;
		merged->thread_count++;
	}
	return thread_of;
}

/* The merged site where a site of a profile lies, with no costs when it is new. */
static uint32_t merge_site(struct merge_state *state, const struct site *site, uint32_t node, uint32_t thread)
{
	struct profile *merged = &state->diff->merged;
	const uint32_t place = number_of(&state->places, (uint64_t)node << 32 | thread, (uint32_t)state->places.count);
	const uint64_t key = (uint64_t)place << 16 | (unsigned)site->domain << 8 | site->allocator;
	const uint32_t number = number_of(&state->sites, key, (uint32_t)merged->site_count);

	if (number == merged->site_count) {
		merged->sites = memory_grow(merged->sites, &state->site_capacity, number + (size_t)1, sizeof *merged->sites);
		state->diff->before = memory_grow(state->diff->before, &state->before_capacity, number + (size_t)1,
			sizeof *state->diff->before);
		state->diff->before_spreads = memory_grow(state->diff->before_spreads, &state->before_spread_capacity,
			number + (size_t)2, sizeof *state->diff->before_spreads);
		merged->spreads = memory_grow(merged->spreads, &state->spread_capacity, number + (size_t)2,
			sizeof *merged->spreads);
		state->diff->before_spreads[number + 1] = merged->spreads[number + 1] = (struct cost_spread){ 0 };
		merged->sites[merged->site_count] = (struct site){ .node = node, .thread = thread, .domain = site->domain,
			.allocator = site->allocator };
		state->diff->before[merged->site_count++] = (struct cost){ 0 };
	}
	return number;
}

static void merge_profile(struct merge_state *state, const struct profile *profile, bool after)
{
	struct profile *merged = &state->diff->merged;
	uint32_t *frame_of = merge_frames(state, profile);
	uint32_t *node_of = merge_nodes(state, profile, frame_of);
	uint32_t *thread_of = merge_threads(state, profile, after);
	uint32_t *site_of = memory_new(profile->site_count, sizeof *site_of);

	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];

		site_of[i] = DIFF_SITE_NONE;
		if (!profile_counts(profile, site))
			continue;
		const uint32_t number = merge_site(state, site, node_of[site->node], thread_of[site->thread]);
		site_of[i] = number;
		cost_add(after ? &state->diff->merged.sites[number].cost : &state->diff->before[number], &site->cost);
		cost_add(after ? &state->diff->after_total : &state->diff->before_total, &site->cost);
		if (site->spread == 0)
			continue;
		const struct cost_spread *spread = &profile->spreads[site->spread];

		cost_spread_add(after ? &merged->spreads[number + 1] : &state->diff->before_spreads[number + 1], spread);
		cost_spread_add(after ? &state->diff->after_total_spread : &state->diff->before_total_spread, spread);
		if (after)
			merged->sites[number].spread = number + 1;
	}
	diff_slices_take(after ? merged : &state->diff->before_slices, profile, site_of);
	free(frame_of);
	free(node_of);
	free(thread_of);
	free(site_of);
}

void diff_init(struct diff *diff, const struct profile *before, const struct profile *after, bool base_names)
{
	struct merge_state state = { .diff = diff, .base_names = base_names };
	struct error error;

	*diff = (struct diff){ .merged = *after };
	struct profile *merged = &diff->merged;
	merged->frames = NULL;
	merged->nodes = NULL;
	merged->sites = NULL;
	merged->threads = NULL;
	merged->frame_count = merged->node_count = merged->thread_count = 0;
	merged->site_count = 0;
	/* Windows are of the sites of one profile. */
	merged->window_count = 0;
	merged->spreads = NULL;
	merged->spread_count = 0;
	if (!strings_init(&state.strings, &error) || !map64_init(&state.pairs, 1024, &error) ||
		!map64_init(&state.frames, 1024, &error) || !map64_init(&state.nodes, 1024, &error) ||
		!map64_init(&state.places, 1024, &error) || !map64_init(&state.sites, 1024, &error) ||
		!map64_init(&state.threads, 16, &error))
		memory_exhausted();
	/* `after` first: its lines are shown. */
	merge_profile(&state, after, true);
	merge_profile(&state, before, false);
	for (uint32_t i = 0; i < merged->frame_count; i++)
		merged->frames[i].line = state.several_lines[i] ? 0 : merged->frames[i].line;
	merged->spread_count = (uint32_t)merged->site_count;
	/* Only what is counted was taken. */
	merged->domains = ~0u;
	merged->before = diff->before;
	merged->before_spreads = before->sample_mean_bytes && diff->before_spreads ? diff->before_spreads + 1 : NULL;
	merged->before_total = diff->before_total;
	merged->before_run = before;
	merged->before_slices = &diff->before_slices;
	strings_finish(&state.strings);
	map64_finish(&state.pairs);
	map64_finish(&state.frames);
	map64_finish(&state.nodes);
	map64_finish(&state.places);
	map64_finish(&state.sites);
	map64_finish(&state.threads);
	free(state.several_lines);
}

void diff_finish(struct diff *diff)
{
	free(diff->merged.frames);
	free(diff->merged.nodes);
	free(diff->merged.sites);
	free(diff->merged.threads);
	free(diff->merged.spreads);
	profile_free_slices(&diff->merged);
	profile_free_slices(&diff->before_slices);
	free(diff->before_spreads);
	free(diff->before);
	*diff = (struct diff){ 0 };
}
