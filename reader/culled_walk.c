/* SPDX-License-Identifier: MIT */
/* See culled_walk.h. */
#include "culled_walk.h"

#include <stdlib.h>
#include <string.h>

enum { NO_BLOCK = UINT32_MAX };

uint64_t culled_row(uint32_t stack, unsigned kind, unsigned bin)
{
	return (uint64_t)stack << 16 | kind << 8 | bin;
}

static uint64_t row_of(const struct capture_event *event)
{
	return culled_row(event->stack, event->kind, size_bin(event->size));
}

/* The sums of this row so far, made when it is new; NULL: no memory. */
static struct capture_culled *find_sums(struct culled_walk *walk, uint64_t row)
{
	uint32_t at = map64_get(&walk->sum_of, row);

	if (at != MAP64_NONE)
		return &walk->sums[at];
	at = (uint32_t)walk->sum_count;
	if (!array_reserve(&walk->sums, &walk->sum_capacity, walk->sum_count + 1, sizeof(*walk->sums), walk->error) ||
	    !map64_put(&walk->sum_of, row, at, walk->error))
		return NULL;
	walk->sums[walk->sum_count++] = (struct capture_culled){ .stack = (uint32_t)(row >> 16),
		.kind = (uint8_t)(row >> 8), .bin = (uint8_t)row };
	return &walk->sums[at];
}

static bool count_allocation(struct culled_walk *walk, uint64_t row, uint64_t size)
{
	struct capture_culled *sums = find_sums(walk, row);

	if (!sums)
		return false;
	sums->count++;
	sums->bytes += size;
	return true;
}

/* `sign`: -1 takes it back. */
static bool count_temporary(struct culled_walk *walk, const struct own_block *block, int sign)
{
	struct capture_culled *sums = find_sums(walk, block->row);

	if (!sums)
		return false;
	sums->temporary_count += (uint64_t)(int64_t)sign;
	sums->temporary_bytes += (uint64_t)(int64_t)sign * block->size;
	return true;
}

/* ---- the block ---- */

static bool is_of_program(unsigned kind)
{
	return kind >= CAPTURE_FREE && !CAPTURE_IS_METADATA(kind);
}

/* Records that the window had not. */
static bool is_of_culling(unsigned kind)
{
	return kind == CAPTURE_SKIP || kind == CAPTURE_CULLED || kind == CAPTURE_HELD;
}

/* Goes on to the program's next event in the block. */
static bool read_next(struct culled_walk *walk)
{
	walk->between_count = 0;
	walk->skipped = walk->dropped = 0;
	walk->others = 0;
	while (events_next(&walk->left, &walk->next)) {
		if (is_of_program(walk->next.kind))
			return true;
		if (walk->next.kind == CAPTURE_SKIP)
			walk->skipped += walk->next.address;
		if (!array_reserve(&walk->between, &walk->between_capacity, walk->between_count + 1, sizeof(*walk->between),
			walk->error))
			return false;
		walk->between[walk->between_count++] = walk->next;
	}
	walk->next.kind = 0;
	return true;
}

/* So many records of `between` lie before one that was among the words: what sums there tell of was, too. */
static bool pass(struct culled_walk *walk, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct capture_event *event = &walk->between[i];
		struct capture_culled sums, *counted;

		if (event->kind != CAPTURE_CULLED || event->payload_size < sizeof(sums))
			continue;
		if (event->stamp < walk->first_stamp) {
			walk->left_out++;
			continue;
		}
		memcpy(&sums, event->payload, sizeof(sums));
		counted = find_sums(walk, culled_row(sums.stack, sums.kind, sums.bin));
		if (!counted)
			return false;
		culled_subtract(counted, &sums);
	}
	walk->matched += (uint32_t)count;
	return true;
}

/* An event that was not dropped: the block's next. */
static bool match(struct culled_walk *walk, const struct capture_event *event)
{
	const struct capture_event *next = &walk->next;

	if (event->kind != next->kind || event->address != next->address || event->size != next->size ||
	    event->stack != next->stack || event->flags != next->flags || walk->dropped != walk->skipped) {
		walk->contradicts = true;
		return true;
	}
	if (!pass(walk, walk->between_count))
		return false;
	walk->matched++;
	return read_next(walk);
}

/* The words end here.  Behind the last event of the program that they have are other records that they have, too. */
static bool match_others(struct culled_walk *walk)
{
	size_t passed = 0;

	walk->contradicts |= walk->dropped > walk->skipped;
	for (size_t i = 0; i < walk->between_count && walk->others > 0; i++) {
		walk->others -= !is_of_culling(walk->between[i].kind);
		passed = i + 1;
	}
	walk->contradicts |= walk->others > 0;
	for (size_t i = 0; i < passed; i++) {
		const uint64_t skipped = walk->between[i].kind == CAPTURE_SKIP ? walk->between[i].address : 0;

		walk->dropped -= skipped < walk->dropped ? skipped : walk->dropped;
	}
	return pass(walk, passed);
}

/* ---- the words ---- */

static bool is_replayed(const struct culled_walk *walk, const struct capture_event *event)
{
	return event->stamp >= walk->first_stamp;
}

static bool add_block(struct culled_walk *walk, const struct capture_event *event, bool dropped)
{
	const struct own_block block = { .address = event->address, .size = event->size, .row = row_of(event),
		.sequence = ++walk->sequence, .lives = true, .dropped = dropped, .replayed = is_replayed(walk, event) };

	if (!array_reserve(&walk->blocks, &walk->block_capacity, walk->block_count + 1, sizeof(block), walk->error) ||
	    !map64_put(&walk->block_at, event->address, (uint32_t)walk->block_count, walk->error))
		return false;
	walk->blocks[walk->block_count++] = block;
	if (!dropped)
		return match(walk, event);
	walk->dropped++;
	walk->allocations++;
	return !block.replayed || count_allocation(walk, block.row, block.size);
}

/* One that SKIP counts, until as many have been as it says. */
static bool allocate(struct culled_walk *walk, const struct capture_event *event)
{
	return add_block(walk, event, walk->dropped < walk->skipped);
}

/* The block that ends at this address; NO_BLOCK: it is none of this window's. */
static uint32_t take_block(struct culled_walk *walk, uint64_t address)
{
	const uint32_t at = map64_get(&walk->block_at, address);

	if (at == MAP64_NONE || !walk->blocks[at].lives)
		return NO_BLOCK;
	walk->blocks[at].lives = false;
	return at;
}

/* The end of a block that was dropped.  *temporary: the replay counts it as that. */
static bool end_dropped(struct culled_walk *walk, const struct own_block *block, const struct capture_event *event,
	bool *temporary)
{
	*temporary = block->replayed && walk->sequence - block->sequence <= walk->temporary_limit;
	walk->unknown_frees += is_replayed(walk, event) && !block->replayed;
	return !*temporary || count_temporary(walk, block, 1);
}

static bool release(struct culled_walk *walk, const struct capture_event *event)
{
	const uint32_t block = take_block(walk, event->address);
	bool temporary;

	if (block == NO_BLOCK || !walk->blocks[block].dropped)
		return match(walk, event);
	return end_dropped(walk, &walk->blocks[block], event, &temporary);
}

static bool begin_move(struct culled_walk *walk, const struct capture_event *event)
{
	struct own_move move = { .address = event->address, .block = take_block(walk, event->address),
		.replayed = is_replayed(walk, event) };

	move.dropped = move.block != NO_BLOCK && walk->blocks[move.block].dropped;
	if (move.dropped && !end_dropped(walk, &walk->blocks[move.block], event, &move.temporary))
		return false;
	if (walk->move_count == REPLAY_MOVES_MAX) {
		memmove(walk->moves, walk->moves + 1, (REPLAY_MOVES_MAX - 1) * sizeof(*walk->moves));
		walk->move_count--;
	}
	walk->moves[walk->move_count++] = move;
	return move.dropped || match(walk, event);
}

/* A realloc that left a dropped block where it was, no larger. */
static bool stay_smaller(struct culled_walk *walk, const struct capture_event *event, const struct own_move *move)
{
	struct own_block *block = &walk->blocks[move->block];

	if (move->temporary && !count_temporary(walk, block, -1))
		return false;
	block->lives = true;
	block->size = event->size;
	if (block->replayed || !is_replayed(walk, event))
		return true;
	/* The replay does not know the block: to it this is an allocation. */
	block->replayed = true;
	block->sequence = ++walk->sequence;
	block->row = row_of(event);
	return count_allocation(walk, block->row, block->size);
}

static bool complete_move(struct culled_walk *walk, const struct capture_event *event)
{
	if (walk->move_count == 0)
		return allocate(walk, event);
	const struct own_move move = walk->moves[--walk->move_count];
	struct own_block *block = move.block == NO_BLOCK ? NULL : &walk->blocks[move.block];
	const bool stays = block && event->address == move.address && event->size <= block->size;

	if (!stays)
		return add_block(walk, event, move.dropped);
	if (move.dropped)
		return stay_smaller(walk, event, &move);
	block->lives = true;
	block->size = event->size;
	return match(walk, event);
}

static bool stay(struct culled_walk *walk, const struct capture_event *event)
{
	for (unsigned i = walk->move_count; i-- > 0;) {
		if (walk->moves[i].address != event->address)
			continue;
		walk->move_count = i;
		if (walk->moves[i].block != NO_BLOCK)
			walk->blocks[walk->moves[i].block].lives = true;
		break;
	}
	return match(walk, event);
}

/* A mapping counts as an allocation, but what mremap leaves in place: as replay_map.c has it. */
static bool map_pages(struct culled_walk *walk, const struct capture_event *event)
{
	const struct replay_pages pages = replay_pages(walk->page_size, event->address, event->size);
	const bool stays = event->flags & CAPTURE_MAP_MOVED && walk->unmapped.end > 0 &&
		pages.start == walk->unmapped.start && pages.end <= walk->unmapped.end;

	walk->unmapped.end = 0;
	walk->sequence += !stays;
	return match(walk, event);
}

static bool unmap_pages(struct culled_walk *walk, const struct capture_event *event)
{
	walk->unmapped = replay_pages(walk->page_size, event->address, event->size);
	return match(walk, event);
}

static bool meet_event(struct culled_walk *walk, const struct capture_event *event)
{
	if (event->kind != CAPTURE_MAP && event->kind != CAPTURE_UNMAP)
		walk->unmapped.end = 0;
	switch (event->kind) {
	case CAPTURE_FREE:
	case CAPTURE_FREE_PYTHON:
		return release(walk, event);
	case CAPTURE_MOVE:
	case CAPTURE_MOVE_PYTHON:
		return begin_move(walk, event);
	case CAPTURE_REALLOC:
	case CAPTURE_PYMEM_REALLOC:
	case CAPTURE_PYOBJECT_REALLOC:
		return complete_move(walk, event);
	case CAPTURE_STAY:
		return stay(walk, event);
	case CAPTURE_MAP:
		return map_pages(walk, event);
	case CAPTURE_UNMAP:
		return unmap_pages(walk, event);
	default:
		return CAPTURE_IS_ALLOCATION(event->kind) ? allocate(walk, event) : match(walk, event);
	}
}

/* One record of the words. */
static bool meet(struct culled_walk *walk, const struct capture_event *event)
{
	const uint32_t matched = walk->matched;

	/* Nothing of another thread's waits, and no block that was dropped lives across the change. */
	if (event->thread != walk->thread)
		walk->move_count = 0;
	walk->thread = event->thread;
	if (!is_of_program(event->kind)) {
		walk->others++;
		return true;
	}
	if (!meet_event(walk, event))
		return false;
	if (walk->matched > matched)
		return true;
	if (is_replayed(walk, event))
		walk->events++;
	else
		walk->left_out--;
	return true;
}

bool culled_walk(struct culled_walk *walk, struct events_cursor *words, const struct events_cursor *left,
	struct error *error)
{
	struct capture_event event;
	bool ok;

	walk->error = error;
	walk->left = *left;
	walk->thread = words->thread;
	ok = read_next(walk);
	while (ok && !walk->contradicts && events_next(words, &event))
		ok = meet(walk, &event);
	return ok && match_others(walk);
}

void culled_walk_finish(struct culled_walk *walk)
{
	free(walk->blocks);
	free(walk->sums);
	free(walk->between);
	map64_finish(&walk->sum_of);
	map64_finish(&walk->block_at);
}
