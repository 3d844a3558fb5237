/* SPDX-License-Identifier: MIT */
/*
 * The events of a run, for formats that carry each of them.  They are seen while captures are replayed, but can be
 * written only when their stacks have names, after it; in between they lie in a file without a name.
 *
 *     replay --profile_observer--> export_events --export_events_next--> format
 *
 * The file lies in TMPDIR, or /tmp, and takes 5 to 25 bytes an event.
 */
#ifndef SCTMEM_READER_EXPORT_EVENTS_H
#define SCTMEM_READER_EXPORT_EVENTS_H

#include <stdbool.h>
#include <stdio.h>

#include "error.h"
#include "profile.h"

struct export_events {
	struct profile_observer observer;   /* for profile_options; its context is this object */
	FILE *file;
	bool blocks;                  /* block and address of each event are wanted */
	uint64_t last_ns;             /* of the event written or read last */
};

/* blocks: whether events carry block and address, else they are 0. */
MUST_CHECK bool export_events_open(struct export_events *events, bool blocks, struct error *error);
void export_events_close(struct export_events *events);

/* After the replay, and before each pass over the events. */
MUST_CHECK bool export_events_begin(struct export_events *events, struct error *error);
/*
 * The next event of a counted block; false at the end.  An event of a block that ends while others go on comes in
 * the order in which it was told, with a time that may lie before theirs.
 */
bool export_events_next(struct export_events *events, const struct profile *profile, struct profile_event *event);

#endif
