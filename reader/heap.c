/* SPDX-License-Identifier: MIT */
/* See heap.h.  All of it is advice: what the kernel or malloc refuses is left as it was. */
#include "heap.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

/* Sanitizers have allocators of their own. */
void heap_prepare(void)
{
}

#else

enum {
	OWN_MAPPING_SIZE = 4 << 20,   /* once that is used up: larger blocks grow by moving pages, not by copying */
	KEPT_SIZE = 256 << 20,        /* free at the heap's end, before it is given back */
	STEP_SIZE = 1 << 20,
	RESERVED_SIZE = 64 << 20,     /* of address space; pages come as they are used */
	HUGE_SIZE = 2 << 20,
};

/*
 * The heap begins one page before the first of huge pages: malloc writes to its beginning before they can be asked for,
 * and of a stretch with a small page the kernel makes no huge one.
 */
static void move_start(void)
{
	const intptr_t page = sysconf(_SC_PAGESIZE), start = (intptr_t)sbrk(0);

	if (page > 0 && start > 0)
		sbrk((HUGE_SIZE - page - start) & (HUGE_SIZE - 1));
}

void heap_prepare(void)
{
	mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_SIZE);
	mallopt(M_TRIM_THRESHOLD, KEPT_SIZE);
	move_start();
	const uintptr_t start = (uintptr_t)sbrk(0);
	mallopt(M_TOP_PAD, RESERVED_SIZE);
	/* The first block has the heap grow at once by all that is reserved; where there is a heap, one that has no room. */
	for (size_t size = 1; size <= STEP_SIZE && (uintptr_t)sbrk(0) == start; size *= STEP_SIZE) {
		void *volatile block = malloc(size);
		free(block);
	}
	mallopt(M_TOP_PAD, STEP_SIZE);
	const uintptr_t end = (uintptr_t)sbrk(0);
	if (end < start || end - start < RESERVED_SIZE)
		return;
	const uintptr_t from = (start + HUGE_SIZE - 1) & ~(uintptr_t)(HUGE_SIZE - 1);
	madvise((void *)from, (end & ~(uintptr_t)(HUGE_SIZE - 1)) - from, MADV_HUGEPAGE);
}

#endif
