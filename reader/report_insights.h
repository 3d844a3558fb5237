/* SPDX-License-Identifier: MIT */
/*
 * The insights of a page, as a JSON array; formats/report.md says what is in it.  Called by report_html.c.
 */
#ifndef SCTMEM_READER_REPORT_INSIGHTS_H
#define SCTMEM_READER_REPORT_INSIGHTS_H

#include <stdio.h>

#include "insights.h"

/* *clamped: grows by one for each number that is too large for the page. */
void report_insights_write(const struct insights *insights, FILE *out, uint64_t *clamped);

#endif
