/* SPDX-License-Identifier: MIT */
/*
 * See export_table.h.
 */
#include "export_table.h"

#include "formats/events.h"

#define NUMBER(value) ((struct table_cell){ .number = (value) })
#define TEXT(value) ((struct table_cell){ .text = (value) })
#define NUMBER_OR_NULL(value, known) ((struct table_cell){ .number = (value), .null = !(known) })
#define TEXT_OR_NULL(value) ((struct table_cell){ .text = (value), .null = !*(value) })

static const struct table_column site_columns[] = {
	{ "stack", TABLE_NUMBER }, { "thread", TABLE_NUMBER }, { "domain", TABLE_TEXT }, { "allocator", TABLE_TEXT },
	{ "peak_bytes", TABLE_NUMBER }, { "peak_count", TABLE_NUMBER }, { "live_bytes", TABLE_NUMBER },
	{ "live_count", TABLE_NUMBER }, { "total_bytes", TABLE_NUMBER }, { "total_count", TABLE_NUMBER },
	{ "temporary_bytes", TABLE_NUMBER }, { "temporary_count", TABLE_NUMBER }, { "function", TABLE_TEXT },
	{ "file", TABLE_TEXT }, { "line", TABLE_NUMBER }, { "module", TABLE_TEXT }, { NULL, TABLE_NUMBER },
};

static bool next_site(struct table_reader *reader, struct table_cell *cells)
{
	const struct export *export = reader->export;
	const struct profile *profile = export->profile;

	while (reader->at < profile->site_count && !profile_counts(profile, &profile->sites[reader->at]))
		reader->at++;
	if (reader->at == profile->site_count)
		return false;

	const struct site *site = &profile->sites[reader->at++];
	const struct cost *cost = &site->cost;
	const uint32_t node = export->tree->node_of[site->node];
	const uint32_t frame = (uint32_t)(calltree_location(export->tree, node) - profile->frames);
	const uint64_t numbers[] = { cost->peak_bytes, cost->peak_count, cost->live_bytes, cost->live_count,
		cost->total_bytes, cost->total_count, cost->temporary_bytes, cost->temporary_count };
	const char *allocator = events_kind_name(site->allocator);

	*cells++ = NUMBER(node);
	*cells++ = NUMBER_OR_NULL(site->thread, site->thread < profile->thread_count);
	*cells++ = TEXT(domain_name((enum domain)site->domain));
	*cells++ = TEXT(allocator ? allocator : "unknown");
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		*cells++ = NUMBER(numbers[i]);
	*cells++ = TEXT(export->frames[frame].function);
	*cells++ = TEXT_OR_NULL(export->frames[frame].file);
	*cells++ = NUMBER_OR_NULL(profile->frames[frame].line, profile->frames[frame].line);
	*cells++ = TEXT_OR_NULL(export->frames[frame].module);
	return true;
}

static const struct table_column stack_columns[] = {
	{ "id", TABLE_NUMBER }, { "parent", TABLE_NUMBER }, { "frame", TABLE_NUMBER }, { NULL, TABLE_NUMBER },
};

static bool next_stack(struct table_reader *reader, struct table_cell *cells)
{
	const struct calltree *tree = reader->export->tree;
	const size_t i = reader->at++;

	if (i >= tree->count)
		return false;
	cells[0] = NUMBER(i);
	cells[1] = NUMBER_OR_NULL(tree->nodes[i].parent, i > 0);
	cells[2] = NUMBER(tree->nodes[i].frame);
	return true;
}

static const struct table_column frame_columns[] = {
	{ "id", TABLE_NUMBER }, { "function", TABLE_TEXT }, { "file", TABLE_TEXT }, { "line", TABLE_NUMBER },
	{ "module", TABLE_TEXT }, { "kind", TABLE_TEXT }, { "interpreter", TABLE_NUMBER }, { "import", TABLE_NUMBER },
	{ "library", TABLE_NUMBER }, { "inlined", TABLE_NUMBER }, { "unresolved", TABLE_NUMBER },
	{ "allocator", TABLE_NUMBER }, { NULL, TABLE_NUMBER },
};

static bool next_frame(struct table_reader *reader, struct table_cell *cells)
{
	static const char *const kinds[] = { [FRAME_PYTHON] = "python", [FRAME_NATIVE] = "native",
		[FRAME_SPECIAL] = "special" };
	static const uint8_t flags[] = { FRAME_INTERPRETER, FRAME_IMPORT, FRAME_LIBRARY, FRAME_INLINED, FRAME_UNRESOLVED,
		FRAME_ALLOCATOR };
	const struct export *export = reader->export;
	const size_t i = reader->at++;

	if (i >= export->profile->frame_count)
		return false;
	const struct frame *frame = &export->profile->frames[i];
	*cells++ = NUMBER(i);
	*cells++ = TEXT(export->frames[i].function);
	*cells++ = TEXT_OR_NULL(export->frames[i].file);
	*cells++ = NUMBER_OR_NULL(frame->line, frame->line);
	*cells++ = TEXT_OR_NULL(export->frames[i].module);
	*cells++ = TEXT(kinds[frame->kind]);
	for (size_t flag = 0; flag < sizeof(flags); flag++)
		*cells++ = NUMBER((frame->flags & flags[flag]) != 0);
	return true;
}

static const struct table_column thread_columns[] = {
	{ "id", TABLE_NUMBER }, { "tid", TABLE_NUMBER }, { "name", TABLE_TEXT }, { "pid", TABLE_NUMBER },
	{ "start_ns", TABLE_NUMBER }, { NULL, TABLE_NUMBER },
};

static bool next_thread(struct table_reader *reader, struct table_cell *cells)
{
	const struct profile *profile = reader->export->profile;
	const size_t i = reader->at++;

	if (i >= profile->thread_count)
		return false;
	cells[0] = NUMBER(i);
	cells[1] = NUMBER(profile->threads[i].tid);
	cells[2] = TEXT_OR_NULL(reader->export->thread_names[i]);
	cells[3] = NUMBER(profile->captures[profile->threads[i].capture].pid);
	cells[4] = NUMBER(profile->threads[i].start_ns);
	return true;
}

static const struct table_column timeline_columns[] = {
	{ "time_ns", TABLE_NUMBER }, { "live_bytes", TABLE_NUMBER }, { "live_max_bytes", TABLE_NUMBER },
	{ "heap_bytes", TABLE_NUMBER }, { "python_bytes", TABLE_NUMBER }, { "mapped_bytes", TABLE_NUMBER },
	{ "arena_bytes", TABLE_NUMBER }, { "file_bytes", TABLE_NUMBER }, { "reserved_bytes", TABLE_NUMBER },
	{ "resident_bytes", TABLE_NUMBER }, { "allocations", TABLE_NUMBER }, { "allocated_bytes", TABLE_NUMBER },
	{ NULL, TABLE_NUMBER },
};

static bool next_point(struct table_reader *reader, struct table_cell *cells)
{
	const struct profile *profile = reader->export->profile;
	const size_t i = reader->at++;

	if (i >= profile->timeline_count)
		return false;
	const struct timeline_point *point = &profile->timeline[i];
	*cells++ = NUMBER(point->time_ns);
	*cells++ = NUMBER(point->live_bytes);
	*cells++ = NUMBER(point->live_max_bytes);
	for (unsigned domain = 0; domain < DOMAIN_COUNT; domain++)
		*cells++ = NUMBER(point->domain_bytes[domain]);
	*cells++ = NUMBER_OR_NULL(point->resident_bytes, point->resident_bytes);
	*cells++ = NUMBER(point->allocations);
	*cells++ = NUMBER(point->allocated_bytes);
	return true;
}

static const struct table_column mark_columns[] = {
	{ "time_ns", TABLE_NUMBER }, { "name", TABLE_TEXT }, { NULL, TABLE_NUMBER },
};

static bool next_mark(struct table_reader *reader, struct table_cell *cells)
{
	const size_t i = reader->at++;

	if (i >= reader->export->profile->mark_count)
		return false;
	cells[0] = NUMBER(reader->export->profile->marks[i].time_ns);
	cells[1] = TEXT(reader->export->mark_names[i]);
	return true;
}

static const struct export_table tables[] = {
	{ "sites", site_columns, next_site },
	{ "stacks", stack_columns, next_stack },
	{ "frames", frame_columns, next_frame },
	{ "threads", thread_columns, next_thread },
	{ "timeline", timeline_columns, next_point },
	{ "marks", mark_columns, next_mark },
	{ "blocks", block_columns, blocks_next },
};

const char *const export_table_names[] = { "sites", "stacks", "frames", "threads", "timeline", "marks", "blocks",
	NULL };
_Static_assert(sizeof(tables) / sizeof(*tables) + 1 == sizeof(export_table_names) / sizeof(*export_table_names),
	"one name a table");

bool table_needs_events(unsigned table)
{
	return tables[table].next == blocks_next;
}

bool table_begin(struct table_reader *reader, const struct export *export, struct error *error)
{
	*reader = (struct table_reader){ .export = export, .table = &tables[export->table] };
	return !table_needs_events(export->table) || blocks_begin(reader, error);
}

bool table_end(struct table_reader *reader, struct error *error)
{
	return !table_needs_events(reader->export->table) || blocks_end(reader, error);
}

bool table_next(struct table_reader *reader, struct table_cell *cells)
{
	if (!reader->table->next(reader, cells))
		return false;
	reader->row++;
	return true;
}

unsigned table_column_count(const struct export_table *table)
{
	unsigned count = 0;

	while (table->columns[count].name)
		count++;
	return count;
}
