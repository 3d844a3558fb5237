/* SPDX-License-Identifier: MIT */
/* The functions that the hooks stand in for, as the program would have got them without us. */
#ifndef SCTMEM_PRELOAD_REAL_H
#define SCTMEM_PRELOAD_REAL_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HOOK(ret, name, params) extern ret (*real_##name) params;
#include "functions.def"
#undef HOOK

/* Resolves them all, once.  Until it is done, real_* are stand-ins that work. */
void real_resolve(void);

/* The program's allocator is libc's, not one that it brought along. */
extern bool real_is_libc;

/* The small store that serves requests made while resolving, and whether a block comes from it. */
enum { REAL_EARLY_SIZE = 256 << 10 };
extern char real_early_store[REAL_EARLY_SIZE] __attribute__((visibility("hidden")));

static inline bool real_is_early(const void *block)
{
	return (uintptr_t)block - (uintptr_t)real_early_store < REAL_EARLY_SIZE;
}

#endif
