/* SPDX-License-Identifier: MIT */
/*
 * Joins the rows of sites into rows of places; see insights.h.
 */
#include "insights.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* A row of a site on its way to its place. */
struct source {
	const struct analysis_table_class *class;
	const struct analysis_row *row;
	const uint64_t *series;
	uint32_t frame, node;
};

static int compare_keys(const struct analysis_table_class *class, const uint64_t *left, const uint64_t *right)
{
	for (unsigned i = 0; i < class->column_count; i++) {
		if (class->columns[i].join == ANALYSIS_KEY && left[i] != right[i])
			return left[i] < right[i] ? -1 : 1;
	}
	return 0;
}

static int compare_sources(const void *a, const void *b)
{
	const struct source *left = a, *right = b;
	const int keys = left->frame == right->frame ? compare_keys(left->class, left->row->values, right->row->values) :
		left->frame < right->frame ? -1 : 1;

	/* What is joined comes in one order, whatever qsort does. */
	return keys ? keys : (left->row > right->row) - (left->row < right->row);
}

static void join_row(const struct analysis_table_class *class, struct insight_row *sum, uint64_t *series,
	const uint64_t *values, const uint64_t *its_series)
{
	for (unsigned i = 0; i < class->column_count; i++) {
		switch (class->columns[i].join) {
		case ANALYSIS_SUM:
			sum->values[i] += values[i];
			break;
		case ANALYSIS_MAX:
			sum->values[i] = values[i] > sum->values[i] ? values[i] : sum->values[i];
			break;
		case ANALYSIS_KEY:
			sum->values[i] = values[i];
			break;
		case ANALYSIS_DERIVED:
			break;
		}
	}
	for (unsigned i = 0; i < class->series_count * class->bin_count; i++)
		series[i] += its_series[i];
}

/* The column by which the heaviest stack of a place is found: a sum, also where rows are sorted by what is derived. */
static unsigned weight_column(const struct analysis_table_class *class)
{
	unsigned column = class->sort;

	for (unsigned i = 0; class->columns[column].join == ANALYSIS_DERIVED && i < class->column_count; i++) {
		if (class->columns[i].join == ANALYSIS_SUM)
			column = i;
	}
	return column;
}

static size_t find_sources(const struct insights *insights, const struct analysis_table *table, struct source *sources)
{
	const struct analysis_table_class *class = table->class;
	const struct profile *profile = insights->profile;
	const size_t bins = (size_t)class->series_count * class->bin_count;
	size_t count = 0;

	for (size_t i = 0; i < table->count; i++) {
		const struct analysis_row *row = &table->rows[i];
		struct source source = { .class = class, .row = row };

		/* Many have none. */
		if (bins)
			source.series = table->series + i * bins;
		if (row->site != ANALYSIS_NO_SITE) {
			const struct observed_site *site = &profile->observed[row->site];

			if (!site->counted)
				continue;
			source.node = class->by_place ? site->node : 0;
			source.frame = class->by_place ?
				(uint32_t)(calltree_location(insights->tree, insights->tree->node_of[site->node]) - profile->frames) : 0;
		}
		sources[count++] = source;
	}
	qsort(sources, count, sizeof *sources, compare_sources);
	return count;
}

/* For qsort, which passes no context. */
static const struct analysis_table_class *sorted_class;
static const struct profile *sorted_profile;

static int compare_rows(const void *a, const void *b)
{
	const struct insight_row *left = a, *right = b;
	const uint64_t *more = left->values, *less = right->values;
	const struct frame *one = &sorted_profile->frames[left->frame], *other = &sorted_profile->frames[right->frame];
	int order;

	if (more[sorted_class->sort] != less[sorted_class->sort])
		return (more[sorted_class->sort] > less[sorted_class->sort]) == sorted_class->first_is_least ? 1 : -1;
	if ((order = strcmp(one->function, other->function)) || (order = strcmp(one->file, other->file)) ||
		(order = strcmp(one->module, other->module)))
		return order;
	if (one->line != other->line)
		return one->line < other->line ? -1 : 1;
	return compare_keys(sorted_class, more, less);
}

static void derive(const struct analysis_table_class *class, struct insight_row *row,
	const struct analysis_scale *scale)
{
	if (class->derive)
		class->derive(row->values, row->series, scale);
}

static void make_table(struct insights *insights, const struct analysis_result *result, unsigned number,
	struct insight_table *table)
{
	const struct analysis_table *from = &result->tables[number];
	const struct analysis_table_class *class = from->class;
	const size_t bins = class ? (size_t)class->series_count * class->bin_count : 0;
	struct source *sources;
	size_t count, kept = 0;
	uint64_t heaviest = 0;

	table->class = class;
	if (!class)
		return;
	sources = memory_new(from->count, sizeof *sources);
	count = find_sources(insights, from, sources);
	table->rows = memory_new(count, sizeof *table->rows);
	table->series = memory_new((count + 1) * bins, sizeof *table->series);
	table->total.series = table->series + count * bins;
	for (size_t i = 0; i < count; i++) {
		const struct source *source = &sources[i];
		const bool begins = i == 0 || source->frame != sources[i - 1].frame ||
			compare_keys(class, source->row->values, sources[i - 1].row->values);
		const uint64_t weight = source->row->values[weight_column(class)];

		table->count += begins;
		struct insight_row *row = &table->rows[table->count - 1];
		uint64_t *series = table->series + (table->count - 1) * bins;
		if (begins || weight > heaviest) {
			heaviest = weight;
			row->node = source->node;
		}
		row->frame = source->frame;
		row->series = bins ? series : NULL;
		join_row(class, row, series, source->row->values, source->series);
	}
	free(sources);
	for (size_t i = 0; i < table->count; i++)
		join_row(class, &table->total, table->series + count * bins, table->rows[i].values, table->rows[i].series);
	derive(class, &table->total, &result->scale);
	for (size_t i = 0; i < table->count; i++) {
		derive(class, &table->rows[i], &result->scale);
		if (table->rows[i].values[class->sort] || class->keeps_all)
			table->rows[kept++] = table->rows[i];
	}
	table->count = kept;
	sorted_class = class;
	sorted_profile = insights->profile;
	qsort(table->rows, table->count, sizeof *table->rows, compare_rows);
}

void insights_init(struct insights *insights, const struct calltree *tree)
{
	const struct profile *profile = tree->profile;

	*insights = (struct insights){ .profile = profile, .tree = tree, .count = profile->analysis_count };
	insights->list = memory_new(insights->count, sizeof *insights->list);
	for (unsigned i = 0; i < insights->count; i++) {
		struct insight *insight = &insights->list[i];

		insight->result = &profile->analyses[i];
		for (unsigned table = 0; table < ANALYSIS_TABLES_MAX; table++)
			make_table(insights, insight->result, table, &insight->tables[table]);
		insight_say(insight);
	}
}

void insights_finish(struct insights *insights)
{
	for (unsigned i = 0; i < insights->count; i++) {
		for (unsigned table = 0; table < ANALYSIS_TABLES_MAX; table++) {
			free(insights->list[i].tables[table].rows);
			free(insights->list[i].tables[table].series);
		}
	}
	free(insights->list);
	*insights = (struct insights){ 0 };
}
