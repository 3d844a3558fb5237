/* SPDX-License-Identifier: MIT */
/* The baton's slow side; the method is told in order.h. */
#include "order.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "stream.h"

#include "banned.h"

enum {
	LOOK_TAKES = 256,             /* after so many takes a thread looks how many events it had meanwhile */
	BUSY_EVENTS = 4,              /* fewer events than this for each take: the baton is being fought over */
};
#define COUNTER_BASE ((uint64_t)1 << 48)   /* above every stamp of the baton's time */

_Atomic uint64_t order_baton = 0xfffffe;      /* a stream number that nobody has */
static _Atomic uint64_t counter_start;

#if defined(__x86_64__)
static uint64_t counter(bool after_call)
{
	uint32_t low, high;

	/* lfence: the loads before it, those of the real call, have completed when the counter is read. */
	if (after_call)
		__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) :: "memory");
	else
		__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) :: "memory");
	return (uint64_t)high << 32 | low;
}

static bool counter_is_good(void)
{
	static _Atomic int known;     /* 0 not asked, 1 no, 2 yes */
	int answer = atomic_load_explicit(&known, memory_order_relaxed);

	if (!answer) {
		unsigned a, b, c, d = 0;
		bool invariant = __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1 << 8);

		atomic_store_explicit(&known, answer = invariant ? 2 : 1, memory_order_relaxed);
	}
	return answer == 2;
}
#else
static uint64_t counter(bool after_call)
{
	uint64_t value;

	if (after_call)
		__asm__ volatile("dsb ishld" ::: "memory");
	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value) :: "memory");
	return value;
}

static bool counter_is_good(void)
{
	return true;
}
#endif

static void put_stamp(struct thread *thread, uint64_t stamp)
{
	/* Two events of one thread never go backwards, whatever the counters of two processors say. */
	if (stamp < thread->stamp)
		stamp = thread->stamp;
	thread->stamp = stamp;
	stream_put(thread, stream_head(CAPTURE_STAMP, stamp));
}

/* Whether this thread and others take the baton from each other at nearly every event. */
static bool is_fought_over(struct thread *thread)
{
	if (++thread->takes < LOOK_TAKES)
		return false;
	bool busy = thread->events < LOOK_TAKES * BUSY_EVENTS;

	thread->takes = thread->events = 0;
	return busy && counter_is_good();
}

void order_take(struct thread *thread, bool after_call)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire);
	bool retire = (baton & ORDER_RETIRED) != ORDER_RETIRED && is_fought_over(thread);

	while ((baton & ORDER_RETIRED) != ORDER_RETIRED) {
		uint64_t stamp = (baton >> ORDER_STREAM_BITS) + 1;
		uint64_t taken = stamp << ORDER_STREAM_BITS | (retire ? ORDER_RETIRED : thread->stream);

		if (retire) {
			uint64_t none = 0;

			/* The first to write it wins; all use what is there. */
			atomic_compare_exchange_strong(&counter_start, &none, counter(false));
		}
		if (atomic_compare_exchange_weak_explicit(&order_baton, &baton, taken,
				memory_order_acq_rel, memory_order_acquire)) {
			if (retire)
				break;
			put_stamp(thread, stamp);
			return;
		}
	}
	put_stamp(thread, COUNTER_BASE + (counter(after_call) - atomic_load(&counter_start)));
}

uint64_t order_stamp_now(void)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire);

	if ((baton & ORDER_RETIRED) == ORDER_RETIRED)
		return COUNTER_BASE + (counter(true) - atomic_load(&counter_start));
	return baton >> ORDER_STREAM_BITS;
}

void order_reset(void)
{
	atomic_store(&order_baton, (uint64_t)0xfffffe);
	atomic_store(&counter_start, 0);
}
