/* SPDX-License-Identifier: MIT */
/*
 * What a walk costs: nanoseconds by depth, with the same stack each time and with the three innermost frames
 * changing, with the memo and without it.  The best of many short runs counts, because machines are
 * shared.  Arguments: walks in a run (2000).  Built with -DWITH_LIBUNWIND, the last column is its unw_backtrace()
 * of the same stack (with a cache per thread) for comparison.
 */
#include "preload/stack_native.h"

#ifdef WITH_LIBUNWIND
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

enum { CAPACITY = 1024 };

static _Alignas(struct native_frame) char memory[NATIVE_MEMORY(CAPACITY)];
static struct native_stack stack;
static volatile uint64_t sink;
static unsigned long walked, fresh;
static unsigned rounds = 2000;
static int forgetting;

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static NOINLINE void hook(void)
{
	uintptr_t *frame = __builtin_frame_address(0);
	struct native_start start = { (uintptr_t)__builtin_return_address(0), (uintptr_t)(frame + 2), frame[0] };

	if (forgetting)
		stack.count = stack.again.stop_size = 0;
	native_walk(&stack, &start, 0);
	walked++;
	fresh += stack.count - stack.kept;
}

static NOINLINE void empty(void)
{
	sink++;
}

static NOINLINE void reference(void)
{
#ifdef WITH_LIBUNWIND
	static void *pcs[CAPACITY];

	sink += (uint64_t)unw_backtrace(pcs, CAPACITY);
#endif
	sink++;
}

static void (*volatile called)(void);

/* Inner frames: each level has a few call sites, so that the return addresses differ. */
static NOINLINE void inner_last(unsigned which)
{
	if (which & 1) {
		called();
		__asm__ volatile("# one");
	} else {
		called();
		__asm__ volatile("# other");
	}
	sink++;
}

#define INNER(name, next, bit) \
static NOINLINE void name(unsigned which) \
{ \
	volatile uint64_t local[4] = { which }; \
	if (which & (bit)) { \
		next(which); \
		__asm__ volatile("# one"); \
	} else { \
		next(which); \
		__asm__ volatile("# other"); \
	} \
	sink += local[0]; \
}
INNER(inner_middle, inner_last, 2)
INNER(inner_first, inner_middle, 4)

static double loop_same(void)
{
	double start = now_ns();

	for (unsigned i = 0; i < rounds; i++)
		called();
	return (now_ns() - start) / rounds;
}

static double loop_changing(void)
{
	double start = now_ns();
	unsigned random = 1;

	for (unsigned i = 0; i < rounds; i++) {
		random = random * 1664525 + 1013904223;
		inner_first(random >> 16);
	}
	return (now_ns() - start) / rounds;
}

static double measure(double (*loop)(void), void (*function)(void), int forget)
{
	double with = 1e9, without = 1e9;

	forgetting = forget;
	for (int i = 0; i < 60; i++) {
		double time;

		called = function;
		time = loop();
		with = time < with ? time : with;
		called = empty;
		time = loop();
		without = time < without ? time : without;
	}
	return with - without;
}

static void report(void)
{
	double same, changing, same_whole, changing_whole, fresh_mean;
	uint32_t depth;

	called = hook;
	loop_same();
	depth = stack.count;
	same = measure(loop_same, hook, 0);
	same_whole = measure(loop_same, hook, 1);
	walked = fresh = 0;
	changing = measure(loop_changing, hook, 0);
	fresh_mean = (double)fresh / (double)walked;
	changing_whole = measure(loop_changing, hook, 1);
	printf("%5u   %8.1f %8.1f   %8.1f %8.1f   %6.2f   %8.1f\n", depth, same, changing, same_whole, changing_whole,
		fresh_mean, measure(loop_same, reference, 0));
}

static NOINLINE uint64_t descend(unsigned depth)
{
	volatile uint64_t local[5] = { depth };

	if (depth == 0)
		report();
	else
		sink += descend(depth - 1);
	return local[0];
}

int main(int argc, char **argv)
{
	static const unsigned depths[] = { 8, 20, 50, 200 };

	native_init(&stack, memory, CAPACITY);
#ifdef WITH_LIBUNWIND
	unw_set_caching_policy(unw_local_addr_space, UNW_CACHE_PER_THREAD);
	unw_set_cache_size(unw_local_addr_space, 1024, 0);
#endif
	if (argc > 1)
		rounds = (unsigned)atoi(argv[1]);
	printf("ns a walk   with memo: same, changing   without: same, changing   fresh when changing   libunwind\n");
	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++)
		descend(depths[i] - 7);
	return 0;
}
