/* SPDX-License-Identifier: MIT */
/*
 * The tree of stacks: nodes of the captures become nodes of the profile.
 *
 * A capture's node has a larger id than its parent, so one walk in order of id finds each parent done.  Nodes that
 * no site uses are left out.  Frames that look the same to the user are one frame here, and stacks that look the
 * same are one path.  When a capture grows, all this is done again for the nodes that were not placed before.
 */
#include "profile_build.h"

#include <stdlib.h>
#include <string.h>

/* The child of parent with this frame, made when it is new. */
static bool find_child(struct build *build, uint32_t parent, uint32_t frame, uint32_t *node)
{
	struct profile *profile = build->profile;
	const uint64_t key = (uint64_t)parent << 32 | frame;

	*node = map64_get(&build->nodes, key);
	if (*node != MAP64_NONE)
		return true;
	if (!array_reserve(&profile->nodes, &build->node_capacity, profile->node_count + (size_t)1, sizeof(*profile->nodes),
		build->error) || !map64_put(&build->nodes, key, profile->node_count, build->error))
		return false;
	*node = profile->node_count++;
	profile->nodes[*node] = (struct node){ .parent = parent, .frame = frame };
	return true;
}

/* A node below the root for what has no stack, or one that nobody knows. */
static bool find_special(struct build *build, const char *name, uint32_t *node)
{
	uint32_t frame;

	return build_special_frame(build, name, &frame) && find_child(build, 0, frame, node);
}

/* Marks the nodes that sites use, and all above them. */
static bool mark_used(struct build *build)
{
	for (uint32_t i = 0; i < build->capture_count; i++) {
		struct build_capture *own = &build->captures[i];

		const uint32_t end = own->capture->node_end;
		uint32_t *grown = realloc(own->node_of, (end + (size_t)1) * sizeof(*own->node_of));

		if (!grown)
			return fail_memory(build->error);
		memset(grown + own->node_end, 0, (end + (size_t)1 - own->node_end) * sizeof(*grown));
		own->node_of = grown;
		own->node_end = end;
	}
	for (size_t i = 1; i < build->replay.site_count; i++) {
		const uint64_t key = build->replay.sites[i].key;
		struct build_capture *own = &build->captures[build->replay.threads[site_thread(key)].process];
		uint32_t id = site_stack(key);

		for (const struct capture_node *node; (node = capture_find_node(own->capture, id)); id = node->parent) {
			/* Marked, or placed.  What waits for a parent asks for it again. */
			if (own->node_of[id] != BUILD_UNUSED && !(build->growing && own->node_of[id] == BUILD_USED))
				break;
			own->node_of[id] = BUILD_USED;
		}
	}
	return true;
}

/* Extends the parent's path by the frames that the node's frame stands for. */
static bool place_node(struct build *build, struct build_capture *own, uint32_t id)
{
	const struct capture_node *node = &own->capture->nodes[id];
	const uint32_t found = map64_get(&own->frame_spans, node->frame);
	uint32_t at = 0;

	if (found == MAP64_NONE)
		return true;                  /* a capture that grows: its code is not known yet */
	const struct frame_span *span = &build->spans[found];

	if (node->parent != CAPTURE_NODE_ROOT) {
		const bool known = capture_find_node(own->capture, node->parent) != NULL;

		if (known)
			at = own->node_of[node->parent];
		/* A parent that is missing may still come. */
		if (build->growing && (!known || at == BUILD_USED))
			return true;
		if (!known && !find_special(build, "<unknown stack>", &at))
			return false;
	}
	for (uint32_t i = 0; i < span->count; i++) {
		if (!find_child(build, at, build->span_frames[span->first + i], &at))
			return false;
	}
	own->node_of[id] = at;
	return true;
}

/* Where sites without a stack, or with one that no record named, lie. */
static bool place_specials(struct build *build)
{
	for (size_t i = 1; i < build->replay.site_count; i++) {
		const uint64_t key = build->replay.sites[i].key;
		const struct build_capture *own = &build->captures[build->replay.threads[site_thread(key)].process];
		const uint32_t id = site_stack(key);
		uint32_t node;

		if (id == CAPTURE_NODE_ROOT && !find_special(build, "<no stack>", &node))
			return false;
		if (id != CAPTURE_NODE_ROOT && !capture_find_node(own->capture, id)) {
			if (!build->growing)
				capture_note_damage(own->capture, own->capture->used_size, 0, "events whose stack %u no record names",
					id);
			if (!find_special(build, "<unknown stack>", &node))
				return false;
		}
	}
	return true;
}

static bool plant_root(struct build *build)
{
	uint32_t root;

	if (!build_frame(build, &(struct frame){ .function = "<all>", .file = "", .module = "", .kind = FRAME_SPECIAL },
		&root) || !map64_init(&build->nodes, 1024, build->error) || !find_child(build, UINT32_MAX, root, &root))
		return false;
	build->profile->nodes[0].parent = 0;
	return true;
}

bool build_tree(struct build *build)
{
	if (build->profile->node_count == 0 && !plant_root(build))
		return false;
	if (!build->options->need_stacks)
		return true;
	if (!mark_used(build) || !build_frames(build))
		return false;
	for (uint32_t i = 0; i < build->capture_count; i++) {
		struct build_capture *own = &build->captures[i];

		for (uint32_t id = 1; (id = capture_skip_nodes(own->capture, id)) < own->node_end; id++) {
			if (own->node_of[id] == BUILD_USED && !place_node(build, own, id))
				return false;
		}
	}
	return place_specials(build);
}
