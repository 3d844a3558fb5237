/* SPDX-License-Identifier: MIT */
/*
 * See compact.h.
 *
 *     merged events -> list of those since the last border, blocks paired -> at the border: kept ones, and sums
 *
 * A block is dropped when its allocation and its end lie between the same two borders.  A realloc that moves or grows
 * is an end (MOVE becomes FREE) and an allocation of its own; one that stays keeps its block, which then is kept.
 * Allocations that are dropped are counted on by SKIP, so that what is kept is judged temporary as before.
 */
#include "compact.h"

#include <stdlib.h>
#include <string.h>

#include "capture_out.h"
#include "live.h"
#include "merge.h"
#include "replay.h"
#include "replay_cost.h"

enum { MOVES_MAX = REPLAY_MOVES_MAX, OLD = 0, SAMPLES_A_STRETCH = 4 };

/* One event since the last border. */
struct entry {
	uint64_t head, size, time_ns;
	uint32_t stack, flags, thread;
	bool dropped;
	bool pinned;                  /* an allocation: kept whatever becomes of it */
};

/* A realloc under way: its MOVE among the entries, unless a border has passed since. */
struct move {
	uint64_t address;
	struct live_block block;
	bool known, listed;
	uint32_t entry;
};

struct thread {
	uint32_t index;
	uint32_t sequence;            /* allocations so far */
	uint64_t skipped;             /* of them dropped since its last kept event; counted while the list is written */
	struct move moves[MOVES_MAX];
	unsigned move_count;
};

struct row {
	uint64_t key;
	struct capture_culled sum;
};

struct compact {
	const struct compact_options *options;
	struct capture *capture;
	struct capture_out out;
	struct live live;             /* site: the number of the block's entry + 1; OLD: from before the last border */
	struct entry *entries; size_t count, capacity;
	struct thread *threads; size_t thread_count, thread_capacity;
	struct map64 thread_by_index;
	struct row *rows; size_t row_count, row_capacity;
	struct map64 row_by_key;
	uint64_t peak_event;          /* number of the event with which memory was at its highest; UINT64_MAX: none */
	uint64_t width_ns, due_ns;
	uint64_t now_ns;
	uint64_t resident_max, sample_due_ns;
	struct decoded_event passed;  /* the newest sample of the sums, if it was left out; else its head is 0 */
	struct compact_result *result;
	struct error *error;
};

static bool find_thread(struct compact *compact, uint32_t index, uint32_t *number)
{
	*number = map64_get(&compact->thread_by_index, index);
	if (*number != MAP64_NONE)
		return true;
	if (!array_reserve(&compact->threads, &compact->thread_capacity, compact->thread_count + 1,
		sizeof(*compact->threads), compact->error))
		return false;
	*number = (uint32_t)compact->thread_count++;
	compact->threads[*number] = (struct thread){ .index = index };
	return map64_put(&compact->thread_by_index, index, *number, compact->error);
}

/* Whether all that a row's key must tell fits it. */
static bool has_key(const struct entry *entry)
{
	return entry->stack < CAPTURE_NODES_MAX && entry->thread < 1 << 24;
}

/* Books a block that is dropped. */
static bool book(struct compact *compact, const struct entry *entry, bool temporary)
{
	const unsigned kind = (uint8_t)entry->head;
	const uint64_t key = entry->stack | (uint64_t)(kind & 31) << 26 | (uint64_t)size_bin(entry->size) << 31 |
		(uint64_t)entry->thread << 38;
	uint32_t slot = map64_get(&compact->row_by_key, key);

	if (slot == MAP64_NONE) {
		slot = (uint32_t)compact->row_count;
		if (!array_reserve(&compact->rows, &compact->row_capacity, compact->row_count + 1, sizeof(*compact->rows),
			compact->error) || !map64_put(&compact->row_by_key, key, slot, compact->error))
			return false;
		compact->rows[compact->row_count++] = (struct row){ .key = key, .sum = { .stack = entry->stack,
			.kind = (uint16_t)kind, .bin = (uint16_t)size_bin(entry->size) } };
	}
	struct capture_culled *sum = &compact->rows[slot].sum;
	sum->count++;
	sum->bytes += entry->size;
	sum->temporary_count += temporary;
	sum->temporary_bytes += temporary ? entry->size : 0;
	return true;
}

static bool put_pages(struct compact *compact, uint64_t number)
{
	const struct capture_page_part part = capture_take_pages(compact->capture, number);
	bool ok = !part.payload || capture_out_metadata(&compact->out, CAPTURE_PAGES, part.payload, part.size, NULL, NULL, 0,
		compact->error);

	free(part.payload);
	return ok;
}

static bool put_entry(struct compact *compact, const struct entry *entry)
{
	const unsigned kind = (uint8_t)entry->head;
	struct thread *thread = &compact->threads[entry->thread];
	uint64_t words[3] = { entry->head, 0, 0 };
	size_t count = 1;

	if (entry->dropped) {
		thread->skipped += CAPTURE_IS_ALLOCATION(kind);
		return true;
	}
	if (!capture_out_at(&compact->out, entry->time_ns, thread->index, compact->error))
		return false;
	if (thread->skipped && !capture_out_words(&compact->out, (const uint64_t[]){ CAPTURE_SKIP | thread->skipped << 8, 0 },
		2, compact->error))
		return false;
	thread->skipped = 0;
	compact->result->kept += kind >= CAPTURE_FREE && kind < CAPTURE_THREAD_INFO;
	if (kind == CAPTURE_MARK) {
		const char *name = capture_mark_name(compact->capture, entry->head >> 8);

		return capture_out_metadata(&compact->out, kind, NULL, 0, (const void *[]){ name }, (size_t[]){ strlen(name) }, 1,
			compact->error);
	}
	if (kind == CAPTURE_RECORDING) {
		const struct capture_recording recording = { .on = entry->head >> 8 != 0 };

		return capture_out_metadata(&compact->out, kind, &recording, sizeof(recording), NULL, NULL, 0, compact->error);
	}
	if (kind == CAPTURE_PAGES)
		return put_pages(compact, entry->head >> 8);
	if (CAPTURE_IS_ALLOCATION(kind)) {
		if (entry->size >> 32 && !capture_out_words(&compact->out,
			(const uint64_t[]){ CAPTURE_SIZE_HIGH | entry->size >> 32 << 8 }, 1, compact->error))
			return false;
		words[1] = (uint32_t)entry->size | (uint64_t)entry->stack << 32;
		count = 2;
	} else if (kind == CAPTURE_MAP || kind == CAPTURE_SAMPLE) {
		words[1] = entry->size;
		words[2] = kind == CAPTURE_MAP ? entry->flags | (uint64_t)entry->stack << 32 : 0;
		count = 3;
	} else if (kind == CAPTURE_UNMAP || kind == CAPTURE_UNMAP_FAILED) {
		words[1] = entry->size;
		count = 2;
	}
	return capture_out_words(&compact->out, words, count, compact->error);
}

static bool put_rows(struct compact *compact)
{
	for (size_t i = 0; i < compact->row_count; i++) {
		const struct row *row = &compact->rows[i];
		const uint32_t thread = compact->threads[row->key >> 38].index;

		if (!capture_out_at(&compact->out, compact->now_ns, thread, compact->error) ||
		    !capture_out_metadata(&compact->out, CAPTURE_CULLED, &row->sum, sizeof(row->sum), NULL, NULL, 0,
			compact->error))
			return false;
	}
	compact->row_count = 0;
	map64_finish(&compact->row_by_key);
	return map64_init(&compact->row_by_key, 1024, compact->error);
}

/* What is in the list goes out; what lives now lives across a border. */
static bool border(struct compact *compact)
{
	for (size_t i = 0; i < compact->count; i++) {
		const struct entry *entry = &compact->entries[i];

		if (!put_entry(compact, entry))
			return false;
		if (!CAPTURE_IS_ALLOCATION((uint8_t)entry->head) || entry->dropped)
			continue;
		const struct live_place place = live_find(&compact->live, entry->head >> 8);
		if (place.bucket && place.bucket->site[place.lane] == i + 1)
			place.bucket->site[place.lane] = OLD;
	}
	for (size_t i = 0; i < compact->thread_count; i++) {
		for (unsigned n = 0; n < compact->threads[i].move_count; n++) {
			compact->threads[i].moves[n].listed = false;
			compact->threads[i].moves[n].block.site = OLD;
		}
	}
	compact->count = 0;
	return put_rows(compact);
}

static bool add_entry(struct compact *compact, const struct decoded_event *event, uint32_t thread)
{
	if (!array_reserve(&compact->entries, &compact->capacity, compact->count + 1, sizeof(*compact->entries),
		compact->error))
		return false;
	compact->entries[compact->count++] = (struct entry){ .head = event->head, .size = event->size,
		.time_ns = compact->now_ns, .stack = event->stack, .flags = event->flags, .thread = thread };
	return true;
}

/* The entry of a block's allocation, when it may be dropped; NULL: it may not. */
static struct entry *own_entry(struct compact *compact, const struct live_block *block)
{
	struct entry *entry = block->site == OLD ? NULL : &compact->entries[block->site - 1];

	return entry && !entry->pinned && has_key(entry) ? entry : NULL;
}

/* A block ends by the newest entry, of this thread; `by`: that entry. */
static bool end_block(struct compact *compact, const struct live_block *block, uint32_t number, uint32_t by)
{
	struct entry *born = own_entry(compact, block);
	const struct thread *thread = &compact->threads[number];

	if (!born)
		return true;
	born->dropped = compact->entries[by].dropped = true;
	return book(compact, born, born->thread == number &&
		thread->sequence - block->sequence <= compact->options->temporary_limit);
}

static bool allocate(struct compact *compact, const struct decoded_event *event, uint32_t number, bool pinned)
{
	struct thread *thread = &compact->threads[number];
	const struct live_place place = live_find(&compact->live, DECODED_OPERAND(event));

	/* A contradiction stays one. */
	if (place.bucket) {
		const struct live_block old = live_get(&compact->live, place);

		if (old.site != OLD)
			compact->entries[old.site - 1].pinned = true;
		live_remove(&compact->live, place);
		pinned = true;
	}
	compact->entries[compact->count - 1].pinned = pinned;
	return live_insert(&compact->live, &(struct live_block){ .address = DECODED_OPERAND(event), .size = event->size,
		.site = (uint32_t)compact->count, .sequence = ++thread->sequence }, compact->error);
}

static bool release(struct compact *compact, const struct decoded_event *event, uint32_t number)
{
	const struct live_place place = live_find(&compact->live, DECODED_OPERAND(event));

	if (!place.bucket)
		return true;
	const struct live_block block = live_get(&compact->live, place);
	live_remove(&compact->live, place);
	return end_block(compact, &block, number, (uint32_t)compact->count - 1);
}

/* A MOVE that the reader is to complete itself: its block stays as it is. */
static void pin_move(struct compact *compact, const struct move *move)
{
	if (move->known && move->block.site != OLD)
		compact->entries[move->block.site - 1].pinned = true;
}

static void begin_move(struct compact *compact, const struct decoded_event *event, uint32_t number)
{
	struct thread *thread = &compact->threads[number];
	struct move move = { .address = DECODED_OPERAND(event), .listed = true, .entry = (uint32_t)compact->count - 1 };
	const struct live_place place = live_find(&compact->live, move.address);

	if (place.bucket) {
		move.known = true;
		move.block = live_get(&compact->live, place);
		live_remove(&compact->live, place);
	}
	if (thread->move_count == MOVES_MAX) {
		pin_move(compact, &thread->moves[0]);
		memmove(thread->moves, thread->moves + 1, (MOVES_MAX - 1) * sizeof(*thread->moves));
		thread->move_count--;
	}
	thread->moves[thread->move_count++] = move;
}

static bool complete_move(struct compact *compact, const struct decoded_event *event, uint32_t number)
{
	struct thread *thread = &compact->threads[number];

	if (thread->move_count == 0)
		return allocate(compact, event, number, false);
	const struct move move = thread->moves[--thread->move_count];
	const bool stays = move.known && move.address == DECODED_OPERAND(event) && event->size <= move.block.size;
	/* Where the MOVE is out already, where others wait beneath it, or where nobody knows its block. */
	if (stays || !move.listed || !move.known || thread->move_count > 0) {
		pin_move(compact, &move);
		if (!stays)
			return allocate(compact, event, number, true);
		struct live_block block = move.block;
		block.size = event->size;
		return live_insert(&compact->live, &block, compact->error);
	}
	struct entry *entry = &compact->entries[move.entry];
	entry->head = (entry->head & ~(uint64_t)0xff) |
		((uint8_t)entry->head == CAPTURE_MOVE_PYTHON ? CAPTURE_FREE_PYTHON : CAPTURE_FREE);
	return end_block(compact, &move.block, number, move.entry) && allocate(compact, event, number, false);
}

static bool stay(struct compact *compact, const struct decoded_event *event, uint32_t number)
{
	struct thread *thread = &compact->threads[number];

	for (unsigned i = thread->move_count; i-- > 0;) {
		const struct move move = thread->moves[i];

		if (move.address != DECODED_OPERAND(event))
			continue;
		for (unsigned above = i; above < thread->move_count; above++)
			pin_move(compact, &thread->moves[above]);
		thread->move_count = i;
		return !move.known || live_find(&compact->live, move.address).bucket ||
			live_insert(&compact->live, &move.block, compact->error);
	}
	return true;
}

/* A few a stretch, and each new highest. */
static bool keeps_sample(struct compact *compact, uint64_t resident)
{
	if (resident <= compact->resident_max && compact->now_ns < compact->sample_due_ns)
		return false;
	compact->resident_max = resident > compact->resident_max ? resident : compact->resident_max;
	compact->sample_due_ns = compact->now_ns + compact->width_ns / SAMPLES_A_STRETCH;
	return true;
}

/* Recording began anew: nothing is known of what lived. */
static bool forget(struct compact *compact)
{
	for (size_t i = 0; i < compact->thread_count; i++)
		compact->threads[i].move_count = 0;
	live_finish(&compact->live);
	return live_init(&compact->live, compact->error);
}

static bool take_event(struct compact *compact, const struct decoded_event *event, uint32_t number)
{
	const unsigned kind = DECODED_KIND(event);
	const bool alone = kind == CAPTURE_MARK || kind == CAPTURE_RECORDING || kind == CAPTURE_PAGES;

	if (kind == CAPTURE_SAMPLE && !keeps_sample(compact, DECODED_OPERAND(event))) {
		compact->passed = *event;
		return true;
	}
	/* The kernel's own count stands beside each sample of pages. */
	if (kind == CAPTURE_PAGES && compact->passed.head && !add_entry(compact, &compact->passed, number))
		return false;
	if (kind == CAPTURE_PAGES || kind == CAPTURE_SAMPLE)
		compact->passed.head = 0;
	if ((alone && !border(compact)) || !add_entry(compact, event, number))
		return false;
	switch (kind) {
	case CAPTURE_FREE:
	case CAPTURE_FREE_PYTHON:
		return release(compact, event, number);
	case CAPTURE_MOVE:
	case CAPTURE_MOVE_PYTHON:
		begin_move(compact, event, number);
		return true;
	case CAPTURE_STAY:
		return stay(compact, event, number);
	case CAPTURE_REALLOC:
	case CAPTURE_PYMEM_REALLOC:
	case CAPTURE_PYOBJECT_REALLOC:
		return complete_move(compact, event, number);
	case CAPTURE_MAP:
		compact->threads[number].sequence++;
		return true;
	case CAPTURE_MARK:
	case CAPTURE_PAGES:
		return border(compact);
	case CAPTURE_RECORDING:
		return border(compact) && (DECODED_OPERAND(event) == 0 || forget(compact));
	default:
		return !CAPTURE_IS_ALLOCATION(kind) || allocate(compact, event, number, false);
	}
}

/* Calls for each event in order, with its number and the number of its stream. */
static bool each_event(struct compact *compact, const char *what,
	bool (*take)(struct compact *compact, const struct decoded_event *event, uint32_t stream, void *context),
	void *context)
{
	struct decode_crew *crew = NULL;
	struct merge *merge = NULL;
	uint64_t turns = 0;
	bool ok = decode_crew_new(&crew, 1, compact->error) && merge_open(&merge, compact->capture, crew, compact->error);

	while (ok) {
		const struct decoded_event *events;
		size_t count, ahead;
		uint32_t stream;

		ok = merge_run(merge, &events, &count, &ahead, &stream, compact->error);
		if (!ok || count == 0)
			break;
		for (size_t i = 0; ok && i < count; i++)
			ok = take(compact, &events[i], stream, context);
		merge_consume(merge, count);
		if (turns++ % 1024 == 0 && compact->options->progress) {
			uint64_t all, done = merge_done(merge, &all);

			compact->options->progress(compact->options->progress_context, what, done, all);
		}
	}
	if (merge)
		merge_close(merge);
	decode_crew_free(crew);
	return ok;
}

/* First pass: replay, one event at a time, to see which one makes the peak. */
struct search {
	struct replay replay;
	uint64_t number;
};

static bool search_event(struct compact *compact, const struct decoded_event *event, uint32_t stream, void *context)
{
	struct search *search = context;
	const uint64_t epoch = search->replay.epoch;
	size_t done;

	if (!replay_run(&search->replay, 0, stream, event, 1, 0, UINT64_MAX, &done, compact->error))
		return false;
	if (search->replay.epoch != epoch)
		compact->peak_event = search->number;
	search->number++;
	return true;
}

static bool find_peak(struct compact *compact)
{
	const struct replay_options options = { .at_ns = UINT64_MAX, .to_ns = UINT64_MAX, .temporary_limit = 1 };
	struct search *search = calloc(1, sizeof(*search));
	bool ok;

	if (!search)
		return fail_memory(compact->error);
	ok = replay_init(&search->replay, 1, &options, compact->error) &&
		replay_add_process(&search->replay, 0, compact->capture, 0, compact->capture->stream_count, compact->error) &&
		each_event(compact, "looking for the peak", search_event, search);
	if (ok) {
		const uint64_t end = search->replay.processes[0].last_time_ns;

		compact->width_ns = end / compact->options->points + 1;
		compact->due_ns = compact->width_ns;
		compact->result->events = search->replay.processes[0].events;
	}
	replay_finish(&search->replay);
	free(search);
	return ok;
}

/* Second pass. */
struct writing {
	uint32_t *threads;            /* by stream: number of the thread of its last THREAD */
	uint64_t number;
};

static bool write_event(struct compact *compact, const struct decoded_event *event, uint32_t stream, void *context)
{
	struct writing *writing = context;
	const uint64_t number = writing->number++;

	if (DECODED_KIND(event) == CAPTURE_TIME) {
		const uint64_t time_ns = DECODED_OPERAND(event);

		/* A border belongs to what comes before it. */
		if (time_ns > compact->due_ns && time_ns > compact->now_ns) {
			if (!border(compact))
				return false;
			compact->due_ns = (time_ns + compact->width_ns - 1) / compact->width_ns * compact->width_ns;
		}
		compact->now_ns = time_ns > compact->now_ns ? time_ns : compact->now_ns;
		return true;
	}
	if (DECODED_KIND(event) == CAPTURE_THREAD)
		return find_thread(compact, (uint32_t)DECODED_OPERAND(event), &writing->threads[stream]);
	return take_event(compact, event, writing->threads[stream]) && (number != compact->peak_event || border(compact));
}

static bool write_all(struct compact *compact)
{
	struct writing writing = { .threads = calloc(compact->capture->stream_count + 1, sizeof(*writing.threads)) };
	uint32_t first;
	bool ok = writing.threads ? find_thread(compact, 0, &first) : fail_memory(compact->error);

	ok = ok && each_event(compact, "writing", write_event, &writing) && border(compact);
	free(writing.threads);
	return ok;
}

static bool check(struct capture *capture, struct error *error)
{
	if (capture->header.features & CAPTURE_SAMPLED)
		return fail(error, STATUS_USAGE,
			"%s holds a sample, or has a limited size and may have come to hold one: it is small already", capture->path);
	if (capture->header.features & CAPTURE_AGGREGATED)
		return fail(error, STATUS_USAGE, "%s was aggregated as it was recorded (SCTMEM_AGGREGATE): it is small already",
			capture->path);
	if (capture->header.features & CAPTURE_COMPACTED)
		return fail(error, STATUS_USAGE, "%s is compact already", capture->path);
	return true;
}

bool compact_capture(const char *path, const struct compact_options *options, FILE *out, struct compact_result *result,
	struct error *error)
{
	struct compact compact = { .options = options, .peak_event = UINT64_MAX, .result = result, .error = error };
	bool ok;

	*result = (struct compact_result){ 0 };
	ok = capture_open(&compact.capture, path, error) && check(compact.capture, error) &&
		live_init(&compact.live, error) && map64_init(&compact.row_by_key, 1024, error) && find_peak(&compact) &&
		capture_out_begin(&compact.out, compact.capture, CAPTURE_COMPACTED, out, error);
	const struct capture_compacted about = { .width_ns = compact.width_ns,
		.temporary_limit = options->temporary_limit };
	ok = ok && capture_out_metadata(&compact.out, CAPTURE_ABOUT_COMPACTED, &about, sizeof(about), NULL, NULL, 0, error) &&
		capture_out_tables(&compact.out, compact.capture, error) && write_all(&compact) &&
		capture_out_end(&compact.out, error);
	if (ok) {
		result->bytes_before = compact.capture->used_size;
		result->bytes_after = compact.out.written;
	}
	capture_out_finish(&compact.out);
	live_finish(&compact.live);
	map64_finish(&compact.thread_by_index);
	map64_finish(&compact.row_by_key);
	free(compact.entries);
	free(compact.threads);
	free(compact.rows);
	capture_close(compact.capture);
	return ok;
}
