/* SPDX-License-Identifier: MIT */
/*
 * A program whose allocator is not libc's:  heap MODE
 *
 *   plain     four threads allocate, resize, align and free, and pass blocks to each other
 *   small     the same without threads
 *
 * Compiled with -DOWN_MALLOC it brings its own malloc: a bump allocator over mmap that keeps sizes and frees nothing.
 * With -DOWN_CHAIN its malloc adds a header and goes on to the next one, found by dlsym(RTLD_NEXT).
 * Prints a checksum of what was in the blocks.  Block 1 is kept, block 2 freed.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "counted.h"

#ifdef OWN_MALLOC
static _Atomic uintptr_t place, end;

void *memalign(size_t alignment, size_t size)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	uintptr_t block = (place + 16 + alignment - 1) & ~(uintptr_t)(alignment - 1);

	if (place == 0 || block + size > end) {
		size_t chunk = (size + alignment + (4 << 20)) & ~(size_t)4095;

		place = (uintptr_t)mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		end = place + chunk;
		block = (place + 16 + alignment - 1) & ~(uintptr_t)(alignment - 1);
	}
	((size_t *)block)[-1] = size;
	place = (block + size + 15) & ~(uintptr_t)15;
	pthread_mutex_unlock(&lock);
	return (void *)block;
}

void *malloc(size_t size)
{
	return memalign(16, size);
}

void *calloc(size_t count, size_t size)
{
	return memset(malloc(count * size), 0, count * size);
}

void free(void *block)
{
	(void)block;
}

void *realloc(void *block, size_t size)
{
	void *moved = malloc(size);

	if (block)
		memcpy(moved, block, ((size_t *)block)[-1] < size ? ((size_t *)block)[-1] : size);
	return moved;
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
	*out = memalign(alignment, size);
	return 0;
}
#endif

#ifdef OWN_CHAIN
void *malloc(size_t size)
{
	static void *(*next)(size_t);

	if (!next)
		next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	return next(size);
}
#endif

enum { THREADS = 4, SHARED = 64, ROUNDS = 5000 };

static void *_Atomic shared[SHARED];

static void *work(void *argument)
{
	unsigned dice = (unsigned)(uintptr_t)argument;
	uintptr_t sum = 0;

	for (int i = 0; i < ROUNDS; i++) {
		dice = dice * 1103515245u + 12345u;
		size_t size = dice >> 16 & 2047;
		unsigned char *block = NULL;

		switch (dice >> 28) {
		case 0: block = calloc(1, size + 1); sum += block[size]; break;
		case 1: require(posix_memalign((void **)&block, 64, size + 1) == 0, "posix_memalign"); break;
		case 2: block = realloc(malloc(size / 2 + 1), size + 1); break;
		default: block = malloc(size + 1);
		}
		memset(block, (int)dice & 127, size + 1);
		sum += (size_t)block[size] + ((dice >> 28) == 1 ? (uintptr_t)block % 64 : 0);
		free(atomic_exchange(&shared[dice >> 8 & (SHARED - 1)], block));
	}
	return (void *)sum;
}

static int run(int threads)
{
	pthread_t ids[THREADS];
	uintptr_t sum = 0;
	void *result;

	for (uintptr_t i = 0; i < (uintptr_t)threads; i++)
		require(pthread_create(&ids[i], NULL, work, (void *)(i + 1)) == 0, "pthread_create");
	for (int i = 0; i < threads; i++) {
		pthread_join(ids[i], &result);
		sum += (uintptr_t)result;
	}
	if (threads == 0)
		sum = (uintptr_t)work((void *)7);
	for (int i = 0; i < SHARED; i++)
		free(shared[i]);
	take(1);
	free(take(2));
	printf("%lu\n", (unsigned long)sum);
	return 0;
}

static int mode_plain(void)
{
	return run(THREADS);
}

static int mode_small(void)
{
	return run(0);
}

int main(int argc, char **argv)
{
	static const struct mode modes[] = { { "plain", mode_plain }, { "small", mode_small }, { NULL, NULL } };

	return run_mode(modes, argc, argv);
}
