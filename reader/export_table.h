/* SPDX-License-Identifier: MIT */
/*
 * A profile as tables, for formats of rows and columns (CSV, Arrow): what columns there are is said here once.
 *
 *     sites      what was allocated at one stack by one thread in one domain by one function: the counted ones, so
 *                that the sum of a column is the figure of sctmem stats
 *     stacks     id, parent, frame          a site's stack is an id here; a stack is its frame and its parent's
 *     frames     id, function, file, ...    a stack's frame is an id here
 *     threads, timeline, marks
 *
 *     sites.stack -> stacks.id, stacks.parent -> stacks.id, stacks.frame -> frames.id, sites.thread -> threads.id
 */
#ifndef SCTMEM_READER_EXPORT_TABLE_H
#define SCTMEM_READER_EXPORT_TABLE_H

#include "export.h"

enum table_kind { TABLE_NUMBER, TABLE_TEXT };

struct table_column {
	const char *name;
	enum table_kind kind;
};

/* A cell: the number of a TABLE_NUMBER, the text of a TABLE_TEXT; null where there is none. */
struct table_cell {
	uint64_t number;
	const char *text;
	bool null;
};

enum { TABLE_COLUMNS_MAX = 20 };

struct table_reader {
	const struct export *export;
	const struct export_table *table;
	uint64_t row;                 /* read so far */
	size_t at;                    /* in the profile's array */
};

struct export_table {
	const char *name;
	const struct table_column *columns;   /* name NULL at the end */
	/* Fills a row's cells; false after the last. */
	bool (*next)(struct table_reader *reader, struct table_cell *cells);
};

/* The names of the tables, in the order of export->table; NULL at the end. */
extern const char *const export_table_names[];

struct table_reader table_begin(const struct export *export);
bool table_next(struct table_reader *reader, struct table_cell *cells);
unsigned table_column_count(const struct export_table *table);

#endif
