/* SPDX-License-Identifier: MIT */
/*
 * The insights of a page as JSON; formats/report.md says what is in it.  Called by report_html.c.
 */
#ifndef SCTMEM_READER_REPORT_INSIGHTS_H
#define SCTMEM_READER_REPORT_INSIGHTS_H

#include "insights.h"
#include "json.h"

/* The member "insights" of an open object. */
void report_insights_write(const struct insights *insights, struct json *json);

#endif
