/* SPDX-License-Identifier: MIT */
/*
 * Budgets: limits that a capture is held against, and what came of it.  Used by the verb check; prints nothing.
 *
 *     struct budget_limits --budget_judge--> rows (limit, measured, verdict)
 *     profile, calltree, leaks --measure_init--> struct measure: the four figures, and each place's share of them
 *
 * The figures are those of the other views: peak, total and allocations are profile->total as stats prints it, leak
 * is the group "program" of leaks (with `all`: every group but what is suppressed).
 */
#ifndef SCTMEM_READER_BUDGET_H
#define SCTMEM_READER_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "calltree.h"
#include "leaks.h"

enum budget_figure { BUDGET_PEAK, BUDGET_TOTAL, BUDGET_LEAK, BUDGET_ALLOCATIONS, BUDGET_FIGURES };

const char *budget_word(enum budget_figure figure);          /* "peak" ... as --growth-of spells it */
const char *budget_title(enum budget_figure figure);         /* for people */

/* What was measured of one family of captures. */
struct measure {
	const struct calltree *tree;
	uint64_t figures[BUDGET_FIGURES];
	uint64_t *weights[BUDGET_FIGURES];   /* by frame of the profile: what the place (calltree_location) has of it */
};

void measure_init(struct measure *measure, const struct calltree *tree, const struct leaks *leaks, bool all_leaks);
void measure_finish(struct measure *measure);

/* Growth in parts per million: exact where a fraction of a percent would not be. */
enum { BUDGET_WHOLE = 1000000 };

struct budget_limits {
	bool given[BUDGET_FIGURES];
	uint64_t limits[BUDGET_FIGURES];
	bool growth_given;
	uint64_t growth;                     /* parts of BUDGET_WHOLE */
	unsigned growth_of;                  /* bit mask of figures */
};

struct budget_row {
	enum budget_figure figure;
	bool growth;                         /* held against the baseline */
	bool exceeded;
	uint64_t limit, measured, baseline;
};

enum { BUDGET_ROWS_MAX = 2 * BUDGET_FIGURES };

/* baseline is needed when growth_given.  Returns how many rows there are. */
size_t budget_judge(const struct budget_limits *limits, const struct measure *now, const struct measure *baseline,
	struct budget_row rows[BUDGET_ROWS_MAX]);

/* One place that weighs in a row; for growth what it has more than in the baseline. */
struct budget_place {
	const struct frame *frame;
	uint64_t weight;
};

/* The heaviest places of a row, at most number_max of them, heaviest first.  To be freed. */
struct budget_place *budget_places(const struct budget_row *row, const struct measure *now,
	const struct measure *baseline, size_t number_max, size_t *count);

/* "5%", "2.5%", "0": for --max-growth. */
bool budget_parse_growth(const char *text, uint64_t *growth);

#endif
