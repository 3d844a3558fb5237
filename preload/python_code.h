/* SPDX-License-Identifier: MIT */
/*
 * Code objects by address: their ids in the capture.  A code object is announced (record_code) when it is first
 * seen, with copies of its names and its line table; after that only its id is used.
 *
 * Addresses are reused once a code object has died.  python_code_died() is told of each death before the memory is
 * given back; it takes the entry out and raises python_code_generation.  Whoever remembers entries across events
 * compares generations first, and an entry's id with the remembered one when they differ: ids are never reused.
 */
#ifndef SCTMEM_PRELOAD_PYTHON_CODE_H
#define SCTMEM_PRELOAD_PYTHON_CODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A known code object.  Entries are never given back, only filled anew when their code object has died. */
struct python_code {
	_Atomic(uintptr_t) code;      /* its address; 0: dead, may be taken.  Released last, acquired by readers */
	uint32_t id;
	int32_t first_traceable;      /* in code units: a frame before it has not begun */
	struct python_code *next;     /* in the same bucket; never changes */
};

/* Raised by one at each death of a known code object, and by PYTHON_CODE_EPOCH in a fork child: nothing remembered
 * from before holds then, entries least of all. */
extern _Atomic uint64_t python_code_generation;
#define PYTHON_CODE_EPOCH ((uint64_t)1 << 48)

/*
 * The entry of the code of one of the calling thread's frames, which keeps it alive meanwhile.  NULL: it is not a
 * code object (or there is no memory).
 */
const struct python_code *python_code_get(const void *code);
/* From the code type's deallocator. */
void python_code_died(const void *code);
/* Has every thread's next walk look up, as if a code object had died: see python_disturbed(). */
void python_code_disturb(void);
/* In a fork child: nothing is known, and nothing announced yet in its capture. */
void python_code_reset(void);

/*
 * Parts of python_layout_check(): whether types of names and line tables are what we take them for, and whether we
 * read those of a code object as the interpreter does.  The first finds what the second uses.
 */
bool python_code_check_types(void *(*symbol)(const char *name));
bool python_code_check(const void *code);

#endif
