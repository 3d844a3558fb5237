/* SPDX-License-Identifier: MIT */
/* Memory for the library itself: never the traced program's allocator. */
#ifndef SCTMEM_PRELOAD_ARENA_H
#define SCTMEM_PRELOAD_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory aligned to 16 bytes, for good; NULL when there is none.  Any thread, any moment. */
void *arena_alloc(size_t size);
/* Whole zeroed pages of their own, */
void *arena_pages(size_t size);
/* which may be given back. */
void arena_give(void *pages, size_t size);
/* Of pages from elsewhere: that they are ours, too.  arena_give gives them back. */
void arena_note(const void *start, size_t size);
/* Bytes taken so far. */
uint64_t arena_bytes(void);
/* Calls for all memory that is ours, until false. */
bool arena_each(bool (*region)(void *context, uintptr_t start, size_t size), void *context);
/* In a fork child: start anew; what the parent took stays where it is. */
void arena_reset(void);

#endif
