/* SPDX-License-Identifier: MIT */
/*
 * See flatbuffer.h.
 */
#include "flatbuffer.h"

#include <assert.h>
#include <string.h>

#include "memory.h"

enum { TABLE_ALIGNMENT = 8 };

void flat_finish(struct flat *flat)
{
	free(flat->bytes);
	*flat = (struct flat){ 0 };
}

/* Zeroed room whose position is `before` less than a multiple of alignment. */
static size_t take(struct flat *flat, size_t size, size_t alignment, size_t before)
{
	const size_t at = (flat->used + before + alignment - 1) / alignment * alignment - before;

	flat->bytes = memory_grow(flat->bytes, &flat->capacity, at + size, 1);
	memset(flat->bytes + flat->used, 0, at + size - flat->used);
	flat->used = at + size;
	return at;
}

void flat_put(struct flat *flat, size_t at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		flat->bytes[at + i] = (unsigned char)(value >> 8 * i);
}

void flat_begin(struct flat *flat)
{
	flat->used = 0;
	take(flat, 4, 4, 0);
}

void flat_table(struct flat *flat, size_t pointer, const uint8_t *sizes, unsigned count, size_t *at)
{
	const size_t vtable = take(flat, 4 + 2 * (size_t)count, 2, 0);
	size_t table, size = 4;

	assert(count <= FLAT_FIELDS_MAX);
	for (unsigned i = 0; i < count; i++) {
		if (sizes[i] == 0)
			continue;
		size = (size + sizes[i] - 1) / sizes[i] * sizes[i];
		at[i] = size;
		size += sizes[i];
	}
	table = take(flat, size, TABLE_ALIGNMENT, 0);
	flat_put(flat, vtable, 4 + 2 * count, 2);
	flat_put(flat, vtable + 2, size, 2);
	for (unsigned i = 0; i < count; i++) {
		if (sizes[i] == 0)
			continue;
		flat_put(flat, vtable + 4 + 2 * (size_t)i, at[i], 2);
		at[i] += table;
	}
	flat_put(flat, table, table - vtable, 4);
	flat_put(flat, pointer, table - pointer, 4);
}

void flat_text(struct flat *flat, size_t pointer, const char *text)
{
	const size_t size = strlen(text), at = take(flat, 4 + size + 1, 4, 0);

	flat_put(flat, at, size, 4);
	memcpy(flat->bytes + at + 4, text, size);
	flat_put(flat, pointer, at - pointer, 4);
}

size_t flat_vector(struct flat *flat, size_t pointer, size_t count, size_t size)
{
	const size_t at = take(flat, 4 + count * size, size < 4 ? 4 : 8, 4);

	flat_put(flat, at, count, 4);
	flat_put(flat, pointer, at - pointer, 4);
	return at + 4;
}
