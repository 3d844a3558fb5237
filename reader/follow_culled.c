/* SPDX-License-Identifier: MIT */
/*
 * A window that was aggregated as it was recorded, and of which words were taken before it was handed on.  Used by
 * follow.c only.
 *
 *     words taken        [a1 a2 f2 a3 a4 f4 a5]                   replayed, or in the queue
 *     the block          [   SKIP 2  a3  SKIP 2  F  SUMS  HELD]
 *     what is queued     ends of a1, a5;  F  SUMS less a1, a2, a4, a5
 *
 * What was dropped (culled_walk.h) has been counted from its words: so SKIP and the sums that come are made smaller by
 * that.  What was dropped and has not ended ends where the words do: when it did is not known, but it was within its
 * window, and nobody was given its address before.  So live blocks and totals are those of a reader of the whole file
 * again, as soon as the block is taken; until then they are as true as the words are.
 */
#include <stdlib.h>
#include <string.h>

#include "culled_walk.h"
#include "follow.h"
#include "replay_cost.h"

bool follow_keep_words(struct follow_stream *stream, const uint64_t *words, size_t count,
	const struct capture_stream *now, struct error *error)
{
	if (stream->word_count == 0)
		stream->first = *now;
	if (!array_reserve(&stream->words, &stream->word_capacity, stream->word_count + count, sizeof(*words), error))
		return false;
	memcpy(stream->words + stream->word_count, words, count * sizeof(*words));
	stream->word_count += count;
	return true;
}

void follow_forget_sums(struct follow *follow)
{
	for (size_t i = 0; i < follow->stream_count; i++) {
		const struct follow_stream *stream = &follow->streams[i];

		for (size_t j = stream->event_at; j < stream->event_count; j++)
			if (DECODED_KIND(&stream->events[j]) == CAPTURE_CULLED)
				return;
	}
	follow->capture->culled_count = 0;
}

/* With the stamp of what is before it. */
static bool queue(struct follow_stream *stream, const struct decoded_event *event, struct error *error)
{
	const size_t at = stream->event_count;
	uint64_t stamp = stream->carry.first_stamp;

	if (!array_reserve(&stream->events, &stream->event_capacity, at + 1, sizeof(*event), error))
		return false;
	if (at > 0 && stream->events[at - 1].stamp > stamp)
		stamp = stream->events[at - 1].stamp;
	stream->events[at] = *event;
	stream->events[at].stamp = stamp;
	stream->event_count++;
	return true;
}

/* Of what was dropped and has not ended. */
static bool queue_ends(struct follow_stream *stream, const struct culled_walk *walk, struct error *error)
{
	struct decoded_event event = { .head = walk->events << 8 | DECODED_DROPPED, .size = walk->allocations,
		.stack = walk->unknown_frees, .flags = DROPPED_FIGURES };
	bool ok = queue(stream, &event, error);

	for (size_t i = 0; ok && i < walk->block_count; i++) {
		const struct own_block *block = &walk->blocks[i];

		event = (struct decoded_event){ .head = block->address << 8 | DECODED_DROPPED, .size = block->row >> 8 & 0xff,
			.stack = (uint32_t)(block->row >> 16), .flags = DROPPED_BLOCK };
		if (block->lives && block->dropped && block->replayed)
			ok = queue(stream, &event, error);
	}
	for (unsigned i = 0; ok && i < walk->move_count; i++) {
		event = (struct decoded_event){ .head = walk->moves[i].address << 8 | DECODED_DROPPED, .flags = DROPPED_MOVE };
		if (walk->moves[i].dropped && walk->moves[i].replayed)
			ok = queue(stream, &event, error);
	}
	return ok;
}

/* Takes what was counted out of sums; what is more is the same row's behind a mark.  So no sum ever goes down. */
static void shrink_sums(struct capture_culled *sums, struct capture_culled *counted)
{
	const struct capture_culled less = counted->count > sums->count ? *sums : *counted;

	culled_subtract(sums, &less);
	culled_subtract(counted, &less);
}

/* SKIP and sums of what was decoded from the block, from this event of the queue on. */
static void shrink_rest(struct capture *capture, struct follow_stream *stream, size_t first, struct culled_walk *walk)
{
	for (size_t i = first; i < stream->event_count; i++) {
		struct decoded_event *event = &stream->events[i];
		const uint64_t operand = DECODED_OPERAND(event);

		if (DECODED_KIND(event) == CAPTURE_SKIP) {
			const uint64_t less = operand < walk->dropped ? operand : walk->dropped;

			event->head -= less << 8;
			walk->dropped -= less;
		} else if (DECODED_KIND(event) == CAPTURE_CULLED) {
			struct capture_culled *sums = &capture->culled[operand];
			const uint32_t at = map64_get(&walk->sum_of, culled_row(sums->stack, sums->kind, sums->bin));

			if (at != MAP64_NONE)
				shrink_sums(sums, &walk->sums[at]);
		}
	}
}

/*
 * Where all that is known of a run begins within a window: sums that are not decoded any more may tell of blocks that
 * were not replayed; and a realloc in place of such a block was counted as an allocation, which it is in no sums.
 */
static bool queue_excess(struct capture *capture, struct follow_stream *stream, const struct culled_walk *walk,
	struct error *error)
{
	for (size_t i = 0; i < walk->sum_count; i++) {
		const struct capture_culled *counted = &walk->sums[i];
		struct capture_culled sums = { .stack = counted->stack, .kind = counted->kind, .bin = counted->bin };
		const uint64_t number = capture->culled_count;

		culled_subtract(&sums, counted);
		if (culled_is_nothing(&sums))
			continue;
		if (!capture_add_culled(capture, &sums, error) ||
		    !queue(stream, &(struct decoded_event){ .head = number << 8 | CAPTURE_CULLED }, error))
			return false;
	}
	return true;
}

/* The block of a window of which something was dropped, at whose records `left` is. */
static bool take_culled(struct follow *follow, struct follow_stream *stream, const struct capture_part *part,
	const struct events_cursor *left, struct error *error)
{
	struct capture *capture = follow->capture;
	struct culled_walk walk = { .first_stamp = capture->first_stamp,
		.page_size = follow->replay->processes[0].page_size,
		.temporary_limit = follow->replay->options.temporary_limit };
	struct events_cursor words;
	bool ok;

	events_open_words(&words, stream->stream, &stream->first, stream->words, stream->word_count);
	ok = culled_walk(&walk, &words, left, error);
	if (ok && walk.contradicts) {
		capture_note_damage(capture, part->offset, 0, "a block that is not what is left of its window");
		capture->damage.windows++;
	} else if (ok) {
		ok = queue_ends(stream, &walk, error);
		capture->left_out += (uint64_t)walk.left_out;

		const size_t first = stream->event_count;

		ok = ok && follow_decode(follow, stream, part, NULL, &stream->carry, walk.matched, error);
		if (ok)
			shrink_rest(capture, stream, first, &walk);
		ok = ok && queue_excess(capture, stream, &walk, error);
	}
	culled_walk_finish(&walk);
	return ok;
}

bool follow_take_rest(struct follow *follow, struct follow_stream *stream, const struct capture_part *part,
	struct error *error)
{
	struct capture_buffer buffer = { 0 };
	struct events_cursor left;
	enum capture_read_result result = CAPTURE_READ_DAMAGED;
	bool ok;

	if (stream->word_count > 0) {
		const struct capture_damage before = follow->capture->damage;

		result = capture_read(follow->capture, NULL, part, &buffer, &left);
		follow->capture->damage = before;     /* it is read again, and said then */
	}
	if (result == CAPTURE_READ_NO_MEMORY)
		ok = fail_memory(error);
	/* The last record of a window of which something was dropped says what that held. */
	else if (result == CAPTURE_READ && events_ends_with(&left, CAPTURE_HELD))
		ok = take_culled(follow, stream, part, &left, error);
	else
		ok = follow_decode(follow, stream, part, NULL, &stream->carry, stream->taken, error);
	capture_buffer_finish(&buffer);
	return ok;
}
