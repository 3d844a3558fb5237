/* SPDX-License-Identifier: MIT */
/*
 * Python stacks that a thread was seen in lately, proved to be the same again by four instructions a frame.
 *
 * A program that calls small functions allocates in one of them, returns, allocates, calls another: the stack of last
 * time (stack_python.h) then finds the inner frames changed each time.  Here the innermost frames of some hundred
 * stacks are kept, each with the node of the whole.  python_recent.c tells how they are found and proved.
 */
#ifndef SCTMEM_PRELOAD_PYTHON_RECENT_H
#define SCTMEM_PRELOAD_PYTHON_RECENT_H

#include <stddef.h>

#include "stack_python.h"

/* A stack that was found. */
struct python_found {
	uint32_t node;                /* what it was said to be; 0: it is not known */
	uintptr_t innermost_c_address;   /* as a walk would tell it (stack_python.h) */
};

enum { PYTHON_RECENT_ALIGN = 64 };    /* of a stack's `recent`: a cache line */

/* Bytes of it. */
size_t python_recent_size(void);

/* The calling thread's Python stack, where python_walk_again() says that it is not that of last time. */
struct python_found python_recent_find(struct python_stack *stack);

/* Has the stack that was just walked, whose frames were given their nodes, found from now on. */
void python_recent_put(struct python_stack *stack, uint32_t node);

#endif
