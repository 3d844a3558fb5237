/* SPDX-License-Identifier: MIT */
/*
 * A bump allocator over chunks of pages.  Taking memory is one atomic add; when a chunk is used up, whoever finds
 * it so maps another and publishes it.  Two threads may do that at once: one chunk is then given back.
 *
 * All of it is in a list, so that a sample of pages can tell what is ours.  Entries are never taken out: one whose
 * memory was given back says 0 bytes.  The list stays in a fork child, as its memory does.
 */
#include "arena.h"

#include <stdatomic.h>

#include "sys.h"

#include "banned.h"

enum { CHUNK_SIZE = 256 << 10 };

struct region {
	struct region *next;
	uintptr_t start;
	_Atomic size_t size;
};

struct chunk {
	_Atomic size_t used;          /* bytes, this header included */
	struct region region;         /* of the chunk itself */
	char pad[64 - sizeof(size_t) - sizeof(struct region)];
};

static struct chunk *_Atomic current;
static struct region *_Atomic regions;
static _Atomic uint64_t bytes;

static void list(struct region *region, const void *start, size_t size)
{
	region->start = (uintptr_t)start;
	atomic_init(&region->size, size);
	region->next = atomic_load_explicit(&regions, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&regions, &region->next, region,
			memory_order_release, memory_order_relaxed))
		;
}

void arena_note(const void *start, size_t size)
{
	struct region *region = arena_alloc(sizeof(*region));

	/* Without memory for that it counts as somebody else's. */
	if (region)
		list(region, start, size);
}

void *arena_pages(size_t size)
{
	void *pages = sys_map_memory(size);

	if (!pages)
		return NULL;
	atomic_fetch_add_explicit(&bytes, size, memory_order_relaxed);
	arena_note(pages, size);
	return pages;
}

void arena_give(void *pages, size_t size)
{
	struct region *region = atomic_load_explicit(&regions, memory_order_acquire);

	for (; region; region = region->next)
		if (region->start == (uintptr_t)pages)
			atomic_store_explicit(&region->size, 0, memory_order_relaxed);
	sys_unmap(pages, size);
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
		if (!atomic_compare_exchange_strong_explicit(&current, &chunk, fresh,
				memory_order_acq_rel, memory_order_relaxed)) {
			sys_unmap(fresh, CHUNK_SIZE);
			continue;
		}
		atomic_fetch_add_explicit(&bytes, CHUNK_SIZE, memory_order_relaxed);
		list(&fresh->region, fresh, CHUNK_SIZE);
	}
}

bool arena_each(bool (*region)(void *context, uintptr_t start, size_t size), void *context)
{
	for (struct region *at = atomic_load_explicit(&regions, memory_order_acquire); at; at = at->next) {
		const size_t size = atomic_load_explicit(&at->size, memory_order_relaxed);

		if (size && !region(context, at->start, size))
			return false;
	}
	return true;
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
