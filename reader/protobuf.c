/* SPDX-License-Identifier: MIT */
/*
 * See protobuf.h.
 */
#include "protobuf.h"

#include <string.h>

#include "memory.h"

enum { TYPE_VARINT = 0, TYPE_EIGHT_BYTES = 1, TYPE_BYTES = 2, VARINT_SIZE_MAX = 10 };

void protobuf_finish(struct protobuf *message)
{
	free(message->bytes);
	*message = (struct protobuf){ 0 };
}

static size_t encode_varint(unsigned char *to, uint64_t value)
{
	size_t size = 0;

	for (; value > 0x7f; value >>= 7)
		to[size++] = (unsigned char)(value | 0x80);
	to[size++] = (unsigned char)value;
	return size;
}

static unsigned char *reserve(struct protobuf *message, size_t size)
{
	message->bytes = memory_grow(message->bytes, &message->capacity, message->used + size, 1);
	return message->bytes + message->used;
}

static void put_varint(struct protobuf *message, uint64_t value)
{
	message->used += encode_varint(reserve(message, VARINT_SIZE_MAX), value);
}

static void put_tag(struct protobuf *message, unsigned field, unsigned type)
{
	put_varint(message, (uint64_t)field << 3 | type);
}

static void put_bytes(struct protobuf *message, const void *bytes, size_t size)
{
	if (size)
		memcpy(reserve(message, size), bytes, size);
	message->used += size;
}

void protobuf_number(struct protobuf *message, unsigned field, uint64_t value)
{
	put_tag(message, field, TYPE_VARINT);
	put_varint(message, value);
}

void protobuf_number_unless_zero(struct protobuf *message, unsigned field, uint64_t value)
{
	if (value)
		protobuf_number(message, field, value);
}

void protobuf_double(struct protobuf *message, unsigned field, double value)
{
	put_tag(message, field, TYPE_EIGHT_BYTES);
	put_bytes(message, &value, sizeof(value));
}

void protobuf_bytes(struct protobuf *message, unsigned field, const void *bytes, size_t size)
{
	put_tag(message, field, TYPE_BYTES);
	put_varint(message, size);
	put_bytes(message, bytes, size);
}

void protobuf_text(struct protobuf *message, unsigned field, const char *text)
{
	protobuf_bytes(message, field, text, strlen(text));
}

void protobuf_packed(struct protobuf *message, unsigned field, const uint64_t *values, size_t count)
{
	unsigned char one[VARINT_SIZE_MAX];
	size_t size = 0;

	for (size_t i = 0; i < count; i++)
		size += encode_varint(one, values[i]);
	put_tag(message, field, TYPE_BYTES);
	put_varint(message, size);
	for (size_t i = 0; i < count; i++)
		put_varint(message, values[i]);
}

void protobuf_message(struct protobuf *message, unsigned field, struct protobuf *inner)
{
	protobuf_bytes(message, field, inner->bytes, inner->used);
	inner->used = 0;
}

void protobuf_write(FILE *file, unsigned field, struct protobuf *inner)
{
	unsigned char head[2 * VARINT_SIZE_MAX];
	size_t size = encode_varint(head, (uint64_t)field << 3 | TYPE_BYTES);

	size += encode_varint(head + size, inner->used);
	fwrite(head, 1, size, file);
	fwrite(inner->bytes, 1, inner->used, file);
	inner->used = 0;
}
