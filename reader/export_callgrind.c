/* SPDX-License-Identifier: MIT */
/*
 * Callgrind's format: functions with what each of their lines allocated, and their calls, for KCachegrind,
 * QCachegrind and callgrind_annotate.  All metrics are events, so that the viewer switches between them; the one
 * asked for comes first.
 *
 *     fl=(1) app.py              (1) gives the name a number; later fl=(1) is enough
 *     fn=(2) load
 *     10 1000 5 ...              line, then what each event cost there
 *     cfi=(3) json.py
 *     cfn=(4) parse
 *     calls=7 20                 callgrind's count of calls; here: blocks allocated beneath, at least 1
 *     11 5000 7 ...              the calling line, then what the calls cost
 */
#include <inttypes.h>

#include "callgraph.h"
#include "export.h"
#include "memory.h"
#include "table.h"

enum { METRIC_COUNT = 4 };
enum name_kind { NAMES_MODULES, NAMES_FILES, NAMES_FUNCTIONS, NAMES_COUNT };

struct callgrind {
	const struct export *export;
	struct callgraph graph;
	enum metric order[METRIC_COUNT];
	struct strings names[NAMES_COUNT];   /* each kind has numbers of its own */
	struct error *error;
	bool failed;
};

/* "key=(7) name", or "key=(7)" once the name is known. */
static void write_name(struct callgrind *callgrind, const char *key, enum name_kind kind, const char *name)
{
	struct strings *names = &callgrind->names[kind];
	const uint32_t known = names->count;
	uint32_t id = 0;

	if (callgrind->failed || !strings_add(names, *name ? name : "???", &id, callgrind->error)) {
		callgrind->failed = true;
		return;
	}
	fprintf(callgrind->export->file, "%s=(%" PRIu32 ")", key, id);
	if (id >= known)
		fprintf(callgrind->export->file, " %s", *name ? name : "???");
	putc('\n', callgrind->export->file);
}

static void write_cost(const struct callgrind *callgrind, const struct cost *cost)
{
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		fprintf(callgrind->export->file, " %" PRIu64 " %" PRIu64, metric_bytes(cost, callgrind->order[i]),
			metric_count(cost, callgrind->order[i]));
	putc('\n', callgrind->export->file);
}

static void write_head(struct callgrind *callgrind)
{
	static const char *const names[] = { [METRIC_PEAK] = "Peak", [METRIC_LIVE] = "Live", [METRIC_TOTAL] = "Total",
		[METRIC_TEMPORARY] = "Temporary" };
	static const enum metric usual[] = { METRIC_PEAK, METRIC_LIVE, METRIC_TOTAL, METRIC_TEMPORARY };
	const struct export *export = callgrind->export;
	const struct profile_capture *first = export_first_capture(export);
	unsigned count = 0;

	callgrind->order[count++] = export->metric == METRIC_LEAKED ? METRIC_LIVE : export->metric;
	for (unsigned i = 0; i < METRIC_COUNT; i++) {
		if (usual[i] != callgrind->order[0])
			callgrind->order[count++] = usual[i];
	}
	fprintf(export->file, "# callgrind format\nversion: 1\ncreator: sctmem %s\npid: %" PRIu32 "\ncmd: %s\npart: 1\n",
		SCTMEM_VERSION, first ? first->pid : 0, export->command);
	for (const char *const *line = export->warnings; *line; line++)
		fprintf(export->file, "desc: %s\n", *line);
	fputs("positions: line\n", export->file);
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		fprintf(export->file, "event: %sBytes : bytes %s\nevent: %sBlocks : blocks %s\n", names[callgrind->order[i]],
			metric_title(callgrind->order[i], export->view), names[callgrind->order[i]],
			metric_title(callgrind->order[i], export->view));
	fputs("events:", export->file);
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		fprintf(export->file, " %sBytes %sBlocks", names[callgrind->order[i]], names[callgrind->order[i]]);
	fputs("\nsummary:", export->file);
	write_cost(callgrind, &export->profile->total);
	putc('\n', export->file);
}

static const struct export_frame *function_names(const struct callgrind *callgrind, uint32_t function)
{
	return &callgrind->export->frames[callgrind->graph.functions.rows[function].frame];
}

static void write_calls(struct callgrind *callgrind, size_t *next, uint32_t caller)
{
	const struct callgraph *graph = &callgrind->graph;
	const struct export *export = callgrind->export;

	for (; *next < graph->call_count && callgraph_caller(graph, &graph->calls[*next]) == caller; ++*next) {
		const struct callgraph_call *call = &graph->calls[*next];
		const struct export_frame *callee = function_names(callgrind, call->callee);
		const uint64_t count = call->total.total_count;

		write_name(callgrind, "cob", NAMES_MODULES, callee->module);
		write_name(callgrind, "cfi", NAMES_FILES, callee->file);
		write_name(callgrind, "cfn", NAMES_FUNCTIONS, callee->function);
		fprintf(export->file, "calls=%" PRIu64 " %" PRIu32 "\n%" PRIu32, count ? count : 1, graph->lines[call->callee],
			export->profile->frames[call->caller].line);
		write_cost(callgrind, &call->total);
	}
}

/* Frames sorted by their function: those of function f are sorted[starts[f]] to sorted[starts[f + 1] - 1]. */
static void sort_frames(const struct callgraph *graph, uint32_t frame_count, uint32_t *sorted, uint32_t *starts)
{
	uint32_t *next = memory_new(graph->functions.count, sizeof(*next));

	for (uint32_t i = 0; i < frame_count; i++)
		starts[graph->functions.key_of[i] + 1]++;
	for (size_t i = 0; i < graph->functions.count; i++) {
		starts[i + 1] += starts[i];
		next[i] = starts[i];
	}
	for (uint32_t i = 0; i < frame_count; i++)
		sorted[next[graph->functions.key_of[i]]++] = i;
	free(next);
}

static void write_function(struct callgrind *callgrind, uint32_t function, const uint32_t *frames, uint32_t frame_count,
	size_t *next)
{
	const struct export *export = callgrind->export;
	const struct export_frame *names = function_names(callgrind, function);

	write_name(callgrind, "ob", NAMES_MODULES, names->module);
	write_name(callgrind, "fl", NAMES_FILES, names->file);
	write_name(callgrind, "fn", NAMES_FUNCTIONS, names->function);
	for (uint32_t i = 0; i < frame_count; i++) {
		if (!export_has_cost(&callgrind->graph.frames[frames[i]]))
			continue;
		fprintf(export->file, "%" PRIu32, export->profile->frames[frames[i]].line);
		write_cost(callgrind, &callgrind->graph.frames[frames[i]]);
	}
	write_calls(callgrind, next, function);
	putc('\n', export->file);
}

static bool callgrind_write(const struct export *export, struct error *error)
{
	struct callgrind callgrind = { .export = export, .error = error };
	uint32_t *starts, *frames = memory_new(export->profile->frame_count, sizeof(*frames));
	size_t next = 0;

	callgraph_init(&callgrind.graph, export->tree);
	starts = memory_new(callgrind.graph.functions.count + 1, sizeof(*starts));
	sort_frames(&callgrind.graph, export->profile->frame_count, frames, starts);
	for (unsigned kind = 0; kind < NAMES_COUNT && !callgrind.failed; kind++)
		callgrind.failed = !strings_init(&callgrind.names[kind], error);
	write_head(&callgrind);
	for (uint32_t function = 0; function < callgrind.graph.functions.count && !callgrind.failed; function++) {
		if (callgraph_has(&callgrind.graph, function))
			write_function(&callgrind, function, frames + starts[function], starts[function + 1] - starts[function],
				&next);
	}
	free(frames);
	free(starts);
	for (unsigned kind = 0; kind < NAMES_COUNT; kind++)
		strings_finish(&callgrind.names[kind]);
	callgraph_finish(&callgrind.graph);
	return !callgrind.failed;
}

const struct export_format export_callgrind = {
	.name = "callgrind",
	.ending = ".callgrind",
	.summary = "KCachegrind, QCachegrind, callgrind_annotate; all metrics as events",
	.flags = EXPORT_FIRST_METRIC,
	.write = callgrind_write,
};
