/* SPDX-License-Identifier: MIT */
/*
 * What is mapped where: the module that holds an address, with its unwind tables and the parts of it that can be
 * read, and the mapping that holds a stack.  For unwind.c and stack_native.c.
 */
#ifndef SCTMEM_PRELOAD_UNWIND_MODULES_H
#define SCTMEM_PRELOAD_UNWIND_MODULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNWIND_EXTENTS_MAX = 6 };

/* Memory that can be read: [start, end). */
struct unwind_extent {
	uintptr_t start;
	uintptr_t end;
};

struct unwind_module {
	uintptr_t start;              /* the module covers [start, end), perhaps with holes */
	uintptr_t end;
	uintptr_t frame_header;       /* of .eh_frame_hdr; 0 when the module has none */
	struct unwind_extent extents[UNWIND_EXTENTS_MAX];   /* readable parts, in no order; unused ones are empty */
};

/* The module that holds an address, as of a generation (rules of an older one may be of another module). */
bool unwind_module_find(uintptr_t pc, uint32_t generation, struct unwind_module *module);
/* The readable part that holds an address; an empty one when there is none. */
struct unwind_extent unwind_module_extent(const struct unwind_module *module, uintptr_t address);
/* Tests: pretend that the C library has no _dl_find_object (glibc before 2.35). */
void unwind_modules_without_loader(bool without);

/* The mapping that holds an address, if it can be read and written.  Reads /proc/self/maps: tens of microseconds. */
bool unwind_mapping_find(uintptr_t address, struct unwind_extent *mapping);
/* The mapping that holds an address, and its protection (PROT_READ ...). */
bool unwind_mapping_look(uintptr_t address, struct unwind_extent *mapping, unsigned *protection);
/* Whether each page of [start, end) can be read.  One system call for 64 pages. */
bool unwind_pages_readable(uintptr_t start, uintptr_t end);

#endif
