/* SPDX-License-Identifier: MIT */
/*
 * What libdw is to see of a file's compressed debug sections, before it opens the file.
 *
 * libdw decompresses all of them at opening, one after another, which is most of the work on a debug file: for libc's
 * 40 ms, when the rest of a small report takes 10.  So those that nobody will ask for are made to look empty, and the
 * others are decompressed here: on two threads, and by a library that is twice as fast as the one that libelf uses.
 * What this module does not read (zstd, the old .zdebug form, damage) it leaves as it is, and libdw decides.
 *
 * Only the descriptions in memory change; the file is not touched.  Sections are untrusted: none may claim to grow
 * beyond what deflate can.
 */
#ifndef SCTMEM_READER_DEBUG_SECTIONS_H
#define SCTMEM_READER_DEBUG_SECTIONS_H

#include <libelf.h>
#include <stddef.h>

/* The decompressed sections; all zeros is none.  They must live as long as the Elf. */
struct debug_sections {
	struct debug_section *sections;
	size_t count, capacity;
};

void debug_sections_prepare(struct debug_sections *sections, Elf *elf);
void debug_sections_finish(struct debug_sections *sections);

#endif
