/* SPDX-License-Identifier: MIT */
/*
 * Frames: what a capture's 64-bit frames mean to a user.  Each distinct one is resolved once.
 *
 *     Python    code object + instruction -> function, file, line
 *     native    address -> module -> symbols: a function with its file and line, and those inlined there; or the
 *               names that the capture has with it (sctmem symbolize), in the same order and so with the same numbers
 *     special   what could not be recorded, in words
 *
 * The recorder's own frames stand for none.  Two frames with the same function, file, line, module and kind are one.
 */
#include "profile_build.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "python_lines.h"
#include "symbol_jobs.h"
#include "symbols.h"

enum { MODULE_PROGRAM = 1, MODULE_RECORDER = 2, MODULE_VDSO = 4 };

/* One native frame that waits for its module's symbols. */
struct pending {
	uint64_t address;             /* in the ELF file */
	uint32_t symbols_module;
	uint32_t span;
	uint32_t capture;
	uint32_t module;              /* of the capture */
	const struct capture_named *named;   /* the capture itself says what it is called; NULL: look it up */
};

struct resolver {
	struct build *build;
	struct symbols *symbols;
	struct pending *pending; size_t count, capacity;
	bool ok;
};

static uint32_t frame_hash(const uint32_t *key, const struct frame *frame)
{
	uint32_t words[5] = { key[0], key[1], key[2], frame->line, frame->kind };

	return (uint32_t)(XXH3_64bits_withSeed(words, sizeof(words), table_seed()) >> 32);
}

static void place_frame(struct build *build, uint32_t index)
{
	const size_t mask = build->frame_slot_count - 1;
	size_t i = frame_hash(build->frame_keys + 3 * (size_t)index, &build->profile->frames[index]) & mask;

	while (build->frame_slots[i])
		i = (i + 1) & mask;
	build->frame_slots[i] = index + 1;
}

static bool grow_frame_slots(struct build *build)
{
	const size_t count = build->frame_slot_count ? build->frame_slot_count * 2 : 1024;
	uint32_t *slots = calloc(count, sizeof(*slots));

	if (!slots)
		return fail_memory(build->error);
	free(build->frame_slots);
	build->frame_slots = slots;
	build->frame_slot_count = count;
	for (uint32_t i = 0; i < build->profile->frame_count; i++)
		place_frame(build, i);
	return true;
}

bool build_frame(struct build *build, const struct frame *frame, uint32_t *index)
{
	struct profile *profile = build->profile;
	uint32_t key[3];

	if (!strings_add(build->strings, frame->function, &key[0], build->error) ||
	    !strings_add(build->strings, frame->file, &key[1], build->error) ||
	    !strings_add(build->strings, frame->module, &key[2], build->error))
		return false;
	if ((profile->frame_count + (size_t)1) * 2 > build->frame_slot_count && !grow_frame_slots(build))
		return false;
	const size_t mask = build->frame_slot_count - 1;
	size_t i = frame_hash(key, frame) & mask;
	for (; build->frame_slots[i]; i = (i + 1) & mask) {
		const struct frame *known = &profile->frames[build->frame_slots[i] - 1];

		*index = build->frame_slots[i] - 1;
		if (memcmp(build->frame_keys + 3 * (size_t)*index, key, sizeof(key)) == 0 && known->line == frame->line &&
		    known->kind == frame->kind)
			return true;
	}
	if (!array_reserve(&profile->frames, &build->frame_capacity, profile->frame_count + (size_t)1,
		sizeof(*profile->frames), build->error) ||
	    !array_reserve(&build->frame_keys, &build->frame_key_capacity, 3 * (profile->frame_count + (size_t)1),
		sizeof(*build->frame_keys), build->error))
		return false;
	*index = profile->frame_count++;
	memcpy(build->frame_keys + 3 * (size_t)*index, key, sizeof(key));
	profile->frames[*index] = *frame;
	profile->frames[*index].function = build->strings->texts[key[0]];
	profile->frames[*index].file = build->strings->texts[key[1]];
	profile->frames[*index].module = build->strings->texts[key[2]];
	build->frame_slots[i] = *index + 1;
	return true;
}

bool build_special_frame(struct build *build, const char *name, uint32_t *index)
{
	return build_frame(build, &(struct frame){ .function = name, .file = "", .module = "", .kind = FRAME_SPECIAL },
		index);
}

/* Appends a frame to the span that is being made: always the last of span_frames. */
static bool extend_span(struct build *build, uint32_t span, const struct frame *frame)
{
	uint32_t index;

	if (!build_frame(build, frame, &index) ||
	    !array_reserve(&build->span_frames, &build->span_frame_capacity, build->span_frame_count + 1,
		sizeof(*build->span_frames), build->error))
		return false;
	if (build->spans[span].count == 0)
		build->spans[span].first = (uint32_t)build->span_frame_count;
	build->span_frames[build->span_frame_count++] = index;
	build->spans[span].count++;
	return true;
}

static bool is_library_path(const char *path)
{
	static const char *const inside[] = { "/site-packages/", "/dist-packages/", "/lib-dynload/" };

	for (size_t i = 0; i < sizeof(inside) / sizeof(*inside); i++) {
		if (strstr(path, inside[i]))
			return true;
	}
	return strncmp(path, "/lib", 4) == 0 || strncmp(path, "/usr/lib", 8) == 0;
}

/* Python's own modules lie in .../lib/python3.11/...; installed ones in site-packages there or elsewhere. */
static bool is_python_library(const char *file)
{
	const char *at = strstr(file, "/lib/python");

	if (strncmp(file, "<frozen", 7) == 0 || strstr(file, "/site-packages/") || strstr(file, "/dist-packages/"))
		return true;
	return at && strchr(at + 11, '/') != NULL && at[11] >= '0' && at[11] <= '9';
}

/* The Python frames of a capture, in ascending order, which is by code and then by instruction; and their lines. */
struct python_frames {
	uint64_t *raw;
	uint32_t *units;
	struct python_position *places;
	size_t count;
};

static int compare_raw(const void *a, const void *b)
{
	const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static void python_frames_finish(struct python_frames *frames)
{
	free(frames->raw);
	free(frames->units);
	free(frames->places);
}

/* Finds the lines of the Python frames among these, all different, with one walk over each code's table. */
static bool python_frames_init(struct python_frames *frames, const struct capture *capture, const uint64_t *raw,
	size_t count, struct error *error)
{
	*frames = (struct python_frames){ .raw = malloc((count + 1) * sizeof(*frames->raw)),
		.units = malloc((count + 1) * sizeof(*frames->units)), .places = calloc(count + 1, sizeof(*frames->places)) };
	if (!frames->raw || !frames->units || !frames->places)
		return fail_memory(error);
	for (size_t i = 0; i < count; i++) {
		if (CAPTURE_FRAME_KIND(raw[i]) == CAPTURE_FRAME_PYTHON)
			frames->raw[frames->count++] = raw[i];
	}
	if (frames->count)
		qsort(frames->raw, frames->count, sizeof(*frames->raw), compare_raw);
	for (size_t i = 0; i < frames->count; i++)
		frames->units[i] = CAPTURE_FRAME_UNITS(frames->raw[i]);
	for (size_t first = 0, end; first < frames->count; first = end) {
		const uint32_t id = CAPTURE_FRAME_CODE(frames->raw[first]);
		const struct capture_code_object *code = capture_find_code(capture, id);

		/* What lies beside id and units in a damaged frame may make equal ids come apart: then there are two walks. */
		for (end = first + 1; end < frames->count && CAPTURE_FRAME_CODE(frames->raw[end]) == id &&
			frames->units[end] >= frames->units[end - 1]; end++)
			;
		if (!code)
			continue;
		const struct python_table table = { .kind = code->info.table_kind, .bytes = code->table,
			.size = code->info.table_size, .first_line = code->info.first_line };
		python_lines(&table, frames->units + first, end - first, frames->places + first);
	}
	return true;
}

static uint32_t find_line(const struct python_frames *frames, uint64_t raw)
{
	const uint64_t *found = bsearch(&raw, frames->raw, frames->count, sizeof(raw), compare_raw);

	return found ? frames->places[found - frames->raw].line : 0;
}

static bool resolve_python(struct build *build, struct build_capture *own, const struct python_frames *frames,
	uint64_t raw, uint32_t span)
{
	const struct capture_code_object *code = capture_find_code(own->capture, CAPTURE_FRAME_CODE(raw));
	struct frame frame = { .module = "", .kind = FRAME_PYTHON };
	char unknown[64];

	if (!code) {
		snprintf(unknown, sizeof(unknown), "<unknown code %" PRIu32 ">", CAPTURE_FRAME_CODE(raw));
		frame.function = unknown;
		frame.file = "";
		frame.flags = FRAME_UNRESOLVED;
		return extend_span(build, span, &frame);
	}
	frame.line = find_line(frames, raw);
	if (frame.line == 0)
		frame.line = code->info.first_line;
	frame.function = code->name;
	frame.file = code->file;
	if (is_python_library(code->file))
		frame.flags |= FRAME_LIBRARY;
	if (strncmp(code->file, "<frozen importlib", 17) == 0 || strstr(code->file, "/importlib/_bootstrap"))
		frame.flags |= FRAME_IMPORT;
	return extend_span(build, span, &frame);
}

static bool resolve_special(struct build *build, uint64_t raw, uint32_t span)
{
	static const char *const names[] = {
		[CAPTURE_FRAME_TRUNCATED] = "<stack truncated>",
		[CAPTURE_FRAME_UNKNOWN] = "<unknown native frames>",
		[CAPTURE_FRAME_DEGRADED] = "<stack table full>",
		[CAPTURE_FRAME_NO_PYTHON] = "<python not understood>",
		[CAPTURE_FRAME_INTERNALS] = "<interpreter internals>",
	};
	const uint64_t what = raw & ~((uint64_t)3 << 62);
	struct frame frame = { .function = "<unknown frame>", .file = "", .module = "", .kind = FRAME_SPECIAL };

	if (what < sizeof(names) / sizeof(*names) && names[what])
		frame.function = names[what];
	if (what == CAPTURE_FRAME_INTERNALS)
		frame.flags = FRAME_INTERPRETER;
	return extend_span(build, span, &frame);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static bool is_interpreter(const struct capture *capture, const struct capture_loaded_module *module)
{
	for (size_t i = 0; i < capture->runtime_count; i++) {
		if (strcmp(capture->runtimes[i].path, module->path) == 0)
			return true;
	}
	return strncmp(base_name(module->path), "libpython", 9) == 0;
}

static bool is_allocator(const char *function)
{
	static const char *const names[] = { "PyMem_Malloc", "PyMem_Calloc", "PyMem_Realloc", "PyMem_RawMalloc",
		"PyMem_RawCalloc", "PyMem_RawRealloc", "PyObject_Malloc", "PyObject_Calloc", "PyObject_Realloc",
		"_PyMem_RawMalloc", "_PyMem_RawCalloc", "_PyMem_RawRealloc", "_PyObject_Malloc", "_PyObject_Calloc",
		"_PyObject_Realloc", "_PyMem_Malloc", "_PyMem_DebugRawAlloc", "_PyMem_DebugRawMalloc", "_PyMem_DebugMalloc",
		"_PyObject_Arena", "_PyObject_ArenaMmap", "new_arena", "allocate_from_new_pool", "pymalloc_alloc",
		"malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign",
		"operator new(unsigned long)", "operator new[](unsigned long)" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(function, names[i]) == 0)
			return true;
	}
	return false;
}

/* A native frame without a symbol: the module and the offset in it, or the bare address. */
static bool name_by_offset(struct build *build, const struct pending *pending, const struct frame *like)
{
	char text[512];
	struct frame frame = *like;

	if (frame.module[0])
		snprintf(text, sizeof(text), "%s+0x%" PRIx64, frame.module, pending->address);
	else
		snprintf(text, sizeof(text), "0x%" PRIx64, pending->address);
	frame.function = text;
	frame.file = "";
	frame.flags |= FRAME_UNRESOLVED;
	return extend_span(build, pending->span, &frame);
}

static void found_symbols(struct resolver *resolver, const struct pending *pending, const struct symbol_frame *found,
	size_t count)
{
	struct build *build = resolver->build;
	const struct capture *capture = build->captures[pending->capture].capture;
	const struct capture_loaded_module *module = &capture->modules[pending->module];
	struct frame base = { .module = base_name(module->path), .kind = FRAME_NATIVE };

	if (is_interpreter(capture, module))
		base.flags |= FRAME_INTERPRETER;
	else if (is_library_path(module->path))
		base.flags |= FRAME_LIBRARY;
	if (count == 0 || !found[0].function) {
		resolver->ok = resolver->ok && name_by_offset(build, pending, &base);
		return;
	}
	for (size_t i = count; i-- > 0 && resolver->ok;) {
		struct frame frame = base;

		if (!found[i].function)
			continue;
		frame.function = found[i].function;
		frame.file = found[i].file ? found[i].file : "";
		frame.line = found[i].line;
		frame.flags |= (found[i].inlined ? FRAME_INLINED : 0) | (is_allocator(frame.function) ? FRAME_ALLOCATOR : 0);
		resolver->ok = extend_span(build, pending->span, &frame);
	}
}

/* As if they had been looked up. */
static void found_named(struct resolver *resolver, const struct pending *pending)
{
	struct symbol_frame found[SYMBOLS_FRAMES_MAX];

	for (uint32_t i = 0; i < pending->named->count; i++)
		found[i] = names_frame(&pending->named->places[i], pending->named->text);
	found_symbols(resolver, pending, found, pending->named->count);
}

static bool resolve_native(struct resolver *resolver, uint32_t capture_number, uint64_t raw, uint32_t span)
{
	struct build *build = resolver->build;
	const struct capture *capture = build->captures[capture_number].capture;
	const long found = capture_find_module(capture, raw);
	struct pending pending = { .address = CAPTURE_FRAME_ADDRESS(raw), .span = span, .capture = capture_number };

	if (found < 0)
		return name_by_offset(build, &pending, &(struct frame){ .module = "", .kind = FRAME_NATIVE });
	const struct capture_loaded_module *module = &capture->modules[found];
	if (module->info.flags & MODULE_RECORDER)
		return true;
	pending.module = (uint32_t)found;
	pending.address -= module->info.bias;
	if (!resolver->symbols || module->info.flags & MODULE_VDSO) {
		resolver->ok = true;
		found_symbols(resolver, &pending, NULL, 0);
		return resolver->ok;
	}
	if (!build->options->local_symbols)
		pending.named = capture_find_named(capture, raw);
	pending.symbols_module = symbols_add_module(resolver->symbols, module->path, module->build_id,
		module->info.build_id_size);
	if (!array_reserve(&resolver->pending, &resolver->capacity, resolver->count + 1, sizeof(pending), build->error))
		return false;
	resolver->pending[resolver->count++] = pending;
	return true;
}

static int compare_pending(const void *a, const void *b)
{
	const struct pending *left = a, *right = b;

	if (left->symbols_module != right->symbols_module)
		return left->symbols_module < right->symbols_module ? -1 : 1;
	return left->address < right->address ? -1 : left->address > right->address;
}

static void show_resolved(void *context, size_t addresses)
{
	struct resolver *resolver = context;

	build_progress(resolver->build, "resolving symbols", addresses, resolver->count);
}

/*
 * Looks the waiting addresses up: a file is opened only when an address in it was used.  The results become frames
 * module by module and in order of addresses, so that the frames' numbers do not depend on the threads.
 */
static bool resolve_pending(struct resolver *resolver)
{
	struct build *build = resolver->build;
	uint64_t *addresses = calloc(resolver->count + 1, sizeof(*addresses));
	uint32_t *modules = calloc(resolver->count + 1, sizeof(*modules));
	size_t job_count, wanted = 0;

	if (!addresses || !modules) {
		free(addresses);
		free(modules);
		return fail_memory(build->error);
	}
	if (resolver->count)
		qsort(resolver->pending, resolver->count, sizeof(*resolver->pending), compare_pending);
	for (size_t i = 0; i < resolver->count; i++) {
		if (resolver->pending[i].named)
			continue;
		modules[wanted] = resolver->pending[i].symbols_module;
		addresses[wanted++] = resolver->pending[i].address;
	}
	struct symbol_job *jobs = symbol_jobs_list(modules, addresses, wanted, &job_count), *job = jobs;
	symbol_jobs_run(resolver->symbols, jobs, job_count, build_helpers(), show_resolved, resolver);
	resolver->ok = true;
	for (size_t i = 0, n = 0; i < resolver->count && resolver->ok; i++) {
		const struct pending *pending = &resolver->pending[i];

		if (pending->named) {
			found_named(resolver, pending);
			continue;
		}
		if (n == job->count) {
			symbol_job_finish(job++);
			n = 0;
		}
		found_symbols(resolver, pending, job->frames + job->results[n].first, job->results[n].count);
		n++;
	}
	for (size_t i = 0; i < job_count; i++)
		symbol_job_finish(&jobs[i]);
	free(jobs);
	free(addresses);
	free(modules);
	return resolver->ok;
}

/* Lists the different frames of used nodes, and gives each a span: they follow one another in the same order. */
static bool list_frames(struct build *build, struct build_capture *own, uint64_t **raw, size_t *count)
{
	const size_t first = build->span_count;
	size_t capacity = 0;

	*count = 0;
	for (uint32_t id = 1; (id = capture_skip_nodes(own->capture, id)) < own->node_end; id++) {
		const uint64_t frame = own->capture->nodes[id].frame;

		if (own->node_of[id] != BUILD_USED || map64_get(&own->frame_spans, frame) != MAP64_NONE)
			continue;
		if (build->growing && CAPTURE_FRAME_KIND(frame) == CAPTURE_FRAME_PYTHON &&
		    !capture_find_code(own->capture, CAPTURE_FRAME_CODE(frame)))
			continue;             /* it may still come */
		if (!array_reserve(raw, &capacity, *count + 1, sizeof(**raw), build->error) ||
		    !map64_put(&own->frame_spans, frame, (uint32_t)(first + *count), build->error))
			return false;
		(*raw)[(*count)++] = frame;
	}
	if (!array_reserve(&build->spans, &build->span_capacity, first + *count, sizeof(*build->spans), build->error))
		return false;
	for (size_t i = 0; i < *count; i++)
		build->spans[build->span_count++] = (struct frame_span){ 0 };
	return true;
}

/* Resolves the frames of all used nodes; native ones with symbols are filled later. */
static bool collect_frames(struct resolver *resolver, uint32_t capture_number)
{
	struct build *build = resolver->build;
	struct build_capture *own = &build->captures[capture_number];
	const uint32_t first = (uint32_t)build->span_count;
	struct python_frames python = { 0 };
	uint64_t *raw = NULL;
	size_t count;
	bool ok;

	capture_sort_modules(own->capture);
	ok = list_frames(build, own, &raw, &count) && python_frames_init(&python, own->capture, raw, count, build->error);
	for (size_t i = 0; ok && i < count; i++) {
		const uint32_t span = first + (uint32_t)i;

		if (CAPTURE_FRAME_KIND(raw[i]) == CAPTURE_FRAME_NATIVE)
			ok = resolve_native(resolver, capture_number, raw[i], span);
		else if (CAPTURE_FRAME_KIND(raw[i]) == CAPTURE_FRAME_PYTHON)
			ok = resolve_python(build, own, &python, raw[i], span);
		else
			ok = resolve_special(build, raw[i], span);
	}
	python_frames_finish(&python);
	free(raw);
	return ok;
}

bool build_frames(struct build *build)
{
	struct resolver resolver = { .build = build };
	const struct symbols_options options = { .debuginfod = build->options->debuginfod,
		.cache_folder = build->options->cache_folder };
	bool ok = true;

	if (!build->options->no_symbols) {
		resolver.symbols = symbols_new(&options);
		if (!resolver.symbols)
			return fail_memory(build->error);
	}
	for (uint32_t i = 0; ok && i < build->capture_count; i++)
		ok = collect_frames(&resolver, i);
	if (ok && resolver.symbols)
		ok = resolve_pending(&resolver);
	build->profile->symbols_resolved = resolver.symbols != NULL;
	symbols_free(resolver.symbols);
	free(resolver.pending);
	return ok;
}
