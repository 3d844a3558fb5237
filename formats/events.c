/* SPDX-License-Identifier: MIT */
/*
 * Words to columns, and the cursor over both.
 *
 * Columns hold LEB128 varints.  Neighbours in a column resemble each other far more than neighbours in a row,
 * so deltas are small and LZ4 finds repetitions:
 *
 *   allocated   how the address differs from what the window so far predicts: addresses.h
 *   freed       likewise
 *   stacks      difference to the stack before, zigzag
 *   times       difference, never negative
 *   stamps      difference, never negative
 *   nodes       id less the id before (zigzag), frame less the frame before (zigzag), id less parent (zigzag)
 */
#include "events.h"

#include <string.h>

static __attribute__((noinline)) uint8_t *put_long_varint(uint8_t *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

static inline uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	if (value >= 0x80)
		return put_long_varint(at, value);
	*at = (uint8_t)value;
	return at + 1;
}

/* The same for numbers whose lengths cannot be foretold: one or two bytes without a branch.  Writes two in any case. */
static inline uint8_t *put_varint_evenly(uint8_t *at, uint64_t value)
{
	bool two = value >= 0x80;

	if (__builtin_expect(value >= 0x4000, 0))
		return put_long_varint(at, value);
	at[0] = (uint8_t)(value | (uint64_t)two << 7);
	at[1] = (uint8_t)(value >> 7);
	return at + 1 + two;
}

/* The most bytes that one word can put into one column: a varint of ten bytes. */
enum { VARINT_MAX = 10 };

/* The encoder's picture of the window lies before the columns. */
struct picture {
	struct addresses addresses;
	struct addresses_index index;
};

size_t events_scratch_size(size_t words)
{
	return sizeof(struct picture) + (words + 8) * VARINT_MAX * EVENTS_COLUMNS;
}

size_t events_encoded_max(size_t words)
{
	/* A record of n words gives one byte of kind and at most one varint an operand, of which it has n + 1. */
	return sizeof(struct events_prefix) + words * (2 * VARINT_MAX + 1) + 64;
}

/* What the encoder carries from record to record. */
struct encoder {
	uint8_t *at[EVENTS_COLUMNS];
	uint64_t address, stack, id, frame, stamp, time_ns;
	struct picture *picture;
	struct events_summary *summary;
};

static void encode_time(struct encoder *encoder, uint64_t time_ns)
{
	encoder->at[EVENTS_TIMES] = put_varint(encoder->at[EVENTS_TIMES], time_ns - encoder->time_ns);
	encoder->time_ns = time_ns;
	if (encoder->summary->event_count == 0)
		encoder->summary->first_time_ns = time_ns;
}

static void encode_stack(struct encoder *encoder, uint32_t stack)
{
	uint64_t delta = addresses_zigzag((uint64_t)stack - encoder->stack);

	encoder->at[EVENTS_STACKS] = put_varint(encoder->at[EVENTS_STACKS], delta);
	encoder->stack = stack;
}

static void encode_other(struct encoder *encoder, uint64_t value)
{
	encoder->at[EVENTS_OTHERS] = put_varint(encoder->at[EVENTS_OTHERS], value);
}

static void encode_address(struct encoder *encoder, uint64_t address)
{
	encode_other(encoder, addresses_pack(address - encoder->address));
	encoder->address = address;
}

static size_t encode_metadata(struct encoder *encoder, const uint64_t *words, uint64_t size)
{
	encode_other(encoder, size);
	memcpy(encoder->at[EVENTS_OTHERS], words + 1, size);
	encoder->at[EVENTS_OTHERS] += size;
	return 1 + (size + 7) / 8;
}

static size_t encode_node(struct encoder *encoder, const uint64_t *words, uint64_t id)
{
	uint8_t *at = encoder->at[EVENTS_NODES];

	at = put_varint(at, addresses_zigzag(id - encoder->id));
	at = put_varint(at, addresses_zigzag(words[1] - encoder->frame));
	at = put_varint(at, addresses_zigzag(id - words[2]));
	encoder->at[EVENTS_NODES] = at;
	encoder->id = id;
	encoder->frame = words[1];
	return 3;
}

/* Encodes any record but those of encode_frequent(); returns the words that it takes. */
static __attribute__((noinline)) size_t encode_record(struct encoder *encoder, const uint64_t *words)
{
	unsigned kind = (uint8_t)words[0];
	uint64_t operand = words[0] >> 8;

	*encoder->at[EVENTS_KINDS]++ = (uint8_t)kind;
	if (CAPTURE_IS_METADATA(kind))
		return encode_metadata(encoder, words, operand);
	encoder->summary->event_count += kind >= CAPTURE_FREE;
	switch (kind) {
	case CAPTURE_STAY:
	case CAPTURE_MOVE_ENDS:
		encode_address(encoder, operand);
		return 1;
	case CAPTURE_UNMAP:
	case CAPTURE_UNMAP_FAILED:
		encode_address(encoder, operand);
		encode_other(encoder, words[1]);
		return 2;
	case CAPTURE_MAP:
		encode_address(encoder, operand);
		encode_other(encoder, words[1]);
		encode_other(encoder, (uint32_t)words[2]);
		encode_stack(encoder, (uint32_t)(words[2] >> 32));
		return 3;
	case CAPTURE_TIME:
		encode_time(encoder, operand);
		return 1;
	case CAPTURE_STAMP:
		encoder->at[EVENTS_STAMPS] = put_varint(encoder->at[EVENTS_STAMPS], operand - encoder->stamp);
		encoder->stamp = operand;
		return 1;
	case CAPTURE_NODE:
		return encode_node(encoder, words, operand);
	case CAPTURE_SAMPLE:
		encode_other(encoder, operand);
		encode_other(encoder, words[1]);
		encode_other(encoder, words[2]);
		return 3;
	case CAPTURE_SKIP:
		encode_other(encoder, operand);
		encode_other(encoder, words[1]);
		return 2;
	default:                              /* THREAD, SIZE_HIGH */
		encode_other(encoder, operand);
		if (kind == CAPTURE_THREAD)
			encoder->summary->last_thread = operand;
		return 1;
	}
}

static inline bool is_free(unsigned kind)
{
	return kind == CAPTURE_FREE || kind == CAPTURE_FREE_PYTHON || kind == CAPTURE_MOVE || kind == CAPTURE_MOVE_PYTHON;
}

/*
 * Encodes allocations and frees for as long as they follow each other; returns the first word behind them.  Nearly all
 * records are these, so the ends of their columns are kept in registers meanwhile.
 */
static const uint64_t *encode_frequent(struct encoder *encoder, const uint64_t *word, const uint64_t *end)
{
	struct addresses *addresses = &encoder->picture->addresses;
	struct addresses_index *index = &encoder->picture->index;
	uint8_t *kinds = encoder->at[EVENTS_KINDS], *allocated = encoder->at[EVENTS_ALLOCATED];
	uint8_t *freed = encoder->at[EVENTS_FREED], *sizes = encoder->at[EVENTS_SIZES];
	uint8_t *stacks = encoder->at[EVENTS_STACKS];
	uint64_t stack = encoder->stack;

	while (word < end) {
		unsigned kind = (uint8_t)*word;

		if (CAPTURE_IS_ALLOCATION(kind)) {
			uint32_t size = (uint32_t)word[1], next = (uint32_t)(word[1] >> 32);
			uint64_t code = addresses_write_allocation(addresses, index, kind, size, *word >> 8);

			allocated = put_varint(allocated, code);
			sizes = put_varint_evenly(sizes, size);
			stacks = put_varint_evenly(stacks, addresses_zigzag(next - stack));
			stack = next;
			word += 2;
		} else if (is_free(kind)) {
			freed = put_varint(freed, addresses_write_free(addresses, index, *word >> 8));
			word++;
		} else {
			break;
		}
		*kinds++ = (uint8_t)kind;
	}
	encoder->summary->event_count += (uint32_t)(kinds - encoder->at[EVENTS_KINDS]);
	encoder->at[EVENTS_KINDS] = kinds;
	encoder->at[EVENTS_ALLOCATED] = allocated;
	encoder->at[EVENTS_FREED] = freed;
	encoder->at[EVENTS_SIZES] = sizes;
	encoder->at[EVENTS_STACKS] = stacks;
	encoder->stack = stack;
	return word;
}

size_t events_encode(const uint64_t *words, size_t count, const struct capture_stream *carry, uint8_t *out,
	uint8_t *scratch, struct events_summary *summary)
{
	struct encoder encoder = { .stamp = carry->first_stamp, .time_ns = carry->first_time_ns, .summary = summary };
	struct events_prefix prefix = { .first_stamp = carry->first_stamp, .first_time_ns = carry->first_time_ns,
		.first_thread = carry->first_thread };
	const uint64_t *word = words, *end = words + count;
	uint8_t *starts[EVENTS_COLUMNS];
	uint8_t *at = out + sizeof(prefix);

	encoder.picture = (struct picture *)scratch;
	addresses_init(&encoder.picture->addresses);
	memset(&encoder.picture->index, 0, sizeof(encoder.picture->index));
	scratch += sizeof(struct picture);
	*summary = (struct events_summary){ .first_time_ns = carry->first_time_ns, .last_thread = carry->first_thread };
	for (int column = 0; column < EVENTS_COLUMNS; column++)
		starts[column] = encoder.at[column] = scratch + (size_t)column * (count + 8) * VARINT_MAX;
	for (;;) {
		word = encode_frequent(&encoder, word, end);
		if (word >= end)
			break;
		word += encode_record(&encoder, word);
	}
	prefix.record_count = (uint32_t)(encoder.at[EVENTS_KINDS] - starts[EVENTS_KINDS]);
	for (int column = 0; column < EVENTS_COLUMNS; column++) {
		prefix.lengths[column] = (uint32_t)(encoder.at[column] - starts[column]);
		memcpy(at, starts[column], prefix.lengths[column]);
		at += prefix.lengths[column];
	}
	memcpy(out, &prefix, sizeof(prefix));
	summary->last_time_ns = encoder.time_ns;
	summary->last_stamp = encoder.stamp;
	return (size_t)(at - out);
}

static uint64_t get_varint(struct events_cursor *cursor, enum events_column column)
{
	const uint8_t *at = cursor->at[column], *end = cursor->end[column];
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (at == end) {
			cursor->bad = true;
			return 0;
		}
		uint8_t byte = *at++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			cursor->at[column] = at;
			return value;
		}
	}
	cursor->bad = true;
	return 0;
}

/* Addresses that are not predicted travel among the other operands. */
static uint64_t get_address(struct events_cursor *cursor)
{
	uint64_t delta = addresses_unpack(get_varint(cursor, EVENTS_OTHERS));

	cursor->last_address = (cursor->last_address + delta) & 0xffffffffffffffu;
	return cursor->last_address;
}

static uint64_t get_freed(struct events_cursor *cursor)
{
	uint64_t address = 0;

	if (!addresses_read_free(cursor->addresses, get_varint(cursor, EVENTS_FREED), &address))
		cursor->bad = true;
	return address;
}

static uint32_t get_stack(struct events_cursor *cursor)
{
	cursor->last_stack = (uint32_t)(cursor->last_stack + addresses_unzigzag(get_varint(cursor, EVENTS_STACKS)));
	return (uint32_t)cursor->last_stack;
}

static uint64_t take_size(struct events_cursor *cursor, uint64_t low)
{
	uint64_t size = cursor->size_high << 32 | (uint32_t)low;

	cursor->size_high = 0;
	return size;
}

static void get_payload(struct events_cursor *cursor, struct capture_event *event)
{
	uint64_t size = get_varint(cursor, EVENTS_OTHERS);

	if (cursor->bad || size > (size_t)(cursor->end[EVENTS_OTHERS] - cursor->at[EVENTS_OTHERS])) {
		cursor->bad = true;
		return;
	}
	event->payload = cursor->at[EVENTS_OTHERS];
	event->payload_size = (size_t)size;
	cursor->at[EVENTS_OTHERS] += size;
}

/* Sets the clock fields; false when a time or stamp would leave its 56 bits. */
static void advance(struct events_cursor *cursor, uint64_t *clock, uint64_t delta)
{
	if (delta >> 56 || (*clock + delta) >> 56)
		cursor->bad = true;
	else
		*clock += delta;
}

static bool apply_state(struct events_cursor *cursor, unsigned kind, uint64_t operand)
{
	if (kind == CAPTURE_THREAD)
		cursor->thread = (uint32_t)operand;
	else if (kind == CAPTURE_SIZE_HIGH)
		cursor->size_high = (uint32_t)operand;
	else
		cursor->bad = true;           /* a kind that version 2 does not have: its length is unknown */
	return !cursor->bad;
}

/* One record from the columns; event->kind stays 0 for those that only change state. */
static bool next_column_record(struct events_cursor *cursor, struct capture_event *event)
{
	unsigned kind;

	if (cursor->at[EVENTS_KINDS] == cursor->end[EVENTS_KINDS]) {
		cursor->bad = cursor->remaining != 0;
		return false;
	}
	if (cursor->remaining == 0) {
		cursor->bad = true;
		return false;
	}
	cursor->remaining--;
	kind = *cursor->at[EVENTS_KINDS]++;
	if (CAPTURE_IS_ALLOCATION(kind)) {
		uint32_t size = (uint32_t)get_varint(cursor, EVENTS_SIZES);

		event->address = addresses_read_allocation(cursor->addresses, kind, size,
			get_varint(cursor, EVENTS_ALLOCATED));
		event->size = take_size(cursor, size);
		event->stack = get_stack(cursor);
	} else if (CAPTURE_IS_METADATA(kind)) {
		get_payload(cursor, event);
	} else switch (kind) {
	case CAPTURE_FREE:
	case CAPTURE_FREE_PYTHON:
	case CAPTURE_MOVE:
	case CAPTURE_MOVE_PYTHON:
		event->address = get_freed(cursor);
		break;
	case CAPTURE_STAY:
	case CAPTURE_MOVE_ENDS:
		event->address = get_address(cursor);
		break;
	case CAPTURE_SKIP:
		event->address = get_varint(cursor, EVENTS_OTHERS);
		event->size = get_varint(cursor, EVENTS_OTHERS);
		break;
	case CAPTURE_UNMAP:
	case CAPTURE_UNMAP_FAILED:
		event->address = get_address(cursor);
		event->size = get_varint(cursor, EVENTS_OTHERS);
		break;
	case CAPTURE_MAP:
		event->address = get_address(cursor);
		event->size = get_varint(cursor, EVENTS_OTHERS);
		event->flags = (uint32_t)get_varint(cursor, EVENTS_OTHERS);
		event->stack = get_stack(cursor);
		break;
	case CAPTURE_TIME:
		advance(cursor, &cursor->time_ns, get_varint(cursor, EVENTS_TIMES));
		return !cursor->bad;
	case CAPTURE_STAMP:
		advance(cursor, &cursor->stamp, get_varint(cursor, EVENTS_STAMPS));
		return !cursor->bad;
	case CAPTURE_NODE:
		cursor->last_id = (uint32_t)(cursor->last_id + addresses_unzigzag(get_varint(cursor, EVENTS_NODES)));
		cursor->last_frame += addresses_unzigzag(get_varint(cursor, EVENTS_NODES));
		event->stack = (uint32_t)cursor->last_id;
		event->frame = cursor->last_frame;
		event->parent = (uint32_t)(cursor->last_id - addresses_unzigzag(get_varint(cursor, EVENTS_NODES)));
		break;
	case CAPTURE_SAMPLE:
		event->address = get_varint(cursor, EVENTS_OTHERS);
		event->size = get_varint(cursor, EVENTS_OTHERS);
		event->frame = get_varint(cursor, EVENTS_OTHERS);
		break;
	default:
		return apply_state(cursor, kind, get_varint(cursor, EVENTS_OTHERS));
	}
	event->kind = (uint8_t)kind;
	return !cursor->bad;
}

/* How many words a record takes after its first; metadata excepted. */
static size_t words_after(unsigned kind)
{
	if (CAPTURE_IS_ALLOCATION(kind) || kind == CAPTURE_UNMAP || kind == CAPTURE_UNMAP_FAILED ||
	    kind == CAPTURE_SKIP)
		return 1;
	if (kind == CAPTURE_NODE || kind == CAPTURE_SAMPLE || kind == CAPTURE_MAP)
		return 2;
	return 0;
}

static bool next_word_record(struct events_cursor *cursor, struct capture_event *event)
{
	const uint64_t *word = cursor->word;
	size_t left = (size_t)(cursor->words_end - word);

	if (left == 0)
		return false;
	unsigned kind = (uint8_t)word[0];
	uint64_t operand = word[0] >> 8;
	size_t length = 1 + words_after(kind);

	if (CAPTURE_IS_METADATA(kind)) {
		if (operand > CAPTURE_RECORD_BYTES_MAX || 1 + (operand + 7) / 8 > left) {
			cursor->bad = true;
			return false;
		}
		length = 1 + (size_t)(operand + 7) / 8;
		event->payload = (const uint8_t *)(word + 1);
		event->payload_size = (size_t)operand;
	} else if (length > left) {
		cursor->bad = true;
		return false;
	}
	cursor->word += length;
	if (CAPTURE_IS_ALLOCATION(kind)) {
		event->address = operand;
		event->size = take_size(cursor, word[1]);
		event->stack = (uint32_t)(word[1] >> 32);
	} else switch (kind) {
	case CAPTURE_FREE:
	case CAPTURE_FREE_PYTHON:
	case CAPTURE_MOVE:
	case CAPTURE_MOVE_PYTHON:
	case CAPTURE_STAY:
	case CAPTURE_MOVE_ENDS:
		event->address = operand;
		break;
	case CAPTURE_SKIP:
	case CAPTURE_UNMAP:
	case CAPTURE_UNMAP_FAILED:
		event->address = operand;
		event->size = word[1];
		break;
	case CAPTURE_MAP:
		event->address = operand;
		event->size = word[1];
		event->flags = (uint32_t)word[2];
		event->stack = (uint32_t)(word[2] >> 32);
		break;
	case CAPTURE_TIME:
		if (operand < cursor->time_ns)
			cursor->bad = true;
		cursor->time_ns = operand;
		return !cursor->bad;
	case CAPTURE_STAMP:
		if (operand < cursor->stamp)
			cursor->bad = true;
		cursor->stamp = operand;
		return !cursor->bad;
	case CAPTURE_NODE:
		event->stack = (uint32_t)operand;
		event->frame = word[1];
		event->parent = (uint32_t)word[2];
		break;
	case CAPTURE_SAMPLE:
		event->address = operand;
		event->size = word[1];
		event->frame = word[2];
		break;
	default:
		if (!CAPTURE_IS_METADATA(kind))
			return apply_state(cursor, kind, operand);
	}
	event->kind = (uint8_t)kind;
	return true;
}

bool events_open_columns(struct events_cursor *cursor, uint32_t stream, const uint8_t *payload, size_t size,
	struct addresses *addresses)
{
	struct events_prefix prefix;
	const uint8_t *at;

	*cursor = (struct events_cursor){ .columns = true, .stream = stream, .addresses = addresses };
	addresses_init(addresses);
	if (size < sizeof(prefix)) {
		cursor->bad = true;
		return false;
	}
	memcpy(&prefix, payload, sizeof(prefix));
	at = payload + sizeof(prefix);
	size -= sizeof(prefix);
	for (int column = 0; column < EVENTS_COLUMNS; column++) {
		if (prefix.lengths[column] > size) {
			cursor->bad = true;
			return false;
		}
		cursor->at[column] = at;
		cursor->end[column] = at += prefix.lengths[column];
		size -= prefix.lengths[column];
	}
	cursor->remaining = prefix.record_count;
	cursor->stamp = prefix.first_stamp;
	cursor->time_ns = prefix.first_time_ns;
	cursor->thread = (uint32_t)prefix.first_thread;
	return true;
}

void events_open_words(struct events_cursor *cursor, uint32_t stream, const struct capture_stream *carry,
	const uint64_t *words, size_t count)
{
	*cursor = (struct events_cursor){ .stream = stream, .word = words, .words_end = words + count };
	if (carry) {
		cursor->stamp = carry->first_stamp;
		cursor->time_ns = carry->first_time_ns;
		cursor->thread = (uint32_t)carry->first_thread;
	}
}

bool events_next(struct events_cursor *cursor, struct capture_event *event)
{
	while (!cursor->bad) {
		*event = (struct capture_event){ .stream = cursor->stream };
		if (!(cursor->columns ? next_column_record(cursor, event) : next_word_record(cursor, event)))
			return false;
		if (event->kind != 0) {
			event->thread = cursor->thread;
			event->stamp = cursor->stamp;
			event->time_ns = cursor->time_ns;
			return true;
		}
	}
	return false;
}

const char *events_kind_name(unsigned kind)
{
	static const char *const names[256] = {
#define X(number, upper, lower) [number] = #lower,
		CAPTURE_RECORDS(X)
#undef X
	};

	return kind < 256 ? names[kind] : NULL;
}
