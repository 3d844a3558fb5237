/* SPDX-License-Identifier: MIT */
/*
 * Where a report goes: standard output, or the FILE of -o.  A file is written under another name and takes its
 * place when it is complete, so that a failed command leaves neither half a report nor the old one damaged.
 */
#ifndef SCTMEM_READER_OUTPUT_H
#define SCTMEM_READER_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "error.h"

struct output {
	FILE *file;
	const char *path;             /* NULL: standard output */
	char *temporary;              /* NULL: written in place (standard output, a device, a pipe) */
	bool force;
};

/* path NULL or "-": standard output.  An existing file is refused unless force. */
MUST_CHECK bool output_open(struct output *output, const char *path, bool force, struct error *error);
/* Makes it final.  A write that failed earlier is an error here. */
MUST_CHECK bool output_commit(struct output *output, struct error *error);
/* Drops what was not committed; nothing after output_commit. */
void output_close(struct output *output);

/* Standard output at the end of the command: false with an empty text when the reader of a pipe has gone. */
MUST_CHECK bool output_flush_standard(struct error *error);

#endif
