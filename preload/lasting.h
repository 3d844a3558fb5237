/* SPDX-License-Identifier: MIT */
/*
 * Modules that stay for as long as the process lives: the program and the libraries that it was started with.  The
 * loader unloads only what was opened by dlopen, so what is known of the others holds whatever is closed.
 */
#ifndef SCTMEM_PRELOAD_LASTING_H
#define SCTMEM_PRELOAD_LASTING_H

#include <stdbool.h>
#include <stdint.h>

/*
 * For modules.c, in the order of addresses, before any library was opened; then lasting_end().  Of more than fit there
 * are none.  A fork child has what its parent had.
 */
void lasting_add(uintptr_t start, uintptr_t end);
void lasting_end(void);

/* One of them has gone all the same, unmapped by hand: from now on there are none. */
void lasting_give_up(void);

/* Whether the address lies in one. */
bool lasting_has(uintptr_t address);

#endif
