/* SPDX-License-Identifier: MIT */
/*
 * Leaks that are known and accepted, in LeakSanitizer's form, so that a file written for it serves here too:
 *
 *     # a comment
 *     leak:libfontconfig
 *     leak:^Registry.add$
 *     leak:app*cache.py
 *
 * A stack is suppressed when a frame's function, source file or module contains the pattern; `*` stands for any
 * characters, `^` at the start and `$` at the end anchor it.  The first line of the file that matches gets the hit.
 */
#ifndef SCTMEM_READER_SUPPRESSIONS_H
#define SCTMEM_READER_SUPPRESSIONS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "profile.h"

struct suppression {
	char *pattern;
	uint64_t bytes, count;        /* what it suppressed */
};

struct suppressions {
	struct suppression *rules; size_t count, capacity;
};

enum { SUPPRESSION_NONE = UINT16_MAX };

/* false: the file cannot be read, or a line is not `leak:PATTERN`; error names the line. */
MUST_CHECK bool suppressions_read(struct suppressions *suppressions, const char *path, struct error *error);
void suppressions_finish(struct suppressions *suppressions);

/* Whether the text contains the pattern. */
bool suppressions_pattern_matches(const char *pattern, const char *text);

/* For each node of the profile the rule that its stack falls under, or SUPPRESSION_NONE; to be freed. */
uint16_t *suppressions_of_nodes(const struct suppressions *suppressions, const struct profile *profile);

#endif
