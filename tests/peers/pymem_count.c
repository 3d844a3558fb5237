/* SPDX-License-Identifier: MIT */
/*
 * What Python's allocators are asked for, counted by neither of the tools that are compared: called by compare_work.py
 * through ctypes, it wraps the MEM and OBJ domains and counts requests by size.  It allocates nothing.
 */
#include <stddef.h>
#include <stdint.h>

typedef struct {
	void *context;
	void *(*malloc)(void *context, size_t size);
	void *(*calloc)(void *context, size_t count, size_t size);
	void *(*realloc)(void *context, void *block, size_t size);
	void (*free)(void *context, void *block);
} PyMemAllocatorEx;

extern void PyMem_GetAllocator(int domain, PyMemAllocatorEx *allocator);
extern void PyMem_SetAllocator(int domain, PyMemAllocatorEx *allocator);

enum { MEM = 1, OBJ = 2, SIZES = 1 << 16 };

static PyMemAllocatorEx wrapped[3];
static uint64_t counts[3][SIZES];     /* malloc, calloc, realloc; the last slot: all larger */
static uint64_t frees, bytes;

void count_begin(void);
void count_end(void);
uint64_t count_of(int kind, uint32_t size);
uint64_t count_frees(void);
uint64_t count_bytes(void);

static void count(int kind, size_t size)
{
	counts[kind][size < SIZES - 1 ? size : SIZES - 1]++;
	bytes += size;
}

static void *count_malloc(void *context, size_t size)
{
	PyMemAllocatorEx *next = context;

	count(0, size);
	return next->malloc(next->context, size);
}

static void *count_calloc(void *context, size_t number, size_t size)
{
	PyMemAllocatorEx *next = context;

	count(1, number * size);
	return next->calloc(next->context, number, size);
}

static void *count_realloc(void *context, void *block, size_t size)
{
	PyMemAllocatorEx *next = context;

	count(2, size);
	return next->realloc(next->context, block, size);
}

static void count_free(void *context, void *block)
{
	PyMemAllocatorEx *next = context;

	frees += block != NULL;
	next->free(next->context, block);
}

void count_begin(void)
{
	for (int domain = MEM; domain <= OBJ; domain++) {
		PyMemAllocatorEx ours = { &wrapped[domain], count_malloc, count_calloc, count_realloc, count_free };

		PyMem_GetAllocator(domain, &wrapped[domain]);
		PyMem_SetAllocator(domain, &ours);
	}
}

void count_end(void)
{
	for (int domain = MEM; domain <= OBJ; domain++)
		PyMem_SetAllocator(domain, &wrapped[domain]);
}

uint64_t count_of(int kind, uint32_t size)
{
	return counts[kind][size];
}

uint64_t count_frees(void)
{
	return frees;
}

uint64_t count_bytes(void)
{
	return bytes;
}
