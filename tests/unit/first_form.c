/* SPDX-License-Identifier: MIT */
/* Slow and obvious, by formats/capture.md, section 6; what it makes of the golden histories are the golden captures. */
#include "first_form.h"

#include <stdlib.h>
#include <string.h>

struct columns {
	uint8_t *at[EVENTS_COLUMNS];
	uint64_t address, stack, id, frame, stamp, time_ns;
	struct addresses addresses;
	struct addresses_index index;
};

static void put(struct columns *columns, enum events_column column, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*columns->at[column]++ = (uint8_t)(value | 0x80);
	*columns->at[column]++ = (uint8_t)value;
}

/* Writes the difference to the value before in the column. */
static void put_step(struct columns *columns, enum events_column column, uint64_t *before, uint64_t value)
{
	put(columns, column, addresses_zigzag(value - *before));
	*before = value;
}

static void put_address(struct columns *columns, uint64_t address)
{
	put(columns, EVENTS_OTHERS, addresses_pack(address - columns->address));
	columns->address = address;
}

/* Everything but allocations, frees and metadata; returns the words that it takes. */
static size_t put_rest(struct columns *columns, unsigned kind, const uint64_t *words)
{
	const uint64_t operand = words[0] >> 8;

	switch (kind) {
	case CAPTURE_TIME:
		put(columns, EVENTS_TIMES, operand - columns->time_ns);
		columns->time_ns = operand;
		return 1;
	case CAPTURE_STAMP:
		put(columns, EVENTS_STAMPS, operand - columns->stamp);
		columns->stamp = operand;
		return 1;
	case CAPTURE_NODE:
		put_step(columns, EVENTS_NODES, &columns->id, operand);
		put_step(columns, EVENTS_NODES, &columns->frame, words[1]);
		put(columns, EVENTS_NODES, addresses_zigzag(operand - words[2]));
		return 3;
	case CAPTURE_STAY:
	case CAPTURE_MOVE_ENDS:
		put_address(columns, operand);
		return 1;
	case CAPTURE_UNMAP:
	case CAPTURE_UNMAP_FAILED:
		put_address(columns, operand);
		put(columns, EVENTS_OTHERS, words[1]);
		return 2;
	case CAPTURE_MAP:
		put_address(columns, operand);
		put(columns, EVENTS_OTHERS, words[1]);
		put(columns, EVENTS_OTHERS, (uint32_t)words[2]);
		put_step(columns, EVENTS_STACKS, &columns->stack, words[2] >> 32);
		return 3;
	default:
		put(columns, EVENTS_OTHERS, operand);
		if (kind != CAPTURE_SKIP && kind != CAPTURE_SAMPLE)
			return 1;             /* THREAD, SIZE_HIGH */
		put(columns, EVENTS_OTHERS, words[1]);
		if (kind == CAPTURE_SKIP)
			return 2;
		put(columns, EVENTS_OTHERS, words[2]);
		return 3;
	}
}

static size_t put_record(struct columns *columns, const uint64_t *words)
{
	const unsigned kind = (uint8_t)words[0];
	const uint64_t operand = words[0] >> 8;

	*columns->at[EVENTS_KINDS]++ = (uint8_t)kind;
	if (CAPTURE_IS_METADATA(kind)) {
		put(columns, EVENTS_OTHERS, operand);
		memcpy(columns->at[EVENTS_OTHERS], words + 1, operand);
		columns->at[EVENTS_OTHERS] += operand;
		return 1 + (operand + 7) / 8;
	}
	if (CAPTURE_IS_ALLOCATION(kind)) {
		put(columns, EVENTS_ALLOCATED, addresses_write_allocation(&columns->addresses, &columns->index, ADDRESSES_FIRST,
			kind, (uint32_t)words[1], operand));
		put(columns, EVENTS_SIZES, (uint32_t)words[1]);
		put_step(columns, EVENTS_STACKS, &columns->stack, words[1] >> 32);
		return 2;
	}
	if (kind == CAPTURE_FREE || kind == CAPTURE_FREE_PYTHON || kind == CAPTURE_MOVE || kind == CAPTURE_MOVE_PYTHON) {
		put(columns, EVENTS_FREED, addresses_write_free(&columns->addresses, &columns->index, operand));
		return 1;
	}
	return put_rest(columns, kind, words);
}

size_t first_form_encode(const uint64_t *words, size_t count, const struct capture_stream *carry, uint8_t *out)
{
	struct events_prefix prefix = { .first_stamp = carry->first_stamp, .first_time_ns = carry->first_time_ns,
		.first_thread = carry->first_thread };
	struct columns *columns = calloc(1, sizeof(*columns));
	const size_t room = events_encoded_max(count);
	uint8_t *memory = calloc(EVENTS_COLUMNS, room), *at = out + sizeof(prefix);

	if (!columns || !memory)
		abort();
	columns->stamp = carry->first_stamp;
	columns->time_ns = carry->first_time_ns;
	addresses_init(&columns->addresses);
	for (int column = 0; column < EVENTS_COLUMNS; column++)
		columns->at[column] = memory + (size_t)column * room;
	for (size_t i = 0; i < count; prefix.record_count++)
		i += put_record(columns, words + i);
	for (int column = 0; column < EVENTS_COLUMNS; column++) {
		prefix.lengths[column] = (uint32_t)(columns->at[column] - (memory + (size_t)column * room));
		memcpy(at, memory + (size_t)column * room, prefix.lengths[column]);
		at += prefix.lengths[column];
	}
	memcpy(out, &prefix, sizeof(prefix));
	free(columns);
	free(memory);
	return (size_t)(at - out);
}
