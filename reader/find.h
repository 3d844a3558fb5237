/* SPDX-License-Identifier: MIT */
/*
 * Finding captures by what they are, not by what they are called: a capture is a regular file that begins with
 * CAPTURE_MAGIC.
 */
#ifndef SCTMEM_READER_FIND_H
#define SCTMEM_READER_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* What the header says about whose capture it is; enough to choose one without reading it. */
struct found {
	char *path;
	uint64_t modified_ns;
	uint64_t start_realtime_ns;
	uint32_t pid, parent_pid;
	uint32_t sequence;
	uint32_t segment;
	uint64_t run_id;
};

/* Whether the file begins as a capture does; fills *found (path: a copy, to be freed) when it does. */
bool find_check(const char *path, struct found *found);

/*
 * The newest capture in the folder.  *path is to be freed.  false: there is none, or the folder cannot be read;
 * error says what to do.
 */
MUST_CHECK bool find_newest(const char *folder, char **path, struct error *error);
/* In the current folder; says on stderr which it is. */
MUST_CHECK bool find_newest_said(char **path, struct error *error);

/*
 * Captures in the folder of `pattern` whose name matches its last part (a glob) and that were started at or after
 * `since_ns`; sorted by start.  Returns their number; *found is to be freed with find_free.
 */
size_t find_matching(const char *pattern, uint64_t since_ns, struct found **found);
void find_free(struct found *found, size_t count);

#endif
