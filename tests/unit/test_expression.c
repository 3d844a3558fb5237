/* SPDX-License-Identifier: MIT */
/* Regular expressions: what they match, and that none takes more time or memory than it may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "reader/expression.h"

/* After our headers: it makes fail() a macro. */
#include <cmocka.h>

static bool matches(const char *pattern, const char *text)
{
	struct expression *expression;
	struct error error;
	bool matched;

	assert_true(expression_compile(&expression, pattern, &error));
	assert_true(expression_matches(expression, text, &matched, &error));
	expression_free(expression);
	return matched;
}

static void test_matches(void **state)
{
	(void)state;
	assert_true(matches("", ""));
	assert_true(matches("", "any"));
	assert_true(matches("load", "reload_all"));
	assert_false(matches("^load", "reload_all"));
	assert_true(matches("^(re|un)load_[a-z]+$", "unload_all"));
	assert_true(matches("^(a)(b)(c)(d)\\1$", "abcda"));
	assert_true(matches("[[:digit:]]{3}", "name 123"));
	assert_true(matches("\\bfn\\b", "a::fn::b"));
	assert_true(matches("(?i)CPython", "cpython"));
	assert_true(matches("^(?!test_)\\w+$", "run_all"));
	assert_false(matches("^(?!test_)\\w+$", "test_all"));
	/* A character is one, of however many bytes. */
	assert_true(matches("^g.n$", "g\xc3\xbcn"));
	/* Names of captures need not be UTF-8: what is, is matched around what is not. */
	assert_true(matches("after$", "\xff\xfe before \xc3 after"));
	assert_true(matches("before", "\xff\xfe before \xc3 after"));
	assert_false(matches("^.*after", "\xff"));
}

static void refused(const char *pattern, const char *why)
{
	struct expression *expression = (struct expression *)1;
	struct error error;

	assert_false(expression_compile(&expression, pattern, &error));
	assert_null(expression);
	assert_int_equal(error.status, STATUS_USAGE);
	assert_non_null(strstr(error.text, "not a regular expression: "));
	if (!strstr(error.text, why))
		fail_msg("'%s' is not in '%s'", why, error.text);
}

static void test_refusals(void **state)
{
	(void)state;
	refused("(", "missing closing parenthesis, at byte 1");
	refused("ab[", "missing terminating ] for character class, at byte 3");
	refused("*", "quantifier does not follow a repeatable item, at byte 0");
	refused("\\", "\\ at end of pattern, at byte 1");
	refused("\\C", "\\C");
	refused("\xff", "UTF-8 error");
}

static long resident_max_kib(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return usage.ru_maxrss;
}

/* What takes the C library's regcomp() a gigabyte, or its regexec() longer than anybody waits. */
static void test_bounds(void **state)
{
	char plus[100], text[4097], nested[1200];
	struct expression *expression;
	struct error error;
	const long before_kib = resident_max_kib();
	bool matched;

	(void)state;
	memset(plus, '+', sizeof(plus) - 1);
	memcpy(plus, "app.", 4);
	plus[sizeof(plus) - 1] = '\0';
	refused(plus, "quantifier does not follow a repeatable item");

	/* Groups within groups, each a thousand times. */
	memset(nested, 0, sizeof(nested));
	for (unsigned i = 0; i < 40; i++)
		strcat(nested, "(");
	strcat(nested, "a");
	for (unsigned i = 0; i < 40; i++)
		strcat(nested, "{1,1000})");
	refused(nested, "too large");
	memset(nested, '(', sizeof(nested) - 1);
	refused(nested, "too deeply nested");

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	const char *const patterns[] = { "^(a+)+$|^(a+)+b", "(a|a)*b", "(a*)*b", "(.*)*(.*)*(.*)*x", "^((a{1,20})+)+b\\2" };
	for (unsigned i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		assert_true(expression_compile(&expression, patterns[i], &error));
		text[sizeof(text) - 2] = i ? 'a' : 'c';
		if (!expression_matches(expression, text, &matched, &error)) {
			assert_int_equal(error.status, STATUS_USAGE);
			assert_non_null(strstr(error.text, "takes too long"));
			assert_non_null(strstr(error.text, patterns[i]));
		} else {
			assert_false(matched);
		}
		/* And it can be used on. */
		assert_true(expression_matches(expression, "zz", &matched, &error));
		assert_false(matched);
		expression_free(expression);
	}
	assert_true(expression_compile(&expression, "(a|aa)+$", &error));
	text[sizeof(text) - 2] = 'c';
	assert_false(expression_matches(expression, text, &matched, &error));
	expression_free(expression);
	/* With room for what sanitizers take. */
	assert_true(resident_max_kib() - before_kib < 400 * 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
