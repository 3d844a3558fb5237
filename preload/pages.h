/* SPDX-License-Identifier: MIT */
/* Samples of which pages are resident; see pages.c. */
#ifndef SCTMEM_PRELOAD_PAGES_H
#define SCTMEM_PRELOAD_PAGES_H

#include "formats/pages.h"
#include "thread.h"

/*
 * Writes a sample into the thread's stream, behind an event that has begun.  The thread's gate is at OURS.  Returns
 * the processor time that it took, in nanoseconds; 0: another thread is at it, or forks.
 */
uint64_t pages_take(struct thread *thread, enum pages_reason reason);
/* Around a fork: no sample is being taken while it happens. */
void pages_before_fork(void);
void pages_forked_parent(void);
void pages_forked_child(void);
/* In a fork child, and before another capture of this process. */
void pages_reset(void);

#endif
