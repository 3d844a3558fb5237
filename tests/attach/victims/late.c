/* SPDX-License-Identifier: MIT */
/* A library whose constructor allocates, through calls that are resolved when they are first made. */
#include <stdlib.h>

enum { COUNTED_SIZE = 7919, COUNT = 10 };

static __attribute__((constructor)) void loaded(void)
{
	static void *volatile blocks[COUNT];

	for (int i = 0; i < COUNT; i++)
		blocks[i] = malloc(COUNTED_SIZE);
	free(blocks[0]);
}
