/* SPDX-License-Identifier: MIT */
/*
 * Writes a capture of one stream from another's header and tables: what compact.c and symbolize need.  Records are put
 * as words; full windows become EVENTS blocks.  What cannot be written is told at the end.
 */
#ifndef SCTMEM_READER_CAPTURE_OUT_H
#define SCTMEM_READER_CAPTURE_OUT_H

#include <stdio.h>

#include "capture.h"

struct capture_out {
	FILE *file;
	uint64_t written;
	struct capture_stream carry;  /* state at the start of the window */
	uint64_t *words;
	size_t used;
	uint32_t sequence;
	uint64_t time_ns;
	uint32_t thread;
	uint8_t *encoded, *scratch;
	char *packed;
	size_t packed_size;
};

/* Begins with the header and status of `from`, with these features more. */
MUST_CHECK bool capture_out_begin(struct capture_out *out, const struct capture *from, uint64_t features, FILE *file,
	struct error *error);
void capture_out_finish(struct capture_out *out);

/* What follows is of this time (if that is later) and thread. */
MUST_CHECK bool capture_out_at(struct capture_out *out, uint64_t time_ns, uint32_t thread, struct error *error);
MUST_CHECK bool capture_out_words(struct capture_out *out, const uint64_t *words, size_t count, struct error *error);
MUST_CHECK bool capture_out_metadata(struct capture_out *out, unsigned kind, const void *fixed, size_t fixed_size,
	const void *const *texts, const size_t *sizes, size_t count, struct error *error);
/* Threads, modules, code objects, runtimes, notes and nodes; marks are events, and not among them. */
MUST_CHECK bool capture_out_tables(struct capture_out *out, const struct capture *from, struct error *error);
/* The last window. */
MUST_CHECK bool capture_out_end(struct capture_out *out, struct error *error);

#endif
