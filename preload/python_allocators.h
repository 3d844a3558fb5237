/* SPDX-License-Identifier: MIT */
/*
 * The allocators of a Python runtime, wrapped in ours (PyMem_SetAllocator).  For python.c, which has found all that
 * takes and says when.
 */
#ifndef SCTMEM_PRELOAD_PYTHON_ALLOCATORS_H
#define SCTMEM_PRELOAD_PYTHON_ALLOCATORS_H

#include <stdbool.h>

/*
 * Puts ours on top of those that are there; `raw`: the raw domain's, too.  `careful`: ours may be in the chain already,
 * under a debugger's (tracemalloc's, say); finding out allocates, so not from inside an allocation.  Returns whether
 * anything changed.
 */
bool python_allocators_hook(bool raw, bool careful);
/* Takes them out where they are on top. */
void python_allocators_unhook(void);

/* Whether they were put there, in this or an earlier life of the runtime, and may be there still. */
bool python_allocators_hooked(void);
/* Whether any was called since this was asked last. */
bool python_allocators_used(void);
/* What the runtime called its allocator before ours were there; "" when it did not say. */
const char *python_allocators_name(void);

#endif
