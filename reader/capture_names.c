/* SPDX-License-Identifier: MIT */
/*
 * Names of native frames that a capture has with it (SYMBOLS), taken into its tables.  Called by capture_metadata.c.
 *
 * Each segment of a run has the names of all stacks up to its end: of a hundred segments they are not kept a hundred
 * times, but only what a record has that is better than what came before it.
 */
#include "capture.h"

#include <stdlib.h>
#include <string.h>

/* What a record says of its frame i, whose places are these. */
static struct capture_named named_of(const struct names *names, uint32_t i, const struct capture_place *places)
{
	return (struct capture_named){ places, names->text, names->frames[i].place_count, names->head.generation };
}

static uint32_t count_lines(const struct capture_named *named)
{
	uint32_t lines = 0;

	for (uint32_t i = 0; i < named->count; i++)
		lines += named->places[i].line != 0;
	return lines;
}

/* Whether these names of a frame are better than what there is; slot MAP64_NONE: there is nothing. */
static bool is_better(const struct capture *capture, uint32_t slot, const struct capture_named *named)
{
	const struct capture_named *known = slot == MAP64_NONE ? NULL : &capture->named[slot];

	return !known || known->generation < named->generation ||
		(known->generation == named->generation && count_lines(known) < count_lines(named));
}

static size_t count_better(const struct capture *capture, const struct names *names)
{
	const struct capture_place *places = names->places;
	size_t count = 0;

	for (uint32_t i = 0; i < names->head.frame_count; places += names->frames[i++].place_count) {
		const struct capture_named named = named_of(names, i, places);

		count += is_better(capture, map64_get(&capture->named_by_frame, names->frames[i].frame), &named);
	}
	return count;
}

/*
 * The record with only those frames that it has better names of.  *payload stays NULL where that has more text than the
 * record: a hostile one has the same text in each place anew.
 */
static bool take_better(const struct capture *capture, const struct names *names, void **payload, size_t *size,
	struct error *error)
{
	const struct capture_place *places = names->places;
	struct symbol_frame frames[SYMBOLS_FRAMES_MAX];
	struct names_writer writer = { 0 };
	bool ok = true;

	for (uint32_t i = 0; ok && i < names->head.frame_count; places += names->frames[i++].place_count) {
		const struct capture_named_frame *frame = &names->frames[i];
		const struct capture_named named = named_of(names, i, places);

		if (writer.text_size > names->head.text_size)
			break;
		if (!is_better(capture, map64_get(&capture->named_by_frame, frame->frame), &named))
			continue;
		for (uint32_t n = 0; n < frame->place_count; n++)
			frames[n] = names_frame(&places[n], names->text);
		ok = names_add(&writer, frame->frame, frames, frame->place_count, error);
	}
	ok = ok && (writer.text_size > names->head.text_size ||
		names_take(&writer, names->head.generation, payload, size, error));
	names_finish(&writer);
	return ok;
}

/* The names stay where they are, in one copy of the payload. */
static bool keep_names(struct capture *capture, const void *payload, size_t size, struct error *error)
{
	char *copy = pool_copy(&capture->pool, payload, size);
	struct names names;

	if (!copy)
		return fail_memory(error);
	if (names_check(copy, size, &names))
		return true;                  /* as it was checked before, it cannot be */
	if (!array_reserve(&capture->name_records, &capture->name_record_capacity, capture->name_record_count + 1,
		sizeof(*capture->name_records), error))
		return false;
	capture->name_records[capture->name_record_count++] = (struct capture_names){ copy, size };
	for (uint32_t i = 0; i < names.head.frame_count; names.places += names.frames[i++].place_count) {
		const struct capture_named named = named_of(&names, i, names.places);
		const uint32_t slot = map64_get(&capture->named_by_frame, names.frames[i].frame);

		if (slot != MAP64_NONE) {
			if (is_better(capture, slot, &named))
				capture->named[slot] = named;
			continue;
		}
		if (!array_reserve(&capture->named, &capture->named_capacity, capture->named_count + 1, sizeof(named), error) ||
		    !map64_put(&capture->named_by_frame, names.frames[i].frame, (uint32_t)capture->named_count, error))
			return false;
		capture->named[capture->named_count++] = named;
	}
	return true;
}

bool capture_take_names(struct capture *capture, const struct capture_event *event, const char **problem,
	struct error *error)
{
	void *whole = malloc(event->payload_size + 1), *better = NULL;
	size_t size = 0;
	struct names names;
	bool ok;

	*problem = NULL;
	if (!whole)
		return fail_memory(error);
	memcpy(whole, event->payload, event->payload_size);
	*problem = names_check(whole, event->payload_size, &names);
	const size_t count = *problem ? 0 : count_better(capture, &names);

	ok = count == 0 || count == names.head.frame_count || take_better(capture, &names, &better, &size, error);
	if (ok && count)
		ok = keep_names(capture, better ? better : whole, better ? size : event->payload_size, error);
	free(better);
	free(whole);
	return ok;
}
