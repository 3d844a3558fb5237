/* SPDX-License-Identifier: MIT */
/*
 * A program whose memory is known to the byte, for `compare`; what it prints is its own account:
 * requests, their bytes, the peak, and what it leaves.  Single-threaded, and libc allocates only in its one printf.
 */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 1000, ROUNDS = 50 };

static uint64_t requests, bytes, live, peak;
static struct {
	void *block;
	size_t size;
} blocks[BLOCKS];

static void *volatile nothing;        /* the compiler must not know that it is NULL */

static void add(size_t size)
{
	requests++;
	bytes += size;
	live += size;
	if (live > peak)
		peak = live;
}

__attribute__((noinline)) static void *allocate(unsigned way, size_t size)
{
	void *block = NULL;

	add(size);
	switch (way) {
	case 0:
		return malloc(size);
	case 1:
		return calloc(size, 1);
	case 2:
		return realloc(nothing, size);
	case 3:
		return posix_memalign(&block, 64, size) == 0 ? block : NULL;
	case 4:
		return memalign(256, size);
	default:
		return aligned_alloc(32, size);
	}
}

/* Larger by one: a new request of the whole size, whether the block moved or not. */
static void grow(unsigned i)
{
	live -= blocks[i].size;
	add(++blocks[i].size);
	blocks[i].block = realloc(blocks[i].block, blocks[i].size);
}

static void give_back(unsigned i)
{
	free(blocks[i].block);
	live -= blocks[i].size;
	blocks[i].block = NULL;
	blocks[i].size = 0;
}

int main(void)
{
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned i = 0; i < BLOCKS; i++) {
			if (!blocks[i].block) {
				blocks[i].size = 1 + (i * 7919 + round * 104729) % 5000;
				blocks[i].block = allocate((i + i / 7 + round * 5) % 6, blocks[i].size);
			} else if ((i + round) % 3 == 0) {
				grow(i);
			} else {
				give_back(i);
			}
			free(nothing);
		}
	for (unsigned i = 0; i < BLOCKS; i++)
		if (blocks[i].block && i % 10)
			give_back(i);
	printf("%llu %llu %llu %llu\n", (unsigned long long)requests, (unsigned long long)bytes, (unsigned long long)peak,
		(unsigned long long)live);
	return 0;
}
