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

#include "python.h"
#include "python_code.h"

enum python_frame_flag {
	PYTHON_FRAME_NO_LINE = 1 << 0,   /* the instruction could not be told: units is 0, the function's start */
};

/* One Python function at work. */
struct python_frame {
	const void *frame;
	const void *code;
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

/* A frame of the chain, as it was in the last walk. */
struct python_link {
	const char *frame;
	uintptr_t code;               /* as the frame has it, tag bits and all */
	uintptr_t instruction;
	uintptr_t c_address;          /* of its activation; 0 */
	const struct python_code *entry;   /* NULL: hidden */
	uint32_t id;                  /* of entry when it was looked up */
	uint32_t first;               /* index of the outermost link of its activation */
	uint32_t visible;             /* links up to and including this one that have a frame */
	bool resolved;                /* entry, id, owner are those of code */
	uint8_t owner;
};

/* What proves a frame and that which it leads to: its instruction, and the address of the one outside of it. */
struct python_proof {
	const char *frame;
	uintptr_t instruction;
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
	/* The same stack again: with this thread state, and all proofs right, nothing has changed. */
	const void *again;            /* NULL: not to be told by them alone */
	struct python_proof *proofs;  /* of the links, outermost first; before them one of no frame, the chain's end */
	uintptr_t *codes;             /* of the links, where threads run copies of code; else NULL */
	uint32_t proof_count;         /* that are right */
	uintptr_t cframe;             /* the last CFrame, where the thread state has them */
	bool innermost_only;          /* the innermost one is found without that */
	struct python_recent *recent;    /* python_recent.h; NULL: no stacks are kept.  The caller's, as `activations` */
	uint64_t epoch;               /* raised when nothing that was remembered of stacks holds any more */
};

/* Of a PyThreadState of 3.10, with room to spare: it has 0x160 bytes. */
enum { PYTHON_STATE_SIZE_MAX = 1024 };

/*
 * The last CFrame is part of the thread state, and of no activation; what it has for previous one was never written.
 * The distance bounds it: a thread state is smaller.
 */
static inline bool python_is_root_cframe(const void *state, uintptr_t cframe)
{
	return cframe - (uintptr_t)state < PYTHON_STATE_SIZE_MAX;
}

/* The innermost activation, when there was no need to match all of them with frames: that of the last CFrame. */
static inline uintptr_t python_innermost_cframe(const void *state)
{
	uintptr_t cframe = python_load(state, python_layout.state_cframe);

	return python_is_root_cframe(state, cframe) ? 0 : cframe;
}

static inline const char *python_innermost_frame(const void *state)
{
	if (python_layout.state_frame)
		return (const char *)python_load(state, python_layout.state_frame);

	const void *cframe = (const void *)python_load(state, python_layout.state_cframe);

	return (const char *)python_load(cframe, python_layout.cframe_frame);
}

static inline bool python_proves(const struct python_proof *proof, size_t previous, size_t instruction)
{
	return __builtin_expect(python_load(proof->frame, previous) == (uintptr_t)proof[-1].frame &&
		python_load(proof->frame, instruction) == proof->instruction, 1);
}

/*
 * Whether the frames that begin with that of proof count - 1 are those of the proofs: from the inside out, so that
 * a frame is looked at only when it is known to be one.  The address comes from the proof, not from the frame inside:
 * the processor can load all levels at once instead of one after the other.
 */
static inline bool python_proved(const struct python_stack *stack, uint32_t count)
{
	const size_t previous = python_layout.frame_previous, instruction = python_layout.frame_instruction;
	const struct python_proof *first = stack->proofs, *proof = first + count - 1;

	for (; proof > first; proof -= 2)
		if (!python_proves(proof, previous, instruction) || !python_proves(proof - 1, previous, instruction))
			return false;
	return proof < first || python_proves(proof, previous, instruction);
}

/* Whether the codes are those of the links, whose frames are proved. */
bool python_same_codes(const struct python_stack *stack);

/* Whether the state's innermost frame is that of the last proof, in the same activation. */
static inline bool python_top_proved(const struct python_stack *stack, const void *state)
{
	const uintptr_t top = (uintptr_t)stack->proofs[stack->proof_count - 1].frame;

	return python_layout.state_frame ? python_load(state, python_layout.state_frame) == top
		: python_load(state, python_layout.state_cframe) == stack->cframe &&
		python_load((const void *)stack->cframe, python_layout.cframe_frame) == top;
}

/* Whether the attached state `current` (before 3.12: perhaps another thread's) is the one that proofs hold for. */
static inline __attribute__((always_inline)) bool python_knows_state(const struct python_stack *stack,
	const void *current)
{
	return __builtin_expect(current == stack->again && current &&
		atomic_load_explicit(&python_code_generation, memory_order_acquire) == stack->generation &&
		(python_layout.minor >= 12 || python_load(current, python_layout.state_thread) == stack->thread), 1);
}

/* And whether the thread is in the frame of last time. */
static inline __attribute__((always_inline)) bool python_is_there(const struct python_stack *stack, const void *current)
{
	return python_knows_state(stack, current) && __builtin_expect(python_top_proved(stack, current), 1);
}

enum { PYTHON_LOOK_INTERVAL = 1024 };     /* walks, after which it is looked whether the hooks are still in place */

/* The walk, where it may find something new. */
bool python_walk_anew(struct python_stack *stack);

/*
 * Whether the calling thread's Python frames are those of the last walk that succeeded: the most frequent walk, without
 * more calls than it takes.
 */
static inline __attribute__((always_inline)) bool python_walk_again(struct python_stack *stack)
{
	if (__builtin_expect(atomic_load_explicit(&python_state, memory_order_acquire) != PYTHON_READY, 0) ||
			__builtin_expect(++stack->walks % PYTHON_LOOK_INTERVAL == 0, 0) ||
			!python_is_there(stack, python_api.current_state()) ||
			!python_proved(stack, stack->proof_count) || (stack->codes && !python_same_codes(stack)))
		return false;
	stack->kept = stack->count;
	return true;
}

/*
 * Walks the calling thread's Python frames.  false: there are none, or they cannot be read (see unknown); count is 0.
 * The caller gives each of frames[kept..count) its node before the next walk, or forgets the stack.
 */
static inline bool python_walk(struct python_stack *stack)
{
	return python_walk_again(stack) || python_walk_anew(stack);
}

/* The next walk keeps nothing. */
void python_forget(struct python_stack *stack);

#endif
