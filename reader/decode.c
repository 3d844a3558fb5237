/* SPDX-License-Identifier: MIT */
/*
 * The fast decoder of windows.  Allocations, frees and stamps, which are nearly all records, are read here from
 * the columns with their state in registers; everything else, and the last bytes of each column, goes through
 * events_next.  A test holds both against each other on random and damaged blocks.
 */
#include "decode.h"
#include "estimate.h"

#include <string.h>

enum {
	VARINT_MAX = 10,              /* bytes: with as many left in a column, a varint needs no bounds checks */
	STATES_MAX = 4,               /* decoded events that one record can give: MEAN, TIME, THREAD and itself */
	OTHER = UINT8_MAX,            /* in the place of a usual kind: none of these */
};

void decoder_init(struct decoder *decoder, struct capture *capture, const struct capture_stream_parts *stream)
{
	*decoder = (struct decoder){ .capture = capture, .stream = stream, .thread = UINT64_MAX };
}

void decoder_restart(struct decoder *decoder, const struct capture_stream_parts *stream)
{
	decoder->stream = stream;
	decoder->next_part = 0;
	decoder->part = NULL;
	decoder->open = decoder->no_memory = decoder->continues = decoder->mean_ends = false;
	decoder->skip = decoder->taken = 0;
	decoder->stamp = decoder->time_ns = decoder->mean = 0;
	decoder->thread = UINT64_MAX;
}

void decoder_finish(struct decoder *decoder)
{
	capture_buffer_finish(&decoder->buffer);
}

size_t decoder_room(const struct decoder *decoder)
{
	size_t records = 0;

	for (size_t i = 0; i < decoder->stream->count; i++) {
		const struct capture_part *part = &decoder->stream->parts[i];

		records += part->kind == CAPTURE_BLOCK_STREAM ? (size_t)decoder->stream->carry.used : part->raw_size;
	}
	return records + STATES_MAX + 1;
}

/* Opens the next window that can be read. */
static bool open_part(struct decoder *decoder)
{
	while (decoder->next_part < decoder->stream->count) {
		decoder->part = &decoder->stream->parts[decoder->next_part++];
		switch (capture_read(decoder->capture, decoder->stream, decoder->part, &decoder->buffer, &decoder->cursor)) {
		case CAPTURE_READ:
			if (!decoder->continues)
				decoder->mean_ends = decoder->mean != 0;
			decoder->continues = false;
			return true;
		case CAPTURE_READ_NO_MEMORY:
			decoder->no_memory = true;
			return false;
		case CAPTURE_READ_DAMAGED:
			break;
		}
	}
	return false;
}

/* Reads a varint that has VARINT_MAX bytes before its column's end; NULL when it does not end. */
static inline const uint8_t *read_varint(const uint8_t *at, uint64_t *value)
{
	uint64_t result = at[0];

	if (__builtin_expect(result < 0x80, 1)) {
		*value = result;
		return at + 1;
	}
	result &= 0x7f;
	for (unsigned i = 1; i < VARINT_MAX; i++) {
		uint64_t byte = at[i];

		result |= (byte & 0x7f) << (7 * i);
		if (byte < 0x80) {
			*value = result;
			return at + i + 1;
		}
	}
	return NULL;
}

/* Likewise a size, which has a byte more where it is long. */
static inline const uint8_t *read_size(const uint8_t *at, enum addresses_form form, uint64_t *size)
{
	if (form == ADDRESSES_FIRST)
		return read_varint(at, size);
	if (__builtin_expect(at[0] == EVENTS_SIZE_LONG, 0))
		return read_varint(at + 1, size);
	const bool two = at[0] >= EVENTS_SIZE_TWO;

	*size = two ? (at[0] - EVENTS_SIZE_TWO) * 256u + at[1] : at[0];
	return at + 1 + two;
}

static inline bool is_plain_free(unsigned kind)
{
	return kind == CAPTURE_FREE || kind == CAPTURE_FREE_PYTHON || kind == CAPTURE_MOVE || kind == CAPTURE_MOVE_PYTHON;
}

/*
 * Decodes allocations, frees and stamps until something else comes, a column runs short or the room is used.
 * On return the cursor stands before the first record that was not decoded.  `form` is a constant: there are two of it.
 */
static inline __attribute__((always_inline)) struct decoded_event *decode_form(struct decoder *decoder,
	enum addresses_form form, struct decoded_event *out, struct decoded_event *end)
{
	struct events_cursor *cursor = &decoder->cursor;
	const uint8_t *kinds = cursor->at[EVENTS_KINDS], *kinds_end = cursor->end[EVENTS_KINDS];
	const uint8_t *allocated = cursor->at[EVENTS_ALLOCATED], *freed = cursor->at[EVENTS_FREED];
	const uint8_t *sizes = cursor->at[EVENTS_SIZES];
	const uint8_t *stacks = cursor->at[EVENTS_STACKS], *stamps = cursor->at[EVENTS_STAMPS];
	const ptrdiff_t room_needed = VARINT_MAX + 1;
	uint64_t address = 0, stamp = cursor->stamp, value = 0;
	uint32_t stack = (uint32_t)cursor->last_stack, record = cursor->taken;
	/* Each record gives one event or none. */
	const size_t room = (size_t)(end - out);
	const uint32_t records_end = record + (cursor->remaining < room ? cursor->remaining : (uint32_t)room);
	uint8_t usual[EVENTS_USUAL + 1] = { OTHER, OTHER, OTHER, OTHER };
	unsigned codes = 0;

	if (form == ADDRESSES_SECOND) {
		memcpy(usual, cursor->usual, EVENTS_USUAL);
		if (record < records_end)
			codes = cursor->usual[EVENTS_USUAL + record / 4] >> record % 4 * 2;
	}
	for (; record < records_end; record++) {
		if (form == ADDRESSES_SECOND && record % 4 == 0)
			codes = cursor->usual[EVENTS_USUAL + record / 4];
		unsigned kind = usual[codes & EVENTS_USUAL];
		const uint8_t *next, *next_kind = kinds;

		if (__builtin_expect(kind == OTHER, form == ADDRESSES_FIRST)) {
			if (kinds == kinds_end)
				break;
			kind = *next_kind++;
		}
		if (CAPTURE_IS_ALLOCATION(kind)) {
			const uint8_t *next_size, *next_stack;
			uint64_t size = 0, step = 0;

			if (cursor->end[EVENTS_ALLOCATED] - allocated < room_needed ||
			    cursor->end[EVENTS_SIZES] - sizes < room_needed || cursor->end[EVENTS_STACKS] - stacks < room_needed)
				break;
			next = read_varint(allocated, &value);
			next_size = read_size(sizes, form, &size);
			next_stack = read_varint(stacks, &step);
			if (!next || !next_size || !next_stack || !addresses_read_allocation(cursor->addresses, form, kind,
				(uint32_t)size, value, &address))
				break;
			allocated = next;
			sizes = next_size;
			stacks = next_stack;
			stack = (uint32_t)(stack + addresses_unzigzag(step));
			*out++ = (struct decoded_event){ .head = address << 8 | kind,
				.size = cursor->size_high << 32 | (uint32_t)size, .stamp = stamp, .stack = stack };
			cursor->size_high = 0;
		} else if (is_plain_free(kind)) {
			if (cursor->end[EVENTS_FREED] - freed < room_needed)
				break;
			next = read_varint(freed, &value);
			if (!next || !addresses_read_free(cursor->addresses, value, &address))
				break;
			freed = next;
			*out++ = (struct decoded_event){ .head = address << 8 | kind, .stamp = stamp };
		} else if (kind == CAPTURE_STAMP) {
			if (cursor->end[EVENTS_STAMPS] - stamps < room_needed)
				break;
			next = read_varint(stamps, &value);
			if (!next || value >> 56 || (stamp + value) >> 56)
				break;
			stamps = next;
			stamp += value;
		} else {
			break;
		}
		kinds = next_kind;
		codes >>= 2;
	}
	cursor->remaining -= record - cursor->taken;
	cursor->taken = record;
	cursor->at[EVENTS_KINDS] = kinds;
	cursor->at[EVENTS_ALLOCATED] = allocated;
	cursor->at[EVENTS_FREED] = freed;
	cursor->at[EVENTS_SIZES] = sizes;
	cursor->at[EVENTS_STACKS] = stacks;
	cursor->at[EVENTS_STAMPS] = stamps;
	cursor->last_stack = stack;
	cursor->stamp = stamp;
	return out;
}

static struct decoded_event *decode_fast(struct decoder *decoder, struct decoded_event *out, struct decoded_event *end)
{
	return decoder->cursor.form == ADDRESSES_SECOND ? decode_form(decoder, ADDRESSES_SECOND, out, end)
		: decode_form(decoder, ADDRESSES_FIRST, out, end);
}

static struct decoded_event *tell_mean(struct decoder *decoder, uint64_t mean, uint64_t stamp,
	struct decoded_event *out)
{
	decoder->mean_ends = false;
	if (mean == decoder->mean)
		return out;
	decoder->mean = mean;
	*out++ = (struct decoded_event){ .head = DECODED_MEAN, .size = mean, .stamp = stamp };
	return out;
}

/* When each mean was first in use.  Where there are too many, the larger of two takes the smaller one's time. */
static void note_step(struct capture *capture, uint64_t mean_bytes, uint64_t time_ns)
{
	unsigned at = 0;

	if (mean_bytes == 0)
		return;
	pthread_mutex_lock(&capture->lock);
	while (at < capture->step_count && capture->steps[at].mean_bytes < mean_bytes)
		at++;
	if (at < capture->step_count && (capture->steps[at].mean_bytes == mean_bytes ||
		capture->step_count == CAPTURE_STEPS_MAX)) {
		if (time_ns < capture->steps[at].time_ns)
			capture->steps[at].time_ns = time_ns;
	} else if (capture->step_count == CAPTURE_STEPS_MAX) {
		capture->steps[at - 1].mean_bytes = mean_bytes;
	} else {
		memmove(&capture->steps[at + 1], &capture->steps[at], (capture->step_count - at) * sizeof(*capture->steps));
		capture->steps[at] = (struct capture_step){ .mean_bytes = mean_bytes, .time_ns = time_ns };
		capture->step_count++;
	}
	pthread_mutex_unlock(&capture->lock);
}

/* A SAMPLING record; one that cannot be is damage: what it governs would be weighed by nobody knows what. */
static struct decoded_event *take_sampling(struct decoder *decoder, const struct capture_event *event,
	struct decoded_event *out)
{
	struct capture_sampling sampling;

	/* Who opened the capture has been told by its header whether to expect a sample. */
	if (event->payload_size < sizeof(sampling) || !(decoder->capture->header.features & CAPTURE_SAMPLED)) {
		capture_note_damage(decoder->capture, decoder->part->offset, 0, "a record of sampling that cannot be");
		return out;
	}
	memcpy(&sampling, event->payload, sizeof(sampling));
	if (sampling.mean_bytes >> ESTIMATE_MEAN_BITS_MAX) {
		capture_note_damage(decoder->capture, decoder->part->offset, 0, "a mean of sampling that cannot be");
		return out;
	}
	note_step(decoder->capture, sampling.mean_bytes, event->time_ns);
	return tell_mean(decoder, sampling.mean_bytes, event->stamp, out);
}

/* Of one that is being written: from after the moment up to which all is there.  Sums may be of before. */
static bool is_late(const struct capture *capture, uint64_t stamp, unsigned kind)
{
	return capture->last_stamp && stamp > capture->last_stamp && kind != CAPTURE_CULLED;
}

/*
 * Takes metadata; a mark, a start or stop of recording, and the rest become one event, after the changes of time and
 * thread that it brings.
 */
static struct decoded_event *take_event(struct decoder *decoder, const struct capture_event *event,
	struct decoded_event *out)
{
	struct capture_recording recording;
	uint64_t operand = event->address;

	if (event->kind == CAPTURE_SAMPLING)
		return take_sampling(decoder, event, out);
	if (decoder->mean_ends)
		out = tell_mean(decoder, 0, event->stamp, out);
	if (decoded_is_moment(event->kind) && is_late(decoder->capture, event->stamp, event->kind))
		return out;
	if (CAPTURE_IS_METADATA(event->kind) || event->kind == CAPTURE_NODE) {
		pthread_mutex_lock(&decoder->capture->lock);
		operand = event->kind == CAPTURE_CULLED ? decoder->capture->culled_count
			: event->kind == CAPTURE_PAGES ? decoder->capture->page_part_count : decoder->capture->note_count;
		if (!capture_absorb(decoder->capture, event, NULL))
			decoder->no_memory = true;
		pthread_mutex_unlock(&decoder->capture->lock);
		if (!decoded_is_moment(event->kind) || decoder->no_memory)
			return out;
		if (event->kind == CAPTURE_RECORDING) {
			if (event->payload_size < sizeof(recording))
				return out;           /* refused */
			memcpy(&recording, event->payload, sizeof(recording));
			operand = recording.on != 0;
		}
	}
	if (event->time_ns > decoder->time_ns) {
		decoder->time_ns = event->time_ns;
		*out++ = (struct decoded_event){ .head = event->time_ns << 8 | CAPTURE_TIME, .stamp = event->stamp };
	}
	if (event->thread != decoder->thread) {
		decoder->thread = event->thread;
		*out++ = (struct decoded_event){ .head = (uint64_t)event->thread << 8 | CAPTURE_THREAD, .stamp = event->stamp };
	}
	*out++ = (struct decoded_event){ .head = operand << 8 | event->kind, .size = event->size,
		.stamp = event->stamp, .stack = event->stack, .flags = event->flags };
	return out;
}

/* Whether events may be decoded without looking at the time and thread: they are those of the event before. */
static bool is_settled(const struct decoder *decoder)
{
	return decoder->cursor.columns && !decoder->slow && !decoder->mean_ends && decoder->cursor.thread == decoder->thread &&
		decoder->cursor.time_ns <= decoder->time_ns;
}

/* Stamps of a damaged capture may go back from one window to the next; the merge needs them in order. */
static void order_stamps(struct decoder *decoder, struct decoded_event *events, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (events[i].stamp < decoder->stamp)
			events[i].stamp = decoder->stamp;
		else
			decoder->stamp = events[i].stamp;
	}
}

/* Leaves out what is late; what changes how sums that are not are understood stays. */
static size_t leave_out_late(const struct decoder *decoder, struct decoded_event *events, size_t count)
{
	size_t kept = 0;

	if (count == 0 || !is_late(decoder->capture, events[count - 1].stamp, CAPTURE_MALLOC))
		return count;
	for (size_t i = 0; i < count; i++)
		if (decoded_is_state(&events[i]) || !is_late(decoder->capture, events[i].stamp, DECODED_KIND(&events[i])))
			events[kept++] = events[i];
	return kept;
}

/* Leaves out the events from before all streams' are here; what changes how later ones are understood stays. */
static size_t leave_out_early(struct decoder *decoder, struct decoded_event *events, size_t count)
{
	const uint64_t first = decoder->capture->first_stamp;
	size_t kept = 0;

	if (count == 0 || events[0].stamp >= first)
		return count;
	for (size_t i = 0; i < count; i++)
		if (events[i].stamp >= first || DECODED_KIND(&events[i]) < CAPTURE_FREE ||
		    (DECODED_KIND(&events[i]) >= 64 && DECODED_KIND(&events[i]) != CAPTURE_PAGES &&
		    DECODED_KIND(&events[i]) != CAPTURE_CULLED))
			events[kept++] = events[i];
	pthread_mutex_lock(&decoder->capture->lock);
	decoder->capture->left_out += count - kept;
	pthread_mutex_unlock(&decoder->capture->lock);
	return kept;
}

static size_t decode_some(struct decoder *decoder, struct decoded_event *events, size_t room)
{
	struct decoded_event *out = events, *end = events + room;

	while (end - out > STATES_MAX && !decoder->no_memory) {
		struct capture_event event;

		if (!decoder->open && !(decoder->open = open_part(decoder)))
			break;
		while (decoder->skip > 0 && events_next(&decoder->cursor, &event))
			decoder->skip--;
		decoder->skip = 0;
		if (is_settled(decoder))
			out = decode_fast(decoder, out, end - STATES_MAX);
		if (end - out <= STATES_MAX)
			break;
		if (events_next(&decoder->cursor, &event)) {
			out = take_event(decoder, &event, out);
			decoder->taken++;
			continue;
		}
		decoder->open = false;
		if (decoder->cursor.bad)
			capture_note_damage(decoder->capture, decoder->part->offset, 0, "records that contradict themselves in a block");
	}
	order_stamps(decoder, events, (size_t)(out - events));
	return (size_t)(out - events);
}

size_t decoder_next(struct decoder *decoder, struct decoded_event *events, size_t room)
{
	size_t decoded, kept;

	do {
		decoded = decode_some(decoder, events, room);
		kept = leave_out_early(decoder, events, leave_out_late(decoder, events, decoded));
	} while (decoded > 0 && kept == 0);
	return kept;
}
