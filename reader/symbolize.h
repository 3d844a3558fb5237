/* SPDX-License-Identifier: MIT */
/*
 * Puts the names of a capture's native frames into it, so that it can be read where the programs' files are not.  Used
 * by cmd_symbolize.c.
 */
#ifndef SCTMEM_READER_SYMBOLIZE_H
#define SCTMEM_READER_SYMBOLIZE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"
#include "symbols.h"

struct symbolize_options {
	struct symbols *symbols;      /* that names are looked up in: the next capture finds its files open */
	void (*progress)(void *context, const char *what, uint64_t done, uint64_t all);
	void *progress_context;
};

struct symbolize_result {
	uint64_t frames;              /* distinct native frames that names are looked up for */
	uint64_t named;               /* of these have a name in the capture now */
	uint64_t added, renewed;      /* written by this run; renewed ones had fewer lines before */
	uint64_t bytes_added;
};

/*
 * out NULL: into the capture itself, which nobody may be writing.  Else into a copy; the file must be seekable, and is
 * no capture until it is complete.  Of a run in segments it is this file alone.
 */
MUST_CHECK bool symbolize_capture(const char *path, const struct symbolize_options *options, FILE *out,
	struct symbolize_result *result, struct error *error);

#endif
