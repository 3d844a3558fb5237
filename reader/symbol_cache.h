/* SPDX-License-Identifier: MIT */
/*
 * Names of native functions that were looked up before, kept in the user's cache folder: a second look at a capture,
 * or at another one of the same program, opens no debug file.  Used by symbols.c alone, and only as it is told to.
 *
 *     FOLDER/HASH.names    | cache_head | cache_key | payload as names.h has it, frames ascending |
 *
 * One file for each pair of a module's file and its debug file.  The key says which they were (device, inode, size,
 * times), and which sctmem and libdw looked: when any of that is another, the file is as if it were not there.  What
 * cannot be read, is damaged or belongs to somebody else is not there either; what cannot be written is not missed.
 * So a cached name is the one that looking it up would give, or there is none.
 *
 * Writers write a file of their own and rename it; of two at once one wins, and the other's additions are looked up
 * again.  Each writer removes what was used least lately when there is too much.
 */
#ifndef SCTMEM_READER_SYMBOL_CACHE_H
#define SCTMEM_READER_SYMBOL_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "module_files.h"
#include "names.h"
#include "symbols.h"

/* What must be the same for a name to be the same. */
struct cache_file {
	uint64_t device, inode, size, modified_ns, changed_ns;   /* all zeros: there is none */
};

struct cache_key {
	struct cache_file program, debug, reader;
	uint64_t libraries;           /* hash of the version of libdw */
};

/* All zeros is closed. */
struct symbol_cache {
	int folder;                   /* descriptor; valid when open */
	bool open;
	char name[40];
	struct cache_key key;
	uint64_t *bytes;              /* of the file; NULL: there is none */
	struct names names;
	uint32_t *first_places;       /* of each frame */
	enum symbols_detail detail;   /* what the module's files tell, when bytes is not NULL */
	struct names_writer fresh;    /* not in the file yet, ascending */
	bool unfit;                   /* what came must not be kept */
};

/* $XDG_CACHE_HOME/sctmem or ~/.cache/sctmem, into `path`; false: neither is known. */
bool symbol_cache_folder(char *path, size_t size);

/* False: nothing can be cached of this module. */
bool symbol_cache_open(struct symbol_cache *cache, const char *folder, const struct module_files *files);

/* The number of frames, 0 when they are not known; texts are valid until symbol_cache_close. */
size_t symbol_cache_find(const struct symbol_cache *cache, uint64_t address, struct symbol_frame *frames);

/* Addresses must ascend. */
void symbol_cache_add(struct symbol_cache *cache, uint64_t address, const struct symbol_frame *frames, size_t count);

/* Writes the file anew if there is anything new.  What was found before stays valid. */
void symbol_cache_save(struct symbol_cache *cache, enum symbols_detail detail);
void symbol_cache_close(struct symbol_cache *cache);

#endif
