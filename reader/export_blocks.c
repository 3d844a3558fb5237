/* SPDX-License-Identifier: MIT */
/*
 * The table of blocks: a row for each block or mapping that was allocated.
 *
 *     born_ns, freed_ns    freed_ns is null for what was never freed
 *     bytes                as it was allocated: the sum is the total of sctmem stats
 *     live_bytes           what is left of it at the end; less than bytes where realloc or munmap shrank it
 *
 * Rows come in the order in which blocks ended, then those that did not.  Memory grows with live blocks: each has an
 * entry, found by its number through the same table that replay finds blocks with.
 */
#include "export_events.h"
#include "export_table.h"
#include "formats/events.h"
#include "live.h"
#include "memory.h"

const struct table_column block_columns[] = {
	{ "address", TABLE_NUMBER }, { "bytes", TABLE_NUMBER }, { "live_bytes", TABLE_NUMBER },
	{ "born_ns", TABLE_NUMBER }, { "freed_ns", TABLE_NUMBER }, { "stack", TABLE_NUMBER }, { "thread", TABLE_NUMBER },
	{ "domain", TABLE_TEXT }, { "allocator", TABLE_TEXT }, { NULL, TABLE_NUMBER },
};

struct entry {
	uint64_t address, bytes, live_bytes, born_ns;
	uint32_t site;
	uint32_t next_free;           /* of a free entry: the next one + 1 */
	bool used;
};

struct table_blocks {
	struct live index;            /* address: the block's number; site: its entry */
	struct entry *entries;
	size_t count, capacity, at;   /* at: rows of live blocks given out at the end */
	uint32_t free;                /* first free entry + 1 */
	struct error error;
	bool failed, ended;
};

bool blocks_begin(struct table_reader *reader, struct error *error)
{
	reader->blocks = memory_new(1, sizeof(*reader->blocks));
	if (export_events_begin(reader->export->events, error) && live_init(&reader->blocks->index, error))
		return true;
	free(reader->blocks);
	return false;
}

bool blocks_end(struct table_reader *reader, struct error *error)
{
	struct table_blocks *blocks = reader->blocks;
	const bool done = !blocks->failed;

	if (!done)
		*error = blocks->error;
	live_finish(&blocks->index);
	free(blocks->entries);
	free(blocks);
	return done;
}

static bool add_entry(struct table_blocks *blocks, const struct profile_event *event)
{
	uint32_t number = blocks->free;

	if (number) {
		blocks->free = blocks->entries[--number].next_free;
	} else {
		number = (uint32_t)blocks->count++;
		blocks->entries = memory_grow(blocks->entries, &blocks->capacity, blocks->count, sizeof(*blocks->entries));
	}
	blocks->entries[number] = (struct entry){ .address = event->address, .bytes = event->bytes,
		.live_bytes = event->bytes, .born_ns = event->time_ns, .site = event->site, .used = true };
	return live_insert(&blocks->index, &(struct live_block){ .address = event->block, .site = number }, &blocks->error);
}

static void fill_row(const struct table_reader *reader, const struct entry *entry, struct table_cell *cells)
{
	const struct export *export = reader->export;
	const struct observed_site *site = &export->profile->observed[entry->site];
	const char *allocator = events_kind_name(site->allocator);

	cells[0] = (struct table_cell){ .number = entry->address };
	cells[1] = (struct table_cell){ .number = entry->bytes };
	cells[2] = (struct table_cell){ .number = entry->live_bytes };
	cells[3] = (struct table_cell){ .number = entry->born_ns };
	cells[4] = (struct table_cell){ .null = true };
	cells[5] = (struct table_cell){ .number = export->tree->node_of[site->node] };
	cells[6] = (struct table_cell){ .number = site->thread };
	cells[7] = (struct table_cell){ .text = domain_name((enum domain)site->domain) };
	cells[8] = (struct table_cell){ .text = allocator ? allocator : "unknown" };
}

/* The row of a block that is gone, and its entry is free. */
static bool end_block(struct table_reader *reader, const struct profile_event *event, struct table_cell *cells)
{
	struct table_blocks *blocks = reader->blocks;
	const struct live_place place = live_find(&blocks->index, event->block);

	if (!place.bucket)
		return false;
	const uint32_t number = live_get(&blocks->index, place).site;
	struct entry *entry = &blocks->entries[number];
	entry->live_bytes = 0;
	fill_row(reader, entry, cells);
	cells[4] = (struct table_cell){ .number = event->time_ns };
	*entry = (struct entry){ .next_free = blocks->free };
	blocks->free = number + 1;
	live_remove(&blocks->index, place);
	return true;
}

bool blocks_next(struct table_reader *reader, struct table_cell *cells)
{
	struct table_blocks *blocks = reader->blocks;
	struct profile_event event;

	while (!blocks->ended && export_events_next(reader->export->events, reader->export->profile, &event)) {
		if (event.kind == PROFILE_BORN && !add_entry(blocks, &event)) {
			blocks->failed = true;
			return false;
		}
		if (event.kind == PROFILE_RESIZED) {
			const struct live_place place = live_find(&blocks->index, event.block);

			if (place.bucket)
				blocks->entries[live_get(&blocks->index, place).site].live_bytes = event.bytes;
		}
		if (event.kind == PROFILE_GONE && end_block(reader, &event, cells))
			return true;
	}
	blocks->ended = true;
	for (; blocks->at < blocks->count; blocks->at++) {
		if (!blocks->entries[blocks->at].used)
			continue;
		fill_row(reader, &blocks->entries[blocks->at++], cells);
		return true;
	}
	return false;
}
