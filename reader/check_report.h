/* SPDX-License-Identifier: MIT */
/*
 * The forms in which `sctmem check` says what came of the budgets: text for people, JSON for programs, JUnit XML for
 * CI servers, GitHub's annotations.  All of them are written from the one struct check.
 */
#ifndef SCTMEM_READER_CHECK_REPORT_H
#define SCTMEM_READER_CHECK_REPORT_H

#include <stdio.h>

#include "budget.h"
#include "text.h"

struct check_row {
	struct budget_row budget;
	struct budget_place *places;  /* when exceeded */
	size_t place_count;
};

struct check {
	const struct profile *profile, *baseline;   /* baseline may be NULL */
	struct check_row rows[BUDGET_ROWS_MAX]; size_t row_count;
	const struct suppressions *suppressions;
	bool incomplete;              /* events are missing from a capture: figures may be too small */
	bool incomplete_allowed;
	bool exceeded;                /* the verdict of all */
};

void check_write_text(const struct check *check, const struct text *text);
void check_write_json(const struct check *check, FILE *file);
void check_write_junit(const struct check *check, FILE *file);
void check_write_github(const struct check *check, FILE *file);

#endif
