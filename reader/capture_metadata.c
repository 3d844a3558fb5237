/* SPDX-License-Identifier: MIT */
/*
 * The tables of a capture that its metadata records fill: stack nodes, threads, modules, code objects, Python
 * runtimes, marks.  Records come in any order and from untrusted bytes.  A record that contradicts itself or
 * what is known is refused and counted; the first of two with the same id stays.
 */
#include "capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <xxhash.h>

/* The caller of capture_absorb may hold the lock, so this counts without it. */
static bool refuse(struct capture *capture, const char *what)
{
	struct capture_damage *damage = &capture->damage;

	damage->records++;
	if (damage->count++ == 0)
		snprintf(damage->first, sizeof(damage->first), "%s", what);
	return true;
}

/* The node table is mapped whole and touched only where nodes are: ids are dense, but come in any order. */
static bool reserve_node(struct capture *capture, uint32_t id, struct error *error)
{
	size_t wanted = capture->node_capacity ? capture->node_capacity : 4096;
	void *grown;

	if (id < capture->node_capacity)
		return true;
	if (!capture->node_groups)
		capture->node_groups = calloc(CAPTURE_NODES_MAX / CAPTURE_NODE_GROUP, 1);
	if (!capture->node_groups)
		return fail_memory(error);
	while (wanted <= id)
		wanted *= 2;
	if (capture->nodes)
		grown = mremap(capture->nodes, capture->node_capacity * sizeof(*capture->nodes),
			wanted * sizeof(*capture->nodes), MREMAP_MAYMOVE);
	else
		grown = mmap(NULL, wanted * sizeof(*capture->nodes), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (grown == MAP_FAILED)
		return fail_memory(error);
	capture->nodes = grown;
	capture->node_capacity = wanted;
	return true;
}

static bool absorb_node(struct capture *capture, const struct capture_event *event, struct error *error)
{
	uint32_t id = event->stack;

	/* A parent's id is smaller than its child's; anything else could be a cycle. */
	if (id == CAPTURE_NODE_ROOT || id >= CAPTURE_NODES_MAX || event->parent >= id)
		return refuse(capture, "a stack node whose parent or number cannot be");
	if (!reserve_node(capture, id, error))
		return false;
	if (capture->nodes[id].present) {
		if (capture->nodes[id].frame != event->frame || capture->nodes[id].parent != event->parent)
			return refuse(capture, "two stack nodes of one number");
		return true;
	}
	capture->node_groups[id / CAPTURE_NODE_GROUP] = 1;
	capture->nodes[id] = (struct capture_node){ .frame = event->frame, .parent = event->parent, .present = 1 };
	if (id >= capture->node_end)
		capture->node_end = id + 1;
	return true;
}

/* Takes `size` bytes of text off the payload, as a string; NULL when they are not there. */
static const char *take_text(struct capture *capture, const struct capture_event *event, size_t *at, uint32_t size)
{
	const char *copy;

	if (size > event->payload_size - *at)
		return NULL;
	copy = pool_copy(&capture->pool, event->payload + *at, size);
	*at += size;
	return copy;
}

static bool absorb_thread(struct capture *capture, const struct capture_event *event, struct error *error)
{
	struct capture_thread_info info;
	struct capture_thread *thread;
	size_t at = sizeof(info);
	uint32_t slot;

	if (event->payload_size < sizeof(info))
		return refuse(capture, "a thread record that is too short");
	memcpy(&info, event->payload, sizeof(info));
	const char *name = take_text(capture, event, &at, info.name_size);
	if (!name)
		return refuse(capture, "a thread record that is too short");
	slot = map64_get(&capture->thread_by_index, info.index);
	if (slot == MAP64_NONE) {
		slot = (uint32_t)capture->thread_count;
		if (!array_reserve(&capture->threads, &capture->thread_capacity, slot + (size_t)1, sizeof(*thread), error) ||
		    !map64_put(&capture->thread_by_index, info.index, slot, error))
			return false;
		capture->thread_count++;
		capture->threads[slot] = (struct capture_thread){ .index = info.index, .name = "" };
	} else if (event->time_ns < capture->threads[slot].named_ns) {
		return true;                  /* an older name, read later */
	}
	thread = &capture->threads[slot];
	thread->tid = info.tid;
	thread->start_time_ns = info.start_time_ns;
	thread->named_ns = event->time_ns;
	thread->name = name;
	thread->flags = info.flags;
	return true;
}

/* Each segment of a run has a copy of what is known of modules and runtimes: true when this one has been taken. */
static bool is_repeated(struct capture *capture, const struct capture_event *event, bool *ok, struct error *error)
{
	const uint64_t key = XXH3_64bits_withSeed(event->payload, event->payload_size, event->kind);

	if (!capture->segments)
		return false;
	if (map64_get(&capture->repeated, key) != MAP64_NONE)
		return true;
	*ok = map64_put(&capture->repeated, key, 0, error);
	return false;
}

static bool absorb_module(struct capture *capture, const struct capture_event *event, struct error *error)
{
	struct capture_loaded_module module;
	size_t at = sizeof(module.info);
	bool ok = true;

	if (event->payload_size < sizeof(module.info))
		return refuse(capture, "a module record that is too short");
	memcpy(&module.info, event->payload, sizeof(module.info));
	module.path = take_text(capture, event, &at, module.info.path_size);
	if (module.path)
		module.build_id = (const uint8_t *)take_text(capture, event, &at, module.info.build_id_size);
	if (!module.path || !module.build_id || module.info.start > module.info.end)
		return refuse(capture, "a module record that contradicts itself");
	if (is_repeated(capture, event, &ok, error) || !ok)
		return ok;
	if (!array_reserve(&capture->modules, &capture->module_capacity, capture->module_count + 1, sizeof(module), error))
		return false;
	capture->modules[capture->module_count++] = module;
	return true;
}

static bool absorb_code(struct capture *capture, const struct capture_event *event, struct error *error)
{
	struct capture_code_object code;
	size_t at = sizeof(code.info);

	if (event->payload_size < sizeof(code.info))
		return refuse(capture, "a code record that is too short");
	memcpy(&code.info, event->payload, sizeof(code.info));
	if (map64_get(&capture->code_by_id, code.info.id) != MAP64_NONE)
		return true;
	code.name = code.file = take_text(capture, event, &at, code.info.file_size);
	if (code.file)
		code.name = take_text(capture, event, &at, code.info.name_size);
	if (!code.file || !code.name || code.info.table_size > event->payload_size - at)
		return refuse(capture, "a code record that is too short");
	code.table = (const uint8_t *)take_text(capture, event, &at, code.info.table_size);
	if (!code.table)
		return fail_memory(error);
	if (!array_reserve(&capture->codes, &capture->code_capacity, capture->code_count + 1, sizeof(code), error) ||
	    !map64_put(&capture->code_by_id, code.info.id, (uint32_t)capture->code_count, error))
		return false;
	capture->codes[capture->code_count++] = code;
	return true;
}

static bool absorb_runtime(struct capture *capture, const struct capture_event *event, struct error *error)
{
	struct capture_runtime runtime;
	size_t at = sizeof(runtime.info);
	bool ok = true;

	if (event->payload_size < sizeof(runtime.info))
		return refuse(capture, "a Python record that is too short");
	memcpy(&runtime.info, event->payload, sizeof(runtime.info));
	runtime.allocator = runtime.path = take_text(capture, event, &at, runtime.info.path_size);
	if (runtime.path)
		runtime.allocator = take_text(capture, event, &at, runtime.info.allocator_size);
	if (!runtime.path || !runtime.allocator)
		return refuse(capture, "a Python record that is too short");
	if (is_repeated(capture, event, &ok, error) || !ok)
		return ok;
	if (!array_reserve(&capture->runtimes, &capture->runtime_capacity, capture->runtime_count + 1, sizeof(runtime),
		error))
		return false;
	capture->runtimes[capture->runtime_count++] = runtime;
	return true;
}

static bool absorb_note(struct capture *capture, const struct capture_event *event, struct error *error)
{
	const char *text = pool_copy(&capture->pool, event->payload, event->payload_size);

	if (!text || !array_reserve(&capture->notes, &capture->note_capacity, capture->note_count + 1,
		sizeof(*capture->notes), error))
		return fail_memory(error);
	capture->notes[capture->note_count++] = (struct capture_note){ .time_ns = event->time_ns, .stamp = event->stamp,
		.text = text, .is_mark = event->kind == CAPTURE_MARK };
	return true;
}

bool capture_add_culled(struct capture *capture, const struct capture_culled *sums, struct error *error)
{
	if (!array_reserve(&capture->culled, &capture->culled_capacity, capture->culled_count + 1, sizeof(*sums), error))
		return false;
	capture->culled[capture->culled_count++] = *sums;
	return true;
}

/* Kept also where it cannot be, since its event carries its number: it then holds nothing. */
static bool absorb_culled(struct capture *capture, const struct capture_event *event, struct error *error)
{
	struct capture_culled culled = { .kind = CAPTURE_MALLOC };
	bool fits = event->payload_size >= sizeof(culled);
	const bool expected = capture->header.features & (CAPTURE_COMPACTED | CAPTURE_AGGREGATED);

	if (fits)
		memcpy(&culled, event->payload, sizeof(culled));
	if (!fits || !expected || !CAPTURE_IS_ALLOCATION(culled.kind) ||
	    culled.bin > 64 || culled.temporary_count > culled.count || culled.temporary_bytes > culled.bytes) {
		refuse(capture, "sums of dropped blocks that cannot be");
		culled = (struct capture_culled){ .kind = CAPTURE_MALLOC };
	}
	return capture_add_culled(capture, &culled, error);
}

static bool are_pages(const uint8_t *payload, size_t size)
{
	struct pages_cursor cursor = { .at = payload + sizeof(struct capture_pages), .end = payload + size };
	struct pages_run run;

	if (size < sizeof(struct capture_pages))
		return false;
	while (pages_next(&cursor, &run))
		continue;
	return !cursor.bad;
}

/* As above.  A copy, since nobody keeps them for long. */
static bool absorb_pages(struct capture *capture, const struct capture_event *event, struct error *error)
{
	struct capture_page_part part = { .time_ns = event->time_ns };

	if (!array_reserve(&capture->page_parts, &capture->page_part_capacity, capture->page_part_count + 1,
		sizeof(*capture->page_parts), error))
		return false;
	if (are_pages(event->payload, event->payload_size)) {
		part.payload = malloc(event->payload_size);
		part.size = event->payload_size;
		if (!part.payload)
			return fail_memory(error);
		memcpy(part.payload, event->payload, part.size);
	} else {
		refuse(capture, "a sample of pages that cannot be");
	}
	capture->page_parts[capture->page_part_count++] = part;
	return true;
}

static bool absorb_symbols(struct capture *capture, const struct capture_event *event, struct error *error)
{
	const char *problem;
	const bool ok = capture_take_names(capture, event, &problem, error);

	return problem ? refuse(capture, problem) : ok;
}

/* Bounds that no sum of can overflow, whatever a file says: 2^20 windows of 2^43 bytes each are refused by none. */
static bool absorb_held(struct capture *capture, const struct capture_event *event, struct error *error)
{
	struct capture_held held;

	if (event->payload_size < sizeof(held))
		return refuse(capture, "a record of what dropped blocks held that is too short");
	memcpy(&held, event->payload, sizeof(held));
	if (!(capture->header.features & CAPTURE_AGGREGATED) || held.bytes >> 43 || held.count >> 32 || held.dropped >> 32 ||
	    held.count > held.dropped || held.first_time_ns > held.last_time_ns || held.last_time_ns >> 56)
		return refuse(capture, "a record of what dropped blocks held that cannot be");
	if (!array_reserve(&capture->helds, &capture->held_capacity, capture->held_count + 1, sizeof(*capture->helds), error))
		return false;
	capture->helds[capture->held_count++] = held;
	return true;
}

bool capture_absorb(struct capture *capture, const struct capture_event *event, struct error *error)
{
	switch (event->kind) {
	case CAPTURE_NODE:
		return absorb_node(capture, event, error);
	case CAPTURE_THREAD_INFO:
		return absorb_thread(capture, event, error);
	case CAPTURE_MODULE:
		return absorb_module(capture, event, error);
	case CAPTURE_CODE:
		return absorb_code(capture, event, error);
	case CAPTURE_PYTHON:
		return absorb_runtime(capture, event, error);
	case CAPTURE_CULLED:
		return absorb_culled(capture, event, error);
	case CAPTURE_PAGES:
		return absorb_pages(capture, event, error);
	case CAPTURE_SYMBOLS:
		return absorb_symbols(capture, event, error);
	case CAPTURE_HELD:
		return absorb_held(capture, event, error);
	case CAPTURE_ABOUT_COMPACTED:
		if (event->payload_size < sizeof(capture->compacted))
			return refuse(capture, "a record of compaction that is too short");
		memcpy(&capture->compacted, event->payload, sizeof(capture->compacted));
		return true;
	case CAPTURE_MARK:
	case CAPTURE_NOTE:
		return absorb_note(capture, event, error);
	case CAPTURE_RECORDING:               /* an event: decode.c */
		return event->payload_size >= sizeof(struct capture_recording) ? true
			: refuse(capture, "a record of a start or stop that is too short");
	default:
		return true;                  /* metadata of a later minor revision: its length is known, so it is skipped */
	}
}

const char *capture_mark_name(struct capture *capture, uint64_t index)
{
	const char *name;

	pthread_mutex_lock(&capture->lock);
	name = index < capture->note_count ? capture->notes[index].text : "";
	pthread_mutex_unlock(&capture->lock);
	return name;
}

struct capture_culled capture_culled_sums(struct capture *capture, uint64_t index)
{
	struct capture_culled sums = { .kind = CAPTURE_MALLOC };

	pthread_mutex_lock(&capture->lock);
	if (index < capture->culled_count)
		sums = capture->culled[index];
	pthread_mutex_unlock(&capture->lock);
	return sums;
}

struct capture_page_part capture_take_pages(struct capture *capture, uint64_t index)
{
	struct capture_page_part part = { 0 };

	pthread_mutex_lock(&capture->lock);
	if (index < capture->page_part_count) {
		part = capture->page_parts[index];
		capture->page_parts[index].payload = NULL;
	}
	pthread_mutex_unlock(&capture->lock);
	return part;
}

const struct capture_thread *capture_find_thread(const struct capture *capture, uint32_t index)
{
	uint32_t slot = map64_get(&capture->thread_by_index, index);

	return slot == MAP64_NONE ? NULL : &capture->threads[slot];
}

const struct capture_code_object *capture_find_code(const struct capture *capture, uint32_t id)
{
	uint32_t slot = map64_get(&capture->code_by_id, id);

	return slot == MAP64_NONE ? NULL : &capture->codes[slot];
}

const struct capture_named *capture_find_named(const struct capture *capture, uint64_t frame)
{
	uint32_t slot = map64_get(&capture->named_by_frame, frame);

	return slot == MAP64_NONE ? NULL : &capture->named[slot];
}

static int compare_modules(const void *a, const void *b)
{
	const struct capture_module *left = &((const struct capture_loaded_module *)a)->info;
	const struct capture_module *right = &((const struct capture_loaded_module *)b)->info;
	uint32_t left_generation = left->generation & 0x3fff, right_generation = right->generation & 0x3fff;

	if (left_generation != right_generation)
		return left_generation < right_generation ? -1 : 1;
	if (left->start != right->start)
		return left->start < right->start ? -1 : 1;
	return left->end < right->end ? -1 : left->end > right->end;
}

void capture_sort_modules(struct capture *capture)
{
	if (capture->module_count)
		qsort(capture->modules, capture->module_count, sizeof(*capture->modules), compare_modules);
}

long capture_find_module(const struct capture *capture, uint64_t frame)
{
	uint64_t address = CAPTURE_FRAME_ADDRESS(frame);
	uint32_t generation = CAPTURE_FRAME_GENERATION(frame);
	size_t low = 0, high = capture->module_count;

	/* The last module of this generation that starts at or below the address. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct capture_module *module = &capture->modules[middle].info;
		uint32_t its = module->generation & 0x3fff;

		if (its < generation || (its == generation && module->start <= address))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return -1;
	const struct capture_module *module = &capture->modules[low - 1].info;
	if ((module->generation & 0x3fff) != generation || address >= module->end)
		return -1;
	return (long)(low - 1);
}

void capture_metadata_finish(struct capture *capture)
{
	if (capture->nodes)
		munmap(capture->nodes, capture->node_capacity * sizeof(*capture->nodes));
	free(capture->node_groups);
	free(capture->threads);
	free(capture->modules);
	free(capture->codes);
	free(capture->runtimes);
	free(capture->notes);
	free(capture->culled);
	for (size_t i = 0; i < capture->page_part_count; i++)
		free(capture->page_parts[i].payload);
	free(capture->page_parts);
	free(capture->named);
	free(capture->name_records);
	map64_finish(&capture->named_by_frame);
	free(capture->helds);
	map64_finish(&capture->thread_by_index);
	map64_finish(&capture->code_by_id);
	map64_finish(&capture->repeated);
}
