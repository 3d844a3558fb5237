/* SPDX-License-Identifier: MIT */
/*
 * Native stacks: the return addresses above a hook, outermost first, at the price of what changed since the
 * previous walk of the same thread.  stack_native.c tells how.
 *
 * One struct native_stack belongs to one thread, which alone uses it, and never from a signal handler that came
 * inside native_walk() (the hooks' guard sees to it).  Nothing here allocates, locks, or touches errno.
 */
#ifndef SCTMEM_PRELOAD_STACK_NATIVE_H
#define SCTMEM_PRELOAD_STACK_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "unwind.h"
#include "words.h"

/*
 * The function that called the hook, as it will be when the hook has returned: pc is a return address.  In a hook
 * compiled with a frame pointer:
 *
 *     .pc = __builtin_return_address(0), .sp = __builtin_frame_address(0) + 16, .bp = *__builtin_frame_address(0)
 */
struct native_start {
	uintptr_t pc, sp, bp;
};

enum native_frame_flag {
	NATIVE_GUESSED = 1 << 0,      /* found by the frame pointer of a frame without rules: generated code */
	NATIVE_SIGNAL = 1 << 1,       /* a signal trampoline; the frame outside it was interrupted */
	/* The memo's own: see stack_native.c. */
	NATIVE_IRREGULAR = 1 << 2,
	NATIVE_BP_USED = 1 << 3,
	NATIVE_BP_LIVE = 1 << 4,
	NATIVE_BP_CHECKED = 1 << 5,
	NATIVE_GUESSED_OUTSIDE = 1 << 6,
	NATIVE_EXACT = 1 << 7,
	NATIVE_IRREGULAR_OUTSIDE = 1 << 8,
	/* And UNWIND_SLOT_MASK: where bp was loaded from, as in the codes of rules. */
};

struct native_frame {
	uintptr_t pc;                 /* to look up: the return address less 1, or exact if interrupted by a signal */
	uintptr_t sp, bp;             /* when the walk came to this frame; bp is stale where no outer step uses it */
	uintptr_t cfa;                /* the frame occupies [sp, cfa) */
	uint32_t node, hash;          /* the caller's; node is 0 in frames that are new in this walk */
	uint32_t checks;              /* of the memo's words those that prove this frame and all outside of it */
	uint32_t flags;               /* enum native_frame_flag */
	uint64_t serial;              /* as long as it stays, so do this frame and all outside of it */
	uint64_t reserved;            /* a frame is a line of the processor's caches */
};

/* Bytes of memory for a memo of so many frames. */
#define NATIVE_MEMORY(capacity) \
	(((size_t)(capacity) + 1) * sizeof(struct native_frame) + \
	(2 * (size_t)(capacity) + WORDS_PADDING + 2) * sizeof(struct word))

enum { NATIVE_RANGES = 4 };

/* Memory that a stack lies in, [low, high). */
struct native_range {
	uintptr_t low, high;
};

enum native_end {
	NATIVE_END_BOTTOM = 0,        /* the rule of the outermost frame says that it has no caller */
	NATIVE_END_WORDS = 1,         /* a stack word says so, or no rule was to be had */
	NATIVE_END_BEYOND = 2,        /* there is an outer frame, but the walk was to end before it */
};

/* A start that needs no walk, if the memo's words are what they were.  All zeros: there is none. */
struct native_again {
	uintptr_t pc, sp, bp, bp_mask;     /* bp_mask 0: any bp */
	uintptr_t stop_low, stop_size;     /* the stop_cfa with which the walk would end in the same place */
	const struct word *end;    /* behind the words that prove it */
	uint32_t generation;
};

/* One per thread; native_init() makes it. */
struct native_stack {
	struct native_frame *frames;  /* outermost first; before it lies one that is above all stacks */
	struct word *checks;  /* of regular frames: the words that prove them, outermost first */
	struct native_again again;
	uint32_t capacity;
	uint32_t count;               /* frames of the newest walk */
	uint32_t kept;                /* frames[0..kept) are those of the previous walk: their nodes are still right */
	/*
	 * Of the newest walk.  truncated: the stack is deeper than can be told; there are at least capacity / 2 frames,
	 * the innermost ones, and the cut stays where it is while the walks that follow allow it, so that recursion
	 * does not make all frames new each time.  stopped: it ends at a frame without rules.  guessed: some frame is.
	 */
	bool truncated, stopped, guessed;
	bool irregular;               /* some frame was not reached by a regular step */
	uintptr_t stack_low, stack_high;   /* the range of the newest walk's innermost frame */

	/* The memo's own. */
	struct native_frame beyond;   /* NATIVE_END_BEYOND: the frame that the walk ended before */
	struct native_range ranges[NATIVE_RANGES];
	uintptr_t stop_cfa;
	uint64_t serial;              /* given to frames last */
	uint32_t range_next;          /* to be replaced */
	uint32_t generation;          /* of the rules */
	uint32_t end;                 /* enum native_end */
};

/*
 * Walks from start outward.  stop_cfa: 0 to go to the bottom; else the walk ends before the first frame whose CFA
 * is above it (only frames on the stack that holds stop_cfa are compared, so that a handler on an alternate stack
 * is walked through).  Kept frames are the same frames of the same walk: a caller that hangs the outermost frame
 * under something else (a Python frame) must see for itself whether that changed.
 */
void native_walk(struct native_stack *stack, const struct native_start *start, uintptr_t stop_cfa);

static inline bool native_fits(const struct native_again *again, const struct native_start *start, uintptr_t stop_cfa)
{
	return start->sp == again->sp && start->pc == again->pc && ((start->bp ^ again->bp) & again->bp_mask) == 0 &&
		stop_cfa - again->stop_low < again->stop_size && again->generation == unwind_generation();
}

/* A place in code, and where its frame ends: so much above sp, or (size 0) 16 bytes above bp. */
struct native_place {
	uintptr_t pc;
	uint32_t size;
	uint32_t generation;          /* of the rules, and so never 0 */
};

static inline uintptr_t native_place_cfa(const struct native_place *place, uintptr_t sp, uintptr_t bp)
{
	return place->size ? sp + place->size : bp + 16;
}

/* false, and nothing is learnt: the place's rule says something else, or there is none. */
bool native_place_learn(struct native_place *place, const struct native_start *start);

/* Whether the frame of `start`, of a place that was learnt, is the one that a walk to stop_cfa ends before. */
static inline bool native_place_stops(const struct native_place *place, const struct native_start *start,
	uintptr_t stop_cfa)
{
	return place->pc == start->pc && place->generation == unwind_generation() && stop_cfa >= start->sp &&
		stop_cfa < native_place_cfa(place, start->sp, start->bp);
}

/* An empty stack.  `memory`: NATIVE_MEMORY(capacity) bytes; capacity: at least 16. */
void native_init(struct native_stack *stack, void *memory, uint32_t capacity);
/* Nothing is known about previous walks any more. */
void native_forget(struct native_stack *stack);
/* Upper bound of the stack that sp lies in; 0 when it is not in memory.  System calls: ask once per thread. */
uintptr_t native_stack_high(uintptr_t sp);

#endif
