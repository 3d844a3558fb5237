/* SPDX-License-Identifier: MIT */
/*
 * The JSON of `sctmem insights`; its keys are in docs/json.md.
 */
#include <inttypes.h>

#include "insights.h"
#include "json.h"
#include "view.h"

static void write_thread(struct json *json, const struct insights *insights, const char *key, uint64_t value)
{
	json_object(json, key);
	if (value < insights->profile->thread_count) {
		json_number(json, "tid", insights->profile->threads[value].tid);
		json_text(json, "name", insights->profile->threads[value].name);
		json_number(json, "capture", insights->profile->threads[value].capture);
	}
	json_object_end(json);
}

static void write_value(struct json *json, const struct insights *insights, const char *key, enum analysis_unit unit,
	uint64_t value)
{
	if (unit == ANALYSIS_THREAD)
		write_thread(json, insights, key, value);
	else if (unit == ANALYSIS_ADDRESS)
		json_format(json, key, "0x%" PRIx64, value);
	else if (unit == ANALYSIS_TIME && value == UINT64_MAX)
		json_null(json, key);
	else
		json_number(json, key, value);
}

static void write_stack(struct json *json, const struct insights *insights, uint32_t node)
{
	char place[VIEW_FRAME_SIZE];
	const struct calltree *tree = insights->tree;

	json_array(json, "stack");
	for (uint32_t at = tree->node_of[node]; at; at = tree->nodes[at].parent)
		json_text(json, NULL,
			view_frame_location(place, sizeof place, &insights->profile->frames[tree->nodes[at].frame]));
	json_array_end(json);
}

static void write_values(struct json *json, const struct insights *insights, const struct analysis_table_class *class,
	const struct insight_row *row, bool total)
{
	for (unsigned i = 0; i < class->column_count; i++)
		if (!total || class->columns[i].join != ANALYSIS_KEY)
			write_value(json, insights, class->columns[i].key, class->columns[i].unit, row->values[i]);
	for (unsigned i = 0; i < class->series_count; i++) {
		json_array(json, class->series[i].key);
		for (unsigned bin = 0; bin < class->bin_count; bin++)
			json_number(json, NULL, row->series[i * class->bin_count + bin]);
		json_array_end(json);
	}
}

static void write_table(struct json *json, const struct insights *insights, const struct insight_table *table,
	const struct analysis_scale *scale, uint64_t number)
{
	const struct analysis_table_class *class = table->class;
	char place[VIEW_FRAME_SIZE];

	json_object(json, class->name);
	if (class->series_count) {
		json_array(json, "bin_ends");
		for (unsigned bin = 0; bin < class->bin_count; bin++)
			write_value(json, insights, NULL, class->bin_unit, class->bin_end(bin, scale));
		json_array_end(json);
	}
	json_object(json, "total");
	write_values(json, insights, class, &table->total, true);
	json_object_end(json);
	json_number(json, "row_count", table->count);
	json_array(json, "rows");
	for (size_t i = 0; i < table->count && i < number; i++) {
		const struct insight_row *row = &table->rows[i];

		json_object(json, NULL);
		if (class->by_place)
			json_text(json, "location",
				view_frame_location(place, sizeof place, &insights->profile->frames[row->frame]));
		write_values(json, insights, class, row, false);
		if (class->by_place)
			write_stack(json, insights, row->node);
		json_object_end(json);
	}
	json_array_end(json);
	json_object_end(json);
}

static void write_insight(struct json *json, const struct insights *insights, const struct insight *insight,
	uint64_t number)
{
	const struct analysis_result *result = insight->result;

	json_object(json, result->class->name);
	json_text(json, "headline", insight->headline);
	json_bool(json, "notable", insight->notable);
	json_bool(json, "available", !result->unavailable);
	if (!result->unavailable) {
		json_object(json, "facts");
		for (unsigned i = 0; i < result->fact_count; i++)
			write_value(json, insights, result->facts[i].key, result->facts[i].unit, result->facts[i].value);
		json_object_end(json);
	}
	for (unsigned table = 0; table < ANALYSIS_TABLES_MAX && !result->unavailable; table++)
		if (insight->tables[table].class)
			write_table(json, insights, &insight->tables[table], &result->scale, number);
	json_object_end(json);
}

void insights_write_json(const struct insights *insights, FILE *file, uint64_t number)
{
	struct json json = json_begin(file, false);

	json_object(&json, NULL);
	json_decimal(&json, "duration_s", (double)insights->profile->duration_ns / 1e9, 9);
	json_decimal(&json, "at_s", (double)insights->profile->at_time_ns / 1e9, 9);
	view_write_sample(&json, insights->profile);
	json_object(&json, "analyses");
	for (unsigned i = 0; i < insights->count; i++)
		write_insight(&json, insights, &insights->list[i], number);
	json_object_end(&json);
	json_object_end(&json);
}
