/* SPDX-License-Identifier: MIT */
/*
 * See spans.h.
 */
#include "spans.h"

#include <stdlib.h>

#include "table.h"

void spans_finish(struct spans *spans)
{
	free(spans->list);
	*spans = (struct spans){ 0 };
}

bool spans_add(struct spans *spans, uint64_t start, uint64_t end, uint32_t owner, struct error *error)
{
	struct span *last = spans->count ? &spans->list[spans->count - 1] : NULL;

	if (end <= start)
		return true;
	if (last && last->end == start && last->owner == owner) {
		last->end = end;
		return true;
	}
	if (!array_reserve(&spans->list, &spans->capacity, spans->count + 1, sizeof(*spans->list), error))
		return false;
	spans->list[spans->count++] = (struct span){ start, end, owner };
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct span *left = a, *right = b;

	if (left->start != right->start)
		return left->start < right->start ? -1 : 1;
	if (left->end != right->end)
		return left->end < right->end ? -1 : 1;
	return (left->owner > right->owner) - (left->owner < right->owner);
}

void spans_sort(struct spans *spans)
{
	uint64_t end = 0;
	size_t kept = 0;

	if (spans->count)
		qsort(spans->list, spans->count, sizeof(*spans->list), compare);
	for (size_t i = 0; i < spans->count; i++) {
		struct span span = spans->list[i];

		span.start = span.start < end ? end : span.start;
		if (span.start >= span.end)
			continue;
		end = span.end;
		spans->list[kept++] = span;
	}
	spans->count = kept;
	spans->at = 0;
}

struct span spans_next(struct spans *spans, uint64_t start, uint64_t end)
{
	while (spans->at < spans->count && spans->list[spans->at].end <= start)
		spans->at++;
	if (spans->at == spans->count || spans->list[spans->at].start >= end)
		return (struct span){ start, end, SPANS_NONE };

	const struct span *span = &spans->list[spans->at];

	if (span->start > start)
		return (struct span){ start, span->start, SPANS_NONE };
	return (struct span){ start, span->end < end ? span->end : end, span->owner };
}
