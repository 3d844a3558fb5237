/* SPDX-License-Identifier: MIT */
/*
 * A long run that does the same each time:  steady SEED SECONDS [TICKS A SECOND]
 *
 * For tests/bench/sample_hour.py, which records it exactly and as samples at the same time.  Four threads, each with a
 * random generator of its own, allocate and free at a steady, low rate; what a thread does depends on its seed and the
 * number of its ticks alone.  Eight times, or each minute, all of them wait for each other and the main thread sets a
 * mark ("moment 1", ...): at a mark two runs hold the same blocks, whatever the scheduler did.
 *
 *     sites      60 functions, each called from 3 others: 180 stacks a thread; 16 B to 1 MiB, large ones seldom
 *     lives      freed at once; after the next few; at random among hundreds; when a cache is emptied; never (a leak)
 *     growth     a buffer that doubles by realloc from 64 B to 64 KiB, and is dropped
 *
 * It prints nothing.  Only first bytes of blocks are written, so it stays small in memory and in processor time.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "preload/sctmem.h"

enum { THREADS = 4, SITES = 60, ROUTES = 3, RECENT = 32, HELD = 400, CACHED = 600, TICK_OPERATIONS = 12 };

enum life { AT_ONCE, SOON, RANDOM, CACHE, LEAK };

struct worker {
	uint64_t state;
	unsigned number;
	void *recent[RECENT], *held[HELD], *cached[CACHED];
	unsigned recent_next, cached_count;
	char *buffer;
	size_t buffer_size;
};

static unsigned long ticks_all, ticks_per_moment, ticks_per_second;
static struct timespec started;
static pthread_barrier_t arrived, marked;

static uint32_t draw(struct worker *worker, uint32_t below)
{
	worker->state = worker->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((worker->state >> 33) % below);
}

/* The sites.  What is allocated is written to, so that none is left out. */
#define SITE(n) \
	static __attribute__((noinline)) void *site_##n(size_t size) \
	{ \
		volatile char *block = malloc(size); \
		if (!block) \
			abort(); \
		block[0] = (char)(n + 1); \
		return (void *)block; \
	}
#define TEN(X, t) X(t##0) X(t##1) X(t##2) X(t##3) X(t##4) X(t##5) X(t##6) X(t##7) X(t##8) X(t##9)
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) \
	TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) TEN(X, 5)
ALL(SITE)

#define POINTER(n) site_##n,
static void *(*const SITE_OF[SITES])(size_t) = { ALL(POINTER) };

#define ROUTE(n) \
	static __attribute__((noinline)) void *route_##n(unsigned site, size_t size) \
	{ \
		char *block = SITE_OF[site](size); \
		block[0] = (char)(block[0] + n); \
		return block; \
	}
ROUTE(1)
ROUTE(2)
ROUTE(3)
static void *(*const ROUTE_OF[ROUTES])(unsigned, size_t) = { route_1, route_2, route_3 };

/* 16 B to 1 MiB: site n has sizes around 16 << (n % 16); a larger one is taken as seldom as its size's root says. */
static unsigned draw_site(struct worker *worker)
{
	for (;;) {
		unsigned site = draw(worker, SITES);
		unsigned power = site % 16;

		if (draw(worker, 1u << (power / 2 + 4)) < 16)
			return site;
	}
}

static size_t draw_size(struct worker *worker, unsigned site)
{
	size_t base = (size_t)16 << (site % 16);

	return base + draw(worker, (uint32_t)base);
}

static enum life draw_life(struct worker *worker, unsigned site)
{
	uint32_t chance = draw(worker, 4000);

	if (chance == 0 && site % 16 < 12)
		return LEAK;
	switch (site % 7) {
	case 0: case 1: return AT_ONCE;
	case 2: case 3: return SOON;
	case 4: case 5: return RANDOM;
	default: return CACHE;
	}
}

static __attribute__((noinline)) void grow_buffer(struct worker *worker)
{
	worker->buffer_size = worker->buffer_size ? 2 * worker->buffer_size : 64;
	if (worker->buffer_size > 64 << 10) {
		free(worker->buffer);
		worker->buffer = NULL;
		worker->buffer_size = 0;
		return;
	}
	worker->buffer = realloc(worker->buffer, worker->buffer_size);
	if (!worker->buffer)
		abort();
	worker->buffer[0] = 1;
}

static void keep_block(struct worker *worker, void *block, enum life life)
{
	void **slot = NULL;

	switch (life) {
	case AT_ONCE:
		free(block);
		return;
	case SOON:
		slot = &worker->recent[worker->recent_next++ % RECENT];
		break;
	case RANDOM:
		slot = &worker->held[draw(worker, HELD)];
		break;
	case CACHE:
		if (worker->cached_count == CACHED) {
			while (worker->cached_count > CACHED / 4)
				free(worker->cached[--worker->cached_count]);
		}
		worker->cached[worker->cached_count++] = block;
		return;
	case LEAK:
		return;
	}
	free(*slot);
	*slot = block;
}

static void work(struct worker *worker)
{
	for (int i = 0; i < TICK_OPERATIONS; i++) {
		unsigned site = draw_site(worker);
		size_t size = draw_size(worker, site);
		void *block = ROUTE_OF[draw(worker, ROUTES)](site, size);

		keep_block(worker, block, draw_life(worker, site));
	}
	if (draw(worker, 8) == 0)
		grow_buffer(worker);
}

static void wait_until(unsigned long tick)
{
	struct timespec until = started;

	until.tv_sec += (time_t)(tick / ticks_per_second);
	until.tv_nsec += (long)(tick % ticks_per_second * (1000000000 / ticks_per_second));
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void *run(void *argument)
{
	struct worker *worker = argument;
	char name[16];

	snprintf(name, sizeof(name), "steady %u", worker->number);
	pthread_setname_np(pthread_self(), name);
	for (unsigned long tick = 1; tick <= ticks_all; tick++) {
		work(worker);
		wait_until(tick);
		if (tick % ticks_per_moment == 0) {
			pthread_barrier_wait(&arrived);
			pthread_barrier_wait(&marked);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS];
	static pthread_t threads[THREADS];
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	unsigned long seconds = argc > 2 ? strtoul(argv[2], NULL, 10) : 10;
	char name[32];

	ticks_per_second = argc > 3 ? strtoul(argv[3], NULL, 10) : 100;
	if (seconds == 0 || ticks_per_second == 0 || ticks_per_second > 1000000)
		return 2;
	ticks_all = seconds * ticks_per_second;
	ticks_per_moment = seconds < 480 ? (ticks_all + 7) / 8 : 60 * ticks_per_second;
	pthread_barrier_init(&arrived, NULL, THREADS + 1);
	pthread_barrier_init(&marked, NULL, THREADS + 1);
	clock_gettime(CLOCK_MONOTONIC, &started);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .state = seed * 1000003 + i, .number = i };
		pthread_create(&threads[i], NULL, run, &workers[i]);
	}
	for (unsigned long moment = 1; moment <= ticks_all / ticks_per_moment; moment++) {
		pthread_barrier_wait(&arrived);
		snprintf(name, sizeof(name), "moment %lu", moment);
		if (sctmem_mark)
			sctmem_mark(name);
		pthread_barrier_wait(&marked);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
