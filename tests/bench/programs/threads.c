/* SPDX-License-Identifier: MIT */
/* Many short threads:  threads COUNT BLOCKS.  Eight at a time; each allocates BLOCKS blocks, frees them, and ends. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOGETHER = 8, BLOCKS_MAX = 1000 };

static unsigned block_count;

static void *live_briefly(void *argument)
{
	void *blocks[BLOCKS_MAX];
	uint32_t random = (uint32_t)(uintptr_t)argument;

	for (unsigned i = 0; i < block_count; i++) {
		random = random * 1664525u + 1013904223u;
		blocks[i] = malloc(16 + (random >> 8) % 497);
	}
	for (unsigned i = 0; i < block_count; i++)
		free(blocks[i]);
	return NULL;
}

int main(int count, char **arguments)
{
	const unsigned long threads = count == 3 ? strtoul(arguments[1], NULL, 10) : 0;

	block_count = count == 3 ? (unsigned)strtoul(arguments[2], NULL, 10) : 0;
	if (threads == 0 || block_count > BLOCKS_MAX) {
		fprintf(stderr, "usage: threads COUNT BLOCKS (at most %d)\n", BLOCKS_MAX);
		return 2;
	}
	for (unsigned long i = 0; i < threads;) {
		pthread_t running[TOGETHER];
		int n = 0;

		for (; n < TOGETHER && i < threads; n++, i++)
			if (pthread_create(&running[n], NULL, live_briefly, (void *)(uintptr_t)(i + 1)) != 0)
				return 1;
		while (n > 0)
			pthread_join(running[--n], NULL);
	}
	return 0;
}
