/* SPDX-License-Identifier: MIT */
/*
 * The tree of stacks as text views show it: profile's tree without the frames that are hidden, with costs per node.
 *
 *     profile:  main > eval_frame > f (app.py:3) > PyList_New > PyObject_Malloc      hidden: INTERPRETER, ALLOCATOR
 *     calltree: main > f (app.py:3)                                                   what was hidden is f's own
 *
 * Hiding never loses a byte: the cost of a hidden frame is its nearest visible caller's own; a stack with nothing
 * visible keeps its innermost frame.  The frame by which a thread enters the interpreter (main, Py_BytesMain) is shown
 * too: what start-up allocates is its own, and not that of libc's frames around it.  Only counted domains are in the
 * tree, so the root's total is profile->total.
 */
#ifndef SCTMEM_READER_CALLTREE_H
#define SCTMEM_READER_CALLTREE_H

#include <stdbool.h>
#include <stdint.h>

#include "profile.h"

struct calltree_node {
	uint32_t parent;              /* smaller than the node's own index */
	uint32_t frame;               /* in profile->frames */
	uint32_t first_child, next_sibling;   /* 0: none */
};

struct calltree {
	const struct profile *profile;
	struct calltree_node *nodes;  /* 0 is the root */
	struct cost *own;             /* allocated in the node itself */
	struct cost *inclusive;       /* and below it */
	struct cost_spread *own_spreads, *inclusive_spreads;   /* how uncertain they are; NULL: all is exact */
	uint32_t *node_of;            /* profile node -> our node; UINT32_MAX: no stack ends there */
	uint32_t count;
};

enum { CALLTREE_HIDDEN_DEFAULT = FRAME_INTERPRETER | FRAME_ALLOCATOR };

/* hidden: enum frame_flag; frames with one of these flags are left out. */
void calltree_init(struct calltree *tree, const struct profile *profile, unsigned hidden);
void calltree_finish(struct calltree *tree);

/* The frame that a stack is named after in lists of places: where the user's own code asked for memory. */
const struct frame *calltree_location(const struct calltree *tree, uint32_t node);

#endif
