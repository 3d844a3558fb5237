/* SPDX-License-Identifier: MIT */
/*
 * Replay against a model: random programs of several threads are written as a capture, read, merged and replayed;
 * a naive model that looks at every block, every page and every site at every event must agree on all numbers.
 */
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
#include "reader/replay.h"
#include "reader/replay_cost.h"
#include "draw.h"

enum { THREADS = 6, STREAMS = 4, BLOCKS_MAX = 4096, SITES_MAX = 4096, PAGES = 256, MAPS_MAX = 65536 };
#define MAP_BASE 0x7f0000000000u

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)draw_below(&random_state, below);
}

struct model_site {
	uint32_t stack, thread;
	unsigned code;
	uint64_t total_bytes, total_count, live_bytes, live_count, peak_bytes, peak_count, temporary_bytes, temporary_count;
};

struct model_block { uint64_t address, size; uint32_t site, sequence; };
struct model_map { uint32_t site, sequence; uint64_t left, length; };

struct model_thread {
	uint32_t sequence;
	bool moving, known, temporary;
	unsigned move_kind;
	struct model_block moved;
	uint64_t unmap_page, unmap_pages;     /* of its last event, when that was UNMAP */
	bool unmapping;
	uint32_t unmapped[PAGES];             /* map + 1 by page */
	uint32_t unmapped_any;
};

struct model {
	struct model_site sites[SITES_MAX]; uint32_t site_count;
	struct model_block blocks[BLOCKS_MAX]; uint32_t block_count;
	struct model_map maps[MAPS_MAX]; uint32_t map_count;
	uint32_t pages[PAGES];                /* map + 1; 0: not mapped */
	struct model_thread threads[THREADS];
	uint64_t live, peak, peak_time, now, frees, unknown_frees, contradictions, events;
	uint64_t gaps, forgotten_bytes, forgotten_count;
	bool stopped;
	uint32_t limit;
};

static struct model model;

static bool counted(unsigned code)
{
	return code >= 32 || code == SITE_CODE_MAPPED || code == SITE_CODE_ARENA_COUNTED;
}

static uint32_t model_site(uint32_t stack, uint32_t thread, unsigned code)
{
	for (uint32_t i = 0; i < model.site_count; i++) {
		if (model.sites[i].stack == stack && model.sites[i].thread == thread && model.sites[i].code == code)
			return i;
	}
	assert_true(model.site_count < SITES_MAX);
	model.sites[model.site_count] = (struct model_site){ .stack = stack, .thread = thread, .code = code };
	return model.site_count++;
}

static void model_gain(uint32_t site, uint64_t bytes, unsigned count)
{
	model.sites[site].live_bytes += bytes;
	model.sites[site].live_count += count;
	if (!counted(model.sites[site].code))
		return;
	model.live += bytes;
	if (model.live > model.peak) {
		model.peak = model.live;
		model.peak_time = model.now;
		for (uint32_t i = 0; i < model.site_count; i++) {
			model.sites[i].peak_bytes = model.sites[i].live_bytes;
			model.sites[i].peak_count = model.sites[i].live_count;
		}
	}
}

static void model_lose(uint32_t site, uint64_t bytes, unsigned count)
{
	model.sites[site].live_bytes -= bytes;
	model.sites[site].live_count -= count;
	if (counted(model.sites[site].code))
		model.live -= bytes;
}

static bool model_temporary(uint32_t thread, uint32_t site, uint32_t sequence)
{
	return model.sites[site].thread == thread && model.threads[thread].sequence - sequence <= model.limit;
}

static void model_enter(const struct model_block *block)
{
	for (uint32_t i = 0; i < model.block_count; i++) {
		if (model.blocks[i].address == block->address) {
			model.contradictions++;
			model_lose(model.blocks[i].site, model.blocks[i].size, 1);
			model.blocks[i] = *block;
			return;
		}
	}
	model.blocks[model.block_count++] = *block;
}

static void model_alloc(uint32_t thread, unsigned kind, uint64_t address, uint64_t size, uint32_t stack)
{
	struct model_block block = { address, size, model_site(stack, thread, kind), ++model.threads[thread].sequence };

	model_enter(&block);
	model.sites[block.site].total_bytes += size;
	model.sites[block.site].total_count++;
	model_gain(block.site, size, 1);
}

/* Ends a block; false when there is none. */
static bool model_end(uint32_t thread, uint64_t address, struct model_block *block, bool *temporary)
{
	for (uint32_t i = 0; i < model.block_count; i++) {
		if (model.blocks[i].address != address)
			continue;
		*block = model.blocks[i];
		model.blocks[i] = model.blocks[--model.block_count];
		model.frees++;
		model_lose(block->site, block->size, 1);
		*temporary = model_temporary(thread, block->site, block->sequence);
		model.sites[block->site].temporary_bytes += *temporary ? block->size : 0;
		model.sites[block->site].temporary_count += *temporary;
		return true;
	}
	model.unknown_frees++;
	return false;
}

static void model_back(uint32_t thread, uint64_t size)
{
	struct model_thread *own = &model.threads[thread];
	struct model_block block = own->moved;

	model.frees--;
	model.sites[block.site].temporary_bytes -= own->temporary ? block.size : 0;
	model.sites[block.site].temporary_count -= own->temporary;
	block.size = size;
	model_enter(&block);
	model_gain(block.site, size, 1);
}

/* Takes a page away from its mapping. */
static void model_take_page(uint32_t thread, uint32_t page)
{
	struct model_map *map = &model.maps[model.pages[page] - 1];

	map->left -= 4096;
	model_lose(map->site, 4096, map->left == 0);
	if (map->left == 0) {
		bool temporary = model_temporary(thread, map->site, map->sequence);

		model.frees++;
		model.sites[map->site].temporary_bytes += temporary ? map->length : 0;
		model.sites[map->site].temporary_count += temporary;
	}
	model.pages[page] = 0;
}

static void model_give_page_back(uint32_t thread, uint32_t page)
{
	struct model_map *map = &model.maps[model.threads[thread].unmapped[page] - 1];
	const bool over = map->left == 0;

	if (model.pages[page])
		model_take_page(thread, page);
	if (over) {
		bool temporary = model_temporary(thread, map->site, map->sequence);

		model.frees--;
		model.sites[map->site].temporary_bytes -= temporary ? map->length : 0;
		model.sites[map->site].temporary_count -= temporary;
	}
	model.pages[page] = model.threads[thread].unmapped[page];
	map->left += 4096;
	model_gain(map->site, 4096, over);
}

static void model_new_map(uint32_t thread, uint32_t page, uint32_t count, unsigned code, uint32_t stack)
{
	uint32_t site;

	for (uint32_t i = page; i < page + count; i++) {
		if (model.pages[i])
			model_take_page(thread, i);
	}
	site = model_site(stack, thread, code);
	assert_true(model.map_count < MAPS_MAX);
	model.maps[model.map_count++] = (struct model_map){ site, ++model.threads[thread].sequence, count * 4096ul,
		count * 4096ul };
	for (uint32_t i = page; i < page + count; i++)
		model.pages[i] = model.map_count;
	model.sites[site].total_bytes += count * 4096ul;
	model.sites[site].total_count++;
	model_gain(site, count * 4096ul, 1);
}

static void model_unmap(uint32_t thread, uint32_t page, uint32_t count)
{
	struct model_thread *own = &model.threads[thread];

	own->unmapping = true;
	own->unmap_page = page;
	own->unmap_pages = count;
	own->unmapped_any = 0;
	memset(own->unmapped, 0, sizeof(own->unmapped));
	for (uint32_t i = page; i < page + count; i++) {
		if (!model.pages[i])
			continue;
		own->unmapped[i] = model.pages[i];
		own->unmapped_any = own->unmapped_any ? own->unmapped_any : model.pages[i];
		model_take_page(thread, i);
	}
	model.unknown_frees += own->unmapped_any == 0;
}

static const uint32_t flag_sets[] = { 0, CAPTURE_MAP_RESERVE, CAPTURE_MAP_NORESERVE, CAPTURE_MAP_FILE,
	CAPTURE_MAP_ARENA, CAPTURE_MAP_BREAK, CAPTURE_MAP_STACK };
static const unsigned flag_codes[] = { SITE_CODE_MAPPED, SITE_CODE_RESERVED, SITE_CODE_RESERVED, SITE_CODE_FILE,
	SITE_CODE_ARENA_COUNTED, SITE_CODE_MAPPED, SITE_CODE_MAPPED };

/* mmap, munmap (whole, partial, failing), mremap (growing, shrinking, moving). */
static void step_map(struct writer_stream *stream, uint32_t thread)
{
	const uint32_t count = 1 + draw(16), page = draw(PAGES - 2 * count), stack = 1 + draw(20);
	const uint64_t address = MAP_BASE + page * 4096ul;
	struct model_thread *own = &model.threads[thread];

	if (own->unmapping && draw(3) == 0) {
		const uint64_t start = MAP_BASE + own->unmap_page * 4096;

		own->unmapping = false;
		if (draw(2)) {
			put_unmap(stream, CAPTURE_UNMAP_FAILED, start, own->unmap_pages * 4096 - draw(4095));
			model.unknown_frees -= own->unmapped_any == 0;
			for (uint32_t i = 0; i < PAGES; i++) {
				if (own->unmapped[i])
					model_give_page_back(thread, i);
			}
			return;
		}
		const uint32_t which = draw(7), moved_page = draw(2) ? (uint32_t)own->unmap_page : page;
		const uint64_t moved_count = moved_page == own->unmap_page ? 1 + draw(2 * (uint32_t)own->unmap_pages) : count;

		put_map(stream, MAP_BASE + moved_page * 4096ul, moved_count * 4096, flag_sets[which] | CAPTURE_MAP_MOVED, stack);
		if (moved_page == own->unmap_page && moved_count <= own->unmap_pages) {
			for (uint32_t i = moved_page; i < moved_page + moved_count; i++) {
				if (own->unmapped[i])
					model_give_page_back(thread, i);
			}
			return;
		}
		model_new_map(thread, moved_page, (uint32_t)moved_count, own->unmapped_any ?
			model.sites[model.maps[own->unmapped_any - 1].site].code : flag_codes[which], stack);
		return;
	}
	own->unmapping = false;
	if (draw(2)) {
		const uint32_t which = draw(7);

		put_map(stream, address, count * 4096ul - draw(4095), flag_sets[which], stack);
		model_new_map(thread, page, count, flag_codes[which], stack);
	} else {
		put_unmap(stream, CAPTURE_UNMAP, address, count * 4096ul);
		model_unmap(thread, page, count);
	}
}

static uint64_t some_address(bool live)
{
	if (live && model.block_count)
		return model.blocks[draw(model.block_count)].address;
	return 0x1000 + draw(4000) * 16ul + (draw(50) == 0);
}

static const unsigned realloc_kinds[] = { CAPTURE_REALLOC, CAPTURE_PYMEM_REALLOC, CAPTURE_PYOBJECT_REALLOC };

/* The second half of a realloc, or its absence. */
static void step_complete(struct writer_stream *stream, uint32_t thread)
{
	struct model_thread *own = &model.threads[thread];
	const uint32_t what = draw(10), stack = 1 + draw(20);
	uint64_t size = draw(3) ? draw(5000) : own->moved.size;
	uint64_t address = draw(2) ? own->moved.address : some_address(false);

	own->moving = false;
	if (what == 0) {
		put_free(stream, CAPTURE_STAY, own->moved.address);
		if (own->known)
			model_back(thread, own->moved.size);
		else
			model.unknown_frees--;
		return;
	}
	put_alloc(stream, own->move_kind, address, size, stack);
	if (own->known && address == own->moved.address && size <= own->moved.size)
		model_back(thread, size);
	else
		model_alloc(thread, own->move_kind, address, size, stack);
}

static void step_block(struct writer_stream *stream, uint32_t thread)
{
	struct model_thread *own = &model.threads[thread];
	const uint32_t what = draw(100), stack = draw(21);
	struct model_block block;
	bool temporary;

	own->unmapping = false;
	if (own->moving) {
		step_complete(stream, thread);
	} else if (what < 50 && model.block_count < BLOCKS_MAX - 8) {
		const unsigned kind = 32 + draw(14);
		const uint64_t size = draw(100) == 0 ? (uint64_t)draw(100) << 32 | draw(1000) : draw(5000);
		const uint64_t address = some_address(draw(40) == 0);

		put_alloc(stream, kind, address, size, stack);
		model_alloc(thread, kind, address, size, stack);
	} else if (what < 80) {
		const uint64_t address = some_address(draw(20) != 0);

		put_free(stream, draw(2) ? CAPTURE_FREE : CAPTURE_FREE_PYTHON, address);
		model_end(thread, address, &block, &temporary);
	} else {
		own->moved = (struct model_block){ .address = some_address(draw(20) != 0) };
		own->move_kind = realloc_kinds[draw(3)];
		own->moving = true;
		put_free(stream, own->move_kind == CAPTURE_REALLOC ? CAPTURE_MOVE : CAPTURE_MOVE_PYTHON, own->moved.address);
		own->known = model_end(thread, own->moved.address, &block, &temporary);
		if (own->known) {
			own->moved = block;
			own->temporary = temporary;
		}
	}
}

/* Recording stops, or begins again: then nothing that lived is live any more, and none of it was freed. */
static void step_recording(struct writer_stream *stream)
{
	const struct capture_recording recording = { .on = draw(2), .by = draw(2) };

	put_metadata(stream, CAPTURE_RECORDING, &recording, sizeof(recording));
	model.stopped = !recording.on;
	if (!recording.on)
		return;
	model.gaps++;
	for (; model.block_count > 0; model.block_count--) {
		const struct model_block *block = &model.blocks[model.block_count - 1];

		model_lose(block->site, block->size, 1);
		model.forgotten_bytes += counted(model.sites[block->site].code) ? block->size : 0;
		model.forgotten_count += counted(model.sites[block->site].code);
	}
	for (uint32_t page = 0; page < PAGES; page++) {
		struct model_map *map = model.pages[page] ? &model.maps[model.pages[page] - 1] : NULL;

		if (!map)
			continue;
		map->left -= 4096;
		model_lose(map->site, 4096, map->left == 0);
		model.forgotten_bytes += counted(model.sites[map->site].code) ? 4096 : 0;
		model.forgotten_count += counted(model.sites[map->site].code) && map->left == 0;
		model.pages[page] = 0;
	}
	for (uint32_t i = 0; i < THREADS; i++)
		model.threads[i].moving = model.threads[i].unmapping = false;
}

static void write_random_program(struct writer *writer, uint32_t steps, size_t window)
{
	struct writer_stream *streams[STREAMS];
	uint32_t thread_of[STREAMS];
	uint64_t stamp = 1;

	writer_init(writer);
	writer_start(writer);
	for (uint32_t i = 0; i < STREAMS; i++) {
		streams[i] = writer_stream(writer, 7 * i + 3, window);
		streams[i]->thread = streams[i]->carry.first_thread = thread_of[i] = i;
	}
	for (uint32_t i = 1; i <= 20; i++)
		put_node(streams[i % STREAMS], i, i / 2, CAPTURE_NATIVE_FRAME(0x400000 + i, 0));
	for (uint32_t i = 0; i < steps; i++) {
		const uint32_t s = draw(STREAMS);

		put_room(streams[s], 8);
		/* Several events may share a stamp as long as they are of one stream. */
		stamp += 1 + draw(3);
		if (streams[s]->stamp != stamp && (draw(4) || streams[s]->stamp < stamp))
			put_stamp(streams[s], stamp);
		/* Two threads use the stream in turn; a realloc is not torn apart. */
		if (draw(20) == 0 && !model.threads[thread_of[s]].moving && s < 2) {
			thread_of[s] = thread_of[s] < STREAMS ? STREAMS + s : s;
			put_thread(streams[s], thread_of[s]);
		}
		if (draw(30) == 0) {
			put_time(streams[s], model.now + 1000);
			model.now += 1000;
		}
		if (draw(400) == 0) {
			step_recording(streams[s]);
			continue;
		}
		model.events++;
		if (draw(5) == 0 && !model.threads[thread_of[s]].moving)
			step_map(streams[s], thread_of[s]);
		else
			step_block(streams[s], thread_of[s]);
		if (draw(500) == 0)
			writer_gap(writer, NULL, 8 * draw(200));
	}
}

static struct replay replay;

static void replay_file(const char *path, uint32_t limit, unsigned decoders)
{
	const struct replay_options options = { .at_ns = UINT64_MAX, .to_ns = UINT64_MAX, .temporary_limit = limit,
		.timeline_points = 50 };
	struct error error = { 0 };
	struct capture *capture;
	struct decode_crew *crew;
	struct merge *merge;

	if (!capture_open(&capture, path, &error))
		assert_string_equal(error.text, "");
	assert_true(decode_crew_new(&crew, decoders, &error));
	assert_true(replay_init(&replay, 1, &options, &error));
	assert_true(merge_open(&merge, capture, crew, &error));
	assert_true(replay_add_process(&replay, 0, capture, 0, merge_stream_count(merge), &error));
	for (;;) {
		const struct decoded_event *events;
		size_t count, ahead, done;
		uint32_t stream;

		assert_true(merge_run(merge, &events, &count, &ahead, &stream, &error));
		if (count == 0)
			break;
		assert_true(replay_run(&replay, 0, stream, events, count, ahead, UINT64_MAX, &done, &error));
		assert_int_equal(done, count);
		merge_consume(merge, done);
	}
	assert_true(replay_end(&replay, model.now, &error));
	assert_string_equal(capture->damage.first, "");
	merge_close(merge);
	decode_crew_free(crew);
	capture_close(capture);
}

static void compare_with_model(void)
{
	assert_int_equal(replay.processes[0].events, model.events);
	assert_int_equal(replay.counted_bytes, model.live);
	assert_int_equal(replay.peak_bytes, model.peak);
	assert_int_equal(replay.peak_time_ns, model.peak_time);
	assert_int_equal(replay.free_count, model.frees);
	assert_int_equal(replay.processes[0].gap_count, model.gaps + model.stopped);
	assert_int_equal(replay.processes[0].gap_open, model.stopped);
	assert_int_equal(replay.processes[0].forgotten_bytes, model.forgotten_bytes);
	assert_int_equal(replay.processes[0].forgotten_count, model.forgotten_count);
	assert_int_equal(replay.processes[0].unknown_frees, model.unknown_frees);
	assert_int_equal(replay.processes[0].contradictions, model.contradictions);
	assert_int_equal(replay.processes[0].live.count, model.block_count);
	assert_int_equal(replay.site_count - 1, model.site_count);
	for (size_t i = 1; i < replay.site_count; i++) {
		const struct replay_site *site = &replay.sites[i];
		const struct replay_site_extra *extra = &replay.extras[i];
		const struct model_site *expected = &model.sites[model_site(site_stack(site->key),
			replay.threads[site_thread(site->key)].index, site_code(site->key))];

		assert_int_equal(site->total_bytes, expected->total_bytes);
		assert_int_equal(site->total_count, expected->total_count);
		assert_int_equal(site->live_bytes, expected->live_bytes);
		assert_int_equal(site->live_count, expected->live_count);
		assert_int_equal(site->peak_bytes, expected->peak_bytes);
		assert_int_equal(site->peak_count, expected->peak_count);
		assert_int_equal(extra->temporary_bytes, expected->temporary_bytes);
		assert_int_equal(extra->temporary_count, expected->temporary_count);
		assert_int_equal(extra->at_bytes, expected->live_bytes);
	}
	assert_int_equal(replay.site_count - 1, model.site_count);
}

static void random_programs_replay_as_the_model_says(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/sctmem-test-replay-%d.bin", (int)getpid());
	for (uint32_t seed = 1; seed <= 24; seed++) {
		struct writer writer;

		random_state = seed * 0x9e3779b97f4a7c15u;
		memset(&model, 0, sizeof(model));
		model.limit = seed % 4;
		write_random_program(&writer, seed % 3 == 0 ? 20000 : 1500, seed % 2 ? 64 : 1024);
		writer_save(&writer, path);
		writer_free(&writer);
		replay_file(path, model.limit, seed % 3);
		compare_with_model();
		replay_finish(&replay);
	}
	unlink(path);
}

/* 20,000 munmaps of every second page of one mapping, and back again: n log n. */
static void many_partial_unmaps_are_not_quadratic(void **state)
{
	enum { COUNT = 20000 };
	char path[64];
	struct writer writer;
	struct writer_stream *stream;

	snprintf(path, sizeof(path), "/tmp/sctmem-test-unmap-%d.bin", (int)getpid());
	memset(&model, 0, sizeof(model));
	writer_init(&writer);
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 4096);
	put_map(stream, MAP_BASE, 2 * COUNT * 4096ul, 0, 0);
	for (uint64_t i = 0; i < COUNT; i++)
		put_unmap(stream, CAPTURE_UNMAP, MAP_BASE + ((i * 7919) % COUNT) * 8192, 4096);
	writer_save(&writer, path);
	writer_free(&writer);
	replay_file(path, 1, 0);
	assert_int_equal(replay.counted_bytes, COUNT * 4096ul);
	assert_int_equal(replay.peak_bytes, 2 * COUNT * 4096ul);
	assert_int_equal(replay.sites[1].live_count, 1);
	assert_int_equal(replay.free_count, 0);
	replay_finish(&replay);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_programs_replay_as_the_model_says),
		cmocka_unit_test(many_partial_unmaps_are_not_quadratic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
