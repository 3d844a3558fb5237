/* SPDX-License-Identifier: MIT */
/*
 * pstats: what Python's cProfile writes, for `python3 -m pstats`, snakeviz, gprof2dot -f pstats and their kin, with
 * bytes where they show seconds.  It is a marshalled dict:
 *
 *     {(file, line, function): (calls, calls, own bytes, total bytes, {caller: (calls, calls, own, total)})}
 *
 * "Calls" are blocks allocated in the function itself, so that the column "per call" is their mean size.
 *
 *     marshal   {..0 dict    ) small tuple    u text    i 32 bits    l 15 bits a digit      little-endian
 */
#include <string.h>

#include "callgraph.h"
#include "export.h"
#include "memory.h"

enum { LONG_DIGIT_BITS = 15 };

static void put_u32(FILE *file, uint32_t value)
{
	for (unsigned shift = 0; shift < 32; shift += 8)
		putc((int)(value >> shift & 0xff), file);
}

static void put_number(FILE *file, uint64_t value)
{
	uint32_t digits = 0;

	if (value <= INT32_MAX) {
		putc('i', file);
		put_u32(file, (uint32_t)value);
		return;
	}
	for (uint64_t rest = value; rest; rest >>= LONG_DIGIT_BITS)
		digits++;
	putc('l', file);
	put_u32(file, digits);
	for (; digits--; value >>= LONG_DIGIT_BITS) {
		putc((int)(value & 0xff), file);
		putc((int)(value >> 8 & 0x7f), file);
	}
}

static void put_text(FILE *file, const char *text)
{
	const size_t size = strlen(text);

	putc('u', file);
	put_u32(file, (uint32_t)size);
	fwrite(text, 1, size, file);
}

static void put_tuple(FILE *file, int size)
{
	putc(')', file);
	putc(size, file);
}

static void put_function(const struct export *export, const struct callgraph *graph, uint32_t function)
{
	const struct export_frame *frame = &export->frames[graph->functions.rows[function].frame];

	put_tuple(export->file, 3);
	/* "~" is cProfile's file of what has none; pstats strips folders from it alike. */
	put_text(export->file, *frame->file ? frame->file : *frame->module ? frame->module : "~");
	put_number(export->file, graph->lines[function]);
	put_text(export->file, frame->function);
}

static void put_costs(const struct export *export, const struct cost *own, const struct cost *total, int size)
{
	put_tuple(export->file, size);
	put_number(export->file, metric_count(own, export->metric));
	put_number(export->file, metric_count(own, export->metric));
	put_number(export->file, metric_bytes(own, export->metric));
	put_number(export->file, metric_bytes(total, export->metric));
}

/* Callers of each function: the graph's calls by callee, and calls of one function from several lines as one. */
struct callers {
	struct callgraph_call *calls; /* caller: a function */
	size_t count;
};

static int compare_callers(const void *a, const void *b)
{
	const struct callgraph_call *left = a, *right = b;

	if (left->callee != right->callee)
		return left->callee < right->callee ? -1 : 1;
	return left->caller < right->caller ? -1 : left->caller > right->caller;
}

static struct callers find_callers(const struct callgraph *graph)
{
	struct callers callers = { .calls = memory_new(graph->call_count, sizeof(*callers.calls)) };
	size_t count = graph->call_count;

	for (size_t i = 0; i < count; i++) {
		callers.calls[i] = graph->calls[i];
		callers.calls[i].caller = callgraph_caller(graph, &graph->calls[i]);
	}
	if (count > 1)
		qsort(callers.calls, count, sizeof(*callers.calls), compare_callers);
	for (size_t i = 0; i < count; i++) {
		struct callgraph_call *last = callers.count ? &callers.calls[callers.count - 1] : NULL;

		if (last && compare_callers(last, &callers.calls[i]) == 0) {
			cost_add(&last->own, &callers.calls[i].own);
			cost_add(&last->total, &callers.calls[i].total);
		} else {
			callers.calls[callers.count++] = callers.calls[i];
		}
	}
	return callers;
}

static bool pstats_write(const struct export *export, struct error *error)
{
	struct callgraph graph;
	struct callers callers;
	size_t next = 0;

	callgraph_init(&graph, export->tree);
	callers = find_callers(&graph);
	putc('{', export->file);
	for (uint32_t function = 0; function < graph.functions.count; function++) {
		const struct callgraph_cost cost = callgraph_cost(&graph, function);

		if (!callgraph_has(&graph, function))
			continue;
		put_function(export, &graph, function);
		put_costs(export, &cost.own, &cost.total, 5);
		putc('{', export->file);
		for (; next < callers.count && callers.calls[next].callee == function; next++) {
			put_function(export, &graph, callers.calls[next].caller);
			put_costs(export, &callers.calls[next].own, &callers.calls[next].total, 4);
		}
		putc('0', export->file);
	}
	putc('0', export->file);
	free(callers.calls);
	callgraph_finish(&graph);
	return true;
}

const struct export_format export_pstats = {
	.name = "pstats",
	.ending = ".pstats",
	.summary = "python3 -m pstats, snakeviz, gprof2dot; bytes where they say seconds",
	.flags = EXPORT_BINARY | EXPORT_ONE_METRIC,
	.write = pstats_write,
};
