/* SPDX-License-Identifier: MIT */
/*
 * What an allocator really takes for a block, by the rules of its size classes.  Used by the analyses of slop and of
 * arenas.  The rules and their sources are in docs/analyses.md; a test holds those of this system's libc and of
 * Python's allocator against malloc_usable_size and against the addresses that they give out.
 */
#ifndef SCTMEM_READER_SIZE_CLASS_H
#define SCTMEM_READER_SIZE_CLASS_H

#include <stdbool.h>
#include <stdint.h>

struct capture;

enum size_rule {
	SIZE_RULE_UNKNOWN,
	SIZE_RULE_GLIBC,
	SIZE_RULE_PYMALLOC,           /* up to 512 bytes; beyond what malloc does */
	SIZE_RULE_QUARTERS,           /* jemalloc and mimalloc: four classes each time the size doubles */
};

/* Of one process. */
struct size_classes {
	enum size_rule heap, python;
	uint32_t python_extra;        /* bytes that Python's debug allocator adds to each request */
	uint32_t page_size;
	uint32_t arena_bytes, pool_bytes;   /* of pymalloc in this version of Python; 0: it is not in use */
};

enum { SIZE_PYMALLOC_MAX = 512 };

/* By what an opened capture has brought so far. */
struct size_classes size_classes_of(const struct capture *capture);

/* The bytes that a block of this size takes, with what the allocator needs beside it; 0: not known. */
uint64_t size_class_given(const struct size_classes *classes, bool python, uint64_t size, uint64_t address);

/* How many of them lie before its address. */
uint64_t size_class_head(const struct size_classes *classes, bool python, uint64_t size, uint64_t address);

/* Whether it lies in an arena of Python's allocator. */
bool size_class_in_pool(const struct size_classes *classes, bool python, uint64_t size);

#endif
