/* SPDX-License-Identifier: MIT */
/*
 * DHAT's JSON, version 2, for valgrind's dh_view.html and the Firefox Profiler: for each stack what it allocated in
 * all, its own maximum, what it held at the program's peak and at the end, and how long its blocks lived.
 *
 *     "ftbl":["[root]","0x0: load (app.py:10)",...]
 *     "pps":[{"tb":total bytes,"tbk":blocks,"tl":sum of lifetimes,"mb":its maximum,"mbk":blocks then,
 *             "gb":at the peak,"gbk":..., "eb":at the end,"ebk":..., "fs":[innermost,...]},...]
 *
 * Maxima and lifetimes are not in the profile: they are taken from the events.
 */
#include "export.h"
#include "export_events.h"
#include "json.h"
#include "memory.h"

/* What only the events know of a stack; times in microseconds. */
struct dhat_node {
	uint64_t live_bytes, live_count;
	uint64_t max_bytes, max_count;
	uint64_t ends_us, births_us;  /* sums; their difference is the sum of lifetimes */
	uint64_t left;                /* blocks that have not ended */
};

/* A block that lives for less is called short-lived by the viewer. */
enum { SHORT_LIVED_US = 500 };

static struct dhat_node *collect(const struct export *export, uint64_t duration_us, struct error *error)
{
	const struct profile *profile = export->profile;
	struct dhat_node *nodes = memory_new(export->tree->count, sizeof(*nodes));
	struct profile_event event;

	if (!export_events_begin(export->events, error)) {
		free(nodes);
		return NULL;
	}
	while (export_events_next(export->events, profile, &event)) {
		struct dhat_node *node = &nodes[export->tree->node_of[profile->observed[event.site].node]];

		node->live_bytes += event.bytes - event.bytes_before;
		node->live_count += (uint64_t)(int64_t)event.live;
		if (node->live_bytes > node->max_bytes || (node->live_bytes == node->max_bytes && node->max_count == 0)) {
			node->max_bytes = node->live_bytes;
			node->max_count = node->live_count;
		}
		if (event.kind == PROFILE_BORN) {
			node->births_us += event.time_ns / 1000;
			node->left++;
		} else if (event.kind == PROFILE_GONE) {
			node->ends_us += event.time_ns / 1000;
			node->left--;
		}
	}
	for (uint32_t i = 0; i < export->tree->count; i++)
		nodes[i].ends_us += nodes[i].left * duration_us;
	return nodes;
}

static void write_points(struct json *json, const struct export *export, const struct dhat_node *nodes)
{
	const struct calltree *tree = export->tree;

	json_array(json, "pps");
	for (uint32_t i = 0; i < tree->count; i++) {
		const struct cost *cost = &tree->own[i];
		/* The maximum is of the blocks that were recorded; of a sample the other figures stand for all of them. */
		const uint64_t held_bytes = cost->peak_bytes > cost->live_bytes ? cost->peak_bytes : cost->live_bytes;
		const uint64_t held_count = cost->peak_count > cost->live_count ? cost->peak_count : cost->live_count;
		const uint64_t max_bytes = nodes[i].max_bytes > held_bytes ? nodes[i].max_bytes : held_bytes;
		const uint64_t max_count = nodes[i].max_count > held_count ? nodes[i].max_count : held_count;
		const struct { const char *key; uint64_t value; } numbers[] = {
			{ "tb", cost->total_bytes }, { "tbk", cost->total_count }, { "tl", nodes[i].ends_us - nodes[i].births_us },
			{ "mb", max_bytes }, { "mbk", max_count }, { "gb", cost->peak_bytes },
			{ "gbk", cost->peak_count }, { "eb", cost->live_bytes }, { "ebk", cost->live_count },
		};

		if (!export_has_cost(cost))
			continue;
		json_object(json, NULL);
		for (size_t n = 0; n < sizeof(numbers) / sizeof(*numbers); n++)
			json_number(json, numbers[n].key, numbers[n].value);
		json_array(json, "fs");
		/* Frame 0 of the table is the root's, so a frame's place is its index in the profile plus one. */
		const uint32_t depth = export_stack(export, i);
		for (uint32_t n = 0; n < depth; n++)
			json_number(json, NULL, export->stack[n] + (uint64_t)1);
		json_array_end(json);
		json_object_end(json);
	}
	json_array_end(json);
}

static void write_frames(struct json *json, const struct export *export)
{
	json_array(json, "ftbl");
	json_text(json, NULL, "[root]");
	for (uint32_t i = 0; i < export->profile->frame_count; i++) {
		const struct export_frame *frame = &export->frames[i];
		const uint32_t line = export->profile->frames[i].line;

		if (*frame->file && line)
			json_format(json, NULL, "0x0: %s (%s:%u)", frame->function, frame->file, line);
		else if (*frame->file)
			json_format(json, NULL, "0x0: %s (%s)", frame->function, frame->file);
		else if (*frame->module)
			json_format(json, NULL, "0x0: %s (in %s)", frame->function, frame->module);
		else
			json_format(json, NULL, "0x0: %s (in unknown)", frame->function);
	}
	json_array_end(json);
}

static bool dhat_write(const struct export *export, struct error *error)
{
	const struct profile *profile = export->profile;
	const struct profile_capture *first = export_first_capture(export);
	const uint64_t duration_us = profile->duration_ns / 1000;
	struct json json = json_begin(export->file, true);
	struct dhat_node *nodes = collect(export, duration_us, error);

	if (!nodes)
		return false;
	json_object(&json, NULL);
	json_number(&json, "dhatFileVersion", 2);
	json_text(&json, "mode", "heap");
	json_text(&json, "verb", "Allocated");
	json_bool(&json, "bklt", true);
	json_bool(&json, "bkacc", false);
	json_text(&json, "tu", "\u00b5s");
	json_text(&json, "Mtu", "s");
	json_number(&json, "tuth", SHORT_LIVED_US);
	json_text(&json, "cmd", *export->command ? export->command : export->program);
	json_number(&json, "pid", first ? first->pid : 0);
	json_number(&json, "tg", profile->peak_time_ns / 1000);
	json_number(&json, "te", duration_us);
	write_points(&json, export, nodes);
	write_frames(&json, export);
	json_object_end(&json);
	free(nodes);
	return true;
}

const struct export_format export_dhat = {
	.name = "dhat",
	.ending = ".dhat.json",
	.summary = "valgrind's dh_view.html, Firefox Profiler: also maxima and lifetimes",
	.flags = EXPORT_EVENTS,
	.write = dhat_write,
};
