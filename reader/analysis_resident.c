/* SPDX-License-Identifier: MIT */
/*
 * Where resident memory is, measured: samples of the process's page tables (formats/pages.h), of which the newest one
 * before the moment asked for is held against what was live when it was taken.
 *
 *     each resident page, by the first that holds:
 *         the recorder's | shared memory | a stack | holds a live block: bytes, slop, free beside them | lies in a live
 *         mapping: the program's, or an arena of Python's | held a block once, or is of the break: free, and not given
 *         back | data of modules and files | other
 *
 * Each of these is a list of spans; a stretch of resident pages is cut at the borders of the first list, what lies
 * outside of it at those of the second, and so on.
 *
 * What is not resident is swapped out where the sample tells so; where it told of all swapped memory, the rest was
 * never touched or was given back.  Shared memory that the process has not touched may be anywhere.
 *
 * Of a process that ran before it was recorded, or was not recorded for a while, free memory cannot be told from that
 * of blocks that nobody saw: it is "other".
 */
#include "replay.h"

#include <stdlib.h>

#include "analysis.h"
#include "formats/pages.h"
#include "held_pages.h"
#include "replay_cost.h"
#include "resident_reading.h"
#include "spans.h"

enum { PLACE_ABSENT, PLACE_SWAPPED, PLACE_RESIDENT, PLACE_UNSEEN, PLACE_BYTES, PLACE_COLUMNS };

static const struct analysis_column columns[] = {
	{ "absent_bytes", "not resident", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "swapped_bytes", "swapped out", ANALYSIS_BYTES, ANALYSIS_SUM, .rare = true },
	{ "resident_bytes", "resident", ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "unseen_bytes", NULL, ANALYSIS_BYTES, ANALYSIS_SUM },
	{ "bytes", "live", ANALYSIS_BYTES, ANALYSIS_SUM },
};

static const struct analysis_table_class places = { .name = "places", .by_place = true, .columns = columns,
	.column_count = PLACE_COLUMNS, .sort = PLACE_ABSENT };

/* A site's live memory at the sample of its process. */
struct resident_site { uint64_t values[PLACE_COLUMNS]; uint32_t process; };

/* What lies where, at the sample that is looked at. */
enum layer { LAYER_OWN, LAYER_STACKS, LAYER_PAGES, LAYER_MAPPINGS, LAYER_HELD, LAYER_MODULES, LAYERS };

struct gathering {
	bool open;                    /* parts 0 to next_part - 1 are here */
	bool lost;                    /* some of the sample is not */
	uint32_t number, next_part;
	struct spans seen;            /* owner: kind << 8 | state */
	struct spans own, stacks, swapped;
};

struct resident {
	struct resident_reading *readings; size_t reading_capacity;
	struct gathering *gatherings; size_t gathering_capacity;
	struct resident_counted *counted; size_t counted_capacity;    /* by the newest sample of each process */
	struct held_pages held;
	struct resident_site *sites; size_t site_capacity;
	struct spans layers[LAYERS];
	struct spans bytes, slop;     /* of blocks; owners of bytes: their sites */
	struct spans live_mappings;   /* owners: their sites */
	bool looked;
};

static bool on_alloc(void *state, const struct analysis_context *context, struct analysis_block *block,
	const struct analysis_block *replaced)
{
	struct resident *own = state;

	return block->code < CAPTURE_MALLOC || block->size >> 56 || block->address >> 56 ||
		held_pages_mark(&own->held, block->process, block->address, block->size, context->error);
}

static bool on_sample(void *state, const struct analysis_context *context, const struct profile_sample *sample)
{
	struct resident *own = state;

	if (!array_reserve(&own->counted, &own->counted_capacity, sample->process + (size_t)1, sizeof(*own->counted),
		context->error))
		return false;
	own->counted[sample->process] = (struct resident_counted){ sample->resident_bytes, sample->anonymous_bytes };
	return true;
}

/* ---- what was live ---- */

static bool is_on_pages(const struct analysis_block *block, uint32_t process)
{
	return block->used && !block->ended && block->process == process && block->code >= CAPTURE_MALLOC &&
		!(block->size >> 56) && !(block->address >> 56);
}

static int compare_blocks(const void *a, const void *b)
{
	const struct analysis_block *left = *(const struct analysis_block *const *)a;
	const struct analysis_block *right = *(const struct analysis_block *const *)b;

	return left->address < right->address ? -1 : left->address > right->address;
}

static struct resident_site *site_of(struct resident *own, const struct analysis_context *context, uint32_t site,
	uint32_t process)
{
	if (!array_reserve(&own->sites, &own->site_capacity, site + (size_t)1, sizeof(*own->sites), context->error))
		return NULL;
	own->sites[site].process = process;
	return &own->sites[site];
}

static uint64_t page_of(uint64_t address)
{
	return address & ~(uint64_t)(PAGES_PAGE_BYTES - 1);
}

/* Its pages, joined with those of the block before. */
static bool add_pages(struct spans *pages, uint64_t start, uint64_t end, struct error *error)
{
	struct span *last = pages->count ? &pages->list[pages->count - 1] : NULL;

	start = page_of(start);
	end = page_of(end + PAGES_PAGE_BYTES - 1);
	if (!last || start > last->end)
		return spans_add(pages, start, end, 0, error);
	last->end = end > last->end ? end : last->end;
	return true;
}

/* Blocks in order of their addresses; what is known of one that overlaps another one is what lies behind that. */
static bool lay_out_blocks(struct resident *own, const struct analysis_context *context, uint32_t process,
	const struct analysis_block *const *blocks, size_t count)
{
	const struct size_classes *classes = &context->foresights[process].classes;
	uint64_t end = 0;             /* of all that was laid out so far */

	for (size_t i = 0; i < count; i++) {
		const struct analysis_block *block = blocks[i];
		const uint64_t next = i + 1 < count ? blocks[i + 1]->address : UINT64_MAX;
		const bool python = block->domain == DOMAIN_PYTHON;
		const uint64_t given = size_class_given(classes, python, block->size, block->address);
		const uint64_t head = given ? size_class_head(classes, python, block->size, block->address) : 0;
		const uint64_t start = block->address > head ? block->address - head : 0, past = block->address + block->size;
		const uint64_t from = start > end ? start : end;
		uint64_t given_end = start + given < past ? past : start + given;
		struct resident_site *site = site_of(own, context, block->site, process);

		given_end = given_end > next && next > past ? next : given_end;
		if (!site)
			return false;
		site->values[PLACE_BYTES] += block->size;
		if (!spans_add(&own->slop, from, block->address, 0, context->error) ||
		    !spans_add(&own->bytes, block->address > end ? block->address : end, past, block->site, context->error) ||
		    !spans_add(&own->slop, past > end ? past : end, given_end, 0, context->error) ||
		    (given_end > from && !add_pages(&own->layers[LAYER_PAGES], from, given_end, context->error)))
			return false;
		end = given_end > end ? given_end : end;
	}
	return true;
}

static bool take_blocks(struct resident *own, const struct analysis_context *context, uint32_t process)
{
	const struct analysis_block **blocks = calloc(context->block_count + 1, sizeof(*blocks));
	size_t count = 0;
	bool ok;

	if (!blocks)
		return fail_memory(context->error);
	for (size_t i = 0; i < context->block_count; i++)
		if (is_on_pages(&context->blocks[i], process))
			blocks[count++] = &context->blocks[i];
	qsort(blocks, count, sizeof(*blocks), compare_blocks);
	ok = lay_out_blocks(own, context, process, blocks, count);
	free(blocks);
	return ok;
}

struct mapping_walk {
	struct resident *own;
	const struct analysis_context *context;
	uint32_t process;
};

static bool take_mapping(void *context, const struct range *range)
{
	const struct mapping_walk *walk = context;
	const struct replay *replay = walk->context->replay;
	const struct replay_mapping *mapping = &replay->mappings[range->mapping];
	const uint64_t key = replay->sites[mapping->site].key;
	const enum domain domain = (enum domain)(replay_site_codes[mapping->code] & ~SITE_COUNTED);
	const uint32_t number = map64_get(walk->context->site_by_key, key);

	if (domain != DOMAIN_FILE && !spans_add(&walk->own->layers[LAYER_MAPPINGS], range->start, range->end,
		domain == DOMAIN_ARENA ? CLASS_ARENAS : CLASS_MAPPINGS, walk->context->error))
		return false;
	if (mapping->site == REPLAY_SITE_NONE || number == MAP64_NONE || !site_counted(key))
		return true;
	struct resident_site *site = site_of(walk->own, walk->context, number, walk->process);

	if (!site)
		return false;
	site->values[PLACE_BYTES] += range->end - range->start;
	return spans_add(&walk->own->live_mappings, range->start, range->end, number, walk->context->error);
}

/* Other threads may be decoding records of further modules. */
static bool take_modules(struct resident *own, const struct analysis_context *context, uint32_t process,
	struct spans *recorder)
{
	struct capture *capture = context->replay->processes[process].capture;
	bool ok = true;

	pthread_mutex_lock(&capture->lock);
	for (size_t i = 0; ok && i < capture->module_count; i++) {
		const struct capture_module *module = &capture->modules[i].info;
		struct spans *spans = module->flags & CAPTURE_MODULE_RECORDER ? recorder : &own->layers[LAYER_MODULES];

		if (!(module->end >> 56))
			ok = spans_add(spans, page_of(module->start), page_of(module->end + PAGES_PAGE_BYTES - 1), 0, context->error);
	}
	pthread_mutex_unlock(&capture->lock);
	return ok;
}

static bool take_live(struct resident *own, const struct analysis_context *context, uint32_t process,
	const struct gathering *gathering)
{
	struct mapping_walk walk = { own, context, process };
	struct spans *owners[] = { &own->layers[LAYER_OWN], &own->layers[LAYER_STACKS] };
	const struct spans *told[] = { &gathering->own, &gathering->stacks };

	for (unsigned i = 0; i < LAYERS; i++)
		spans_clear(&own->layers[i]);
	spans_clear(&own->bytes);
	spans_clear(&own->slop);
	spans_clear(&own->live_mappings);
	for (size_t i = 0; i < own->site_capacity; i++)
		if (own->sites[i].process == process)
			own->sites[i] = (struct resident_site){ .process = process };
	for (unsigned i = 0; i < 2; i++)
		for (size_t n = 0; n < told[i]->count; n++)
			if (!spans_add(owners[i], told[i]->list[n].start, told[i]->list[n].end, 0, context->error))
				return false;
	if (!take_blocks(own, context, process) ||
	    !ranges_each(&context->replay->processes[process].ranges, take_mapping, &walk) ||
	    !held_pages_list(&own->held, process, &own->layers[LAYER_HELD], context->error) ||
	    !take_modules(own, context, process, &own->layers[LAYER_OWN]))
		return false;
	spans_sort(&own->layers[LAYER_OWN]);
	spans_sort(&own->layers[LAYER_STACKS]);
	spans_sort(&own->layers[LAYER_MODULES]);
	return true;
}

/* ---- what of it is resident ---- */

/* How many bytes of [start, end) lie in the spans. */
static uint64_t covered(struct spans *spans, uint64_t start, uint64_t end)
{
	uint64_t sum = 0;

	for (struct span piece; start < end; start = piece.end) {
		piece = spans_next(spans, start, end);
		sum += piece.owner == SPANS_NONE ? 0 : piece.end - piece.start;
	}
	return sum;
}

static void book(struct resident *own, struct resident_reading *reading, unsigned layer, const struct span *piece)
{
	const uint64_t bytes = piece->end - piece->start;
	uint64_t used, slop;

	switch (layer) {
	case LAYER_OWN:
		reading->classes[CLASS_OWN] += bytes;
		break;
	case LAYER_STACKS:
		reading->classes[CLASS_STACKS] += bytes;
		break;
	case LAYER_PAGES:
		used = covered(&own->bytes, piece->start, piece->end);
		slop = covered(&own->slop, piece->start, piece->end);
		reading->classes[CLASS_BLOCKS] += used;
		reading->classes[CLASS_SLOP] += slop;
		reading->classes[CLASS_BESIDE] += bytes - used - slop;
		break;
	case LAYER_MAPPINGS:
		reading->classes[piece->owner] += bytes;
		break;
	case LAYER_HELD:
		reading->classes[reading->blind ? CLASS_OTHER : CLASS_FREE_HEAP] += bytes;
		break;
	case LAYER_MODULES:
		reading->classes[CLASS_MODULES] += bytes;
		break;
	default:
		reading->classes[CLASS_OTHER] += bytes;
		break;
	}
}

/* A stretch of resident pages, as far as no layer before this one has it.  As deep as there are layers. */
static void classify(struct resident *own, struct resident_reading *reading, unsigned layer, unsigned kind,
	uint64_t start, uint64_t end)
{
	/* Whose memory of some kinds is, where no layer before says that it is another's. */
	static const unsigned layers_of[] = { [PAGES_ANONYMOUS] = LAYERS, [PAGES_BREAK] = LAYER_HELD,
		[PAGES_STACK] = LAYER_STACKS, [PAGES_FILE] = LAYER_STACKS, [PAGES_ZEROED] = LAYERS,
		[PAGES_SHARED] = LAYER_STACKS };

	if (layer == layers_of[kind]) {
		if (kind == PAGES_SHARED)
			reading->classes[CLASS_SHARED] += end - start;
		else
			book(own, reading, kind == PAGES_FILE || kind == PAGES_ZEROED ? LAYER_MODULES : layer,
				&(struct span){ start, end, 0 });
		return;
	}
	for (struct span piece; start < end; start = piece.end) {
		piece = spans_next(&own->layers[layer], start, end);
		if (piece.owner == SPANS_NONE)
			classify(own, reading, layer + 1, kind, piece.start, piece.end);
		else
			book(own, reading, layer, &piece);
	}
}

/* Live memory in a stretch that was looked at, and what of it is swapped. */
static void book_live(struct resident *own, struct resident_reading *reading, struct spans *live, struct spans *swapped,
	const struct span *span)
{
	const bool resident = (span->owner & 0xff) == PAGES_RESIDENT;
	uint64_t start = span->start;

	for (struct span piece; start < span->end; start = piece.end) {
		piece = spans_next(live, start, span->end);
		if (piece.owner == SPANS_NONE)
			continue;
		const uint64_t bytes = piece.end - piece.start, out = resident ? 0 : covered(swapped, piece.start, piece.end);
		uint64_t *values = own->sites[piece.owner].values;

		values[resident ? PLACE_RESIDENT : PLACE_ABSENT] += bytes;
		values[PLACE_SWAPPED] += out;
		if (reading->swap_told && !resident && span->owner >> 8 != PAGES_SHARED)
			reading->live_untouched += bytes - out;
	}
}

static void measure(struct resident *own, struct resident_reading *reading, struct gathering *gathering)
{
	const struct spans *seen = &gathering->seen;
	struct spans *const lives[] = { &own->bytes, &own->live_mappings };

	for (size_t i = 0; i < seen->count; i++) {
		const struct span *span = &seen->list[i];

		if ((span->owner & 0xff) != PAGES_RESIDENT)
			continue;
		reading->shared += span->owner >> 8 == PAGES_SHARED ? span->end - span->start : 0;
		classify(own, reading, 0, span->owner >> 8, span->start, span->end);
	}
	/* Blocks and mappings are walked once more, from the start, by all that was looked at. */
	for (unsigned n = 0; n < sizeof(lives) / sizeof(*lives); n++) {
		lives[n]->at = gathering->swapped.at = 0;
		for (size_t i = 0; i < seen->count; i++)
			if (seen->list[i].owner >> 8 != PAGES_FILE)
				book_live(own, reading, lives[n], &gathering->swapped, &seen->list[i]);
	}
	for (size_t i = 0; i < gathering->swapped.count; i++)
		reading->swapped += gathering->swapped.list[i].end - gathering->swapped.list[i].start;
}

/* Whether blocks may live, or have lived, that the capture does not tell of. */
static bool is_blind(const struct replay_process *process)
{
	struct capture *capture = process->capture;
	bool damaged;

	pthread_mutex_lock(&capture->lock);
	damaged = capture->damage.count != 0;
	pthread_mutex_unlock(&capture->lock);
	return damaged || capture->header.origin == CAPTURE_ORIGIN_FORK || capture->header.origin == CAPTURE_ORIGIN_ATTACH ||
		process->gap_count || process->gap_open || capture->first_stamp;
}

static bool evaluate(struct resident *own, const struct analysis_context *context, const struct profile_pages *pages,
	struct gathering *gathering)
{
	struct resident_reading reading = { .any = true, .time_ns = pages->time_ns,
		.unavailable = pages->head->flags & PAGES_UNAVAILABLE,
		.cut = gathering->lost || pages->head->flags & (PAGES_CUT | PAGES_FILES_CUT | PAGES_SHARED_CUT),
		.swap_told = !gathering->lost && pages->head->flags & PAGES_SWAP_TOLD,
		.blind = is_blind(&context->replay->processes[pages->process]) };

	if (pages->process < own->counted_capacity)
		reading.counted = own->counted[pages->process];
	spans_sort(&gathering->seen);
	spans_sort(&gathering->swapped);
	if (!take_live(own, context, pages->process, gathering))
		return false;
	measure(own, &reading, gathering);
	for (size_t i = 0; i < own->site_capacity; i++) {
		uint64_t *values = own->sites[i].values;

		if (own->sites[i].process != pages->process)
			continue;
		values[PLACE_UNSEEN] = values[PLACE_BYTES] - values[PLACE_RESIDENT] - values[PLACE_ABSENT];
		reading.live += values[PLACE_BYTES];
		reading.live_resident += values[PLACE_RESIDENT];
		reading.live_absent += values[PLACE_ABSENT];
		reading.live_swapped += values[PLACE_SWAPPED];
	}
	own->readings[pages->process] = reading;
	return true;
}

/* ---- samples, part by part ---- */

static bool gather(struct gathering *gathering, const struct profile_pages *pages, struct error *error)
{
	struct pages_cursor cursor = { .at = pages->ranges, .end = pages->ranges + pages->size };
	const uint64_t page_end = ((uint64_t)1 << 56) / PAGES_PAGE_BYTES;
	struct pages_run run;
	bool ok = true;

	while (ok && pages_next(&cursor, &run)) {
		const uint64_t start = run.first * PAGES_PAGE_BYTES, end = start + run.count * PAGES_PAGE_BYTES;

		if (run.first + run.count > page_end)
			continue;
		if (run.kind == PAGES_OWN || run.kind == PAGES_THREAD_STACK)
			ok = spans_add(run.kind == PAGES_OWN ? &gathering->own : &gathering->stacks, start, end, 0, error);
		else if (run.kind == PAGES_SWAPPED)
			ok = run.state == 0 || spans_add(&gathering->swapped, start, end, 0, error);
		else if ((run.kind >= PAGES_ANONYMOUS && run.kind <= PAGES_ZEROED) || run.kind == PAGES_SHARED)
			ok = spans_add(&gathering->seen, start, end, run.kind << 8 | run.state, error);
	}
	return ok;
}

static bool on_pages(void *state, const struct analysis_context *context, const struct profile_pages *pages)
{
	struct resident *own = state;
	const uint32_t process = pages->process;
	struct gathering *gathering;

	if (!array_reserve(&own->readings, &own->reading_capacity, process + (size_t)1, sizeof(*own->readings),
		context->error) ||
	    !array_reserve(&own->gatherings, &own->gathering_capacity, process + (size_t)1, sizeof(*own->gatherings),
		context->error))
		return false;
	/* The newest before the moment; where there is none the first one behind it. */
	if ((own->looked && own->readings[process].any) ||
	    (!own->looked && pages->capture_ns < context->foresights[process].pages_from_ns))
		return true;
	gathering = &own->gatherings[process];
	if (pages->head->part == 0 || !gathering->open || gathering->number != pages->head->number) {
		spans_clear(&gathering->seen);
		spans_clear(&gathering->own);
		spans_clear(&gathering->stacks);
		spans_clear(&gathering->swapped);
		gathering->open = true;
		gathering->lost = pages->head->part != 0;
		gathering->number = pages->head->number;
		gathering->next_part = pages->head->part;
	}
	gathering->lost |= gathering->next_part != pages->head->part;
	gathering->next_part = pages->head->part + 1;
	if (!gather(gathering, pages, context->error))
		return false;
	if (!(pages->head->flags & PAGES_LAST))
		return true;
	gathering->open = false;
	return evaluate(own, context, pages, gathering);
}

static bool on_at(void *state, const struct analysis_context *context)
{
	((struct resident *)state)->looked = true;
	return true;
}

/* ---- the result ---- */

static const char *why_not(const struct resident *own, const struct analysis_context *context)
{
	bool any = false, unavailable = false;

	if (context->incomplete)
		return context->incomplete;
	for (size_t i = 0; i < own->reading_capacity; i++) {
		any |= own->readings[i].any && !own->readings[i].unavailable;
		unavailable |= own->readings[i].unavailable;
	}
	if (any)
		return NULL;
	return unavailable ? "the system did not let the recorder look at its pages, or a seccomp filter might not have" :
		"no sample of pages is in the capture: sctmem ctl PID snapshot takes one, as do the orderly end of a program of "
		"2 MiB or more, and growth from 8 MiB on";
}

static bool on_end(void *state, const struct analysis_context *context, struct analysis_result *result)
{
	const struct resident *own = state;

	result->unavailable = why_not(own, context);
	if (result->unavailable)
		return true;
	resident_add_facts(own->readings, own->reading_capacity, result);
	for (size_t site = 1; site < own->site_capacity; site++) {
		uint64_t *values;

		if (!own->sites[site].values[PLACE_BYTES] || own->readings[own->sites[site].process].unavailable)
			continue;
		if (!analysis_add_row(result, 0, (uint32_t)site, &values, NULL, context->error))
			return false;
		for (unsigned i = 0; i < PLACE_COLUMNS; i++)
			values[i] = own->sites[site].values[i];
	}
	return true;
}

static void finish(void *state)
{
	struct resident *own = state;

	for (size_t i = 0; i < own->gathering_capacity; i++) {
		spans_finish(&own->gatherings[i].seen);
		spans_finish(&own->gatherings[i].own);
		spans_finish(&own->gatherings[i].stacks);
		spans_finish(&own->gatherings[i].swapped);
	}
	for (unsigned i = 0; i < LAYERS; i++)
		spans_finish(&own->layers[i]);
	spans_finish(&own->bytes);
	spans_finish(&own->slop);
	spans_finish(&own->live_mappings);
	held_pages_finish(&own->held);
	free(own->readings);
	free(own->gatherings);
	free(own->counted);
	free(own->sites);
}

const struct analysis_class analysis_resident = { .name = "resident", .title = "Where resident memory is, measured",
	.state_size = sizeof(struct resident), .needs_foresight = true, .shows_facts = true, .of_moments = true,
	.tables = { &places }, .on_alloc = on_alloc, .on_sample = on_sample, .on_pages = on_pages, .on_at = on_at,
	.on_end = on_end, .finish = finish };
