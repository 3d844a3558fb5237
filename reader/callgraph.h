/* SPDX-License-Identifier: MIT */
/*
 * The tree of stacks as a graph of functions, for formats that know callers and callees only.
 *
 *     tree:   main > f > f > g        graph:  <all> -> main -> f -> f, f -> g
 *
 * A function's total is counted once for a stack in which it appears several times (rank.h).  A call's total is
 * what was allocated beneath it where the callee was not running already, so the totals of all calls of a function
 * are the function's, also with recursion.  The root is a function too: it calls the outermost.
 */
#ifndef SCTMEM_READER_CALLGRAPH_H
#define SCTMEM_READER_CALLGRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "calltree.h"
#include "rank.h"

struct callgraph_call {
	uint32_t caller;              /* a frame of the profile: which function, at which line */
	uint32_t callee;              /* a function */
	struct cost own;              /* allocated in the callee itself when called from here */
	struct cost total;
};

struct callgraph {
	struct rank functions;        /* by function; its frame names it, its key_of says which a frame is in */
	uint32_t root;                /* the function that the tree's root is */
	struct cost root_own;         /* what has no stack, beside the row's own */
	uint32_t *lines;              /* by function: the first line that is known, 0 without any */
	struct cost *frames;          /* by frame: allocated right there */
	struct callgraph_call *calls; /* sorted by the caller's function, the caller's line and the callee */
	size_t call_count;
	bool *used;                   /* by function */
};

void callgraph_init(struct callgraph *graph, const struct calltree *tree);
void callgraph_finish(struct callgraph *graph);

/* The function that a call comes from. */
static inline uint32_t callgraph_caller(const struct callgraph *graph, const struct callgraph_call *call)
{
	return graph->functions.key_of[call->caller];
}

/* What a function allocated itself, and with all that it called. */
struct callgraph_cost { struct cost own, total; };
struct callgraph_cost callgraph_cost(const struct callgraph *graph, uint32_t function);
/* Whether any stack has the function: not those whose frames the tree hides. */
bool callgraph_has(const struct callgraph *graph, uint32_t function);

#endif
