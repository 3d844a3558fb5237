/* SPDX-License-Identifier: MIT */
/*
 * Whether the kernel's coarse clock may have moved, without asking it.
 *
 * Each event bears the coarse clock's time, which moves a few hundred times a second.  The vDSO reads it from a page
 * that the kernel maps into every process and guards by a sequence number: odd while it writes, another even one after
 * it.  As long as that number is the one under which the clock was asked, the clock would say the same again.  So what
 * most events need is a load and a comparison instead of the forty instructions of a call.
 *
 * Where in the page the number lies is the kernel's own affair, and differs between versions.  So it is found by
 * watching: tick.c tells how.  Until then, and where it cannot be found, the word reads as odd, which says nothing.
 */
#ifndef SCTMEM_PRELOAD_TICK_H
#define SCTMEM_PRELOAD_TICK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What a thread has seen, in place of a number: nothing; or added to one: ask the clock once more all the same. */
#define TICK_NOTHING (((uint64_t)1 << 32) + 1)
#define TICK_DOUBT ((uint64_t)1 << 32)

/* Where the number is.  Stored with release when it was found; the kernel writes there. */
extern const _Atomic uint32_t *_Atomic tick_word;
/* Cleared when the watch is over. */
extern _Atomic bool tick_is_watched;

static inline uint32_t tick_now(void)
{
	return atomic_load_explicit(atomic_load_explicit(&tick_word, memory_order_relaxed), memory_order_acquire);
}

/*
 * What a thread has seen, now that it has asked the clock: `word` is from before that, and even.  `seen` is from the
 * last time, and is_same whether the clock still says what it did then.
 */
uint64_t tick_see(uint32_t word, uint64_t seen, bool is_same);

/* The clock has just moved, as a thread found: that is what is watched. */
void tick_watch(void);
static inline void tick_moved(void)
{
	if (__builtin_expect(atomic_load_explicit(&tick_is_watched, memory_order_relaxed), 0))
		tick_watch();
}

/* In a fork child: nobody is watching. */
void tick_reset(void);

#endif
