/* SPDX-License-Identifier: MIT */
/*
 * Finding the word by which the kernel's page of times tells that it was changed.
 *
 *     [vvar]    ... | seq | ... nanoseconds ... | seq | ... seconds ...      seq: one for each kind of clock
 *
 * When the clock has moved, the first words of the page are compared with what they were when it had moved before.  A
 * sequence number has become a larger even number by two for each update in between; nothing else there does that each
 * time.  A word that has done so OBSERVATIONS times is taken.  Words that change oftener than the clock moves would do,
 * too, and only cost a question more.  One that changes less often would make time stand still, so it is looked at
 * again with each window of events, and given up for good when the clock moved without it.
 *
 * In a time name space the page is another one, whose number is odd and stays so; under valgrind and gVisor there is
 * none.  No page is read but the one that the vDSO reads itself each time that the clock is asked.
 */
#include "tick.h"

#include <stddef.h>
#include <time.h>

#include "mappings.h"
#include "sys.h"

#include "banned.h"

enum {
	WORDS = 256,                  /* of the page, from its start on: that of Linux 4.0 to 6.18 has it in the first 64 */
	MOVES_BEFORE = 8,             /* of the clock: programs that end sooner are spared all this */
	OBSERVATIONS = 12,
	UPDATES_MORE = 8,             /* than one a millisecond: when the clock is set, say */
	NS_PER_UPDATE = 1000000,
	EXCLUDED = 1,                 /* odd: no sequence number was seen as one */
};

static const _Atomic uint32_t unknown = EXCLUDED;
const _Atomic uint32_t *_Atomic tick_word = &unknown;

#if defined(__x86_64__)
_Atomic bool tick_is_watched = true;
#else
_Atomic bool tick_is_watched = false;   /* not tried */
#endif

/* Of the thread that has set `taken`. */
static _Atomic bool taken;
static unsigned moves, observations;
static const _Atomic uint32_t *page;
static uint32_t words[WORDS];     /* as they were seen last; EXCLUDED: it is not this one */
static uint64_t seen_ns;          /* at what time */

static void end_watch(void)
{
	atomic_store_explicit(&tick_is_watched, false, memory_order_relaxed);
}

/* The page; NULL: there is none, or it cannot be asked for. */
static const _Atomic uint32_t *find_page(void)
{
	uintptr_t start;

	if (sys_clock == clock_gettime || sys_is_filtered() || !mappings_find("[vvar]", (uintptr_t)sys_clock, &start))
		return NULL;
	return (const _Atomic uint32_t *)start;
}

static bool is_next(uint32_t word, uint32_t before, uint64_t elapsed_ns)
{
	return word % 2 == 0 && before % 2 == 0 && word != before &&
		word - before <= 2 * (elapsed_ns / NS_PER_UPDATE + UPDATES_MORE);
}

/* Takes note of the page as it is, and excludes what is no sequence number; returns whether any may be one. */
static bool observe(void)
{
	const uint64_t now_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE);
	uint32_t now[WORDS];
	bool any = false;

	for (size_t i = 0; i < WORDS; i++)
		now[i] = atomic_load_explicit(&page[i], memory_order_acquire);
	/* Another thread may have found that the clock has moved at the same time; or it has again. */
	if (now_ns == seen_ns || now_ns != sys_clock_ns(CLOCK_MONOTONIC_COARSE))
		return true;
	for (size_t i = 0; i < WORDS; i++) {
		words[i] = observations == 0 || is_next(now[i], words[i], now_ns - seen_ns) ? now[i] : EXCLUDED;
		any |= words[i] % 2 == 0;
	}
	seen_ns = now_ns;
	observations++;
	return any;
}

static void take_first(void)
{
	size_t i = 0;

	while (words[i] % 2 != 0)
		i++;
	atomic_store_explicit(&tick_word, &page[i], memory_order_release);
}

void tick_watch(void)
{
	if (atomic_exchange_explicit(&taken, true, memory_order_acquire))
		return;
	if (++moves > MOVES_BEFORE && atomic_load_explicit(&tick_is_watched, memory_order_relaxed)) {
		if (!page)
			page = find_page();
		if (!page || !observe()) {
			end_watch();
		} else if (observations > OBSERVATIONS) {
			take_first();
			end_watch();
		}
	}
	atomic_store_explicit(&taken, false, memory_order_release);
}

uint64_t tick_see(uint32_t word, uint64_t seen, bool is_same)
{
	if (tick_now() != word)
		return TICK_NOTHING;          /* which of the two the clock went by is not known */
	if (is_same || (uint32_t)seen != word)
		return word;
	atomic_store_explicit(&tick_word, &unknown, memory_order_release);
	return TICK_NOTHING;
}

void tick_reset(void)
{
	atomic_store_explicit(&taken, false, memory_order_release);
}
