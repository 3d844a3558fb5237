/* SPDX-License-Identifier: MIT */
/*
 * A profile as tables, for formats of rows and columns (CSV, Arrow): what columns there are is said here once.
 *
 *     sites      what was allocated at one stack by one thread in one domain by one function: the counted ones, so
 *                that the sum of a column is the figure of sctmem stats
 *     stacks     id, parent, frame          a site's stack is an id here; a stack is its frame and its parent's
 *     frames     id, function, file, ...    a stack's frame is an id here
 *     threads, timeline, marks
 *     blocks     every block that was allocated: when, where, how large, when it was freed; from the events, in the
 *                order in which the blocks ended, and then those that never did
 *
 *     sites.stack, blocks.stack -> stacks.id, stacks.parent -> stacks.id, stacks.frame -> frames.id,
 *     sites.thread, blocks.thread -> threads.id
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
	struct table_blocks *blocks;  /* those that live, while events are read */
};

struct export_table {
	const char *name;
	const struct table_column *columns;   /* name NULL at the end */
	/* Fills a row's cells; false after the last. */
	bool (*next)(struct table_reader *reader, struct table_cell *cells);
};

/* The names of the tables, in the order of export->table; NULL at the end. */
extern const char *const export_table_names[];
/* Whether a table is made of the events: of export->table's numbers. */
bool table_needs_events(unsigned table);

MUST_CHECK bool table_begin(struct table_reader *reader, const struct export *export, struct error *error);
bool table_next(struct table_reader *reader, struct table_cell *cells);
/* false: reading ended before the last row. */
MUST_CHECK bool table_end(struct table_reader *reader, struct error *error);

/* export_blocks.c: the table of blocks. */
extern const struct table_column block_columns[];
MUST_CHECK bool blocks_begin(struct table_reader *reader, struct error *error);
bool blocks_next(struct table_reader *reader, struct table_cell *cells);
MUST_CHECK bool blocks_end(struct table_reader *reader, struct error *error);
unsigned table_column_count(const struct export_table *table);

#endif
