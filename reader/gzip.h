/* SPDX-License-Identifier: MIT */
/*
 * A stream that compresses: what is written to it arrives in another stream as one gzip member.  For formats whose
 * consumers want gzip.  The header's time is 0, so that equal input gives equal bytes.
 */
#ifndef SCTMEM_READER_GZIP_H
#define SCTMEM_READER_GZIP_H

#include <stdbool.h>
#include <stdio.h>

#include "error.h"

/* NULL: no memory.  The stream below stays open and belongs to the caller. */
FILE *gzip_open(FILE *below);
/* Ends the member.  A write that failed below is left to the owner of that stream. */
MUST_CHECK bool gzip_close(FILE *stream, struct error *error);

#endif
