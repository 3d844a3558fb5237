/* SPDX-License-Identifier: MIT */
/*
 * A program that does the same each time: sampled SEED MODE, for tests of sampling and of capped captures.
 *
 *     plain      one thread: blocks of many sizes, kept, freed at once or later, and resized
 *     threads    the same in four threads, which free each other's blocks
 *     fork       the same, and a child that goes on with what it inherited
 *     long       one thread, forty times as long
 *     loop       until it is killed; prints a line when it is under way
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 6000, STEPS = 60000, THREADS = 4 };

static void *_Atomic slots[SLOTS];

static uint32_t draw(uint64_t *state, uint32_t below)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((*state >> 33) % below);
}

static size_t draw_size(uint64_t *state)
{
	switch (draw(state, 20)) {
	case 0: return draw(state, 60000);
	case 1: case 2: case 3: return 500 + draw(state, 4000);
	default: return 1 + draw(state, 200);
	}
}

static __attribute__((noinline)) void *keep(size_t size)
{
	return malloc(size);
}

static __attribute__((noinline)) void *lend(size_t size)
{
	return calloc(1, size);
}

/* Grows the heap over the first two thirds, and lets it shrink. */
static void work(uint64_t *state, int steps)
{
	for (int i = 0; i < steps; i++) {
		void *_Atomic *slot = &slots[draw(state, SLOTS)];
		void *block = __atomic_exchange_n((void **)slot, NULL, __ATOMIC_SEQ_CST);
		uint32_t what = draw(state, 10);

		if (what < 2) {
			char *text = lend(draw_size(state));

			text[0] = 1;
			free(text);
		} else if (what < 4 && block) {
			block = realloc(block, draw_size(state) + 1);
		} else if (!block && (i < steps / 3 * 2 || what == 4)) {
			block = keep(draw_size(state));
		} else {
			free(block);
			block = NULL;
		}
		block = __atomic_exchange_n((void **)slot, block, __ATOMIC_SEQ_CST);
		free(block);
	}
}

static void *thread_work(void *argument)
{
	uint64_t state = (uintptr_t)argument;

	work(&state, STEPS / THREADS);
	return NULL;
}

static void run_threads(uint64_t seed)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, thread_work, (void *)(uintptr_t)(seed * THREADS + (uint64_t)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	uint64_t state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	const char *mode = argc > 2 ? argv[2] : "plain";

	if (strcmp(mode, "threads") == 0) {
		run_threads(state);
	} else if (strcmp(mode, "fork") == 0) {
		work(&state, STEPS / 2);
		if (fork() == 0) {
			work(&state, STEPS / 2);
			exit(0);
		}
		work(&state, STEPS / 2);
		wait(NULL);
	} else if (strcmp(mode, "long") == 0) {
		for (int turn = 0; turn < 40; turn++)
			work(&state, STEPS);
	} else if (strcmp(mode, "loop") == 0) {
		for (int turn = 0;; turn++) {
			run_threads(state + (uint64_t)turn);
			if (turn == 0 && write(1, "under way\n", 10) != 10)
				return 1;
		}
	} else {
		work(&state, STEPS);
	}
	return 0;
}
