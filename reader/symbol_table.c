/* SPDX-License-Identifier: MIT */
/*
 * Which symbols are kept, and which of several at one address gives the name.
 *
 * Kept is what lies in an executable section: functions, and labels of unknown type (assembler code).  An address
 * belongs to the symbol whose extent covers it; a label's extent goes to the next symbol, but never into or out of
 * a function of known size.  Beyond a function's size there is no name: the code there had its symbol stripped, and
 * naming it after its neighbour would be a lie.
 */
#include "symbol_table.h"

#include <gelf.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum {
	SYMBOLS_MAX = 1 << 24,
	SECTIONS_MAX = 1 << 20,
};

struct executable_sections {
	struct { uint64_t start, end; } *at;   /* by section index; 0, 0: no code */
	size_t count;
};

static void read_sections(struct executable_sections *sections, Elf *elf)
{
	size_t count = 0;
	GElf_Shdr header;
	if (elf_getshdrnum(elf, &count) != 0 || count > SECTIONS_MAX)
		count = 0;
	sections->count = count;
	sections->at = memory_new(count, sizeof(*sections->at));
	for (size_t i = 0; i < count; i++) {
		Elf_Scn *section = elf_getscn(elf, i);
		if (section == NULL || gelf_getshdr(section, &header) == NULL || !(header.sh_flags & SHF_EXECINSTR) ||
				header.sh_addr + header.sh_size < header.sh_addr)
			continue;
		sections->at[i].start = header.sh_addr;
		sections->at[i].end = header.sh_addr + header.sh_size;
	}
}

/* The higher the better: known type and size, global binding, few leading underscores, no version. */
static uint8_t rank_symbol(const GElf_Sym *symbol, const char *name)
{
	unsigned type = GELF_ST_TYPE(symbol->st_info), binding = GELF_ST_BIND(symbol->st_info);
	unsigned rank = type == STT_FUNC ? 2 : type == STT_GNU_IFUNC ? 1 : 0;
	unsigned underscores = (unsigned)strspn(name, "_");
	rank = rank * 2 + (symbol->st_size != 0);
	rank = rank * 3 + (binding == STB_GLOBAL || binding == STB_GNU_UNIQUE ? 2 : binding == STB_WEAK ? 1 : 0);
	/* Mangled names begin with one, and are none the worse for it. */
	rank = rank * 3 + (underscores <= 1 ? 2 : underscores == 2 ? 1 : 0);
	return (uint8_t)(rank * 2 + (strchr(name, '@') == NULL));
}

static bool is_wanted(const GElf_Sym *symbol, const char *name)
{
	unsigned type = GELF_ST_TYPE(symbol->st_info);
	if (name == NULL || name[0] == '\0' || symbol->st_shndx == SHN_UNDEF)
		return false;
	if (type == STT_FUNC || type == STT_GNU_IFUNC)
		return true;
	/* "$x" marks code and data on ARM; ".L" labels are the compiler's own. */
	return type == STT_NOTYPE && name[0] != '$' && strncmp(name, ".L", 2) != 0;
}

static void read_symbols(struct symbol_table *table, Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
	const struct executable_sections *sections)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Sym symbol;
	if (data == NULL || header->sh_entsize == 0)
		return;
	size_t count = data->d_size / gelf_fsize(elf, ELF_T_SYM, 1, EV_CURRENT);
	for (size_t i = 1; i < count && i < SYMBOLS_MAX; i++) {
		if (gelf_getsym(data, (int)i, &symbol) == NULL)
			break;
		const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!is_wanted(&symbol, name) || symbol.st_value + symbol.st_size < symbol.st_value)
			continue;
		/* Absolute symbols, and sections numbered beyond 0xff00, are nowhere: no compiler puts code there. */
		if (symbol.st_shndx >= sections->count || symbol.st_value < sections->at[symbol.st_shndx].start ||
				symbol.st_value >= sections->at[symbol.st_shndx].end)
			continue;
		table->symbols = memory_grow(table->symbols, &table->symbol_capacity, table->symbol_count + 1,
			sizeof(*table->symbols));
		table->symbols[table->symbol_count++] = (struct symbol){ .name = name, .start = symbol.st_value,
			.size = symbol.st_size, .rank = rank_symbol(&symbol, name) };
	}
}

static int compare_symbols(const void *left, const void *right)
{
	const struct symbol *a = left, *b = right;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank > b->rank ? -1 : 1;
	/* Any order will do, as long as it is the same each time. */
	size_t a_size = strlen(a->name), b_size = strlen(b->name);
	return a_size != b_size ? (a_size < b_size ? -1 : 1) : strcmp(a->name, b->name);
}

static uint64_t section_end(const struct executable_sections *sections, uint64_t address)
{
	for (size_t i = 0; i < sections->count; i++) {
		if (address >= sections->at[i].start && address < sections->at[i].end)
			return sections->at[i].end;
	}
	return address;
}

/* Symbols are sorted: of those at one address, the first is the one to show. */
static void build_map(struct symbol_table *table, const struct executable_sections *sections)
{
	uint64_t sized_end = 0;   /* of the functions so far */
	for (size_t i = 0; i < table->symbol_count; i++) {
		const struct symbol *symbol = &table->symbols[i];
		size_t next = i + 1;
		if (i != 0 && symbol->start == table->symbols[i - 1].start)
			continue;
		while (next < table->symbol_count && table->symbols[next].start == symbol->start)
			next++;
		if (symbol->size != 0) {
			uint64_t end = symbol->start + symbol->size;
			address_map_add(&table->map, symbol->start, end, (uint32_t)i, 0);
			if (end > sized_end)
				sized_end = end;
		} else if (symbol->start >= sized_end) {
			uint64_t end = section_end(sections, symbol->start);
			if (next < table->symbol_count && table->symbols[next].start < end)
				end = table->symbols[next].start;
			address_map_add(&table->map, symbol->start, end, (uint32_t)i, 0);
		}
	}
	address_map_build(&table->map);
}

bool symbol_table_load(struct symbol_table *table, Elf *elf, bool dynamic)
{
	struct executable_sections sections;
	GElf_Shdr header;

	read_sections(&sections, elf);
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
		if (gelf_getshdr(section, &header) != NULL && header.sh_type == (dynamic ? SHT_DYNSYM : SHT_SYMTAB))
			read_symbols(table, elf, section, &header, &sections);
	}
	if (table->symbol_count != 0) {
		qsort(table->symbols, table->symbol_count, sizeof(*table->symbols), compare_symbols);
		build_map(table, &sections);
	}
	free(sections.at);
	return table->symbol_count != 0;
}

const struct symbol *symbol_table_find(const struct symbol_table *table, uint64_t address)
{
	uint32_t index = address_map_find(&table->map, address);
	return index != ADDRESS_MAP_NONE ? &table->symbols[index] : NULL;
}

void symbol_table_finish(struct symbol_table *table)
{
	address_map_finish(&table->map);
	free(table->symbols);
	memset(table, 0, sizeof(*table));
}
