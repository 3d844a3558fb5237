/* SPDX-License-Identifier: MIT */
/*
 * Stacks as numbers: a stack is a node (parent, frame) of a trie, the same node whenever the same frames come again.
 * A new node is written to the capture before anybody can see its number.
 */
#ifndef SCTMEM_PRELOAD_INTERN_H
#define SCTMEM_PRELOAD_INTERN_H

#include "thread.h"

/* The node of `frame` under `parent`; the node that stands for "table full" when no memory is left for a new one. */
uint32_t intern_node(struct thread *thread, uint32_t parent, uint64_t frame);

/* One of several frames to intern, each on top of the one before. */
struct intern_frame {
	uint64_t frame;
	uint32_t node, hash;          /* are filled in; the hash is that of the node's whole stack */
};

/*
 * The same of several frames at once, whose places in memory, which are seldom in the processor's caches when a
 * program has many stacks, are then waited for together.  parent_hash: that of the parent.
 */
void intern_frames(struct thread *thread, uint32_t parent, uint32_t parent_hash, struct intern_frame *frames,
	uint32_t count);

/* The hash of a node's stack. */
uint32_t intern_hash(uint32_t node);

/*
 * What a word that is no frame stands for on top of `parent`, as the thread last said by intern_remember(); 0: it did
 * not, or not lately.  Such words have the fourth frame kind, which captures do not know.
 */
uint32_t intern_recall(const struct thread *thread, uint32_t parent, uint64_t word);
void intern_remember(struct thread *thread, uint32_t parent, uint64_t word, uint32_t node);

/* The first number that is not taken; and what a node is.  false: the number is taken, and nothing is there yet. */
uint32_t intern_end(void);
bool intern_at(uint32_t id, uint64_t *frame, uint32_t *parent);

/* In a fork child: forget all nodes; they are the parent capture's. */
void intern_reset(void);

/* The same before another capture of this process, when nobody looks any more: gives the memory back. */
void intern_release(void);

#endif
