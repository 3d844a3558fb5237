/* SPDX-License-Identifier: MIT */
/*
 * Writes messages of protocol buffers.  A message is put together in memory, since its length comes before it, and
 * goes into its parent or into a stream; so memory grows with the largest message, not with the file.
 *
 *     field := varint(number << 3 | type) value      types: 0 varint, 1 eight bytes, 2 a length and so many bytes
 */
#ifndef SCTMEM_READER_PROTOBUF_H
#define SCTMEM_READER_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct protobuf {
	unsigned char *bytes;
	size_t used, capacity;
};

void protobuf_finish(struct protobuf *message);

void protobuf_number(struct protobuf *message, unsigned field, uint64_t value);
/* As proto3 does: a field with its default value is not written. */
void protobuf_number_unless_zero(struct protobuf *message, unsigned field, uint64_t value);
void protobuf_double(struct protobuf *message, unsigned field, double value);
void protobuf_bytes(struct protobuf *message, unsigned field, const void *bytes, size_t size);
void protobuf_text(struct protobuf *message, unsigned field, const char *text);
void protobuf_packed(struct protobuf *message, unsigned field, const uint64_t *values, size_t count);
/* Puts inner into message, and empties it. */
void protobuf_message(struct protobuf *message, unsigned field, struct protobuf *inner);
/* Writes inner as a field of the message that the stream is, and empties it. */
void protobuf_write(FILE *file, unsigned field, struct protobuf *inner);

#endif
