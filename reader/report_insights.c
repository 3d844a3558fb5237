/* SPDX-License-Identifier: MIT */
/*
 * See report_insights.h.
 */
#include "report_insights.h"


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
static void put_value(struct json *json, const struct profile *profile, enum analysis_unit unit, uint64_t value)
{
	if ((unit == ANALYSIS_TIME && value == UINT64_MAX) || (unit == ANALYSIS_THREAD && value >= profile->thread_count))
		json_null(json, NULL);
	else
		json_number(json, NULL, value);
}

static void put_columns(struct json *json, const struct insight_table *table)
{
	const struct analysis_table_class *class = table->class;

	json_array(json, "columns");
	for (unsigned i = 0; i < class->column_count; i++) {
		if (!insight_shows(table, i))
			continue;
		json_array(json, NULL);
		json_text(json, NULL, class->columns[i].key);
		json_text(json, NULL, class->columns[i].title);
		json_text(json, NULL, unit_name(class->columns[i].unit));
		json_array_end(json);
	}
	json_array_end(json);
}

/* The first series, where it has a title. */
static bool has_series(const struct analysis_table_class *class)
{
	return class->series_count && class->series[0].title;
}

static void put_series(struct json *json, const struct profile *profile, const struct analysis_table_class *class,
	const struct analysis_scale *scale)
{
	if (!has_series(class)) {
		json_null(json, "series");
		return;
	}
	json_object(json, "series");
	json_text(json, "title", class->series[0].title);
	json_text(json, "unit", unit_name(class->series[0].unit));
	json_text(json, "bin_unit", unit_name(class->bin_unit));
	json_array(json, "ends");
	for (unsigned bin = 0; bin < class->bin_count; bin++)
		put_value(json, profile, class->bin_unit, class->bin_end(bin, scale));
	json_array_end(json);
	json_object_end(json);
}

static void put_row(struct json *json, const struct profile *profile, const struct insight_table *table,
	const struct insight_row *row)
{
	const struct analysis_table_class *class = table->class;

	json_array(json, NULL);
	json_number(json, NULL, row->frame);
	json_number(json, NULL, row->node);
	json_array(json, NULL);
	for (unsigned i = 0; i < class->column_count; i++) {
		if (insight_shows(table, i))
			put_value(json, profile, class->columns[i].unit, row->values[i]);
	}
	json_array_end(json);
	json_array(json, NULL);
	for (unsigned bin = 0; has_series(class) && bin < class->bin_count; bin++)
		put_value(json, profile, class->series[0].unit, row->series[bin]);
	json_array_end(json);
	json_array_end(json);
}

static void put_table(struct json *json, const struct profile *profile, const struct insight_table *table,
	const struct analysis_scale *scale)
{
	json_object(json, NULL);
	json_text(json, "name", table->class->name);
	json_bool(json, "by_place", table->class->by_place);
	json_number(json, "row_count", table->count);
	put_columns(json, table);
	put_series(json, profile, table->class, scale);
	json_array(json, "rows");
	for (size_t i = 0; i < table->count && i < ROWS_MAX; i++)
		put_row(json, profile, table, &table->rows[i]);
	json_array_end(json);
	json_object_end(json);
}

static void put_insight(struct json *json, const struct profile *profile, const struct insight *insight)
{
	const struct analysis_result *result = insight->result;

	json_object(json, NULL);
	json_text(json, "name", result->class->name);
	json_text(json, "title", result->class->title);
	json_bool(json, "notable", insight->notable);
	json_bool(json, "available", !result->unavailable);
	json_text(json, "headline", insight->headline);
	json_text(json, "note", insight->note ? insight->note : "");
	json_array(json, "facts");
	for (unsigned i = 0; i < result->fact_count && !result->unavailable; i++) {
		json_array(json, NULL);
		json_text(json, NULL, result->facts[i].key);
		json_text(json, NULL, result->facts[i].title);
		json_text(json, NULL, unit_name(result->facts[i].unit));
		put_value(json, profile, result->facts[i].unit, result->facts[i].value);
		json_array_end(json);
	}
	json_array_end(json);
	json_array(json, "tables");
	for (unsigned table = 0; table < ANALYSIS_TABLES_MAX && !result->unavailable; table++) {
		if (insight->tables[table].class)
			put_table(json, profile, &insight->tables[table], &result->scale);
	}
	json_array_end(json);
	json_object_end(json);
}

void report_insights_write(const struct insights *insights, struct json *json)
{
	json_array(json, "insights");
	for (unsigned i = 0; i < insights->count; i++)
		put_insight(json, insights->profile, &insights->list[i]);
	json_array_end(json);
}
