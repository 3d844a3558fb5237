/* SPDX-License-Identifier: MIT */
/*
 * The ELF files of another process, read from its memory rather than from its files: they may lie under another root,
 * or be gone.  Only what a loader has relocated and uses is read: program headers, the dynamic section, the table of
 * exported symbols and its hash table.
 */
#include <elf.h>
#include <string.h>

#include "memory.h"
#include "remote.h"

enum {
	HEADERS_MAX = 64,
	DYNAMIC_MAX = 512,
	NAME_MAX_SIZE = 256,
	CHAIN_MAX = 1 << 16,
	SYMBOLS_MAX = 1 << 20,
	CODE_PIECE = 1 << 16,
};

static void read_dynamic(const struct remote *remote, struct remote_module *module, uint64_t at)
{
	for (int i = 0; i < DYNAMIC_MAX; i++) {
		Elf64_Dyn entry;

		if (!remote_read(remote, at + (uint64_t)i * sizeof entry, &entry, sizeof entry) || entry.d_tag == DT_NULL)
			return;
		/* The loader has made addresses absolute, but for those of the vdso. */
		uint64_t address = entry.d_un.d_ptr < module->bias ? entry.d_un.d_ptr + module->bias : entry.d_un.d_ptr;

		if (entry.d_tag == DT_SYMTAB)
			module->symbols = address;
		else if (entry.d_tag == DT_STRTAB)
			module->strings = address;
		else if (entry.d_tag == DT_STRSZ)
			module->strings_size = entry.d_un.d_val;
		else if (entry.d_tag == DT_GNU_HASH)
			module->hash = address;
	}
}

/* The module whose first page is mapped at `start`. */
static void add_module(struct remote *remote, const struct remote_mapping *mapping)
{
	struct remote_module module = { .start = mapping->start, .end = mapping->end, .path = mapping->path };
	Elf64_Ehdr header;
	Elf64_Phdr headers[HEADERS_MAX];
	uint64_t dynamic = 0, first = UINT64_MAX, last = 0;

	if (!remote_read(remote, mapping->start, &header, sizeof header) ||
		memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
		header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > HEADERS_MAX ||
		!remote_read(remote, mapping->start + header.e_phoff, headers, header.e_phnum * sizeof *headers))
		return;
	for (int i = 0; i < header.e_phnum; i++) {
		if (headers[i].p_type == PT_DYNAMIC)
			dynamic = headers[i].p_vaddr;
		if (headers[i].p_type != PT_LOAD)
			continue;
		if (headers[i].p_vaddr < first)
			first = headers[i].p_vaddr;
		if (headers[i].p_vaddr + headers[i].p_memsz > last)
			last = headers[i].p_vaddr + headers[i].p_memsz;
	}
	if (first == UINT64_MAX || last <= first)
		return;
	module.bias = mapping->start - (first & ~(uint64_t)4095);
	module.end = module.bias + last;
	if (dynamic)
		read_dynamic(remote, &module, module.bias + dynamic);
	remote->modules = memory_grow(remote->modules, &remote->module_capacity, remote->module_count + 1,
		sizeof *remote->modules);
	remote->modules[remote->module_count++] = module;
}

void remote_read_modules(struct remote *remote)
{
	for (size_t i = 0; i < remote->mapping_count; i++) {
		const struct remote_mapping *mapping = &remote->mappings[i];

		/* Not devices: reading them can have effects. */
		if (mapping->offset == 0 && mapping->readable && mapping->path[0] &&
			(strncmp(mapping->path, "/dev/", 5) != 0 || strncmp(mapping->path, "/dev/shm/", 9) == 0) &&
			(mapping->path[0] == '/' || strcmp(mapping->path, "[vdso]") == 0))
			add_module(remote, mapping);
	}
}

const struct remote_module *remote_module_at(const struct remote *remote, uint64_t address)
{
	for (size_t i = 0; i < remote->module_count; i++)
		if (address - remote->modules[i].start < remote->modules[i].end - remote->modules[i].start)
			return &remote->modules[i];
	return NULL;
}

static bool name_is(const struct remote *remote, const struct remote_module *module, uint32_t at, const char *name)
{
	char found[NAME_MAX_SIZE];
	size_t size = strlen(name) + 1;

	return size <= sizeof found && at < module->strings_size &&
		remote_read(remote, module->strings + at, found, size) && memcmp(found, name, size) == 0;
}

uint64_t remote_symbol(const struct remote *remote, const struct remote_module *module, const char *name)
{
	uint32_t head[4], hash = 5381, index, entry;    /* buckets, first symbol, filter words, shift */

	if (!module->symbols || !module->strings || !module->hash ||
		!remote_read(remote, module->hash, head, sizeof head) || head[0] == 0)
		return 0;
	for (const char *at = name; *at; at++)
		hash = hash * 33 + (unsigned char)*at;

	uint64_t buckets = module->hash + sizeof head + 8 * (uint64_t)head[2];
	uint64_t chain = buckets + 4 * (uint64_t)head[0];

	if (!remote_read(remote, buckets + 4 * (uint64_t)(hash % head[0]), &index, sizeof index) || index < head[1])
		return 0;
	for (int i = 0; i < CHAIN_MAX; i++, index++) {
		Elf64_Sym symbol;

		if (!remote_read(remote, chain + 4 * (uint64_t)(index - head[1]), &entry, sizeof entry))
			return 0;
		if ((entry | 1) == (hash | 1) &&
			remote_read(remote, module->symbols + (uint64_t)index * sizeof symbol, &symbol, sizeof symbol) &&
			symbol.st_shndx != SHN_UNDEF && name_is(remote, module, symbol.st_name, name))
			return module->bias + symbol.st_value;
		if (entry & 1)
			return 0;
	}
	return 0;
}

uint64_t remote_find(const struct remote *remote, const char *name, const struct remote_module **found)
{
	for (size_t i = 0; i < remote->module_count; i++) {
		uint64_t address = remote_symbol(remote, &remote->modules[i], name);

		if (address && found)
			*found = &remote->modules[i];
		if (address)
			return address;
	}
	return 0;
}

static bool name_is_one_of(const struct remote *remote, const struct remote_module *module, uint32_t at,
	const char *const *names)
{
	char found[NAME_MAX_SIZE] = "";

	if (at >= module->strings_size)
		return false;
	/* It may lie near the end of what is mapped. */
	for (size_t i = 0; i < sizeof found - 1 && remote_read(remote, module->strings + at + i, found + i, 1) && found[i];)
		i++;
	for (; *names; names++)
		if (strcmp(*names, found) == 0)
			return true;
	return false;
}

bool remote_function_is(const struct remote *remote, uint64_t address, const char *const *names)
{
	const struct remote_module *module = remote_module_at(remote, address);

	if (!module || !module->symbols || !module->strings || module->strings <= module->symbols)
		return false;

	/* The table has no length of its own; the names come behind it. */
	uint64_t count = (module->strings - module->symbols) / sizeof(Elf64_Sym);
	Elf64_Sym *symbols = memory_new(count < SYMBOLS_MAX ? count : SYMBOLS_MAX, sizeof *symbols);
	bool found = false;

	if (count < SYMBOLS_MAX && remote_read(remote, module->symbols, symbols, count * sizeof *symbols))
		for (uint64_t i = 0; i < count && !found; i++)
			found = ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC && symbols[i].st_shndx != SHN_UNDEF &&
				address - (module->bias + symbols[i].st_value) < symbols[i].st_size &&
				name_is_one_of(remote, module, symbols[i].st_name, names);
	free(symbols);
	return found;
}

uint64_t remote_find_code(const struct remote *remote, const struct remote_module *module, const uint8_t *bytes,
	size_t size)
{
	uint8_t *piece = memory_new(CODE_PIECE, 1);
	uint64_t found = 0;

	for (size_t i = 0; i < remote->mapping_count && !found; i++) {
		const struct remote_mapping *mapping = &remote->mappings[i];

		if (!mapping->executable || mapping->start < module->start || mapping->end > module->end + 4096)
			continue;
		for (uint64_t at = mapping->start; at < mapping->end && !found; at += CODE_PIECE - size) {
			size_t length = mapping->end - at < CODE_PIECE ? (size_t)(mapping->end - at) : CODE_PIECE;

			if (!remote_read(remote, at, piece, length))
				break;
			const uint8_t *place = memmem(piece, length, bytes, size);

			if (place)
				found = at + (uint64_t)(place - piece);
		}
	}
	free(piece);
	return found;
}
