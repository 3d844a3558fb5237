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
#include "report_strings.h"

/* Numbers in a page are exact up to this: JavaScript has 53 bits, and the sign of a difference takes one. */
#define REPORT_NUMBER_MAX ((UINT64_C(1) << 52) - 1)

/* Writes the columns to out.  sources may be NULL.  *clamped grows by the count of numbers above REPORT_NUMBER_MAX. */
MUST_CHECK bool report_columns_write(const struct profile *profile, const struct report_strings *strings,
	const struct report_sources *sources, FILE *out, uint64_t *clamped, struct error *error);

#endif
