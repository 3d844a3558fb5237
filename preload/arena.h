/* SPDX-License-Identifier: MIT */
/* Memory for the library itself: never the traced program's allocator, never freed. */
#ifndef SCTMEM_PRELOAD_ARENA_H
#define SCTMEM_PRELOAD_ARENA_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory aligned to 16 bytes; NULL when there is none.  Any thread, any moment. */
void *arena_alloc(size_t size);
/* Whole zeroed pages of their own. */
void *arena_pages(size_t size);
/* Bytes taken so far. */
uint64_t arena_bytes(void);
/* In a fork child: start anew; what the parent took stays where it is. */
void arena_reset(void);

#endif
