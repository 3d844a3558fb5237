/* SPDX-License-Identifier: MIT */
/*
 * V8's .heapprofile: the tree of stacks with the bytes of each node, for the memory panel of Chrome's developer tools
 * ("Load profile"), VS Code's viewer and speedscope.
 *
 *     {"head":{"callFrame":{...},"selfSize":0,"id":1,"children":[...]},"samples":[]}
 *
 * Lines count from 0 there.  A node lies inside its parent, so the nesting is as deep as the stacks are: brackets are
 * written here, by a walk without recursion.
 */
#include <inttypes.h>
#include <string.h>

#include "export.h"
#include "json.h"

static void write_text(FILE *file, const char *key, const char *text)
{
	fprintf(file, "\"%s\":", key);
	json_write_text(file, text, strlen(text));
	putc(',', file);
}

/* All of a node but the end of its list of children. */
static void open_node(const struct export *export, uint32_t node)
{
	const uint32_t index = export->tree->nodes[node].frame;
	const struct export_frame *frame = &export->frames[index];
	const uint32_t line = export->profile->frames[index].line;

	fputs("{\"callFrame\":{", export->file);
	write_text(export->file, "functionName", node ? frame->function : "(root)");
	fputs("\"scriptId\":\"0\",", export->file);
	write_text(export->file, "url", *frame->file ? frame->file : frame->module);
	fprintf(export->file, "\"lineNumber\":%" PRId64 ",\"columnNumber\":-1},", line ? (int64_t)line - 1 : -1);
	fprintf(export->file, "\"selfSize\":%" PRIu64 ",\"id\":%" PRIu64 ",\"children\":[",
		metric_bytes(&export->tree->own[node], export->metric), node + (uint64_t)1);
}

/* Whether the node holds anything of the metric: what does not is left out with all below it. */
static bool is_shown(const struct export *export, uint32_t node)
{
	return metric_bytes(&export->tree->inclusive[node], export->metric) > 0;
}

static uint32_t next_shown(const struct export *export, uint32_t node)
{
	while (node && !is_shown(export, node))
		node = export->tree->nodes[node].next_sibling;
	return node;
}

static bool heapprofile_write(const struct export *export, struct error *error)
{
	const struct calltree_node *nodes = export->tree->nodes;
	uint32_t node = 0;

	fputs("{\"head\":", export->file);
	for (bool down = true;;) {
		uint32_t next;

		if (down) {
			open_node(export, node);
			next = next_shown(export, nodes[node].first_child);
			if (next) {
				node = next;
				continue;
			}
		}
		fputs("]}", export->file);
		if (node == 0)
			break;
		next = next_shown(export, nodes[node].next_sibling);
		down = next != 0;
		if (down)
			putc(',', export->file);
		node = down ? next : nodes[node].parent;
	}
	fputs(",\"samples\":[]}\n", export->file);
	return true;
}

const struct export_format export_heapprofile = {
	.name = "heapprofile",
	.ending = ".heapprofile",
	.summary = "Chrome's developer tools, VS Code, speedscope",
	.flags = EXPORT_ONE_METRIC,
	.write = heapprofile_write,
};
