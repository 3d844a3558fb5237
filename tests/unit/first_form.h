/* SPDX-License-Identifier: MIT */
/*
 * Columns in their first form, which captures of versions 1 to 5 have: the recorder writes none any more, and the
 * reader reads them for ever.
 */
#ifndef SCTMEM_TESTS_FIRST_FORM_H
#define SCTMEM_TESTS_FIRST_FORM_H

#include "formats/events.h"

/* events_encode() as it was, but that it says nothing of the window and takes its scratch memory by itself. */
size_t first_form_encode(const uint64_t *words, size_t count, const struct capture_stream *carry, uint8_t *out);

#endif
