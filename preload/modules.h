/* SPDX-License-Identifier: MIT */
/*
 * Which files lie where: MODULE records, and the generation of an address, which tells a library from another that
 * was loaded at the same place after it had gone.
 */
#ifndef SCTMEM_PRELOAD_MODULES_H
#define SCTMEM_PRELOAD_MODULES_H

#include "thread.h"

/* Not 0: something may have changed since the last modules_refresh. */
extern _Atomic int modules_stale;

/* Reads the process's mappings and records the modules that are new. */
void modules_refresh(struct thread *thread);

/* The same when a process begins to be recorded that was started with us: no library was opened yet. */
void modules_begin(struct thread *thread);

/* The program opens or has closed a library: finds what has gone, or has the mappings read by the next event. */
void modules_changed(void);
/* It closes one; whatever others map in its place meanwhile is to be noticed, too.  modules_changed() follows. */
void modules_closing(void);

/* Records also those in which no frame was met; where pages are looked at, theirs are told from others by that. */
void modules_list(struct thread *thread);

/* For a native frame that is new in the capture: makes sure that its module will be recorded. */
void modules_meet(uintptr_t address);

/* The range of the module that holds an address; false: not known (yet). */
bool modules_find(uintptr_t address, uintptr_t *start, uintptr_t *end);

/* How often a module was unloaded from around this address: 0 nearly always. */
uint32_t modules_generation_slow(uintptr_t address);
extern _Atomic int modules_recycled;

static inline uint32_t modules_generation(uintptr_t address)
{
	if (__builtin_expect(atomic_load_explicit(&modules_recycled, memory_order_acquire) == 0, 1))
		return 0;
	return modules_generation_slow(address);
}

/* In a fork child: all modules are to be recorded again. */
void modules_reset(void);

#endif
