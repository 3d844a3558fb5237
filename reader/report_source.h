/* SPDX-License-Identifier: MIT */
/*
 * The lines of Python source that a profile's frames name, with a few around each, for a page whose user asked for
 * them.  A capture is not trusted: only regular files with a Python suffix are read, and only so much of them.
 */
#ifndef SCTMEM_READER_REPORT_SOURCE_H
#define SCTMEM_READER_REPORT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "profile.h"

struct report_source_line {
	uint32_t number;
	char *text;                   /* without its end; cut when very long */
};

struct report_source {
	const char *file;             /* as the frames name it */
	bool changed;                 /* the file is newer than the capture: lines may have moved */
	struct report_source_line *lines;
	size_t line_count;
};

struct report_sources;

/* Files that cannot be read are left out: the report is made on another machine more often than not. */
MUST_CHECK bool report_sources_new(struct report_sources **out, const struct profile *profile, struct error *error);
void report_sources_free(struct report_sources *sources);
/* NULL: 0. */
size_t report_sources_count(const struct report_sources *sources);
const struct report_source *report_sources_get(const struct report_sources *sources, size_t index);

#endif
