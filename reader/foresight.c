/* SPDX-License-Identifier: MIT */
/* See foresight.h. */
#include "foresight.h"

#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "formats/events.h"
#include "table.h"

/* What is looked for, and where. */
struct sight {
	struct capture *capture;
	const char *mark;             /* NULL: no mark is */
	uint64_t at_ns;
};

/* Whether a window has a record that says something of it.  The words of a stream's last one may have. */
static bool tells(const struct sight *sight, const struct events_cursor *cursor)
{
	const uint8_t *kinds = cursor->at[EVENTS_KINDS];
	const size_t size = cursor->columns ? (size_t)(cursor->end[EVENTS_KINDS] - kinds) : 0;

	return !cursor->columns || (size && (memchr(kinds, CAPTURE_MODULE, size) || memchr(kinds, CAPTURE_PYTHON, size) ||
		memchr(kinds, CAPTURE_PAGES, size) || (sight->mark && memchr(kinds, CAPTURE_MARK, size))));
}

static bool absorb_window(struct sight *sight, struct events_cursor *cursor, struct error *error)
{
	struct capture *capture = sight->capture;
	struct capture_event event;
	bool ok = true;

	if (!tells(sight, cursor))
		return true;
	while (ok && events_next(cursor, &event)) {
		if (event.kind == CAPTURE_MODULE || event.kind == CAPTURE_PYTHON || event.kind == CAPTURE_PAGES ||
		    (event.kind == CAPTURE_MARK && sight->mark))
			ok = capture_absorb(capture, &event, error);
		/* When it was taken is enough. */
		if (event.kind == CAPTURE_PAGES && capture->page_part_count)
			free(capture_take_pages(capture, capture->page_part_count - 1).payload);
	}
	return ok;
}

/* When the newest sample of pages before the moment was taken; 0: there is none, or the moment is not known. */
static uint64_t newest_pages_ns(const struct sight *sight)
{
	const struct capture *capture = sight->capture;
	uint64_t at_ns = sight->at_ns, newest_ns = 0;
	bool known = !sight->mark;

	for (size_t i = 0; i < capture->note_count; i++) {
		const struct capture_note *note = &capture->notes[i];

		if (!sight->mark || !note->is_mark || strcmp(note->text, sight->mark) != 0)
			continue;
		at_ns = note->time_ns < at_ns ? note->time_ns : at_ns;
		known = true;
	}
	/* Within a tick of the clock it is not known here which comes first. */
	for (size_t i = 0; known && i < capture->page_part_count; i++)
		if (capture->page_parts[i].time_ns < at_ns && capture->page_parts[i].time_ns > newest_ns)
			newest_ns = capture->page_parts[i].time_ns;
	return newest_ns;
}

bool foresight_read(const char *path, uint64_t at_ns, const char *mark, struct foresight *foresight,
	struct error *error)
{
	struct capture_buffer buffer = { 0 };
	struct events_cursor cursor;
	struct sight sight = { .mark = mark, .at_ns = at_ns };
	bool ok = true;

	if (!capture_open(&sight.capture, path, error))
		return false;
	for (size_t i = 0; ok && i < sight.capture->stream_count; i++) {
		const struct capture_stream_parts *stream = &sight.capture->streams[i];

		for (size_t part = 0; ok && part < stream->count; part++) {
			switch (capture_read(sight.capture, stream, &stream->parts[part], &buffer, &cursor)) {
			case CAPTURE_READ:
				ok = absorb_window(&sight, &cursor, error);
				break;
			case CAPTURE_READ_NO_MEMORY:
				ok = fail_memory(error);
				break;
			case CAPTURE_READ_DAMAGED:
				break;
			}
		}
	}
	*foresight = (struct foresight){ size_classes_of(sight.capture), newest_pages_ns(&sight) };
	capture_buffer_finish(&buffer);
	capture_close(sight.capture);
	return ok;
}
