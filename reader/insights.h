/* SPDX-License-Identifier: MIT */
/*
 * Insights: the rows of the analyses joined by place, in order, with a sentence for each analysis.  Text, JSON and the
 * page are all made from this, so their numbers are the same.
 *
 *     profile->analyses (sites) --insights_init--> struct insights (places) --> insights_text.c | _json.c | page
 */
#ifndef SCTMEM_READER_INSIGHTS_H
#define SCTMEM_READER_INSIGHTS_H

#include <stdio.h>

#include "analysis.h"
#include "calltree.h"

struct insight_row {
	uint32_t frame;               /* in profile->frames: the place; 0: of none */
	uint32_t node;                /* in profile->nodes: the stack that has most of it */
	uint64_t values[ANALYSIS_COLUMNS_MAX];
	const uint64_t *series;       /* as in struct analysis_table; NULL: none */
};

struct insight_table {
	const struct analysis_table_class *class;   /* NULL: no such table */
	struct insight_row *rows;     /* what matters most first; those that have nothing of it are left out */
	size_t count;
	struct insight_row total;     /* of all rows, also of those left out */
	uint64_t *series;             /* what the rows' series point into */
};

struct insight {
	const struct analysis_result *result;
	struct insight_table tables[ANALYSIS_TABLES_MAX];
	char headline[512];           /* a sentence */
	const char *note;             /* how it is known, and what is an estimate */
	bool notable;                 /* there is something to look at */
};

struct insights {
	const struct profile *profile;
	const struct calltree *tree;
	struct insight *list;
	unsigned count;
};

/* The profile of the tree must have been built with analyses; both must outlive the insights. */
void insights_init(struct insights *insights, const struct calltree *tree);
void insights_finish(struct insights *insights);

/* Whether people are shown a column of the table. */
static inline bool insight_shows(const struct insight_table *table, unsigned column)
{
	const struct analysis_column *its = &table->class->columns[column];

	return its->title && (!its->rare || table->total.values[column]);
}

/* insights_say.c: fills headline, note and notable. */
void insight_say(struct insight *insight);

struct text;
/* full: also of analyses that have nothing notable. */
void insights_write_text(const struct insights *insights, const struct text *text, uint64_t number, bool full);
void insights_write_json(const struct insights *insights, FILE *file, uint64_t number);

#endif
