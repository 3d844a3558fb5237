/* SPDX-License-Identifier: MIT */
/*
 * The analyses against slow and obvious recomputations.  A random program of several threads is made up as a list of
 * lives: who allocated what, where, when, how its size changed, who ended it.  It is written as a capture, and every
 * row of every analysis must be what loops over that list say, with the peak, the end or another moment as the one to
 * look at.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "capture_writer.h"
#include "reader/analysis.h"

enum {
	THREADS = 4, STACKS = 9, STEPS = 1800, LIVES_MAX = 4000, CHANGES_MAX = 6, SAMPLES_MAX = 400, ROWS_MAX = 6000,
	UNIT = 256, REGION_UNITS = 8192, ARENAS = 12, ARENA_UNITS = 1024, LARGES = 64, MAPPINGS = 32, NOBODY = -1,
	ARENA = 1000,                     /* the code of an arena's life, which is a mapping in the capture */
};
#define HEAP_BASE 0x100000000ul
#define ARENA_BASE 0x200000000ul
#define LARGE_BASE 0x300000000ul
#define MAPPING_BASE 0x400000000ul
#define MIB ((uint64_t)1 << 20)

/* A block or mapping from its birth to its end.  Steps are moments: a state is that behind a step. */
struct life {
	unsigned thread, stack, code;
	uint64_t address;
	unsigned born, ended;             /* steps; ended is STEPS while it lives */
	int ended_by;                     /* thread; NOBODY: it lives at the end */
	struct { unsigned step; uint64_t size; } sizes[CHANGES_MAX];   /* the first is that of its birth; 0 while it moves */
	unsigned size_count;
	int before, after;                /* lives joined by realloc; -1: none */
};

static struct life lives[LIVES_MAX];
static unsigned life_count;
static uint64_t step_ns[STEPS + 1];
static struct { unsigned step; uint64_t anonymous, counted; } samples[SAMPLES_MAX];
static unsigned sample_count;
static uint64_t random_state;

static unsigned draw(unsigned below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state >> 33) % below);
}

/* ---- the program ---- */

static uint8_t heap_units[REGION_UNITS], arena_units[ARENAS * ARENA_UNITS];
static uint8_t large_slots[LARGES], mapping_slots[MAPPINGS];
static int moving[THREADS];               /* the life that a thread reallocates; -1: none */
static bool gives_up[THREADS];            /* and its place is free meanwhile */
static struct writer_stream *streams[THREADS];

static uint8_t *units_of(uint64_t address, unsigned *first)
{
	if (address >= LARGE_BASE)
		return NULL;
	*first = (unsigned)((address - (address >= ARENA_BASE ? ARENA_BASE : HEAP_BASE)) / UNIT);
	return address >= ARENA_BASE ? arena_units : heap_units;
}

static void mark_units(uint64_t address, uint64_t size, uint8_t value)
{
	unsigned first = 0;
	uint8_t *units = units_of(address, &first);

	if (!units)
		large_slots[(address - LARGE_BASE) / (4 * MIB)] = value;
	else
		memset(units + first, value, size / UNIT + 1);
}

/* A free place, or 0. */
static uint64_t find_place(uint64_t size, bool python)
{
	const bool small = python && size <= 512;
	uint8_t *units = small ? arena_units : heap_units;
	const unsigned count = small ? ARENAS * ARENA_UNITS : REGION_UNITS, needed = (unsigned)(size / UNIT) + 1;

	if (size >= 100000) {
		unsigned slot = draw(LARGES);

		return large_slots[slot] || size > 4 * MIB - 4096 ? 0 : LARGE_BASE + slot * 4 * MIB + 16;
	}
	/* Few places, so that addresses come again. */
	for (unsigned tries = 0; tries < 20; tries++) {
		unsigned first = draw(count - needed), free = 0;

		while (free < needed && !units[first + free])
			free++;
		if (free == needed)
			return (small ? ARENA_BASE : HEAP_BASE) + (uint64_t)first * UNIT + (needed * UNIT > size + 16 ? 16 : 0);
	}
	return 0;
}

static uint64_t draw_size(unsigned stack)
{
	static const uint64_t favourites[] = { 0, 24, 25, 100, 512, 513 };

	if (stack == 0)
		return 64;
	if (stack < 3)
		return favourites[draw(6)];
	if (draw(30) == 0)
		return 100000 + draw(3 * MIB);
	return draw(draw(2) ? 400 : 6000);
}

static struct life *new_life(unsigned thread, unsigned stack, unsigned code, uint64_t address, uint64_t size,
	unsigned step)
{
	struct life *life = &lives[life_count++];

	assert_true(life_count <= LIVES_MAX);
	*life = (struct life){ .thread = thread, .stack = stack, .code = code, .address = address, .born = step,
		.ended = STEPS, .ended_by = NOBODY, .before = -1, .after = -1, .size_count = 1 };
	life->sizes[0].step = step;
	life->sizes[0].size = size;
	return life;
}

static uint64_t last_size(const struct life *life)
{
	return life->sizes[life->size_count - 1].size;
}

static void allocate(unsigned thread, unsigned step)
{
	static const unsigned codes[] = { CAPTURE_MALLOC, CAPTURE_CALLOC, CAPTURE_PYMEM_MALLOC, CAPTURE_PYOBJECT_MALLOC };
	const unsigned stack = draw(STACKS), code = codes[stack % 4];
	const uint64_t size = draw_size(stack), address = find_place(size, code >= CAPTURE_PYMEM_MALLOC);

	if (!address)
		return;
	mark_units(address, size, 1);
	new_life(thread, stack, code, address, size, step);
	put_alloc(streams[thread], code, address, size, stack + 1);
}

/* Any live block that nobody is moving; -1: none was found. */
static int pick_life(bool mapping)
{
	for (unsigned tries = 0; tries < 30 && life_count; tries++) {
		/* The newest are the most likely, as in programs. */
		const unsigned i = draw(2) ? life_count - 1 - draw(life_count < 8 ? life_count : 8) : draw(life_count);
		bool moves = false;

		for (unsigned thread = 0; thread < THREADS; thread++)
			moves |= moving[thread] == (int)i;
		if (lives[i].ended == STEPS && !moves && lives[i].code != ARENA && mapping == (lives[i].code == CAPTURE_MAP))
			return (int)i;
	}
	return -1;
}

static void end_life(struct life *life, unsigned thread, unsigned step)
{
	life->ended = step;
	life->ended_by = (int)thread;
}

static void release(unsigned thread, unsigned step)
{
	const int which = pick_life(false);

	if (which < 0)
		return;
	/* Mostly one's own. */
	if (lives[which].thread != thread && draw(3))
		return;
	end_life(&lives[which], thread, step);
	mark_units(lives[which].address, lives[which].sizes[0].size, 0);
	put_free(streams[thread], CAPTURE_FREE, lives[which].address);
}

static void begin_move(unsigned thread, unsigned step)
{
	const int which = pick_life(false);

	if (which < 0 || lives[which].size_count + 2 > CHANGES_MAX)
		return;
	moving[thread] = which;
	lives[which].sizes[lives[which].size_count].step = step;
	lives[which].sizes[lives[which].size_count++].size = UINT64_MAX;   /* not live */
	put_free(streams[thread], CAPTURE_MOVE, lives[which].address);
	gives_up[thread] = draw(2);
	if (gives_up[thread])
		mark_units(lives[which].address, lives[which].sizes[0].size, 0);
}

/* Where the block goes: elsewhere, or it grows where it is; 0: nowhere. */
static uint64_t find_new_place(struct life *life, uint64_t size, bool python, bool kept)
{
	const uint64_t first_size = life->sizes[0].size;
	unsigned first = 0, free = 0;
	uint8_t *units;

	if (!kept || draw(2) || (size >= 100000) != (first_size >= 100000) || (python && size <= 512) !=
	    (life->address >= ARENA_BASE && life->address < LARGE_BASE))
		return find_place(size, python);
	units = units_of(life->address, &first);
	if (!units)
		return size > 4 * MIB - 4096 ? 0 : life->address;
	mark_units(life->address, first_size, 0);
	/* With room for where in its unit it begins. */
	while (first + free < (units == heap_units ? REGION_UNITS : ARENAS * ARENA_UNITS) && free < size / UNIT + 2 &&
		!units[first + free])
		free++;
	mark_units(life->address, first_size, 1);
	return free == size / UNIT + 2 ? life->address : find_place(size, python);
}

static void finish_move(unsigned thread, unsigned step)
{
	struct life *life = &lives[moving[thread]];
	const uint64_t before = life->sizes[life->size_count - 2].size;
	const bool python = life->code >= CAPTURE_PYMEM_MALLOC;
	const unsigned code = python ? CAPTURE_PYMEM_REALLOC : CAPTURE_REALLOC;
	const uint64_t size = draw(4) ? before + 1 + draw(before < 5000 ? (unsigned)before + 1 : 100000) : before / 2;
	const uint64_t place = find_new_place(life, size, python, !gives_up[thread]);
	const int which = moving[thread];

	if (!place && gives_up[thread])
		return;
	moving[thread] = -1;
	if (!gives_up[thread] && (draw(5) == 0 || !place || place == life->address * (size <= before))) {
		/* It fails, or shrinks in place. */
		const bool fails = draw(2);

		life->sizes[life->size_count].step = step;
		life->sizes[life->size_count++].size = fails ? before : before / 2;
		if (fails)
			put_free(streams[thread], CAPTURE_STAY, life->address);
		else
			put_alloc(streams[thread], code, life->address, before / 2, draw(STACKS) + 1);
		return;
	}
	/* The size that it had when it was given up is the one of its end. */
	life->size_count--;
	end_life(life, thread, life->sizes[life->size_count].step);
	if (!gives_up[thread])
		mark_units(life->address, life->sizes[0].size, 0);
	mark_units(place, size, 1);
	life->after = (int)life_count;
	new_life(thread, draw(STACKS), code, place, size, step)->before = which;
	put_alloc(streams[thread], code, place, size, lives[life_count - 1].stack + 1);
}

static void map_or_unmap(unsigned thread, unsigned step)
{
	const unsigned slot = draw(MAPPINGS);
	const int which = pick_life(true);
	const uint64_t address = MAPPING_BASE + slot * 16 * MIB;

	if (!mapping_slots[slot]) {
		const uint64_t length = (1 + draw(100)) * 4096ul;

		mapping_slots[slot] = 1;
		new_life(thread, draw(STACKS), CAPTURE_MAP, address, length, step);
		put_map(streams[thread], address, length, 0, lives[life_count - 1].stack + 1);
	} else if (which >= 0) {
		struct life *life = &lives[which];
		const uint64_t size = last_size(life);

		if (size > 8192 && draw(2) && life->size_count < CHANGES_MAX) {
			life->sizes[life->size_count].step = step;
			life->sizes[life->size_count++].size = size - 4096;
			put_unmap(streams[thread], CAPTURE_UNMAP, life->address + size - 4096, 4096);
			return;
		}
		end_life(life, thread, step);
		mapping_slots[(life->address - MAPPING_BASE) / (16 * MIB)] = 0;
		put_unmap(streams[thread], CAPTURE_UNMAP, life->address, size);
	}
}

/* The size of a life behind a step; UINT64_MAX: it does not live. */
static uint64_t size_at(const struct life *life, unsigned step)
{
	uint64_t size = UINT64_MAX;

	if (step < life->born || step >= life->ended)
		return UINT64_MAX;
	for (unsigned i = 0; i < life->size_count && life->sizes[i].step <= step; i++)
		size = life->sizes[i].size;
	return size;
}

static uint64_t counted_at(unsigned step)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < life_count; i++)
		sum += lives[i].code == ARENA || size_at(&lives[i], step) == UINT64_MAX ? 0 : size_at(&lives[i], step);
	return sum;
}

static void sample(unsigned thread, unsigned step)
{
	const uint64_t anonymous = draw(2) ? counted_at(step) / 2 : draw(40 * MIB);

	samples[sample_count].step = step;
	samples[sample_count].counted = counted_at(step);
	samples[sample_count++].anonymous = anonymous;
	put_sample(streams[thread], anonymous + 4096, anonymous, 0);
}

static void act(unsigned thread, unsigned step)
{
	if (moving[thread] >= 0 && draw(3))
		finish_move(thread, step);
	else if (sample_count < SAMPLES_MAX && draw(25) == 0)
		sample(thread, step);
	else if (draw(20) == 0)
		map_or_unmap(thread, step);
	else if (moving[thread] < 0 && draw(6) == 0)
		begin_move(thread, step);
	else if (draw(100) < 52)
		allocate(thread, step);
	else
		release(thread, step);
}

static void begin_program(struct writer *writer)
{
	writer_init(writer);
	writer->header.features = CAPTURE_PYTHON_STACKS | CAPTURE_PYTHON_ALLOCATORS;
	writer_text(writer, CAPTURE_TEXT_LIBC, "glibc 2.36", 10);
	writer_start(writer);
	for (unsigned i = 0; i < THREADS; i++) {
		streams[i] = writer_stream(writer, i, 256);
		moving[i] = -1;
		put_thread_info(streams[i], i, 100 + i, 0, "");
		put_thread(streams[i], i);
	}
	for (unsigned i = 0; i < STACKS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		put_code(streams[0], i + 1, 10 + i, 3, "program.py", name, "", 0);
		put_node(streams[0], i + 1, 0, CAPTURE_PYTHON_FRAME(i + 1, 0));
	}
	put_stamp(streams[0], 1);
	for (unsigned i = 0; i < ARENAS; i++) {
		new_life(0, 0, ARENA, ARENA_BASE + i * 256 * 1024ul, 256 * 1024, 0);
		put_map(streams[0], ARENA_BASE + i * 256 * 1024ul, 256 * 1024, CAPTURE_MAP_ARENA, 1);
	}
}

static void write_program(const char *path, uint64_t seed)
{
	struct writer writer;
	uint64_t now_ns = 0;

	random_state = seed * 0x9e3779b97f4a7c15u;
	life_count = sample_count = 0;
	memset(heap_units, 0, sizeof(heap_units));
	memset(arena_units, 0, sizeof(arena_units));
	memset(large_slots, 0, sizeof(large_slots));
	memset(mapping_slots, 0, sizeof(mapping_slots));
	begin_program(&writer);
	/* Late, so that who knows the allocator only from here on gets the first blocks wrong. */
	for (unsigned step = 1; step < STEPS - THREADS; step++) {
		const unsigned thread = draw(THREADS);

		if (draw(10) == 0)
			now_ns += draw(4) ? draw(3000) : draw(seed % 2 ? 400000000 : 3000000);
		step_ns[step] = now_ns;
		put_stamp(streams[thread], step + 2);
		put_time(streams[thread], now_ns);
		if (step == STEPS / 2)
			put_python(streams[thread], 0x030900f0, 8, "/usr/bin/python3.9", "pymalloc");
		act(thread, step);
	}
	for (unsigned step = STEPS - THREADS; step <= STEPS; step++) {
		step_ns[step] = now_ns;
		if (step < STEPS && moving[step % THREADS] >= 0) {
			put_stamp(streams[step % THREADS], step + 2);
			put_time(streams[step % THREADS], now_ns);
			finish_move(step % THREADS, step);
		}
	}
	writer_finish(&writer);
	writer_save(&writer, path);
	writer_free(&writer);
}

/* ---- expected rows ---- */

struct expected {
	unsigned thread, stack, code;     /* the site */
	uint64_t values[ANALYSIS_COLUMNS_MAX];
	uint64_t series[2 * ANALYSIS_BINS];
};

static struct expected rows[ROWS_MAX];
static unsigned row_count;

/* The row of a life's site, and where `key_column` is not negative of this value in it. */
static struct expected *row_of(const struct life *life, int key_column, uint64_t key)
{
	for (unsigned i = 0; i < row_count; i++) {
		if (rows[i].thread == life->thread && rows[i].stack == life->stack && rows[i].code == life->code &&
		    (key_column < 0 || rows[i].values[key_column] == key))
			return &rows[i];
	}
	assert_true(row_count < ROWS_MAX);
	rows[row_count] = (struct expected){ .thread = life->thread, .stack = life->stack, .code = life->code };
	if (key_column >= 0)
		rows[row_count].values[key_column] = key;
	return &rows[row_count++];
}

static uint64_t fact(const struct analysis_result *result, const char *key)
{
	return analysis_fact_value(result, key);
}

/* Each row of the analysis is expected, and each expected row is there; derived columns are another test's. */
static void compare_rows(const struct profile *profile, const struct analysis_table *table, int key_column)
{
	const struct analysis_table_class *class = table->class;
	const size_t bins = (size_t)class->series_count * class->bin_count;

	assert_int_equal(table->count, row_count);
	for (size_t i = 0; i < table->count; i++) {
		const struct analysis_row *row = &table->rows[i];
		const struct observed_site *site = &profile->observed[row->site];
		const char *name = profile->frames[profile->nodes[site->node].frame].function;
		const struct life like = { .thread = profile->threads[site->thread].tid - 100, .stack = (unsigned)atoi(name + 1),
			.code = site->domain == DOMAIN_ARENA ? ARENA : site->allocator };
		const unsigned known = row_count;
		const struct expected *expected = row_of(&like, key_column, key_column < 0 ? 0 : row->values[key_column]);

		assert_int_equal(row_count, known);
		for (unsigned column = 0; column < class->column_count; column++) {
			if (class->columns[column].join == ANALYSIS_DERIVED || class->columns[column].join == ANALYSIS_KEY)
				continue;
			if (row->values[column] != expected->values[column])
				print_error("%s of f%u thread %u code %u\n", class->columns[column].key, like.stack, like.thread,
					like.code);
			assert_int_equal(row->values[column], expected->values[column]);
		}
		for (size_t bin = 0; bin < bins; bin++)
			assert_int_equal(table->series[i * bins + bin], expected->series[bin]);
	}
}

/* ---- recomputations ---- */

static uint64_t life_ns(const struct life *life)
{
	return step_ns[life->ended] - step_ns[life->born];
}

/* Other allocations of its thread from its birth on, until a step. */
static unsigned allocations_between(const struct life *life, unsigned step)
{
	unsigned count = 0;

	for (unsigned i = 0; i < life_count; i++)
		count += lives[i].thread == life->thread && &lives[i] > life && lives[i].born <= step;
	return count;
}

static void check_temporary(const struct profile *profile, const struct analysis_result *result, unsigned limit,
	uint64_t limit_ns)
{
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		struct expected *row = row_of(life, -1, 0);
		const bool own = life->ended_by == (int)life->thread;
		const bool near = own && allocations_between(life, life->ended) <= limit;
		const bool soon = own && life_ns(life) <= limit_ns;
		const uint64_t size = life->code == CAPTURE_MAP ? life->sizes[0].size : last_size(life);

		row->values[0] += near || soon;
		row->values[1] += near || soon ? size : 0;
		row->values[2] += near;
		row->values[3] += near ? size : 0;
		row->values[4] += soon;
		row->values[5] += soon ? size : 0;
		row->values[6]++;
		row->values[7] += life->sizes[0].size;
	}
	compare_rows(profile, &result->tables[0], -1);
}

/* Whether it lives at a step, and is not in the middle of a realloc. */
static bool lives_at(const struct life *life, unsigned step)
{
	return size_at(life, step) != UINT64_MAX;
}

static unsigned life_bin(uint64_t time_ns)
{
	unsigned bin = 0;

	for (uint64_t end_ns = 1000; bin < ANALYSIS_LIFE_BINS - 1 && time_ns >= end_ns; bin++)
		end_ns = bin % 2 ? end_ns / 3 * 10 : end_ns * 3;
	return bin;
}

static void check_lifetimes(const struct profile *profile, const struct analysis_result *result)
{
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		struct expected *row = row_of(life, -1, 0);
		uint64_t size = life->sizes[0].size;
		unsigned since = life->born;

		/* While it is in the middle of a realloc that leaves it where it is, it goes on. */
		for (unsigned n = 1; n < life->size_count; n++) {
			if (life->sizes[n].size == UINT64_MAX || life->sizes[n].size == size)
				continue;
			row->values[6] += size * (step_ns[life->sizes[n].step] - step_ns[since]) / 1000000;
			size = life->sizes[n].size;
			since = life->sizes[n].step;
		}
		row->values[6] += size * (step_ns[life->ended] - step_ns[since]) / 1000000;
		if (life->ended < STEPS) {
			row->values[1]++;
			row->series[life_bin(life_ns(life))]++;
			continue;
		}
		row->values[3]++;
		row->values[4] += size;
		row->values[5] = life_ns(life) > row->values[5] ? life_ns(life) : row->values[5];
	}
	compare_rows(profile, &result->tables[0], -1);
}

static void check_rates(const struct profile *profile, const struct analysis_result *result)
{
	uint64_t width_ns = 1000000;

	/* The writer's clock has ticks of 1 ms. */
	while (step_ns[STEPS] / width_ns >= 64 || width_ns < 4000000)
		width_ns *= 2;
	assert_int_equal(fact(result, "bin_ns"), width_ns);
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		struct expected *row = row_of(&lives[i], -1, 0);
		const uint64_t bin = step_ns[lives[i].born] / width_ns;

		row->values[2]++;
		row->values[3] += lives[i].sizes[0].size;
		row->series[bin] += lives[i].sizes[0].size;
		row->series[64 + bin]++;
	}
	compare_rows(profile, &result->tables[0], -1);
}

static bool same_site(const struct life *left, const struct life *right)
{
	return left->thread == right->thread && left->stack == right->stack && left->code == right->code;
}

/* What the site has of this size just before the life is born: given back and not taken again, and live. */
static void count_kept(const struct life *life, unsigned *kept, unsigned *live)
{
	*kept = *live = 0;
	for (unsigned step = 0; step <= life->born; step++) {
		for (const struct life *other = lives; other < life; other++) {
			if (!same_site(other, life) || other->sizes[0].size != life->sizes[0].size)
				continue;
			/* A realloc gives the old block back when it is done, just before the new one is born. */
			if (step == (other->after < 0 ? other->ended : lives[other->after].born)) {
				*kept += last_size(other) >= other->sizes[0].size;
				(*live)--;
			}
			if (other->born == step) {
				*kept -= *kept > 0;
				(*live)++;
			}
		}
	}
}

static bool is_among_first_sizes(const struct life *life)
{
	uint64_t sizes[16];
	unsigned count = 0;

	for (const struct life *other = lives; other <= life; other++) {
		unsigned i = 0;

		if (!same_site(other, life))
			continue;
		while (i < count && sizes[i] != other->sizes[0].size)
			i++;
		if (i == count && count < 16)
			sizes[count++] = other->sizes[0].size;
		if (other == life)
			return i < 16;
	}
	return false;
}

static void check_churn(const struct profile *profile, const struct analysis_result *result)
{
	uint64_t beyond = 0;
	unsigned left = 0;

	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		struct expected *row;
		unsigned kept, live;

		if (!is_among_first_sizes(life)) {
			beyond++;
			continue;
		}
		row = row_of(life, 2, life->sizes[0].size);
		count_kept(life, &kept, &live);
		row->values[0] += kept > 0;
		row->values[1] += kept > 0 ? life->sizes[0].size : 0;
		row->values[3] = live + 1 > row->values[3] ? live + 1 : row->values[3];
		row->values[4]++;
	}
	for (unsigned i = 0; i < row_count; i++) {
		if (rows[i].values[0])
			rows[left++] = rows[i];
	}
	row_count = left;
	assert_int_equal(fact(result, "beyond_count"), beyond);
	compare_rows(profile, &result->tables[0], 2);
}

static bool has_own_mapping(const struct life *life, uint64_t size)
{
	return size >= 128 * 1024 && life->address % 4096 == 16;
}

static void check_growth(const struct profile *profile, const struct analysis_result *result)
{
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i], *before = life->before < 0 ? NULL : &lives[life->before];
		struct expected *row;
		unsigned chain = 0, width = 0;

		if (!before)
			continue;
		for (int at = life->before; at >= 0; at = lives[at].before)
			chain++;
		row = row_of(life, -1, 0);
		row->values[3]++;
		row->values[5] = chain > row->values[5] ? chain : row->values[5];
		if (life->address != before->address) {
			const uint64_t old = last_size(before), new = life->sizes[0].size;
			const bool mapped = has_own_mapping(life, new) && has_own_mapping(before, old);

			row->values[1]++;
			row->values[2] += mapped;
			row->values[0] += mapped ? 0 : old < new ? old : new;
		}
		if (life->after >= 0)
			continue;
		row->values[4]++;
		row->values[8] += last_size(life);
		row->values[6] = last_size(life) > row->values[6] ? last_size(life) : row->values[6];
		while (last_size(life) >> width)
			width++;
		row->series[width]++;
	}
	compare_rows(profile, &result->tables[0], -1);
}

static uint64_t glibc_takes(uint64_t size, uint64_t address)
{
	uint64_t chunk = 32;

	while (chunk < size + 8)
		chunk += 16;
	if (size >= 128 * 1024 && address % 4096 == 16)
		chunk = (chunk + 8 + 4095) / 4096 * 4096;
	return chunk;
}

static uint64_t takes(const struct life *life, uint64_t size)
{
	uint64_t class = 16;

	if (life->code < CAPTURE_PYMEM_MALLOC || size > 512)
		return glibc_takes(size, life->address);
	while (class < size)
		class += 16;
	return class;
}

/* The step behind which most is live, the first one. */
static unsigned peak_step(void)
{
	uint64_t most = 0;
	unsigned peak = 0;

	for (unsigned step = 0; step < STEPS; step++) {
		if (counted_at(step) > most) {
			most = counted_at(step);
			peak = step;
		}
	}
	return peak;
}

static void check_slop(const struct profile *profile, const struct analysis_result *result)
{
	const unsigned peak = peak_step();
	uint64_t asked = 0;

	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		const uint64_t size = life->sizes[0].size, now = size_at(life, peak);
		struct expected *row;

		if (life->code == CAPTURE_MAP || life->code == ARENA)
			continue;
		row = row_of(life, -1, 0);
		row->values[5]++;
		row->values[4] += size;
		row->values[3] += takes(life, size) - size;
		if (!lives_at(life, peak))
			continue;
		row->values[1] += now;
		row->values[0] += takes(life, now) - now;
		asked += now;
	}
	assert_int_equal(asked, profile->by_domain[DOMAIN_HEAP].peak_bytes + profile->by_domain[DOMAIN_PYTHON].peak_bytes);
	compare_rows(profile, &result->tables[0], -1);
}

/* Live blocks of an arena, by address; how many. */
static unsigned blocks_in(uint64_t start, uint64_t end, unsigned at, const struct life **blocks)
{
	unsigned count = 0;

	for (uint64_t address = start; address < end; address += 16) {
		for (unsigned i = 0; i < life_count; i++) {
			if (lives[i].address == address && lives_at(&lives[i], at) && lives[i].code >= CAPTURE_PYMEM_MALLOC &&
			    lives[i].code != ARENA)
				blocks[count++] = &lives[i];
		}
	}
	return count;
}

static void check_arenas(const struct profile *profile, const struct analysis_result *result, unsigned at)
{
	static const struct life *blocks[LIVES_MAX];
	const struct analysis_table *list = &result->tables[1];
	unsigned outside = 0;

	row_count = 0;
	assert_int_equal(list->count, ARENAS);
	for (unsigned arena = 0; arena < ARENAS; arena++) {
		const uint64_t start = ARENA_BASE + arena * 256 * 1024ul, *values = list->rows[arena].values;
		const unsigned count = blocks_in(start, start + 256 * 1024, at, blocks);
		uint64_t used = 0, given = 0, left = 256 * 1024;
		bool pools[64] = { false };
		unsigned pool_count = 0;

		for (unsigned i = 0; i < count; i++) {
			used += size_at(blocks[i], at);
			given += takes(blocks[i], size_at(blocks[i], at));
			pools[(blocks[i]->address - start) / 4096] = true;
		}
		for (unsigned i = 0; i < 64; i++)
			pool_count += pools[i];
		assert_int_equal(values[0], used);
		assert_int_equal(values[1], 256 * 1024);
		assert_int_equal(values[2], count);
		assert_int_equal(values[3], pool_count);
		assert_int_equal(values[4], start);
		for (unsigned i = 0; i < count && given < 64 * 1024; i++) {
			struct expected *row = row_of(blocks[i], -1, 0);
			const uint64_t part = i + 1 == count ? left : 256 * 1024 * takes(blocks[i], size_at(blocks[i], at)) / given;

			row->values[0] += part;
			row->values[1] += size_at(blocks[i], at);
			row->values[2]++;
			left -= part;
		}
	}
	for (unsigned i = 0; i < life_count; i++)
		outside += lives_at(&lives[i], at) && lives[i].code >= CAPTURE_PYMEM_MALLOC && lives[i].code != ARENA &&
			size_at(&lives[i], at) <= 512 && (lives[i].address < ARENA_BASE || lives[i].address >= LARGE_BASE);
	assert_int_equal(fact(result, "outside_count"), outside);
	compare_rows(profile, &result->tables[0], -1);
}

/* What a block has of a page. */
static uint64_t bytes_on(const struct life *life, uint64_t size, uint64_t page)
{
	const uint64_t start = life->address > page ? life->address : page;
	const uint64_t end = life->address + size < page + 4096 ? life->address + size : page + 4096;

	return end > start ? end - start : 0;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct life *const *left = a, *const *right = b;

	return (*left)->address < (*right)->address ? -1 : (*left)->address > (*right)->address;
}

static void check_pages(const struct profile *profile, const struct analysis_result *result, unsigned at)
{
	static const struct life *blocks[LIVES_MAX];
	uint64_t sparse = 0, pages = 0, newest = 0;
	unsigned count = 0;

	row_count = 0;
	for (unsigned i = 0; i < life_count; i++)
		if (lives_at(&lives[i], at) && lives[i].code >= 32 && lives[i].code != ARENA && size_at(&lives[i], at) > 0)
			blocks[count++] = &lives[i];
	qsort(blocks, count, sizeof(*blocks), compare_addresses);
	for (unsigned i = 0; i < count; i++) {
		struct expected *row = row_of(blocks[i], -1, 0);

		row->values[2] += size_at(blocks[i], at);
		row->values[3]++;
	}
	/* Each page once: the next page is that of the next byte that any block has. */
	for (uint64_t page = 0, next; ; page = next) {
		uint64_t bytes = 0, left = 4096;
		const struct life *last = NULL;

		next = UINT64_MAX;
		for (unsigned i = 0; i < count; i++) {
			const uint64_t size = size_at(blocks[i], at), end = blocks[i]->address + size;

			bytes += bytes_on(blocks[i], size, page);
			last = bytes_on(blocks[i], size, page) ? blocks[i] : last;
			if (end > page + 4096 && blocks[i]->address / 4096 * 4096 < next)
				next = blocks[i]->address < page + 4096 ? page + 4096 : blocks[i]->address / 4096 * 4096;
		}
		for (unsigned i = 0; i < count; i++) {
			const uint64_t own = bytes_on(blocks[i], size_at(blocks[i], at), page);
			struct expected *row;
			uint64_t share;

			if (!own)
				continue;
			row = row_of(blocks[i], -1, 0);
			share = blocks[i] == last ? left : 4096 * own / bytes;
			row->values[1] += share;
			row->values[4] += bytes < 1024 ? share : 0;
			left -= share;
		}
		pages += bytes ? 4096 : 0;
		sparse += bytes && bytes < 1024 ? 4096 : 0;
		if (next == UINT64_MAX)
			break;
	}
	for (unsigned i = 0; i < row_count; i++)
		rows[i].values[0] = rows[i].values[1] > rows[i].values[2] ? rows[i].values[1] - rows[i].values[2] : 0;
	for (unsigned i = 0; i < sample_count && samples[i].step <= at; i++)
		newest = samples[i].anonymous;
	assert_int_equal(fact(result, "anonymous_bytes"), newest);
	assert_int_equal(fact(result, "page_bytes"), pages);
	assert_int_equal(fact(result, "sparse_bytes"), sparse);
	compare_rows(profile, &result->tables[0], -1);
}

static void check_untouched(const struct profile *profile, const struct analysis_result *result)
{
	uint64_t most = 0;
	unsigned when = 0;

	row_count = 0;
	for (unsigned i = 0; i < sample_count; i++) {
		if (samples[i].counted > samples[i].anonymous && samples[i].counted - samples[i].anonymous > most) {
			most = samples[i].counted - samples[i].anonymous;
			when = i;
		}
	}
	assert_int_equal(fact(result, "untouched_bytes"), most);
	assert_int_equal(fact(result, "time_ns"), step_ns[samples[when].step]);
	assert_int_equal(fact(result, "sample_count"), sample_count);
	for (unsigned i = 0; i < life_count && most; i++) {
		const uint64_t size = size_at(&lives[i], samples[when].step);
		struct expected *row;

		if (size == UINT64_MAX || size < 128 * 1024 || lives[i].code == ARENA)
			continue;
		row = row_of(&lives[i], -1, 0);
		row->values[0] += size;
		row->values[1]++;
	}
	compare_rows(profile, &result->tables[0], -1);
}

static void check_pairs(const struct profile *profile, const struct analysis_result *result)
{
	row_count = 0;
	for (unsigned i = 0; i < life_count; i++) {
		const struct life *life = &lives[i];
		struct expected *row;

		if (life->ended == STEPS)
			continue;
		row = row_of(life, 5, (uint64_t)life->ended_by);
		row->values[0]++;
		row->values[1] += last_size(life);
		row->values[6] += life_ns(life);
		row->series[life_bin(life_ns(life))]++;
	}
	/* Threads of the profile are in the order of their first events; here they have their own numbers. */
	for (unsigned i = 0; i < row_count; i++) {
		for (uint32_t thread = 0; thread < profile->thread_count; thread++) {
			if (profile->threads[thread].tid == 100 + rows[i].values[5]) {
				rows[i].values[5] = thread;
				break;
			}
		}
	}
	compare_rows(profile, &result->tables[0], 5);
}

static void check_cross_thread(const struct profile *profile, const struct analysis_result *result)
{
	uint64_t freed[THREADS][THREADS] = { { 0 } }, elsewhere = 0;

	for (unsigned i = 0; i < life_count; i++) {
		if (lives[i].ended < STEPS) {
			freed[lives[i].thread][lives[i].ended_by]++;
			elsewhere += lives[i].ended_by != (int)lives[i].thread;
		}
	}
	for (size_t i = 0; i < result->tables[1].count; i++) {
		const uint64_t *values = result->tables[1].rows[i].values;

		freed[profile->threads[values[2]].tid - 100][profile->threads[values[3]].tid - 100] -= values[0];
		elsewhere -= result->tables[0].rows[i].values[0];
	}
	for (unsigned i = 0; i < THREADS * THREADS; i++)
		assert_int_equal(freed[i / THREADS][i % THREADS], 0);
	assert_int_equal(elsewhere, 0);
}

/* ---- the tests ---- */

static struct profile *build(const char *path, const struct profile_options *options)
{
	struct profile *profile;
	struct error error = { 0 };

	if (!profile_build(&profile, &path, 1, options, &error))
		print_error("%s\n", error.text);
	assert_non_null(profile);
	return profile;
}

/* Rows seen in all, by analysis: a comparison of nothing with nothing shows nothing. */
static size_t covered[ANALYSIS_COUNT];

/* All analyses in one pass; at: the step behind which they look at the heap. */
static void check_all(const char *path, struct profile_options *options, unsigned at)
{
	struct profile *profile;
	const struct analysis_result *results;

	options->analyses = (1u << ANALYSIS_COUNT) - 1;
	options->timeline_points = 0;
	profile = build(path, options);
	results = profile->analyses;
	assert_int_equal(profile->analysis_count, ANALYSIS_COUNT);
	assert_int_equal(profile->captures[0].contradictions, 0);
	assert_int_equal(profile->captures[0].unknown_frees, 0);
	check_temporary(profile, &results[ANALYSIS_temporary], options->temporary_limit, options->temporary_ns);
	check_lifetimes(profile, &results[ANALYSIS_lifetimes]);
	check_rates(profile, &results[ANALYSIS_rates]);
	check_churn(profile, &results[ANALYSIS_churn]);
	check_growth(profile, &results[ANALYSIS_growth]);
	check_slop(profile, &results[ANALYSIS_slop]);
	check_arenas(profile, &results[ANALYSIS_arenas], at);
	check_pages(profile, &results[ANALYSIS_pages], at);
	check_untouched(profile, &results[ANALYSIS_untouched]);
	check_cross_thread(profile, &results[ANALYSIS_cross_thread]);
	check_pairs(profile, &results[ANALYSIS_pairs]);
	for (unsigned i = 0; i < ANALYSIS_COUNT; i++)
		covered[i] += results[i].tables[0].count;
	profile_free(profile);
}

static void random_programs_are_analysed_as_slow_loops_say(void **state)
{
	/* SCTMEM_ANALYSES_SEEDS=100 tries more. */
	const unsigned seeds = getenv("SCTMEM_ANALYSES_SEEDS") ? (unsigned)atoi(getenv("SCTMEM_ANALYSES_SEEDS")) : 3;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/sctmem-test-analyses-%d.bin", (int)getpid());
	for (unsigned seed = 1; seed <= seeds; seed++) {
		struct profile_options options = profile_options_default;
		unsigned at = STEPS;

		write_program(path, seed);
		options.slices = seed % 2 ? 32 : 0;   /* sites are numbered anew, then */
		options.temporary_limit = seed;
		options.temporary_ns = seed * 1000000;
		if (seed % 3 == 1) {
			options.at_peak = true;
			at = peak_step();
		} else if (seed % 3 == 2) {
			options.at_ns = step_ns[STEPS / 3];
			for (at = STEPS; step_ns[at] > options.at_ns;)
				at--;
		} else {
			at = STEPS - 1;
		}
		check_all(path, &options, at);
	}
	unlink(path);
	for (unsigned i = 0; i < ANALYSIS_COUNT; i++)
		assert_true(covered[i] > 10);
}

static void lifetimes_fall_into_half_decades(void **state)
{
	for (unsigned i = 0; i < 100000; i++) {
		const uint64_t time_ns = (uint64_t)draw(1000000000) << draw(30);

		assert_int_equal(analysis_life_bin(time_ns), life_bin(time_ns));
	}
	assert_int_equal(analysis_life_bin(999), 0);
	assert_int_equal(analysis_life_bin(1000), 1);
	assert_int_equal(analysis_life_bin(UINT64_MAX), ANALYSIS_LIFE_BINS - 1);
}

/* What the allocator under this test gives must be what the rule says. */
static void glibc_takes_what_the_rule_says(void **state)
{
	const struct size_classes classes = { .heap = SIZE_RULE_GLIBC, .python = SIZE_RULE_GLIBC, .page_size = 4096 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip();
#endif
	static char *blocks[6000];
	unsigned larger = 0;

	for (unsigned i = 0; i < 6000; i++) {
		const uint64_t size = i < 4000 ? i : draw(1 << (10 + draw(14)));
		blocks[i] = malloc(size);
		const uint64_t given = size_class_given(&classes, false, size, (uint64_t)(uintptr_t)blocks[i]);
		const bool mapped = given >= 128 * 1024 && given % 4096 == 0;
		/* Its header is not usable: one word, and two where it is a mapping of its own. */
		const uint64_t really = malloc_usable_size(blocks[i]) + (mapped ? 16 : 8);

		/* A free chunk of which less than a chunk would be left is given whole. */
		assert_in_range(really, given, given + 16);
		larger += really > given;
	}
	for (unsigned i = 0; i < 6000; i++)
		free(blocks[i]);
	assert_true(larger < 60);
}

static void size_classes_are_those_that_allocators_document(void **state)
{
	const struct size_classes py = { .heap = SIZE_RULE_GLIBC, .python = SIZE_RULE_PYMALLOC, .page_size = 4096 };
	const struct size_classes debug = { .heap = SIZE_RULE_GLIBC, .python = SIZE_RULE_PYMALLOC, .python_extra = 24,
		.page_size = 4096 };
	const struct size_classes je = { .heap = SIZE_RULE_QUARTERS, .python = SIZE_RULE_QUARTERS, .page_size = 4096 };
	const struct size_classes none = { .page_size = 4096 };
	static const uint64_t quarters[] = { 8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
		640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288,
		14336, 16384, 20480 };
	unsigned class = 0;

	assert_int_equal(size_class_given(&py, true, 0, 0), 16);
	assert_int_equal(size_class_given(&py, true, 33, 0), 48);
	assert_int_equal(size_class_given(&py, true, 512, 0), 512);
	assert_int_equal(size_class_given(&py, true, 513, 0), 528);
	assert_int_equal(size_class_given(&py, false, 33, 0), 48);
	assert_int_equal(size_class_given(&debug, true, 33, 0), 64);
	assert_int_equal(size_class_given(&none, false, 33, 0), 0);
	assert_true(size_class_in_pool(&py, true, 512));
	assert_false(size_class_in_pool(&py, true, 513));
	assert_false(size_class_in_pool(&py, false, 100));
	assert_false(size_class_in_pool(&debug, true, 500));
	/* jemalloc's own list of classes. */
	for (uint64_t size = 1; size <= 20480; size++) {
		while (quarters[class] < size)
			class++;
		assert_int_equal(size_class_given(&je, false, size, 0), quarters[class]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(glibc_takes_what_the_rule_says),
		cmocka_unit_test(random_programs_are_analysed_as_slow_loops_say),
		cmocka_unit_test(lifetimes_fall_into_half_decades),
		cmocka_unit_test(size_classes_are_those_that_allocators_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
