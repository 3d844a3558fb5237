/* SPDX-License-Identifier: MIT */
/*
 * How long a program waits when its capture goes on in a new file:  switches NODES SWITCHES
 *
 * For tests/bench/rotation.py.  The first of two threads allocates at NODES / 2 places of a tree of calls, so that the
 * recorder comes to know about NODES stack nodes.  Then both allocate and free, and time each pair by their own
 * processor time; SWITCHES times the first one has the capture go on in a new file, by the command in $SWITCHES_ASK.
 *
 * Prints a line for each switch: the slowest pair of either thread while it was asked for and done, in nanoseconds; and
 * then one: the slowest of as many without a switch.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BRANCHES = 16, PAIRS_BETWEEN = 20000 };

static atomic_bool over;
static _Atomic uint64_t slowest_ns;

static uint64_t own_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static __attribute__((noinline)) void touch(size_t size)
{
	volatile char *block = malloc(size);

	if (!block)
		abort();
	block[0] = 1;
	free((void *)block);
}

static void note(uint64_t taken_ns)
{
	uint64_t seen = atomic_load(&slowest_ns);

	while (taken_ns > seen && !atomic_compare_exchange_weak(&slowest_ns, &seen, taken_ns))
		;
}

static void pairs(unsigned count)
{
	for (uint64_t before = own_ns(), now; count > 0; count--, before = now) {
		touch(64);
		now = own_ns();
		note(now - before);
	}
}

/* Two nodes of the recorder's for each call: that to here, and that of touch(). */
static __attribute__((noinline)) void grow(unsigned depth, uint64_t *left)
{
	if (*left == 0)
		return;
	--*left;
	touch(32);
	if (depth == 0)
		return;
#define CALL grow(depth - 1, left); __asm__ volatile("")
	CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL; CALL;
}

static void *beside(void *none)
{
	while (!atomic_load(&over))
		pairs(100);
	return none;
}

int main(int argc, char **argv)
{
	uint64_t nodes = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
	unsigned switches = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 10, depth = 1;
	const char *ask = getenv("SWITCHES_ASK");
	pthread_t other;

	nodes /= 2;
	for (uint64_t reached = BRANCHES; reached < nodes; reached *= BRANCHES)
		depth++;
	grow(depth, &nodes);
	pthread_create(&other, NULL, beside, NULL);
	pairs(PAIRS_BETWEEN);
	for (unsigned i = 0; i < switches; i++) {
		atomic_store(&slowest_ns, 0);
		FILE *answer = popen(ask ? ask : "true", "r");

		while (answer && fgetc(answer) != EOF)
			;
		if (answer)
			pclose(answer);
		pairs(PAIRS_BETWEEN);
		printf("%llu\n", (unsigned long long)atomic_exchange(&slowest_ns, 0));
	}
	pairs(PAIRS_BETWEEN);
	printf("%llu\n", (unsigned long long)atomic_load(&slowest_ns));
	atomic_store(&over, true);
	pthread_join(other, NULL);
	return 0;
}
