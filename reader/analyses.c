/* SPDX-License-Identifier: MIT */
/*
 * See analyses.h.
 *
 * Replay tells of a realloc, and of an munmap, before it is known whether the block comes back: it is RESIZED to
 * nothing, and later either lives again, with this size or another, or is GONE.  Analyses see its free when it is
 * GONE, with the time and the thread of its end; only on_change, which follows the live memory, sees what lies between.
 *
 * A free finds its block in another cache line each time, and that one's record in two or three more: waiting for
 * memory was most of the time.  So events are gathered, and taken in their order when a batch is full, or when anything
 * else is told: by then the lines are on their way.  What replay changes meanwhile is kept with the event.
 */
#include "analyses.h"

#include <stdlib.h>
#include <string.h>

#include "replay.h"

const struct analysis_class *const analysis_classes[ANALYSIS_COUNT] = {
#define X(number, name) [number] = &analysis_##name,
	ANALYSES(X)
#undef X
};

/* In live.h neighbours are 64 bytes apart: so blocks that follow each other share no bucket. */
static uint64_t place_of(uint64_t id)
{
	return id << 6;
}

/* The record of what live_find found; NULL: nothing. */
static struct analysis_block *block_at(const struct analyses *analyses, struct live_place place)
{
	return place.bucket ? &analyses->blocks[place.bucket->site[place.lane]] : NULL;
}

static struct analysis_block *new_block(struct analyses *analyses, uint64_t id)
{
	uint32_t index;

	if (analyses->spare_count) {
		index = analyses->spare_blocks[--analyses->spare_count];
	} else {
		if (analyses->block_count >= UINT32_MAX ||
		    !array_reserve(&analyses->blocks, &analyses->block_capacity, analyses->block_count + 1,
			sizeof(*analyses->blocks), analyses->context.error))
			return NULL;
		index = (uint32_t)analyses->block_count++;
		analyses->context.blocks = analyses->blocks;
		analyses->context.block_count = analyses->block_count;
	}
	if (!live_insert(&analyses->places, &(struct live_block){ .address = place_of(id), .site = index },
		analyses->context.error))
		return NULL;
	analyses->blocks[index] = (struct analysis_block){ .id = id, .used = true };
	return &analyses->blocks[index];
}

static void drop_block(struct analyses *analyses, struct live_place place, struct analysis_block *block)
{
	live_remove(&analyses->places, place);
	block->used = false;
	if (!array_reserve(&analyses->spare_blocks, &analyses->spare_capacity, analyses->spare_count + 1,
		sizeof(*analyses->spare_blocks), analyses->context.error)) {
		analyses->failed = true;
		return;
	}
	analyses->spare_blocks[analyses->spare_count++] = (uint32_t)(block - analyses->blocks);
}

static void change(struct analyses *analyses, const struct analysis_block *block, int live, uint64_t before,
	uint64_t now)
{
	for (unsigned i = 0; i < analyses->change_count && !analyses->failed; i++) {
		const struct analysis_call *call = &analyses->on_change[i];

		analyses->failed = !call->class->on_change(call->state, &analyses->context, block, live, before, now);
	}
}

/* Whether the event is of the thread that allocated its block. */
static bool is_own(const struct profile_event *event)
{
	return event->thread == (uint32_t)(event->block >> 32);
}

/* The number of a key's site here, made when it is new; false: no memory. */
static bool find_site(struct analyses *analyses, uint64_t key, uint32_t *site)
{
	const size_t place = (size_t)(table_hash(key, analyses->site_by_key.seed) >> 32) % ANALYSES_MEMO;

	*site = analyses->memo[place].site;
	if (analyses->memo[place].key == key)
		return true;
	*site = map64_get(&analyses->site_by_key, key);
	if (*site == MAP64_NONE) {
		*site = (uint32_t)analyses->site_count;
		if (!array_reserve(&analyses->site_keys, &analyses->site_capacity, analyses->site_count + 1,
			sizeof(*analyses->site_keys), analyses->context.error) ||
		    !map64_put(&analyses->site_by_key, key, *site, analyses->context.error))
			return false;
		analyses->site_keys[analyses->site_count++] = key;
		analyses->context.site_keys = analyses->site_keys;
	}
	analyses->memo[place].key = key;
	analyses->memo[place].site = *site;
	return true;
}

static void born(struct analyses *analyses, const struct analyses_told *told, struct live_place place)
{
	const struct profile_event *event = &told->event;
	const struct replay *replay = analyses->context.replay;
	const struct analysis_block *replaced =
		event->replaces && event->replaces == analyses->replaced.id ? &analyses->replaced : NULL;
	struct analysis_block *block = block_at(analyses, place);
	const uint64_t key = told->key;

	/* A thread's allocations are counted in 32 bits: after 4 billion a number may be that of a block still live. */
	if (block)
		drop_block(analyses, place, block);
	block = new_block(analyses, event->block);
	if (!block || !find_site(analyses, key, &block->site)) {
		analyses->failed = true;
		return;
	}
	block->address = event->address;
	block->size = block->length = event->bytes;
	block->born_ns = block->since_ns = event->time_ns;
	block->weight = event->weight;
	block->count = event->weight != 0 ? event->count : 1;
	block->process = replay->threads[site_thread(key)].process;
	block->code = site_code(key);
	block->domain = (uint8_t)site_domain(key);
	block->counted = site_counted(key);
	change(analyses, block, 1, 0, block->size);
	for (unsigned i = 0; i < analyses->alloc_count && !analyses->failed; i++) {
		const struct analysis_call *call = &analyses->on_alloc[i];

		analyses->failed = !call->class->on_alloc(call->state, &analyses->context, block, replaced);
	}
	analyses->replaced.id = 0;
}

/* Allocations that the block's own thread made since; UINT32_MAX: another one ended it. */
static uint32_t distance_of(const struct analyses_told *told, const struct analysis_block *block)
{
	return is_own(&told->event) ? told->sequence - (uint32_t)block->id : UINT32_MAX;
}

static void resized(struct analyses *analyses, struct analysis_block *block, const struct analyses_told *told)
{
	const struct profile_event *event = &told->event;
	const uint64_t before = block->size;

	change(analyses, block, event->live, event->bytes_before, event->bytes);
	if (event->live < 0) {
		block->ended = true;
		block->ended_ns = event->time_ns;
		block->ended_thread = event->thread;
		block->ended_distance = distance_of(told, block);
		return;
	}
	block->ended = false;
	block->size = event->bytes;
	for (unsigned i = 0; before != event->bytes && i < analyses->resize_count && !analyses->failed; i++) {
		const struct analysis_call *call = &analyses->on_resize[i];

		analyses->failed = !call->class->on_resize(call->state, &analyses->context, block, before, event->time_ns);
	}
	if (before != event->bytes)
		block->since_ns = event->time_ns;
}

static void gone(struct analyses *analyses, struct live_place place, struct analysis_block *block,
	const struct analyses_told *told)
{
	const struct profile_event *event = &told->event;
	struct analysis_ending ending = { .time_ns = event->time_ns, .thread = event->thread, .replaced = event->replaced };

	if (block->ended) {
		ending.time_ns = block->ended_ns;
		ending.thread = block->ended_thread;
		ending.distance = block->ended_distance;
	} else {
		ending.distance = distance_of(told, block);
		change(analyses, block, -1, block->size, 0);
	}
	for (unsigned i = 0; i < analyses->free_count && !analyses->failed; i++) {
		const struct analysis_call *call = &analyses->on_free[i];

		analyses->failed = !call->class->on_free(call->state, &analyses->context, block, &ending);
	}
	if (event->replaced)
		analyses->replaced = *block;
	drop_block(analyses, place, block);
}

static void look_at(struct analyses *analyses)
{
	analyses->at_done = true;
	for (unsigned i = 0; i < analyses->at_count && !analyses->failed; i++) {
		const struct analysis_call *call = &analyses->on_at[i];

		analyses->failed = !call->class->on_at(call->state, &analyses->context);
	}
}

static void take(struct analyses *analyses, const struct analyses_told *told)
{
	const struct live_place place = live_find(&analyses->places, place_of(told->event.block));
	struct analysis_block *block = block_at(analyses, place);

	if (told->event.kind == PROFILE_BORN)
		born(analyses, told, place);
	else if (block && told->event.kind == PROFILE_RESIZED)
		resized(analyses, block, told);
	else if (block)
		gone(analyses, place, block, told);
	analyses->context.epoch = told->epoch;
	if (analyses->at_epoch && !analyses->at_done && analyses->context.epoch == analyses->at_epoch)
		look_at(analyses);
}

/* The records that the batch will touch, as far as they exist yet; their places were asked for one by one. */
static void prefetch_blocks(const struct analyses *analyses)
{
	size_t spare = analyses->spare_count;

	for (unsigned i = 0; i < analyses->told_count; i++) {
		const struct profile_event *event = &analyses->told[i].event;
		const char *block;

		if (event->kind == PROFILE_BORN)
			block = spare ? (const char *)&analyses->blocks[analyses->spare_blocks[--spare]] : NULL;
		else
			block = (const char *)block_at(analyses, live_find(&analyses->places, place_of(event->block)));
		if (!block)
			continue;
		__builtin_prefetch(block, 1);
		__builtin_prefetch(block + 64, 1);
		__builtin_prefetch(block + sizeof(struct analysis_block) - 1, 1);
	}
}

/* All events that were told so far. */
static void take_told(struct analyses *analyses)
{
	prefetch_blocks(analyses);
	for (unsigned i = 0; i < analyses->told_count && !analyses->failed; i++)
		take(analyses, &analyses->told[i]);
	analyses->told_count = 0;
}

static void take_event(void *context, const struct profile_event *event)
{
	struct analyses *analyses = context;
	const struct replay *replay = analyses->context.replay;
	struct analyses_told *told = &analyses->told[analyses->told_count++];

	told->event = *event;
	told->key = replay->sites[event->site].key;
	told->sequence = is_own(event) ? replay->threads[event->thread].sequence : 0;
	told->epoch = replay->epoch;
	live_prefetch(&analyses->places, place_of(event->block));
	if (analyses->told_count == ANALYSES_BATCH)
		take_told(analyses);
}

static void take_sample(void *context, const struct profile_sample *sample)
{
	struct analyses *analyses = context;

	take_told(analyses);
	for (unsigned i = 0; i < analyses->sample_count && !analyses->failed; i++) {
		const struct analysis_call *call = &analyses->on_sample[i];

		analyses->failed = !call->class->on_sample(call->state, &analyses->context, sample);
	}
}

static void take_pages(void *context, const struct profile_pages *pages)
{
	struct analyses *analyses = context;

	take_told(analyses);
	for (unsigned i = 0; i < analyses->pages_count && !analyses->failed; i++) {
		const struct analysis_call *call = &analyses->on_pages[i];

		analyses->failed = !call->class->on_pages(call->state, &analyses->context, pages);
	}
}

static void take_moment(void *context)
{
	struct analyses *analyses = context;

	take_told(analyses);
	if (!analyses->at_epoch && !analyses->at_done && !analyses->failed)
		look_at(analyses);
}

bool analyses_init(struct analyses *analyses, const struct replay *replay, unsigned wanted,
	const struct profile_options *options, struct error *error)
{
	*analyses = (struct analyses){
		.observer = { .context = analyses, .event = take_event, .sample = take_sample,
			.pages = take_pages, .at = take_moment },
		.context = { .replay = replay, .temporary_limit = options->temporary_limit,
			.temporary_ns = options->temporary_ns, .error = error },
	};
	analyses->at_ns = options->at_ns;
	analyses->at_mark = options->at_mark ? options->at_mark : options->at_to_mark ? options->to_mark : NULL;
	if (options->from_ns != 0 || options->to_ns != UINT64_MAX || options->from_mark)
		analyses->context.incomplete = "it needs every block: leave --time and --from out; --at and --to choose the moment";
	if (!live_init(&analyses->places, error) || !map64_init(&analyses->site_by_key, 1024, error) ||
	    !map64_put(&analyses->site_by_key, 0, ANALYSIS_NO_SITE, error) ||
	    !array_reserve(&analyses->site_keys, &analyses->site_capacity, 1, sizeof(*analyses->site_keys), error))
		return false;
	analyses->site_count = 1;
	analyses->context.site_by_key = &analyses->site_by_key;
	for (unsigned i = 0; i < ANALYSIS_COUNT; i++) {
		const struct analysis_class *class = analysis_classes[i];
		struct analysis_call call = { .class = class };

		if (!(wanted >> i & 1))
			continue;
		call.state = calloc(1, class->state_size);
		if (!call.state)
			return fail_memory(error);
		analyses->wanted[analyses->wanted_count++] = call;
		if (class->on_alloc)
			analyses->on_alloc[analyses->alloc_count++] = call;
		if (class->on_change)
			analyses->on_change[analyses->change_count++] = call;
		if (class->on_resize)
			analyses->on_resize[analyses->resize_count++] = call;
		if (class->on_free)
			analyses->on_free[analyses->free_count++] = call;
		if (class->on_sample)
			analyses->on_sample[analyses->sample_count++] = call;
		if (class->on_pages)
			analyses->on_pages[analyses->pages_count++] = call;
		if (class->on_at)
			analyses->on_at[analyses->at_count++] = call;
	}
	return true;
}

bool analyses_begin(struct analyses *analyses)
{
	const struct replay *replay = analyses->context.replay;

	bool needed = false;

	for (unsigned i = 0; i < analyses->wanted_count; i++)
		needed |= analyses->wanted[i].class->needs_foresight;
	analyses->foresights = calloc(replay->process_count + (size_t)1, sizeof(*analyses->foresights));
	if (!analyses->foresights)
		return fail_memory(analyses->context.error);
	if (replay->options.sampled)
		analyses->context.incomplete = "it needs every block, and the capture is a sample";
	for (uint32_t i = 0; i < replay->process_count; i++) {
		const uint32_t clock_ns = replay->processes[i].capture->header.clock_resolution_ns;

		analyses->context.clock_ns = clock_ns > analyses->context.clock_ns ? clock_ns : analyses->context.clock_ns;
	}
	for (uint32_t i = 0; needed && i < replay->process_count; i++) {
		const uint64_t start_ns = replay->processes[i].start_ns;
		const uint64_t at_ns = analyses->at_ns == UINT64_MAX ? UINT64_MAX :
			analyses->at_ns > start_ns ? analyses->at_ns - start_ns : 0;

		if (!foresight_read(replay->processes[i].capture->path, at_ns, analyses->at_mark, &analyses->foresights[i],
			analyses->context.error))
			return false;
	}
	analyses->context.foresights = analyses->foresights;
	analyses->context.epoch = replay->epoch;
	return true;
}

/* Blocks that lived between two borders are sums there, without address or lifetime. */
static bool is_compacted(const struct replay *replay)
{
	bool compacted = false;

	for (uint32_t i = 0; i < replay->process_count; i++) {
		const struct capture *capture = replay->processes[i].capture;

		compacted |= (capture->header.features & CAPTURE_COMPACTED) || capture->culled_count > 0;
	}
	return compacted;
}

/* From our numbers of sites to replay's. */
static bool number_sites(const struct analyses *analyses, struct analysis_result *results, unsigned count)
{
	const struct replay *replay = analyses->context.replay;
	uint32_t *numbers = calloc(analyses->site_count, sizeof(*numbers));

	if (!numbers)
		return fail_memory(analyses->context.error);
	for (size_t i = 1; i < replay->site_count; i++) {
		const uint32_t site = map64_get(&analyses->site_by_key, replay->sites[i].key);

		if (site != MAP64_NONE)
			numbers[site] = (uint32_t)i;
	}
	for (unsigned i = 0; i < count * ANALYSIS_TABLES_MAX; i++) {
		struct analysis_table *table = &results[i / ANALYSIS_TABLES_MAX].tables[i % ANALYSIS_TABLES_MAX];

		for (size_t row = 0; row < table->count; row++)
			table->rows[row].site = numbers[table->rows[row].site];
	}
	free(numbers);
	return true;
}

bool analyses_end(struct analyses *analyses, uint64_t duration_ns, struct analysis_result *results, unsigned *count)
{
	take_told(analyses);
	analyses->context.duration_ns = duration_ns;
	if (!analyses->at_done && !analyses->failed)
		look_at(analyses);
	for (unsigned i = 0; i < analyses->wanted_count && !analyses->failed; i++) {
		const struct analysis_call *call = &analyses->wanted[i];
		struct analysis_result *result = &results[(*count)++];

		*result = (struct analysis_result){ .class = call->class, .scale.duration_ns = duration_ns,
			.scale.clock_ns = analyses->context.clock_ns };
		for (unsigned table = 0; table < ANALYSIS_TABLES_MAX; table++)
			result->tables[table].class = call->class->tables[table];
		if (is_compacted(analyses->context.replay) && !call->class->of_moments)
			result->unavailable =
				"the capture was compacted or aggregated, and the blocks that it left out are what this counts";
		else
			analyses->failed = !call->class->on_end(call->state, &analyses->context, result);
	}
	return !analyses->failed && number_sites(analyses, results, *count);
}

void analyses_finish(struct analyses *analyses)
{
	for (unsigned i = 0; i < analyses->wanted_count; i++) {
		if (analyses->wanted[i].class->finish)
			analyses->wanted[i].class->finish(analyses->wanted[i].state);
		free(analyses->wanted[i].state);
	}
	live_finish(&analyses->places);
	free(analyses->blocks);
	free(analyses->spare_blocks);
	free(analyses->site_keys);
	map64_finish(&analyses->site_by_key);
	free(analyses->foresights);
	*analyses = (struct analyses){ 0 };
}

bool analysis_add_row(struct analysis_result *result, unsigned number, uint32_t site, uint64_t **values,
	uint64_t **series, struct error *error)
{
	struct analysis_table *table = &result->tables[number];
	const size_t bins = (size_t)table->class->series_count * table->class->bin_count;

	if (!array_widen(&table->rows, &table->row_capacity, table->count + 1, sizeof(*table->rows), error) ||
	    (bins && !array_widen(&table->series, &table->series_capacity, (table->count + 1) * bins,
		sizeof(*table->series), error)))
		return false;
	struct analysis_row *row = &table->rows[table->count];
	*row = (struct analysis_row){ .site = site };
	*values = row->values;
	if (bins)
		memset(table->series + table->count * bins, 0, bins * sizeof(*table->series));
	if (series)
		*series = table->series + table->count * bins;
	table->count++;
	return true;
}

void analysis_add_fact(struct analysis_result *result, const char *key, const char *title, enum analysis_unit unit,
	uint64_t value)
{
	if (result->fact_count < ANALYSIS_FACTS_MAX)
		result->facts[result->fact_count++] =
			(struct analysis_fact){ .key = key, .title = title, .unit = unit, .value = value };
}

uint64_t analysis_fact_value(const struct analysis_result *result, const char *key)
{
	for (unsigned i = 0; i < result->fact_count; i++) {
		if (strcmp(result->facts[i].key, key) == 0)
			return result->facts[i].value;
	}
	return 0;
}

void analysis_results_finish(struct analysis_result *results, unsigned count)
{
	for (unsigned i = 0; results && i < count; i++) {
		for (unsigned table = 0; table < ANALYSIS_TABLES_MAX; table++) {
			free(results[i].tables[table].rows);
			free(results[i].tables[table].series);
		}
	}
	free(results);
}

/* What is shorter than each lies in its bin, or before; all else in the last. */
static const uint64_t life_ends[ANALYSIS_LIFE_BINS - 1] = {
	1000, 3000, 10000, 30000, 100000, 300000, 1000000, 3000000, 10000000, 30000000, 100000000, 300000000, 1000000000,
	3000000000, 10000000000, 30000000000, 100000000000, 300000000000, 1000000000000, 3000000000000, 10000000000000,
};

uint64_t analysis_life_bin_end(unsigned bin)
{
	return bin < ANALYSIS_LIFE_BINS - 1 ? life_ends[bin] : UINT64_MAX;
}

uint64_t analysis_life_end(unsigned bin, const struct analysis_scale *scale)
{
	return analysis_life_bin_end(bin);
}

unsigned analysis_life_bin(uint64_t time_ns)
{
	unsigned low = 0, high = ANALYSIS_LIFE_BINS - 1;

	while (low < high) {
		const unsigned middle = (low + high) / 2;

		if (time_ns < life_ends[middle])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

uint64_t analysis_life_median(const uint64_t *bins, const struct analysis_scale *scale)
{
	uint64_t all = 0, seen = 0;

	for (unsigned bin = 0; bin < ANALYSIS_LIFE_BINS; bin++)
		all += bins[bin];
	for (unsigned bin = 0; all && bin < ANALYSIS_LIFE_BINS; bin++) {
		seen += bins[bin];
		if (seen * 2 >= all)
			return analysis_life_bin_end(bin) > scale->clock_ns ? analysis_life_bin_end(bin) : scale->clock_ns;
	}
	return 0;
}
