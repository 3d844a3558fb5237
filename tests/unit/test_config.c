/* SPDX-License-Identifier: MIT */
/* The environment: every variable, its limits, and values that make no sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "preload/config.h"

static struct config fresh;

static int keep(void **state)
{
	(void)state;
	fresh = config;
	return 0;
}

static int restore(void **state)
{
	(void)state;
	config = fresh;
	config_python_allocators = true;
	return 0;
}

static void read_one(const char *text)
{
	char *environment[] = { (char *)(uintptr_t)text, NULL };

	config_read(environment);
}

static void defaults_hold_without_any_variable(void **state)
{
	char *empty[] = { NULL };

	(void)state;
	config_read(empty);
	config_read(NULL);
	assert_memory_equal(&config, &fresh, sizeof(config));
	assert_string_equal(config.out, "sctmem.%e.%p.bin");
	assert_true(config.follow_fork);
	assert_false(config.follow_exec);
	assert_false(config.jemalloc);
}

static void each_variable_is_read(void **state)
{
	char *environment[] = { "HOME=/", "SCTMEM_OUT=/tmp/x.bin", "SCTMEM_NATIVE=full", "SCTMEM_PYTHON_ALLOCATORS=no",
		"SCTMEM_FOLLOW=exec:py*", "SCTMEM_PROGRAM=python?", "SCTMEM_DEPTH=64", "SCTMEM_SAMPLE_MS=0", "SCTMEM_FORCE=yes",
		"SCTMEM_BACKEND=jemalloc", "SCTMEM_START=off", "SCTMEM_UNKNOWN=1", "SCTMEM_", "SCTMEM_OUTX=no", NULL };

	(void)state;
	config_read(environment);
	assert_string_equal(config.out, "/tmp/x.bin");
	assert_int_equal(config.native, CONFIG_NATIVE_FULL);
	assert_false(config_python_allocators);
	assert_true(config.follow_fork && config.follow_exec);
	assert_string_equal(config.follow_glob, "py*");
	assert_string_equal(config.program_glob, "python?");
	assert_int_equal(config.depth, 64);
	assert_int_equal(config.sample_ms, 0);
	assert_true(config.force);
	assert_true(config.jemalloc);
	assert_false(config.start);
}

static void sizes_are_read_in_powers_of_1024(void **state)
{
	static const struct { const char *variable; uint64_t sample, seed, max_size; } cases[] = {
		{ "SCTMEM_SAMPLE=512KiB", 512 << 10, 0, 0 }, { "SCTMEM_SAMPLE=4096", 4096, 0, 0 },
		{ "SCTMEM_SAMPLE=2MB,seed=77", 2 << 20, 77, 0 }, { "SCTMEM_SAMPLE=1k", 1 << 10, 0, 0 },
		{ "SCTMEM_SAMPLE=no,seed=5", 0, 5, 0 }, { "SCTMEM_SAMPLE=no", 0, 0, 0 },
		{ "SCTMEM_MAX_SIZE=2G", 0, 0, (uint64_t)2 << 30 }, { "SCTMEM_MAX_SIZE=4M", 0, 0, 4 << 20 },
		{ "SCTMEM_MAX_SIZE=no", 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char variable[64];
		char *environment[] = { variable, NULL };

		strcpy(variable, cases[i].variable);
		config.sample_bytes = config.sample_seed = config.max_size = 0;
		config_read(environment);
		assert_int_equal(config.sample_bytes, cases[i].sample);
		assert_int_equal(config.sample_seed, cases[i].seed);
		assert_int_equal(config.max_size, cases[i].max_size);
	}
}

static void senseless_values_leave_the_default(void **state)
{
	static const char *const bad[] = { "SCTMEM_DEPTH=15", "SCTMEM_DEPTH=16385", "SCTMEM_DEPTH=", "SCTMEM_DEPTH=1k",
		"SCTMEM_DEPTH=-64", "SCTMEM_DEPTH=18446744073709551680", "SCTMEM_DEPTH=4294967360", "SCTMEM_SAMPLE_MS=60001",
		"SCTMEM_SAMPLE_MS= 5",
		"SCTMEM_SAMPLE=much", "SCTMEM_SAMPLE=1.5M", "SCTMEM_SAMPLE=2T", "SCTMEM_SAMPLE=1K,seed", "SCTMEM_SAMPLE=1K,seed=x",
		"SCTMEM_SAMPLE=", "SCTMEM_SAMPLE=K", "SCTMEM_SAMPLE=99999999999999999999", "SCTMEM_MAX_SIZE=3M", "SCTMEM_MAX_SIZE=2X",
		"SCTMEM_MAX_SIZE=", "SCTMEM_NATIVE=", "SCTMEM_NATIVE=FULL", "SCTMEM_FOLLOW=execute", "SCTMEM_FOLLOW=",
		"SCTMEM_FORCE=perhaps", "SCTMEM_START=later", "SCTMEM_OUT=", "SCTMEM_PROGRAM=", "SCTMEM_BACKEND=tcmalloc" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		read_one(bad[i]);
		if (memcmp(&config, &fresh, sizeof(config)) != 0)
			fail_msg("%s was taken", bad[i]);
	}
}

static void texts_too_long_leave_the_default(void **state)
{
	char text[8192] = "SCTMEM_OUT=";

	(void)state;
	memset(text + strlen(text), 'x', sizeof(text) - strlen(text) - 1);
	read_one(text);
	assert_string_equal(config.out, fresh.out);
	text[strlen("SCTMEM_OUT=") + sizeof(config.out) - 1] = 0;
	read_one(text);
	assert_int_equal(strlen(config.out), sizeof(config.out) - 1);
}

static void the_last_of_several_wins_and_follow_can_be_narrowed(void **state)
{
	char *environment[] = { "SCTMEM_FOLLOW=exec", "SCTMEM_FOLLOW=none", NULL };

	(void)state;
	config_read(environment);
	assert_false(config.follow_fork || config.follow_exec);
	read_one("SCTMEM_FOLLOW=fork");
	assert_true(config.follow_fork && !config.follow_exec);
	read_one("SCTMEM_NATIVE=none");
	assert_int_equal(config.native, CONFIG_NATIVE_NO);
}

/* The obvious way, exponential in the worst case. */
static bool matches_slowly(const char *pattern, const char *name)
{
	if (*pattern == '*')
		return matches_slowly(pattern + 1, name) || (*name && matches_slowly(pattern, name + 1));
	if (*pattern == 0 || *name == 0)
		return *pattern == 0 && *name == 0;
	return (*pattern == '?' || *pattern == *name) && matches_slowly(pattern + 1, name + 1);
}

static void globs_agree_with_the_obvious_matcher(void **state)
{
	static const char letters[] = "ab*?*";

	(void)state;
	srand(7);
	for (int round = 0; round < 200000; round++) {
		char pattern[9] = "", name[9] = "";

		for (int i = rand() % 8; i > 0; i--)
			pattern[i - 1] = letters[rand() % 5];
		for (int i = rand() % 8; i > 0; i--)
			name[i - 1] = "ab"[rand() % 2];
		pattern[strlen(pattern)] = 0;
		if (config_glob_matches(pattern, name) != matches_slowly(pattern, name))
			fail_msg("pattern %s, name %s", pattern, name);
	}
}

static void a_hostile_glob_ends_soon(void **state)
{
	char pattern[256], name[4096];

	(void)state;
	for (int i = 0; i < 254; i += 2)
		memcpy(pattern + i, "*a", 2);
	strcpy(pattern + 254, "b");
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	assert_false(config_glob_matches(pattern, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(defaults_hold_without_any_variable, keep, restore),
		cmocka_unit_test_setup_teardown(each_variable_is_read, keep, restore),
		cmocka_unit_test_setup_teardown(sizes_are_read_in_powers_of_1024, keep, restore),
		cmocka_unit_test_setup_teardown(senseless_values_leave_the_default, keep, restore),
		cmocka_unit_test_setup_teardown(texts_too_long_leave_the_default, keep, restore),
		cmocka_unit_test_setup_teardown(the_last_of_several_wins_and_follow_can_be_narrowed, keep, restore),
		cmocka_unit_test_setup_teardown(globs_agree_with_the_obvious_matcher, keep, restore),
		cmocka_unit_test_setup_teardown(a_hostile_glob_ends_soon, keep, restore),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
