/* SPDX-License-Identifier: MIT */
/*
 * The lines of source that a profile's frames name, with a few around each or all of the file, for a page whose user
 * did not decline them.  A capture is not trusted: only regular files with a suffix of source code are read, and only
 * so much of them.
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

enum report_source_state {
	REPORT_SOURCE_SAME,
	REPORT_SOURCE_CHANGED,        /* the file is newer than the capture: lines may have moved */
	REPORT_SOURCE_CONFIDENTIAL,   /* it looks so, by its name or content: no line of it is here */
};

struct report_source {
	const char *file;             /* as the frames name it */
	enum report_source_state state;
	struct report_source_line *lines;
	size_t line_count;
};

struct report_sources;

/* Files that cannot be read are left out: the report is made on another machine more often than not. */
MUST_CHECK bool report_sources_new(struct report_sources **out, const struct profile *profile, bool confidential_too,
	struct error *error);
/* Whether a file's name says that it is not for everybody: secrets.py, credentials/aws.py, .ssh/config.py ... */
bool report_source_name_is_confidential(const char *file);
void report_sources_free(struct report_sources *sources);
/* NULL: 0. */
size_t report_sources_count(const struct report_sources *sources);
const struct report_source *report_sources_get(const struct report_sources *sources, size_t index);

#endif
