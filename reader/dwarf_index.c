/* SPDX-License-Identifier: MIT */
/*
 * The tree of debugging entries is walked with libdw, which checks what it reads; the walks here bound depth,
 * number of entries and number of ranges, so that a damaged file costs a moment and gives unknown names.
 *
 * Functions are first looked for where compilers put nearly all: at the top of the unit, in namespaces and in
 * classes.  Only an address that none of those covers makes us look inside functions too (nested functions,
 * members of local classes).
 */
#include "dwarf_index.h"

#include <dwarf.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "demangle.h"
#include "memory.h"

enum {
	DEPTH_MAX = 128,
	RANGES_MAX = 1 << 23,         /* in a module; the largest programs have some millions */
	CALLS_MAX = 1 << 20,          /* inlined into one function */
	UNITS_MAX = 1 << 20,
	NAME_SIZE_MAX = 4096,
};

/* A call that the compiler replaced by the function's body. */
struct inlined_call {
	Dwarf_Die die;
	uint32_t parent;              /* the call in whose body this one is, or ADDRESS_MAP_NONE */
	uint32_t line;                /* of the call */
	const char *file;
	const char *function;         /* once asked for */
};

struct dwarf_function {
	Dwarf_Die die;
	struct inlined_call *calls;
	size_t call_count, call_capacity;
	struct address_map map;       /* to indexes of calls */
	const char *name;             /* once asked for */
	bool name_is_plain;
	bool read;                    /* calls and map are filled */
};

struct dwarf_unit {
	Dwarf_Die lines;              /* has the line table */
	Dwarf_Die code;               /* has the functions: the same, or that of the .dwo file */
	struct dwarf_function *functions;
	size_t function_count, function_capacity;
	struct address_map map;       /* to indexes of functions */
	const char *folder;           /* that relative paths are relative to; may be NULL */
	struct line_program line_program;
	const char **paths;           /* by file number, once asked for; when own_lines */
	bool read, read_deep;
	bool own_lines;               /* line_program is filled; else lines are libdw's */
	bool c;                       /* whose names have no scopes: plain ones are whole */
	bool split;                   /* code is that of a .dwo file, whose file numbers are its own */
	bool kept;                    /* was read a second time: addresses do not come unit by unit here */
	uint64_t range_count;         /* read for it, of index.range_count */
};

/* ---- ranges and walks ---- */

/* Adds the entry's code to the map; false when it has none. */
static bool add_ranges(struct dwarf_index *index, struct address_map *map, Dwarf_Die *die, uint32_t value,
	uint32_t rank)
{
	Dwarf_Addr base = 0, start = 0, end = 0;
	ptrdiff_t offset = 0;
	bool any = false;
	while (index->range_count < RANGES_MAX && (offset = dwarf_ranges(die, offset, &base, &start, &end)) > 0) {
		index->range_count++;
		if (start < index->text_start || start >= index->text_end || start == 0)
			continue;
		address_map_add(map, start, end, value, rank);
		any = true;
	}
	if (offset < 0)
		index->damaged = true;
	return any;
}

struct walk {
	struct { Dwarf_Die die; uint32_t call; } stack[DEPTH_MAX];
	size_t depth;                 /* entries in the stack; the last is the current one */
};

static bool walk_start(struct walk *walk, Dwarf_Die *parent)
{
	walk->stack[0].call = ADDRESS_MAP_NONE;
	walk->depth = dwarf_child(parent, &walk->stack[0].die) == 0;
	return walk->depth != 0;
}

/* To the first child if `descend` and there is one; else on.  False at the end. */
static bool walk_next(struct walk *walk, bool descend, uint32_t call)
{
	if (descend && walk->depth < DEPTH_MAX &&
			dwarf_child(&walk->stack[walk->depth - 1].die, &walk->stack[walk->depth].die) == 0) {
		walk->stack[walk->depth++].call = call;
		return true;
	}
	while (walk->depth != 0) {
		Dwarf_Die next;
		if (dwarf_siblingof(&walk->stack[walk->depth - 1].die, &next) == 0) {
			walk->stack[walk->depth - 1].die = next;
			return true;
		}
		walk->depth--;
	}
	return false;
}

/* ---- names ---- */

static const char *attribute_text(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;
	return dwarf_attr_integrate(die, name, &attribute) != NULL ? dwarf_formstring(&attribute) : NULL;
}

static const char *name_of(struct dwarf_index *index, Dwarf_Die *die, bool *is_plain)
{
	char readable[NAME_SIZE_MAX];
	const char *name = attribute_text(die, DW_AT_linkage_name);
	if (name == NULL)
		name = attribute_text(die, DW_AT_MIPS_linkage_name);
	*is_plain = name == NULL;
	if (name == NULL)
		name = attribute_text(die, DW_AT_name);
	if (name == NULL)
		return NULL;
	demangle(name, readable, sizeof(readable));
	return name_pool_keep(index->names, readable);
}

/* Appends "/part", cutting what does not fit into `size`. */
static size_t join_path(char *path, size_t size, size_t used, const char *part)
{
	if (used != 0 && used + 1 < size)
		path[used++] = '/';
	demangle_copy(part, path + used, size - used);
	return used + strlen(path + used);
}

static bool is_absolute(const char *path)
{
	return path[0] == '/' || path[0] == '<';   /* "<built-in>", "<artificial>" */
}

/*
 * Makes paths absolute where the unit knows from where, and leaves out "./" and "//", which never mean anything.
 * ".." stays: with symbolic links it does.
 */
static const char *keep_path(struct dwarf_index *index, const struct dwarf_unit *unit, const char *folder,
	const char *file)
{
	char joined[NAME_SIZE_MAX], path[NAME_SIZE_MAX];
	size_t used = 0, size = 0;
	if (file == NULL || file[0] == '\0')
		return NULL;
	if (!is_absolute(file)) {
		bool from_unit = folder == NULL || !is_absolute(folder);
		if (from_unit && unit->folder != NULL)
			used = join_path(joined, sizeof(joined) / 4, used, unit->folder);
		if (folder != NULL)
			used = join_path(joined, sizeof(joined) / 2, used, folder);
	}
	join_path(joined, sizeof(joined), used, file);
	for (const char *at = joined; *at != '\0'; at++) {
		bool at_start = at == joined || at[-1] == '/';
		if (*at == '/' && at_start && at != joined)
			continue;
		if (*at == '.' && at_start && at[1] == '/' && at != joined) {
			at++;
			continue;
		}
		path[size++] = *at;
	}
	path[size] = '\0';
	return name_pool_keep(index->names, path);
}

static const char *file_by_number(struct dwarf_index *index, struct dwarf_unit *unit, uint64_t number)
{
	const char *folder = NULL, *name = line_program_file(&unit->line_program, number, &folder);
	if (name == NULL)
		return NULL;
	if (unit->paths == NULL)
		unit->paths = memory_new(unit->line_program.file_count, sizeof(*unit->paths));
	if (unit->paths[number] == NULL)
		unit->paths[number] = keep_path(index, unit, folder, name);
	return unit->paths[number];
}

static const char *file_of_call(struct dwarf_index *index, struct dwarf_unit *unit, Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	Dwarf_Word number = 0;
	Dwarf_Files *files;
	size_t file_count;
	if (dwarf_attr(die, DW_AT_call_file, &attribute) == NULL || dwarf_formudata(&attribute, &number) != 0)
		return NULL;
	if (unit->own_lines && !unit->split)
		return file_by_number(index, unit, number);
	if (dwarf_getsrcfiles(&unit->code, &files, &file_count) != 0 || number >= file_count)
		return NULL;
	return keep_path(index, unit, NULL, dwarf_filesrc(files, number, NULL, NULL));
}

static uint32_t line_of_call(Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	Dwarf_Word line = 0;
	if (dwarf_attr(die, DW_AT_call_line, &attribute) == NULL || dwarf_formudata(&attribute, &line) != 0 ||
			line > INT32_MAX)
		return 0;
	return (uint32_t)line;
}

/* ---- functions and inlined calls ---- */

static bool holds_functions(int tag, bool deep)
{
	switch (tag) {
	case DW_TAG_namespace:
	case DW_TAG_module:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
	case DW_TAG_interface_type:
		return true;
	case DW_TAG_subprogram:
	case DW_TAG_lexical_block:
	case DW_TAG_inlined_subroutine:
	case DW_TAG_try_block:
	case DW_TAG_catch_block:
		return deep;
	default:
		return false;
	}
}

static bool is_c(Dwarf_Die *unit)
{
	switch (dwarf_srclang(unit)) {
	case DW_LANG_C:
	case DW_LANG_C89:
	case DW_LANG_C99:
	case DW_LANG_C11:
	case DW_LANG_Mips_Assembler:
		return true;
	default:
		return false;
	}
}

static void add_function(struct dwarf_index *index, struct dwarf_unit *unit, Dwarf_Die *die, uint32_t rank)
{
	uint32_t number = (uint32_t)unit->function_count;
	if (!add_ranges(index, &unit->map, die, number, rank))
		return;
	unit->functions = memory_grow(unit->functions, &unit->function_capacity, unit->function_count + 1,
		sizeof(*unit->functions));
	unit->functions[unit->function_count++] = (struct dwarf_function){ .die = *die };
}

static void read_functions(struct dwarf_index *index, struct dwarf_unit *unit, bool deep)
{
	struct walk walk;
	bool types = deep || !unit->c;
	for (bool more = walk_start(&walk, &unit->code); more;) {
		Dwarf_Die *die = &walk.stack[walk.depth - 1].die;
		int tag = dwarf_tag(die);
		if (tag == DW_TAG_subprogram && (!deep || walk.depth > 1))
			add_function(index, unit, die, (uint32_t)walk.depth);
		more = walk_next(&walk, types && holds_functions(tag, deep), ADDRESS_MAP_NONE);
	}
}

static void free_functions(struct dwarf_unit *unit)
{
	for (size_t i = 0; i < unit->function_count; i++) {
		address_map_finish(&unit->functions[i].map);
		free(unit->functions[i].calls);
	}
	free(unit->functions);
	unit->functions = NULL;
	unit->function_count = unit->function_capacity = 0;
	address_map_finish(&unit->map);
}

static bool read_lines(struct dwarf_index *index, struct dwarf_unit *unit)
{
	Dwarf_Attribute attribute;
	Dwarf_Word offset = 0;
	return index->own_lines && dwarf_attr(&unit->lines, DW_AT_stmt_list, &attribute) != NULL &&
		dwarf_formudata(&attribute, &offset) == 0 &&
		line_program_read(&unit->line_program, &index->line_sections, offset, index->text_start, index->text_end);
}

static void read_unit(struct dwarf_index *index, struct dwarf_unit *unit)
{
	Dwarf_Die split;
	uint8_t kind = 0;
	unit->read = true;
	unit->folder = attribute_text(&unit->lines, DW_AT_comp_dir);
	unit->code = unit->lines;
	const bool skeleton = dwarf_cu_info(unit->lines.cu, NULL, &kind, NULL, &split, NULL, NULL, NULL) == 0 &&
		kind == DW_UT_skeleton;
	index->foreign |= skeleton;
	unit->split = skeleton && split.addr != NULL;
	if (unit->split)
		unit->code = split;
	unit->c = is_c(&unit->code);
	unit->own_lines = read_lines(index, unit);
	read_functions(index, unit, false);
	address_map_build(&unit->map);
}

/* Reads the unit again, now with the functions inside functions. */
static void read_unit_deep(struct dwarf_index *index, struct dwarf_unit *unit)
{
	unit->read_deep = true;
	free_functions(unit);
	read_functions(index, unit, false);
	read_functions(index, unit, true);
	address_map_build(&unit->map);
}

/* What was read of a unit.  It is read again when an address asks for it, and then stays. */
static void forget_unit(struct dwarf_index *index, struct dwarf_unit *unit)
{
	free_functions(unit);
	line_program_finish(&unit->line_program);
	free(unit->paths);
	unit->paths = NULL;
	unit->read = unit->read_deep = false;
	unit->kept = true;
	index->range_count -= unit->range_count;
	unit->range_count = 0;
}

/*
 * Most units hold much more than the few addresses that are asked for, and addresses come in order: the unit before is
 * forgotten, but at most once, since units may lie among each other.
 */
static void enter_unit(struct dwarf_index *index, uint32_t number)
{
	if (index->current == number)
		return;
	if (index->current < index->unit_count && index->units[index->current].read && !index->units[index->current].kept)
		forget_unit(index, &index->units[index->current]);
	index->current = number;
}

static struct dwarf_function *find_function(struct dwarf_index *index, struct dwarf_unit *unit, uint64_t address)
{
	if (!unit->read)
		read_unit(index, unit);
	uint32_t number = address_map_find(&unit->map, address);
	if (number == ADDRESS_MAP_NONE && !unit->read_deep) {
		read_unit_deep(index, unit);
		number = address_map_find(&unit->map, address);
	}
	return number != ADDRESS_MAP_NONE ? &unit->functions[number] : NULL;
}

static void read_calls(struct dwarf_index *index, struct dwarf_unit *unit, struct dwarf_function *function)
{
	struct walk walk;
	function->read = true;
	for (bool more = walk_start(&walk, &function->die); more;) {
		Dwarf_Die *die = &walk.stack[walk.depth - 1].die;
		uint32_t call = walk.stack[walk.depth - 1].call;
		int tag = dwarf_tag(die);
		bool descend = tag == DW_TAG_lexical_block || tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
		if (tag == DW_TAG_inlined_subroutine && function->call_count < CALLS_MAX) {
			uint32_t number = (uint32_t)function->call_count;
			descend = add_ranges(index, &function->map, die, number, (uint32_t)walk.depth);
			if (descend) {
				function->calls = memory_grow(function->calls, &function->call_capacity,
					function->call_count + 1, sizeof(*function->calls));
				function->calls[function->call_count++] = (struct inlined_call){ .die = *die,
					.parent = call, .line = line_of_call(die), .file = file_of_call(index, unit, die) };
				call = number;
			}
		}
		more = walk_next(&walk, descend, call);
	}
	address_map_build(&function->map);
}

/* ---- the index ---- */

static void forget_units(struct dwarf_index *index)
{
	for (size_t i = 0; i < index->unit_count; i++) {
		free_functions(&index->units[i]);
		line_program_finish(&index->units[i].line_program);
		free(index->units[i].paths);
	}
	free(index->units);
	index->units = NULL;
	index->unit_count = index->unit_capacity = 0;
	index->current = UINT32_MAX;
	index->range_count = 0;
	address_map_finish(&index->map);
}

static void add_unit(struct dwarf_index *index, const Dwarf_Die *die)
{
	index->units = memory_grow(index->units, &index->unit_capacity, index->unit_count + 1, sizeof(*index->units));
	index->units[index->unit_count++] = (struct dwarf_unit){ .lines = *die };
}

/* All units, by what each says of itself. */
static void list_units(struct dwarf_index *index)
{
	Dwarf_Die die;
	Dwarf_CU *unit = NULL;
	int state = 0;

	index->complete = true;
	while (index->unit_count < UNITS_MAX &&
			(state = dwarf_get_units(index->dwarf, unit, &unit, NULL, NULL, &die, NULL)) == 0) {
		if (dwarf_tag(&die) != DW_TAG_type_unit &&
				add_ranges(index, &index->map, &die, (uint32_t)index->unit_count, 0))
			add_unit(index, &die);
	}
	if (state < 0)
		index->damaged = true;
	address_map_build(&index->map);
}

static int compare_offsets(const void *a, const void *b)
{
	const Dwarf_Off left = *(const Dwarf_Off *)a, right = *(const Dwarf_Off *)b;

	return left < right ? -1 : left > right;
}

/* The units that the table has code of, in the order of the file, as list_units() has them. */
static size_t list_offsets(Dwarf_Aranges *table, size_t count, Dwarf_Off *offsets)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		Dwarf_Addr start;
		Dwarf_Word size;
		if (dwarf_getarangeinfo(dwarf_onearange(table, i), &start, &size, &offsets[kept]) != 0)
			return 0;
		kept += kept == 0 || offsets[kept] != offsets[kept - 1];
	}
	qsort(offsets, kept, sizeof(*offsets), compare_offsets);
	count = kept;
	kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || offsets[i] != offsets[kept - 1])
			offsets[kept++] = offsets[i];
	}
	return kept;
}

static bool add_table(struct dwarf_index *index, Dwarf_Aranges *table, size_t count, const Dwarf_Off *offsets,
	size_t unit_count)
{
	for (size_t i = 0; i < unit_count; i++) {
		Dwarf_Die die;
		if (dwarf_offdie(index->dwarf, offsets[i], &die) == NULL)
			return false;
		add_unit(index, &die);
	}
	for (size_t i = 0; i < count; i++) {
		Dwarf_Addr start;
		Dwarf_Word size;
		Dwarf_Off offset;
		if (dwarf_getarangeinfo(dwarf_onearange(table, i), &start, &size, &offset) != 0)
			return false;
		if (start < index->text_start || start >= index->text_end || start == 0)
			continue;
		const Dwarf_Off *unit = bsearch(&offset, offsets, unit_count, sizeof(*offsets), compare_offsets);
		address_map_add(&index->map, start, start + size, (uint32_t)(unit - offsets), 0);
	}
	return true;
}

/*
 * The file's own table of what code each unit has (.debug_aranges): asking the units for it takes ten times as long.
 * Not all compilers write one, so an address that it does not have still makes us list all units.
 */
static bool list_units_by_table(struct dwarf_index *index)
{
	Dwarf_Aranges *table = NULL;
	size_t count = 0;

	if (dwarf_getaranges(index->dwarf, &table, &count) != 0 || count == 0 || count > UNITS_MAX)
		return false;
	Dwarf_Off *offsets = memory_new(count, sizeof(*offsets));
	const size_t unit_count = list_offsets(table, count, offsets);
	const bool ok = unit_count != 0 && add_table(index, table, count, offsets, unit_count);
	free(offsets);
	if (ok)
		address_map_build(&index->map);
	else
		forget_units(index);
	return ok;
}

static uint32_t find_unit(struct dwarf_index *index, uint64_t address)
{
	uint32_t number = address_map_find(&index->map, address);
	if (number == ADDRESS_MAP_NONE && !index->complete) {
		forget_units(index);
		list_units(index);
		number = address_map_find(&index->map, address);
	}
	return number;
}

bool dwarf_index_open(struct dwarf_index *index, Elf *elf, uint64_t text_start, uint64_t text_end,
	struct name_pool *names)
{
	*index = (struct dwarf_index){ .names = names, .text_start = text_start, .text_end = text_end,
		.current = UINT32_MAX };
	debug_sections_prepare(&index->sections, elf);
	index->dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
	if (index->dwarf == NULL)
		return false;
	index->own_lines = line_sections_find(&index->line_sections, elf);
	if (!list_units_by_table(index))
		list_units(index);
	return true;
}

static void fill_line(struct dwarf_index *index, struct dwarf_unit *unit, uint64_t address,
	struct symbol_frame *frame)
{
	int line = 0;
	if (unit->own_lines) {
		uint32_t file = 0;
		if (line_program_find(&unit->line_program, address, &file, &frame->line))
			frame->file = file_by_number(index, unit, file);
		return;
	}
	Dwarf_Line *row = dwarf_getsrc_die(&unit->lines, address);
	if (row == NULL)
		return;
	if (dwarf_lineno(row, &line) == 0 && line > 0)
		frame->line = (uint32_t)line;
	frame->file = keep_path(index, unit, NULL, dwarf_linesrc(row, NULL, NULL));
}

size_t dwarf_index_resolve(struct dwarf_index *index, uint64_t address, struct symbol_frame *frames,
	size_t frames_max, bool *name_is_plain)
{
	uint32_t number = find_unit(index, address);
	if (number == ADDRESS_MAP_NONE || frames_max == 0)
		return 0;
	enter_unit(index, number);
	struct dwarf_unit *unit = &index->units[number];
	const uint64_t ranges_before = index->range_count;
	struct dwarf_function *function = find_function(index, unit, address);
	struct symbol_frame frame = { .exact_function = true };
	size_t count = 0;

	fill_line(index, unit, address, &frame);
	*name_is_plain = true;
	if (function != NULL) {
		if (!function->read)
			read_calls(index, unit, function);
		/* A parent has a smaller number than its child, so this ends. */
		for (uint32_t call = address_map_find(&function->map, address);
				call != ADDRESS_MAP_NONE && count + 1 < frames_max; call = function->calls[call].parent) {
			struct inlined_call *inlined = &function->calls[call];
			bool ignored;
			if (inlined->function == NULL)
				inlined->function = name_of(index, &inlined->die, &ignored);
			frame.function = inlined->function;
			frame.inlined = true;
			frames[count++] = frame;
			frame = (struct symbol_frame){ .file = inlined->file, .line = inlined->line,
				.exact_function = true };
		}
		if (function->name == NULL)
			function->name = name_of(index, &function->die, &function->name_is_plain);
		frame.function = function->name;
		*name_is_plain = function->name == NULL || (function->name_is_plain && !unit->c);
	}
	frames[count++] = frame;
	unit->range_count += index->range_count - ranges_before;
	return count;
}

void dwarf_index_close(struct dwarf_index *index)
{
	forget_units(index);
	dwarf_end(index->dwarf);
	debug_sections_finish(&index->sections);
	memset(index, 0, sizeof(*index));
}
