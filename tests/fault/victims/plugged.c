/* SPDX-License-Identifier: MIT */
/* A library with a constructor and a destructor that allocate blocks 20 and 21; see loading.c. */
#include "counted.h"

static void *first;

__attribute__((constructor)) static void begin(void)
{
	first = take(20);
}

__attribute__((destructor)) static void end(void)
{
	free(first);
	free(take(21));
}

void work(int number)
{
	take((size_t)number);
	free(take((size_t)number + 1));
}
