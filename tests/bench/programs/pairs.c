/* SPDX-License-Identifier: MIT */
/*
 * malloc/free pairs:  pairs THREADS PAIRS DEPTH same|changing
 *
 * Sizes of 16 to 512 bytes, drawn anew each time; sixteen blocks a thread are alive, and a random one of them is
 * replaced each time.  So glibc serves most from its per-thread cache and about every fifth not, as in real programs.
 * The allocating function is called DEPTH frames below the thread's first; with `changing`, each of the three
 * innermost frames calls from one of two places, so that a stack is seldom the one before.
 */
#include "pairs.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

enum { BLOCKS = 16, OWN_FRAMES = 6, THREADS_MAX = 1024 };

struct worker {
	pthread_t thread;
	unsigned long pairs;
	unsigned depth;
	int changing;
	uint32_t random;
	void *blocks[BLOCKS];
};

static NOINLINE void replace_block(struct worker *worker, uint32_t random, uint32_t places)
{
	void **block = &worker->blocks[random >> 28];

	(void)places;
	free(*block);
	*block = malloc(16 + (random >> 8) % 497);
	memcpy(*block, &random, sizeof(random));
}

/* Calls from one of two places, which the compiler may not make one. */
#define CALLER(name, callee, bit) \
static NOINLINE void name(struct worker *worker, uint32_t random, uint32_t places) \
{ \
	if (places & (bit)) { \
		callee(worker, random, places); \
		__asm__ volatile("# one"); \
	} else { \
		callee(worker, random, places); \
		__asm__ volatile("# other"); \
	} \
}
CALLER(call_inner, replace_block, 1)
CALLER(call_middle, call_inner, 2)
CALLER(call_outer, call_middle, 4)

static NOINLINE void allocate(struct worker *worker)
{
	for (unsigned long i = 0; i < worker->pairs; i++) {
		const uint32_t random = worker->random = worker->random * 1664525u + 1013904223u;

		call_outer(worker, random, worker->changing ? random >> 20 : 0);
	}
}

static NOINLINE void descend(struct worker *worker, unsigned levels)
{
	if (levels == 0)
		allocate(worker);
	else
		descend(worker, levels - 1);
	__asm__ volatile("# a call, not a jump");
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	descend(worker, worker->depth - OWN_FRAMES);
	for (int i = 0; i < BLOCKS; i++)
		free(worker->blocks[i]);
	return NULL;
}

int pairs_run(unsigned threads, unsigned long pairs, unsigned depth, int changing)
{
	struct worker *workers;

	if (threads < 1 || threads > THREADS_MAX || depth < OWN_FRAMES || depth > 100000)
		return -1;
	workers = calloc(threads, sizeof(*workers));
	if (!workers)
		return -1;
	for (unsigned i = 0; i < threads; i++) {
		workers[i].pairs = pairs / threads;
		workers[i].depth = depth;
		workers[i].changing = changing;
		workers[i].random = i + 1;
	}
	for (unsigned i = 1; i < threads; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			return -1;
	work(&workers[0]);
	for (unsigned i = 1; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	free(workers);
	return 0;
}

#ifndef PAIRS_LIBRARY
int main(int count, char **arguments)
{
	if (count != 5 || (strcmp(arguments[4], "same") != 0 && strcmp(arguments[4], "changing") != 0) ||
	    pairs_run((unsigned)atoi(arguments[1]), strtoul(arguments[2], NULL, 10), (unsigned)atoi(arguments[3]),
		strcmp(arguments[4], "changing") == 0) != 0) {
		fprintf(stderr, "usage: pairs THREADS PAIRS DEPTH same|changing\n");
		return 2;
	}
	return 0;
}
#endif
