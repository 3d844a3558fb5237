/* SPDX-License-Identifier: MIT */
/*
 * A module's DWARF, by address.  Three levels, each read when the first address falls into it:
 *
 *     module      address -> unit            ranges of all compilation units, at opening
 *     unit        address -> function        the functions of one unit; its line table
 *     function    address -> inlined call    the calls inlined into one function, nested
 *
 * so that the cost is that of the units touched, not of the file.  What was read of a unit is forgotten when the next
 * one is asked for: addresses in ascending order need the memory of one unit.
 */
#ifndef SCTMEM_READER_DWARF_INDEX_H
#define SCTMEM_READER_DWARF_INDEX_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address_map.h"
#include "debug_sections.h"
#include "line_program.h"
#include "name_pool.h"
#include "symbols.h"

struct dwarf_unit;

/* All zeros is an index of nothing. */
struct dwarf_index {
	Dwarf *dwarf;
	struct debug_sections sections;   /* of the Elf, which must not be asked for them afterwards */
	struct name_pool *names;
	struct dwarf_unit *units;
	size_t unit_count, unit_capacity;
	struct address_map map;       /* to indexes of units */
	bool complete;                /* the map has all units; else those of the file's own table */
	struct line_sections line_sections;
	bool own_lines;               /* line_sections can be read; else lines are libdw's */
	uint64_t text_start, text_end;    /* ranges that begin elsewhere are those of code that the linker dropped */
	uint64_t range_count;         /* read so far, in all: damaged files can make it explode */
	uint32_t current;             /* the unit of the address resolved last; UINT32_MAX: none */
	bool damaged;
	bool foreign;                 /* a part is in .dwo files, or should be */
};

/* False when there is no DWARF that can be read. */
bool dwarf_index_open(struct dwarf_index *index, Elf *elf, uint64_t text_start, uint64_t text_end,
	struct name_pool *names);

/*
 * Returns the number of frames written, innermost first; 0 when no unit covers the address.  The last is the
 * function as compiled; its name is NULL when DWARF has none, and then only file and line are known.
 * *name_is_plain: that name is one without scope or template arguments, which a symbol may have.
 */
size_t dwarf_index_resolve(struct dwarf_index *index, uint64_t address, struct symbol_frame *frames,
	size_t frames_max, bool *name_is_plain);

void dwarf_index_close(struct dwarf_index *index);

#endif
