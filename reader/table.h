/* SPDX-License-Identifier: MIT */
/*
 * Flat tables of the reader: growing arrays, a map from 64-bit keys to 32-bit values, and a bump pool whose
 * pieces are freed together.  Keys come from untrusted files, so hashes are multiplied by a number that is
 * drawn at random once a run: nobody can prepare a file whose keys all fall into one slot.
 */
#ifndef SCTMEM_READER_TABLE_H
#define SCTMEM_READER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

MUST_CHECK bool array_grow(void *array, size_t *capacity, size_t needed, size_t size, struct error *error);

/* Makes room for `needed` elements of `size` bytes in *array; what is new is zeroed.  Grows by doubling. */
MUST_CHECK static inline bool array_reserve(void *array, size_t *capacity, size_t needed, size_t size,
	struct error *error)
{
	return __builtin_expect(needed <= *capacity, 1) || array_grow(array, capacity, needed, size, error);
}

/* The same, but what is new may hold anything: pages that are never used are never touched. */
MUST_CHECK bool array_widen(void *array, size_t *capacity, size_t needed, size_t size, struct error *error);

/* The status and text of every lack of memory. */
bool fail_memory(struct error *error);

/* An odd number drawn at random once a run. */
uint64_t table_seed(void);

/* Mixes all bits of the key into the upper bits of the result. */
static inline uint64_t table_hash(uint64_t key, uint64_t seed)
{
	key *= seed;
	key ^= key >> 32;
	return key * 0x9e3779b97f4a7c15u;
}

enum { MAP64_NONE = UINT32_MAX };

struct map64_slot {
	uint64_t key;
	uint32_t value;               /* MAP64_NONE: the slot is free */
};

/* Keys are never removed.  All zero is an empty map. */
struct map64 {
	struct map64_slot *slots;
	uint64_t seed;
	size_t count;
	unsigned shift;               /* 64 - log2(slots) */
};

MUST_CHECK bool map64_init(struct map64 *map, size_t expected, struct error *error);
void map64_finish(struct map64 *map);
MUST_CHECK bool map64_grow(struct map64 *map, struct error *error);

static inline size_t map64_mask(const struct map64 *map)
{
	return ((size_t)1 << (64 - map->shift)) - 1;
}

/* The slot of key, or the free one where it belongs.  The map must have been initialised. */
static inline struct map64_slot *map64_slot(const struct map64 *map, uint64_t key)
{
	size_t mask = map64_mask(map);
	size_t i = (size_t)(table_hash(key, map->seed) >> map->shift);

	while (map->slots[i].value != MAP64_NONE && map->slots[i].key != key)
		i = (i + 1) & mask;
	return &map->slots[i];
}

static inline uint32_t map64_get(const struct map64 *map, uint64_t key)
{
	return map->slots ? map64_slot(map, key)->value : MAP64_NONE;
}

/* Sets key's value; value is not MAP64_NONE. */
MUST_CHECK bool map64_put(struct map64 *map, uint64_t key, uint32_t value, struct error *error);

/* Memory that is freed all at once. */
struct pool_chunk;
struct pool {
	struct pool_chunk *chunks;
	size_t left;
	char *at;
};

/* NULL when there is no memory.  Aligned to 8. */
void *pool_take(struct pool *pool, size_t size);
/* A copy of the bytes with a NUL after them. */
char *pool_copy(struct pool *pool, const void *bytes, size_t size);
void pool_finish(struct pool *pool);

/* Strings, each kept once; ids are dense from 0, which is "". */
struct strings {
	struct pool pool;
	const char **texts;
	uint32_t *hashes;
	size_t capacity, hash_capacity;
	uint32_t count;
	uint32_t *slots;              /* id + 1; 0: free */
	size_t slot_count;
};

MUST_CHECK bool strings_init(struct strings *strings, struct error *error);
void strings_finish(struct strings *strings);
MUST_CHECK bool strings_add(struct strings *strings, const char *text, uint32_t *id, struct error *error);

#endif
