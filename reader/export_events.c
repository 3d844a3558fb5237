/* SPDX-License-Identifier: MIT */
/*
 * See export_events.h.
 *
 *     u8       kind, live + 1 in the bits above
 *     varints  zigzag(time - time before), site, bytes before, bytes; with blocks: block, address
 */
#include "export_events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BUFFER_SIZE = 1 << 18, KIND_BITS = 2 };

static void put_varint(FILE *file, uint64_t value)
{
	for (; value > 0x7f; value >>= 7)
		putc_unlocked((int)(value & 0x7f) | 0x80, file);
	putc_unlocked((int)value, file);
}

static uint64_t get_varint(FILE *file)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		const int byte = getc_unlocked(file);

		if (byte == EOF)
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			break;
	}
	return value;
}

static void take_event(void *context, const struct profile_event *event)
{
	struct export_events *events = context;
	const int64_t step = (int64_t)(event->time_ns - events->last_ns);

	putc_unlocked((int)event->kind | (event->live + 1) << KIND_BITS, events->file);
	put_varint(events->file, (uint64_t)step << 1 ^ (uint64_t)(step >> 63));
	put_varint(events->file, event->site);
	put_varint(events->file, event->bytes_before);
	put_varint(events->file, event->bytes);
	if (events->blocks) {
		put_varint(events->file, event->block);
		put_varint(events->file, event->address);
	}
	events->last_ns = event->time_ns;
}

bool export_events_open(struct export_events *events, bool blocks, struct error *error)
{
	const char *folder = getenv("TMPDIR");
	char path[4096];
	int fd;

	*events = (struct export_events){ .observer = { .context = events, .event = take_event }, .blocks = blocks };
	snprintf(path, sizeof(path), "%s/sctmem-export-XXXXXX", folder && *folder ? folder : "/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return fail(error, STATUS_OUTPUT, "cannot keep the events of the run in %s: %s; set TMPDIR to a folder with room",
			folder && *folder ? folder : "/tmp", strerror(errno));
	unlink(path);
	events->file = fdopen(fd, "w+");
	if (!events->file) {
		close(fd);
		return fail(error, STATUS_MEMORY, "out of memory for the events of the run");
	}
	setvbuf(events->file, NULL, _IOFBF, FILE_BUFFER_SIZE);
	return true;
}

void export_events_close(struct export_events *events)
{
	if (events->file)
		fclose(events->file);
	events->file = NULL;
}

bool export_events_begin(struct export_events *events, struct error *error)
{
	errno = EIO;
	if (ferror(events->file) || fflush(events->file) != 0)
		return fail(error, STATUS_OUTPUT, "cannot keep the events of the run: %s; set TMPDIR to a folder with room",
			strerror(errno));
	rewind(events->file);
	events->last_ns = 0;
	return true;
}

bool export_events_next(struct export_events *events, const struct profile *profile, struct profile_event *event)
{
	int head;

	while ((head = getc_unlocked(events->file)) != EOF) {
		const uint64_t step = get_varint(events->file);

		*event = (struct profile_event){ .kind = (enum profile_event_kind)(head & ((1 << KIND_BITS) - 1)),
			.live = (head >> KIND_BITS) - 1 };
		events->last_ns += step >> 1 ^ -(step & 1);
		event->time_ns = events->last_ns;
		event->site = (uint32_t)get_varint(events->file);
		event->bytes_before = get_varint(events->file);
		event->bytes = get_varint(events->file);
		if (events->blocks) {
			event->block = get_varint(events->file);
			event->address = get_varint(events->file);
		}
		if (event->site < profile->observed_count && profile->observed[event->site].counted)
			return true;
	}
	return false;
}
