/* SPDX-License-Identifier: MIT */
/*
 * The HTML report: one self-contained page, made from a profile and nothing else.  It opens from a file, calls
 * nobody, and shows the same figures as every other view.
 */
#ifndef SCTMEM_READER_REPORT_HTML_H
#define SCTMEM_READER_REPORT_HTML_H

#include <stdbool.h>
#include <stdio.h>

#include "error.h"
#include "profile.h"

struct insights;
struct suppressions;

/* Which lines of source go into the page, of files that can be read. */
enum report_source_choice {
	REPORT_SOURCE_NONE,
	REPORT_SOURCE_OPEN,           /* not those that look confidential */
	REPORT_SOURCE_ALL,
};

struct report_options {
	const char *view;             /* shown first, a name of web/views.mjs; NULL: the first of that list */
	const char *metric;           /* shown first: peak (also when NULL), leaked, total, temporary */
	bool inverted;                /* shown first from the allocating functions up to their callers */
	const char *title;            /* NULL or "": the command line */
	enum report_source_choice source;
	const struct insights *insights;   /* NULL: none */
	const struct suppressions *suppressions;   /* with what each hit; NULL: none */
};

/* The caller opens and closes `out`; a failed write is an error here, a failed close is the caller's to see. */
MUST_CHECK bool report_html_write(const struct profile *profile, const struct report_options *options, FILE *out,
	struct error *error);

#endif
