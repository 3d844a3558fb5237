/* SPDX-License-Identifier: MIT */
/*
 * Native stacks that a thread has been seen in before, proved to be the same again by a few loads a frame.
 *
 * A program allocates from a handful of places in turn: the walk's own memo (stack_native.h), which is the walk
 * before this one, then finds the inner frames changed each time.  Here the walks of some hundred places are kept.
 * Who has interned a stack once can see in its frame that it has.
 */
#ifndef SCTMEM_PRELOAD_STACK_CHAINS_H
#define SCTMEM_PRELOAD_STACK_CHAINS_H

#include <stddef.h>

#include "stack_native.h"

enum { CHAINS_FRAMES = 2048 };

/* A frame of a stack, and with the frames outside of it the stack: stack_chains.c tells more. */
struct chain_frame {
	uintptr_t pc, sp;             /* as in struct native_frame */
	uintptr_t bp;                 /* if it matters, else 0 */
	union {
		/* The caller's, zero in new frames: what the frame was interned as (0: not yet), on top of what. */
		struct {
			uint32_t node, base;
		};
		uintptr_t cfa;        /* of a root */
	};
	uint16_t outer;               /* 0: a root, which is no part of the stack that it is the end of */
	uint16_t next;                /* in the bucket; 0: none */
	uint8_t slot;                 /* bp was saved at CFA - 8 * slot; 0: it was not */
	uint8_t flags;                /* enum chain_flag */
	uint8_t place;                /* the caller's, too */
};

/* One per thread, in its struct native_stack's company; zeroed but for `frames` at first. */
struct chains {
	struct chain_frame *frames;   /* chains_size() bytes of the caller's, which read as zero */
	uint32_t used;                /* frames in use; 0: none was ever */
	uint32_t generation;          /* of the rules */
	uint32_t tries, hits;         /* searches, and those that found a stack as it was; the caller's to reset */
	uint32_t rest;                /* the caller's: walks to come that are not to be searched for */
	uint64_t epoch;               /* how often all were forgotten: a frame is the same within one epoch */
};

size_t chains_size(void);

/*
 * The stack that a walk from start to stop_cfa (see native_walk()) would find, which then is neither guessed, nor
 * stopped, nor truncated.  NULL: it is not known; walk.
 */
struct chain_frame *chains_find(struct chains *chains, const struct native_start *start, uintptr_t stop_cfa);

/* The stack that was just walked, known from now on; NULL: not of a kind that is kept. */
struct chain_frame *chains_add(struct chains *chains, struct native_stack *stack);

/* A word that stands for a stack as a frame may: no frame has it, and it never means another stack. */
static inline uint64_t chains_word(const struct chains *chains, const struct chain_frame *frame)
{
	return (uint64_t)3 << 62 | chains->epoch << 16 | (uint64_t)(frame - chains->frames);
}

static inline struct chain_frame *chain_outer(const struct chains *chains, const struct chain_frame *frame)
{
	return &chains->frames[frame->outer];
}

void chains_forget(struct chains *chains);

#endif
