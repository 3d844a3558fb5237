/* SPDX-License-Identifier: MIT */
/*
 * Property: whatever another process has in its memory, its modules and symbols are looked for within it only, in
 * bounded time; and a symbol that is found is one: its table has an entry of that name and address.
 *
 * Input: mappings (first page, pages and flags, four bytes each, ended by one of no pages), then what is in memory from
 * BASE on.  What lies behind the input cannot be read, as what is not mapped.
 */
#include <elf.h>
#include <string.h>

#include "input.h"
#include "reader/remote.h"

#define BASE ((uint64_t)0x10000000)
enum { MAPPINGS_MAX = 8, PAGE = 4096, EXECUTABLE = 1, READABLE = 2, VDSO = 4 };

static const uint8_t *memory_bytes;
static size_t memory_size;
static char file_path[] = "/lib/x.so", vdso_path[] = "[vdso]";

/* In the place of remote.c's, which reads /proc/PID/mem. */
bool remote_read(const struct remote *remote, uint64_t address, void *to, size_t size)
{
	(void)remote;
	if (address < BASE || address - BASE > memory_size || size > memory_size - (address - BASE))
		return false;
	memcpy(to, memory_bytes + (address - BASE), size);
	return true;
}

/* Slowly: every entry that the table can have in this memory. */
static bool has_symbol(const struct remote *remote, const struct remote_module *module, const char *name,
	uint64_t address)
{
	const size_t length = strlen(name) + 1;
	char found[64];
	Elf64_Sym symbol;

	for (uint64_t at = module->symbols; remote_read(remote, at, &symbol, sizeof symbol); at += sizeof symbol)
		if (module->bias + symbol.st_value == address && symbol.st_shndx != SHN_UNDEF &&
			symbol.st_name < module->strings_size && remote_read(remote, module->strings + symbol.st_name, found, length) &&
			memcmp(found, name, length) == 0)
			return true;
	return false;
}

static void ask(const struct remote *remote)
{
	static const char *const names[] = { "entry", "malloc", "dlopen", "", NULL };
	static const uint8_t code[] = { 0xc3 };
	const struct remote_module *found;

	for (size_t i = 0; i < remote->module_count; i++) {
		const struct remote_module *module = &remote->modules[i];

		require(module->path != NULL);
		for (const char *const *name = names; *name; name++) {
			const uint64_t address = remote_symbol(remote, module, *name);

			require(address == 0 || has_symbol(remote, module, *name, address));
		}
		remote_find_code(remote, module, code, sizeof code);
		require(remote_module_at(remote, module->start) != NULL || module->end == module->start);
	}
	for (const char *const *name = names; *name; name++)
		if (remote_find(remote, *name, &found))
			require(found >= remote->modules && found < remote->modules + remote->module_count);
	for (uint64_t at = 0; at < memory_size; at += 509)
		remote_function_is(remote, BASE + at, names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct remote_mapping mappings[MAPPINGS_MAX];
	struct remote remote = { .memory = -1, .mappings = mappings };

	while (size >= 4 && remote.mapping_count < MAPPINGS_MAX) {
		const uint8_t first = data[0], pages = data[1], flags = data[2], offset = data[3];

		data += 4;
		size -= 4;
		if (pages == 0)
			break;
		mappings[remote.mapping_count++] = (struct remote_mapping){ .start = BASE + (uint64_t)first * PAGE,
			.end = BASE + ((uint64_t)first + pages) * PAGE, .offset = (uint64_t)offset * PAGE,
			.readable = flags & READABLE, .executable = flags & EXECUTABLE, .path = flags & VDSO ? vdso_path : file_path };
	}
	memory_bytes = data;
	memory_size = size;
	remote_read_modules(&remote);
	ask(&remote);
	free(remote.modules);
	return 0;
}
