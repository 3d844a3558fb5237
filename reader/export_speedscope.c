/* SPDX-License-Identifier: MIT */
/*
 * speedscope's own JSON: a list of frames, and one "sampled" profile for each metric in bytes and in blocks, so that
 * its menu switches between them.  A stack is a sample, outermost frame first; its weight is what was allocated
 * there.
 */
#include "export.h"
#include "json.h"

static void write_frames(struct json *json, const struct export *export)
{
	json_object(json, "shared");
	json_array(json, "frames");
	for (uint32_t i = 0; i < export->profile->frame_count; i++) {
		const struct export_frame *frame = &export->frames[i];

		json_object(json, NULL);
		json_text(json, "name", frame->function);
		if (*frame->file || *frame->module)
			json_text(json, "file", *frame->file ? frame->file : frame->module);
		if (export->profile->frames[i].line)
			json_number(json, "line", export->profile->frames[i].line);
		json_object_end(json);
	}
	json_array_end(json);
	json_object_end(json);
}

static uint64_t value_of(const struct cost *cost, enum metric metric, bool bytes)
{
	return bytes ? metric_bytes(cost, metric) : metric_count(cost, metric);
}

static void write_profile(struct json *json, const struct export *export, enum metric metric, bool bytes)
{
	const struct calltree *tree = export->tree;

	json_object(json, NULL);
	json_text(json, "type", "sampled");
	json_format(json, "name", "%s, %s", metric_title(metric, export->view), bytes ? "bytes" : "blocks");
	json_text(json, "unit", bytes ? "bytes" : "none");
	json_number(json, "startValue", 0);
	json_number(json, "endValue", value_of(&export->profile->total, metric, bytes));
	json_array(json, "samples");
	for (uint32_t node = 0; node < tree->count; node++) {
		if (!value_of(&tree->own[node], metric, bytes))
			continue;
		json_array(json, NULL);
		for (uint32_t i = export_stack(export, node); i-- > 0;)
			json_number(json, NULL, export->stack[i]);
		json_array_end(json);
	}
	json_array_end(json);
	json_array(json, "weights");
	for (uint32_t node = 0; node < tree->count; node++) {
		if (value_of(&tree->own[node], metric, bytes))
			json_number(json, NULL, value_of(&tree->own[node], metric, bytes));
	}
	json_array_end(json);
	json_object_end(json);
}

static bool speedscope_write(const struct export *export, struct error *error)
{
	static const enum metric metrics[] = { METRIC_PEAK, METRIC_LIVE, METRIC_TOTAL, METRIC_TEMPORARY };
	struct json json = json_begin(export->file, true);
	unsigned active = 0;

	json_object(&json, NULL);
	json_text(&json, "$schema", "https://www.speedscope.app/file-format-schema.json");
	json_text(&json, "exporter", "sctmem " SCTMEM_VERSION);
	json_text(&json, "name", *export->command ? export->command : export->program);
	for (unsigned i = 0; i < sizeof(metrics) / sizeof(*metrics); i++) {
		if (metrics[i] == (export->metric == METRIC_LEAKED ? METRIC_LIVE : export->metric))
			active = 2 * i;
	}
	json_number(&json, "activeProfileIndex", active);
	write_frames(&json, export);
	json_array(&json, "profiles");
	for (unsigned i = 0; i < sizeof(metrics) / sizeof(*metrics); i++) {
		write_profile(&json, export, metrics[i], true);
		write_profile(&json, export, metrics[i], false);
	}
	json_array_end(&json);
	json_object_end(&json);
	return true;
}

const struct export_format export_speedscope = {
	.name = "speedscope",
	.ending = ".speedscope.json",
	.summary = "speedscope.app, offline too; all metrics in its menu",
	.flags = EXPORT_FIRST_METRIC,
	.write = speedscope_write,
};
