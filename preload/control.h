/* SPDX-License-Identifier: MIT */
/*
 * Starting and stopping: by the program (api.c), or from outside through the capture's status.  control.c tells how.
 */
#ifndef SCTMEM_PRELOAD_CONTROL_H
#define SCTMEM_PRELOAD_CONTROL_H

#include "order.h"
#include "thread.h"

/*
 * Asked of the baton alone: were it of a state of its own, then while that changes one thread's allocation would be
 * recorded and not its end by another, whose gate is closed.
 */
static inline bool control_is_paused(void)
{
	return (atomic_load_explicit(&order_baton, memory_order_acquire) & ORDER_RETIRED) == ORDER_PAUSED;
}

/*
 * What a hook asks while nothing is recorded: whether it may pass on at once.  It lies in memory that the kernel zeroes
 * in a fork child, which has yet to see that it is one.
 */
struct control_quiet {
	const _Atomic uint64_t *_Atomic request;     /* in the status; NULL: not paused, or a fork child */
	_Atomic uint64_t seen;                       /* the request that has been seen to */
};

extern struct control_quiet *control_quiet;

static inline bool control_is_quiet(void)
{
	const _Atomic uint64_t *request = atomic_load_explicit(&control_quiet->request, memory_order_relaxed);

	return request && atomic_load_explicit(request, memory_order_relaxed) ==
		atomic_load_explicit(&control_quiet->seen, memory_order_relaxed);
}

/* For a new capture, before its first event.  `quiet`: zeroed, and again in a fork child. */
void control_begin(bool paused, struct control_quiet *quiet);

/* Whether something is asked from outside that nobody has taken up. */
bool control_is_asked(void);

/* While nothing is recorded, on a thread in no hook: does what is asked.  True when recording has begun. */
bool control_look(void);

/* The end of a hook of a thread that has failed, or found something asked. */
void control_leave(struct thread *thread);

/* For api.c.  1: done; 0: it was so before; -1: it cannot be. */
int control_change(bool on);
int control_mark(const char *name, size_t size, bool snapshot);

#endif
