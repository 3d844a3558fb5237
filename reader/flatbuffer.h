/* SPDX-License-Identifier: MIT */
/*
 * Writes FlatBuffers front to back: a table first, then what its fields point to, and each pointer is filled in when
 * its target is written.  Little-endian; positions are offsets from the start of the buffer, which readers align to 8.
 *
 *     table     [i32 distance to its vtable, before it] [fields]      vtable: u16s: its size, the table's, each field
 *     pointer   u32, the distance forward to its target
 *     text      u32 size, bytes, NUL          vector    u32 count, elements
 */
#ifndef SCTMEM_READER_FLATBUFFER_H
#define SCTMEM_READER_FLATBUFFER_H

#include <stddef.h>
#include <stdint.h>

enum { FLAT_FIELDS_MAX = 8 };

struct flat {
	unsigned char *bytes;
	size_t used, capacity;
};

void flat_finish(struct flat *flat);

/* Empties the buffer and takes room for the pointer to its root table, which is at position 0. */
void flat_begin(struct flat *flat);

/*
 * A table whose field i takes sizes[i] bytes (1, 2, 4 or 8; 0: absent); at[i] becomes its position.  `pointer` is the
 * position of the field that points to it.
 */
void flat_table(struct flat *flat, size_t pointer, const uint8_t *sizes, unsigned count, size_t *at);
void flat_put(struct flat *flat, size_t at, uint64_t value, unsigned size);
void flat_text(struct flat *flat, size_t pointer, const char *text);
/* A vector of `count` elements of `size` bytes each, zeroed; returns the position of the first. */
size_t flat_vector(struct flat *flat, size_t pointer, size_t count, size_t size);

#endif
