/* SPDX-License-Identifier: MIT */
/*
 * Walks _r_debug's list and the GNU hash tables in it.  Safe while another thread opens a library: the list is only
 * appended to, and libraries needed at the start stay; not to be used to look into one that may be closed meanwhile.
 */
#include "symbol.h"

#include <string.h>

#include "banned.h"

enum {
	MAPS_MAX = 16384,
	VERSION_HIDDEN = 0x8000,      /* kept for old programs only: dlsym does not find it, and complains with malloc */
};

extern struct r_debug _r_debug __attribute__((weak));

extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

static bool is_size(ElfW(Sxword) tag)
{
	return tag == DT_SONAME || tag == DT_RELASZ || tag == DT_PLTRELSZ || tag == DT_RELAENT || tag == DT_PLTREL;
}

/* Addresses in a dynamic section are made absolute by the loader, but for the vdso. */
uintptr_t symbol_dynamic(const ElfW(Dyn) *dynamic, uintptr_t base, ElfW(Sxword) tag)
{
	for (const ElfW(Dyn) *entry = dynamic; entry && entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == tag)
			return !is_size(tag) && entry->d_un.d_ptr < base ? entry->d_un.d_ptr + base : entry->d_un.d_ptr;
	return 0;
}

static uintptr_t dynamic_value(const struct link_map *map, ElfW(Sxword) tag)
{
	return symbol_dynamic(map->l_ld, map->l_addr, tag);
}

/* Goes through the entries of a name until `visit` says that it was this one. */
static void look_up(const struct link_map *map, const char *name,
	bool (*visit)(const ElfW(Sym) *symbol, bool hidden, void *argument), void *argument)
{
	const uint32_t *table = (const uint32_t *)dynamic_value(map, DT_GNU_HASH), *buckets, *chain;
	const ElfW(Sym) *symbols = (const ElfW(Sym) *)dynamic_value(map, DT_SYMTAB);
	const char *strings = (const char *)dynamic_value(map, DT_STRTAB);
	const uint16_t *versions = (const uint16_t *)dynamic_value(map, DT_VERSYM);
	uint32_t hash = 5381, index;

	if (!table || !symbols || !strings || table[0] == 0)
		return;
	for (const char *at = name; *at; at++)
		hash = hash * 33 + (unsigned char)*at;
	/* Four words; a Bloom filter of table[2] pairs; table[0] buckets; the chains, from symbol table[1] on. */
	buckets = table + 4 + 2 * table[2];
	chain = buckets + table[0];
	index = buckets[hash % table[0]];
	for (; index >= table[1]; index++) {
		uint32_t entry = chain[index - table[1]];

		if ((entry | 1) == (hash | 1) && strcmp(strings + symbols[index].st_name, name) == 0 &&
				symbols[index].st_shndx != SHN_UNDEF &&
				visit(&symbols[index], versions && versions[index] & VERSION_HIDDEN, argument))
			return;
		if (entry & 1)
			break;
	}
}

static bool visit_default(const ElfW(Sym) *symbol, bool hidden, void *argument)
{
	if (!hidden)
		*(const ElfW(Sym) **)argument = symbol;
	return !hidden;
}

uintptr_t symbol_find(const struct link_map *map, const char *name)
{
	const ElfW(Sym) *found = NULL;

	look_up(map, name, visit_default, &found);
	return found ? map->l_addr + found->st_value : 0;
}

struct visitor {
	void (*visit)(const ElfW(Sym) *symbol, void *argument);
	void *argument;
};

static bool visit_all(const ElfW(Sym) *symbol, bool hidden, void *argument)
{
	const struct visitor *visitor = argument;

	(void)hidden;
	visitor->visit(symbol, visitor->argument);
	return false;
}

void symbol_each(const struct link_map *map, const char *name, void (*visit)(const ElfW(Sym) *symbol, void *argument),
	void *argument)
{
	struct visitor visitor = { visit, argument };

	look_up(map, name, visit_all, &visitor);
}

static const struct link_map *first_map(void)
{
	return &_r_debug ? _r_debug.r_map : NULL;
}

static uintptr_t find_first(const char *name, const struct link_map **found, bool elsewhere)
{
	const struct link_map *map = first_map();

	for (unsigned i = 0; map && i < MAPS_MAX; i++, map = map->l_next) {
		uintptr_t symbol = elsewhere && map->l_ld == _DYNAMIC ? 0 : symbol_find(map, name);

		if (symbol) {
			if (found)
				*found = map;
			return symbol;
		}
	}
	return 0;
}

uintptr_t symbol_find_anywhere(const char *name, const struct link_map **found)
{
	return find_first(name, found, false);
}

uintptr_t symbol_find_elsewhere(const char *name, const struct link_map **found)
{
	return find_first(name, found, true);
}

bool symbol_is_module(uintptr_t start, uintptr_t end)
{
	const struct link_map *map = first_map();

	for (unsigned i = 0; map && i < MAPS_MAX; i++, map = map->l_next)
		if ((uintptr_t)map->l_ld >= start && (uintptr_t)map->l_ld < end)
			return true;
	return false;
}

bool symbol_we_are_late(void)
{
	const struct link_map *map = first_map();

	for (unsigned i = 0; map && i < MAPS_MAX; i++, map = map->l_next) {
		if (map->l_ld == _DYNAMIC)
			return false;
		if (symbol_find(map, "gnu_get_libc_version"))
			return true;
	}
	return false;
}

uintptr_t symbol_find_next(const void *address, const char *name)
{
	const struct link_map *map = first_map();
	bool behind = false;

	for (unsigned i = 0; map && i < MAPS_MAX; i++, map = map->l_next) {
		/* The dynamic section lies in its module, behind all code: the first such module holds the address. */
		uintptr_t symbol = behind ? symbol_find(map, name) : 0;

		if (symbol)
			return symbol;
		if ((uintptr_t)address >= map->l_addr && (uintptr_t)address < (uintptr_t)map->l_ld && map->l_addr != 0)
			behind = true;
	}
	return 0;
}
