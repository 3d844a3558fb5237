/* SPDX-License-Identifier: MIT */
/*
 * See report_insights.h.
 */
#include "report_insights.h"

#include <inttypes.h>

#include "report_columns.h"
#include "report_text.h"

enum { ROWS_MAX = 100 };

static const char *unit_name(enum analysis_unit unit)
{
	switch (unit) {
	case ANALYSIS_BYTES: return "bytes";
	case ANALYSIS_NUMBER: return "count";
	case ANALYSIS_TIME: return "ns";
	case ANALYSIS_PER_SECOND: return "rate";
	case ANALYSIS_PERMILLE: return "permille";
	case ANALYSIS_THREAD: return "thread";
	case ANALYSIS_ADDRESS: break;
	}
	return "address";
}

/* null: longer than any bin, or an unknown thread. */
static void put_value(FILE *out, const struct profile *profile, enum analysis_unit unit, uint64_t value,
	uint64_t *clamped)
{
	if ((unit == ANALYSIS_TIME && value == UINT64_MAX) || (unit == ANALYSIS_THREAD && value >= profile->thread_count)) {
		fputs("null", out);
		return;
	}
	if (value > REPORT_NUMBER_MAX) {
		value = REPORT_NUMBER_MAX;
		++*clamped;
	}
	fprintf(out, "%" PRIu64, value);
}

static void put_columns(FILE *out, const struct analysis_table_class *class)
{
	const char *comma = "";

	fputs("\"columns\":[", out);
	for (unsigned i = 0; i < class->column_count; i++) {
		if (!class->columns[i].title)
			continue;
		fprintf(out, "%s[\"%s\",\"%s\",\"%s\"]", comma, class->columns[i].key, class->columns[i].title,
			unit_name(class->columns[i].unit));
		comma = ",";
	}
	putc(']', out);
}

/* The first series, where it has a title. */
static bool has_series(const struct analysis_table_class *class)
{
	return class->series_count && class->series[0].title;
}

static void put_series(FILE *out, const struct profile *profile, const struct analysis_table_class *class,
	const struct analysis_scale *scale, uint64_t *clamped)
{
	fputs(",\"series\":", out);
	if (!has_series(class)) {
		fputs("null", out);
		return;
	}
	fprintf(out, "{\"title\":\"%s\",\"unit\":\"%s\",\"bin_unit\":\"%s\",\"ends\":[", class->series[0].title,
		unit_name(class->series[0].unit), unit_name(class->bin_unit));
	for (unsigned bin = 0; bin < class->bin_count; bin++) {
		fputs(bin ? "," : "", out);
		put_value(out, profile, class->bin_unit, class->bin_end(bin, scale), clamped);
	}
	fputs("]}", out);
}

static void put_row(FILE *out, const struct profile *profile, const struct analysis_table_class *class,
	const struct insight_row *row, uint64_t *clamped)
{
	const char *comma = "";

	fprintf(out, "\n[%" PRIu32 ",%" PRIu32 ",[", row->frame, row->node);
	for (unsigned i = 0; i < class->column_count; i++) {
		if (!class->columns[i].title)
			continue;
		fputs(comma, out);
		put_value(out, profile, class->columns[i].unit, row->values[i], clamped);
		comma = ",";
	}
	fputs("],[", out);
	for (unsigned bin = 0; has_series(class) && bin < class->bin_count; bin++) {
		fputs(bin ? "," : "", out);
		put_value(out, profile, class->series[0].unit, row->series[bin], clamped);
	}
	fputs("]]", out);
}

static void put_table(FILE *out, const struct profile *profile, const struct insight_table *table,
	const struct analysis_scale *scale, uint64_t *clamped)
{
	fprintf(out, "{\"name\":\"%s\",\"by_place\":%s,\"row_count\":%zu,", table->class->name,
		table->class->by_place ? "true" : "false", table->count);
	put_columns(out, table->class);
	put_series(out, profile, table->class, scale, clamped);
	fputs(",\"rows\":[", out);
	for (size_t i = 0; i < table->count && i < ROWS_MAX; i++) {
		fputs(i ? "," : "", out);
		put_row(out, profile, table->class, &table->rows[i], clamped);
	}
	fputs("]}", out);
}

static void put_insight(FILE *out, const struct profile *profile, const struct insight *insight, uint64_t *clamped)
{
	const struct analysis_result *result = insight->result;
	const char *comma = "";

	fprintf(out, "{\"name\":\"%s\",\"title\":\"%s\",\"notable\":%s,\"available\":%s,\"headline\":", result->class->name,
		result->class->title, insight->notable ? "true" : "false", result->unavailable ? "false" : "true");
	report_text_json(out, insight->headline);
	fputs(",\"note\":", out);
	report_text_json(out, insight->note ? insight->note : "");
	fputs(",\"facts\":[", out);
	for (unsigned i = 0; i < result->fact_count && !result->unavailable; i++) {
		fputs(i ? "," : "", out);
		fprintf(out, "[\"%s\",\"%s\",\"%s\",", result->facts[i].key, result->facts[i].title,
			unit_name(result->facts[i].unit));
		put_value(out, profile, result->facts[i].unit, result->facts[i].value, clamped);
		putc(']', out);
	}
	fputs("],\"tables\":[", out);
	for (unsigned table = 0; table < ANALYSIS_TABLES_MAX && !result->unavailable; table++) {
		if (!insight->tables[table].class)
			continue;
		fputs(comma, out);
		put_table(out, profile, &insight->tables[table], &result->scale, clamped);
		comma = ",";
	}
	fputs("]}", out);
}

void report_insights_write(const struct insights *insights, FILE *out, uint64_t *clamped)
{
	putc('[', out);
	for (unsigned i = 0; i < insights->count; i++) {
		fputs(i ? ",\n" : "\n", out);
		put_insight(out, insights->profile, &insights->list[i], clamped);
	}
	putc(']', out);
}
