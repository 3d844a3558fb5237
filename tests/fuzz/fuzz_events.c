/* SPDX-License-Identifier: MIT */
/*
 * Property: for any bytes, as columns of either form and as words, a cursor ends after at most as many records as there
 * are bytes, never reads outside them, and hands out only payloads that lie within.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/events.h"
#include "input.h"

static void read_all(struct events_cursor *cursor, const uint8_t *low, size_t size)
{
	struct capture_event event;
	size_t records = 0;

	while (events_next(cursor, &event)) {
		if (++records > size)
			abort();
		if (event.payload_size && (event.payload < low || event.payload_size > size - (size_t)(event.payload - low)))
			abort();
	}
	if (events_next(cursor, &event))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct addresses addresses;
	struct events_cursor cursor;
	const size_t count = size / 8;
	uint64_t *words = malloc(count ? count * 8 : 1);

	if (!words)
		return 0;
	for (unsigned flags = 0; flags <= CAPTURE_BLOCK_SECOND; flags += CAPTURE_BLOCK_SECOND)
		if (events_open_columns(&cursor, 1, flags, data, size, &addresses))
			read_all(&cursor, data, size);
	if (count)
		memcpy(words, data, count * 8);
	events_open_words(&cursor, 1, NULL, words, count);
	read_all(&cursor, (const uint8_t *)words, count * 8);
	free(words);
	return 0;
}
