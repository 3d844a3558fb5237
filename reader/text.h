/* SPDX-License-Identifier: MIT */
/*
 * Text for people: on a terminal, in a pipe, in a file.
 *
 * Names in a capture are untrusted.  Everything that comes from one goes through text_write or text_escape, which
 * show what could act on a terminal or fool the eye (control characters, escape sequences, bidi and invisible
 * characters, bytes that are not UTF-8) as \x1b or \u{202e}.
 */
#ifndef SCTMEM_READER_TEXT_H
#define SCTMEM_READER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum text_style {
	TEXT_PLAIN,
	TEXT_BOLD,
	TEXT_DIM,
	TEXT_HOT,      /* a large share */
	TEXT_WARM,
	TEXT_COOL,
	TEXT_WARNING,
};

struct text {
	FILE *file;
	bool colour;          /* a terminal, and the user did not say NO_COLOR */
	bool utf8;            /* else lines and bars are drawn in ASCII, and other characters are escaped */
	unsigned width;       /* columns of the terminal; 0: a pipe or file, nothing is cut */
};

struct text text_begin(FILE *file);
void text_style(const struct text *text, enum text_style style);

/* How a share of the whole is coloured: the limits that memray's users know. */
enum text_style text_share_style(double share);

/* The first character of the bytes and its length; 0: not UTF-8. */
size_t text_decode(const char *bytes, size_t size, uint32_t *character);
/* Control, bidi, invisible, not a character: never sent to a terminal as it is. */
bool text_is_unsafe(uint32_t character);

/*
 * Writes untrusted bytes, in at most `columns_max` columns (0: no limit), the last of which is an ellipsis when
 * something was cut.  Returns the columns written.
 */
size_t text_write(const struct text *text, const char *bytes, size_t columns_max);
/* The columns that text_write would take without a limit. */
size_t text_columns(const struct text *text, const char *bytes);
/* The same for a buffer; always ends with NUL, with "..." before it when something was cut.  Returns out. */
char *text_escape(char *out, size_t size, const char *bytes);

enum { TEXT_NUMBER_SIZE = 32 };
struct text_number { char text[TEXT_NUMBER_SIZE]; };

struct text_number text_bytes(uint64_t bytes);            /* "1.5 MiB" */
struct text_number text_count(uint64_t count);            /* "1,234,567" */
struct text_number text_time(uint64_t time_ns);           /* "1.234 s", "2 m 03 s" */
struct text_number text_percent(uint64_t part, uint64_t whole);   /* "12.3 %" */
struct text_number text_date(uint64_t realtime_ns);       /* "2026-01-31T12:34:56Z" */

/* A horizontal bar of `share` (0..1) of the columns; at least a mark when there is anything. */
void text_bar(const struct text *text, double share, unsigned columns);
/* A heading on a line of its own. */
void text_heading(const struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Columns that line up.  Cells are added row by row; the last column is cut at the terminal's edge. */
struct text_column {
	const char *title;    /* "": no title */
	bool right;           /* numbers */
};

struct text_table {
	const struct text_column *columns;
	unsigned column_count;
	struct text_cell { char *bytes; enum text_style style; } *cells;
	size_t cell_count, cell_capacity;
};

#define TEXT_TABLE(list) { .columns = (list), .column_count = sizeof(list) / sizeof(list)[0] }
/* The one of two lists, as an expression. */
#define TEXT_TABLE_EITHER(condition, list, other) \
	((condition) ? (struct text_table)TEXT_TABLE(list) : (struct text_table)TEXT_TABLE(other))
void text_table_add(struct text_table *table, enum text_style style, const char *bytes);
void text_table_print(const struct text_table *table, const struct text *text, const char *indent);
void text_table_finish(struct text_table *table);

/* A line on stderr, when that is a terminal, for work that takes longer than a second. */
struct text_progress {
	uint64_t started_ns, shown_ns;
	bool enabled, shown;
};

struct text_progress text_progress_begin(void);
/* The signature of profile_options.progress; context is a struct text_progress. */
void text_progress_update(void *context, const char *what, uint64_t done, uint64_t all);
void text_progress_end(struct text_progress *progress);

#endif
