/* SPDX-License-Identifier: MIT */
/*
 * From addresses in programs and libraries to functions, files and lines.
 *
 *     symbols_add_module -> index          nothing is opened yet
 *     symbols_resolve(index, address)      opens the module at its first address
 *
 *     module ---- module_files    the file that was running, its separate debug file
 *              |- dwarf_index     unit by address, function by address, inlined calls; each read at first use
 *              |- symbol_table    ELF symbols: for code without DWARF
 *              |- symbol_cache    what was looked up before: then neither of the two is opened
 *              `- name_pool       demangled names, paths
 *
 * ELF files are untrusted: damaged ones give unknown names, and symbols_module_problem says so.  Different threads
 * may resolve addresses of different modules at the same time, once all modules are added; one module belongs to
 * one thread.
 */
#ifndef SCTMEM_READER_SYMBOLS_H
#define SCTMEM_READER_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SYMBOLS_FRAMES_MAX = 64 };     /* an address never gives more frames */

/* Strings are bytes from untrusted files, at most 4095 of them; owned by symbols, valid until symbols_free. */
struct symbol_frame {
	const char *function;         /* demangled; NULL when unknown */
	const char *file;             /* as the compiler saw it; NULL when unknown */
	uint32_t line;                /* 0 when unknown */
	bool inlined;                 /* into the frame that follows */
	bool exact_function;          /* the function is known to cover the address; else it is the nearest label before */
};

/* All zeros is the default.  What pointers lead to must live as long as symbols. */
struct symbols_options {
	bool debuginfod;              /* ask the servers of DEBUGINFOD_URLS for missing debug files */
	const char *sysroot;          /* look for modules and /usr/lib/debug below this folder */
	const char *const *extra_paths;   /* folders with more binaries and debug files, NULL at the end; may be NULL */
	bool no_inlines;              /* one frame an address: the function as compiled, and the line in it */
	const char *cache_folder;     /* symbol_cache.h, for symbols_resolve_many; NULL: none */
};

/* How much a module's files tell. */
enum symbols_detail {
	SYMBOLS_NONE,                 /* nothing, or not opened yet */
	SYMBOLS_EXPORTED,             /* only functions that others may call: .dynsym */
	SYMBOLS_FUNCTIONS,            /* all functions: .symtab */
	SYMBOLS_LINES,                /* DWARF */
};

struct symbols;

struct symbols *symbols_new(const struct symbols_options *options);
void symbols_free(struct symbols *symbols);

/* Returns the module's index.  The same path and build-id give the same index. */
uint32_t symbols_add_module(struct symbols *symbols, const char *path, const uint8_t *build_id, size_t build_id_size);

/*
 * address: as in the ELF file (address in memory less the bias).  Innermost, that is inlined, frames first.
 * Returns the number of frames written, at least 1 (frames_max must be): frames[0].function is NULL when unknown.
 */
size_t symbols_resolve(struct symbols *symbols, uint32_t module, uint64_t address, struct symbol_frame *frames,
	size_t frames_max);

/* Many addresses of one module, in any order: looked up in the order in which the files are read fastest. */
void symbols_resolve_many(struct symbols *symbols, uint32_t module, const uint64_t *addresses, size_t address_count,
	void (*found)(void *context, size_t index, const struct symbol_frame *frames, size_t frame_count), void *context);

/* NULL, or one phrase that follows the module's name: "file has changed since (build-id differs)". */
const char *symbols_module_problem(const struct symbols *symbols, uint32_t module);
enum symbols_detail symbols_module_detail(const struct symbols *symbols, uint32_t module);

#endif
