/* SPDX-License-Identifier: MIT */
/*
 * Sets of addresses as lists of disjoint intervals in ascending order, each with an owner; and walks through several of
 * them side by side.  Used by analysis_resident.c, which asks of each stretch of resident memory in whose it lies.
 */
#ifndef SCTMEM_READER_SPANS_H
#define SCTMEM_READER_SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct span {
	uint64_t start, end;
	uint32_t owner;               /* the caller's */
};

struct spans {
	struct span *list;
	size_t count, capacity;
	size_t at;                    /* of spans_next: the first that ends behind where it was asked last */
};

static inline void spans_clear(struct spans *spans)
{
	spans->count = spans->at = 0;
}

void spans_finish(struct spans *spans);

/* Adds one behind the others; empty ones are left out, and what goes on where the last one ended is joined with it. */
MUST_CHECK bool spans_add(struct spans *spans, uint64_t start, uint64_t end, uint32_t owner, struct error *error);

/* Puts those that were added in any order in order; where some overlap, the one that begins first keeps it. */
void spans_sort(struct spans *spans);

/*
 * The first piece of [start, end) that lies wholly in one span, or in none: then its owner is SPANS_NONE.  Start must
 * not go down from one call to the next; spans->at = 0 begins anew.
 */
enum { SPANS_NONE = UINT32_MAX };
struct span spans_next(struct spans *spans, uint64_t start, uint64_t end);

#endif
