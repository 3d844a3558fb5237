/* SPDX-License-Identifier: MIT */
/* See unwind_cases.h.  The results of the functions depend on all they do, so that nothing is optimised away. */
#include "unwind_cases.h"

#include <alloca.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline, noclone))
#if defined(__clang__)
#undef NOINLINE
#define NOINLINE __attribute__((noinline))
#endif

#ifdef CASES_MODULE
/* Shared modules have a hook of their own. */
extern void (*volatile cases_module_hook)(void);
void (*volatile cases_module_hook)(void);
#define cases_hook cases_module_hook
#endif

static uint64_t call_any(uint64_t *random, unsigned depth);
static volatile uint64_t sink;

/* One to three calls: the hook, or something deeper. */
static inline __attribute__((always_inline)) uint64_t go_on(uint64_t *random, unsigned depth)
{
	uint64_t sum = 0;
	unsigned count = 1 + cases_random(random) % 2;

	for (unsigned i = 0; i < count; i++) {
		if (cases_random(random) % 3 == 0)
			cases_hook();
		if (depth > 0)
			sum += call_any(random, depth - 1 - (depth > 1 ? cases_random(random) % 2 : 0));
	}
	if (depth == 0)
		cases_hook();
	return sum + 1;
}

NOINLINE static uint64_t plain(uint64_t *random, unsigned depth)
{
	return go_on(random, depth) * 3;
}

NOINLINE static uint64_t registers(uint64_t *random, unsigned depth)
{
	uint64_t a = sink, b = sink + 1, c = sink ^ 2, d = sink * 3, e = sink + 4, f = sink - 5;
	uint64_t sum = go_on(random, depth);

	return sum + (a ^ b) + (c ^ d) * e - f;
}

NOINLINE static uint64_t dynamic(uint64_t *random, unsigned depth)
{
	size_t size = 8 + cases_random(random) % 500;
	volatile char *memory = alloca(size);

	memory[size - 1] = (char)depth;
	memory[0] = 1;
	return go_on(random, depth) + (uint64_t)memory[size - 1];
}

NOINLINE static uint64_t aligned(uint64_t *random, unsigned depth)
{
	volatile uint64_t vector[8] __attribute__((aligned(64)));

	vector[depth % 8] = (uintptr_t)vector % 64;
	return go_on(random, depth) + vector[depth % 8];
}

NOINLINE static uint64_t aligned_dynamic(uint64_t *random, unsigned depth, uint64_t a, uint64_t b, uint64_t c,
	uint64_t d, uint64_t e, uint64_t on_stack)
{
	volatile uint64_t vector[16] __attribute__((aligned(128)));
	volatile char *memory = alloca(16 + cases_random(random) % 100);

	memory[0] = (char)a;
	vector[b % 16] = on_stack;
	return go_on(random, depth) + vector[b % 16] + (uint64_t)memory[0] + c + d + e;
}

NOINLINE static uint64_t large(uint64_t *random, unsigned depth)
{
	volatile char memory[20000];

	memory[depth % sizeof(memory)] = 1;
	memory[sizeof(memory) - 1 - depth] = 2;
	return go_on(random, depth) + (uint64_t)memory[depth % sizeof(memory)];
}

NOINLINE static uint64_t variadic(uint64_t *random, unsigned depth, ...)
{
	va_list arguments;
	uint64_t sum = 0;

	va_start(arguments, depth);
	for (int i = 0; i < 8; i++)
		sum += va_arg(arguments, uint64_t);
	va_end(arguments);
	return sum + go_on(random, depth);
}

struct search {
	int key;
	uint64_t *random;
	unsigned depth;
	uint64_t sum;
};

NOINLINE static int compare(const void *left, const void *right, void *data)
{
	struct search *search = data;

	if (search->depth > 0 && cases_random(search->random) % 8 == 0)
		search->sum += go_on(search->random, search->depth - 1);
	else if (cases_random(search->random) % 3 == 0)
		cases_hook();
	return *(const int *)left - *(const int *)right;
}

NOINLINE static int compare_key(const void *key, const void *number)
{
	struct search *search = (struct search *)(uintptr_t)key;

	return compare(&search->key, number, search);
}

/* Through the C library and back. */
NOINLINE static uint64_t sorted(uint64_t *random, unsigned depth)
{
	struct search search = { 3, random, depth, 0 };
	int numbers[6];

	for (int i = 0; i < 6; i++)
		numbers[i] = (int)(cases_random(random) % 10);
	qsort_r(numbers, 6, sizeof(int), compare, &search);
	search.sum += bsearch(&search, numbers, 6, sizeof(int), compare_key) != NULL;
	return search.sum;
}

NOINLINE static void noreturn_last(uint64_t *random, unsigned depth, uint64_t *sum, int jump_by_return)
{
	*sum += go_on(random, depth);
	if (jump_by_return)
		return;
	abort();
}

/* The return address of the last call may lie at the very end of the function. */
NOINLINE static uint64_t tail(uint64_t *random, unsigned depth)
{
	uint64_t sum = 0;

	noreturn_last(random, depth, &sum, 1);
	return sum;
}

NOINLINE static uint64_t call_any(uint64_t *random, unsigned depth)
{
	switch (cases_random(random) % 10) {
	case 0:
		return registers(random, depth);
	case 1:
		return dynamic(random, depth);
	case 2:
		return aligned(random, depth);
	case 3:
		return aligned_dynamic(random, depth, 1, 2, 3, 4, 5, 6);
	case 4:
		return large(random, depth);
	case 5:
		return variadic(random, depth, 1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L);
	case 6:
		return sorted(random, depth);
	case 7:
		return tail(random, depth) + 1;
	default:
		return plain(random, depth) + 1;
	}
}

uint64_t CASES_NAME(uint64_t *random, unsigned depth)
{
	return call_any(random, depth) + sink;
}
