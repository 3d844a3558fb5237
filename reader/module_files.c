/* SPDX-License-Identifier: MIT */
/*
 * Where files are looked for, in this order:
 *
 *   the module        SYSROOT/path, then in each extra folder by its path and by its name alone
 *   its debug file    FOLDER/.build-id/ab/cdef.debug, then by the name in .gnu_debuglink: beside the module, in
 *                     .debug/ beside it, in FOLDER/path; FOLDER is each extra folder and SYSROOT/usr/lib/debug.
 *                     At last, and only if asked for, debuginfod.
 *
 * Paths come from captures and from ELF files, so only regular files are opened, and never in a way that could
 * wait.  elfutils' own search is not used: it may ask the network.
 */
#include "module_files.h"

#include <dlfcn.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const char *const debug_folder = "/usr/lib/debug";
static const char *const problem_changed = "file has changed since (build-id differs)";

struct build_id {
	const uint8_t *bytes;
	size_t size;                  /* 0: not known */
};

static void close_image(struct elf_image *image)
{
	if (image->elf == NULL)
		return;
	elf_end(image->elf);
	if (image->fd >= 0)
		close(image->fd);
	*image = (struct elf_image){ 0 };
}

static const char *describe_open_error(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return "file is missing";
	case EACCES:
	case EPERM:
		return "file cannot be opened: permission denied";
	default:
		return "file cannot be opened";
	}
}

/* Takes over fd, and closes it on failure.  Returns NULL or what is wrong. */
static const char *open_descriptor(struct elf_image *image, int fd)
{
	struct stat status;
	GElf_Ehdr header;

	elf_version(EV_CURRENT);
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return "is not a regular file";
	}
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (elf == NULL || elf_kind(elf) != ELF_K_ELF || gelf_getehdr(elf, &header) == NULL ||
			(header.e_type != ET_EXEC && header.e_type != ET_DYN)) {
		elf_end(elf);
		close(fd);
		return "is not an ELF program or library";
	}
	*image = (struct elf_image){ .elf = elf, .fd = fd };
	return NULL;
}

static const char *open_path(struct elf_image *image, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd >= 0 ? open_descriptor(image, fd) : describe_open_error(errno);
}

static struct build_id read_build_id(const struct elf_image *image)
{
	const void *bytes = NULL;
	ssize_t size = dwelf_elf_gnu_build_id(image->elf, &bytes);
	return size > 0 && size <= BUILD_ID_SIZE_MAX ? (struct build_id){ bytes, (size_t)size } : (struct build_id){ 0 };
}

static bool same_build_id(struct build_id a, struct build_id b)
{
	return a.size == b.size && a.size != 0 && memcmp(a.bytes, b.bytes, a.size) == 0;
}

/* Opens the file if it is the one with this build-id, or if there is none to compare. */
static const char *open_verified(struct elf_image *image, const char *path, struct build_id wanted)
{
	const char *problem = open_path(image, path);
	if (problem == NULL && wanted.size != 0 && !same_build_id(read_build_id(image), wanted)) {
		close_image(image);
		problem = problem_changed;
	}
	return problem;
}

/* False when the path would be too long. */
static bool __attribute__((format(printf, 2, 3))) make_path(char path[PATH_MAX], const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int size = vsnprintf(path, PATH_MAX, format, arguments);
	va_end(arguments);
	return size >= 0 && size < PATH_MAX;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

/* The code that the kernel maps into each process: ours is that of the traced process, if it has its build-id. */
static const char *open_vdso(struct elf_image *image, struct build_id wanted)
{
	const char *start = (const char *)getauxval(AT_SYSINFO_EHDR);
	if (start != NULL && wanted.size != 0) {
		Elf64_Ehdr header;
		memcpy(&header, start, sizeof(header));
		elf_version(EV_CURRENT);
		/* Its section headers are at its end. */
		image->elf = elf_memory((char *)start, header.e_shoff + (size_t)header.e_shnum * header.e_shentsize);
		image->fd = -1;
		if (image->elf != NULL && same_build_id(read_build_id(image), wanted))
			return NULL;
		close_image(image);
	}
	return "is part of the kernel that ran then";
}

static bool is_vdso(const char *path)
{
	return strcmp(path, "[vdso]") == 0 || strncmp(path, "linux-vdso.so", 13) == 0 ||
		strncmp(path, "linux-gate.so", 13) == 0;
}

static const char *open_program(struct elf_image *image, const struct symbols_options *options, const char *path,
	struct build_id wanted)
{
	char name[PATH_MAX];
	const char *problem = "file is missing";

	if (is_vdso(path))
		return open_vdso(image, wanted);
	if (path[0] == '/' || options->sysroot == NULL) {
		if (make_path(name, "%s%s", options->sysroot != NULL ? options->sysroot : "", path))
			problem = open_verified(image, name, wanted);
	}
	for (const char *const *folder = options->extra_paths; problem != NULL && folder != NULL && *folder != NULL;
			folder++) {
		/* A file of the same name elsewhere is the right one only if its build-id says so. */
		if (wanted.size == 0)
			break;
		if ((make_path(name, "%s/%s", *folder, path) && open_verified(image, name, wanted) == NULL) ||
				(make_path(name, "%s/%s", *folder, base_name(path)) && open_verified(image, name, wanted) == NULL))
			problem = NULL;
	}
	return problem;
}

static bool open_debug_by_build_id(struct elf_image *image, const char *sysroot, const char *folder,
	struct build_id wanted)
{
	char name[PATH_MAX], digits[2 * BUILD_ID_SIZE_MAX + 1];
	if (wanted.size < 2)
		return false;
	for (size_t i = 0; i < wanted.size; i++)
		snprintf(digits + 2 * i, 3, "%02x", wanted.bytes[i]);
	return make_path(name, "%s%s/.build-id/%.2s/%s.debug", sysroot, folder, digits, digits + 2) &&
		open_verified(image, name, wanted) == NULL;
}

static bool has_checksum(const struct elf_image *image, uint32_t wanted)
{
	static const size_t chunk_size = 64 << 10;
	unsigned char chunk[64 << 10];
	uLong sum = crc32(0, NULL, 0);
	off_t offset = 0;
	for (ssize_t size; (size = pread(image->fd, chunk, chunk_size, offset)) != 0; offset += size) {
		if (size < 0)
			return false;
		sum = crc32(sum, chunk, (uInt)size);
	}
	return sum == wanted;
}

static bool open_debug_by_link(struct elf_image *image, const char *path, struct build_id wanted, uint32_t checksum)
{
	if (open_path(image, path) != NULL)
		return false;
	struct build_id found = read_build_id(image);
	if (wanted.size != 0 && found.size != 0 ? same_build_id(found, wanted) : has_checksum(image, checksum))
		return true;
	close_image(image);
	return false;
}

/* `path` is the module's, as opened but for the sysroot. */
static bool find_debug_link(struct module_files *files, const struct symbols_options *options, const char *path,
	struct build_id wanted)
{
	char name[PATH_MAX];
	GElf_Word checksum = 0;
	const char *link = dwelf_elf_gnu_debuglink(files->program.elf, &checksum);
	const char *sysroot = options->sysroot != NULL ? options->sysroot : "";
	int folder_size = (int)(base_name(path) - path);
	struct elf_image *debug = &files->debug;

	/* A link is a file's name: one with a slash would lead anywhere. */
	if (link == NULL || link[0] == '\0' || strchr(link, '/') != NULL)
		return false;
	if (make_path(name, "%s%.*s%s", sysroot, folder_size, path, link) && strcmp(base_name(path), link) != 0 &&
			open_debug_by_link(debug, name, wanted, checksum))
		return true;
	if (make_path(name, "%s%.*s.debug/%s", sysroot, folder_size, path, link) &&
			open_debug_by_link(debug, name, wanted, checksum))
		return true;
	for (const char *const *folder = options->extra_paths; folder != NULL && *folder != NULL; folder++) {
		if (make_path(name, "%s/%s", *folder, link) && open_debug_by_link(debug, name, wanted, checksum))
			return true;
	}
	return make_path(name, "%s%s%.*s%s", sysroot, debug_folder, folder_size, path, link) &&
		open_debug_by_link(debug, name, wanted, checksum);
}

/* libdebuginfod, loaded only when it is wanted, so that the command needs neither it nor what it needs (curl). */
static struct {
	void *(*begin)(void);
	void (*end)(void *client);
	int (*find_debuginfo)(void *client, const unsigned char *build_id, int build_id_size, char **path);
} debuginfod;
static pthread_once_t debuginfod_once = PTHREAD_ONCE_INIT;

static void load_debuginfod(void)
{
	void *library = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return;
	*(void **)&debuginfod.begin = dlsym(library, "debuginfod_begin");
	*(void **)&debuginfod.end = dlsym(library, "debuginfod_end");
	*(void **)&debuginfod.find_debuginfo = dlsym(library, "debuginfod_find_debuginfo");
}

static bool ask_debuginfod(struct elf_image *image, struct build_id wanted)
{
	if (wanted.size == 0)
		return false;
	pthread_once(&debuginfod_once, load_debuginfod);
	if (debuginfod.begin == NULL || debuginfod.end == NULL || debuginfod.find_debuginfo == NULL)
		return false;
	void *client = debuginfod.begin();
	if (client == NULL)
		return false;
	int fd = debuginfod.find_debuginfo(client, wanted.bytes, (int)wanted.size, NULL);
	debuginfod.end(client);
	if (fd < 0 || open_descriptor(image, fd) != NULL)
		return false;
	if (same_build_id(read_build_id(image), wanted))
		return true;
	close_image(image);
	return false;
}

static bool find_debug(struct module_files *files, const struct symbols_options *options, const char *path,
	struct build_id wanted)
{
	const char *sysroot = options->sysroot != NULL ? options->sysroot : "";
	for (const char *const *folder = options->extra_paths; folder != NULL && *folder != NULL; folder++) {
		if (open_debug_by_build_id(&files->debug, "", *folder, wanted))
			return true;
	}
	if (open_debug_by_build_id(&files->debug, sysroot, debug_folder, wanted))
		return true;
	if (files->program.elf != NULL && files->program.fd >= 0 && find_debug_link(files, options, path, wanted))
		return true;
	return options->debuginfod && ask_debuginfod(&files->debug, wanted);
}

static bool has_dwarf(const struct elf_image *image)
{
	return elf_image_has_section(image, ".debug_info") || elf_image_has_section(image, ".zdebug_info");
}

void module_files_open(struct module_files *files, const struct symbols_options *options, const char *path,
	const uint8_t *build_id, size_t build_id_size)
{
	struct build_id wanted = { build_id, build_id_size };
	*files = (struct module_files){ 0 };
	files->problem = open_program(&files->program, options, path, wanted);
	if (files->program.elf != NULL) {
		if (wanted.size == 0)
			wanted = read_build_id(&files->program);
		if (has_dwarf(&files->program))
			return;
	}
	if (find_debug(files, options, path, wanted) && files->program.elf == NULL)
		files->problem = NULL;
}

void module_files_close(struct module_files *files)
{
	close_image(&files->program);
	close_image(&files->debug);
}

bool elf_image_has_section(const struct elf_image *image, const char *name)
{
	size_t names_index;
	GElf_Shdr header;
	if (image->elf == NULL || elf_getshdrstrndx(image->elf, &names_index) != 0)
		return false;
	for (Elf_Scn *section = NULL; (section = elf_nextscn(image->elf, section)) != NULL;) {
		if (gelf_getshdr(section, &header) == NULL || header.sh_type == SHT_NOBITS || header.sh_size == 0)
			continue;
		const char *found = elf_strptr(image->elf, names_index, header.sh_name);
		if (found != NULL && strcmp(found, name) == 0)
			return true;
	}
	return false;
}

bool elf_image_text(const struct elf_image *image, uint64_t *start, uint64_t *end)
{
	size_t count = 0;
	GElf_Phdr header;
	*start = UINT64_MAX;
	*end = 0;
	if (image->elf == NULL || elf_getphdrnum(image->elf, &count) != 0)
		return false;
	for (size_t i = 0; i < count && i < INT_MAX; i++) {
		if (gelf_getphdr(image->elf, (int)i, &header) == NULL)
			break;
		if (header.p_type != PT_LOAD || !(header.p_flags & PF_X) || header.p_vaddr + header.p_memsz < header.p_vaddr)
			continue;
		if (header.p_vaddr < *start)
			*start = header.p_vaddr;
		if (header.p_vaddr + header.p_memsz > *end)
			*end = header.p_vaddr + header.p_memsz;
	}
	return *start < *end;
}
