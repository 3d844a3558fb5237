/* SPDX-License-Identifier: MIT */
/*
 * What sctmem diff prints: the rows of a diff, by place, function or stack, as text and as JSON.
 */
#ifndef SCTMEM_READER_DIFF_REPORT_H
#define SCTMEM_READER_DIFF_REPORT_H

#include "calltree.h"
#include "diff.h"
#include "view.h"

enum diff_by { DIFF_PLACE, DIFF_FUNCTION, DIFF_STACK };

struct diff_row {
	uint32_t frame, node;         /* of the trees; node for stacks only */
	uint32_t spread;              /* in report.spreads, if there are any */
	struct cost before, after;    /* allocated there itself */
};

/* How uncertain a row's costs are. */
struct diff_spread {
	struct cost_spread before, after;
};

struct diff_report {
	const struct diff *diff;
	const struct profile *before; /* the profile itself, for its captures */
	const struct view *view;
	enum metric metric;
	enum diff_by by;
	uint64_t number, frames;      /* rows of each list, frames of each stack; 0: all */
	struct calltree tree;
	struct diff_row *rows; size_t row_count;   /* those that differ in the metric, by falling growth */
	struct diff_spread *spreads;  /* by row.spread; NULL: all was recorded in both runs */
	uint64_t same;                /* rows that do not */
};

/* The other fields have been filled.  hidden: as calltree_init takes it. */
void diff_report_init(struct diff_report *report, unsigned hidden);
void diff_report_finish(struct diff_report *report);

void diff_write_text(const struct diff_report *report, FILE *file);
void diff_write_json(const struct diff_report *report, FILE *file);

#endif
