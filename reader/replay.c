/* SPDX-License-Identifier: MIT */
/*
 * Replay of blocks, threads and time; see replay.h.  Mappings are replay_map.c's.
 *
 * A MOVE is booked as the free that it mostly is.  The REALLOC that completes it is an allocation when it moved or
 * grew; else, and for a STAY, the free is taken back.
 */
#include "replay.h"

#include <stdlib.h>
#include <string.h>

#include "replay_cost.h"

enum {
	PREFETCH_EVENTS = 24,         /* a miss of memory takes about as long as so many events */
	PREFETCH_BUCKETS_MIN = 1 << 13,   /* 512 KiB */
	THREADS_MAX = 1 << 24,        /* what fits a site's key; all beyond share the last */
};

const uint8_t replay_site_codes[256] = {
	[SITE_CODE_NONE] = DOMAIN_COUNT,
	[SITE_CODE_MAPPED] = DOMAIN_MAPPED | SITE_COUNTED,
	[SITE_CODE_ARENA] = DOMAIN_ARENA,
	[SITE_CODE_ARENA_COUNTED] = DOMAIN_ARENA | SITE_COUNTED,
	[SITE_CODE_FILE] = DOMAIN_FILE,
	[SITE_CODE_RESERVED] = DOMAIN_RESERVED,
	[CAPTURE_MALLOC ... CAPTURE_PVALLOC] = DOMAIN_HEAP | SITE_COUNTED,
	[CAPTURE_PYMEM_MALLOC ... CAPTURE_PYOBJECT_REALLOC] = DOMAIN_PYTHON | SITE_COUNTED,
	[CAPTURE_PYOBJECT_REALLOC + 1 ... 63] = DOMAIN_HEAP | SITE_COUNTED,
};

enum domain site_domain(uint64_t key)
{
	return (enum domain)(replay_site_codes[site_code(key)] & 7);
}

bool site_counted(uint64_t key)
{
	return replay_site_codes[site_code(key)] & SITE_COUNTED;
}

uint8_t site_allocator(uint64_t key)
{
	return site_code(key) >= CAPTURE_MALLOC ? site_code(key) : CAPTURE_MAP;
}

/* The number of an allocation among all of the run. */
static uint64_t replay_block(const struct replay *replay, uint32_t site, uint32_t sequence)
{
	return (uint64_t)site_thread(replay->sites[site].key) << 32 | sequence;
}

void replay_tell(const struct replay *replay, uint32_t sequence, struct profile_event *event)
{
	if (event->site == REPLAY_SITE_NONE)
		return;
	event->block = replay_block(replay, event->site, sequence);
	replay->options.observer->event(replay->options.observer->context, event);
}

void replay_tell_block(const struct replay *replay, const struct replay_thread *thread, enum profile_event_kind kind,
	int live, const struct live_block *block)
{
	replay_tell(replay, block->sequence, &(struct profile_event){ .kind = kind, .live = live, .site = block->site,
		.time_ns = replay->now_ns, .address = block->address, .bytes_before = live > 0 ? 0 : block->size,
		.bytes = live > 0 ? block->size : 0, .thread = replay_thread_number(replay, thread),
		.replaces = kind == PROFILE_BORN ? replay->replaces : 0, .weight = block->weight, .count = block->count });
}

bool replay_find_site(struct replay *replay, uint64_t key, uint32_t *site)
{
	*site = map64_get(&replay->site_by_key, key);
	if (__builtin_expect(*site != MAP64_NONE, 1))
		return true;
	if (!array_reserve(&replay->sites, &replay->site_capacity, replay->site_count + 1, sizeof(*replay->sites),
		replay->error) ||
	    !array_reserve(&replay->extras, &replay->extra_capacity, replay->site_count + 1, sizeof(*replay->extras),
		replay->error) ||
	    !map64_put(&replay->site_by_key, key, (uint32_t)replay->site_count, replay->error))
		return false;
	if (replay->options.sampled) {
		if (!array_reserve(&replay->spreads, &replay->spread_capacity, replay->site_count + 1,
			sizeof(*replay->spreads), replay->error))
			return false;
		replay->spreads[replay->site_count] = (struct replay_spread){ 0 };
	}
	*site = (uint32_t)replay->site_count++;
	replay->sites[*site] = (struct replay_site){ .key = key, .epoch = replay->epoch };
	return true;
}

void replay_add_spread(struct replay *replay, const struct live_block *block, unsigned figures, double sign)
{
	struct replay_spread *spread;

	/* Only a capture that says at its start that it is a sample has room for it; another that holds one is damaged. */
	if (!replay->spreads)
		return;
	spread = &replay->spreads[block->site];
	if (figures & REPLAY_TOTAL)
		spread_add_block(&spread->total, block->size, block->weight, sign);
	if (figures & REPLAY_LIVE)
		spread_add_block(&spread->live, block->size, block->weight, sign);
	if (figures & REPLAY_TEMPORARY)
		spread_add_block(&spread->temporary, block->size, block->weight, sign);
}

void replay_lose_block(struct replay *replay, struct replay_process *process, const struct live_block *block)
{
	const struct replay_amount amount = replay_amount(block);

	replay_lose(replay, process, block->site, amount.bytes, amount.count);
	replay_note_spread(replay, block, REPLAY_LIVE, -1);
}

/* The block's address was given out again: its free was not seen. */
static void drop_block(struct replay *replay, struct replay_process *process, const struct live_block *block)
{
	process->contradictions++;
	replay_lose_block(replay, process, block);
	if (replay_observed(replay))
		replay_tell_block(replay, NULL, PROFILE_GONE, -1, block);
}

/* Enters a block in the live table. */
static inline bool enter_block(struct replay *replay, struct replay_process *process, const struct live_block *block)
{
	const struct live_place place = live_find(&process->live, block->address);

	if (__builtin_expect(place.bucket != NULL, 0)) {
		const struct live_block old = live_get(&process->live, place);

		drop_block(replay, process, &old);
		live_remove(&process->live, place);
	}
	return live_insert_at(&process->live, place, block, replay->error);
}

/* What the recorder has no place for in its table it always records. */
static bool is_sampled(const struct replay *replay, const struct decoded_event *event)
{
	return replay->mean_bytes && (DECODED_OPERAND(event) & 7) == 0 && DECODED_OPERAND(event) >> 47 == 0;
}

/*
 * How many blocks this one stands for.  As a count that is a whole number, above or below the weight so that it is the
 * weight on average; which of the two is drawn from the block's place in the run, and so the same each time.
 */
static __attribute__((cold, noinline)) void weigh_block(const struct replay *replay, const struct replay_thread *thread,
	struct live_block *block)
{
	uint64_t drawn = block->address * 0x9e3779b97f4a7c15u + thread->sequence * 0xd1342543de82ef95u;

	drawn = (drawn ^ drawn >> 32) * 0xd6e8feb86659fd93u;
	drawn ^= drawn >> 32;
	block->weight = estimate_weight(block->size, replay->mean_bytes);
	const double whole = block->weight < UINT32_MAX ? __builtin_floor(block->weight) : UINT32_MAX;
	block->count = (uint32_t)whole;
	if (block->count < UINT32_MAX && (double)(drawn >> 11) * 0x1p-53 < block->weight - whole)
		block->count++;
}

/* An allocation; old: the block that a realloc went on with, whose weight it keeps.  NULL: none. */
static inline bool allocate_block(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event, const struct live_block *old)
{
	struct live_block block = { .address = DECODED_OPERAND(event), .size = event->size, .site = REPLAY_SITE_NONE };

	if (old) {
		block.weight = old->weight;
		block.count = old->count;
	} else if (__builtin_expect(is_sampled(replay, event), 0)) {
		weigh_block(replay, thread, &block);
		process->recorded++;
	}

	if (replay->recording && !thread->left_out && !replay_recall_site(replay,
		site_key(event->stack, (uint32_t)(thread - replay->threads), DECODED_KIND(event)), &block.site))
		return false;
	block.sequence = ++thread->sequence;
	if (!enter_block(replay, process, &block))
		return false;
	replay_allocate(replay, process, block.site, block.size, replay_amount(&block));
	replay_note_spread(replay, &block, REPLAY_TOTAL | REPLAY_LIVE, 1);
	if (replay_observed(replay))
		replay_tell_block(replay, thread, PROFILE_BORN, 1, &block);
	return true;
}

/* Books the end of a block by this thread; true when it was temporary. */
static inline bool end_block(struct replay *replay, struct replay_process *process, const struct replay_thread *thread,
	const struct live_block *block)
{
	const bool temporary = replay_is_temporary(replay, thread, block->site, block->sequence);

	if (block->site != REPLAY_SITE_NONE)
		replay->free_count += replay_amount(block).count;
	replay_lose_block(replay, process, block);
	if (temporary) {
		replay_book_temporary(replay, block->site, replay_amount(block), 1);
		replay_note_spread(replay, block, REPLAY_TEMPORARY, 1);
	}
	return temporary;
}

static void free_block(struct replay *replay, struct replay_process *process, const struct replay_thread *thread,
	uint64_t address)
{
	const struct live_place place = live_find(&process->live, address);

	if (__builtin_expect(!place.bucket, 0)) {
		process->unknown_frees++;
		return;
	}
	const struct live_block block = live_get(&process->live, place);
	live_remove(&process->live, place);
	end_block(replay, process, thread, &block);
	if (replay_observed(replay))
		replay_tell_block(replay, thread, PROFILE_GONE, -1, &block);
}

/* A move that is not undone: the block is gone since it began, maybe replaced by the one that will be told next. */
static void finish_move(const struct replay *replay, const struct replay_thread *thread, const struct replay_move *move,
	bool replaced)
{
	if (replay_observed(replay) && move->block.site != REPLAY_MOVE_UNKNOWN)
		replay_tell(replay, move->block.sequence, &(struct profile_event){ .kind = PROFILE_GONE,
			.site = move->block.site, .time_ns = move->time_ns, .address = move->block.address,
			.thread = replay_thread_number(replay, thread), .replaced = replaced });
}

static void begin_move(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	uint64_t address)
{
	struct replay_move move = { .block = { .address = address, .site = REPLAY_MOVE_UNKNOWN },
		.time_ns = replay->now_ns };
	const struct live_place place = live_find(&process->live, address);

	if (!place.bucket) {
		process->unknown_frees++;
	} else {
		move.block = live_get(&process->live, place);
		live_remove(&process->live, place);
		move.temporary = end_block(replay, process, thread, &move.block);
		if (replay_observed(replay))
			replay_tell_block(replay, thread, PROFILE_RESIZED, -1, &move.block);
	}
	/* The oldest is a realloc that freed, or one that was killed: a free, as it is booked. */
	if (thread->move_count == REPLAY_MOVES_MAX) {
		finish_move(replay, thread, &thread->moves[0], false);
		memmove(thread->moves, thread->moves + 1, (REPLAY_MOVES_MAX - 1) * sizeof(*thread->moves));
		thread->move_count--;
	}
	thread->moves[thread->move_count++] = move;
}

/* Takes the booking of begin_move back: the block lives on, with this size. */
static bool undo_move(struct replay *replay, struct replay_process *process, const struct replay_thread *thread,
	const struct replay_move *move, uint64_t size)
{
	struct live_block block = move->block;

	block.size = size;
	if (move->temporary) {
		replay_book_temporary(replay, block.site, replay_amount(&move->block), -1);
		replay_note_spread(replay, &move->block, REPLAY_TEMPORARY, -1);
	}
	if (block.site != REPLAY_SITE_NONE)
		replay->free_count -= replay_amount(&block).count;
	if (!enter_block(replay, process, &block) || !replay_revive(replay, block.site))
		return false;
	const struct replay_amount amount = replay_amount(&block);
	replay_gain(replay, process, block.site, amount.bytes, amount.count);
	replay_note_spread(replay, &block, REPLAY_LIVE, 1);
	if (replay_observed(replay))
		replay_tell_block(replay, thread, PROFILE_RESIZED, 1, &block);
	return true;
}

/* The newest move of this address that waits; move_count: none. */
static uint32_t find_move(const struct replay_thread *thread, uint64_t address)
{
	for (uint32_t i = thread->move_count; i-- > 0;)
		if (thread->moves[i].block.address == address)
			return i;
	return thread->move_count;
}

/* Those from here on were never completed. */
static void finish_moves(const struct replay *replay, const struct replay_thread *thread, uint32_t from)
{
	for (uint32_t i = from; i < thread->move_count; i++)
		finish_move(replay, thread, &thread->moves[i], false);
}

void replay_forget_thread(struct replay *replay, struct replay_thread *thread)
{
	replay_forget_unmapped(replay, thread);
	finish_moves(replay, thread, 0);
	thread->move_count = 0;
}

static bool complete_move(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event)
{
	const struct replay_move *move;
	bool done;

	if (thread->move_count == 0)
		return allocate_block(replay, process, thread, event, NULL);   /* realloc(NULL, size) */
	move = &thread->moves[--thread->move_count];
	if (move->block.site != REPLAY_MOVE_UNKNOWN && move->block.address == DECODED_OPERAND(event) &&
	    event->size <= move->block.size)
		return undo_move(replay, process, thread, move, event->size);
	finish_move(replay, thread, move, replay->recording && !thread->left_out);
	if (replay_observed(replay) && move->block.site != REPLAY_MOVE_UNKNOWN && move->block.site != REPLAY_SITE_NONE)
		replay->replaces = replay_block(replay, move->block.site, move->block.sequence);
	done = allocate_block(replay, process, thread, event,
		move->block.site == REPLAY_MOVE_UNKNOWN ? NULL : &move->block);
	replay->replaces = 0;
	return done;
}

/* The block of a MOVE is gone: what realloc gave for it is another to the sampling, or nothing. */
static void end_move(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	uint64_t address)
{
	const uint32_t at = find_move(thread, address);

	process->contradictions += at == thread->move_count;
	finish_moves(replay, thread, at);
	thread->move_count = at;
}

static bool stay(struct replay *replay, struct replay_process *process, struct replay_thread *thread, uint64_t address)
{
	const uint32_t at = find_move(thread, address);

	if (at == thread->move_count) {
		process->contradictions++;
		return true;
	}
	const struct replay_move move = thread->moves[at];

	finish_moves(replay, thread, at + 1);
	thread->move_count = at;
	if (move.block.site != REPLAY_MOVE_UNKNOWN)
		return undo_move(replay, process, thread, &move, move.block.size);
	process->unknown_frees--;
	return true;
}

/* The dense number of a process's thread, made when it is new. */
static bool find_thread(struct replay *replay, struct replay_process *process, uint32_t index, uint32_t *number)
{
	*number = map64_get(&process->thread_by_index, index);
	if (*number != MAP64_NONE)
		return true;
	if (replay->thread_count == THREADS_MAX) {
		*number = THREADS_MAX - 1;
		return true;
	}
	if (!array_reserve(&replay->threads, &replay->thread_capacity, replay->thread_count + 1,
		sizeof(*replay->threads), replay->error))
		return false;
	*number = (uint32_t)replay->thread_count++;
	replay->threads[*number].process = process->number;
	replay->threads[*number].index = index;
	replay->threads[*number].left_out = replay->options.windows && replay->options.own_thread;
	return map64_put(&process->thread_by_index, index, *number, replay->error);
}

static struct timeline_state timeline_now(const struct replay *replay)
{
	struct timeline_state state = { .live_bytes = replay->counted_bytes, .live_max_bytes = replay->interval_max_bytes,
		.live_max_ns = replay->interval_max_ns, .resident_bytes = replay->resident_bytes };

	for (unsigned bin = 0; bin <= REPLAY_SIZE_BINS; bin++) {
		state.allocations += replay->bin_count[bin];
		state.allocated_bytes += replay->bin_bytes[bin];
	}
	memcpy(state.domain_bytes, replay->domain_bytes, sizeof(state.domain_bytes));
	return state;
}

void replay_take_live(struct replay *replay)
{
	for (size_t i = 0; i < replay->site_count; i++) {
		replay->extras[i].at_bytes = replay->sites[i].live_bytes;
		replay->extras[i].at_count = replay->sites[i].live_count;
		if (replay->spreads)
			replay->spreads[i].at = replay->spreads[i].live;
	}
	replay->at_taken = true;
	if (replay_observed(replay) && replay->options.observer->at)
		replay->options.observer->at(replay->options.observer->context);
}

static bool set_time(struct replay *replay, uint64_t now_ns)
{
	if (now_ns <= replay->now_ns)
		return true;
	if (now_ns > timeline_due(&replay->timeline)) {
		struct timeline_state state = timeline_now(replay);

		if (timeline_advance(&replay->timeline, now_ns, &state)) {
			replay->interval_max_bytes = replay->counted_bytes;
			replay->interval_max_ns = replay->timeline.points[replay->timeline.count - 1].time_ns;
		}
	}
	if (!replay->at_taken && now_ns > replay->options.at_ns)
		replay_take_live(replay);
	replay->now_ns = now_ns;
	replay->in_time = now_ns >= replay->options.from_ns && now_ns <= replay->options.to_ns;
	replay->recording = replay->in_time && replay->in_marks;
	return __builtin_expect(now_ns <= replay->slices.due_ns, 1) || slices_advance(replay, now_ns);
}

static void take_sample(struct replay *replay, struct replay_process *process, const struct decoded_event *event)
{
	const uint64_t resident_bytes = DECODED_OPERAND(event);

	if (replay_observed(replay) && replay->options.observer->sample)
		replay->options.observer->sample(replay->options.observer->context, &(struct profile_sample){
			.process = process->number, .time_ns = replay->now_ns, .resident_bytes = resident_bytes,
			.anonymous_bytes = event->size, .counted_bytes = process->counted_bytes });
	replay->resident_bytes += resident_bytes - process->resident_bytes;
	process->resident_bytes = resident_bytes;
	if (replay->resident_bytes > replay->resident_peak_bytes)
		replay->resident_peak_bytes = replay->resident_bytes;
}

/* Whoever wants to know takes it now: what lives is that of its moment. */
static void take_pages(const struct replay *replay, struct replay_process *process, uint64_t number)
{
	const struct capture_page_part part = capture_take_pages(process->capture, number);
	struct capture_pages head;

	process->events--;            /* it is none of the program's */
	if (part.payload && replay_observed(replay) && replay->options.observer->pages) {
		memcpy(&head, part.payload, sizeof(head));
		replay->options.observer->pages(replay->options.observer->context, &(struct profile_pages){
			.process = process->number, .time_ns = replay->now_ns, .capture_ns = part.time_ns, .head = &head,
			.ranges = part.payload + sizeof(head), .size = part.size - sizeof(head) });
	}
	free(part.payload);
}

/* Sums of blocks that lived and died since the last border of a compacted capture. */
static bool take_culled(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	uint64_t number)
{
	const struct capture_culled sums = capture_culled_sums(process->capture, number);
	uint32_t index;

	process->events--;            /* it is none of the program's */
	if (!replay->recording || thread->left_out || culled_is_nothing(&sums))
		return true;
	if (!replay_find_site(replay, site_key(sums.stack, (uint32_t)(thread - replay->threads), sums.kind), &index))
		return false;
	replay->sites[index].total_bytes += sums.bytes;
	replay->sites[index].total_count += sums.count;
	replay->extras[index].temporary_bytes += sums.temporary_bytes;
	replay->extras[index].temporary_count += sums.temporary_count;
	replay->free_count += sums.count;
	if (site_counted(replay->sites[index].key)) {
		replay->bin_count[sums.bin] += sums.count;
		replay->bin_bytes[sums.bin] += sums.bytes;
	}
	return true;
}

/* The end of a block that is in sums and whose beginning was seen (follow_culled.c): sums say if it was temporary. */
static void end_dropped(struct replay *replay, struct replay_process *process, const struct replay_thread *thread,
	const struct decoded_event *event)
{
	const struct live_place place = live_find(&process->live, DECODED_OPERAND(event));

	if (!place.bucket)
		return;
	const struct live_block block = live_get(&process->live, place);

	if (replay->sites[block.site].key != site_key(event->stack, (uint32_t)(thread - replay->threads),
		(unsigned)event->size))
		return;
	live_remove(&process->live, place);
	replay->free_count += replay_amount(&block).count;
	replay_lose_block(replay, process, &block);
}

static void drop_move(struct replay_thread *thread, uint32_t at)
{
	if (at == thread->move_count)
		return;
	thread->move_count--;
	memmove(thread->moves + at, thread->moves + at + 1, (thread->move_count - at) * sizeof(*thread->moves));
}

/* What was told of a block's words before it was in sums.  Nobody observes a capture that grows. */
static void take_dropped(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event)
{
	switch (event->flags) {
	case DROPPED_BLOCK:
		end_dropped(replay, process, thread, event);
		break;
	case DROPPED_MOVE:
		drop_move(thread, find_move(thread, DECODED_OPERAND(event)));
		break;
	default:
		process->events -= DECODED_OPERAND(event);
		process->passed += event->size;
		process->unknown_frees -= event->stack;
		break;
	}
}

/* All events that change blocks or mappings but plain allocations and frees, and samples. */
static bool replay_other(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event)
{
	switch (DECODED_KIND(event)) {
	case CAPTURE_MOVE:
	case CAPTURE_MOVE_PYTHON:
		begin_move(replay, process, thread, DECODED_OPERAND(event));
		return true;
	case CAPTURE_STAY:
		return stay(replay, process, thread, DECODED_OPERAND(event));
	case CAPTURE_REALLOC:
	case CAPTURE_PYMEM_REALLOC:
	case CAPTURE_PYOBJECT_REALLOC:
		return complete_move(replay, process, thread, event);
	case CAPTURE_MAP:
		return replay_map(replay, process, thread, event);
	case CAPTURE_UNMAP:
		return replay_unmap(replay, process, thread, event);
	case CAPTURE_UNMAP_FAILED:
		return replay_unmap_failed(replay, process, thread, event);
	case CAPTURE_SAMPLE:
		take_sample(replay, process, event);
		return true;
	case CAPTURE_MARK:
		return replay_mark(replay, process, thread, DECODED_OPERAND(event));
	case CAPTURE_RECORDING:
		return replay_recording(replay, process, DECODED_OPERAND(event) != 0);
	case CAPTURE_CULLED:
		return take_culled(replay, process, thread, DECODED_OPERAND(event));
	case CAPTURE_PAGES:
		take_pages(replay, process, DECODED_OPERAND(event));
		return true;
	case DECODED_DROPPED:
		take_dropped(replay, process, thread, event);
		return true;
	case CAPTURE_MOVE_ENDS:
		end_move(replay, process, thread, DECODED_OPERAND(event));
		return true;
	case CAPTURE_SKIP:
		thread->sequence += (uint32_t)DECODED_OPERAND(event);
		process->passed += DECODED_OPERAND(event);
		process->passed_bytes += event->size;
		return true;
	default:
		return allocate_block(replay, process, thread, event, NULL);
	}
}

/* Whether this is an allocation that no MOVE may have begun. */
static inline bool is_plain_allocation(unsigned kind)
{
	const uint64_t moves = (uint64_t)1 << CAPTURE_REALLOC | (uint64_t)1 << CAPTURE_PYMEM_REALLOC |
		(uint64_t)1 << CAPTURE_PYOBJECT_REALLOC;

	return CAPTURE_IS_ALLOCATION(kind) && !(moves >> kind & 1);
}

static inline bool replay_event(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event)
{
	const unsigned kind = DECODED_KIND(event);

	if (__builtin_expect(thread->unmapping, 0) && kind >= CAPTURE_FREE && kind != CAPTURE_MAP &&
	    kind != CAPTURE_UNMAP_FAILED && !decoded_is_moment(kind))
		replay_forget_unmapped(replay, thread);
	if (is_plain_allocation(kind))
		return allocate_block(replay, process, thread, event, NULL);
	if (kind == CAPTURE_FREE || kind == CAPTURE_FREE_PYTHON) {
		free_block(replay, process, thread, DECODED_OPERAND(event));
		return true;
	}
	return replay_other(replay, process, thread, event);
}

bool replay_run(struct replay *replay, uint32_t process_number, uint32_t stream, const struct decoded_event *events,
	size_t count, size_t ahead, uint64_t limit_ns, size_t *done, struct error *error)
{
	struct replay_process *process = &replay->processes[process_number];
	uint32_t number = process->stream_thread[stream];
	/* A small table is in the cache already. */
	const size_t prefetched = process->live.mask >= PREFETCH_BUCKETS_MIN ? count + ahead : 0;
	size_t states = 0;            /* what is no event of the program */
	bool ok = true;
	size_t i;

	replay->error = error;
	replay->mean_bytes = process->stream_mean[stream];
	for (i = 0; ok && i < count; i++) {
		const struct decoded_event *event = &events[i];

		if (i + PREFETCH_EVENTS < prefetched)
			live_prefetch(&process->live, DECODED_OPERAND(event + PREFETCH_EVENTS));
		if (DECODED_KIND(event) >= CAPTURE_FREE) {
			ok = replay_event(replay, process, &replay->threads[number], event);
			continue;
		}
		if (DECODED_KIND(event) == CAPTURE_TIME) {
			uint64_t time_ns = process->start_ns + DECODED_OPERAND(event);

			if (time_ns > limit_ns && time_ns > replay->now_ns)
				break;
			ok = set_time(replay, time_ns);
			if (DECODED_OPERAND(event) > process->last_time_ns) {
				process->last_event_ns = process->start_ns + process->last_time_ns;
				process->last_time_ns = DECODED_OPERAND(event);
			}
		} else if (DECODED_KIND(event) == CAPTURE_THREAD) {
			ok = find_thread(replay, process, (uint32_t)DECODED_OPERAND(event), &number);
			process->stream_thread[stream] = number;
		} else if (DECODED_KIND(event) == DECODED_MEAN) {
			replay->mean_bytes = process->stream_mean[stream] = event->size;
		} else {
			ok = replay_other(replay, process, &replay->threads[number], event);
		}
		states++;
	}
	*done = i;
	process->events += i - states;
	return ok;
}

bool replay_init(struct replay *replay, uint32_t process_count, const struct replay_options *options,
	struct error *error)
{
	uint32_t none;

	*replay = (struct replay){ .options = *options, .process_count = process_count,
		.error = error };
	replay->in_time = options->from_ns == 0;
	replay->in_marks = !options->from_mark && !options->windows;
	replay->recording = replay->in_time && replay->in_marks;
	replay->processes = calloc(process_count + (size_t)1, sizeof(*replay->processes));
	if (!replay->processes)
		return fail_memory(error);
	return map64_init(&replay->site_by_key, 4096, error) && replay_find_site(replay, 0, &none) &&
		timeline_init(&replay->timeline, options->timeline_points, error) &&
		slices_init(&replay->slices, options->windows ? 0 : options->slices, options->slice_entries_max, error);
}

bool replay_add_process(struct replay *replay, uint32_t number, struct capture *capture, uint64_t start_ns,
	size_t stream_count, struct error *error)
{
	struct replay_process *process = &replay->processes[number];
	const uint64_t page_size = capture->header.page_size;
	uint32_t first;

	replay->error = error;
	*process = (struct replay_process){ .number = number, .capture = capture,
		.start_ns = start_ns, .last_event_ns = start_ns,
		.arenas_counted = !(capture->header.features & CAPTURE_PYTHON_ALLOCATORS) };
	process->page_size = page_size >= 512 && page_size <= 1 << 24 && (page_size & (page_size - 1)) == 0 ? page_size : 4096;
	process->stream_thread = calloc(stream_count + 1, sizeof(*process->stream_thread));
	process->stream_mean = calloc(stream_count + 1, sizeof(*process->stream_mean));
	if (!process->stream_thread || !process->stream_mean)
		return fail_memory(error);
	/* Every stream names its thread before its first event; until then its events are the first thread's. */
	if (!live_init(&process->live, error) || !find_thread(replay, process, 0, &first))
		return false;
	for (size_t i = 0; i < stream_count; i++)
		process->stream_thread[i] = first;
	return true;
}

void replay_forget_blocks(struct replay *replay)
{
	for (uint32_t i = 0; replay->processes && i < replay->process_count; i++)
		live_finish(&replay->processes[i].live);
}

void replay_finish(struct replay *replay)
{
	replay_forget_blocks(replay);
	for (uint32_t i = 0; replay->processes && i < replay->process_count; i++) {
		struct replay_process *process = &replay->processes[i];

		ranges_finish(&process->ranges);
		map64_finish(&process->thread_by_index);
		free(process->stream_thread);
		free(process->stream_mean);
	}
	for (size_t i = 0; i < replay->thread_count; i++)
		free(replay->threads[i].unmapped);
	free(replay->processes);
	free(replay->threads);
	free(replay->sites);
	free(replay->extras);
	free(replay->spreads);
	free(replay->mappings);
	free(replay->windows);
	free(replay->ended_sites);
	free(replay->ended_extras);
	free(replay->gaps);
	free(replay->ended_spreads);
	map64_finish(&replay->site_by_key);
	timeline_finish(&replay->timeline);
	slices_finish(&replay->slices);
	*replay = (struct replay){ 0 };
}

bool replay_end(struct replay *replay, uint64_t duration_ns, struct error *error)
{
	struct timeline_state state = timeline_now(replay);

	timeline_end(&replay->timeline, duration_ns, &state);
	replay_end_gaps(replay, duration_ns);
	if (replay->options.windows)
		return replay_end_windows(replay);
	for (size_t i = 0; i < replay->site_count; i++)
		replay_touch(replay, &replay->sites[i]);
	if (!replay->at_taken)
		replay_take_live(replay);
	for (size_t i = 0; i < replay->thread_count; i++)
		replay_forget_thread(replay, &replay->threads[i]);
	return slices_end(replay, duration_ns);
}
