/* SPDX-License-Identifier: MIT */
/*
 * Growing arrays, maps, pools and strings; see table.h.
 */
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <xxhash.h>

bool fail_memory(struct error *error)
{
	return fail(error, STATUS_MEMORY, "out of memory: close other programs, or read the capture on a larger machine");
}

bool array_widen(void *array, size_t *capacity, size_t needed, size_t size, struct error *error)
{
	size_t wanted = *capacity ? *capacity : 16;
	size_t bytes;
	void *old, *grown;

	if (needed <= *capacity)
		return true;
	while (wanted < needed) {
		if (__builtin_mul_overflow(wanted, (size_t)2, &wanted))
			return fail_memory(error);
	}
	if (__builtin_mul_overflow(wanted, size, &bytes))
		return fail_memory(error);
	memcpy(&old, array, sizeof(old));
	grown = realloc(old, bytes);
	if (!grown)
		return fail_memory(error);
	memcpy(array, &grown, sizeof(grown));
	*capacity = wanted;
	return true;
}

bool array_grow(void *array, size_t *capacity, size_t needed, size_t size, struct error *error)
{
	const size_t before = *capacity;
	char *grown;

	if (!array_widen(array, capacity, needed, size, error))
		return false;
	memcpy(&grown, array, sizeof(grown));
	memset(grown + before * size, 0, (*capacity - before) * size);
	return true;
}

uint64_t table_seed(void)
{
	static uint64_t seed;
	uint64_t known = __atomic_load_n(&seed, __ATOMIC_RELAXED);

	if (known)
		return known;
	if (getrandom(&known, sizeof(known), GRND_NONBLOCK) != (ssize_t)sizeof(known)) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		known = ((uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^ (uintptr_t)&now) * 0xd1342543de82ef95u;
	}
	known |= (uint64_t)1 << 63 | 1;
	__atomic_store_n(&seed, known, __ATOMIC_RELAXED);
	return known;
}

static bool map64_allocate(struct map64 *map, unsigned bits, struct error *error)
{
	size_t count = (size_t)1 << bits;

	map->slots = malloc(count * sizeof(*map->slots));
	if (!map->slots)
		return fail_memory(error);
	memset(map->slots, 0xff, count * sizeof(*map->slots));
	map->shift = 64 - bits;
	return true;
}

bool map64_init(struct map64 *map, size_t expected, struct error *error)
{
	unsigned bits = 4;

	while (bits < 40 && ((size_t)1 << bits) / 4 * 3 < expected)
		bits++;
	*map = (struct map64){ .seed = table_seed() };
	return map64_allocate(map, bits, error);
}

void map64_finish(struct map64 *map)
{
	free(map->slots);
	*map = (struct map64){ 0 };
}

bool map64_grow(struct map64 *map, struct error *error)
{
	struct map64 old = *map;

	if (!map64_allocate(map, 64 - old.shift + 1, error)) {
		*map = old;
		return false;
	}
	for (size_t i = 0; i <= map64_mask(&old); i++) {
		if (old.slots[i].value != MAP64_NONE)
			*map64_slot(map, old.slots[i].key) = old.slots[i];
	}
	free(old.slots);
	return true;
}

bool map64_put(struct map64 *map, uint64_t key, uint32_t value, struct error *error)
{
	struct map64_slot *slot;

	if (!map->slots && !map64_init(map, 0, error))
		return false;
	slot = map64_slot(map, key);
	if (slot->value == MAP64_NONE) {
		if (map->count + 1 > (map64_mask(map) + 1) / 4 * 3) {
			if (!map64_grow(map, error))
				return false;
			slot = map64_slot(map, key);
		}
		map->count++;
	}
	*slot = (struct map64_slot){ .key = key, .value = value };
	return true;
}

struct pool_chunk {
	struct pool_chunk *next;
	char bytes[];
};

void *pool_take(struct pool *pool, size_t size)
{
	enum { CHUNK = 64 * 1024 };
	struct pool_chunk *chunk;
	void *piece;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + 7) & ~(size_t)7;
	if (size > pool->left) {
		size_t bytes = size > CHUNK / 4 ? size : CHUNK;

		chunk = malloc(sizeof(*chunk) + bytes);
		if (!chunk)
			return NULL;
		chunk->next = pool->chunks;
		pool->chunks = chunk;
		if (bytes == size)
			return chunk->bytes;      /* a large piece has its own chunk; the current one goes on */
		pool->at = chunk->bytes;
		pool->left = bytes;
	}
	piece = pool->at;
	pool->at += size;
	pool->left -= size;
	return piece;
}

char *pool_copy(struct pool *pool, const void *bytes, size_t size)
{
	char *copy = pool_take(pool, size + 1);

	if (copy) {
		if (size)
			memcpy(copy, bytes, size);
		copy[size] = '\0';
	}
	return copy;
}

void pool_finish(struct pool *pool)
{
	while (pool->chunks) {
		struct pool_chunk *chunk = pool->chunks;

		pool->chunks = chunk->next;
		free(chunk);
	}
	*pool = (struct pool){ 0 };
}

static void strings_place(struct strings *strings, uint32_t id)
{
	size_t i = strings->hashes[id] & (strings->slot_count - 1);

	while (strings->slots[i])
		i = (i + 1) & (strings->slot_count - 1);
	strings->slots[i] = id + 1;
}

static bool strings_resize(struct strings *strings, size_t slot_count, struct error *error)
{
	uint32_t *slots = calloc(slot_count, sizeof(*slots));

	if (!slots)
		return fail_memory(error);
	free(strings->slots);
	strings->slots = slots;
	strings->slot_count = slot_count;
	for (uint32_t id = 0; id < strings->count; id++)
		strings_place(strings, id);
	return true;
}

bool strings_init(struct strings *strings, struct error *error)
{
	uint32_t id;

	*strings = (struct strings){ 0 };
	return strings_resize(strings, 256, error) && strings_add(strings, "", &id, error);
}

void strings_finish(struct strings *strings)
{
	pool_finish(&strings->pool);
	free(strings->texts);
	free(strings->hashes);
	free(strings->slots);
	*strings = (struct strings){ 0 };
}

bool strings_add(struct strings *strings, const char *text, uint32_t *id, struct error *error)
{
	size_t size = strlen(text);
	uint32_t hash = (uint32_t)(XXH3_64bits_withSeed(text, size, table_seed()) >> 32);
	size_t i = hash & (strings->slot_count - 1);

	for (; strings->slots[i]; i = (i + 1) & (strings->slot_count - 1)) {
		*id = strings->slots[i] - 1;
		if (strings->hashes[*id] == hash && strcmp(strings->texts[*id], text) == 0)
			return true;
	}
	if (!array_reserve(&strings->texts, &strings->capacity, strings->count + 1, sizeof(*strings->texts), error) ||
	    !array_reserve(&strings->hashes, &strings->hash_capacity, strings->count + 1, sizeof(*strings->hashes), error))
		return false;
	char *copy = pool_copy(&strings->pool, text, size);
	if (!copy)
		return fail_memory(error);
	*id = strings->count++;
	strings->texts[*id] = copy;
	strings->hashes[*id] = hash;
	strings_place(strings, *id);
	return strings->count * (size_t)2 <= strings->slot_count ||
		strings_resize(strings, strings->slot_count * 2, error);
}
