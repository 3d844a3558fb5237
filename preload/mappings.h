/* SPDX-License-Identifier: MIT */
/*
 * The process's mappings of files, grouped as modules are: from /proc/self/maps, or around one address by a question to
 * the kernel (Linux 6.11 and later).
 */
#ifndef SCTMEM_PRELOAD_MAPPINGS_H
#define SCTMEM_PRELOAD_MAPPINGS_H

#include <stdbool.h>
#include <stdint.h>

enum { MAPPINGS_PATH_SIZE = 4096 };

/* Mappings of one file that follow each other in the address space; or executable memory without one. */
struct mappings_group {
	uintptr_t start, end;
	uint64_t first_offset;        /* of the file, at start */
	uint64_t device_inode;        /* 0: no file */
	bool executable;
	char path[MAPPINGS_PATH_SIZE];
};

/* Visits all groups; one thread at a time.  false: not all could be read. */
bool mappings_read(void (*visit)(void *context, const struct mappings_group *group), void *context);

/* The group that holds an address, as mappings_read() would say; false: it takes that to tell. */
bool mappings_around(uintptr_t address, struct mappings_group *group);

/*
 * The start of the first mapping of this name of the kernel's own, such as [vvar], which lies not far before `near`;
 * false: there is none.  One thread at a time.
 */
bool mappings_find(const char *name, uintptr_t near, uintptr_t *start);

#endif
