/* SPDX-License-Identifier: MIT */
/*
 * A bump allocator over chunks of pages.  Taking memory is one atomic add; when a chunk is used up, whoever finds
 * it so maps another and publishes it.  Two threads may do that at once: one chunk is then given back.
 */
#include "arena.h"

#include <stdatomic.h>

#include "sys.h"

#include "banned.h"

enum { CHUNK_SIZE = 256 << 10 };

struct chunk {
	_Atomic size_t used;          /* bytes, this header included */
	char pad[64 - sizeof(size_t)];
};

static struct chunk *_Atomic current;
static _Atomic uint64_t bytes;

void *arena_pages(size_t size)
{
	void *pages = sys_map_memory(size);

	if (pages)
		atomic_fetch_add_explicit(&bytes, size, memory_order_relaxed);
	return pages;
}

void *arena_alloc(size_t size)
{
	size = (size + 15) & ~(size_t)15;
	if (size > CHUNK_SIZE / 4)
		return arena_pages(size);
	for (;;) {
		struct chunk *chunk = atomic_load_explicit(&current, memory_order_acquire);

		if (chunk) {
			size_t at = atomic_fetch_add_explicit(&chunk->used, size, memory_order_relaxed);

			if (at + size <= CHUNK_SIZE)
				return (char *)chunk + at;
		}
		struct chunk *fresh = sys_map_memory(CHUNK_SIZE);

		if (!fresh)
			return NULL;
		atomic_store_explicit(&fresh->used, sizeof(*fresh), memory_order_relaxed);
		if (atomic_compare_exchange_strong_explicit(&current, &chunk, fresh,
				memory_order_acq_rel, memory_order_relaxed))
			atomic_fetch_add_explicit(&bytes, CHUNK_SIZE, memory_order_relaxed);
		else
			sys_unmap(fresh, CHUNK_SIZE);
	}
}

uint64_t arena_bytes(void)
{
	return atomic_load_explicit(&bytes, memory_order_relaxed);
}

void arena_reset(void)
{
	atomic_store_explicit(&current, NULL, memory_order_relaxed);
	atomic_store_explicit(&bytes, 0, memory_order_relaxed);
}
