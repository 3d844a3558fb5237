/* SPDX-License-Identifier: MIT */
/*
 * The texts of a report page, each once: those that the frames and threads of a profile share.  Used by
 * report_columns.c, which writes them, and by whoever names one by its number.
 */
#ifndef SCTMEM_READER_REPORT_STRINGS_H
#define SCTMEM_READER_REPORT_STRINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "profile.h"

struct report_strings;
MUST_CHECK bool report_strings_new(struct report_strings **out, const struct profile *profile, struct error *error);
void report_strings_free(struct report_strings *strings);

uint32_t report_strings_count(const struct report_strings *strings);
/* number: below that count; 0 is the empty text. */
const char *report_strings_get(const struct report_strings *strings, size_t number);
/* The number of a text that the profile's frames or threads use; 0, the empty text, for any other. */
uint32_t report_strings_find(const struct report_strings *strings, const char *text);

#endif
