/* SPDX-License-Identifier: MIT */
/*
 * Functions with frames of every shape that compilers make, calling each other at random; compiled several times
 * with different options (CASES_NAME is the name of the entry function) and linked into test_unwind.
 */
#ifndef SCTMEM_TESTS_UNWIND_CASES_H
#define SCTMEM_TESTS_UNWIND_CASES_H

#include <stdint.h>

/* What the functions call now and then, as a program calls malloc. */
extern void (*volatile cases_hook)(void);

typedef uint64_t cases_function(uint64_t *random, unsigned depth);
cases_function cases_o0, cases_o2, cases_frame_pointers, cases_no_red_zone, cases_module;

/* The next of a sequence of random numbers. */
static inline uint32_t cases_random(uint64_t *random)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*random >> 33);
}

#endif
