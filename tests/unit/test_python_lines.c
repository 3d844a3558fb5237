/* SPDX-License-Identifier: MIT */
/*
 * Python line tables against what the interpreters themselves say.
 *
 * tests/golden/python_lines/dump.py makes each interpreter print its line tables and its own reading of them
 * (dis.findlinestarts, co_lines, co_positions); the files beside it are such prints, so that every format is
 * tested without any interpreter.  Where interpreters are found (PATH, ~/.pyenv, and those that the colon-separated
 * SCTMEM_TEST_PYTHONS names), the same is done live with modules of the standard library.
 *
 * The folder of the golden files is SCTMEM_GOLDEN_DIR or the one this file was compiled beside.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/capture.h"
#include "reader/python_lines.h"
#include "draw.h"

#ifndef GOLDEN_DIR
#define GOLDEN_DIR "tests/golden"
#endif

/* A code object as dump.py prints it. */
struct dumped_code {
	unsigned kind, first_line, units;
	char name[256];
	uint8_t table[1 << 16];
	size_t table_size;
};

struct tally {
	uint64_t codes, positions;
};

static const char *golden_dir(void)
{
	const char *dir = getenv("SCTMEM_GOLDEN_DIR");
	return dir != NULL ? dir : GOLDEN_DIR;
}

static size_t parse_hex(const char *text, uint8_t *bytes, size_t size)
{
	size_t count = 0;
	unsigned value;
	while (count < size && sscanf(text + count * 2, "%2x", &value) == 1)
		bytes[count++] = (uint8_t)value;
	return count;
}

static void check_span(const struct dumped_code *code, const char *line, struct tally *tally)
{
	unsigned from, to;
	struct python_position expected = { 0 }, found;
	assert_int_equal(sscanf(line, "at %u %u %u %u %u %u", &from, &to, &expected.line, &expected.end_line,
		&expected.column, &expected.end_column), 6);
	for (unsigned unit = from; unit < to; unit++) {
		bool known = python_line(code->kind, code->table, code->table_size, code->first_line, unit, &found);
		if (known != (expected.line != 0) || memcmp(&found, &expected, sizeof(found)) != 0)
			fail_msg("%s (first line %u), unit %u: found %u-%u:%u-%u, expected %s", code->name, code->first_line,
				unit, found.line, found.end_line, found.column, found.end_column, line);
		tally->positions++;
	}
}

static void check_dump(FILE *file, struct tally *tally)
{
	static struct dumped_code code;
	char *line = NULL;
	size_t size = 0;
	while (getline(&line, &size, file) >= 0) {
		if (strncmp(line, "code ", 5) == 0) {
			assert_int_equal(sscanf(line, "code %u %u %u %255s", &code.kind, &code.first_line, &code.units,
				code.name), 4);
			tally->codes++;
		} else if (strncmp(line, "table ", 6) == 0) {
			struct python_position found;

			code.table_size = parse_hex(line + 6, code.table, sizeof(code.table));
			assert_true(python_line(code.kind, code.table, code.table_size, code.first_line,
				CAPTURE_UNITS_NOT_BEGUN, &found));
			assert_int_equal(found.line, code.first_line);
		} else if (strncmp(line, "at ", 3) == 0 && code.table_size < sizeof(code.table)) {
			check_span(&code, line, tally);
		}
	}
	free(line);
}

static void check_golden(const char *version, unsigned codes_min)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/python_lines/%s.txt", golden_dir(), version);
	FILE *file = fopen(path, "r");
	if (file == NULL)
		fail_msg("cannot open %s", path);
	struct tally tally = { 0 };
	check_dump(file, &tally);
	fclose(file);
	assert_true(tally.codes >= codes_min);
	assert_true(tally.positions > 200);
}

static void lnotab_of_python_3_8_is_read_as_by_itself(void **state)
{
	check_golden("3.8", 10);
}

static void lnotab_of_python_3_9_is_read_as_by_itself(void **state)
{
	check_golden("3.9", 10);
}

static void linetable_of_python_3_10_is_read_as_by_itself(void **state)
{
	check_golden("3.10", 10);
}

static void locations_of_python_3_11_are_read_as_by_itself(void **state)
{
	check_golden("3.11", 10);
}

static void locations_of_python_3_12_are_read_as_by_itself(void **state)
{
	check_golden("3.12", 9);   /* comprehensions are inlined from here on */
}

static void locations_of_python_3_13_are_read_as_by_itself(void **state)
{
	check_golden("3.13", 9);
}

static void locations_of_python_3_14_are_read_as_by_itself(void **state)
{
	check_golden("3.14", 9);
}

static void locations_of_python_3_15_are_read_as_by_itself(void **state)
{
	check_golden("3.15", 9);
}

/* Runs dump.py in the interpreter over some of its standard library. */
static bool check_interpreter(const char *python)
{
	static const char *const modules = "argparse ast asyncio.base_events collections contextlib dataclasses "
		"difflib email.message enum inspect json.decoder pickle tarfile textwrap typing unittest.mock";
	char command[8192];
	snprintf(command, sizeof(command),
		"exec '%s' -I -c 'import sys, importlib.util as u\n"
		"if not (3, 8) <= sys.version_info[:2] <= (3, 15): sys.exit()\n"
		"sys.argv[1:] = [u.find_spec(m).origin for m in \"%s\".split()]\n"
		"exec(compile(open(\"%s/python_lines/dump.py\").read(), \"dump.py\", \"exec\"))' "
		"2>/dev/null", python, modules, golden_dir());
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	struct tally tally = { 0 };
	check_dump(pipe, &tally);
	pclose(pipe);
	if (tally.codes == 0)
		return false;
	print_message("           %s: %llu code objects, %llu instructions\n", python, (unsigned long long)tally.codes,
		(unsigned long long)tally.positions);
	return true;
}

static bool check_pattern(const char *pattern)
{
	glob_t found;
	bool any = false;
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			any |= access(found.gl_pathv[i], X_OK) == 0 && check_interpreter(found.gl_pathv[i]);
		globfree(&found);
	}
	return any;
}

static void interpreters_found_here_agree(void **state)
{
	bool any = check_pattern("/usr/bin/python3.[0-9]");
	any |= check_pattern("/usr/bin/python3.[0-9][0-9]");
	any |= check_pattern("/usr/local/bin/python3.[0-9]*[0-9]");
	char pattern[4096];
	const char *home = getenv("HOME"), *named = getenv("SCTMEM_TEST_PYTHONS");
	if (home != NULL && snprintf(pattern, sizeof(pattern), "%s/.pyenv/versions/3.*/bin/python3", home) > 0)
		any |= check_pattern(pattern);
	char *list = strdup(named != NULL ? named : ""), *rest = list;
	for (char *name; (name = strsep(&rest, ":")) != NULL;)
		any |= *name != '\0' && check_pattern(name);
	free(list);
	if (!any)
		skip();
}

static void an_unknown_kind_has_no_lines(void **state)
{
	static const uint8_t table[] = { 2, 1, 2, 1 };
	struct python_position found = { 1, 1, 1, 1 };
	assert_false(python_line(0, table, sizeof(table), 5, 0, &found));
	assert_int_equal(found.line, 0);
	assert_int_equal(found.column, 0);
	assert_false(python_line(99, table, sizeof(table), 5, 0, &found));
}

static void an_empty_table_gives_what_its_kind_says(void **state)
{
	struct python_position found;
	assert_true(python_line(CAPTURE_LINES_LNOTAB, NULL, 0, 5, 0, &found));
	assert_int_equal(found.line, 5);
	assert_false(python_line(CAPTURE_LINES_PEP626, NULL, 0, 5, 0, &found));
	assert_false(python_line(CAPTURE_LINES_LOCATIONS, NULL, 0, 5, 0, &found));
}

static void an_offset_past_the_end_has_no_line(void **state)
{
	struct python_position found;
	static const uint8_t pep626[] = { 4, 1 };
	assert_true(python_line(CAPTURE_LINES_PEP626, pep626, sizeof(pep626), 5, 1, &found));
	assert_int_equal(found.line, 6);
	assert_false(python_line(CAPTURE_LINES_PEP626, pep626, sizeof(pep626), 5, 2, &found));
	static const uint8_t location[] = { 0x80 | 11 << 3 | 1, 7, 9 };
	assert_true(python_line(CAPTURE_LINES_LOCATIONS, location, sizeof(location), 5, 1, &found));
	assert_int_equal(found.line, 6);
	assert_int_equal(found.column, 8);
	assert_int_equal(found.end_column, 10);
	assert_false(python_line(CAPTURE_LINES_LOCATIONS, location, sizeof(location), 5, 2, &found));
	assert_false(python_line(CAPTURE_LINES_LOCATIONS, location, sizeof(location), 5, UINT32_MAX, &found));
}

static void a_cut_table_never_gives_half_a_place(void **state)
{
	/* code 14, one unit: line +70, end +65, columns 101 and 130 */
	static const uint8_t whole[] = { 0x80 | 14 << 3, 0x40 | 12, 2, 0x40 | 1, 1, 0x40 | 37, 1, 0x40 | 2, 2 };
	struct python_position found;
	assert_true(python_line(CAPTURE_LINES_LOCATIONS, whole, sizeof(whole), 1, 0, &found));
	assert_int_equal(found.line, 71);
	assert_int_equal(found.end_line, 136);
	assert_int_equal(found.column, 101);
	assert_int_equal(found.end_column, 130);
	for (size_t size = 0; size < sizeof(whole); size++) {
		assert_false(python_line(CAPTURE_LINES_LOCATIONS, whole, size, 1, 0, &found));
		assert_int_equal(found.line | found.end_line | found.column | found.end_column, 0);
	}
}

/* One walk for many instructions, some of them the same, finds what a walk for each does: in tables of any bytes. */
static void many_instructions_in_one_walk_find_what_each_alone_does(void **state)
{
	enum { UNITS = 40 };
	uint64_t random = 88172645463325252u;
	size_t lines = 0;
	for (int round = 0; round < 30000; round++) {
		uint8_t bytes[48];
		uint32_t units[UNITS];
		struct python_position all[UNITS], one;
		for (size_t i = 0; i < sizeof(bytes); i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			bytes[i] = (uint8_t)(random >> 56);
			/* Mostly entries that are whole, so that walks get somewhere. */
			if (round % 4 != 0)
				bytes[i] = round % 3 == 2 ? 0x80 | (bytes[i] & 3) | 13 << 3 : bytes[i] & 7;
		}
		for (size_t i = 0; i < UNITS; i++)
			units[i] = (uint32_t)(i * (1 + (unsigned)round % 5) / 2);
		const struct python_table table = { .kind = 1 + (unsigned)round % 3, .bytes = bytes,
			.size = (size_t)round % (sizeof(bytes) + 1), .first_line = 7 };
		python_lines(&table, units, UNITS, all);
		for (size_t i = 0; i < UNITS; i++) {
			bool known = python_line(table.kind, bytes, table.size, table.first_line, units[i], &one);
			assert_int_equal(known, all[i].line != 0);
			assert_memory_equal(&one, &all[i], sizeof(one));
			lines += known;
		}
	}
	assert_true(lines > 100000);
}

static void hostile_tables_stay_within_bounds(void **state)
{
	uint64_t random = 88172645463325252u;
	for (int round = 0; round < 20000; round++) {
		size_t size = random % 64;
		/* On the heap and of the exact size, so that a sanitizer sees the first byte too far. */
		uint8_t *table = malloc(size + 1);
		assert_non_null(table);
		uint8_t *start = table + 1;
		for (size_t i = 0; i < size; i++) {
			start[i] = (uint8_t)draw_bits(&random);
		}
		for (unsigned kind = 0; kind < 5; kind++) {
			struct python_position found;
			bool known = python_line(kind, start, size, (uint32_t)random, (uint32_t)(random >> 56), &found);
			assert_int_equal(known, found.line != 0);
			assert_true(found.line <= INT32_MAX);
		}
		free(table);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(lnotab_of_python_3_8_is_read_as_by_itself),
		cmocka_unit_test(lnotab_of_python_3_9_is_read_as_by_itself),
		cmocka_unit_test(linetable_of_python_3_10_is_read_as_by_itself),
		cmocka_unit_test(locations_of_python_3_11_are_read_as_by_itself),
		cmocka_unit_test(locations_of_python_3_12_are_read_as_by_itself),
		cmocka_unit_test(locations_of_python_3_13_are_read_as_by_itself),
		cmocka_unit_test(locations_of_python_3_14_are_read_as_by_itself),
		cmocka_unit_test(locations_of_python_3_15_are_read_as_by_itself),
		cmocka_unit_test(interpreters_found_here_agree),
		cmocka_unit_test(an_unknown_kind_has_no_lines),
		cmocka_unit_test(an_empty_table_gives_what_its_kind_says),
		cmocka_unit_test(an_offset_past_the_end_has_no_line),
		cmocka_unit_test(a_cut_table_never_gives_half_a_place),
		cmocka_unit_test(many_instructions_in_one_walk_find_what_each_alone_does),
		cmocka_unit_test(hostile_tables_stay_within_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
