/* SPDX-License-Identifier: MIT */
/*
 * Which files make up a run: by what their headers say, whatever they are called; and what names do when the first file
 * is gone.  Folders of real files, among them some that are not of the run, and random ones held against a plain list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "draw.h"
#include "golden_capture.h"
#include "reader/profile.h"
#include "reader/segments.h"

enum { RUN = 77, OTHER_RUN = 78 };

static char folder[64];
static char at[4][512];               /* paths, in turns */

static const char *path_of(const char *name)
{
	static unsigned turn;
	char *path = at[turn++ % 4];

	snprintf(path, sizeof(at[0]), "%s/%s", folder, name);
	return path;
}

static int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/sctmem-test-segments-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static void empty_folder(void)
{
	DIR *directory = opendir(folder);

	for (struct dirent *entry; directory && (entry = readdir(directory));)
		if (entry->d_name[0] != '.' && unlink(path_of(entry->d_name)) != 0)
			rmdir(path_of(entry->d_name));
	closedir(directory);
}

static int tear_down(void **state)
{
	empty_folder();
	return rmdir(folder);
}

static void write_one(const char *name, uint64_t run, uint32_t segment, uint64_t start_ns)
{
	struct writer writer;
	struct writer_stream *stream;

	writer_init(&writer);
	writer.header.version = CAPTURE_VERSION;
	writer.header.features = segment ? CAPTURE_SEGMENTS : 0;
	writer.header.run_id = run;
	writer.header.segment = segment;
	writer.header.start_realtime_ns = start_ns;
	writer_start(&writer);
	/* A stream for each file: none is missing where others are. */
	stream = writer_stream(&writer, segment, 16);
	put_thread_info(stream, 0, 4242, 0, "main");
	put_alloc(stream, CAPTURE_MALLOC, 0x1000 * (segment + 1), 10, 0);
	writer.status.state = CAPTURE_EXITED;
	writer_save(&writer, path_of(name));
	writer_free(&writer);
}

static void write_segment(const char *name, uint32_t segment)
{
	write_one(name, RUN, segment, 1000);
}

static struct capture *open_or_fail(const char *name)
{
	struct error error = { .text = "" };
	struct capture *capture;

	if (!capture_open(&capture, path_of(name), &error))
		assert_string_equal(error.text, "");
	return capture;
}

/* The numbers of the segments that are read under a name: "1 2 5". */
static const char *numbers(const char *name)
{
	static char text[256];
	struct capture *capture = open_or_fail(name);

	text[0] = 0;
	for (size_t i = 0; i < capture->segment_count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", i ? " " : "", capture->segments[i].number);
	capture_close(capture);
	return text;
}

static void the_golden_run_is_read_whole_and_in_parts(void **state)
{
	struct error error = { .text = "" };
	const char *whole[] = { golden_path("capture_v4.bin") };
	struct profile *profile;
	char second[512];

	if (!profile_build(&profile, whole, 1, NULL, &error))
		assert_string_equal(error.text, "");
	assert_int_equal(profile->total.total_count, 4);
	assert_int_equal(profile->total.total_bytes, 1000);
	assert_int_equal(profile->total.live_bytes, 500);
	assert_int_equal(profile->captures[0].unknown_frees, 0);
	assert_int_equal(profile->captures[0].segment_last, 2);
	assert_false(profile->captures[0].damaged);
	profile_free(profile);
	snprintf(second, sizeof(second), "%s", golden_path("capture_v4.000002.bin"));
	if (!profile_build(&profile, (const char *[]){ second }, 1, NULL, &error))
		assert_string_equal(error.text, "");
	/* What the window brought from before its segment is left out, and what is freed of that is not known. */
	assert_int_equal(profile->total.total_bytes, 400);
	assert_int_equal(profile->captures[0].left_out, 2);
	assert_int_equal(profile->captures[0].unknown_frees, 2);
	assert_int_equal(profile->captures[0].segment_first, 2);
	assert_false(profile->captures[0].damaged);
	/* The other one did nothing in it. */
	assert_int_equal(profile->thread_count, 1);
	profile_free(profile);
}

static void what_is_no_segment_is_told(void **state)
{
	uint64_t run = 1;
	uint32_t segment = 1;
	FILE *file;

	write_segment("segment", 3);
	assert_true(segments_peek(path_of("segment"), &run, &segment));
	assert_int_equal(run, RUN);
	assert_int_equal(segment, 3);
	write_segment("one.bin", 0);
	assert_false(segments_peek(path_of("one.bin"), &run, &segment));
	assert_false(segments_peek(path_of("nothing"), &run, &segment));
	assert_false(segments_peek(folder, &run, &segment));
	/* Nobody writes to it: it is not waited for. */
	assert_int_equal(mkfifo(path_of("pipe"), 0600), 0);
	assert_false(segments_peek(path_of("pipe"), &run, &segment));
	for (long size = 0; size < 512; size += 37) {
		write_segment("cut", 3);
		assert_int_equal(truncate(path_of("cut"), size), 0);
		assert_false(segments_peek(path_of("cut"), &run, &segment));
	}
	for (long byte = 0; byte < 512; byte += 11) {
		write_segment("damaged", 3);
		file = fopen(path_of("damaged"), "r+");
		fseek(file, byte, SEEK_SET);
		int old = fgetc(file);

		fseek(file, byte, SEEK_SET);
		fputc(old ^ 0x40, file);
		fclose(file);
		assert_false(segments_peek(path_of("damaged"), &run, &segment));
	}
	empty_folder();
}

static void a_run_is_what_the_headers_say_and_not_what_files_are_called(void **state)
{
	write_segment("run.bin", 1);
	write_segment("run.000002.bin", 2);
	write_segment("run.moved-here", 5);
	write_one("run.000003.bin", OTHER_RUN, 3, 2000);
	write_one("run.000004.bin", 0, 0, 3000);
	write_one("run.bin.4243", OTHER_RUN, 1, 4000);
	write_segment("elsewhere.000006.bin", 6);
	assert_int_equal(mkdir(path_of("run.000007.bin"), 0700), 0);
	assert_int_equal(mkfifo(path_of("run.000008.bin"), 0600), 0);
	assert_int_equal(symlink("nowhere", path_of("run.000009.bin")), 0);
	assert_string_equal(numbers("run.bin"), "1 2 5");
	/* A later one is read by itself. */
	assert_string_equal(numbers("run.000002.bin"), "2");
	assert_string_equal(numbers("run.moved-here"), "5");
	assert_string_equal(numbers("run.bin.4243"), "1 3");
	empty_folder();
}

static void what_lies_between_and_is_not_there_is_counted(void **state)
{
	struct capture *capture;

	write_segment("run.bin", 1);
	write_segment("run.000004.bin", 4);
	write_segment("run.000009.bin", 9);
	capture = open_or_fail("run.bin");
	assert_int_equal(capture->segments_missing, 6);
	assert_string_equal(capture->damage.first, "6 of the segments 1 to 9 of the run are not here");
	capture_close(capture);
	/* What a hostile header says sizes nothing. */
	write_segment("run.4294967295.bin", UINT32_MAX);
	capture = open_or_fail("run.bin");
	assert_int_equal(capture->segment_count, 4);
	assert_int_equal(capture->segments_missing, UINT32_MAX - 4);
	capture_close(capture);
	empty_folder();
}

static void two_of_one_number_are_refused_and_one_by_two_names_is_one(void **state)
{
	struct error error = { .text = "" };
	struct capture *capture;

	write_segment("run.bin", 1);
	write_segment("run.000002.bin", 2);
	assert_int_equal(link(path_of("run.000002.bin"), path_of("run.linked.bin")), 0);
	assert_int_equal(symlink("run.000002.bin", path_of("run.soft.bin")), 0);
	assert_string_equal(numbers("run.bin"), "1 2");
	write_segment("run.copy.bin", 2);
	assert_false(capture_open(&capture, path_of("run.bin"), &error));
	assert_int_equal(error.status, STATUS_BAD_CAPTURE);
	assert_non_null(strstr(error.text, "are both segment 2 of one run (offset 96)"));
	assert_non_null(strstr(error.text, "run.copy.bin"));
	/* Those that are named are read, and no others. */
	const char *paths[] = { path_of("run.bin"), path_of("run.000002.bin") };

	if (!capture_open_segments(&capture, paths, 2, &error))
		assert_string_equal(error.text, "");
	assert_int_equal(capture->segment_count, 2);
	capture_close(capture);
	empty_folder();
}

static void expect_first_left(const char *name, const char *wanted)
{
	char *found = segments_first_left(path_of(name));

	if (wanted) {
		assert_non_null(found);
		assert_string_equal(found, path_of(wanted));
	} else {
		assert_null(found);
	}
	free(found);
}

static void the_name_of_a_first_file_that_is_gone_leads_to_its_run_alone(void **state)
{
	/* A child's run began later, and has the parent's name in its own. */
	write_one("run.bin.4243", OTHER_RUN, 1, 9000);
	write_one("run.bin.4243.000002", OTHER_RUN, 2, 9000);
	expect_first_left("run.bin", NULL);
	write_segment("run.000007.bin", 7);
	write_segment("run.000005.bin", 5);
	write_segment("run.000006.bin", 6);
	expect_first_left("run.bin", "run.000005.bin");
	assert_string_equal(numbers("run.bin"), "5 6 7");
	/* An earlier run of that name has left something. */
	write_one("run.000012.bin", 5, 3, 10);
	expect_first_left("run.bin", "run.000005.bin");
	unlink(path_of("run.bin.4243"));
	expect_first_left("run.bin.4243", "run.bin.4243.000002");
	/* Names that only look like it. */
	expect_first_left("ru.bin", NULL);
	expect_first_left("run", NULL);
	expect_first_left("run.000005", NULL);
	empty_folder();
	write_segment("run.12345.bin", 2);
	write_segment("run.000002.bin.old", 3);
	write_segment("run.0000o2.bin", 4);
	expect_first_left("run.bin", NULL);
	write_segment("run.1234567.bin", 5);
	expect_first_left("run.bin", "run.1234567.bin");
	empty_folder();
}

static void the_first_and_the_newest_are_found_from_any(void **state)
{
	static const char *const names[] = { "run.bin", "run.000002.bin", "run.000010.bin" };
	char *found;

	write_segment("run.bin", 1);
	write_segment("run.000002.bin", 2);
	write_segment("run.000010.bin", 10);
	write_one("run.000011.bin", OTHER_RUN, 11, 9000);
	write_one("run.000012.bin", 0, 0, 9000);
	for (int i = 0; i < 3; i++) {
		found = segments_first_beside(path_of(names[i]));
		assert_string_equal(found, path_of("run.bin"));
		free(found);
		found = segments_newest_beside(path_of(names[i]));
		assert_string_equal(found, path_of("run.000010.bin"));
		free(found);
	}
	assert_null(segments_first_beside(path_of("run.000012.bin")));
	assert_null(segments_newest_beside(path_of("nothing")));
	empty_folder();
}

static void those_that_come_while_a_run_is_followed_are_added(void **state)
{
	struct error error = { .text = "" };
	struct capture *capture;
	bool found;

	write_segment("run.000004.bin", 4);
	write_segment("run.bin", 1);
	assert_true(capture_open_growing(&capture, path_of("run.000004.bin"), &error));
	assert_int_equal(capture->segment_count, 1);
	assert_true(segments_find_later(capture, &found, &error));
	assert_false(found);
	write_segment("run.000006.bin", 6);
	write_segment("run.000005.bin", 5);
	/* A copy that somebody makes beside is none. */
	write_segment("run.000006.bin.copy", 6);
	write_segment("run.000004-copy.bin", 4);
	write_one("run.000007.bin", OTHER_RUN, 7, 2000);
	assert_true(segments_find_later(capture, &found, &error));
	assert_true(found);
	assert_int_equal(capture->segment_count, 3);
	assert_int_equal(capture->segments[1].number, 5);
	assert_string_equal(capture->segments[2].path, path_of("run.000006.bin"));
	assert_int_equal(capture->segments_missing, 0);
	write_segment("run.000009.bin", 9);
	assert_true(segments_find_later(capture, &found, &error));
	assert_true(found);
	assert_int_equal(capture->segments_missing, 2);
	assert_non_null(strstr(capture->damage.first, "2 segments of the run are gone before"));
	assert_true(segments_find_later(capture, &found, &error));
	assert_false(found);
	capture_close(capture);
	empty_folder();
}

/* Random folders: what is read is what a plain list of the headers says. */
static void random_folders_are_read_as_a_list_says(void **state)
{
	uint64_t random = 7;

	for (int round = 0; round < 150; round++) {
		uint32_t count[20] = { 0 }, lowest = UINT32_MAX, highest = 0, missing = 0;
		bool twice = false;
		struct error error = { .text = "" };
		struct capture *capture;
		char name[64];

		write_segment("run.bin", 1);
		count[1]++;
		for (int file = 0; file < 6; file++) {
			const uint32_t segment = 1 + (uint32_t)draw_below(&random, 19), kind = (uint32_t)draw_below(&random, 10);

			snprintf(name, sizeof(name), "run.%s%d.bin", draw_below(&random, 2) ? "00000" : "x", file);
			if (kind < 7) {
				write_segment(name, segment);
				count[segment]++;
			} else {
				write_one(name, OTHER_RUN, segment, 500);
			}
		}
		for (uint32_t i = 1; i < 20; i++) {
			twice = twice || count[i] > 1;
			lowest = count[i] && i < lowest ? i : lowest;
			highest = count[i] ? i : highest;
		}
		for (uint32_t i = lowest; i <= highest; i++)
			missing += count[i] == 0;
		if (capture_open(&capture, path_of("run.bin"), &error)) {
			assert_false(twice);
			assert_int_equal(capture->segments_missing, missing);
			assert_int_equal(capture->segment_count, highest - lowest + 1 - missing);
			for (size_t i = 0; i < capture->segment_count; i++)
				assert_true(count[capture->segments[i].number] == 1 &&
					(i == 0 || capture->segments[i].number > capture->segments[i - 1].number));
			capture_close(capture);
		} else {
			assert_true(twice);
			assert_int_equal(error.status, STATUS_BAD_CAPTURE);
		}
		empty_folder();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_golden_run_is_read_whole_and_in_parts),
		cmocka_unit_test(what_is_no_segment_is_told),
		cmocka_unit_test(a_run_is_what_the_headers_say_and_not_what_files_are_called),
		cmocka_unit_test(what_lies_between_and_is_not_there_is_counted),
		cmocka_unit_test(two_of_one_number_are_refused_and_one_by_two_names_is_one),
		cmocka_unit_test(the_name_of_a_first_file_that_is_gone_leads_to_its_run_alone),
		cmocka_unit_test(the_first_and_the_newest_are_found_from_any),
		cmocka_unit_test(those_that_come_while_a_run_is_followed_are_added),
		cmocka_unit_test(random_folders_are_read_as_a_list_says),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
