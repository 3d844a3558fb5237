/* SPDX-License-Identifier: MIT */
/*
 * The large part of a report page's data: strings, frames, nodes, sites and the time line as packed columns,
 * compressed and in base64.  formats/report.md is normative.
 */
#ifndef SCTMEM_READER_REPORT_COLUMNS_H
#define SCTMEM_READER_REPORT_COLUMNS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"
#include "profile.h"
#include "report_source.h"

/* Numbers in a page are exact up to this: JavaScript has 53 bits, and the sign of a difference takes one. */
#define REPORT_NUMBER_MAX ((UINT64_C(1) << 52) - 1)

/* The text that frames and threads share, each once. */
struct report_strings;
MUST_CHECK bool report_strings_new(struct report_strings **out, const struct profile *profile, struct error *error);
void report_strings_free(struct report_strings *strings);
/* The number of a text that the profile's frames or threads use; 0, the empty text, for any other. */
uint32_t report_strings_find(const struct report_strings *strings, const char *text);

/* Writes the columns to out.  sources may be NULL.  *clamped grows by the count of numbers above REPORT_NUMBER_MAX. */
MUST_CHECK bool report_columns_write(const struct profile *profile, const struct report_strings *strings,
	const struct report_sources *sources, FILE *out, uint64_t *clamped, struct error *error);

#endif
