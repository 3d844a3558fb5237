/* SPDX-License-Identifier: MIT */
/*
 * See program.h.  ELF files are untrusted: all offsets are held against the file's size.
 */
#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

/* Where the library goes below the prefix; the build says it exactly. */
#ifndef SCTMEM_LIBRARY_DIR
#define SCTMEM_LIBRARY_DIR "/usr/local/lib/sctmem"
#endif

static bool is_file(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static bool fail_not_executable(const char *name, int code, struct error *error)
{
	struct stat status;

	if (stat(name, &status) == 0 && S_ISDIR(status.st_mode))
		return fail(error, STATUS_NOT_EXECUTABLE, "%s is a folder, not a program", name);
	return fail(error, STATUS_NOT_EXECUTABLE, "%s cannot be executed: %s; try chmod +x, or name its interpreter", name,
		strerror(code));
}

bool program_find(const char *name, char path[PROGRAM_PATH_SIZE], struct error *error)
{
	const char *folders = getenv("PATH");
	bool denied = false;

	if (strchr(name, '/')) {
		if (snprintf(path, PROGRAM_PATH_SIZE, "%s", name) >= PROGRAM_PATH_SIZE || access(path, F_OK) != 0)
			return fail(error, STATUS_NOT_FOUND, "%s: no such program", name);
		return (is_file(path) && access(path, X_OK) == 0) ||
			fail_not_executable(name, is_file(path) ? errno : EACCES, error);
	}
	for (const char *at = folders && *folders ? folders : "/usr/local/bin:/usr/bin:/bin"; *name;) {
		size_t size = strcspn(at, ":");
		/* An empty entry is the current folder. */
		int length = snprintf(path, PROGRAM_PATH_SIZE, "%.*s%s%s", (int)size, at, size ? "/" : "./", name);

		if (length < PROGRAM_PATH_SIZE && is_file(path)) {
			if (access(path, X_OK) == 0)
				return true;
			denied = true;
		}
		if (!at[size])
			break;
		at += size + 1;
	}
	if (denied)
		return fail_not_executable(name, EACCES, error);
	if (is_file(name))
		return fail(error, STATUS_NOT_FOUND, "%s is not in PATH; for the one in this folder: ./%s", name, name);
	return fail(error, STATUS_NOT_FOUND, "%s: no such program in PATH", name);
}

bool program_is_python_script(const char *name, char interpreter[PROGRAM_PATH_SIZE])
{
	size_t size = strlen(name);
	struct error error;

	if (size < 4 || strcmp(name + size - 3, ".py") != 0 || !is_file(name))
		return false;
	return program_find("python3", interpreter, &error);
}

bool program_script(const char *path, char interpreter[PROGRAM_PATH_SIZE], char argument[PROGRAM_PATH_SIZE])
{
	char line[512];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd >= 0 ? read(fd, line, sizeof line - 1) : -1;

	if (fd >= 0)
		close(fd);
	if (size < 3 || memcmp(line, "#!", 2) != 0)
		return false;
	line[size] = 0;
	line[strcspn(line, "\n")] = 0;

	char *at = line + 2 + strspn(line + 2, " \t");
	size_t length = strcspn(at, " \t");
	char *rest = at + length + strspn(at + length, " \t");

	snprintf(interpreter, PROGRAM_PATH_SIZE, "%.*s", (int)length, at);
	snprintf(argument, PROGRAM_PATH_SIZE, "%s", rest);
	for (size_t end = strlen(argument); end > 0 && (argument[end - 1] == ' ' || argument[end - 1] == '\t' ||
		argument[end - 1] == '\r');)
		argument[--end] = 0;
	return length > 0;
}

/* The file's bytes; every use checks that it stays inside. */
struct image { const uint8_t *bytes; size_t size; };

static const void *image_at(const struct image *image, uint64_t offset, uint64_t size)
{
	return offset <= image->size && size <= image->size - offset ? image->bytes + offset : NULL;
}

/* The file offset of a virtual address; UINT64_MAX when no segment holds it. */
static uint64_t offset_of(const Elf64_Phdr *headers, size_t count, uint64_t address)
{
	for (size_t i = 0; i < count; i++)
		if (headers[i].p_type == PT_LOAD && address >= headers[i].p_vaddr &&
			address - headers[i].p_vaddr < headers[i].p_filesz)
			return headers[i].p_offset + (address - headers[i].p_vaddr);
	return UINT64_MAX;
}

static bool text_at_is(const struct image *image, uint64_t offset, const char *text)
{
	const char *found = image_at(image, offset, strlen(text) + 1);

	return found && memcmp(found, text, strlen(text) + 1) == 0;
}

/* Symbols that tell a Python, in the dynamic symbol table, which lies before its strings in every linker's output. */
static void read_symbols(const struct image *image, const Elf64_Phdr *headers, size_t count, uint64_t symbols,
	uint64_t strings, struct program_elf *elf)
{
	if (strings < symbols)
		return;
	for (uint64_t at = symbols; at + sizeof(Elf64_Sym) <= strings; at += sizeof(Elf64_Sym)) {
		const Elf64_Sym *symbol = image_at(image, at, sizeof *symbol);

		if (!symbol)
			return;
		if (symbol->st_shndx == SHN_UNDEF)
			continue;
		if (text_at_is(image, strings + symbol->st_name, "Py_BytesMain"))
			elf->is_python = true;
		if (symbol->st_size == 8 && text_at_is(image, strings + symbol->st_name, "Py_Version")) {
			const uint32_t *version = image_at(image, offset_of(headers, count, symbol->st_value), 4);

			if (version)
				memcpy(&elf->python_version, version, 4);
		}
	}
}

static void read_dynamic(const struct image *image, const Elf64_Phdr *headers, size_t count, const Elf64_Phdr *dynamic,
	struct program_elf *elf)
{
	uint64_t strings = UINT64_MAX, symbols = UINT64_MAX;
	size_t entries = dynamic->p_filesz / sizeof(Elf64_Dyn);
	const Elf64_Dyn *table = image_at(image, dynamic->p_offset, entries * sizeof(Elf64_Dyn));

	for (size_t i = 0; table && i < entries && table[i].d_tag != DT_NULL; i++) {
		if (table[i].d_tag == DT_STRTAB)
			strings = offset_of(headers, count, table[i].d_un.d_ptr);
		else if (table[i].d_tag == DT_SYMTAB)
			symbols = offset_of(headers, count, table[i].d_un.d_ptr);
	}
	if (strings == UINT64_MAX)
		return;
	for (size_t i = 0; table && i < entries && table[i].d_tag != DT_NULL; i++) {
		const char *name;

		if (table[i].d_tag != DT_NEEDED || table[i].d_un.d_val > image->size)
			continue;
		name = image_at(image, strings + table[i].d_un.d_val, sizeof "libpython" - 1);
		if (name && memcmp(name, "libpython", sizeof "libpython" - 1) == 0)
			elf->needs_libpython = elf->is_python = true;
	}
	if (symbols != UINT64_MAX)
		read_symbols(image, headers, count, symbols, strings, elf);
}

static void read_image(const struct image *image, struct program_elf *elf)
{
	const Elf64_Ehdr *header = image_at(image, 0, sizeof *header);

	if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		return;
	elf->is_elf = true;
	elf->is_64 = header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_ident[EI_DATA] == ELFDATA2LSB;
	elf->is_x86_64 = header->e_machine == EM_X86_64;
	elf->is_aarch64 = header->e_machine == EM_AARCH64;
	if (!elf->is_64 || header->e_phentsize != sizeof(Elf64_Phdr))
		return;

	const Elf64_Phdr *headers = image_at(image, header->e_phoff, (uint64_t)header->e_phnum * sizeof *headers);

	for (size_t i = 0; headers && i < header->e_phnum; i++) {
		if (headers[i].p_type == PT_INTERP) {
			const char *name = image_at(image, headers[i].p_offset, headers[i].p_filesz);

			elf->has_interpreter = true;
			if (name)
				snprintf(elf->interpreter, sizeof elf->interpreter, "%.*s",
					(int)strnlen(name, headers[i].p_filesz), name);
		}
		if (headers[i].p_type == PT_DYNAMIC) {
			elf->has_dynamic = true;
			read_dynamic(image, headers, header->e_phnum, &headers[i], elf);
		}
	}
}

bool program_read_elf(const char *path, struct program_elf *elf, struct error *error)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct image image = { 0 };

	*elf = (struct program_elf){ 0 };
	if (fd < 0 || fstat(fd, &status) != 0) {
		fail(error, STATUS_NO_INPUT, "cannot read %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (status.st_size > 0)
		image.bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (!image.bytes)
		return true;
	if (image.bytes == MAP_FAILED)
		return fail(error, STATUS_NO_INPUT, "cannot read %s: %s", path, strerror(errno));
	image.size = (size_t)status.st_size;
	read_image(&image, elf);
	munmap((void *)image.bytes, image.size);
	return true;
}

bool program_find_library(char path[PROGRAM_PATH_SIZE], struct error *error)
{
	/* Relative to the command: a build folder, one folder for all, a prefix wherever it was moved to. */
	static const char *const places[] = {
		"/../preload", "", "/../lib/sctmem", "/../lib64/sctmem", "/../lib/*/sctmem",
	};
	char self[PROGRAM_PATH_SIZE], pattern[PROGRAM_PATH_SIZE + 64];
	ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
	bool found = false;

	self[size > 0 ? size : 0] = 0;
	dirname(self);
	for (size_t i = 0; i <= sizeof places / sizeof places[0] && !found; i++) {
		glob_t matches;

		if (i < sizeof places / sizeof places[0])
			snprintf(pattern, sizeof pattern, "%s%s/libsctmem.so", self, places[i]);
		else
			snprintf(pattern, sizeof pattern, "%s/libsctmem.so", SCTMEM_LIBRARY_DIR);
		if (glob(pattern, 0, NULL, &matches) != 0)
			continue;

		char *real = realpath(matches.gl_pathv[0], NULL);

		found = real && snprintf(path, PROGRAM_PATH_SIZE, "%s", real) < PROGRAM_PATH_SIZE;
		free(real);
		globfree(&matches);
	}
	if (!found)
		return fail(error, STATUS_CANNOT_TRACE,
			"libsctmem.so is neither beside this command nor in %s; is sctmem installed completely?",
			SCTMEM_LIBRARY_DIR);
	/* The loader splits LD_PRELOAD at both and knows no quotes. */
	if (strpbrk(path, " :"))
		return fail(error, STATUS_CANNOT_TRACE,
			"%s: LD_PRELOAD cannot name a path with a space or colon; install sctmem elsewhere", path);
	return true;
}
