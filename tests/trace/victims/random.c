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
 * Its lines are read by oracle/check_random.c, and say a little more than those of journal.h:
 *
 *     f NAME START SIZE                          first: where each function that can be on a stack lies
 *     t THREAD TID                               one of our threads
 *     + KIND ADDRESS SIZE SITE THREAD PATH       KIND as a number of formats/capture.md
 *     - ADDRESS THREAD
 *
 * PATH is the stack as the program knows it: the digits of the path_N between work() and event(), outermost first.
 */
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "journal.h"

enum { SLOTS = 4096, THREADS_MAX = 64, SITES = 8, PATHS = 4, PATH_MAX_LENGTH = 6 };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(void *) slots[SLOTS];
static unsigned long events_left;   /* ordered: guarded by turn */
static unsigned long events_each;   /* loose */
static bool ordered;
static const char *seed;
static struct journal journals[THREADS_MAX];
static _Thread_local struct journal *journal;
static _Thread_local uint64_t random_state;
static _Thread_local unsigned thread_number;
static _Thread_local char path[PATH_MAX_LENGTH + 1];

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void log_free(void *block)
{
	journal_write(journal, "- %lx %u\n", (unsigned long)(uintptr_t)block, thread_number);
}

static void log_alloc(const char *kind, void *block, size_t size, const char *site)
{
	journal_write(journal, "+ %s %lx %zu %s %u %s\n", kind, (unsigned long)(uintptr_t)block, size, site, thread_number,
		path[0] ? path : "-");
}

/* Functions that are on stacks are exported, so that dladdr1 knows them, and are called, not merged or jumped to. */
#define ON_STACKS __attribute__((noinline, noclone, visibility("default")))
#define NO_TAIL_CALL() __asm__ volatile("" ::: "memory")

/* Eight ways to allocate, each a function of its own so that the sites have distinct stacks.  NULL is hidden because
 * gcc makes realloc(NULL, n) a malloc(n). */
#define ALLOCATE(name, kind, call) \
	ON_STACKS void *name(size_t size); \
	ON_STACKS void *name(size_t size) \
	{ \
		void *block = NULL; \
		call; \
		block = hidden(block); \
		log_alloc(kind, block, size, #name); \
		return block; \
	}
ALLOCATE(site_a, "32", block = malloc(size))
ALLOCATE(site_b, "32", block = malloc(size))
ALLOCATE(site_c, "33", block = calloc(1, size))
ALLOCATE(site_d, "34", block = realloc(hidden(NULL), size))
ALLOCATE(site_e, "35", if (posix_memalign(&block, 64, size)) _exit(97))
ALLOCATE(site_f, "36", block = aligned_alloc(32, size))
ALLOCATE(site_g, "37", block = memalign(128, size))
ALLOCATE(site_h, "34", block = reallocarray(hidden(NULL), 1, size))
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

ON_STACKS void *site_resize(void *block, size_t size);
ON_STACKS void *site_resize(void *block, size_t size)
{
	/* ordered: nobody can come between the two lines.  loose: the block is ours alone, its new address too. */
	log_free(block);
	void *grown = hidden(realloc(block, size));
	log_alloc("34", grown, size, "site_resize");
	return grown;
}

ON_STACKS void event(void);
ON_STACKS void event(void)
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

/* Each digit of the path is a function on the stack. */
static void walk(unsigned at);

#define PATH(name) \
	ON_STACKS void name(unsigned at); \
	ON_STACKS void name(unsigned at) \
	{ \
		walk(at + 1); \
		NO_TAIL_CALL(); \
	}
PATH(path_0)
PATH(path_1)
PATH(path_2)
PATH(path_3)

static inline __attribute__((always_inline)) void walk(unsigned at)
{
	static void (*const paths[PATHS])(unsigned) = { path_0, path_1, path_2, path_3 };

	if (path[at])
		paths[path[at] - '0'](at);
	else
		event();
}

static void choose_path(void)
{
	uint64_t dice = random_next();
	unsigned length = (unsigned)(dice >> 32) % (PATH_MAX_LENGTH + 1);

	for (unsigned i = 0; i < length; i++, dice /= PATHS)
		path[i] = (char)('0' + dice % PATHS);
	path[length] = 0;
}

ON_STACKS void *work(void *argument);
ON_STACKS void *work(void *argument)
{
	thread_number = (unsigned)(uintptr_t)argument;
	journal = ordered ? &journals[0] : &journals[thread_number];
	random_state = 0x9e3779b97f4a7c15u * (thread_number + 1) ^ (uint64_t)atoi(seed) << 20;
	unsigned long steps = ordered ? 0 : events_each;
	bool first = true;
	do {
		/* Several in a row now and then: both long runs of one thread and close alternation occur. */
		unsigned run = random_next() % 4 == 0 ? 50 : 1;
		if (ordered)
			pthread_mutex_lock(&turn);
		if (first)
			journal_write(journal, "t %u %d\n", thread_number, (int)gettid());
		first = false;
		unsigned long *left = ordered ? &events_left : &steps;
		for (; run && *left; run--, --*left) {
			if (random_next() % 8 == 0)
				choose_path();
			walk(0);
		}
		bool more = *left > 0;
		if (ordered)
			pthread_mutex_unlock(&turn);
		if (!more)
			break;
	} while (true);
	if (!ordered)
		journal_flush(journal);
	return NULL;
}

static void log_functions(struct journal *first)
{
	static const struct {
		const char *name;
		void *start;
	} functions[] = {
#define FUNCTION(name) { #name, (void *)(uintptr_t)name }
		FUNCTION(site_a), FUNCTION(site_b), FUNCTION(site_c), FUNCTION(site_d), FUNCTION(site_e), FUNCTION(site_f),
		FUNCTION(site_g), FUNCTION(site_h), FUNCTION(site_resize), FUNCTION(event), FUNCTION(path_0),
		FUNCTION(path_1), FUNCTION(path_2), FUNCTION(path_3), FUNCTION(work),
	};
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		Dl_info info;
		const ElfW(Sym) *symbol = NULL;
		if (!dladdr1(functions[i].start, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol || !symbol->st_size)
			_exit(96);
		journal_write(first, "f %s %lx %lu\n", functions[i].name, (unsigned long)(uintptr_t)functions[i].start,
			(unsigned long)symbol->st_size);
	}
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	ordered = !strcmp(argv[1], "ordered");
	seed = argv[2];
	unsigned threads = (unsigned)atoi(argv[4]);
	if (threads == 0 || threads > THREADS_MAX)
		return 2;
	events_left = strtoul(argv[3], NULL, 10);
	events_each = events_left / threads;
	for (unsigned i = 0; i < (ordered ? 1 : threads); i++) {
		char file[4096];
		snprintf(file, sizeof file, ordered ? "%s" : "%s.%u", argv[5], i);
		journal_open(&journals[i], file);
	}
	log_functions(&journals[0]);
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
