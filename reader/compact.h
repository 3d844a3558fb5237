/* SPDX-License-Identifier: MIT */
/*
 * Makes a smaller capture that answers the same: what was allocated and freed again between two borders is dropped, and
 * its sums are kept by stack, thread, function and size.  Borders lie at even distances in time, at the instant of the
 * peak, and at each mark; what lives across one is kept, event by event.
 *
 *     border            |              |     peak |            |
 *     kept              +--------------------------------------+---
 *     dropped   +--+ +-----+        +---+  +---+      +----+
 *
 * So totals, leaks, the peak and what it was made of, temporary blocks, windows between marks, and the live heap at
 * each border are the same to the byte.  Between borders less is live than was, and times of totals are those of the
 * border behind them.  Two passes over the capture; memory: live blocks, and the events between two borders.
 */
#ifndef SCTMEM_READER_COMPACT_H
#define SCTMEM_READER_COMPACT_H

#include <stdint.h>
#include <stdio.h>

#include "error.h"

struct compact_options {
	uint32_t points;              /* borders at even distances, about */
	uint32_t temporary_limit;     /* what is temporary among what is dropped */
	void (*progress)(void *context, const char *what, uint64_t done, uint64_t all);
	void *progress_context;
};

struct compact_result {
	uint64_t events, kept;        /* allocations, frees and the like in the old capture and in the new one */
	uint64_t bytes_before, bytes_after;
};

MUST_CHECK bool compact_capture(const char *path, const struct compact_options *options, FILE *out,
	struct compact_result *result, struct error *error);

#endif
