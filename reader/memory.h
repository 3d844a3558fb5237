/* SPDX-License-Identifier: MIT */
/*
 * Memory for the command line: an allocation that cannot be had ends the command with a message, since there is
 * nothing that a command could still do without.
 */
#ifndef SCTMEM_READER_MEMORY_H
#define SCTMEM_READER_MEMORY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

_Noreturn static inline void memory_exhausted(void)
{
	fputs("sctmem: out of memory; try a machine with more, or narrow the view: --time, --thread, --domain\n", stderr);
	exit(STATUS_MEMORY);
}

/* Zeroed. */
static inline void *memory_new(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		memory_exhausted();
	return memory;
}

/* Room for `wanted` items, doubling; *capacity is what there is. */
static inline void *memory_grow(void *memory, size_t *capacity, size_t wanted, size_t size)
{
	size_t room = *capacity ? *capacity : 16;

	if (wanted <= *capacity)
		return memory;
	while (room < wanted)
		room *= 2;
	memory = reallocarray(memory, room, size);
	if (!memory)
		memory_exhausted();
	*capacity = room;
	return memory;
}

static inline char *memory_text(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		memory_exhausted();
	return copy;
}

#endif
