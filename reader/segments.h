/* SPDX-License-Identifier: MIT */
/* The files of a run that was recorded in segments (SCTMEM_ROTATE).  Used by capture.c and profile.c. */
#ifndef SCTMEM_READER_SEGMENTS_H
#define SCTMEM_READER_SEGMENTS_H

#include "capture.h"

/* Whether the file is a segment; of which run, and which. */
bool segments_peek(const char *path, uint64_t *run_id, uint32_t *segment);

/* Adds a file of the run to the capture's segments; what is not of the run is left out. */
MUST_CHECK bool segments_add(struct capture *capture, const char *path, uint64_t run_id, struct error *error);

/* Adds all of the run that lie beside `path`, from the segment of number `from` on. */
MUST_CHECK bool segments_gather(struct capture *capture, const char *path, uint64_t run_id, uint32_t from,
	struct error *error);

/* Once all are added: sorts them, refuses two of one number, notes what is missing in between. */
MUST_CHECK bool segments_settle(struct capture *capture, struct error *error);

/* Of a run that is followed while it grows: adds those that have come since, if there are any. */
MUST_CHECK bool segments_find_later(struct capture *capture, bool *found, struct error *error);

/* Of the run that `path` is a segment of the first, and the newest, that lie beside it; to be freed.  NULL: of none. */
char *segments_first_beside(const char *path);
char *segments_newest_beside(const char *path);

/* For the name of a run's first file, which is gone: the first that is left of the newest such run; NULL: none. */
char *segments_first_left(const char *path);

/*
 * Whether a copy of a file of a run, under this other name, would be read as a part of the run, or the run's files as
 * parts of the copy.  Then *stem is what no copy's name beside the run may begin with.
 */
enum { SEGMENTS_STEM_SIZE = 512 };
bool segments_would_mix(const char *path, const char *copy, char stem[SEGMENTS_STEM_SIZE]);

void segments_close(struct capture *capture);

#endif
