/* SPDX-License-Identifier: MIT */
/* The modules of a report, and the choice among their sources of names: DWARF, .symtab, .dynsym. */
#include "symbols.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "demangle.h"
#include "dwarf_index.h"
#include "memory.h"
#include "module_files.h"
#include "name_pool.h"
#include "symbol_cache.h"
#include "symbol_table.h"

struct module {
	char *path;
	uint8_t build_id[BUILD_ID_SIZE_MAX];
	size_t build_id_size;
	bool files_opened, opened;
	struct module_files files;
	struct symbol_cache cache;
	struct dwarf_index dwarf;
	struct symbol_table table;
	bool table_loaded;
	enum symbols_detail detail;
	const char *problem;
	struct name_pool names;
};

struct symbols {
	struct symbols_options options;
	struct module **modules;      /* each of its own allocation: threads hold on to one while others are read */
	size_t module_count, module_capacity;
};

struct symbols *symbols_new(const struct symbols_options *options)
{
	struct symbols *symbols = memory_new(1, sizeof(*symbols));
	if (options != NULL)
		symbols->options = *options;
	return symbols;
}

static void free_module(struct module *module)
{
	dwarf_index_close(&module->dwarf);
	symbol_table_finish(&module->table);
	symbol_cache_close(&module->cache);
	module_files_close(&module->files);
	name_pool_finish(&module->names);
	free(module->path);
	free(module);
}

void symbols_free(struct symbols *symbols)
{
	if (symbols == NULL)
		return;
	for (size_t i = 0; i < symbols->module_count; i++)
		free_module(symbols->modules[i]);
	free(symbols->modules);
	free(symbols);
}

uint32_t symbols_add_module(struct symbols *symbols, const char *path, const uint8_t *build_id, size_t build_id_size)
{
	/* A longer build-id is none that a linker makes: no file on disk will match what we keep of it. */
	size_t kept = build_id_size < BUILD_ID_SIZE_MAX ? build_id_size : BUILD_ID_SIZE_MAX;
	for (size_t i = 0; i < symbols->module_count; i++) {
		const struct module *module = symbols->modules[i];
		if (module->build_id_size == kept && strcmp(module->path, path) == 0 &&
				(kept == 0 || memcmp(module->build_id, build_id, kept) == 0))
			return (uint32_t)i;
	}
	struct module *module = memory_new(1, sizeof(*module));
	module->path = memory_text(path);
	if (kept != 0)
		memcpy(module->build_id, build_id, kept);
	module->build_id_size = kept;
	symbols->modules = memory_grow(symbols->modules, &symbols->module_capacity, symbols->module_count + 1,
		sizeof(*symbols->modules));
	symbols->modules[symbols->module_count] = module;
	return (uint32_t)symbols->module_count++;
}

/* .symtab has all functions, and may be in either file; .dynsym is what stripping leaves. */
static void load_table(struct module *module)
{
	static const struct { bool debug, dynamic; enum symbols_detail detail; } sources[] = {
		{ .debug = false, .dynamic = false, .detail = SYMBOLS_FUNCTIONS },
		{ .debug = true, .dynamic = false, .detail = SYMBOLS_FUNCTIONS },
		{ .debug = false, .dynamic = true, .detail = SYMBOLS_EXPORTED },
	};
	module->table_loaded = true;
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		struct elf_image *image = sources[i].debug ? &module->files.debug : &module->files.program;
		if (image->elf == NULL || !symbol_table_load(&module->table, image->elf, sources[i].dynamic))
			continue;
		if (module->detail < sources[i].detail)
			module->detail = sources[i].detail;
		return;
	}
}

static void open_dwarf(struct module *module)
{
	uint64_t start, end;
	struct elf_image *images[] = { &module->files.program, &module->files.debug };
	if (!elf_image_text(images[0], &start, &end) && !elf_image_text(images[1], &start, &end))
		return;
	for (size_t i = 0; i < 2; i++) {
		if (!elf_image_has_section(images[i], ".debug_info") && !elf_image_has_section(images[i], ".zdebug_info"))
			continue;
		if (dwarf_index_open(&module->dwarf, images[i]->elf, start, end, &module->names))
			module->detail = SYMBOLS_LINES;
		else
			module->problem = "debug information is damaged";
		return;
	}
}

static void open_files(struct symbols *symbols, struct module *module)
{
	if (module->files_opened)
		return;
	module->files_opened = true;
	module_files_open(&module->files, &symbols->options, module->path, module->build_id, module->build_id_size);
	module->problem = module->files.problem;
}

static void open_module(struct symbols *symbols, struct module *module)
{
	module->opened = true;
	open_files(symbols, module);
	if (module->files.program.elf == NULL && module->files.debug.elf == NULL)
		return;
	open_dwarf(module);
	if (module->detail != SYMBOLS_LINES) {
		load_table(module);
		if (module->table.symbol_count == 0 && module->problem == NULL)
			module->problem = "has no symbols (stripped)";
	}
}

static const struct symbol *find_symbol(struct module *module, uint64_t address)
{
	if (!module->table_loaded)
		load_table(module);
	return symbol_table_find(&module->table, address);
}

static const char *symbol_name(struct module *module, const struct symbol *symbol, bool *was_mangled)
{
	char plain[4096], readable[4096];
	demangle_copy(symbol->name, plain, sizeof(plain));
	char *version = strchr(plain, '@');
	if (version != NULL && version != plain)
		*version = '\0';
	*was_mangled = demangle(plain, readable, sizeof(readable));
	return name_pool_keep(&module->names, readable);
}

static size_t resolve_by_dwarf(struct module *module, uint64_t address, struct symbol_frame *frames, size_t frames_max)
{
	bool is_plain = false;
	size_t count = dwarf_index_resolve(&module->dwarf, address, frames, frames_max, &is_plain);
	if (count == 0 || !is_plain)
		return count;
	/* No name (assembler), or one without its class: the symbol may have more. */
	struct symbol_frame *last = &frames[count - 1];
	const struct symbol *symbol = find_symbol(module, address);
	bool was_mangled = false;
	const char *name = symbol != NULL ? symbol_name(module, symbol, &was_mangled) : NULL;
	if (name != NULL && (last->function == NULL || was_mangled)) {
		last->exact_function = last->function != NULL || symbol->size != 0;
		last->function = name;
	}
	return count;
}

static size_t resolve(struct symbols *symbols, struct module *module, uint64_t address, struct symbol_frame *frames,
	size_t frames_max)
{
	size_t count = 0;
	if (!module->opened)
		open_module(symbols, module);
	if (module->dwarf.dwarf != NULL)
		count = resolve_by_dwarf(module, address, frames, frames_max);
	if (count == 0) {
		bool ignored;
		const struct symbol *symbol = find_symbol(module, address);
		frames[0] = (struct symbol_frame){ 0 };
		if (symbol != NULL) {
			frames[0].function = symbol_name(module, symbol, &ignored);
			frames[0].exact_function = symbol->size != 0;
		}
		count = 1;
	}
	return count;
}

size_t symbols_resolve(struct symbols *symbols, uint32_t module, uint64_t address, struct symbol_frame *frames,
	size_t frames_max)
{
	assert(module < symbols->module_count && frames_max != 0);
	struct symbol_frame all[SYMBOLS_FRAMES_MAX];
	size_t count = resolve(symbols, symbols->modules[module], address, all, SYMBOLS_FRAMES_MAX);
	size_t first = symbols->options.no_inlines ? count - 1 : 0;
	count = count - first < frames_max ? count - first : frames_max;
	memcpy(frames, all + first, count * sizeof(*frames));
	return count;
}

struct numbered_address {
	uint64_t address;
	size_t index;
};

static int compare_addresses(const void *left, const void *right)
{
	const struct numbered_address *a = left, *b = right;
	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

static bool open_cache(struct symbols *symbols, struct module *module)
{
	if (symbols->options.cache_folder == NULL || symbols->options.no_inlines)
		return false;
	open_files(symbols, module);
	return module->cache.open || symbol_cache_open(&module->cache, symbols->options.cache_folder, &module->files);
}

/* Only what these two files say, all of it, is the same next time. */
static void save_cache(struct module *module)
{
	if (!module->opened)
		module->detail = module->cache.detail;
	else if (module->problem == NULL && !module->dwarf.damaged && !module->dwarf.foreign)
		symbol_cache_save(&module->cache, module->detail);
}

void symbols_resolve_many(struct symbols *symbols, uint32_t module, const uint64_t *addresses, size_t address_count,
	void (*found)(void *context, size_t index, const struct symbol_frame *frames, size_t frame_count), void *context)
{
	struct symbol_frame frames[SYMBOLS_FRAMES_MAX];
	struct numbered_address *sorted = memory_new(address_count, sizeof(*sorted));
	struct module *opened = symbols->modules[module];
	const bool cached = open_cache(symbols, opened);
	size_t count = 0;
	for (size_t i = 0; i < address_count; i++)
		sorted[i] = (struct numbered_address){ addresses[i], i };
	if (address_count != 0)
		qsort(sorted, address_count, sizeof(*sorted), compare_addresses);
	for (size_t i = 0; i < address_count; i++) {
		if (i == 0 || sorted[i].address != sorted[i - 1].address)
			count = cached ? symbol_cache_find(&opened->cache, sorted[i].address, frames) : 0;
		if (count == 0) {
			count = symbols_resolve(symbols, module, sorted[i].address, frames, SYMBOLS_FRAMES_MAX);
			if (cached)
				symbol_cache_add(&opened->cache, sorted[i].address, frames, count);
		}
		found(context, sorted[i].index, frames, count);
	}
	if (cached)
		save_cache(opened);
	free(sorted);
}

const char *symbols_module_problem(const struct symbols *symbols, uint32_t module)
{
	assert(module < symbols->module_count);
	const struct module *found = symbols->modules[module];
	if (found->problem == NULL && found->dwarf.damaged)
		return "debug information is damaged";
	return found->problem;
}

enum symbols_detail symbols_module_detail(const struct symbols *symbols, uint32_t module)
{
	assert(module < symbols->module_count);
	return symbols->modules[module]->detail;
}
