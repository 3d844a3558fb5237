/* SPDX-License-Identifier: MIT */
/*
 * A random program of several threads, made up as a list of lives: who allocated what, where, when, how its size
 * changed, who ended it.  It is written as a capture, so that what reads captures can be held against the list.
 */
#ifndef SCTMEM_TESTS_RANDOM_LIVES_H
#define SCTMEM_TESTS_RANDOM_LIVES_H

#include <stdbool.h>
#include <stdint.h>

enum {
	PAGE_SAMPLES_MAX = 4, PAGE_RANGES_MAX = 128, RANGE_PAGES_MAX = 1024,
	THREADS = 4, STEPS = 1800, LIVES_MAX = 4000, CHANGES_MAX = 6, SAMPLES_MAX = 400, ARENAS = 12, NOBODY = -1,
	ARENA = 1000,                     /* the code of an arena's life, which is a mapping in the capture */
};
#define ARENA_BASE 0x200000000ul
#define LARGE_BASE 0x300000000ul
#define MIB ((uint64_t)1 << 20)
/* Memory without blocks: pages of it are the recorder's, a thread's stack, or a module's. */
#define EXTRA_BASE 0x500000000ul
enum {
	EXTRA_PAGES = 256, EXTRA_OWN = 10, EXTRA_OWN_END = 40, EXTRA_STACK = 35, EXTRA_STACK_END = 90, EXTRA_MODULE = 80,
	EXTRA_MODULE_END = 150, EXTRA_RECORDER = 200, EXTRA_RECORDER_END = 220,
};

/* A block or mapping from its birth to its end.  Steps are moments: a state is that behind a step. */
struct life {
	unsigned thread, stack, code;
	uint64_t address;
	unsigned born, ended;             /* steps; ended is STEPS while it lives */
	int ended_by;                     /* thread; NOBODY: it lives at the end */
	/* The first is that of its birth; UINT64_MAX while it moves. */
	struct { unsigned step; uint64_t size; } sizes[CHANGES_MAX];
	unsigned size_count;
	int before, after;                /* lives joined by realloc; -1: none */
};

extern struct life lives[LIVES_MAX];
extern unsigned life_count;
extern uint64_t step_ns[STEPS + 1];
extern struct life_sample { unsigned step; uint64_t anonymous, counted; } samples[SAMPLES_MAX];
extern unsigned sample_count;

/* What pages were behind a step; what is in no range was not looked at. */
enum { LIFE_ABSENT, LIFE_RESIDENT, LIFE_SWAPPED, LIFE_STATES };
extern struct life_pages {
	unsigned step, range_count;
	bool swap_told;
	struct life_page_range {
		uint64_t first;               /* page */
		unsigned kind, count;
		uint8_t states[RANGE_PAGES_MAX];
	} ranges[PAGE_RANGES_MAX];
} page_samples[PAGE_SAMPLES_MAX];
extern unsigned page_sample_count;

/* Makes up the program of this number, and writes its capture.  Threads have the tids 100 on, stacks are f0 on. */
void lives_write(const char *path, uint64_t seed);

unsigned lives_draw(unsigned below);

/* The size of a life behind a step; UINT64_MAX: it does not live. */
uint64_t life_size_at(const struct life *life, unsigned step);
uint64_t life_last_size(const struct life *life);
/* Counted memory behind a step. */
uint64_t lives_counted_at(unsigned step);

#endif
