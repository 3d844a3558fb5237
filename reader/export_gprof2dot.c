/* SPDX-License-Identifier: MIT */
/*
 * gprof2dot's JSON (-f json), version 0: functions, and an event for each stack, innermost function first, with its
 * bytes.  gprof2dot draws the graph of callers and callees.
 */
#include "callgraph.h"
#include "export.h"
#include "json.h"

static void write_functions(struct json *json, const struct export *export, const struct callgraph *graph)
{
	json_array(json, "functions");
	for (size_t i = 0; i < graph->functions.count; i++) {
		const struct export_frame *frame = &export->frames[graph->functions.rows[i].frame];

		json_object(json, NULL);
		json_text(json, "name", frame->function);
		if (*frame->file || *frame->module)
			json_text(json, "module", *frame->file ? frame->file : frame->module);
		json_object_end(json);
	}
	json_array_end(json);
}

static bool gprof2dot_write(const struct export *export, struct error *error)
{
	const struct calltree *tree = export->tree;
	struct json json = json_begin(export->file, true);
	struct callgraph graph;

	callgraph_init(&graph, tree);
	json_object(&json, NULL);
	json_number(&json, "version", 0);
	json_array(&json, "costs");
	json_object(&json, NULL);
	json_text(&json, "description", metric_title(export->metric, export->view));
	json_text(&json, "unit", "bytes");
	json_object_end(&json);
	json_array_end(&json);
	write_functions(&json, export, &graph);
	json_array(&json, "events");
	for (uint32_t node = 0; node < tree->count; node++) {
		const uint64_t bytes = metric_bytes(&tree->own[node], export->metric);

		if (bytes == 0)
			continue;
		const uint32_t depth = export_stack(export, node);

		json_object(&json, NULL);
		json_array(&json, "callchain");
		for (uint32_t i = 0; i < depth; i++)
			json_number(&json, NULL, graph.functions.key_of[export->stack[i]]);
		json_array_end(&json);
		json_array(&json, "cost");
		json_number(&json, NULL, bytes);
		json_array_end(&json);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
	callgraph_finish(&graph);
	return true;
}

const struct export_format export_gprof2dot = {
	.name = "gprof2dot",
	.ending = ".gprof2dot.json",
	.summary = "gprof2dot -f json: a call graph",
	.flags = EXPORT_ONE_METRIC,
	.write = gprof2dot_write,
};
