/* SPDX-License-Identifier: MIT */
/*
 * Names that were looked up before: what was kept comes back, whole and for the same files only; what is damaged, of
 * somebody else or in the way is as if it were not there; and what is there does not grow without end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "reader/symbol_cache.h"
#include "draw.h"

enum { ADDRESSES = 500, HEAD_SIZE = 32, CHECKSUM_AT = 24 };

static char folder[256], program[300], cache_folder[300];
static uint64_t state = 88172645463325252u;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)(draw_bits(&state) >> 20) % below;
}

static bool __attribute__((format(printf, 1, 2))) run(const char *format, ...)
{
	char command[4096];
	va_list arguments;

	va_start(arguments, format);
	assert_true((size_t)vsnprintf(command, sizeof(command), format, arguments) < sizeof(command));
	va_end(arguments);
	return system(command) == 0;
}

/* Of the program, as if it had been built an hour ago; the cache's folder is empty. */
static int make_folder(void **test_state)
{
	const char *base = getenv("TMPDIR");

	snprintf(folder, sizeof(folder), "%s/sctmem-cache-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(folder))
		return -1;
	snprintf(program, sizeof(program), "%s/program", folder);
	snprintf(cache_folder, sizeof(cache_folder), "%s/made/cache", folder);
	return run("cd '%s' && echo 'int twice(int n) { return 2 * n; } int main(int c, char **v) { return twice(c); }' "
		">p.c && cc -g -O0 -o program p.c && touch -d '1 hour ago' program", folder) ? 0 : -1;
}

static int remove_folder(void **test_state)
{
	return run("rm -rf '%s'", folder) ? 0 : -1;
}

static struct module_files open_files(void)
{
	struct module_files files;

	module_files_open(&files, &(struct symbols_options){ 0 }, program, NULL, 0);
	assert_non_null(files.program.elf);
	return files;
}

static bool open_cache(struct symbol_cache *cache)
{
	struct module_files files = open_files();
	const bool open = symbol_cache_open(cache, cache_folder, &files);

	module_files_close(&files);
	return open;
}

/* The names of an address, made up. */
static size_t make_up(uint64_t address, struct symbol_frame *frames, char texts[][32])
{
	const size_t count = 1 + address % 5;

	for (size_t i = 0; i < count; i++) {
		snprintf(texts[i], sizeof(texts[i]), "function_%lu_%zu", (unsigned long)address % 97, i);
		frames[i] = (struct symbol_frame){ .function = address % 7 ? texts[i] : NULL,
			.file = address % 3 ? "/a/file.c" : NULL,
			.line = (uint32_t)address + 1, .inlined = i + 1 < count, .exact_function = address % 2 };
	}
	return count;
}

static void check_found(const struct symbol_cache *cache, uint64_t address)
{
	struct symbol_frame frames[SYMBOLS_FRAMES_MAX], expected[8];
	char texts[8][32];
	const size_t count = make_up(address, expected, texts);

	assert_int_equal(symbol_cache_find(cache, address, frames), count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(frames[i].function != NULL, expected[i].function != NULL);
		if (frames[i].function)
			assert_string_equal(frames[i].function, expected[i].function);
		assert_int_equal(frames[i].file != NULL, expected[i].file != NULL);
		if (frames[i].file)
			assert_string_equal(frames[i].file, expected[i].file);
		assert_int_equal(frames[i].line, expected[i].line);
		assert_int_equal(frames[i].inlined, expected[i].inlined);
		assert_int_equal(frames[i].exact_function, expected[i].exact_function);
	}
}

static void add(struct symbol_cache *cache, uint64_t address)
{
	struct symbol_frame frames[8];
	char texts[8][32];
	const size_t count = make_up(address, frames, texts);

	symbol_cache_add(cache, address, frames, count);
}

static void fill(uint64_t first, uint64_t step, size_t count)
{
	struct symbol_cache cache;

	assert_true(open_cache(&cache));
	for (size_t i = 0; i < count; i++)
		add(&cache, first + step * i);
	symbol_cache_save(&cache, SYMBOLS_LINES);
	symbol_cache_close(&cache);
}

static char *cached_file(void)
{
	static char path[800];
	DIR *listing = opendir(cache_folder);
	struct dirent *entry;
	int count = 0;

	assert_non_null(listing);
	while ((entry = readdir(listing)))
		if (entry->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", cache_folder, entry->d_name);
			count++;
		}
	closedir(listing);
	assert_int_equal(count, 1);
	return path;
}

static size_t known(void)
{
	struct symbol_cache cache;

	assert_true(open_cache(&cache));
	const size_t count = cache.names.head.frame_count;
	assert_int_equal(cache.bytes != NULL, count != 0);
	symbol_cache_close(&cache);
	return count;
}

static void what_was_kept_in_any_order_of_rounds_comes_back(void **test_state)
{
	bool kept[ADDRESSES] = { false };

	for (int round = 0; round < 12; round++) {
		struct symbol_cache cache;

		assert_true(open_cache(&cache));
		for (uint64_t i = 0; i < ADDRESSES; i++) {
			struct symbol_frame frames[SYMBOLS_FRAMES_MAX];

			if (kept[i])
				check_found(&cache, i * 3);
			else
				assert_int_equal(symbol_cache_find(&cache, i * 3, frames), 0);
			assert_int_equal(symbol_cache_find(&cache, i * 3 + 1, frames), 0);
		}
		assert_int_equal(cache.detail, round == 0 ? SYMBOLS_NONE : SYMBOLS_FUNCTIONS);
		for (uint64_t i = 0; i < ADDRESSES; i++)
			if (!kept[i] && draw(8) == 0) {
				kept[i] = true;
				add(&cache, i * 3);
			}
		symbol_cache_save(&cache, SYMBOLS_FUNCTIONS);
		for (uint64_t i = 0; i < ADDRESSES && round; i++)   /* what was found before stays */
			if (cache.names.head.frame_count && cache.names.frames[0].frame == i * 3)
				check_found(&cache, i * 3);
		symbol_cache_close(&cache);
	}
}

static void keep_count(void *context, size_t index, const struct symbol_frame *frames, size_t count)
{
	struct symbol_frame *first = context;

	*first = frames[0];
	first->line += (uint32_t)(1000 * (count - 1));
}

/* That names come from the cache is seen by names that no program has. */
static void a_module_takes_them_from_there_and_keeps_what_was_missing(void **test_state)
{
	const struct symbols_options options = { .cache_folder = cache_folder };
	struct symbol_frame first;
	unsigned long start = 0;
	FILE *pipe;

	fill(3, 1, 1);
	struct symbols *symbols = symbols_new(&options);
	uint32_t module = symbols_add_module(symbols, program, NULL, 0);
	const uint64_t made_up = 3;
	symbols_resolve_many(symbols, module, &made_up, 1, keep_count, &first);
	assert_string_equal(first.function, "function_3_0");
	assert_int_equal(symbols_module_detail(symbols, module), SYMBOLS_LINES);
	symbols_free(symbols);

	char command[400];
	snprintf(command, sizeof(command), "nm '%s' | grep ' twice$'", program);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%lx", &start), 1);
	pclose(pipe);
	for (int again = 0; again < 2; again++) {
		const uint64_t both[] = { start + 4, 3 };
		assert_int_equal(known(), 1 + again);
		symbols = symbols_new(&options);
		module = symbols_add_module(symbols, program, NULL, 0);
		symbols_resolve_many(symbols, module, both, 1, keep_count, &first);
		assert_string_equal(first.function, "twice");
		assert_int_equal(first.line, 1);
		assert_int_equal(symbols_module_detail(symbols, module), SYMBOLS_LINES);
		symbols_free(symbols);
	}
	/* Not asked to, it neither takes nor keeps. */
	symbols = symbols_new(NULL);
	module = symbols_add_module(symbols, program, NULL, 0);
	symbols_resolve_many(symbols, module, &made_up, 1, keep_count, &first);
	assert_true(first.function == NULL || strcmp(first.function, "function_3_0") != 0);
	symbols_free(symbols);
	assert_int_equal(known(), 2);
}

static void another_file_of_that_name_has_none(void **test_state)
{
	struct symbol_cache cache;

	fill(0, 1, 5);
	assert_int_equal(known(), 5);
	assert_true(run("touch -d '2 hours ago' '%s'", program));
	assert_int_equal(known(), 0);
	assert_true(run("cp '%s' '%s.copy' && mv '%s.copy' '%s' && touch -d '2 hours ago' '%s'", program, program, program,
		program, program));
	assert_int_equal(known(), 0);
	/* One that may still be written to. */
	assert_true(run("touch '%s'", program));
	assert_false(open_cache(&cache));
}

static void folders_of_others_and_files_in_the_way_are_left_alone(void **test_state)
{
	struct symbol_cache cache;

	fill(0, 1, 5);
	assert_true(run("chmod 777 '%s'", cache_folder));
	assert_false(open_cache(&cache));
	assert_true(run("chmod 700 '%s'", cache_folder));
	assert_int_equal(known(), 5);
	char *path = cached_file();
	assert_true(run("mv '%s' '%s/elsewhere' && ln -s '%s/elsewhere' '%s'", path, folder, folder, path));
	assert_int_equal(known(), 0);
	fill(0, 1, 4);
	assert_int_equal(known(), 4);
	assert_true(run("rm '%s' && mkfifo '%s'", path, path));
	assert_int_equal(known(), 0);
	assert_true(run("rm -r '%s' && touch '%s'", cache_folder, cache_folder));
	assert_false(open_cache(&cache));
	if (geteuid() != 0) {
		assert_true(run("rm '%s' && chmod 500 '%s/made'", cache_folder, folder));
		assert_false(open_cache(&cache));
		assert_true(run("chmod 700 '%s/made'", folder));
	}
}

static uint8_t *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "r");
	uint8_t *bytes = calloc(1, 1 << 20);

	assert_non_null(file);
	assert_non_null(bytes);
	*size = fread(bytes, 1, 1 << 20, file);
	fclose(file);
	return bytes;
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

static void damaged_files_have_none(void **test_state)
{
	fill(0, 1, 20);
	const char *path = cached_file();
	size_t size;
	uint8_t *bytes = read_file(path, &size);

	for (size_t at = 0; at < size; at++) {
		const uint8_t before = bytes[at];

		bytes[at] ^= (uint8_t)(1u << draw(8));
		write_file(path, bytes, size);
		assert_int_equal(known(), 0);
		bytes[at] = before;
		if (at % 64 == 0) {       /* and is written anew */
			fill(0, 1, 20);
			assert_int_equal(known(), 20);
		}
	}
	for (size_t cut = 0; cut < size; cut += 1 + draw(7)) {
		write_file(path, bytes, cut);
		assert_int_equal(known(), 0);
	}
	free(bytes);
}

/* Whoever can write there can also make the checksum right: still nothing is read beyond the file. */
static void changed_files_with_a_right_checksum_do_no_harm(void **test_state)
{
	fill(0, 1, 20);
	const char *path = cached_file();
	size_t size;
	uint8_t *bytes = read_file(path, &size), *copy = malloc(size);

	assert_non_null(copy);
	for (int round = 0; round < 2000; round++) {
		const size_t new_size = draw(16) ? size : HEAD_SIZE + draw((uint32_t)(size - HEAD_SIZE));

		memcpy(copy, bytes, size);
		for (uint32_t change = 0; change < 1 + draw(4); change++)
			copy[HEAD_SIZE + draw((uint32_t)(size - HEAD_SIZE))] = draw(2) ? 0xff : (uint8_t)draw(256);
		const uint64_t checksum = XXH3_64bits_withSeed(copy + HEAD_SIZE, new_size - HEAD_SIZE, SYMBOLS_LINES);
		memcpy(copy + CHECKSUM_AT, &checksum, 8);
		write_file(path, copy, new_size);
		struct symbol_cache cache;
		assert_true(open_cache(&cache));
		for (uint64_t address = 0; address < 24; address++) {
			struct symbol_frame frames[SYMBOLS_FRAMES_MAX];
			const size_t count = symbol_cache_find(&cache, address, frames);

			for (size_t i = 0; i < count; i++)
				assert_true((!frames[i].function || strlen(frames[i].function) < 4096) &&
					(!frames[i].file || strlen(frames[i].file) < 4096));
		}
		symbol_cache_close(&cache);
	}
	free(bytes);
	free(copy);
}

static void put_file(const char *name, off_t size, const char *age)
{
	char path[800];

	snprintf(path, sizeof(path), "%s/%s", cache_folder, name);
	const int file = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, size), 0);
	close(file);
	assert_true(run("touch -d '%s' '%s'", age, path));
}

static bool is_there(const char *name)
{
	char path[800];

	snprintf(path, sizeof(path), "%s/%s", cache_folder, name);
	return access(path, F_OK) == 0;
}

static void the_least_lately_used_goes_when_there_is_too_much(void **test_state)
{
	fill(0, 1, 5);
	put_file("oldest.names", 100 << 20, "30 days ago");
	put_file("old.names", 100 << 20, "20 days ago");
	put_file("new.names", 100 << 20, "1 day ago");
	put_file("abandoned.tmp", 1, "2 hours ago");
	put_file("being-written.tmp", 1, "1 minute ago");
	put_file("not-ours.txt", 300 << 20, "300 days ago");
	fill(100, 1, 5);
	assert_false(is_there("oldest.names"));
	assert_false(is_there("old.names"));
	assert_true(is_there("new.names"));
	assert_false(is_there("abandoned.tmp"));
	assert_true(is_there("being-written.tmp"));
	assert_true(is_there("not-ours.txt"));
	assert_int_equal(known(), 10);
}

static void *save_often(void *argument)
{
	const uint64_t first = *(uint64_t *)argument;

	for (uint64_t i = 0; i < 40; i++)
		fill(first + i * 10, 1, 5);
	return NULL;
}

static void two_at_once_leave_a_whole_file(void **test_state)
{
	pthread_t threads[3];
	uint64_t firsts[3];

	for (uint64_t i = 0; i < 3; i++) {
		firsts[i] = 1 + i * 100000;
		assert_int_equal(pthread_create(&threads[i], NULL, save_often, &firsts[i]), 0);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	struct symbol_cache cache;
	assert_true(open_cache(&cache));
	assert_true(cache.names.head.frame_count >= 5);
	for (uint32_t i = 0; i < cache.names.head.frame_count; i++)
		check_found(&cache, cache.names.frames[i].frame);
	symbol_cache_close(&cache);
	cached_file();
}

static void the_folder_is_the_users(void **test_state)
{
	char path[64];

	setenv("XDG_CACHE_HOME", "/somewhere", 1);
	setenv("HOME", "/home/me", 1);
	assert_true(symbol_cache_folder(path, sizeof(path)));
	assert_string_equal(path, "/somewhere/sctmem");
	setenv("XDG_CACHE_HOME", "relative", 1);
	assert_true(symbol_cache_folder(path, sizeof(path)));
	assert_string_equal(path, "/home/me/.cache/sctmem");
	assert_false(symbol_cache_folder(path, 10));
	unsetenv("XDG_CACHE_HOME");
	unsetenv("HOME");
	assert_false(symbol_cache_folder(path, sizeof(path)));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
	static const struct CMUnitTest tests[] = {
		TEST(what_was_kept_in_any_order_of_rounds_comes_back),
		TEST(a_module_takes_them_from_there_and_keeps_what_was_missing),
		TEST(another_file_of_that_name_has_none),
		TEST(folders_of_others_and_files_in_the_way_are_left_alone),
		TEST(damaged_files_have_none),
		TEST(changed_files_with_a_right_checksum_do_no_harm),
		TEST(the_least_lately_used_goes_when_there_is_too_much),
		TEST(two_at_once_leave_a_whole_file),
		TEST(the_folder_is_the_users),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
