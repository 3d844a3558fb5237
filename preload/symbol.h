/* SPDX-License-Identifier: MIT */
/*
 * Exported symbols by name, read from the loader's list of modules: no lock, no memory, and no trace in dlerror(),
 * which belongs to the program.  (A dlsym that fails leaves its message there, and fetching it loads translations.)
 */
#ifndef SCTMEM_PRELOAD_SYMBOL_H
#define SCTMEM_PRELOAD_SYMBOL_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The symbol in one module; 0: it has none of that name. */
uintptr_t symbol_find(const struct link_map *map, const char *name);

/* Calls `visit` with each entry of that name in a module's table, those kept for old programs too. */
void symbol_each(const struct link_map *map, const char *name, void (*visit)(const ElfW(Sym) *symbol, void *argument),
	void *argument);

/* The first module that has it, in the loader's order; *map (may be NULL) is that module. */
uintptr_t symbol_find_anywhere(const char *name, const struct link_map **map);

/* The same, without this very library. */
uintptr_t symbol_find_elsewhere(const char *name, const struct link_map **map);

/* The library was put into a running program: the loader has it behind the C library, where nobody is led to it. */
bool symbol_we_are_late(void);

/* Whether the loader has put a module into this range. */
bool symbol_is_module(uintptr_t start, uintptr_t end);

/* A value of a module's dynamic section, an address made absolute; 0: it is not there. */
uintptr_t symbol_dynamic(const ElfW(Dyn) *dynamic, uintptr_t base, ElfW(Sxword) tag);

/* The same among the modules behind the one that holds `address`: what RTLD_NEXT would find. */
uintptr_t symbol_find_next(const void *address, const char *name);

#endif
