/* SPDX-License-Identifier: MIT */
/*
 * When the library is preloaded, the loader resolves everybody's malloc to ours.  When it is put into a running
 * program (attach.c), that has long been done, so it is done again by hand, in two places:
 *
 *     slots      of each module, those of its relocations that name a hooked function and hold the real function's
 *                address now.  A slot that holds anything else is somebody's own business: an allocator of its own, a
 *                pointer that the program has changed, a call that was never made and is resolved when it is (below).
 *     symbols    in the module that defines the real function, the value of its entry in the table of symbols.  The
 *                loader adds the module's base to it; so it becomes our address less that base.  Who is resolved
 *                later, be it by a first call, a library opened later with all its constructors, or dlsym(), finds us
 *                exactly when it would have found the real function.  No lock of ours, no hook behind dlopen.
 *
 * Both are single words, stored atomically, while the other threads run: whoever loads one gets the real function or
 * ours, and either is right.  Pages that the loader has protected are made writable for the moment.
 *
 * The walk holds the lock under which modules come and go (dl_iterate_phdr), so none is unmapped meanwhile.  A library
 * that another thread is opening at this moment may have looked up the real function and not yet stored it: what such
 * races leave is caught by a second install a little later (sctmem_settle).
 */
#include "relocate.h"

#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "hooks.h"
#include "symbol.h"
#include "sys.h"
#include "unwind_modules.h"

#include "banned.h"

enum { PAGE = 4096 };

extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

/* One pass over all modules. */
struct pass {
	struct relocate_report *report;
	bool back;                            /* from ours to the real ones */
	struct unwind_extent mapping;         /* the last one that was looked up, */
	unsigned protection;                  /* and its protection */
	uint8_t initials[256];                /* whether a hooked name begins so */
};

/* The module at hand. */
struct module {
	struct pass *pass;
	uintptr_t base, start, end;
	const ElfW(Sym) *symbols;
	const char *strings;
};

/* The protection of a page; 0: it is not mapped. */
static unsigned protection_of(struct pass *pass, uintptr_t address)
{
	if (address - pass->mapping.start >= pass->mapping.end - pass->mapping.start)
		if (!unwind_mapping_look(address, &pass->mapping, &pass->protection))
			pass->mapping = (struct unwind_extent){ 0, 0 };
	return pass->mapping.end ? pass->protection : 0;
}

/* Stores a word, in a page that is only readable if need be.  false: that cannot be without touching code. */
static bool store(struct pass *pass, uintptr_t address, uintptr_t value)
{
	uintptr_t page = address & ~(uintptr_t)(PAGE - 1);
	unsigned protection = protection_of(pass, address);

	if (!(protection & PROT_READ) || protection & PROT_EXEC)
		return false;
	if (!(protection & PROT_WRITE) &&
			sys_failed(sys_call(SYS_mprotect, (long)page, PAGE, PROT_READ | PROT_WRITE, 0, 0, 0)))
		return false;
	__atomic_store_n((uintptr_t *)address, value, __ATOMIC_RELEASE);
	if (!(protection & PROT_WRITE))
		sys_call(SYS_mprotect, (long)page, PAGE, PROT_READ, 0, 0, 0);
	return true;
}

static const struct hook *find_hook(const struct pass *pass, const char *name)
{
	if (!pass->initials[(unsigned char)name[0]])
		return NULL;
	for (int i = 0; i < HOOKS_COUNT; i++)
		if (strcmp(hooks[i].name, name) == 0)
			return &hooks[i];
	return NULL;
}

static void visit_slot(struct module *module, const ElfW(Rela) *entry, const struct hook *hook)
{
	struct pass *pass = module->pass;
	uintptr_t slot = module->base + entry->r_offset;
	uintptr_t real = (uintptr_t)*hook->real, ours = (uintptr_t)hook->function;
	uintptr_t from = pass->back ? ours : real, to = pass->back ? real : ours;

	if (entry->r_addend != 0 || slot < module->start || slot >= module->end || slot % sizeof(slot) != 0)
		return;
	if (__atomic_load_n((uintptr_t *)slot, __ATOMIC_RELAXED) != from)
		return;
	if (store(pass, slot, to))
		pass->report->slots++;
	else
		pass->report->slots_left++;
}

static void visit_table(struct module *module, const ElfW(Rela) *table, size_t size)
{
	for (size_t i = 0; table && i < size / sizeof(*table); i++) {
		unsigned type = ELF64_R_TYPE(table[i].r_info);
		size_t symbol = ELF64_R_SYM(table[i].r_info);

#if defined(__x86_64__)
		if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64)
			continue;
#else
		if (type != R_AARCH64_JUMP_SLOT && type != R_AARCH64_GLOB_DAT && type != R_AARCH64_ABS64)
			continue;
#endif
		if (symbol == 0)
			continue;
		const struct hook *hook = find_hook(module->pass, module->strings + module->symbols[symbol].st_name);

		if (hook)
			visit_slot(module, &table[i], hook);
	}
}

/* dl_iterate_phdr's callback. */
static int visit_module(struct dl_phdr_info *info, size_t size, void *argument)
{
	struct module module = { .pass = argument, .base = info->dlpi_addr, .start = UINTPTR_MAX };
	const ElfW(Dyn) *dynamic = NULL;

	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + header->p_vaddr, end = start + header->p_memsz;

		if (header->p_type == PT_LOAD) {
			module.start = start < module.start ? start : module.start;
			module.end = end > module.end ? end : module.end;
		} else if (header->p_type == PT_DYNAMIC) {
			dynamic = (const ElfW(Dyn) *)start;
		}
	}
	if (!dynamic || dynamic == _DYNAMIC)
		return 0;
	module.symbols = (const ElfW(Sym) *)symbol_dynamic(dynamic, module.base, DT_SYMTAB);
	module.strings = (const char *)symbol_dynamic(dynamic, module.base, DT_STRTAB);
	if (!module.symbols || !module.strings)
		return 0;
	module.pass->report->modules++;
	visit_table(&module, (const ElfW(Rela) *)symbol_dynamic(dynamic, module.base, DT_RELA),
		symbol_dynamic(dynamic, module.base, DT_RELASZ));
	if (symbol_dynamic(dynamic, module.base, DT_PLTREL) == DT_RELA)
		visit_table(&module, (const ElfW(Rela) *)symbol_dynamic(dynamic, module.base, DT_JMPREL),
			symbol_dynamic(dynamic, module.base, DT_PLTRELSZ));
	return 0;
}

/* One definition of a hooked function. */
struct definition {
	struct pass *pass;
	uintptr_t base, from, to;
};

static void visit_symbol(const ElfW(Sym) *symbol, void *argument)
{
	struct definition *definition = argument;
	uintptr_t value = (uintptr_t)&symbol->st_value;

	if (definition->base + symbol->st_value != definition->from || value % sizeof(uintptr_t) != 0)
		return;
	if (store(definition->pass, value, definition->to - definition->base))
		definition->pass->report->symbols++;
	else
		definition->pass->report->symbols_left++;
}

static void visit_definitions(struct pass *pass)
{
	for (int i = 0; i < HOOKS_COUNT; i++) {
		uintptr_t real = (uintptr_t)*hooks[i].real, ours = (uintptr_t)hooks[i].function;
		const struct link_map *map;

		/* A function that is missing here has no definition but ours; what stands in for it is not to be found. */
		if (!symbol_find_elsewhere(hooks[i].name, &map))
			continue;
		struct definition definition = { pass, map->l_addr, pass->back ? ours : real, pass->back ? real : ours };

		symbol_each(map, hooks[i].name, visit_symbol, &definition);
	}
}

static void run(struct relocate_report *report, bool back)
{
	struct pass pass = { .report = report, .back = back };

	*report = (struct relocate_report){ 0 };
	for (int i = 0; i < HOOKS_COUNT; i++)
		pass.initials[(unsigned char)hooks[i].name[0]] = 1;
	/* Definitions first: what is resolved from here on is right, and what was before is found by the walk. */
	visit_definitions(&pass);
	dl_iterate_phdr(visit_module, &pass);
}

void relocate_install(struct relocate_report *report)
{
	run(report, false);
}

void relocate_restore(struct relocate_report *report)
{
	run(report, true);
}
