/* SPDX-License-Identifier: MIT */
/*
 * The text of `sctmem insights`.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "insights.h"
#include "memory.h"
#include "text.h"
#include "view.h"

enum { CELL_SIZE = 128, SPARK_COLUMNS = 32 };

static void format_value(char *out, size_t size, const struct insights *insights, enum analysis_unit unit,
	uint64_t value)
{
	const struct profile *profile = insights->profile;

	switch (unit) {
	case ANALYSIS_BYTES:
		snprintf(out, size, "%s", text_bytes(value).text);
		break;
	case ANALYSIS_NUMBER:
	case ANALYSIS_PER_SECOND:
		snprintf(out, size, "%s", text_count(value).text);
		break;
	case ANALYSIS_TIME:
		snprintf(out, size, "%s", value == UINT64_MAX ? "longer" : value ? text_time(value).text : "-");
		break;
	case ANALYSIS_PERMILLE:
		snprintf(out, size, "%s", text_percent(value, 1000).text);
		break;
	case ANALYSIS_ADDRESS:
		snprintf(out, size, "0x%" PRIx64, value);
		break;
	case ANALYSIS_THREAD:
		if (value < profile->thread_count && *profile->threads[value].name)
			snprintf(out, size, "%.60s (%" PRIu32 ")", profile->threads[value].name, profile->threads[value].tid);
		else if (value < profile->thread_count)
			snprintf(out, size, "%" PRIu32, profile->threads[value].tid);
		else
			snprintf(out, size, "unknown");
		break;
	}
}

/* Heights of a series, one character a bin or for several. */
static void format_series(char *out, size_t size, const struct text *text, const uint64_t *series, unsigned bins)
{
	static const char *const blocks[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const letters[] = { " ", ".", ".", ":", "-", "=", "+", "*", "#" };
	const unsigned step = (bins + SPARK_COLUMNS - 1) / SPARK_COLUMNS;
	uint64_t most = 0;

	*out = 0;
	for (unsigned bin = 0; bin < bins; bin++)
		most = series[bin] > most ? series[bin] : most;
	for (unsigned bin = 0; bin < bins; bin += step) {
		uint64_t here = 0;
		unsigned height;

		for (unsigned i = bin; i < bin + step && i < bins; i++)
			here = series[i] > here ? series[i] : here;
		height = here ? 1 + (unsigned)((double)here * 7 / (double)most) : 0;
		snprintf(out + strlen(out), size - strlen(out), "%s", (text->utf8 ? blocks : letters)[height]);
	}
}

/* A table's columns for people, the first series, and the place. */
static void print_table(const struct insights *insights, const struct insight_table *table, const struct text *text,
	uint64_t number)
{
	const struct analysis_table_class *class = table->class;
	struct text_column columns[ANALYSIS_COLUMNS_MAX + 2] = { 0 };
	struct text_table shown = { .columns = columns };
	const bool series = class->series_count && class->series[0].title;
	char cell[VIEW_FRAME_SIZE];

	for (unsigned i = 0; i < class->column_count; i++)
		if (insight_shows(table, i))
			columns[shown.column_count++] = (struct text_column){ class->columns[i].title,
				class->columns[i].unit != ANALYSIS_THREAD };
	if (series)
		columns[shown.column_count++] = (struct text_column){ class->series[0].title, false };
	if (class->by_place)
		columns[shown.column_count++] = (struct text_column){ "place", false };
	for (size_t row = 0; row < table->count && row < number; row++) {
		const struct insight_row *its = &table->rows[row];

		for (unsigned i = 0; i < class->column_count; i++) {
			if (!insight_shows(table, i))
				continue;
			format_value(cell, CELL_SIZE, insights, class->columns[i].unit, its->values[i]);
			text_table_add(&shown, i == class->sort ? TEXT_BOLD : TEXT_PLAIN, cell);
		}
		if (series) {
			format_series(cell, sizeof cell, text, its->series, class->bin_count);
			text_table_add(&shown, TEXT_COOL, cell);
		}
		if (class->by_place)
			text_table_add(&shown, TEXT_PLAIN,
				view_frame_text(cell, sizeof cell, &insights->profile->frames[its->frame]));
	}
	if (shown.cell_count)
		text_table_print(&shown, text, "    ");
	text_table_finish(&shown);
	if (table->count > number && number) {
		text_style(text, TEXT_DIM);
		fprintf(text->file, "    and %s more (-n)\n", text_count(table->count - number).text);
		text_style(text, TEXT_PLAIN);
	}
}

static void print_facts(const struct insights *insights, const struct analysis_result *result, const struct text *text)
{
	const struct text_column columns[] = { { "", true }, { "", false } };
	struct text_table shown = { .columns = columns, .column_count = 2 };
	char cell[CELL_SIZE];

	for (unsigned i = 0; i < result->fact_count && result->class->shows_facts && !result->unavailable; i++) {
		const struct analysis_fact *fact = &result->facts[i];

		if (fact->value == 0)
			continue;
		format_value(cell, CELL_SIZE, insights, fact->unit, fact->value);
		text_table_add(&shown, TEXT_PLAIN, cell);
		text_table_add(&shown, TEXT_PLAIN, fact->title);
	}
	if (shown.cell_count)
		text_table_print(&shown, text, "    ");
	text_table_finish(&shown);
}

static void print_insight(const struct insights *insights, const struct insight *insight, const struct text *text,
	uint64_t number)
{
	text_heading(text, "%s", insight->result->class->title);
	fputs("  ", text->file);
	text_write(text, insight->headline, 0);
	putc('\n', text->file);
	print_facts(insights, insight->result, text);
	for (unsigned table = 0; table < ANALYSIS_TABLES_MAX && !insight->result->unavailable; table++)
		if (insight->tables[table].class)
			print_table(insights, &insight->tables[table], text, number);
	if (insight->note) {
		text_style(text, TEXT_DIM);
		fprintf(text->file, "  (%s)\n", insight->note);
		text_style(text, TEXT_PLAIN);
	}
	putc('\n', text->file);
}

void insights_write_text(const struct insights *insights, const struct text *text, uint64_t number, bool full)
{
	bool any = false;

	for (unsigned i = 0; i < insights->count; i++)
		if (full || insights->list[i].notable)
			print_insight(insights, &insights->list[i], text, number);
	for (unsigned i = 0; !full && i < insights->count; i++) {
		const struct insight *insight = &insights->list[i];

		if (insight->notable)
			continue;
		if (!any)
			text_heading(text, "Nothing remarkable (--analysis NAME shows each)");
		any = true;
		fprintf(text->file, "  %s: ", insight->result->class->name);
		text_write(text, insight->headline, 0);
		putc('\n', text->file);
	}
}
