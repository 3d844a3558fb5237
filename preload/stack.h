/* SPDX-License-Identifier: MIT */
/* The stack of an event as one node: native and Python frames, merged the right way round. */
#ifndef SCTMEM_PRELOAD_STACK_H
#define SCTMEM_PRELOAD_STACK_H

#include "thread.h"

/* Walks the calling thread's stacks from `start` outward and interns them. */
uint32_t stack_capture(struct thread *thread, const struct native_start *start);

/* After a fork, or when the thread's state passes to another thread. */
void stack_forget(struct thread *thread);

/* Memory for the memos of a new state; false: none.  It is given back only if the state is never used. */
bool stack_init(struct thread *thread);
void stack_finish(struct thread *thread);

#endif
