/* SPDX-License-Identifier: MIT */
/* The cursor over words and over columns, in both of their forms; events_encode.c writes the second. */
#include "events.h"

#include <string.h>

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

static uint32_t get_size(struct events_cursor *cursor)
{
	const uint8_t *at = cursor->at[EVENTS_SIZES], *end = cursor->end[EVENTS_SIZES];

	if (cursor->form == ADDRESSES_FIRST)
		return (uint32_t)get_varint(cursor, EVENTS_SIZES);
	if (at == end || (*at >= EVENTS_SIZE_TWO && end - at == 1)) {
		cursor->bad = true;
		return 0;
	}
	if (*at == EVENTS_SIZE_LONG) {
		cursor->at[EVENTS_SIZES]++;
		return (uint32_t)get_varint(cursor, EVENTS_SIZES);
	}
	cursor->at[EVENTS_SIZES] += *at < EVENTS_SIZE_TWO ? 1 : 2;
	return *at < EVENTS_SIZE_TWO ? *at : (*at - EVENTS_SIZE_TWO) * 256u + at[1];
}

static uint64_t get_allocated(struct events_cursor *cursor, unsigned kind, uint32_t size)
{
	uint64_t code = get_varint(cursor, EVENTS_ALLOCATED), address = 0;

	if (!addresses_read_allocation(cursor->addresses, cursor->form, kind, size, code, &address))
		cursor->bad = true;
	return address;
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

/* The kind of the next record; 0 and `bad` when there is none where one should be. */
static unsigned get_kind(struct events_cursor *cursor)
{
	const unsigned code = cursor->form == ADDRESSES_SECOND ? events_code(cursor, cursor->taken) : EVENTS_USUAL;

	cursor->remaining--;
	cursor->taken++;
	if (code < EVENTS_USUAL)
		return cursor->usual[code];
	if (cursor->at[EVENTS_KINDS] == cursor->end[EVENTS_KINDS]) {
		cursor->bad = true;
		return 0;
	}
	return *cursor->at[EVENTS_KINDS]++;
}

/* Whether nothing is left when there are no more records.  In the first form only kinds were looked at. */
static bool is_whole(const struct events_cursor *cursor)
{
	const int columns = cursor->form == ADDRESSES_FIRST ? EVENTS_KINDS + 1 : EVENTS_COLUMNS;

	for (int column = 0; column < columns; column++)
		if (cursor->at[column] != cursor->end[column])
			return false;
	return true;
}

/* One record from the columns; event->kind stays 0 for those that only change state. */
static bool next_column_record(struct events_cursor *cursor, struct capture_event *event)
{
	if (cursor->remaining == 0) {
		cursor->bad = !is_whole(cursor);
		return false;
	}
	const unsigned kind = get_kind(cursor);

	if (CAPTURE_IS_ALLOCATION(kind)) {
		uint32_t size = get_size(cursor);

		event->address = get_allocated(cursor, kind, size);
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

/* Sets the usual kinds and the codes apart from the kinds of rare records. */
static bool open_kinds(struct events_cursor *cursor)
{
	const size_t size = (size_t)(cursor->end[EVENTS_KINDS] - cursor->at[EVENTS_KINDS]);
	const size_t codes = ((size_t)cursor->remaining + 3) / 4;

	if (size < EVENTS_USUAL + codes) {
		cursor->bad = true;
		return false;
	}
	cursor->usual = cursor->at[EVENTS_KINDS];
	/* So whoever looks for metadata need not look at the codes. */
	for (int i = 0; i < EVENTS_USUAL; i++)
		cursor->bad = cursor->bad || CAPTURE_IS_METADATA(cursor->usual[i]);
	cursor->at[EVENTS_KINDS] += EVENTS_USUAL + codes;
	return !cursor->bad;
}

bool events_open_columns(struct events_cursor *cursor, uint32_t stream, unsigned flags, const uint8_t *payload,
	size_t size, struct addresses *addresses)
{
	struct events_prefix prefix;
	const uint8_t *at;

	*cursor = (struct events_cursor){ .columns = true, .stream = stream, .addresses = addresses,
		.form = flags & CAPTURE_BLOCK_SECOND ? ADDRESSES_SECOND : ADDRESSES_FIRST };
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
	return cursor->form == ADDRESSES_FIRST || open_kinds(cursor);
}

bool events_ends_with(const struct events_cursor *cursor, unsigned kind)
{
	const uint8_t *kinds = cursor->at[EVENTS_KINDS];
	const size_t size = (size_t)(cursor->end[EVENTS_KINDS] - kinds);

	if (cursor->remaining == 0 || size == 0)
		return false;
	if (cursor->form == ADDRESSES_FIRST)
		return cursor->remaining <= size && kinds[cursor->remaining - 1] == kind;
	return events_code(cursor, cursor->remaining - 1) == EVENTS_USUAL && kinds[size - 1] == kind;
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
