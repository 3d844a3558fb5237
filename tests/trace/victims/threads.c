/* SPDX-License-Identifier: MIT */
/*
 * Threads that come and go:  threads MODE
 *
 *   tls        destructors of thread-specific data that allocate and free, in several rounds, while threads die
 *   short      2,000 threads that live for a few allocations each, joined and detached by turns
 *   detached   threads that sleep with live blocks when the process exits
 *   leave      main leaves by pthread_exit; the last thread ends the process
 *   many       500 threads alive at the same time
 *   cancel     threads cancelled while they sleep between allocations; clean-up handlers allocate
 *
 * Every block that a mode counts has a size that nobody else asks for (SIZE_BASE + n): the test counts those.
 * The mode's counts are printed:  ALLOCATIONS FREES LIVE_BYTES
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE_BASE = 70000, SIZE_SPAN = 1000 };

static atomic_ulong allocated, freed, live;
static pthread_key_t key;

__attribute__((noinline)) static size_t *take(size_t n)
{
	size_t size = SIZE_BASE + n % SIZE_SPAN;
	size_t *block = malloc(size);
	if (!block)
		_exit(3);
	*block = size;
	atomic_fetch_add(&allocated, 1);
	atomic_fetch_add(&live, size);
	return block;
}

__attribute__((noinline)) static void give(size_t *block)
{
	atomic_fetch_add(&freed, 1);
	atomic_fetch_sub(&live, *block);
	free(block);
}

/* Runs after the thread's function; makes a new value twice, so that libc calls it again. */
static void destroy(void *value)
{
	size_t *block = value;
	size_t round = *block - SIZE_BASE;
	give(block);
	if (round < 2)
		pthread_setspecific(key, take(round + 1));
}

static void *work_tls(void *argument)
{
	pthread_setspecific(key, take(0));
	give(take(17));
	return argument;
}

static void *work_short(void *argument)
{
	size_t *first = take((uintptr_t)argument);
	size_t *second = take((uintptr_t)argument + 1);
	give(first);
	give(second);
	return NULL;
}

static pthread_barrier_t barrier;

static void *work_sleep(void *argument)
{
	take((uintptr_t)argument);
	pthread_barrier_wait(&barrier);
	for (;;)
		pause();
	return NULL;
}

static void *work_alive(void *argument)
{
	size_t *block = take((uintptr_t)argument);
	pthread_barrier_wait(&barrier);
	give(block);
	return NULL;
}

static void clean(void *argument)
{
	give(argument);
	give(take(5));
}

static void *work_cancelled(void *argument)
{
	pthread_cleanup_push(clean, take((uintptr_t)argument));
	pthread_barrier_wait(&barrier);
	for (;;)
		pause();
	pthread_cleanup_pop(0);
	return NULL;
}

static void print_counts(void)
{
	char line[100];
	int size = snprintf(line, sizeof line, "%lu %lu %lu\n", allocated, freed, live);
	if (write(1, line, (size_t)size) != size)
		_exit(4);
}

static void *work_last(void *argument)
{
	pthread_t main_thread = *(pthread_t *)argument;
	pthread_join(main_thread, NULL);
	give(take(1));
	take(2);
	print_counts();
	exit(7);
}

static void start(pthread_t *id, void *(*work)(void *), uintptr_t argument)
{
	if (pthread_create(id, NULL, work, (void *)argument))
		_exit(5);
}

static void run_and_join(void *(*work)(void *), unsigned count)
{
	pthread_t ids[500];
	for (unsigned i = 0; i < count; i++)
		start(&ids[i], work, i);
	for (unsigned i = 0; i < count; i++)
		pthread_join(ids[i], NULL);
}

static void mode_short(void)
{
	atomic_ulong *done = &freed;
	for (unsigned i = 0; i < 1000; i++) {
		pthread_t id;
		start(&id, work_short, i);
		pthread_join(id, NULL);
		unsigned long target = atomic_load(done) + 2;
		start(&id, work_short, i);
		pthread_detach(id);
		while (atomic_load(done) < target)
			usleep(50);
	}
}

static void mode_waiting(void *(*work)(void *), unsigned count, int cancel)
{
	pthread_t ids[50];
	pthread_barrier_init(&barrier, NULL, count + 1);
	for (unsigned i = 0; i < count; i++)
		start(&ids[i], work, i);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; cancel && i < count; i++) {
		pthread_cancel(ids[i]);
		pthread_join(ids[i], NULL);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc == 2 ? argv[1] : "";
	static pthread_t self;
	if (!strcmp(mode, "tls")) {
		if (pthread_key_create(&key, destroy))
			return 6;
		for (unsigned round = 0; round < 20; round++)
			run_and_join(work_tls, 10);
	} else if (!strcmp(mode, "short")) {
		mode_short();
	} else if (!strcmp(mode, "detached")) {
		mode_waiting(work_sleep, 8, 0);
	} else if (!strcmp(mode, "cancel")) {
		mode_waiting(work_cancelled, 40, 1);
	} else if (!strcmp(mode, "many")) {
		pthread_barrier_init(&barrier, NULL, 500);
		run_and_join(work_alive, 500);
	} else if (!strcmp(mode, "leave")) {
		pthread_t id;
		self = pthread_self();
		start(&id, work_last, (uintptr_t)&self);
		take(3);
		pthread_exit(NULL);
	} else {
		return 2;
	}
	print_counts();
	return 0;
}
