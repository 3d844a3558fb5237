/* SPDX-License-Identifier: MIT */
/*
 * Which files get names when a capture is named, and where copies of them go.  Used by cmd_symbolize.c.
 *
 *     night.bin                        itself
 *     server.bin, of a run in segments    all of its files that lie beside it, the newest first
 *     server.000007.bin                that segment
 *
 * Each segment gets the names of all stacks that it has itself, which are those of the run up to its end: so any of
 * them can be taken elsewhere alone, and what --keep removes takes nothing with it that another needs.  The newest come
 * first: it has the most stacks, and a run whose oldest files are missing is known as such, but not one whose newest
 * are.
 */
#ifndef SCTMEM_READER_SYMBOLIZE_FILES_H
#define SCTMEM_READER_SYMBOLIZE_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct capture;

struct symbolize_file {
	const char *path;
	char *copy;                   /* NULL: in place */
};

struct symbolize_files {
	struct symbolize_file *files; size_t count;
	/* Of a run, in place: the newest file, which its process still writes, and which is not among them; NULL: none. */
	const char *recording;
	bool growing;                 /* a run that goes on: --keep may remove files */
	struct capture *run;          /* whose memory paths are */
};

/* output NULL: in place.  `alone`: of a run in segments this one file, whichever it is. */
MUST_CHECK bool symbolize_files_list(struct symbolize_files *files, const char *path, const char *output, bool alone,
	struct error *error);
void symbolize_files_finish(struct symbolize_files *files);

#endif
