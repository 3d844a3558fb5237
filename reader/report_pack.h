/* SPDX-License-Identifier: MIT */
/*
 * Compresses the columns of a report page and writes them as base64 of one gzip member.  Used by report_columns.c,
 * which puts its bytes where this says.
 *
 *     bytes (at most PACK_SIZE) -> deflate -> base64 -> FILE
 *
 * Columns that fit in one piece, those of small captures, go through libdeflate, where there is one: it wants all at
 * once, and takes a third of zlib's time.  More of them stream through zlib, piece by piece, so that memory does not
 * grow with the profile.
 */
#ifndef SCTMEM_READER_REPORT_PACK_H
#define SCTMEM_READER_REPORT_PACK_H

#include <stdbool.h>
#include <stdio.h>

enum { PACK_SIZE = 1 << 20 };

struct pack_stream;

struct pack {
	FILE *out;
	struct pack_stream *stream;   /* zlib's; NULL until there is more than one piece */
	bool failed;                  /* for lack of memory; looked at at the end */
	size_t used;
	unsigned char bytes[PACK_SIZE];   /* the caller's to fill, up to here: then pack_flush() */
};

/* NULL: no memory.  What is never used of it is never touched. */
struct pack *pack_new(FILE *out);
void pack_free(struct pack *pack);

/* Takes the bytes; with `last` also ends the member. */
void pack_flush(struct pack *pack, bool last);

#endif
