/* SPDX-License-Identifier: MIT */
/*
 * See cull.h.  Three passes over the words of a window:
 *
 *     pair      blocks to their ends; a realloc joins two blocks to a chain, which is dropped whole or not at all
 *     judge     a row of sums must be of ROW_BLOCKS_MIN blocks, or its events are smaller
 *     write     what is kept, with SKIP for what is not; sums where a mark is, and at the end, and what they held
 *
 * Whatever is not understood for certain is kept.
 */
#include "cull.h"

#include <string.h>

#include "config.h"

#include "banned.h"

enum {
	BLOCKS_MAX = CULL_WINDOW_WORDS_MAX / 2 + 1,
	SLOT_BITS = 16,
	ROW_BITS = 12,
	ROWS_MAX = 1 << (ROW_BITS - 1),
	ROW_BLOCKS_MIN = 4,
	BORDERS_MAX = CULL_MOMENTS_MAX,
	NONE = UINT16_MAX,
	ROW_WORDS = 1 + sizeof(struct capture_culled) / 8,
	HELD_WORDS = 1 + sizeof(struct capture_held) / 8,
};

/* Small, since a window's blocks and its words are to stay in a processor's nearer caches. */
struct cull_block {
	uint32_t size;                /* UINT32_MAX: as large or larger */
	uint16_t at, end;             /* words of its allocation and its end; end NONE: it lives on, or is kept */
	uint16_t sequence;            /* allocations of the thread so far */
	uint16_t before;              /* the block that it is the realloc of; NONE */
	uint16_t row;
	bool kept : 1, temporary : 1, last : 1;   /* last: freed, not moved */
	bool stays : 1;               /* it is the block before with another size, by a realloc in place: no allocation */
};
_Static_assert((int)CULL_WINDOW_WORDS_MAX < (int)NONE && (int)BLOCKS_MAX < (int)NONE, "words and blocks fit 16 bits");

struct cull_row {
	uint64_t key;
	uint32_t blocks;              /* that would be in it; 0: the place is free */
	struct capture_culled sums;
};

struct cull_move {
	uint64_t address;
	uint32_t at, block;
	bool temporary;
};

/* All zero at first; rows are left as they were found. */
struct cull_memory {
	struct cull_block blocks[BLOCKS_MAX];
	uint16_t slots[1 << SLOT_BITS];         /* by address: a block's number + 1 */
	struct cull_row rows[1 << ROW_BITS];
	uint32_t used_rows[ROWS_MAX];
	uint16_t block_of[CULL_WINDOW_WORDS_MAX];   /* by word, where it is dropped: its block's number + 1 */
	uint32_t borders[BORDERS_MAX];          /* words before which all sums go out */
};

struct culling {
	struct cull_memory *memory;
	const uint64_t *words, *owned, *moments;
	size_t count, moment_count;
	uint64_t stamp;
	size_t next_moment;
	uint32_t block_count, row_count, border_count;
	uint32_t first;               /* blocks before it are from before the last moment */
	uint32_t sequence;
	bool high;                    /* SIZE_HIGH came before */
	struct cull_move moves[CULL_MOVES_MAX];
	unsigned move_count;
	bool moves_unknown;           /* there may be more, below */
	/* Of what is written. */
	uint64_t *out, *out_end;
	uint64_t skipped, time, written_time, written_stamp;
	uint64_t held_bytes, held_count;
	struct capture_held held;
	bool full;
};

static _Atomic uint64_t moments[CULL_MOMENTS_MAX];
static _Atomic uint32_t moment_number, moments_open;
_Atomic uint64_t cull_owners[1 << CULL_OWNER_BITS];
bool cull_on;
static _Atomic bool begun;
_Atomic bool cull_shared;

void cull_moment_begin(void)
{
	atomic_fetch_add(&moments_open, 1);
	atomic_thread_fence(memory_order_seq_cst);
}

void cull_moment_end(uint64_t stamp, enum cull_moment what)
{
	uint32_t number = atomic_fetch_add(&moment_number, 1);

	atomic_store(&moments[number % CULL_MOMENTS_MAX], stamp << 1 | (what == CULL_MARK));
	atomic_fetch_sub(&moments_open, 1);
}

/* They are nearly in order already. */
static void sort(uint64_t *values, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		uint64_t value = values[i];
		size_t at = i;

		for (; at > 0 && values[at - 1] > value; at--)
			values[at] = values[at - 1];
		values[at] = value;
	}
}

bool cull_moments(uint64_t first_stamp, uint64_t *out, size_t *count)
{
	uint64_t oldest = UINT64_MAX;

	*count = 0;
	atomic_thread_fence(memory_order_seq_cst);
	uint32_t number = atomic_load(&moment_number);

	if (atomic_load(&moments_open) != 0)
		return false;
	for (uint32_t i = number > CULL_MOMENTS_MAX ? number - CULL_MOMENTS_MAX : 0; i < number; i++) {
		uint64_t moment = atomic_load(&moments[i % CULL_MOMENTS_MAX]);

		oldest = moment >> 1 < oldest ? moment >> 1 : oldest;
		if (moment >> 1 >= first_stamp)
			out[(*count)++] = moment;
	}
	sort(out, *count);
	/* One that began meanwhile has a stamp behind this window, or is counted as open. */
	return atomic_load(&moments_open) == 0 && atomic_load(&moment_number) == number &&
		(number < CULL_MOMENTS_MAX || oldest < first_stamp);
}

void cull_start(void)
{
	cull_on = (config.aggregate || config.max_size) && !config.sample_bytes;
	atomic_store(&begun, cull_on && config.aggregate);
	atomic_store(&cull_shared, false);
	atomic_store(&moment_number, 0);
	atomic_store(&moments_open, 0);
}

bool cull_begin(void)
{
	return cull_on && !atomic_exchange(&begun, true);
}

bool cull_has_begun(void)
{
	return atomic_load_explicit(&begun, memory_order_relaxed);
}

void cull_stream_begins(uint32_t stream)
{
	if (stream > 0)
		atomic_store(&cull_shared, true);
}

size_t cull_memory_size(void)
{
	return sizeof(struct cull_memory);
}

static bool is_owned(const struct culling *culling, size_t at)
{
	return culling->owned[at / 64] >> (at % 64) & 1;
}

static bool is_realloc(unsigned kind)
{
	return kind == CAPTURE_REALLOC || kind == CAPTURE_PYMEM_REALLOC || kind == CAPTURE_PYOBJECT_REALLOC;
}

static uint64_t address_of(const struct culling *culling, const struct cull_block *block)
{
	return culling->words[block->at] >> 8;
}

static uint16_t *find_slot(struct culling *culling, uint64_t address)
{
	struct cull_memory *memory = culling->memory;
	size_t place = (address >> 4) * 0x9e3779b97f4a7c15u >> (64 - SLOT_BITS);

	while (memory->slots[place] && address_of(culling, &memory->blocks[memory->slots[place] - 1]) != address)
		place = (place + 1) & ((1 << SLOT_BITS) - 1);
	return &memory->slots[place];
}

/* Takes the block at the address out of the list of what lives; NONE: there is none since the last border. */
static uint32_t take_block(struct culling *culling, uint64_t address)
{
	const uint32_t slot = *find_slot(culling, address), block = slot - 1;

	if (!slot || block < culling->first || culling->memory->blocks[block].end != NONE)
		return NONE;
	return block;
}

/* `before`: the block that it continues.  `kept`: whatever comes. */
static void add_block(struct culling *culling, size_t at, uint32_t before, bool kept)
{
	uint64_t address = culling->words[at] >> 8;
	uint16_t *slot = find_slot(culling, address);
	struct cull_block *block = &culling->memory->blocks[culling->block_count];

	/* An address allocated twice: a contradiction stays one. */
	if (*slot && *slot - 1u >= culling->first && culling->memory->blocks[*slot - 1].end == NONE) {
		culling->memory->blocks[*slot - 1].kept = true;
		kept = true;
	}
	*block = (struct cull_block){ .at = (uint16_t)at, .end = NONE, .before = (uint16_t)before,
		.sequence = (uint16_t)++culling->sequence, .kept = kept || culling->high,
		.size = culling->high ? UINT32_MAX : (uint32_t)culling->words[at + 1] };
	*slot = (uint16_t)++culling->block_count;
}

/* A realloc in place, or one whose move is not known: the block there is kept, under the number that it had. */
static void keep_in_place(struct culling *culling, const struct cull_move *move)
{
	if (move->block == NONE)
		return;
	struct cull_block *block = &culling->memory->blocks[move->block];

	block->kept = true;
	block->end = NONE;
	*find_slot(culling, address_of(culling, block)) = (uint16_t)(move->block + 1);
}

/* What lives here is kept. */
static void cut(struct culling *culling)
{
	culling->first = culling->block_count;
	for (unsigned i = 0; i < culling->move_count; i++)
		culling->moves[i].block = NONE;
}

/* And what does not is in sums that come before. */
static void border(struct culling *culling, size_t at)
{
	cut(culling);
	if (culling->border_count < BORDERS_MAX)
		culling->memory->borders[culling->border_count] = (uint32_t)at;
	culling->border_count++;
}

static void release(struct culling *culling, size_t at)
{
	uint32_t number = take_block(culling, culling->words[at] >> 8);

	if (number == NONE)
		return;
	struct cull_block *block = &culling->memory->blocks[number];

	block->end = (uint16_t)at;
	block->last = true;
	block->kept |= !is_owned(culling, at);
	block->temporary = culling->sequence - block->sequence <= CULL_TEMPORARY_LIMIT;
}

static void begin_move(struct culling *culling, size_t at)
{
	struct cull_move move = { .address = culling->words[at] >> 8, .at = (uint32_t)at };

	move.block = take_block(culling, move.address);
	if (move.block != NONE) {
		struct cull_block *block = &culling->memory->blocks[move.block];

		block->end = (uint16_t)at;
		block->kept |= !is_owned(culling, at);
		move.temporary = culling->sequence - block->sequence <= CULL_TEMPORARY_LIMIT;
	}
	if (culling->move_count == CULL_MOVES_MAX) {
		if (culling->moves[0].block != NONE)
			culling->memory->blocks[culling->moves[0].block].kept = true;
		memmove(culling->moves, culling->moves + 1, (CULL_MOVES_MAX - 1) * sizeof(*culling->moves));
		culling->move_count--;
	}
	culling->moves[culling->move_count++] = move;
}

/* Smaller in place: a link of a chain, but no allocation, and temporary if the block is. */
static void stay_smaller(struct culling *culling, size_t at, uint32_t number)
{
	add_block(culling, at, number, false);
	struct cull_block *block = &culling->memory->blocks[culling->block_count - 1];

	block->stays = true;
	block->sequence = culling->memory->blocks[number].sequence;
	culling->sequence--;
}

static void complete_move(struct culling *culling, size_t at)
{
	uint64_t address = culling->words[at] >> 8;

	/* realloc(NULL, size), unless it may be the end of a move from before. */
	if (culling->move_count == 0) {
		add_block(culling, at, NONE, culling->moves_unknown);
		return;
	}
	struct cull_move move = culling->moves[--culling->move_count];

	if (move.block == NONE || !is_owned(culling, move.at)) {
		/* In place, it may be no allocation: then numbers from here on are not known. */
		if (move.block != NONE)
			culling->memory->blocks[move.block].kept = true;
		if (address == move.address)
			cut(culling);
		add_block(culling, at, NONE, true);
		return;
	}
	struct cull_block *block = &culling->memory->blocks[move.block];

	if (address == move.address && !culling->high && (uint32_t)culling->words[at + 1] <= block->size) {
		if (block->kept || culling->move_count > 0) {
			keep_in_place(culling, &move);
			block->size = (uint32_t)culling->words[at + 1];
		} else {
			stay_smaller(culling, at, move.block);
		}
		return;
	}
	/* From 4 GiB to as much or more: whether it grew is not known here. */
	if (address == move.address && culling->high)
		cut(culling);
	block->kept |= culling->move_count > 0;
	block->temporary = move.temporary;
	add_block(culling, at, move.block, block->kept);
	if (culling->memory->blocks[culling->block_count - 1].kept)
		block->kept = true;
}

/* The newest move of this address that waits; move_count: none. */
static unsigned find_move(const struct culling *culling, uint64_t address)
{
	for (unsigned i = culling->move_count; i-- > 0;)
		if (culling->moves[i].address == address)
			return i;
	return culling->move_count;
}

/* What is moved from here on was never completed: it stays among the events, and so do its ends. */
static void keep_moved(struct culling *culling, unsigned from)
{
	for (unsigned i = from; i < culling->move_count; i++)
		if (culling->moves[i].block != NONE)
			culling->memory->blocks[culling->moves[i].block].kept = true;
}

static void stay(struct culling *culling, size_t at)
{
	const unsigned move = find_move(culling, culling->words[at] >> 8);

	if (move == culling->move_count)
		return;
	keep_moved(culling, move + 1);
	culling->move_count = move;
	keep_in_place(culling, &culling->moves[move]);
}

/* The block of a move is gone, replaced by nobody. */
static void end_move(struct culling *culling, size_t at)
{
	const unsigned move = find_move(culling, culling->words[at] >> 8);

	keep_moved(culling, move);
	culling->move_count = move;
}

static size_t words_of(const uint64_t *word)
{
	unsigned kind = (uint8_t)*word;

	if (CAPTURE_IS_METADATA(kind))
		return 1 + ((*word >> 8) + 7) / 8;
	if (CAPTURE_IS_ALLOCATION(kind) || kind == CAPTURE_UNMAP || kind == CAPTURE_UNMAP_FAILED || kind == CAPTURE_SKIP)
		return 2;
	return kind == CAPTURE_NODE || kind == CAPTURE_SAMPLE || kind == CAPTURE_MAP ? 3 : 1;
}

/* The stamp changes at this word. */
static void pass_moments(struct culling *culling, size_t at, uint64_t stamp)
{
	bool any = false, mark = false;

	while (culling->next_moment < culling->moment_count && culling->moments[culling->next_moment] >> 1 < culling->stamp)
		culling->next_moment++;
	for (size_t i = culling->next_moment; i < culling->moment_count && culling->moments[i] >> 1 <= stamp; i++) {
		any = true;
		mark |= culling->moments[i] & 1;
	}
	if (mark)
		border(culling, at);
	else if (any)
		cut(culling);
	culling->stamp = stamp;
}

/* false: the window holds what is not for us. */
static bool pair_record(struct culling *culling, size_t at)
{
	unsigned kind = (uint8_t)culling->words[at];
	uint64_t operand = culling->words[at] >> 8;

	if (is_realloc(kind))
		complete_move(culling, at);
	else if (CAPTURE_IS_ALLOCATION(kind))
		add_block(culling, at, NONE, false);
	culling->high = kind == CAPTURE_SIZE_HIGH;
	switch (kind) {
	case CAPTURE_FREE:
	case CAPTURE_FREE_PYTHON:
		release(culling, at);
		return true;
	case CAPTURE_MOVE:
	case CAPTURE_MOVE_PYTHON:
		begin_move(culling, at);
		return true;
	case CAPTURE_STAY:
		stay(culling, at);
		return true;
	case CAPTURE_MOVE_ENDS:
		end_move(culling, at);
		return true;
	case CAPTURE_MAP:
		/* What mremap left in place is no allocation: numbers from here on are not known. */
		if (culling->words[at + 2] & CAPTURE_MAP_MOVED)
			cut(culling);
		culling->sequence++;
		return true;
	case CAPTURE_STAMP:
		pass_moments(culling, at, operand);
		return true;
	case CAPTURE_SAMPLE:
	case CAPTURE_PAGES:
		cut(culling);
		return true;
	case CAPTURE_THREAD:
		/* Another one, of which nothing waits. */
		border(culling, at);
		culling->move_count = 0;
		culling->moves_unknown = false;
		return true;
	case CAPTURE_MARK:
	case CAPTURE_RECORDING:
		border(culling, at);
		return true;
	case CAPTURE_SAMPLING:
	case CAPTURE_SKIP:
		return false;
	default:
		return true;
	}
}

static bool find_pairs(struct culling *culling, struct cull_moves *moves)
{
	for (; culling->move_count < moves->count; culling->move_count++)
		culling->moves[culling->move_count] = (struct cull_move){ .address = moves->addresses[culling->move_count],
			.block = NONE };
	culling->moves_unknown = moves->unknown;
	moves->unknown = true;
	for (size_t at = 0; at < culling->count; at += words_of(culling->words + at))
		if (!pair_record(culling, at))
			return false;
	/* The window ends within a realloc: it is seen again in the next one, whose second half needs the first. */
	keep_moved(culling, 0);
	for (unsigned i = 0; i < culling->move_count; i++)
		moves->addresses[i] = culling->moves[i].address;
	moves->count = culling->move_count;
	moves->unknown = culling->moves_unknown;
	return culling->border_count <= BORDERS_MAX;
}

static unsigned bin_of(uint32_t size)
{
	return size ? 32 - (unsigned)__builtin_clz(size) : 0;
}

/* The block's row, made when it is new; NONE: there are too many. */
static uint32_t find_row(struct culling *culling, const struct cull_block *block)
{
	const uint64_t *word = culling->words + block->at;
	unsigned kind = (uint8_t)*word, bin = bin_of((uint32_t)word[1]);
	uint32_t stack = (uint32_t)(word[1] >> 32);
	uint64_t key = (uint64_t)stack << 16 | kind << 8 | bin;
	size_t place = key * 0x9e3779b97f4a7c15u >> (64 - ROW_BITS);
	struct cull_row *rows = culling->memory->rows;

	while (rows[place].blocks && rows[place].key != key)
		place = (place + 1) & ((1 << ROW_BITS) - 1);
	if (!rows[place].blocks) {
		if (culling->row_count == ROWS_MAX)
			return NONE;
		culling->memory->used_rows[culling->row_count++] = (uint32_t)place;
		rows[place] = (struct cull_row){ .key = key, .sums = { .stack = stack, .kind = (uint16_t)kind,
			.bin = (uint16_t)bin } };
	}
	rows[place].blocks++;
	return (uint32_t)place;
}

/* The first block of a chain that may not be dropped; NONE: all may. */
static bool chain_is_kept(const struct cull_memory *memory, uint32_t number)
{
	for (; number != NONE; number = memory->blocks[number].before)
		if (memory->blocks[number].kept || memory->blocks[number].end == NONE)
			return true;
	return false;
}

static bool chain_has_rows(const struct cull_memory *memory, uint32_t number)
{
	for (; number != NONE; number = memory->blocks[number].before)
		if (memory->blocks[number].row == NONE || memory->rows[memory->blocks[number].row].blocks < ROW_BLOCKS_MIN)
			return false;
	return true;
}

/* The block itself, or the one that it was allocated as. */
static const struct cull_block *allocation_of(const struct cull_memory *memory, uint32_t number)
{
	while (memory->blocks[number].stays)
		number = memory->blocks[number].before;
	return &memory->blocks[number];
}

static void judge(struct culling *culling)
{
	struct cull_memory *memory = culling->memory;

	for (uint32_t i = 0; i < culling->block_count; i++) {
		if (!memory->blocks[i].last || chain_is_kept(memory, i)) {
			memory->blocks[i].last = false;
			continue;
		}
		for (uint32_t number = i; number != NONE; number = memory->blocks[number].before)
			memory->blocks[number].row = (uint16_t)find_row(culling, allocation_of(memory, number));
	}
	for (uint32_t i = 0; i < culling->block_count; i++) {
		if (!memory->blocks[i].last || !chain_has_rows(memory, i))
			continue;
		for (uint32_t number = i; number != NONE; number = memory->blocks[number].before) {
			memory->block_of[memory->blocks[number].at] = (uint16_t)(number + 1);
			memory->block_of[memory->blocks[number].end] = (uint16_t)(number + 1);
		}
	}
}

static void put(struct culling *culling, const uint64_t *words, size_t count)
{
	if ((size_t)(culling->out_end - culling->out) < count) {
		culling->full = true;
		return;
	}
	memcpy(culling->out, words, count * 8);
	culling->out += count;
}

static void put_clocks(struct culling *culling)
{
	if (culling->stamp != culling->written_stamp)
		put(culling, &(uint64_t){ CAPTURE_STAMP | culling->stamp << 8 }, 1);
	if (culling->time != culling->written_time)
		put(culling, &(uint64_t){ CAPTURE_TIME | culling->time << 8 }, 1);
	culling->written_stamp = culling->stamp;
	culling->written_time = culling->time;
}

static void put_skipped(struct culling *culling)
{
	if (culling->skipped)
		put(culling, (const uint64_t[]){ CAPTURE_SKIP | culling->skipped << 8, 0 }, 2);
	culling->skipped = 0;
}

static void put_sums(struct culling *culling)
{
	uint64_t words[ROW_WORDS] = { CAPTURE_CULLED | sizeof(struct capture_culled) << 8 };

	for (uint32_t i = 0; i < culling->row_count; i++) {
		struct capture_culled *sums = &culling->memory->rows[culling->memory->used_rows[i]].sums;

		if (sums->count == 0)
			continue;
		put_clocks(culling);
		memcpy(words + 1, sums, sizeof(*sums));
		put(culling, words, ROW_WORDS);
		sums->count = sums->bytes = sums->temporary_count = sums->temporary_bytes = 0;
	}
	put_skipped(culling);
}

/* A word of a block that is dropped. */
static void drop(struct culling *culling, size_t at, const struct cull_block *block)
{
	uint32_t size = (uint32_t)culling->words[block->at + 1];
	struct capture_culled *sums = &culling->memory->rows[block->row].sums;

	if (at == block->end) {
		culling->held_bytes -= size;
		culling->held_count--;
	} else {
		if (!block->stays) {
			if (culling->held.dropped++ == 0)
				culling->held.first_time_ns = culling->time;
			culling->skipped++;
			sums->count++;
			sums->bytes += size;
		}
		culling->held_bytes += size;
		culling->held_count++;
		sums->temporary_count += block->temporary;
		sums->temporary_bytes += block->temporary ? size : 0;
	}
	culling->held.last_time_ns = culling->time;
	if (culling->held_bytes > culling->held.bytes)
		culling->held.bytes = culling->held_bytes;
	if (culling->held_count > culling->held.count)
		culling->held.count = culling->held_count;
}

static void write_record(struct culling *culling, size_t at)
{
	const uint64_t *word = culling->words + at;
	unsigned kind = (uint8_t)*word;
	uint32_t block = culling->memory->block_of[at];

	if (kind == CAPTURE_STAMP) {
		culling->stamp = *word >> 8;
	} else if (kind == CAPTURE_TIME) {
		culling->time = *word >> 8;
	} else if (block) {
		drop(culling, at, &culling->memory->blocks[block - 1]);
	} else {
		/* Before SIZE_HIGH, not between it and its allocation. */
		if ((kind >= CAPTURE_FREE && !CAPTURE_IS_METADATA(kind)) || kind == CAPTURE_SIZE_HIGH)
			put_skipped(culling);
		put_clocks(culling);
		put(culling, word, words_of(word));
	}
}

static void write_words(struct culling *culling)
{
	uint64_t words[HELD_WORDS] = { CAPTURE_HELD | sizeof(struct capture_held) << 8 };
	uint32_t next = 0;

	for (size_t at = 0; at < culling->count && !culling->full; at += words_of(culling->words + at)) {
		if (next < culling->border_count && culling->memory->borders[next] == at) {
			put_sums(culling);
			next++;
		}
		write_record(culling, at);
	}
	put_sums(culling);
	put_clocks(culling);
	memcpy(words + 1, &culling->held, sizeof(culling->held));
	put(culling, words, HELD_WORDS);
}

size_t cull_window(struct cull_memory *memory, const uint64_t *words, size_t count, const uint64_t *owned,
	const struct capture_stream *carry, struct cull_moves *moves, const uint64_t *stamps, size_t stamp_count,
	uint64_t *out)
{
	struct culling culling = { .memory = memory, .words = words, .count = count, .owned = owned, .moments = stamps,
		.moment_count = stamp_count, .stamp = carry->first_stamp, .out = out, .out_end = out + count };

	if (count > CULL_WINDOW_WORDS_MAX) {
		moves->unknown = true;
		return 0;
	}
	memset(memory->slots, 0, sizeof(memory->slots));
	memset(memory->block_of, 0, count * sizeof(*memory->block_of));
	if (!find_pairs(&culling, moves))
		return 0;
	judge(&culling);
	culling.stamp = culling.written_stamp = carry->first_stamp;
	culling.time = culling.written_time = carry->first_time_ns;
	write_words(&culling);
	for (uint32_t i = 0; i < culling.row_count; i++)
		memory->rows[memory->used_rows[i]].blocks = 0;
	return culling.full || culling.held.dropped == 0 ? 0 : (size_t)(culling.out - out);
}
