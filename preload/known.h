/* SPDX-License-Identifier: MIT */
/*
 * The live blocks whose allocation is in the capture, where not all are: the others' ends are not to be recorded.
 * One set of addresses for the process, shared by all threads without a lock.  Used by sample.c.
 *
 *     root (2^13) --> 16 GiB of addresses (2^13) --> 2 MiB (2^9) --> 4 KiB: one bit for each 8 bytes
 *
 * Asking reads and writes nothing: at most four loads, fewer where no block of the capture is near.  Parts are made
 * when a block needs them, by whoever comes first, and stay: 64 bytes for 4 KiB of the heap with a block that is known.
 * Whoever asks about a block owns it, so that its bit cannot change under him; other bits of the word may, which is
 * why they are changed by atomic operations.
 */
#ifndef SCTMEM_PRELOAD_KNOWN_H
#define SCTMEM_PRELOAD_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

/* Addresses that the set has no place for: what lies there is always recorded. */
#define KNOWN_HAS_PLACE(address) (((uintptr_t)(address) & 7) == 0 && (uintptr_t)(address) >> 47 == 0)

/* false: no memory. */
bool known_add(const void *block);
bool known_contains(const void *block);
/* Whether it was there. */
bool known_remove(const void *block);

#endif
