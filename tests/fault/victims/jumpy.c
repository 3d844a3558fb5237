/* SPDX-License-Identifier: MIT */
/*
 * A little of everything that makes the recorder ask for memory:  jumpy plain
 *
 * Thousands of different stacks, enough events to fill windows, a mapping, and a handler that allocates on top of the
 * recorder.  Block 1 is kept, block 2 freed.
 */
#include <signal.h>
#include <sys/mman.h>

#include "counted.h"

static volatile int leaf_count;

/* A stack for each path through two functions. */
__attribute__((noinline)) static int left(unsigned path, int depth);

__attribute__((noinline)) static int right(unsigned path, int depth)
{
	if (depth == 0) {
		free(malloc(path % 50 + 1));
		return ++leaf_count;
	}
	return (path & 1 ? left(path >> 1, depth - 1) : right(path >> 1, depth - 1)) + 1;
}

static int left(unsigned path, int depth)
{
	if (depth == 0) {
		free(malloc(path % 70 + 1));
		return ++leaf_count;
	}
	return (path & 1 ? left(path >> 1, depth - 1) : right(path >> 1, depth - 1)) - 1;
}

static void on_signal(int number)
{
	(void)number;
	free(malloc(10));
}

int main(void)
{
	signal(SIGUSR1, on_signal);
	for (unsigned path = 0; path < 16384; path++) {
		left(path, 14);
		if (path % 1000 == 0)
			raise(SIGUSR1);
	}
	void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require(memory != MAP_FAILED && munmap(memory, 1 << 20) == 0, "mmap");
	take(1);
	free(take(2));
	say("done\n");
	return 0;
}
