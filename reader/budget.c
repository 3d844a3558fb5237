/* SPDX-License-Identifier: MIT */
/*
 * See budget.h.
 */
#include "budget.h"

#include <string.h>

#include "memory.h"

static const struct { const char *word, *title; } figures[] = {
	[BUDGET_PEAK] = { "peak", "peak" },
	[BUDGET_TOTAL] = { "total", "allocated in all" },
	[BUDGET_LEAK] = { "leak", "never freed" },
	[BUDGET_ALLOCATIONS] = { "allocations", "allocations" },
};

const char *budget_word(enum budget_figure figure)
{
	return figures[figure].word;
}

const char *budget_title(enum budget_figure figure)
{
	return figures[figure].title;
}

static bool is_leak(enum keeper keeper, bool all_leaks)
{
	return keeper == KEEPER_PROGRAM || (all_leaks && keeper != KEEPER_SUPPRESSED);
}

void measure_init(struct measure *measure, const struct calltree *tree, const struct leaks *leaks, bool all_leaks)
{
	const struct profile *profile = tree->profile;

	*measure = (struct measure){ .tree = tree };
	measure->figures[BUDGET_PEAK] = profile->total.peak_bytes;
	measure->figures[BUDGET_TOTAL] = profile->total.total_bytes;
	measure->figures[BUDGET_ALLOCATIONS] = profile->total.total_count;
	for (int keeper = 0; keeper < KEEPER_COUNT; keeper++)
		if (is_leak((enum keeper)keeper, all_leaks))
			measure->figures[BUDGET_LEAK] += leaks->sums[keeper].bytes;
	for (int figure = 0; figure < BUDGET_FIGURES; figure++)
		measure->weights[figure] = memory_new(profile->frame_count, sizeof(uint64_t));
	for (uint32_t node = 0; node < tree->count; node++) {
		size_t frame = (size_t)(calltree_location(tree, node) - profile->frames);

		measure->weights[BUDGET_PEAK][frame] += tree->own[node].peak_bytes;
		measure->weights[BUDGET_TOTAL][frame] += tree->own[node].total_bytes;
		measure->weights[BUDGET_ALLOCATIONS][frame] += tree->own[node].total_count;
	}
	for (size_t i = 0; i < leaks->count; i++) {
		size_t frame = (size_t)(calltree_location(tree, leaks->list[i].node) - profile->frames);

		if (is_leak(leaks->list[i].keeper, all_leaks))
			measure->weights[BUDGET_LEAK][frame] += leaks->list[i].held.bytes;
	}
}

void measure_finish(struct measure *measure)
{
	for (int figure = 0; figure < BUDGET_FIGURES; figure++)
		free(measure->weights[figure]);
	*measure = (struct measure){ 0 };
}

static uint64_t grown_limit(uint64_t baseline, uint64_t growth)
{
	unsigned __int128 more = (unsigned __int128)baseline * growth / BUDGET_WHOLE;

	return more > UINT64_MAX - baseline ? UINT64_MAX : baseline + (uint64_t)more;
}

size_t budget_judge(const struct budget_limits *limits, const struct measure *now, const struct measure *baseline,
	struct budget_row rows[BUDGET_ROWS_MAX])
{
	size_t count = 0;

	for (int figure = 0; figure < BUDGET_FIGURES; figure++)
		if (limits->given[figure])
			rows[count++] = (struct budget_row){ .figure = (enum budget_figure)figure, .limit = limits->limits[figure] };
	for (int figure = 0; limits->growth_given && figure < BUDGET_FIGURES; figure++)
		if (limits->growth_of >> figure & 1)
			rows[count++] = (struct budget_row){ .figure = (enum budget_figure)figure, .growth = true,
				.baseline = baseline->figures[figure],
				.limit = grown_limit(baseline->figures[figure], limits->growth) };
	for (size_t i = 0; i < count; i++) {
		rows[i].measured = now->figures[rows[i].figure];
		rows[i].exceeded = rows[i].measured > rows[i].limit;
	}
	return count;
}

/* The same place in two captures: its line may have moved. */
static int compare_names(const struct frame *a, const struct frame *b)
{
	int order = strcmp(a->function, b->function);

	if (order == 0)
		order = strcmp(a->file, b->file);
	return order ? order : strcmp(a->module, b->module);
}

static int compare_by_name(const void *a, const void *b)
{
	return compare_names(((const struct budget_place *)a)->frame, ((const struct budget_place *)b)->frame);
}

static int compare_by_weight(const void *a, const void *b)
{
	const struct budget_place *x = a, *y = b;

	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;

	int order = compare_names(x->frame, y->frame);

	return order ? order : (x->frame->line > y->frame->line) - (x->frame->line < y->frame->line);
}

static struct budget_place *collect_places(const struct measure *measure, enum budget_figure figure, size_t *count)
{
	const struct profile *profile = measure->tree->profile;
	struct budget_place *places = memory_new(profile->frame_count, sizeof *places);

	*count = 0;
	for (uint32_t i = 0; i < profile->frame_count; i++)
		if (measure->weights[figure][i])
			places[(*count)++] = (struct budget_place){ &profile->frames[i], measure->weights[figure][i] };
	return places;
}

/* Sorts by name and makes one place of those that differ in the line only. */
static size_t join_lines(struct budget_place *places, size_t count)
{
	size_t kept = 0;

	if (count > 1)
		qsort(places, count, sizeof *places, compare_by_name);
	for (size_t i = 0; i < count; i++) {
		if (kept && compare_names(places[kept - 1].frame, places[i].frame) == 0)
			places[kept - 1].weight += places[i].weight;
		else
			places[kept++] = places[i];
	}
	return kept;
}

/* Takes the weights of the baseline away; who has no more than there is left out. */
static size_t subtract_places(struct budget_place *places, size_t count, const struct budget_place *before,
	size_t before_count)
{
	size_t kept = 0, other = 0;

	for (size_t i = 0; i < count; i++) {
		while (other < before_count && compare_names(before[other].frame, places[i].frame) < 0)
			other++;

		bool same = other < before_count && compare_names(before[other].frame, places[i].frame) == 0;
		uint64_t had = same ? before[other].weight : 0;

		if (places[i].weight > had)
			places[kept++] = (struct budget_place){ places[i].frame, places[i].weight - had };
	}
	return kept;
}

struct budget_place *budget_places(const struct budget_row *row, const struct measure *now,
	const struct measure *baseline, size_t number_max, size_t *count)
{
	struct budget_place *places = collect_places(now, row->figure, count);

	if (row->growth) {
		size_t before_count;
		struct budget_place *before = collect_places(baseline, row->figure, &before_count);

		*count = join_lines(places, *count);
		before_count = join_lines(before, before_count);
		*count = subtract_places(places, *count, before, before_count);
		free(before);
	}
	if (*count > 1)
		qsort(places, *count, sizeof *places, compare_by_weight);
	if (*count > number_max)
		*count = number_max;
	return places;
}

bool budget_parse_growth(const char *text, uint64_t *growth)
{
	const uint64_t percent = BUDGET_WHOLE / 100;
	uint64_t place = percent, value = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		if (value > 1000000 || __builtin_add_overflow(value * 10, (uint64_t)(*at - '0'), &value))
			return false;
	if (at == text)
		return false;
	value *= percent;
	if (*at == '.')
		for (at++; *at >= '0' && *at <= '9'; at++)
			value += (uint64_t)(*at - '0') * (place /= 10);
	at += *at == '%';
	if (*at)
		return false;
	*growth = value;
	return true;
}
