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

_Atomic uint64_t order_baton = ORDER_NOBODY;
static _Atomic uint64_t counter_start;

#if defined(__x86_64__)
static uint64_t counter(void)
{
	uint32_t low, high;

	/* lfence: the loads before it have completed when the counter is read. */
	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) :: "memory");
	return (uint64_t)high << 32 | low;
}

/*
 * Loads the word after the counter was read: its address is made to depend on what was read, which a processor must
 * have before it can load.  A second lfence would say the same, and wait for all that is under way.
 */
static inline uint64_t load_after(uint64_t read, const _Atomic uint64_t *word)
{
	__asm__ volatile("and $0, %0" : "+r"(read) :: "cc", "memory");
	return atomic_load_explicit((const _Atomic uint64_t *)((uintptr_t)word + read), memory_order_acquire);
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
static uint64_t counter(void)
{
	uint64_t value;

	__asm__ volatile("dsb ishld" ::: "memory");
	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value) :: "memory");
	return value;
}

/* Loads the word after the counter was read. */
static inline uint64_t load_after(uint64_t read, const _Atomic uint64_t *word)
{
	(void)read;
	__asm__ volatile("isb" ::: "memory");
	return atomic_load_explicit(word, memory_order_acquire);
}

static bool counter_is_good(void)
{
	return true;
}
#endif

static uint64_t counter_stamp(void)
{
	return COUNTER_BASE + (counter() - atomic_load_explicit(&counter_start, memory_order_relaxed));
}

static void put_stamp(struct thread *thread, uint64_t stamp)
{
	/* Two events of one thread never go backwards, whatever the counters of two processors say. */
	if (stamp < thread->stamp)
		stamp = thread->stamp;
	thread->stamp = stamp;
	stream_put(thread, stream_head(CAPTURE_STAMP, stamp));
}

/* Whether this thread and others take the baton from each other at nearly every event, or its stamps run out. */
static bool is_worn(struct thread *thread, uint64_t baton)
{
	bool late = baton >> 63;

	if (++thread->takes < LOOK_TAKES && !late)
		return false;
	bool busy = late || thread->events < LOOK_TAKES * BUSY_EVENTS;

	thread->takes = thread->events = 0;
	return busy && counter_is_good();
}

bool order_take(struct thread *thread)
{
	/* The half of a call whose other half could not be recorded: between the two a pause has ended. */
	if (__builtin_expect(thread->failed, 0))
		return false;
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire);
	bool retire = (baton & ORDER_RETIRED) != ORDER_RETIRED && is_worn(thread, baton);

	for (;;) {
		if ((baton & ORDER_RETIRED) == ORDER_RETIRED) {
			uint64_t stamp = counter_stamp(), before = baton;

			/*
			 * A pause that came in between would have an earlier stamp than this event, which would then stand behind it.
			 * Who pauses reads the counter when the baton is gone; who finds it still there has an earlier stamp.
			 */
			baton = load_after(stamp, &order_baton);
			if (__builtin_expect(baton != before, 0))
				continue;
			put_stamp(thread, stamp);
			return true;
		}
		if ((baton & ORDER_RETIRED) == ORDER_STOPPED || (baton & ORDER_RETIRED) == ORDER_PAUSED)
			return false;
		uint64_t stamp = (baton >> ORDER_STREAM_BITS) + 1;
		uint64_t taken = stamp << ORDER_STREAM_BITS | (retire ? ORDER_RETIRED : thread->stream);

		if (retire) {
			uint64_t none = 0;

			/* The first to write it wins; all use what is there. */
			atomic_compare_exchange_strong(&counter_start, &none, counter());
		}
		if (atomic_compare_exchange_weak_explicit(&order_baton, &baton, taken,
				memory_order_acq_rel, memory_order_acquire)) {
			if (retire) {
				baton = taken;
				continue;
			}
			put_stamp(thread, stamp);
			return true;
		}
	}
}

void order_repeat(struct thread *thread)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire);

	/* It may have been taken and not yet written down. */
	put_stamp(thread, (baton & ORDER_RETIRED) == thread->stream ? baton >> ORDER_STREAM_BITS : thread->stamp);
}

void order_stop(void)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire);

	while (!atomic_compare_exchange_weak_explicit(&order_baton, &baton, (baton | ORDER_RETIRED) ^ (ORDER_RETIRED
			^ ORDER_STOPPED), memory_order_acq_rel, memory_order_acquire))
		;
}

bool order_is_stopped(void)
{
	return (atomic_load_explicit(&order_baton, memory_order_acquire) & ORDER_RETIRED) == ORDER_STOPPED;
}

void order_begin_paused(void)
{
	atomic_store(&order_baton, (uint64_t)ORDER_PAUSED);
}

bool order_pause(struct thread *thread)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire), stamp;

	do {
		if ((baton & ORDER_RETIRED) == ORDER_STOPPED || (baton & ORDER_RETIRED) == ORDER_PAUSED)
			return false;
		stamp = (baton >> ORDER_STREAM_BITS) + 1;
	} while (!atomic_compare_exchange_weak_explicit(&order_baton, &baton, stamp << ORDER_STREAM_BITS | ORDER_PAUSED,
			memory_order_acq_rel, memory_order_acquire));
	put_stamp(thread, atomic_load(&counter_start) ? counter_stamp() : stamp);
	return true;
}

bool order_resume_stamp(struct thread *thread)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire);

	if ((baton & ORDER_RETIRED) != ORDER_PAUSED)
		return false;
	put_stamp(thread, atomic_load(&counter_start) ? counter_stamp() : (baton >> ORDER_STREAM_BITS) + 1);
	return true;
}

/* The stamp was stored before: with the counter, whoever sees the new baton reads a later one. */
bool order_resume(struct thread *thread)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire), stamp;

	do {
		if ((baton & ORDER_RETIRED) != ORDER_PAUSED)
			return false;
		stamp = (baton >> ORDER_STREAM_BITS) + 1;
	} while (!atomic_compare_exchange_weak_explicit(&order_baton, &baton, stamp << ORDER_STREAM_BITS
			| (atomic_load(&counter_start) ? ORDER_RETIRED : thread->stream),
			memory_order_acq_rel, memory_order_acquire));
	return true;
}

uint64_t order_stamp_now(void)
{
	uint64_t baton = atomic_load_explicit(&order_baton, memory_order_acquire);

	if ((baton & ORDER_RETIRED) == ORDER_RETIRED ||
		((baton & ORDER_RETIRED) == ORDER_PAUSED && atomic_load(&counter_start)))
		return counter_stamp();
	return baton >> ORDER_STREAM_BITS;
}

void order_reset(void)
{
	atomic_store(&order_baton, (uint64_t)ORDER_NOBODY);
	atomic_store(&counter_start, 0);
}
