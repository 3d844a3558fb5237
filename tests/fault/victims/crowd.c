/* SPDX-License-Identifier: MIT */
/*
 * Memory that is short, and threads that are many:  crowd MODE
 *
 *   short      THREADS threads one after another, in batches; each takes block 10 and frees it
 *   live       THREADS threads alive at the same time, with stacks of 16 KiB; each keeps block 10 until all live
 *   tiny       threads with the smallest stacks that the system allows, whose first allocation is the recorder's worst
 *   exhaust    takes memory until malloc says no, gives all back, and does it again; prints nothing of how much
 *   limit      the same under RLIMIT_AS, which the program itself sets when it runs already
 *
 * Each ends with block 1 kept and block 2 freed.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "counted.h"

#ifndef THREADS
#define THREADS 1000
#endif

enum { SMALL_STACK = 16 << 10, BATCH = 50 };

static pthread_barrier_t all_live;

static void *work_short(void *argument)
{
	free(take(10));
	return argument;
}

static void *work_live(void *argument)
{
	void *block = take(10);

	pthread_barrier_wait(&all_live);
	free(block);
	return argument;
}

static void start(pthread_t *id, void *(*work)(void *), size_t stack)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	if (stack)
		require(pthread_attr_setstacksize(&attributes, stack) == 0, "pthread_attr_setstacksize");
	int error = pthread_create(id, &attributes, work, NULL);

	if (error == EAGAIN)
		_exit(77);                /* the system does not allow so many */
	errno = error;
	require(error == 0, "pthread_create");
	pthread_attr_destroy(&attributes);
}

static int mode_short(void)
{
	pthread_t ids[BATCH];

	for (int done = 0; done < THREADS; done += BATCH) {
		for (int i = 0; i < BATCH; i++)
			start(&ids[i], work_short, 0);
		for (int i = 0; i < BATCH; i++)
			pthread_join(ids[i], NULL);
	}
	return 0;
}

static int mode_live(void)
{
	static pthread_t ids[THREADS];

	pthread_barrier_init(&all_live, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		start(&ids[i], work_live, SMALL_STACK);
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	return 0;
}

static int mode_tiny(void)
{
	pthread_t ids[BATCH];

	for (int i = 0; i < BATCH; i++)
		start(&ids[i], work_short, PTHREAD_STACK_MIN);
	for (int i = 0; i < BATCH; i++)
		pthread_join(ids[i], NULL);
	return 0;
}

/* Sizes from large to small, until nothing is left of either. */
static int mode_exhaust(void)
{
	for (int round = 0; round < 3; round++) {
		void **last = NULL;

		for (size_t size = 64 << 20; size >= 4096; size /= 4) {
			void **block;

			while ((block = malloc(size)) != NULL) {
				*block = last;
				last = block;
			}
			if (errno != ENOMEM)
				return 94;
		}
		while (last) {
			void **block = last;

			last = *block;
			free(block);
		}
	}
	return 0;
}

static int mode_limit(void)
{
	struct rlimit limit = { 256 << 20, 256 << 20 };

	free(take(10));
	require(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
	int status = mode_exhaust();
	pthread_t id;

	start(&id, work_short, 0);
	pthread_join(id, NULL);
	return status;
}

int main(int argc, char **argv)
{
	static const struct mode modes[] = {
		{ "short", mode_short }, { "live", mode_live }, { "tiny", mode_tiny }, { "exhaust", mode_exhaust },
		{ "limit", mode_limit }, { NULL, NULL },
	};
	int status = run_mode(modes, argc, argv);

	take(1);
	free(take(2));
	return status;
}
