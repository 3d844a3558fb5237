/* SPDX-License-Identifier: MIT */
/*
 * Native stacks that a thread was seen in lately, proved to be the same again by four instructions a frame.
 *
 * A program allocates from a handful of places in turn: the walk's own memo (stack_native.h), which is the walk
 * before this one, then finds the inner frames changed each time.  Here the inner parts of some hundred walks are
 * kept, each with what its user interned it as.  stack_recent.c tells how they are found and proved.
 */
#ifndef SCTMEM_PRELOAD_STACK_RECENT_H
#define SCTMEM_PRELOAD_STACK_RECENT_H

#include <stddef.h>

#include "attempts.h"
#include "stack_native.h"

enum { RECENT_WORDS = 32 };           /* a multiple of four */

struct recent_stack {
	uint64_t key;
	struct native_again start;    /* its end: behind the words of the inner frames */
	uint32_t outer;               /* then the first so many words of the memo are to be compared, */
	uint32_t join;                /* if it still has that many frames, of which the last one */
	uint32_t serial;              /* has this number; join 0: no frame of the memo is needed */
	uint32_t node, base;          /* the user's: what the stack was interned as, on top of what */
	uint64_t identity;            /* never that of another stack */
	struct word words[RECENT_WORDS];
};

/* One per thread, in its struct native_stack's company; zeroed but for `memory` at first. */
struct recent {
	struct recent_memory *memory; /* recent_size() bytes of the caller's, which read as zero */
	uint64_t identities;          /* given out */
	struct attempts attempts;     /* the user's, who may keep count of what searching is worth */
};

size_t recent_size(void);

/*
 * The stack that a walk from start to stop_cfa (see native_walk()) would find, which then is neither guessed, nor
 * stopped, nor truncated.  NULL: it is not known; walk.
 */
struct recent_stack *recent_find(struct recent *recent, const struct native_stack *stack,
	const struct native_start *start, uintptr_t stop_cfa);

/* The stack that was just walked, known from now on, for its user to fill in.  NULL: not yet, or of no kind that is. */
struct recent_stack *recent_put(struct recent *recent, const struct native_stack *stack);

/* A word that stands for a stack as a frame may: no frame has it, and it never means another stack. */
static inline uint64_t recent_word(const struct recent_stack *found)
{
	return (uint64_t)3 << 62 | found->identity;
}

void recent_forget(struct recent *recent);

#endif
