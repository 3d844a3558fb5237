/* SPDX-License-Identifier: MIT */
/*
 * The C side of the report page: what it makes of bad bytes, large numbers, full disks and source files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* Ours has the same name. */
#undef fail

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_profile.h"
#include "reader/report_columns.h"
#include "reader/report_html.h"
#include "reader/report_source.h"
#include "reader/report_text.h"

/* error.c is not part of what is tested. */
bool fail(struct error *error, int status, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	error->status = status;
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	return false;
}

/* The page of a profile as one text on the heap; NULL when it was refused. */
static char *page_of(const struct profile *profile, const struct report_options *options, struct error *error)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	assert_non_null(out);
	bool good = report_html_write(profile, options, out, error);
	fclose(out);
	if (good)
		return text;
	free(text);
	return NULL;
}

static void check_json(const char *text, const char *expected)
{
	char *json = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&json, &size);
	assert_non_null(out);
	report_text_json(out, text);
	fclose(out);
	assert_string_equal(json, expected);
	free(json);
}

static void bytes_that_are_not_utf8_become_text(void **state)
{
	(void)state;
	check_json("", "\"\"");
	check_json("a\"b\\c", "\"a\\\"b\\\\c\"");
	check_json("</script>&\n\x7f", "\"\\u003c/script\\u003e\\u0026\\u000a\\u007f\"");
	check_json("caf\xc3\xa9 \xf0\x9f\x90\x8d", "\"caf\xc3\xa9 \xf0\x9f\x90\x8d\"");
	check_json("\xff\xc0\xaf", "\"\\\\xff\\\\xc0\\\\xaf\"");
	check_json("\xed\xa0\x80", "\"\\\\xed\\\\xa0\\\\x80\"");
	check_json("\xf4\x90\x80\x80\xe2\x82", "\"\\\\xf4\\\\x90\\\\x80\\\\x80\\\\xe2\\\\x82\"");
	assert_int_equal(report_text_size("a\xff\xc3\xa9"), 1 + 4 + 2);
}

static void the_same_profile_gives_the_same_page(void **state)
{
	(void)state;
	struct error error = { 0 };
	const struct report_options options = { .metric = "leaked", .title = "A </title> & title" };
	struct profile *first = fake_profile_new(FAKE_HOSTILE, 500);
	struct profile *second = fake_profile_new(FAKE_HOSTILE, 500);
	char *one = page_of(first, &options, &error);
	char *two = page_of(second, &options, &error);
	assert_non_null(one);
	assert_non_null(two);
	assert_string_equal(one, two);
	assert_non_null(strstr(one, "<title>A &#60;/title&#62; &#38; title \xe2\x80\x93 sctmem</title>"));
	assert_non_null(strstr(one, "\"metric\":\"leaked\""));
	free(one);
	free(two);
	fake_profile_free(first);
	fake_profile_free(second);
}

static void an_unknown_metric_is_refused(void **state)
{
	(void)state;
	struct error error = { 0 };
	struct profile *profile = fake_profile_new(FAKE_EMPTY, 0);
	const struct report_options options = { .metric = "most" };
	assert_null(page_of(profile, &options, &error));
	assert_int_equal(error.status, STATUS_USAGE);
	fake_profile_free(profile);
}

static void a_full_disk_is_an_error(void **state)
{
	(void)state;
	struct error error = { 0 };
	struct profile *profile = fake_profile_new(FAKE_DEMO, 2000);
	const struct report_options options = { 0 };
	FILE *out = fopen("/dev/full", "w");
	assert_non_null(out);
	assert_false(report_html_write(profile, &options, out, &error));
	fclose(out);
	assert_int_equal(error.status, STATUS_OUTPUT);
	assert_non_null(strstr(error.text, "cannot write the report"));
	fake_profile_free(profile);
}

static void numbers_too_large_are_counted(void **state)
{
	(void)state;
	struct error error = { 0 };
	struct profile *profile = fake_profile_new(FAKE_DEMO, 200);
	const struct report_options options = { 0 };
	char *page = page_of(profile, &options, &error);
	assert_non_null(page);
	assert_non_null(strstr(page, "\"clamped\":0}"));
	free(page);
	profile->sites[0].cost.total_bytes = UINT64_MAX;
	profile->total.total_bytes = REPORT_NUMBER_MAX + 1;
	page = page_of(profile, &options, &error);
	assert_non_null(page);
	assert_non_null(strstr(page, "\"clamped\":2}"));
	assert_non_null(strstr(page, "\"total\":[4503599627370495,"));
	free(page);
	fake_profile_free(profile);
}

static void write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
}

/* Only from regular files with a fitting suffix, of libraries only lines near what is named. */
static void source_lines_come_from_source_files_only(void **state)
{
	(void)state;
	char folder[] = "/tmp/sctmem-source-XXXXXX";
	assert_non_null(mkdtemp(folder));
	char paths[4][64];
	static const char *const names[] = { "good.py", "secret.txt", "folder.py", "pipe.py" };
	for (int i = 0; i < 4; i++)
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", folder, names[i]);
	write_file(paths[0], "1\n2\n3\n4\n5\n6\n7\r\n8\n9\n10\n11");
	write_file(paths[1], "secret\n");
	assert_int_equal(mkdir(paths[2], 0700), 0);
	assert_int_equal(mkfifo(paths[3], 0600), 0);
	struct profile *profile = fake_profile_new(FAKE_EMPTY, 0);
	struct frame frames[] = {
		{ "<all>", "", "", 0, FRAME_SPECIAL, 0 }, { "f", paths[0], "", 7, FRAME_PYTHON, FRAME_LIBRARY },
		{ "f", paths[0], "", 99, FRAME_PYTHON, FRAME_LIBRARY }, { "f", paths[1], "", 1, FRAME_PYTHON, 0 },
		{ "f", paths[2], "", 1, FRAME_PYTHON, 0 }, { "f", paths[3], "", 1, FRAME_PYTHON, 0 },
		{ "f", paths[1], "m", 1, FRAME_NATIVE, 0 }, { "f", "good.py", "", 1, FRAME_PYTHON, FRAME_LIBRARY },
	};
	struct frame *before = profile->frames;
	profile->frames = frames;
	profile->frame_count = sizeof(frames) / sizeof(*frames);
	profile->captures[0].directory = folder;
	profile->captures[0].start_realtime_ns = UINT64_MAX;
	struct report_sources *sources = NULL;
	struct error error = { 0 };
	assert_true(report_sources_new(&sources, profile, false, &error));
	assert_int_equal(report_sources_count(sources), 2);
	const struct report_source *source = report_sources_get(sources, 0);
	assert_string_equal(source->file, paths[0]);
	assert_int_equal(source->state, REPORT_SOURCE_SAME);
	assert_int_equal(source->line_count, 7);
	assert_int_equal(source->lines[0].number, 4);
	assert_string_equal(source->lines[3].text, "7");
	source = report_sources_get(sources, 1);
	assert_string_equal(source->file, "good.py");
	assert_int_equal(source->line_count, 4);
	report_sources_free(sources);
	profile->captures[0].start_realtime_ns = 0;
	assert_true(report_sources_new(&sources, profile, false, &error));
	assert_int_equal(report_sources_get(sources, 0)->state, REPORT_SOURCE_CHANGED);
	report_sources_free(sources);
	profile->frames = before;
	profile->frame_count = 1;
	fake_profile_free(profile);
	for (int i = 0; i < 4; i++)
		remove(paths[i]);
	rmdir(folder);
}

static void own_files_are_whole_and_confidential_ones_left_out(void **state)
{
	(void)state;
	char folder[] = "/tmp/sctmem-source-XXXXXX";
	assert_non_null(mkdtemp(folder));
	char paths[5][64];
	static const char *const names[] = { "a.py", "b.c", "db_passwords.py", "e.py", "f.py" };
	static const char *const texts[] = { "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "x\n",
		"# Company CONFIDENTIAL\nx\n", "x\n-----BEGIN RSA PRIVATE KEY-----\n" };
	struct frame frames[6] = { { "<all>", "", "", 0, FRAME_SPECIAL, 0 } };
	for (int i = 0; i < 5; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", folder, names[i]);
		write_file(paths[i], texts[i]);
		frames[i + 1] = (struct frame){ "f", paths[i], "", 1, i == 1 ? FRAME_NATIVE : FRAME_PYTHON, 0 };
	}
	struct profile *profile = fake_profile_new(FAKE_EMPTY, 0);
	struct frame *before = profile->frames;
	profile->frames = frames;
	profile->frame_count = 6;
	profile->captures[0].start_realtime_ns = UINT64_MAX;
	for (int all = 0; all < 2; all++) {
		struct report_sources *sources = NULL;
		struct error error = { 0 };
		assert_true(report_sources_new(&sources, profile, all, &error));
		assert_int_equal(report_sources_count(sources), 5);
		for (size_t i = 0; i < 5; i++) {
			const struct report_source *source = report_sources_get(sources, i);
			/* Sorted by name, native code last. */
			static const size_t lines[] = { 9, 1, 2, 2, 4 };
			bool hidden = !all && i > 0 && i < 4;
			assert_int_equal(source->state, hidden ? REPORT_SOURCE_CONFIDENTIAL : REPORT_SOURCE_SAME);
			assert_int_equal(source->line_count, hidden ? 0 : lines[i]);
		}
		report_sources_free(sources);
	}
	profile->frames = before;
	profile->frame_count = 1;
	fake_profile_free(profile);
	for (int i = 0; i < 5; i++)
		remove(paths[i]);
	remove(folder);
	static const char *const open_names[] = { "", "tokenizer.py", "/srv/secretary/x.py", "py" };
	static const char *const secret_names[] = { "secrets.py", "/home/u/.ssh/config.py", "my-API/Token.py", "a_secret" };
	for (size_t i = 0; i < 4; i++) {
		assert_false(report_source_name_is_confidential(open_names[i]));
		assert_true(report_source_name_is_confidential(secret_names[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_that_are_not_utf8_become_text),
		cmocka_unit_test(the_same_profile_gives_the_same_page),
		cmocka_unit_test(an_unknown_metric_is_refused),
		cmocka_unit_test(a_full_disk_is_an_error),
		cmocka_unit_test(numbers_too_large_are_counted),
		cmocka_unit_test(source_lines_come_from_source_files_only),
		cmocka_unit_test(own_files_are_whole_and_confidential_ones_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
