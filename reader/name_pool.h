/* SPDX-License-Identifier: MIT */
/*
 * Names that are kept once and live until the pool does: equal names have equal pointers.  One pool belongs to one
 * module, so that threads that resolve different modules share nothing.
 */
#ifndef SCTMEM_READER_NAME_POOL_H
#define SCTMEM_READER_NAME_POOL_H

#include <stddef.h>
#include <stdint.h>

struct name_block;

/* All zeros is an empty pool. */
struct name_pool {
	struct name_block *blocks;    /* the newest first; bytes are only ever appended */
	const char **slots;           /* open addressing, a power of two; NULL: free */
	uint64_t *hashes;             /* of the slots */
	size_t slot_count, used;
};

const char *name_pool_keep(struct name_pool *pool, const char *name);
void name_pool_finish(struct name_pool *pool);

#endif
