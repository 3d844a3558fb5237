/* SPDX-License-Identifier: MIT */
/*
 * Regular expressions that users give (--function, --file, --module, windows --name): Perl-compatible, by PCRE2, with
 * bounds in memory and time, so that none can make the command hang or take the machine's memory.
 */
#ifndef SCTMEM_READER_EXPRESSION_H
#define SCTMEM_READER_EXPRESSION_H

#include <stdbool.h>

#include "error.h"

struct expression;

/* pattern must outlive *out.  STATUS_USAGE when it is none, with the place of the slip. */
bool expression_compile(struct expression **out, const char *pattern, struct error *error) MUST_CHECK;

/*
 * *matched: whether it occurs anywhere in text, which may hold bytes that are no UTF-8 (nothing matches these).
 * STATUS_USAGE when to know it would take more steps or memory than the bounds allow: never taken for "no".
 * An expression is used by one thread at a time.
 */
bool expression_matches(struct expression *expression, const char *text, bool *matched, struct error *error) MUST_CHECK;

void expression_free(struct expression *expression);

#endif
