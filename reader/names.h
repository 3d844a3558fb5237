/* SPDX-License-Identifier: MIT */
/*
 * The names of native frames as a record of a capture (SYMBOLS): written by symbolize.c, checked on reading by
 * capture_metadata.c.  The payload is untrusted bytes when it is read; what names_check has accepted needs no further
 * checks.  It must lie at a multiple of 8.
 *
 *     | capture_symbols | frame, count | frame, count | ... | place | place | ... | "" main\0 main.c\0 ... |
 *
 * A frame's places follow those of the frame before it; texts are kept once each.
 */
#ifndef SCTMEM_READER_NAMES_H
#define SCTMEM_READER_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "formats/capture.h"
#include "symbols.h"
#include "table.h"

/* A payload that was checked. */
struct names {
	struct capture_symbols head;
	const struct capture_named_frame *frames;
	const struct capture_place *places;
	const char *text;
};

/* Returns NULL, or what is wrong. */
const char *names_check(const void *payload, size_t size, struct names *names);

/* A place as symbols.h has it; the texts are those of the payload. */
struct symbol_frame names_frame(const struct capture_place *place, const char *text);

/* All zeros is empty. */
struct names_writer {
	struct capture_named_frame *frames; size_t frame_count, frame_capacity;
	struct capture_place *places; size_t place_count, place_capacity;
	char *text; size_t text_size, text_capacity;
	struct map64 offsets;         /* hash of a text -> where it is */
};

MUST_CHECK bool names_add(struct names_writer *writer, uint64_t frame, const struct symbol_frame *found, size_t count,
	struct error *error);
/* Whether what was added should become a record now: before it grows beyond what a record may hold. */
bool names_is_full(const struct names_writer *writer);
/* The payload of what was added, on the heap; the writer is empty then. */
MUST_CHECK bool names_take(struct names_writer *writer, uint32_t generation, void **payload, size_t *size,
	struct error *error);
void names_finish(struct names_writer *writer);

#endif
