/* SPDX-License-Identifier: MIT */
/*
 * The order of events among threads.
 *
 * A free must replay before the allocation that reuses the address, whoever makes it.  One word of the process, the
 * baton, holds the number of the stream that recorded last, and a stamp:
 *
 *     baton = stamp << 24 | stream
 *
 * A thread that finds itself in the baton records without a stamp: the event belongs to its last one.  Else it takes
 * the baton by compare-and-swap under the next stamp, and writes that into its stream.  Why that is exact: if event b
 * of thread B comes after event a of thread A because memory passed from A to B (A freed what B then got), then A had
 * looked at the baton before, and what A did there is visible to B.  So B finds a baton at least as new as A's, with
 * A or a later thread in it, and B's stamp is larger than A's.  Under Python's global lock, and in programs with one
 * busy thread, the baton is nearly always one's own, and the cost is one load.
 *
 * When threads take it from each other at nearly every event, the line would bounce between processors.  Then the
 * baton is retired for good (stream number ORDER_RETIRED, larger than all stamps before) and each event is stamped
 * with the processor's counter: before the real call for a free, after it for an allocation, and in both cases not
 * before the loads that came earlier have completed (for a free the load that brought the address here, for an
 * allocation those of the call).  Counters of one machine are synchronous to within less than it takes memory to pass
 * between processors; CPUs without that (no invariant TSC) keep the baton.
 *
 * Recording stops, when it must, through the baton too: it goes to ORDER_STOPPED, and who finds that records nothing
 * any more.  By the argument above no event that comes after a lost one is recorded: what is there is a past that was.
 * A pause is the same with ORDER_PAUSED, from which a later stamp leads out again.
 */
#ifndef SCTMEM_PRELOAD_ORDER_H
#define SCTMEM_PRELOAD_ORDER_H

#include "thread.h"

enum { ORDER_STREAM_BITS = 24 };
#define ORDER_RETIRED ((1u << ORDER_STREAM_BITS) - 1)
#define ORDER_NOBODY (ORDER_RETIRED - 1)
#define ORDER_STOPPED (ORDER_RETIRED - 2)
#define ORDER_PAUSED (ORDER_RETIRED - 3)      /* streams have smaller numbers */

extern _Atomic uint64_t order_baton;

/* Writes the stamp; room for two words has been made.  false: recording has been stopped. */
bool order_take(struct thread *thread);

/* Whether the thread holds the baton: then what it records next is ordered behind all that was recorded before. */
static inline bool order_is_own(const struct thread *thread)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire);

	return (baton & ORDER_RETIRED) == thread->stream;
}

/* Sees to it that events from here on are ordered after all that was recorded before.  false: record nothing. */
static inline bool order_event(struct thread *thread)
{
	return __builtin_expect(order_is_own(thread), 1) || order_take(thread);
}

/* Writes the stamp again, because the record of it may be gone; room has been made. */
void order_repeat(struct thread *thread);

/* Nobody records from here on. */
void order_stop(void);

/* Nobody records until order_resume.  Writes the stamp of the pause, for which there is room.  false: nobody did. */
bool order_pause(struct thread *thread);
/* As if recording had been paused from the first. */
void order_begin_paused(void);
/* Writes the stamp that comes after all that was recorded before the pause; room as above.  false: no pause. */
bool order_resume_stamp(struct thread *thread);
/* Lets everybody record again, after that stamp.  Called by one thread at a time. */
bool order_resume(struct thread *thread);
bool order_is_stopped(void);

uint64_t order_stamp_now(void);       /* for a fork child's header */
void order_reset(void);

#endif
