/* SPDX-License-Identifier: MIT */
/*
 * CSV as RFC 4180 has it, one table a file, its columns' names first: for spreadsheets, pandas, DuckDB, sqlite3.
 *
 * A text that a spreadsheet would run as a formula (it begins with = + - @) gets an apostrophe before it: names in a
 * capture are the traced program's, and a CSV file travels.
 */
#include <inttypes.h>
#include <string.h>

#include "export_table.h"

static void write_text(FILE *file, const char *text)
{
	const bool formula = *text && strchr("=+-@", *text);
	const bool quoted = formula || strpbrk(text, ",\"\r\n") != NULL;

	if (quoted)
		putc('"', file);
	if (formula)
		putc('\'', file);
	for (; *text; text++) {
		if (*text == '"')
			putc('"', file);
		putc(*text, file);
	}
	if (quoted)
		putc('"', file);
}

static bool csv_write(const struct export *export, struct error *error)
{
	struct table_cell cells[TABLE_COLUMNS_MAX];
	struct table_reader reader;

	if (!table_begin(&reader, export, error))
		return false;
	const struct table_column *columns = reader.table->columns;

	for (unsigned i = 0; columns[i].name; i++)
		fprintf(export->file, "%s%s", i ? "," : "", columns[i].name);
	putc('\n', export->file);
	while (table_next(&reader, cells)) {
		for (unsigned i = 0; columns[i].name; i++) {
			if (i)
				putc(',', export->file);
			if (cells[i].null)
				continue;
			if (columns[i].kind == TABLE_TEXT)
				write_text(export->file, cells[i].text);
			else
				fprintf(export->file, "%" PRIu64, cells[i].number);
		}
		putc('\n', export->file);
	}
	return table_end(&reader, error);
}

const struct export_format export_csv = {
	.name = "csv",
	.ending = ".csv",
	.summary = "spreadsheets, pandas, DuckDB: one table of --table",
	.flags = EXPORT_TABLE,
	.timeline_points = 1000,
	.write = csv_write,
};
