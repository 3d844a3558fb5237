/* SPDX-License-Identifier: MIT */
/*
 * Words to columns.
 *
 * Columns hold LEB128 varints.  Neighbours in a column resemble each other far more than neighbours in a row,
 * so deltas are small and LZ4 finds repetitions:
 *
 *   kinds       which of the window's three usual kinds it is, or that it is another: two bits; then the others
 *   allocated   how the address differs from what the window so far predicts: addresses.h
 *   freed       likewise
 *   sizes       as they are, in one byte more often than a varint has
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

/*
 * Sizes: up to 191 in one byte, then up to 63 * 256 - 1 in two, whose first says so; 255 is before a varint.  Writes
 * two in any case, without a branch that depends on which it is.
 */
static inline uint8_t *put_size(uint8_t *at, uint32_t size)
{
	bool two = size >= EVENTS_SIZE_TWO;

	if (__builtin_expect(size >= (EVENTS_SIZE_LONG - EVENTS_SIZE_TWO) * 256, 0)) {
		*at = EVENTS_SIZE_LONG;
		return put_long_varint(at + 1, size);
	}
	at[0] = (uint8_t)(two ? EVENTS_SIZE_TWO + (size >> 8) : size);
	at[1] = (uint8_t)size;
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
	/* A record of n words gives two bits and one byte of kind, and at most one varint an operand: it has n + 1. */
	return sizeof(struct events_prefix) + words * (2 * VARINT_MAX + 2) + 64;
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
			uint64_t code = addresses_write_allocation(addresses, index, ADDRESSES_SECOND, kind, size, *word >> 8);

			allocated = put_varint(allocated, code);
			sizes = put_size(sizes, size);
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

enum {
	KINDS_AT_ONCE = 16,
	KINDS_SAMPLED = 11,           /* of so many records the kind of one is counted; odd, since kinds often alternate */
};

typedef uint8_t kinds_vector __attribute__((vector_size(KINDS_AT_ONCE)));
typedef uint64_t halves_vector __attribute__((vector_size(KINDS_AT_ONCE)));

/* The kinds that most of the window's records have, as it seems; none that is metadata. */
static void find_usual(const uint8_t *kinds, size_t count, uint8_t *usual)
{
	uint32_t counts[CAPTURE_THREAD_INFO] = { 0 };

	for (size_t i = 0; i < count; i += KINDS_SAMPLED)
		if (kinds[i] < CAPTURE_THREAD_INFO)
			counts[kinds[i]]++;
	for (int rank = 0; rank < EVENTS_USUAL; rank++) {
		uint8_t most = 0;

		for (uint8_t kind = 1; kind < CAPTURE_THREAD_INFO; kind++)
			if (counts[kind] > counts[most])
				most = kind;
		usual[rank] = most;
		counts[most] = 0;
	}
}

/* The kinds of those records, of eight, whose byte in `others` is not zero. */
static inline uint8_t *put_others(uint8_t *at, const uint8_t *kinds, uint64_t others)
{
	while (others) {
		const int byte = __builtin_ctzll(others) / 8;

		*at++ = kinds[byte];
		others &= ~((uint64_t)0xff << byte * 8);
	}
	return at;
}

/* Writes the codes of sixteen records, and the kinds of those that have none of their own; returns the end of these. */
static inline uint8_t *put_codes(uint8_t *out, const uint8_t *kinds, kinds_vector first, kinds_vector second,
	kinds_vector third, uint8_t *others)
{
	kinds_vector bytes;

	memcpy(&bytes, kinds, sizeof(bytes));
	second = (kinds_vector)(bytes == second);
	third = (kinds_vector)(bytes == third);
	const kinds_vector other = ~((kinds_vector)(bytes == first) | second | third);
	halves_vector codes = (halves_vector)((second & 1) | (third & 2) | (other & EVENTS_USUAL));

	/* Four codes come together in the lowest byte of each four, then those two bytes of each half. */
	codes |= codes >> 6;
	codes |= codes >> 12;
	codes &= 0xff000000ff;
	codes |= codes >> 24;
	const uint32_t joined = (uint16_t)codes[0] | (uint32_t)codes[1] << 16;

	memcpy(out, &joined, sizeof(joined));
	others = put_others(others, kinds, ((halves_vector)other)[0]);
	return put_others(others, kinds + KINDS_AT_ONCE / 2, ((halves_vector)other)[1]);
}

/* Writes the column of kinds.  Behind `kinds` there is room for KINDS_AT_ONCE more. */
static uint8_t *put_kinds(uint8_t *out, uint8_t *kinds, size_t count, uint8_t *others)
{
	uint8_t *usual = out, *codes = out + EVENTS_USUAL, *other = others;

	find_usual(kinds, count, usual);
	const kinds_vector none = { 0 }, first = none + usual[0], second = none + usual[1], third = none + usual[2];

	memset(kinds + count, usual[0], KINDS_AT_ONCE);
	for (size_t i = 0; i < count; i += KINDS_AT_ONCE)
		other = put_codes(codes + i / 4, kinds + i, first, second, third, other);
	out = codes + (count + 3) / 4;
	memcpy(out, others, (size_t)(other - others));
	return out + (other - others);
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
	at = put_kinds(at, starts[EVENTS_KINDS], prefix.record_count, encoder.at[EVENTS_KINDS] + KINDS_AT_ONCE);
	prefix.lengths[EVENTS_KINDS] = (uint32_t)(at - out - (ptrdiff_t)sizeof(prefix));
	for (int column = EVENTS_KINDS + 1; column < EVENTS_COLUMNS; column++) {
		prefix.lengths[column] = (uint32_t)(encoder.at[column] - starts[column]);
		memcpy(at, starts[column], prefix.lengths[column]);
		at += prefix.lengths[column];
	}
	memcpy(out, &prefix, sizeof(prefix));
	summary->last_time_ns = encoder.time_ns;
	summary->last_stamp = encoder.stamp;
	return (size_t)(at - out);
}
