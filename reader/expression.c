/* SPDX-License-Identifier: MIT */
/*
 * The C library's regcomp() is no choice: it takes gigabytes for eighty plus signs, and its regexec() can be made to
 * run for hours.  PCRE2 counts its steps and its memory, and gives up where it is told to.
 */
#include "expression.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

/*
 * Of one text.  A step takes 10 to 50 ns, and names are short: the slowest expression that anybody means takes some
 * thousands for a C++ name of 4 KiB.
 */
enum { STEPS_MAX = 1000000, HEAP_KIB_MAX = 64 * 1024 };

struct expression {
	const char *pattern;
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *bounds;
};

bool expression_compile(struct expression **out, const char *pattern, struct error *error)
{
	struct expression *expression = calloc(1, sizeof(*expression));
	int code = 0;
	PCRE2_SIZE at = 0;

	*out = NULL;
	if (!expression)
		return fail_memory(error);
	expression->pattern = pattern;
	/* \C, which matches one byte, would leave the middle of a character behind. */
	expression->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
		PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
	if (!expression->code) {
		PCRE2_UCHAR why[256] = "";

		expression_free(expression);
		pcre2_get_error_message(code, why, sizeof(why));
		return fail(error, code == PCRE2_ERROR_NOMEMORY ? STATUS_MEMORY : STATUS_USAGE,
			"not a regular expression: %s, at byte %zu", (const char *)why, (size_t)at);
	}
	expression->match = pcre2_match_data_create(1, NULL);
	expression->bounds = pcre2_match_context_create(NULL);
	if (!expression->match || !expression->bounds) {
		expression_free(expression);
		return fail_memory(error);
	}
	pcre2_set_match_limit(expression->bounds, STEPS_MAX);
	pcre2_set_heap_limit(expression->bounds, HEAP_KIB_MAX);
	*out = expression;
	return true;
}

bool expression_matches(struct expression *expression, const char *text, bool *matched, struct error *error)
{
	const int result = pcre2_match(expression->code, (PCRE2_SPTR)text, strlen(text), 0, 0, expression->match,
		expression->bounds);
	PCRE2_UCHAR why[256] = "";

	/* 0: it matched and one pair of offsets, which nobody reads, was too few for its groups. */
	*matched = result >= 0;
	if (result >= 0 || result == PCRE2_ERROR_NOMATCH)
		return true;
	if (result == PCRE2_ERROR_NOMEMORY)
		return fail_memory(error);
	pcre2_get_error_message(result, why, sizeof(why));
	return fail(error, STATUS_USAGE, "regular expression '%s' takes too long (%s): make it simpler", expression->pattern,
		(const char *)why);
}

void expression_free(struct expression *expression)
{
	if (!expression)
		return;
	pcre2_code_free(expression->code);
	pcre2_match_data_free(expression->match);
	pcre2_match_context_free(expression->bounds);
	free(expression);
}
