/* SPDX-License-Identifier: MIT */
/*
 * The rules of size classes; see size_class.h.
 */
#include "size_class.h"

#include <string.h>

#include "capture.h"

enum {
	GLIBC_HEADER = 8,             /* the size of the chunk; the rest of its header lies in the chunk before */
	GLIBC_ALIGNMENT = 16,
	GLIBC_CHUNK_MIN = 32,
	GLIBC_MAPPED_MIN = 128 * 1024,    /* the threshold grows with what is freed, and never falls */
	PYTHON_3_10 = 0x030a0000,
	PYTHON_DEBUG_EXTRA = 3 * 8,
	QUARTERS_FROM = 128,          /* below, classes are 16 bytes apart */
};

static uint64_t round_up(uint64_t size, uint64_t unit)
{
	return (size + unit - 1) / unit * unit;
}

/* A block of its own mapping begins 16 bytes behind a page's start; its length is of whole pages. */
static uint64_t glibc_given(uint64_t size, uint64_t address, uint64_t page_size)
{
	const uint64_t chunk = round_up(size + GLIBC_HEADER, GLIBC_ALIGNMENT);

	if (size >= GLIBC_MAPPED_MIN && address % page_size == GLIBC_ALIGNMENT)
		return round_up(chunk + GLIBC_HEADER, page_size);
	return chunk < GLIBC_CHUNK_MIN ? GLIBC_CHUNK_MIN : chunk;
}

static uint64_t quarters_given(uint64_t size)
{
	unsigned width;

	if (size <= 8)
		return 8;
	if (size <= QUARTERS_FROM)
		return round_up(size, 16);
	width = 64 - (unsigned)__builtin_clzll(size - 1);   /* size is at most 1 << width */
	return round_up(size, (uint64_t)1 << (width - 3));
}

static uint64_t given(const struct size_classes *classes, enum size_rule rule, uint64_t size, uint64_t address)
{
	switch (rule) {
	case SIZE_RULE_GLIBC:
		return glibc_given(size, address, classes->page_size);
	case SIZE_RULE_PYMALLOC:
		if (size <= SIZE_PYMALLOC_MAX)
			return size ? round_up(size, 16) : 16;
		return given(classes, classes->heap, size, address);
	case SIZE_RULE_QUARTERS:
		return quarters_given(size);
	case SIZE_RULE_UNKNOWN:
		break;
	}
	return 0;
}

uint64_t size_class_given(const struct size_classes *classes, bool python, uint64_t size, uint64_t address)
{
	if (size >> 56)
		return 0;
	if (!python)
		return given(classes, classes->heap, size, address);
	return given(classes, classes->python, size + classes->python_extra, address);
}

uint64_t size_class_head(const struct size_classes *classes, bool python, uint64_t size, uint64_t address)
{
	const enum size_rule rule = !python || (classes->python == SIZE_RULE_PYMALLOC &&
		!size_class_in_pool(classes, python, size)) ? classes->heap : classes->python;

	if (rule != SIZE_RULE_GLIBC || size >> 56)
		return 0;
	return size >= GLIBC_MAPPED_MIN && address % classes->page_size == GLIBC_ALIGNMENT ? 2 * GLIBC_HEADER : GLIBC_HEADER;
}

bool size_class_in_pool(const struct size_classes *classes, bool python, uint64_t size)
{
	return python && classes->python == SIZE_RULE_PYMALLOC && size + classes->python_extra <= SIZE_PYMALLOC_MAX;
}

static bool has_module(const struct capture *capture, const char *name)
{
	for (size_t i = 0; i < capture->module_count; i++) {
		const char *slash = strrchr(capture->modules[i].path, '/');

		if (strncmp(slash ? slash + 1 : capture->modules[i].path, name, strlen(name)) == 0)
			return true;
	}
	return false;
}

struct size_classes size_classes_of(const struct capture *capture)
{
	const struct capture_runtime *runtime =
		capture->runtime_count ? &capture->runtimes[capture->runtime_count - 1] : NULL;
	const uint32_t page_size = capture->header.page_size;
	struct size_classes classes = { .heap = SIZE_RULE_UNKNOWN,
		.page_size = page_size >= 512 && page_size <= 1 << 24 ? page_size : 4096 };

	if (has_module(capture, "libjemalloc") || has_module(capture, "libmimalloc"))
		classes.heap = SIZE_RULE_QUARTERS;
	else if (!has_module(capture, "libtcmalloc") && strncmp(capture->libc, "glibc", 5) == 0)
		classes.heap = SIZE_RULE_GLIBC;
	classes.python = classes.heap;
	if (!runtime || !runtime->allocator)
		return classes;
	if (strncmp(runtime->allocator, "pymalloc", 8) == 0) {
		classes.python = SIZE_RULE_PYMALLOC;
		classes.arena_bytes = runtime->info.version >= PYTHON_3_10 ? 1 << 20 : 1 << 18;
		classes.pool_bytes = runtime->info.version >= PYTHON_3_10 ? 1 << 14 : 1 << 12;
	} else if (strncmp(runtime->allocator, "mimalloc", 8) == 0) {
		classes.python = SIZE_RULE_QUARTERS;
	}
	if (strstr(runtime->allocator, "_debug"))
		classes.python_extra = PYTHON_DEBUG_EXTRA;
	return classes;
}
