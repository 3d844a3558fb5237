/* SPDX-License-Identifier: MIT */
/*
 * Allocates in the ways that exports must carry: recursion, two threads, blocks that move and stay, temporary ones,
 * mappings, and some that are never freed.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *volatile kept[64];

__attribute__((noinline)) static void recurse(unsigned depth)
{
	kept[depth] = malloc(100 + depth);
	if (depth)
		recurse(depth - 1);
	if (depth % 2)
		free(kept[depth]);
}

__attribute__((noinline)) static void churn(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char *block = malloc(i % 700 + 1);

		memset(block, 1, i % 700 + 1);
		free(block);
	}
}

__attribute__((noinline)) static void resize(void)
{
	char *block = malloc(10000);

	block = realloc(block, 5000);     /* stays */
	block = realloc(block, 2000000);  /* moves */
	memset(block, 1, 2000000);
	block = realloc(block, 100);
	kept[40] = block;
	kept[41] = calloc(7, 9);
}

static void *work(void *unused)
{
	churn(500);
	kept[42] = malloc(123456);
	return unused;
}

int main(void)
{
	pthread_t thread;
	char *mapping = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	recurse(30);
	pthread_create(&thread, NULL, work, NULL);
	pthread_join(thread, NULL);
	munmap(mapping + (1 << 18), 1 << 19);
	resize();
	churn(3000);
	return 0;
}
