/* SPDX-License-Identifier: MIT */
/* The hooks as a table, for who has to lead references to them by hand: relocate.c. */
#ifndef SCTMEM_PRELOAD_HOOKS_H
#define SCTMEM_PRELOAD_HOOKS_H

struct hook {
	const char *name;
	void *function;               /* ours */
	void *const *real;            /* where the real one's address is kept */
};

enum {
#define HOOK(ret, name, params) HOOK_##name,
#include "functions.def"
#undef HOOK
	HOOKS_COUNT,
};

extern const struct hook hooks[HOOKS_COUNT];

#endif
