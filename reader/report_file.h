/* SPDX-License-Identifier: MIT */
/*
 * From a command line to a page in a file: what the verbs report, flamegraph and table --html share.  They differ in
 * the view that the page begins with, and in nothing else.
 */
#ifndef SCTMEM_READER_REPORT_FILE_H
#define SCTMEM_READER_REPORT_FILE_H

#include "command.h"
#include "view.h"

struct report_file {
	const char *begin;            /* the name of a view, as reader/web/views.mjs has it */
	bool leaks, inverted, no_source, all_source;
	bool insights;                /* run the analyses, for the view of that name */
	const char *title;
	const char *suppressions;     /* a file of leaks that are accepted, or NULL */
	uint64_t slices;              /* 0 where no row is used */
};

/* Rows for the group "Page"; the struct report_file lies at `where` in the settings. */
extern const struct option_spec report_file_options[];
#define REPORT_FILE(where) { .title = "Page", .options = report_file_options, .offset = (where) }

/* The arguments have been parsed.  Says on stderr which file it wrote when its name was not given. */
MUST_CHECK bool report_file_write(const struct report_file *settings, const struct view *view,
	struct invocation *invocation, struct error *error);

/* What the settings begin with. */
#define REPORT_FILE_DEFAULT .slices = VIEW_SLICES_DEFAULT

#endif
