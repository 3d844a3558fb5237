/* SPDX-License-Identifier: MIT */
/* The method: one pass over all windows for nodes and metadata, then a merge that decodes window after window. */
#include "second_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
	HEADER_SIZE_MIN = 4096, BLOCK_SIZE = 64, STATE_SIZE = 64, PREFIX_SIZE = 64,
	STREAM_BLOCK = 1, EVENTS_BLOCK = 2, WORDS_BLOCK = 3,
	KINDS = 0, ALLOCATED, FREED, SIZES, STACKS, TIMES, STAMPS, NODES, OTHERS, COLUMNS,
	CLASSES = 1026, NUMBERS = 8192, NONE = -1, USUAL = 3,
};
#define BLOCK_MAGIC 0x4b4c4253u
#define ADDRESS_MASK (((uint64_t)1 << 56) - 1)

void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

void *new_memory(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		die("no memory");
	return memory;
}

void *more_memory(void *memory, size_t count, size_t size)
{
	memory = realloc(memory, count * size);
	if (!memory)
		die("no memory");
	return memory;
}

/* ---- one window: what its records change as they come ---- */

struct decoding {
	struct capture *capture;
	struct lane *lane;
	uint64_t stamp, time_ns, size_high;
	uint32_t stream, thread;
	bool with_tables;             /* nodes and metadata go into the capture; else they are passed over */
};

static void take_event(struct decoding *d, unsigned kind, uint64_t address, uint64_t size, uint64_t stack,
	uint64_t flags)
{
	struct lane *lane = d->lane;

	if (is_allocation(kind)) {
		size |= d->size_high << 32;
		d->size_high = 0;
	}
	if (d->with_tables)
		return;
	if (lane->count == lane->room) {
		lane->room = lane->room ? lane->room * 2 : 4096;
		lane->events = more_memory(lane->events, lane->room, sizeof(*lane->events));
	}
	lane->events[lane->count++] = (struct event){ d->stamp, d->time_ns, address, size, d->stream, d->thread,
		(uint32_t)stack, (uint32_t)flags, (uint8_t)kind };
}

static void take_state(struct decoding *d, unsigned kind, uint64_t value)
{
	switch (kind) {
	case TIME:
		if (value < d->time_ns)
			die("stream %u: time goes back", d->stream);
		d->time_ns = value;
		break;
	case STAMP:
		if (value < d->stamp)
			die("stream %u: the stamp goes back", d->stream);
		d->stamp = value;
		break;
	case THREAD:
		d->thread = (uint32_t)value;
		break;
	case SIZE_HIGH:
		d->size_high = value;
		break;
	default:
		die("stream %u: unknown kind %u", d->stream, kind);
	}
}

static void take_node(struct decoding *d, uint64_t id, uint64_t frame, uint64_t parent)
{
	struct capture *capture = d->capture;

	if (!d->with_tables)
		return;
	if (parent >= id || id >> 32)
		die("node %llu under %llu", (unsigned long long)id, (unsigned long long)parent);
	if (id >= capture->node_count) {
		uint32_t count = (uint32_t)id * 2 + 1024;

		capture->nodes = more_memory(capture->nodes, count, sizeof(*capture->nodes));
		memset(&capture->nodes[capture->node_count], 0,
			(count - capture->node_count) * sizeof(*capture->nodes));
		capture->node_count = count;
	}
	if (capture->nodes[id].known)
		die("node %llu comes twice", (unsigned long long)id);
	capture->nodes[id] = (struct node){ frame, (uint32_t)parent, true };
}

static void take_payload(struct decoding *d, unsigned kind, const uint8_t *payload, size_t size)
{
	struct capture *capture = d->capture;

	if (!d->with_tables)
		return;
	uint8_t *copy = new_memory(size, 1);

	memcpy(copy, payload, size);
	capture->metadata = more_memory(capture->metadata, capture->metadata_count + 1, sizeof(*capture->metadata));
	capture->metadata[capture->metadata_count++] = (struct metadata){ copy, size, (uint8_t)kind };
}

/* ---- records as words: section 5 ---- */

static void decode_words(struct decoding *d, const uint8_t *words, uint64_t count)
{
	for (uint64_t at = 0, length; at < count; at += length) {
		const uint8_t *word = words + at * 8;
		unsigned kind = word[0];
		uint64_t operand = get_u64(word) >> 8;

		length = kind >= THREAD_INFO ? 1 + (operand + 7) / 8 :
			kind == MAP || kind == NODE || kind == SAMPLE ? 3 :
			is_allocation(kind) || kind == UNMAP || kind == UNMAP_FAILED ? 2 : 1;
		if (length > count - at)
			die("stream %u: a record of kind %u ends outside its window", d->stream, kind);
		if (is_allocation(kind))
			take_event(d, kind, operand, get_u32(word + 8), get_u32(word + 12), 0);
		else if (kind >= THREAD_INFO)
			take_payload(d, kind, word + 8, operand);
		else if (kind == UNMAP || kind == UNMAP_FAILED)
			take_event(d, kind, operand, get_u64(word + 8), 0, 0);
		else if (kind == MAP)
			take_event(d, kind, operand, get_u64(word + 8), get_u32(word + 20), get_u32(word + 16));
		else if (kind == NODE)
			take_node(d, operand, get_u64(word + 8), get_u64(word + 16));
		else if (is_free(kind) || is_move(kind) || kind == STAY)
			take_event(d, kind, operand, 0, 0, 0);
		else if (kind != SAMPLE)
			take_state(d, kind, operand);
	}
}

/* ---- records as columns: section 6 ---- */

struct column {
	const uint8_t *at, *end;
};

static uint64_t next_number(struct column *column)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		if (column->at == column->end)
			die("a column ends early");
		uint8_t byte = *column->at++;

		value |= (uint64_t)(byte & 127) << shift;
		if (byte < 128)
			return value;
	}
	die("a number of more than ten bytes");
}

static uint64_t unzigzag(uint64_t value)
{
	return value & 1 ? ~(value >> 1) : value >> 1;
}

static uint64_t unpack(uint64_t value)
{
	return value & 1 ? unzigzag(value >> 1) : unzigzag(value >> 1) * 16;
}

/* What a window's addresses have been so far. */
struct picture {
	bool second;                  /* the second form, of captures from version 6 on */
	struct {
		uint64_t address;
		uint32_t class;
		int below;            /* number of the block freed before it in its class */
		bool live;
	} blocks[NUMBERS];
	unsigned count;
	int freed[CLASSES];           /* number of the block on top of the class's stack */
	uint64_t last_allocated[CLASSES];
	uint64_t last_freed, last_number, last_taken;
};

static uint32_t size_class(unsigned kind, uint64_t size)
{
	if (size > 16384)
		return CLASSES - 1;
	if (kind >= 40 && kind <= 45 && size <= 512)
		return (uint32_t)(size + 15) / 16;
	return size <= 24 ? 2 : size + 23 < (CLASSES - 1) * 16 ? (uint32_t)(size + 23) / 16 : CLASSES - 1;
}

/* The address of a block whose number is written; its class's stack goes on below it. */
static uint64_t place_of_number(struct picture *picture, uint32_t class, uint64_t number)
{
	if (number >= picture->count)
		die("an allocation at number %llu, which is none", (unsigned long long)number);
	picture->last_taken = number;
	if (!picture->blocks[number].live && picture->blocks[number].class == class)
		picture->freed[class] = picture->blocks[number].below;
	return picture->blocks[number].address;
}

static uint64_t place_of_allocation(struct picture *picture, unsigned kind, uint64_t size, uint64_t code)
{
	uint32_t class = size_class(kind, size);
	int top = picture->freed[class];
	uint64_t predicted = top != NONE ? picture->blocks[top].address :
		picture->last_allocated[class] + 16 * class;
	uint64_t address = picture->second && code & 1 ?
		place_of_number(picture, class, picture->last_taken + unzigzag(code >> 1)) :
		(predicted + unpack(picture->second ? code >> 1 : code)) & ADDRESS_MASK;

	top = picture->freed[class];
	if (top != NONE && picture->blocks[top].address == address)
		picture->freed[class] = picture->blocks[top].below;
	picture->last_allocated[class] = address;
	if (picture->count < NUMBERS) {
		picture->blocks[picture->count].address = address;
		picture->blocks[picture->count].class = class;
		picture->blocks[picture->count++].live = true;
	}
	return address;
}

/* A size in the second form. */
static uint64_t next_size(struct column *column)
{
	if (column->end - column->at < 1)
		die("a column ends early");
	uint64_t first = *column->at++;

	if (first == 255)
		return next_number(column);
	if (first < 192)
		return first;
	if (column->at == column->end)
		die("a column ends early");
	return (first - 192) * 256 + *column->at++;
}

/* Sets the usual kinds and the codes of `count` records apart from the other kinds. */
static const uint8_t *split_kinds(struct column *kinds, uint32_t count)
{
	const uint8_t *start = kinds->at;

	if ((size_t)(kinds->end - start) < USUAL + ((size_t)count + 3) / 4)
		die("fewer codes than records");
	for (int i = 0; i < USUAL; i++)
		if (start[i] >= THREAD_INFO)
			die("kind %d is one of the usual", start[i]);
	kinds->at += USUAL + ((size_t)count + 3) / 4;
	return start;
}

static unsigned next_kind(struct column *kinds, const uint8_t *usual, uint32_t record)
{
	unsigned code = usual ? usual[USUAL + record / 4] >> 2 * (record % 4) & 3 : USUAL;

	if (code < USUAL)
		return usual[code];
	if (kinds->at == kinds->end)
		die("fewer kinds than records");
	return *kinds->at++;
}

static uint64_t place_of_free(struct picture *picture, uint64_t code)
{
	if (code & 1)
		return picture->last_freed = (picture->last_freed + unpack(code >> 1)) & ADDRESS_MASK;
	uint64_t number = picture->last_number + unzigzag(code >> 1);

	if (number >= picture->count || !picture->blocks[number].live)
		die("a free of number %llu, which is not live", (unsigned long long)number);
	uint32_t class = picture->blocks[number].class;

	picture->blocks[number].live = false;
	picture->blocks[number].below = picture->freed[class];
	picture->freed[class] = (int)number;
	picture->last_number = number;
	return picture->last_freed = picture->blocks[number].address;
}

/* Differences that run through a window's records. */
struct running {
	uint64_t stack, id, frame, address;
};

static void decode_other(struct decoding *d, unsigned kind, struct column *columns, struct running *last)
{
	struct column *others = &columns[OTHERS];

	if (kind >= THREAD_INFO) {
		uint64_t size = next_number(others);

		if (size > (size_t)(others->end - others->at))
			die("stream %u: a payload ends outside its column", d->stream);
		take_payload(d, kind, others->at, size);
		others->at += size;
	} else if (kind == STAY || kind == UNMAP || kind == UNMAP_FAILED || kind == MAP) {
		last->address = (last->address + unpack(next_number(others))) & ADDRESS_MASK;
		uint64_t size = kind == STAY ? 0 : next_number(others), flags = kind == MAP ? next_number(others) : 0;

		if (kind == MAP)
			last->stack += unzigzag(next_number(&columns[STACKS]));
		take_event(d, kind, last->address, size, kind == MAP ? (uint32_t)last->stack : 0, flags);
	} else if (kind == NODE) {
		last->id += unzigzag(next_number(&columns[NODES]));
		last->frame += unzigzag(next_number(&columns[NODES]));
		take_node(d, last->id, last->frame, last->id - unzigzag(next_number(&columns[NODES])));
	} else if (kind == SAMPLE) {
		for (int i = 0; i < 3; i++)
			next_number(others);
	} else if (kind == TIME) {
		take_state(d, kind, d->time_ns + next_number(&columns[TIMES]));
	} else if (kind == STAMP) {
		take_state(d, kind, d->stamp + next_number(&columns[STAMPS]));
	} else {
		take_state(d, kind, next_number(others));
	}
}

static void decode_columns(struct decoding *d, bool second, const uint8_t *data, size_t size)
{
	static struct picture picture;
	struct column columns[COLUMNS];
	struct running last = { 0 };
	const uint8_t *at = data + PREFIX_SIZE, *end = data + size;

	if (size < PREFIX_SIZE)
		die("stream %u: a window without a prefix", d->stream);
	d->stamp = get_u64(data);
	d->time_ns = get_u64(data + 8);
	d->thread = (uint32_t)get_u64(data + 16);
	for (int i = 0; i < COLUMNS; i++) {
		uint32_t length = get_u32(data + 28 + 4 * i);

		if (length > (size_t)(end - at))
			die("stream %u: a column ends outside its window", d->stream);
		columns[i] = (struct column){ at, at + length };
		at += length;
	}
	const uint32_t count = get_u32(data + 24);
	const uint8_t *usual = second ? split_kinds(&columns[KINDS], count) : NULL;

	memset(picture.freed, 0xff, sizeof(picture.freed));
	memset(picture.last_allocated, 0, sizeof(picture.last_allocated));
	picture.count = 0;
	picture.last_freed = picture.last_number = picture.last_taken = 0;
	picture.second = second;
	for (uint32_t record = 0; record < count; record++) {
		unsigned kind = next_kind(&columns[KINDS], usual, record);

		if (is_allocation(kind)) {
			uint64_t low = second ? next_size(&columns[SIZES]) : next_number(&columns[SIZES]);
			uint64_t address = place_of_allocation(&picture, kind, low, next_number(&columns[ALLOCATED]));

			last.stack += unzigzag(next_number(&columns[STACKS]));
			take_event(d, kind, address, low, (uint32_t)last.stack, 0);
		} else if (is_free(kind) || is_move(kind)) {
			take_event(d, kind, place_of_free(&picture, next_number(&columns[FREED])), 0, 0, 0);
		} else {
			decode_other(d, kind, columns, &last);
		}
	}
	for (int i = 0; i < COLUMNS; i++)
		if (columns[i].at != columns[i].end)
			die("stream %u: column %d has more than its records need", d->stream, i);
}

/* ---- blocks ---- */

static uint64_t lz4_length(const uint8_t **from, const uint8_t *end, uint64_t length)
{
	uint8_t byte = 255;

	while (length >= 15 && byte == 255) {
		if (*from == end)
			die("an LZ4 block ends early");
		byte = *(*from)++;
		length += byte;
	}
	return length;
}

/* The LZ4 block format: literals, then a copy of what came before; the last sequence has literals only. */
static uint8_t *lz4_decompress(const uint8_t *from, size_t stored_size, size_t raw_size)
{
	const uint8_t *end = from + stored_size;
	uint8_t *raw = new_memory(raw_size, 1), *to = raw, *to_end = raw + raw_size;

	while (from < end) {
		uint8_t token = *from++;
		uint64_t literals = lz4_length(&from, end, token >> 4);

		if (literals > (size_t)(end - from) || literals > (size_t)(to_end - to))
			die("an LZ4 block: literals outside");
		memcpy(to, from, literals);
		from += literals;
		to += literals;
		if (from == end)
			break;
		if (end - from < 2)
			die("an LZ4 block ends early");
		size_t distance = from[0] | (size_t)from[1] << 8;

		from += 2;
		uint64_t length = lz4_length(&from, end, token & 15) + 4;

		if (distance == 0 || distance > (size_t)(to - raw) || length > (size_t)(to_end - to))
			die("an LZ4 block: a copy from outside");
		for (; length; length--, to++)
			*to = *(to - distance);
	}
	if (to != to_end)
		die("an LZ4 block is shorter than promised");
	return raw;
}

void window_decode(struct capture *capture, const struct window *window, struct lane *lane, bool with_tables)
{
	struct decoding d = { .capture = capture, .lane = lane, .stream = window->stream, .with_tables = with_tables };

	if (window->is_block) {
		uint8_t *raw = window->compressed ?
			lz4_decompress(window->payload, window->stored_size, window->raw_size) : NULL;

		decode_columns(&d, window->second, raw ? raw : window->payload, raw ? window->raw_size : window->stored_size);
		free(raw);
	} else {
		d.stamp = get_u64(window->payload + 24);
		d.time_ns = get_u64(window->payload + 32);
		d.thread = (uint32_t)get_u64(window->payload + 40);
		decode_words(&d, window->payload + STATE_SIZE, get_u64(window->payload + 8));
	}
}

static void meet_block(struct capture *capture, const uint8_t *block)
{
	unsigned kind = block[4], flags = block[6];
	struct window window = {
		.payload = block + BLOCK_SIZE, .sequence = get_u32(block + 20), .stream = get_u32(block + 16),
		.stored_size = get_u32(block + 8), .raw_size = get_u32(block + 12),
		.is_block = kind == EVENTS_BLOCK, .compressed = flags & 1, .second = flags & 2,
	};

	if (kind == WORDS_BLOCK) {
		struct decoding d = { .capture = capture, .with_tables = true };

		if (window.compressed)
			die("a WORDS block that is compressed: not expected of this recorder");
		decode_words(&d, window.payload, window.stored_size / 8);
		return;
	}
	if (kind != STREAM_BLOCK && kind != EVENTS_BLOCK)
		die("a block of kind %u", kind);
	if (kind == STREAM_BLOCK) {
		uint64_t used = get_u64(window.payload + 8), capacity = get_u64(window.payload + 16);

		window.sequence = get_u64(window.payload);
		if (used > capacity || capacity > (window.stored_size - STATE_SIZE) / 8)
			die("stream %u: more words than fit", window.stream);
	}
	capture->windows = more_memory(capture->windows, capture->window_count + 1, sizeof(window));
	capture->windows[capture->window_count++] = window;
}

static bool is_block(const struct capture *capture, size_t at)
{
	const uint8_t *block = capture->file + at;

	return get_u32(block) == BLOCK_MAGIC && get_u32(block + 8) <= capture->size - at - BLOCK_SIZE
		&& XXH3_64bits(block, BLOCK_SIZE - 8) == get_u64(block + 56);
}

/* Between blocks there may be zeros, and, behind a header's place that is zero, what a cut-short append had written. */
static void find_blocks(struct capture *capture)
{
	static const uint8_t zeros[8];
	bool gap = false;

	for (size_t at = get_u32(capture->file + 12); at + BLOCK_SIZE <= capture->size;) {
		const uint8_t *block = capture->file + at;

		if (!is_block(capture, at)) {
			gap = gap || memcmp(block, zeros, 8) == 0;
			if (!gap)
				die("neither a block nor zeros at %zu", at);
			at += 8;
			continue;
		}
		size_t stored = get_u32(block + 8);

		if (block[4] != STREAM_BLOCK && XXH3_64bits(block + BLOCK_SIZE, stored) != get_u64(block + 48))
			die("the block at %zu has another payload than its checksum says", at);
		gap = false;
		meet_block(capture, block);
		at = (at + BLOCK_SIZE + stored + 7) & ~(size_t)7;
	}
}

static int compare_windows(const void *left, const void *right)
{
	const struct window *a = left, *b = right;

	if (a->stream != b->stream)
		return a->stream < b->stream ? -1 : 1;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? -1 : 1;
	return b->is_block - a->is_block;
}

/* Each window once, none missing.  An EVENTS block of the same number is the same window, already re-coded. */
static void order_windows(struct capture *capture)
{
	size_t kept = 0;

	if (capture->window_count)
		qsort(capture->windows, capture->window_count, sizeof(*capture->windows), compare_windows);
	for (size_t i = 0; i < capture->window_count; i++) {
		struct window *window = &capture->windows[i], *last = kept ? &capture->windows[kept - 1] : NULL;
		uint64_t expected = last && last->stream == window->stream ? last->sequence + 1 : 0;

		if (expected && window->sequence == last->sequence && last->is_block && !window->is_block)
			continue;
		if (window->sequence != expected)
			die("stream %u: window %llu where %llu should be", window->stream,
				(unsigned long long)window->sequence, (unsigned long long)expected);
		capture->windows[kept++] = *window;
	}
	capture->window_count = kept;
	capture->stream_count = kept ? capture->windows[kept - 1].stream + 1 : 0;
}

void capture_open(struct capture *capture, const char *path)
{
	FILE *file = fopen(path, "rb");

	*capture = (struct capture){ 0 };
	if (!file || fseek(file, 0, SEEK_END) != 0)
		die("cannot open %s", path);
	capture->size = (size_t)ftell(file);
	capture->file = new_memory(capture->size + BLOCK_SIZE, 1);
	rewind(file);
	if (fread(capture->file, 1, capture->size, file) != capture->size || capture->size < HEADER_SIZE_MIN)
		die("cannot read %s, or it is too short", path);
	fclose(file);
	uint32_t version = get_u32(capture->file + 8);

	if (memcmp(capture->file, "SCTMEM\r\n", 8) != 0 || (version != 1 && version != 2 && version != 6))
		die("%s is not a capture of version 1, 2 or 6", path);
	capture->features = get_u64(capture->file + 16);
	if (capture->features & ~(uint64_t)15)
		die("%s does not have all events, each as it was", path);
	capture->pid = get_u32(capture->file + 56);
	find_blocks(capture);
	order_windows(capture);
	for (size_t i = 0; i < capture->window_count; i++)
		window_decode(capture, &capture->windows[i], NULL, true);
}

/* ---- the merge: section 7 ---- */

void merge_begin(struct merge *merge, struct capture *capture)
{
	*merge = (struct merge){ .capture = capture, .lane_count = capture->stream_count };
	merge->lanes = new_memory(merge->lane_count, sizeof(*merge->lanes));
	for (size_t i = capture->window_count; i-- > 0;) {
		struct lane *lane = &merge->lanes[capture->windows[i].stream];

		lane->window = i;
		if (!lane->window_end)
			lane->window_end = i + 1;
	}
}

static const struct event *lane_head(struct merge *merge, struct lane *lane)
{
	while (lane->at == lane->count) {
		if (lane->window >= lane->window_end)
			return NULL;
		lane->at = lane->count = 0;
		window_decode(merge->capture, &merge->capture->windows[lane->window++], lane, false);
	}
	return &lane->events[lane->at];
}

static bool comes_first_at_its_stamp(const struct event *event)
{
	return is_free(event->kind) || is_move(event->kind) || event->kind == UNMAP;
}

const struct event *merge_next(struct merge *merge)
{
	struct lane *first = NULL;
	const struct event *best = NULL;

	for (uint32_t i = 0; i < merge->lane_count; i++) {
		const struct event *head = lane_head(merge, &merge->lanes[i]);

		if (head && (!best || head->stamp < best->stamp || (head->stamp == best->stamp
				&& comes_first_at_its_stamp(head) && !comes_first_at_its_stamp(best)))) {
			first = &merge->lanes[i];
			best = head;
		}
	}
	if (first)
		first->at++;
	return best;
}
