/* SPDX-License-Identifier: MIT */
/* Leads the references of a running program's modules to our hooks, and back. */
#ifndef SCTMEM_PRELOAD_RELOCATE_H
#define SCTMEM_PRELOAD_RELOCATE_H

#include <stdint.h>

struct relocate_report {
	uint32_t modules;             /* looked through */
	uint32_t slots, slots_left;   /* references changed; that could not be changed */
	uint32_t symbols, symbols_left;   /* the same of definitions, which references made later are resolved by */
};

/* Either may be called again: what is as it should be stays.  Not from inside an allocation: takes a loader lock. */
void relocate_install(struct relocate_report *report);
void relocate_restore(struct relocate_report *report);

#endif
