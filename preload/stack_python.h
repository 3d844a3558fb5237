/* SPDX-License-Identifier: MIT */
/*
 * The calling thread's Python frames, read from the interpreter's own structures: no API that allocates, no
 * reference counts, no GIL.
 *
 * A thread's stack hardly changes between two allocations, so a walk is a comparison with the thread's previous one.
 * Every level is compared, each time: frames are reused, so an inner frame that looks the same says nothing about
 * the frames outside it.
 */
#ifndef SCTMEM_PRELOAD_STACK_PYTHON_H
#define SCTMEM_PRELOAD_STACK_PYTHON_H

#include <stdbool.h>
#include <stdint.h>

#include "words.h"

enum python_frame_flag {
	PYTHON_FRAME_NO_LINE = 1 << 0,   /* the instruction could not be told: units is 0, the function's start */
};

/* One Python function at work. */
struct python_frame {
	const void *frame;
	const void *code;
	const void *instr;            /* as the frame has it: an address, or before 3.11 an offset */
	uint32_t code_id;
	uint32_t units;               /* offset of the instruction in its code, in code units */
	uint32_t node;                /* the caller's; 0 in frames[kept..count) */
	uintptr_t c_address;          /* of its activation of the interpreter loop, see below; 0 */
	uint32_t flags;               /* enum python_frame_flag, ORed */
};

/* Which activations of the interpreter loop are looked for: each more costs time in each walk, but from 3.12 on. */
enum python_activations {
	PYTHON_ACTIVATIONS_ALL,
	PYTHON_ACTIVATIONS_INNERMOST,    /* only innermost_c_address is told */
	PYTHON_ACTIVATIONS_NONE,         /* none need be told */
};

/*
 * A thread's stack, and the memory of its last walk.  All zeros is a stack that was never walked.  The caller may
 * give it frames and their capacity beforehand; else it takes config.depth of them.
 *
 * An activation of the interpreter loop is a C frame of _PyEval_EvalFrameDefault.  It runs one Python frame (3.8 to
 * 3.10) or several.  c_address, in the outermost Python frame of an activation, is an address inside that C frame;
 * it is 0 in the others, and always before 3.10.  Who does not need all of them may say so in `activations`.
 */
struct python_stack {
	struct python_frame *frames;  /* outermost first */
	uint32_t capacity;
	uint32_t count;
	uint32_t kept;                /* frames[0..kept) are what they were in the last walk that succeeded */
	bool truncated;               /* outer frames are missing: the stack is too deep */
	bool unknown;                 /* false was returned although there are Python frames: they could not be read */
	uint8_t activations;          /* enum python_activations; the caller's, set before the first walk */
	uintptr_t innermost_c_address;   /* of the innermost activation, even if it has no frame here; 0: not known */

	/* Private. */
	struct python_link *links;    /* the whole chain, outermost first, with what the interpreter hides */
	struct python_link *fresh;    /* frames not seen before, innermost first, while walking */
	uint32_t link_count;
	uint32_t link_capacity;       /* of links, and of fresh */
	uint32_t walks;
	const void *state;            /* before 3.12: the thread state with which this thread was last seen attached, */
	uintptr_t thread;             /* and the thread */
	uint64_t generation;          /* python_code_generation of the links */
	bool cut;                     /* links[0] is not the chain's end */
	bool matched;                 /* activations are matched with links in each walk */
	/* The same stack again: with this thread state, and these words, nothing has changed. */
	const void *again;            /* NULL: not to be told by words alone */
	struct word *words;           /* of the links, outermost first, then of what leads to the innermost one */
	const struct word *words_end;
	uint32_t words_links;         /* links whose words are right */
	bool innermost_only;          /* the innermost one is found without that */
};

/*
 * Walks the calling thread's Python frames.  false: there are none, or they cannot be read (see unknown); count is 0.
 * The caller gives each of frames[kept..count) its node before the next walk, or forgets the stack.
 */
bool python_walk(struct python_stack *stack);
/* The next walk keeps nothing. */
void python_forget(struct python_stack *stack);

#endif
