/* SPDX-License-Identifier: MIT */
/*
 * The functions of an ELF symbol table, by address: for modules without DWARF, and for names that DWARF leaves out.
 * Built once, then searched; names point into the file, whose Elf must stay open.
 */
#ifndef SCTMEM_READER_SYMBOL_TABLE_H
#define SCTMEM_READER_SYMBOL_TABLE_H

#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address_map.h"

struct symbol {
	const char *name;             /* as the linker has it; a version may follow an @ */
	uint64_t start, size;         /* size 0: a label, up to the next symbol */
	uint8_t rank;                 /* of names for one address the one with the highest is shown */
};

/* All zeros is an empty table. */
struct symbol_table {
	struct address_map map;       /* to indexes of symbols */
	struct symbol *symbols;
	size_t symbol_count, symbol_capacity;
};

/* From .symtab, or if `dynamic` from .dynsym.  Returns whether there are any functions. */
bool symbol_table_load(struct symbol_table *table, Elf *elf, bool dynamic);
const struct symbol *symbol_table_find(const struct symbol_table *table, uint64_t address);
void symbol_table_finish(struct symbol_table *table);

#endif
