/* SPDX-License-Identifier: MIT */
/*
 * Threads that pass blocks on to each other:  rotating THREADS ROUNDS [COUNTS]
 *
 * Each thread makes ROUNDS blocks (0: without end) of sizes that follow from its number, from one of many places, and
 * puts each into a slot that all share; what was there is freed by whoever takes it out.  With one thread every run is
 * the same.  An idle thread, which has one block, sleeps until the others are done, and frees it then.  COUNTS is a
 * file: in it stands, at every moment, how many blocks each thread has made, and how many it has freed.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 512, THREADS_MAX = 64 };

static void *_Atomic slots[SLOTS];
static _Atomic uint64_t *counts;
static uint64_t rounds;
static pthread_barrier_t idle_begins, idle_ends;

__attribute__((noinline)) void *take(size_t size)
{
	void *block = malloc(size);

	__asm__ volatile("" ::: "memory");
	return block;
}

__attribute__((noinline)) void *deeper(unsigned depth, size_t size)
{
	void *block = depth == 0 ? take(size) : deeper(depth - 1, size);

	__asm__ volatile("" ::: "memory");
	return block;
}

static void *work(void *argument)
{
	uintptr_t number = (uintptr_t)argument;
	uint64_t random = number * 0x9e3779b97f4a7c15u + 1;

	for (uint64_t i = 0; rounds == 0 || i < rounds; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		void *block = deeper((unsigned)(random >> 40) % 24, 16 + (random >> 33) % 500);

		atomic_fetch_add(&counts[2 * number], 1);
		block = atomic_exchange(&slots[(random >> 50) % SLOTS], block);
		if (block) {
			free(block);
			atomic_fetch_add(&counts[2 * number + 1], 1);
		}
	}
	return NULL;
}

static void *idle(void *argument)
{
	void *block = take(12345);

	pthread_barrier_wait(&idle_begins);
	pthread_barrier_wait(&idle_ends);
	free(block);
	return argument;
}

int main(int argc, char **argv)
{
	unsigned thread_count = argc > 2 ? (unsigned)atoi(argv[1]) : 1;
	pthread_t threads[THREADS_MAX], sleeper;

	rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
	if (thread_count == 0 || thread_count > THREADS_MAX)
		return 2;
	int file = argc > 3 ? open(argv[3], O_RDWR | O_CREAT, 0600) : -1;

	if (file >= 0 && ftruncate(file, 4096) != 0)
		return 3;
	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, file >= 0 ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS, file, 0);
	pthread_barrier_init(&idle_begins, NULL, 2);
	pthread_barrier_init(&idle_ends, NULL, 2);
	pthread_create(&sleeper, NULL, idle, NULL);
	pthread_barrier_wait(&idle_begins);
	/* One thread is this one, so that the order of all that happens is the same each time. */
	for (uintptr_t i = 1; i < thread_count; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	if (thread_count > 1) {
		for (int i = 0; i < 3; i++) {
			pid_t child = fork();

			if (child == 0) {
				for (int j = 0; j < 1000; j++)
					free(take(100));
				_exit(0);
			}
			waitpid(child, NULL, 0);
		}
	}
	work((void *)0);
	for (unsigned i = 1; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_wait(&idle_ends);
	pthread_join(sleeper, NULL);
	for (unsigned i = 0; i < SLOTS / 2; i++)
		free(slots[i]);
	return 0;
}
