/* SPDX-License-Identifier: MIT */
/*
 * Property: a file of kept names whose key and checksum are right, and whose payload is any bytes, is refused, or each
 * address that it has gives 1 to SYMBOLS_FRAMES_MAX frames with texts that end.  Written anew with one more address, it
 * still says the same of the others.
 *
 * The module is the shell, which no test builds and so is settled; its names are not asked for.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "input.h"
#include "reader/symbol_cache.h"

enum { HEAD_SIZE = 32, TEXT_MAX = 4096, ADDED = 12345 };

static char folder[256], path[320];

static void remove_folder(void)
{
	unlink(path);
	rmdir(folder);
}

static void open_cache(struct symbol_cache *cache)
{
	struct module_files files;

	module_files_open(&files, &(struct symbols_options){ 0 }, "/bin/sh", NULL, 0);
	require(symbol_cache_open(cache, folder, &files));
	module_files_close(&files);
}

static void make_folder(void)
{
	const char *base = getenv("TMPDIR");
	struct symbol_cache cache;

	snprintf(folder, sizeof(folder), "%s/sctmem-fuzz-XXXXXX", base ? base : "/tmp");
	require(mkdtemp(folder) != NULL);
	atexit(remove_folder);
	open_cache(&cache);
	snprintf(path, sizeof(path), "%s/%s", folder, cache.name);
	symbol_cache_close(&cache);
}

/* As symbol_cache.c writes it. */
static void write_file(const uint8_t *payload, size_t size)
{
	struct symbol_cache cache;

	open_cache(&cache);
	const size_t whole = HEAD_SIZE + sizeof(cache.key) + size;
	uint8_t *bytes = malloc(whole);
	require(bytes != NULL);
	memcpy(bytes, "SCTNAMES\1\0\0\0\3\0\0\0", 16);
	memcpy(bytes + HEAD_SIZE, &cache.key, sizeof(cache.key));
	if (size != 0)
		memcpy(bytes + HEAD_SIZE + sizeof(cache.key), payload, size);
	const uint64_t counts[] = { size, XXH3_64bits_withSeed(bytes + HEAD_SIZE, whole - HEAD_SIZE, SYMBOLS_LINES) };
	memcpy(bytes + 16, counts, sizeof(counts));
	symbol_cache_close(&cache);
	FILE *file = fopen(path, "w");
	require(file != NULL && fwrite(bytes, 1, whole, file) == whole && fclose(file) == 0);
	free(bytes);
}

static size_t look_up(const struct symbol_cache *cache, uint64_t address, struct symbol_frame *frames)
{
	const size_t count = symbol_cache_find(cache, address, frames);

	require(count <= SYMBOLS_FRAMES_MAX);
	for (size_t i = 0; i < count; i++) {
		require(frames[i].function == NULL || strnlen(frames[i].function, TEXT_MAX) < TEXT_MAX);
		require(frames[i].file == NULL || strnlen(frames[i].file, TEXT_MAX) < TEXT_MAX);
	}
	return count;
}

static int is_same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

/* All that one has the other has. */
static void compare(const struct symbol_cache *before, const struct symbol_cache *after)
{
	for (uint32_t i = 0; i < before->names.head.frame_count; i++) {
		const uint64_t address = before->names.frames[i].frame;
		struct symbol_frame old[SYMBOLS_FRAMES_MAX], new[SYMBOLS_FRAMES_MAX];
		const size_t count = look_up(before, address, old);

		require(count >= 1 && look_up(after, address, new) == count);
		for (size_t n = 0; n < count; n++)
			require(is_same_text(old[n].function, new[n].function) && is_same_text(old[n].file, new[n].file) &&
				old[n].line == new[n].line && old[n].inlined == new[n].inlined &&
				old[n].exact_function == new[n].exact_function);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct symbol_frame added = { .function = "added", .file = "added.c", .line = 1, .exact_function = true };
	struct symbol_frame frames[SYMBOLS_FRAMES_MAX];
	struct symbol_cache before, after;

	if (path[0] == '\0')
		make_folder();
	write_file(data, size);
	open_cache(&before);
	require(before.bytes != NULL || before.names.head.frame_count == 0);
	if (look_up(&before, ADDED, frames) == 0) {
		symbol_cache_add(&before, ADDED, &added, 1);
		symbol_cache_save(&before, SYMBOLS_LINES);
		open_cache(&after);
		require(look_up(&after, ADDED, frames) == 1 && strcmp(frames[0].function, "added") == 0);
		compare(&before, &after);
		symbol_cache_close(&after);
	}
	symbol_cache_close(&before);
	return 0;
}
