/* SPDX-License-Identifier: MIT */
/*
 * Property: a module of any bytes (ELF, symbol tables, DWARF, notes, names of debug files) gives for every address at
 * least one frame and at most SYMBOLS_FRAMES_MAX, with texts that end, the same each time that it is read, and a
 * problem that is said where nothing could be read.  No crash, no leak, no loop.
 *
 * The seeds are programs and libraries of a few functions, from gcc and clang, with and without DWARF of the versions
 * 4 and 5, compressed and not, whose code lies where ADDRESS_FIRST says.
 */
#include <string.h>
#include <unistd.h>

#include "input.h"
#include "reader/symbols.h"

enum { ADDRESS_FIRST = 0x1000, ADDRESS_STEP = 4, ADDRESS_COUNT = 96, TEXT_MAX = 4096 };

struct answers {
	size_t counts[ADDRESS_COUNT];
	uint32_t lines[ADDRESS_COUNT];
	size_t given;
};

static void check_frames(const struct symbol_frame *frames, size_t count)
{
	require(count >= 1 && count <= SYMBOLS_FRAMES_MAX);
	for (size_t i = 0; i < count; i++) {
		require(frames[i].function == NULL || strnlen(frames[i].function, TEXT_MAX) < TEXT_MAX);
		require(frames[i].file == NULL || strnlen(frames[i].file, TEXT_MAX) < TEXT_MAX);
	}
	require(!frames[count - 1].inlined);
}

static void keep(void *context, size_t index, const struct symbol_frame *frames, size_t count)
{
	struct answers *answers = context;

	check_frames(frames, count);
	answers->counts[index] = count;
	answers->lines[index] = frames[0].line;
	answers->given++;
}

static void ask(const char *path, struct answers *answers)
{
	struct symbols *symbols = symbols_new(&(struct symbols_options){ 0 });
	struct symbol_frame frames[SYMBOLS_FRAMES_MAX];
	uint64_t addresses[ADDRESS_COUNT];
	uint32_t module = symbols_add_module(symbols, path, NULL, 0);

	for (size_t i = 0; i < ADDRESS_COUNT; i++)
		addresses[i] = ADDRESS_FIRST + ADDRESS_STEP * i;
	addresses[ADDRESS_COUNT - 1] = UINT64_MAX;
	addresses[ADDRESS_COUNT - 2] = 0;
	symbols_resolve_many(symbols, module, addresses, ADDRESS_COUNT, keep, answers);
	require(answers->given == ADDRESS_COUNT);
	if (symbols_module_detail(symbols, module) == SYMBOLS_NONE)
		require(symbols_module_problem(symbols, module) != NULL);
	/* Again, one by one.  Functions that overlap, as only damage makes them, may now give way to each other. */
	for (size_t i = 0; i < ADDRESS_COUNT; i += 7)
		check_frames(frames, symbols_resolve(symbols, module, addresses[i], frames, SYMBOLS_FRAMES_MAX));
	symbols_free(symbols);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[INPUT_PATH_SIZE];
	int file = input_file(data, size, path);
	struct answers first = { .given = 0 }, second = { .given = 0 };

	ask(path, &first);
	if (size % 4 == 0) {
		ask(path, &second);
		require(memcmp(&first, &second, sizeof(first)) == 0);
	}
	close(file);
	return 0;
}
