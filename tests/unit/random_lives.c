/* SPDX-License-Identifier: MIT */
/*
 * See random_lives.h.  Addresses are few, so that they come again.  A realloc may fail, shrink or grow in place, or
 * move; before it has moved, another thread may have the old place.
 */
#include "random_lives.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture_writer.h"
#include "draw.h"
#include "formats/pages.h"

enum { STACKS = 9, UNIT = 256, REGION_UNITS = 8192, ARENA_UNITS = 1024, LARGES = 64, MAPPINGS = 32 };
#define HEAP_BASE 0x100000000ul
#define MAPPING_BASE 0x400000000ul

struct life lives[LIVES_MAX];
unsigned life_count;
uint64_t step_ns[STEPS + 1];
struct life_sample samples[SAMPLES_MAX];
unsigned sample_count;
struct life_pages page_samples[PAGE_SAMPLES_MAX];
unsigned page_sample_count;
static uint64_t random_state;

unsigned lives_draw(unsigned below)
{
	return (unsigned)draw_below(&random_state, below);
}

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
		unsigned slot = lives_draw(LARGES);

		return large_slots[slot] || size > 4 * MIB - 4096 ? 0 : LARGE_BASE + slot * 4 * MIB + 16;
	}
	/* Few places, so that addresses come again. */
	for (unsigned tries = 0; tries < 20; tries++) {
		unsigned first = lives_draw(count - needed), free = 0;

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
		return favourites[lives_draw(6)];
	if (lives_draw(30) == 0)
		return 100000 + lives_draw(3 * MIB);
	return lives_draw(lives_draw(2) ? 400 : 6000);
}

static struct life *new_life(unsigned thread, unsigned stack, unsigned code, uint64_t address, uint64_t size,
	unsigned step)
{
	struct life *life = &lives[life_count++];

	if (life_count > LIVES_MAX)
		abort();
	*life = (struct life){ .thread = thread, .stack = stack, .code = code, .address = address, .born = step,
		.ended = STEPS, .ended_by = NOBODY, .before = -1, .after = -1, .size_count = 1 };
	life->sizes[0].step = step;
	life->sizes[0].size = size;
	return life;
}

uint64_t life_last_size(const struct life *life)
{
	return life->sizes[life->size_count - 1].size;
}

static void allocate(unsigned thread, unsigned step)
{
	static const unsigned codes[] = { CAPTURE_MALLOC, CAPTURE_CALLOC, CAPTURE_PYMEM_MALLOC, CAPTURE_PYOBJECT_MALLOC };
	const unsigned stack = lives_draw(STACKS), code = codes[stack % 4];
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
		const unsigned i = lives_draw(2) ? life_count - 1 - lives_draw(life_count < 8 ? life_count : 8) :
			lives_draw(life_count);
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
	if (lives[which].thread != thread && lives_draw(3))
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
	gives_up[thread] = lives_draw(2);
	if (gives_up[thread])
		mark_units(lives[which].address, lives[which].sizes[0].size, 0);
}

/* Where the block goes: elsewhere, or it grows where it is; 0: nowhere. */
static uint64_t find_new_place(struct life *life, uint64_t size, bool python, bool kept)
{
	const uint64_t first_size = life->sizes[0].size;
	unsigned first = 0, free = 0;
	uint8_t *units;

	if (!kept || lives_draw(2) || (size >= 100000) != (first_size >= 100000) || (python && size <= 512) !=
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
	/* One that came back to its old place and did not grow would be one that has stayed. */
	const uint64_t size = lives_draw(4) || gives_up[thread] ?
		before + 1 + lives_draw(before < 5000 ? (unsigned)before + 1 : 100000) : before / 2;
	const uint64_t place = find_new_place(life, size, python, !gives_up[thread]);
	const int which = moving[thread];

	if (!place && gives_up[thread])
		return;
	moving[thread] = -1;
	if (!gives_up[thread] && (lives_draw(5) == 0 || !place || place == life->address * (size <= before))) {
		/* It fails, or shrinks in place. */
		const bool fails = lives_draw(2);

		life->sizes[life->size_count].step = step;
		life->sizes[life->size_count++].size = fails ? before : before / 2;
		if (fails)
			put_free(streams[thread], CAPTURE_STAY, life->address);
		else
			put_alloc(streams[thread], code, life->address, before / 2, lives_draw(STACKS) + 1);
		return;
	}
	/* The size that it had when it was given up is the one of its end. */
	life->size_count--;
	end_life(life, thread, life->sizes[life->size_count].step);
	if (!gives_up[thread])
		mark_units(life->address, life->sizes[0].size, 0);
	mark_units(place, size, 1);
	life->after = (int)life_count;
	new_life(thread, lives_draw(STACKS), code, place, size, step)->before = which;
	put_alloc(streams[thread], code, place, size, lives[life_count - 1].stack + 1);
}

static void map_or_unmap(unsigned thread, unsigned step)
{
	const unsigned slot = lives_draw(MAPPINGS);
	const int which = pick_life(true);
	const uint64_t address = MAPPING_BASE + slot * 16 * MIB;

	if (!mapping_slots[slot]) {
		const uint64_t length = (1 + lives_draw(100)) * 4096ul;

		mapping_slots[slot] = 1;
		new_life(thread, lives_draw(STACKS), CAPTURE_MAP, address, length, step);
		put_map(streams[thread], address, length, 0, lives[life_count - 1].stack + 1);
	} else if (which >= 0) {
		struct life *life = &lives[which];
		const uint64_t size = life_last_size(life);

		if (size > 8192 && lives_draw(2) && life->size_count < CHANGES_MAX) {
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

uint64_t life_size_at(const struct life *life, unsigned step)
{
	uint64_t size = UINT64_MAX;

	if (step < life->born || step >= life->ended)
		return UINT64_MAX;
	for (unsigned i = 0; i < life->size_count && life->sizes[i].step <= step; i++)
		size = life->sizes[i].size;
	return size;
}

uint64_t lives_counted_at(unsigned step)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < life_count; i++)
		sum += lives[i].code == ARENA || life_size_at(&lives[i], step) == UINT64_MAX ? 0 : life_size_at(&lives[i], step);
	return sum;
}

static void sample(unsigned thread, unsigned step)
{
	const uint64_t anonymous = lives_draw(2) ? lives_counted_at(step) / 2 : lives_draw(40 * MIB);

	samples[sample_count].step = step;
	samples[sample_count].counted = lives_counted_at(step);
	samples[sample_count++].anonymous = anonymous;
	put_sample(streams[thread], anonymous + 4096, anonymous, 0);
}

static void add_range(struct life_pages *sample, unsigned kind, uint64_t start, unsigned count)
{
	struct life_page_range *range = &sample->ranges[sample->range_count++];
	const unsigned mean = 1 + lives_draw(40), states = kind == PAGES_SHARED ? LIFE_SWAPPED : LIFE_STATES;

	if (sample->range_count > PAGE_RANGES_MAX || count > RANGE_PAGES_MAX)
		abort();
	range->first = start / 4096;
	range->kind = kind;
	range->count = count;
	for (unsigned i = 0; i < count; i++)
		range->states[i] = (uint8_t)(i == 0 || lives_draw(mean) == 0 ? lives_draw(states) : range->states[i - 1]);
}

/* Some memory of each kind is looked at, some is not. */
static void look_at_pages(struct life_pages *sample)
{
	add_range(sample, PAGES_STACK, EXTRA_BASE - 64 * MIB, 20);
	for (unsigned i = 0; i < REGION_UNITS * UNIT / 4096; i += 64)
		if (lives_draw(8))
			add_range(sample, lives_draw(2) ? PAGES_BREAK : PAGES_ANONYMOUS, HEAP_BASE + i * 4096ul, 64);
	for (unsigned i = 0; i < ARENAS; i++)
		add_range(sample, PAGES_ANONYMOUS, ARENA_BASE + i * 256 * 1024ul, 64);
	for (unsigned i = 0; i < LARGES; i++)
		if (large_slots[i] && lives_draw(4))
			add_range(sample, PAGES_ANONYMOUS, LARGE_BASE + i * 4 * MIB, 1024);
	for (unsigned i = 0; i < MAPPINGS && sample->range_count < PAGE_RANGES_MAX - 3; i++)
		if (mapping_slots[i] && lives_draw(4))
			add_range(sample, lives_draw(3) ? PAGES_ANONYMOUS : PAGES_SHARED, MAPPING_BASE + i * 16 * MIB,
				1 + lives_draw(110));
	add_range(sample, PAGES_ANONYMOUS, EXTRA_BASE, EXTRA_PAGES);
	add_range(sample, PAGES_SHARED, EXTRA_BASE + EXTRA_PAGES * 4096, 50);
	add_range(sample, PAGES_FILE, EXTRA_BASE + 64 * MIB, 30);
	add_range(sample, PAGES_ZEROED, EXTRA_BASE + 64 * MIB + 30 * 4096, 40);
}

static void put_part(struct writer_stream *stream, struct capture_pages *head, uint8_t *payload, uint8_t **at)
{
	memcpy(payload, head, sizeof(*head));
	put_metadata(stream, CAPTURE_PAGES, payload, (size_t)(*at - payload));
	head->part++;
	*at = payload + sizeof(*head);
}

static uint8_t *put_swapped(uint8_t *at, const struct life_page_range *range, uint64_t *end)
{
	uint8_t swapped[RANGE_PAGES_MAX];
	unsigned any = 0;

	for (unsigned i = 0; i < range->count; i++)
		any |= swapped[i] = range->states[i] == LIFE_SWAPPED;
	return any ? pages_put_range(at, PAGES_SWAPPED, range->first, end, swapped, range->count) : at;
}

/* In as many parts as it takes, in an order that is not that of the addresses. */
static void put_pages(struct writer_stream *stream, unsigned step)
{
	static uint8_t payload[sizeof(struct capture_pages) + 3 * PAGES_RANGE_BYTES_MAX(RANGE_PAGES_MAX)];
	struct life_pages *sample = &page_samples[page_sample_count];
	struct capture_pages head = { .number = page_sample_count++ };
	uint8_t *at = payload + sizeof(head);
	uint64_t end = 0;

	*sample = (struct life_pages){ .step = step, .swap_told = lives_draw(2) };
	look_at_pages(sample);
	at = pages_put_owner(at, PAGES_THREAD_STACK, EXTRA_BASE / 4096 + EXTRA_STACK, &end, EXTRA_STACK_END - EXTRA_STACK);
	at = pages_put_owner(at, PAGES_OWN, EXTRA_BASE / 4096 + EXTRA_OWN, &end, EXTRA_OWN_END - EXTRA_OWN);
	for (unsigned i = 0; i < sample->range_count; i++) {
		const struct life_page_range *range = &sample->ranges[(i * 5 + 3) % sample->range_count];

		/* 5 must not divide how many there are. */
		if (sample->range_count % 5 == 0)
			range = &sample->ranges[i];
		at = pages_put_range(at, range->kind, range->first, &end, range->states, range->count);
		at = put_swapped(at, range, &end);
		if (at - payload > 900) {
			put_part(stream, &head, payload, &at);
			end = 0;
		}
	}
	head.flags = PAGES_LAST | (sample->swap_told ? PAGES_SWAP_TOLD : 0);
	put_part(stream, &head, payload, &at);
}

static void act(unsigned thread, unsigned step)
{
	if (moving[thread] >= 0 && lives_draw(3))
		finish_move(thread, step);
	else if (sample_count < SAMPLES_MAX && lives_draw(25) == 0)
		sample(thread, step);
	else if (lives_draw(20) == 0)
		map_or_unmap(thread, step);
	else if (moving[thread] < 0 && lives_draw(6) == 0)
		begin_move(thread, step);
	else if (lives_draw(100) < 52)
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
	put_module(streams[0], EXTRA_BASE + EXTRA_MODULE * 4096ul + 100, EXTRA_BASE + EXTRA_MODULE_END * 4096ul - 100, 0, 0, 0,
		"/usr/lib/libother.so");
	put_module(streams[0], EXTRA_BASE + EXTRA_RECORDER * 4096ul, EXTRA_BASE + EXTRA_RECORDER_END * 4096ul, 0, 0,
		CAPTURE_MODULE_RECORDER, "/usr/lib/libsctmem.so");
	put_stamp(streams[0], 1);
	for (unsigned i = 0; i < ARENAS; i++) {
		new_life(0, 0, ARENA, ARENA_BASE + i * 256 * 1024ul, 256 * 1024, 0);
		put_map(streams[0], ARENA_BASE + i * 256 * 1024ul, 256 * 1024, CAPTURE_MAP_ARENA, 1);
	}
}

void lives_write(const char *path, uint64_t seed)
{
	struct writer writer;
	uint64_t now_ns = 0;

	random_state = seed * 0x9e3779b97f4a7c15u;
	life_count = sample_count = page_sample_count = 0;
	memset(heap_units, 0, sizeof(heap_units));
	memset(arena_units, 0, sizeof(arena_units));
	memset(large_slots, 0, sizeof(large_slots));
	memset(mapping_slots, 0, sizeof(mapping_slots));
	begin_program(&writer);
	/* Late, so that who knows the allocator only from here on gets the first blocks wrong. */
	for (unsigned step = 1; step < STEPS - THREADS; step++) {
		const unsigned thread = lives_draw(THREADS);

		if (lives_draw(10) == 0)
			now_ns += lives_draw(4) ? lives_draw(3000) : lives_draw(seed % 2 ? 400000000 : 3000000);
		step_ns[step] = now_ns;
		put_stamp(streams[thread], step + 2);
		put_time(streams[thread], now_ns);
		if (step == STEPS / 2)
			put_python(streams[thread], 0x030900f0, 8, "/usr/bin/python3.9", "pymalloc");
		if (step % (STEPS / PAGE_SAMPLES_MAX) == STEPS / PAGE_SAMPLES_MAX / 2 + seed % 100)
			put_pages(streams[thread], step);
		else
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
	/* A realloc that found no place: what was given up is a free. */
	for (unsigned thread = 0; thread < THREADS; thread++) {
		struct life *life = moving[thread] < 0 ? NULL : &lives[moving[thread]];

		if (life)
			end_life(life, thread, life->sizes[--life->size_count].step);
	}
	writer_finish(&writer);
	writer_save(&writer, path);
	writer_free(&writer);
}
