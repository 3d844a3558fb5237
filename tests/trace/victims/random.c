/* SPDX-License-Identifier: MIT */
/*
 * A seeded random program:  random MODE SEED EVENTS THREADS JOURNAL
 *
 *   ordered   each event and its line in the journal are made under one lock, whichever thread makes it, so that the
 *             journal is the true history of the whole process: every total, the live set and the peak follow from it.
 *   loose     the threads run free of each other and keep a journal each (JOURNAL.0, ...).  Blocks pass from thread to
 *             thread through shared slots.  The history of each thread and the totals follow from the journals.
 *
 * The journal of a freed block is written before the free, that of an allocation after it, as the capture has it.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "journal.h"

enum { SLOTS = 4096, THREADS_MAX = 64, SITES = 8 };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(void *) slots[SLOTS];
static unsigned long events_left;   /* ordered: guarded by turn */
static unsigned long events_each;   /* loose */
static bool ordered;
static struct journal journals[THREADS_MAX];
static _Thread_local struct journal *journal;
static _Thread_local uint64_t random_state;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void log_free(void *block)
{
	journal_write(journal, "- %lx\n", (unsigned long)(uintptr_t)block);
}

static void log_alloc(const char *kind, void *block, size_t size, const char *site)
{
	journal_write(journal, "+ %s %lx %zu %s\n", kind, (unsigned long)(uintptr_t)block, size, site);
}

/* Eight ways to allocate, each a function of its own so that the sites have distinct stacks.  NULL is hidden because
 * gcc makes realloc(NULL, n) a malloc(n). */
#define ALLOCATE(name, kind, call) \
	__attribute__((noinline)) static void *name(size_t size) \
	{ \
		void *block = NULL; \
		call; \
		block = hidden(block); \
		log_alloc(kind, block, size, #name); \
		return block; \
	}
ALLOCATE(site_a, "MALLOC", block = malloc(size))
ALLOCATE(site_b, "MALLOC", block = malloc(size))
ALLOCATE(site_c, "CALLOC", block = calloc(1, size))
ALLOCATE(site_d, "REALLOC", block = realloc(hidden(NULL), size))
ALLOCATE(site_e, "POSIX_MEMALIGN", if (posix_memalign(&block, 64, size)) _exit(97))
ALLOCATE(site_f, "ALIGNED_ALLOC", block = aligned_alloc(32, size))
ALLOCATE(site_g, "MEMALIGN", block = memalign(128, size))
ALLOCATE(site_h, "REALLOC", block = reallocarray(hidden(NULL), 1, size))
static void *(*const sites[SITES])(size_t) = { site_a, site_b, site_c, site_d, site_e, site_f, site_g, site_h };

/* Mostly small, some of some pages, few beyond the mmap threshold. */
static size_t random_size(void)
{
	uint64_t r = random_next();
	if (r % 1000 == 0)
		return 1 + (r >> 32) % (1 << 20);
	if (r % 20 == 0)
		return 1 + (r >> 32) % 20000;
	return 1 + (r >> 32) % 600;
}

__attribute__((noinline)) static void *site_resize(void *block, size_t size)
{
	/* ordered: nobody can come between the two lines.  loose: the block is ours alone, its new address too. */
	log_free(block);
	void *grown = hidden(realloc(block, size));
	log_alloc("REALLOC", grown, size, "site_resize");
	return grown;
}

static void event(void)
{
	_Atomic(void *) *slot = &slots[random_next() % SLOTS];
	void *block = atomic_exchange(slot, NULL);
	uint64_t dice = random_next() % 8;
	if (!block) {
		block = sites[dice](random_size());
	} else if (dice < 2) {
		block = site_resize(block, random_size());
	} else {
		log_free(block);
		free(block);
		return;
	}
	block = atomic_exchange(slot, block);
	if (block) {
		log_free(block);
		free(block);
	}
}

static void *work(void *argument)
{
	unsigned index = (unsigned)(uintptr_t)argument;
	journal = ordered ? &journals[0] : &journals[index];
	random_state = 0x9e3779b97f4a7c15u * (index + 1) ^ (uint64_t)atoi(getenv("RANDOM_SEED")) << 20;
	if (!ordered) {
		for (unsigned long i = 0; i < events_each; i++)
			event();
		journal_flush(journal);
		return NULL;
	}
	for (;;) {
		/* Several in a row now and then: both long runs of one thread and close alternation occur. */
		unsigned run = random_next() % 4 == 0 ? 50 : 1;
		pthread_mutex_lock(&turn);
		for (; run && events_left; run--, events_left--)
			event();
		bool more = events_left > 0;
		pthread_mutex_unlock(&turn);
		if (!more)
			return NULL;
	}
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	ordered = !strcmp(argv[1], "ordered");
	setenv("RANDOM_SEED", argv[2], 1);
	unsigned threads = (unsigned)atoi(argv[4]);
	if (threads == 0 || threads > THREADS_MAX)
		return 2;
	events_left = strtoul(argv[3], NULL, 10);
	events_each = events_left / threads;
	for (unsigned i = 0; i < (ordered ? 1 : threads); i++) {
		char path[4096];
		snprintf(path, sizeof path, ordered ? "%s" : "%s.%u", argv[5], i);
		journal_open(&journals[i], path);
	}
	pthread_t ids[THREADS_MAX];
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, work, (void *)(uintptr_t)i))
			return 3;
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	if (ordered)
		journal_flush(&journals[0]);
	return 0;
}
