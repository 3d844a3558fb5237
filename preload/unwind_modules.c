/* SPDX-License-Identifier: MIT */
/*
 * Modules and mappings, found from inside malloc().
 *
 * glibc 2.35 and later answer "which module holds this address" without a lock (_dl_find_object, made for
 * unwinders, async-signal-safe).  Before that the answer comes from /proc/self/maps.  Either way a module's ELF
 * headers in memory say which parts of it can be read, so that a damaged table cannot lead outside of them; and the
 * outcome is kept in a small cache, of which each slot is a sequence lock that readers and writers only ever try:
 * whoever comes at a bad moment, be it a signal handler above the writer, does the work itself.
 */
#include "unwind_modules.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "lasting.h"
#include "symbol.h"
#include "sys.h"
#include "unwind.h"

#include "banned.h"

#if UNWIND_SUPPORTED

enum {
	SLOTS = 128,
	MODULE_WORDS = sizeof(struct unwind_module) / 8,
	HEADERS_MAX = 24,             /* program headers; usual are 9 to 14 */
	PAGE = 4096,
	RESCANS_MAX = 16,             /* of the maps, in one generation */
};
_Static_assert(sizeof(struct unwind_module) % 8 == 0, "slots are copied by words");

struct slot {
	_Atomic uint32_t sequence;    /* odd while being written */
	_Atomic uint32_t generation;
	_Atomic uint64_t words[MODULE_WORDS];
};
static struct slot slots[SLOTS];

/* Generation (upper half) and number of scans in it (lower half), for modules found by the maps. */
static _Atomic uint64_t scans;
static atomic_bool loader_hidden;

static bool slot_read(const struct slot *slot, uint32_t generation, uintptr_t pc, struct unwind_module *module)
{
	uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
	uint64_t words[MODULE_WORDS];

	if (sequence & 1 || (atomic_load_explicit(&slot->generation, memory_order_relaxed) != generation && !lasting_has(pc)))
		return false;
	for (size_t i = 0; i < MODULE_WORDS; i++)
		words[i] = atomic_load_explicit(&slot->words[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&slot->sequence, memory_order_relaxed) != sequence)
		return false;
	memcpy(module, words, sizeof(*module));
	return pc >= module->start && pc < module->end;
}

static void slot_write(struct slot *slot, uint32_t generation, const struct unwind_module *module)
{
	uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
	uint64_t words[MODULE_WORDS];

	if (sequence & 1)
		return;
	if (!atomic_compare_exchange_strong_explicit(&slot->sequence, &sequence, sequence + 1,
			memory_order_acq_rel, memory_order_relaxed))
		return;
	atomic_thread_fence(memory_order_release);
	memcpy(words, module, sizeof(words));
	atomic_store_explicit(&slot->generation, generation, memory_order_relaxed);
	for (size_t i = 0; i < MODULE_WORDS; i++)
		atomic_store_explicit(&slot->words[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&slot->sequence, sequence + 2, memory_order_release);
}

/* One line of /proc/self/maps. */
struct line {
	uintptr_t start, end;
	uint64_t offset, device, inode;
	bool readable, writable, executable, vdso;
};

struct maps {
	int fd;
	size_t at, filled;
	char buffer[1024];            /* small: the stack may be a signal handler's */
};

static bool maps_open(struct maps *maps)
{
	maps->fd = sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	maps->at = maps->filled = 0;
	return maps->fd >= 0;
}

static int maps_byte(struct maps *maps)
{
	if (maps->at == maps->filled) {
		long got;

		do
			got = sys_read(maps->fd, maps->buffer, sizeof(maps->buffer));
		while (got == -4 /* EINTR */);
		if (got <= 0)
			return -1;
		maps->at = 0;
		maps->filled = (size_t)got;
	}
	return (unsigned char)maps->buffer[maps->at++];
}

/* A number and the byte that ended it. */
static int maps_number(struct maps *maps, unsigned base, uint64_t *value)
{
	*value = 0;
	for (;;) {
		int byte = maps_byte(maps);
		unsigned digit = base;

		if (byte >= '0' && byte <= '9')
			digit = (unsigned)(byte - '0');
		else if (byte >= 'a' && byte <= 'f')
			digit = (unsigned)(byte - 'a') + 10;
		if (digit >= base)
			return byte;
		*value = *value * base + digit;
	}
}

/* start-end perms offset major:minor inode path */
static bool maps_next(struct maps *maps, struct line *line)
{
	static const char vdso[] = "[vdso]";
	uint64_t number;
	size_t same = 0;
	int byte;

	if (maps_number(maps, 16, &number) != '-')
		return false;
	line->start = number;
	if (maps_number(maps, 16, &number) != ' ')
		return false;
	line->end = number;
	line->readable = maps_byte(maps) == 'r';
	line->writable = maps_byte(maps) == 'w';
	line->executable = maps_byte(maps) == 'x';
	maps_byte(maps);
	maps_byte(maps);
	maps_number(maps, 16, &line->offset);
	maps_number(maps, 16, &number);
	line->device = number << 32;
	maps_number(maps, 16, &number);
	line->device |= number;
	byte = maps_number(maps, 10, &line->inode);
	while (byte == ' ')
		byte = maps_byte(maps);
	while (same < sizeof(vdso) - 1 && byte == vdso[same]) {
		same++;
		byte = maps_byte(maps);
	}
	line->vdso = same == sizeof(vdso) - 1;
	while (byte != '\n' && byte >= 0)
		byte = maps_byte(maps);
	return byte >= 0;
}

bool unwind_mapping_look(uintptr_t address, struct unwind_extent *mapping, unsigned *protection)
{
	struct maps maps;
	struct line line;
	bool found = false;

	if (!maps_open(&maps))
		return false;
	while (!found && maps_next(&maps, &line) && line.start <= address) {
		if (address >= line.end)
			continue;
		*mapping = (struct unwind_extent){ line.start, line.end };
		*protection = (line.readable ? PROT_READ : 0u) | (line.writable ? PROT_WRITE : 0u) |
			(line.executable ? PROT_EXEC : 0u);
		found = true;
	}
	sys_close(maps.fd);
	return found;
}

bool unwind_mapping_find(uintptr_t address, struct unwind_extent *mapping)
{
	unsigned protection;

	return unwind_mapping_look(address, mapping, &protection) && protection & PROT_READ && protection & PROT_WRITE;
}

bool unwind_pages_readable(uintptr_t start, uintptr_t end)
{
	enum { BATCH = 64 };
	struct iovec remote[BATCH];
	char bytes[BATCH];

	for (start &= ~(uintptr_t)(PAGE - 1); start < end;) {
		struct iovec local = { bytes, 0 };

		while (local.iov_len < BATCH && start < end) {
			remote[local.iov_len++] = (struct iovec){ (void *)start, 1 };
			start += PAGE;
		}
		if (sys_call(SYS_process_vm_readv, sys_pid(), (long)&local, 1, (long)remote, (long)local.iov_len, 0)
				!= (long)local.iov_len)
			return false;
	}
	return true;
}

/* Some sandboxes refuse process_vm_readv: then the maps say whether memory can be read. */
static bool copy(void *to, uintptr_t from, size_t size)
{
	struct maps maps;
	struct line line;
	bool readable = false;

	if (sys_copy_safely(to, from, size))
		return true;
	if (!maps_open(&maps))
		return false;
	while (maps_next(&maps, &line) && line.start <= from)
		readable = line.readable && from >= line.start && from < line.end && size <= line.end - from;
	sys_close(maps.fd);
	if (readable)
		memcpy(to, (const void *)from, size);
	return readable;
}

static void module_add_extent(struct unwind_module *module, uintptr_t start, uintptr_t end)
{
	for (size_t i = 0; i < UNWIND_EXTENTS_MAX; i++) {
		struct unwind_extent *extent = &module->extents[i];

		if (extent->start != extent->end && extent->end == start) {
			extent->end = end;
			return;
		}
		if (extent->start == extent->end) {
			*extent = (struct unwind_extent){ start, end };
			return;
		}
	}
}

struct unwind_extent unwind_module_extent(const struct unwind_module *module, uintptr_t address)
{
	for (size_t i = 0; i < UNWIND_EXTENTS_MAX; i++)
		if (address >= module->extents[i].start && address < module->extents[i].end)
			return module->extents[i];
	return (struct unwind_extent){ 0, 0 };
}

/* An ELF image's beginning, which in nearly all files holds its program headers: one system call copies both. */
struct image {
	Elf64_Ehdr elf;
	Elf64_Phdr headers[HEADERS_MAX];
};

/* Fills in the program headers of the image mapped at `place`; how many they are, 0 of what is none. */
static size_t image_read(struct image *image, uintptr_t place)
{
	const Elf64_Ehdr *elf = &image->elf;

	if (!copy(image, place, sizeof(*image)) || memcmp(elf->e_ident, ELFMAG, SELFMAG) ||
			elf->e_ident[EI_CLASS] != ELFCLASS64)
		return 0;
	if (elf->e_phentsize != sizeof(Elf64_Phdr) || elf->e_phnum == 0 || elf->e_phnum > HEADERS_MAX ||
			elf->e_phoff > 1 << 20)
		return 0;
	if (elf->e_phoff != offsetof(struct image, headers) &&
			!copy(image->headers, place + elf->e_phoff, elf->e_phnum * sizeof(Elf64_Phdr)))
		return 0;
	for (size_t i = 0; i < elf->e_phnum; i++)
		if (image->headers[i].p_type == PT_LOAD && image->headers[i].p_offset == 0 &&
				elf->e_phoff + elf->e_phnum * sizeof(Elf64_Phdr) <= image->headers[i].p_filesz)
			return elf->e_phnum;
	return 0;
}

/* What to add to addresses in the file to get those in memory: the first segment is mapped at `place`. */
static uintptr_t headers_bias(const Elf64_Phdr *headers, size_t count, uintptr_t place)
{
	for (size_t i = 0; i < count; i++)
		if (headers[i].p_type == PT_LOAD && headers[i].p_offset == 0)
			return place - (headers[i].p_vaddr & ~(uintptr_t)(PAGE - 1));
	return place;
}

/* Takes the readable parts from the program headers. */
static bool module_from_image(struct unwind_module *module)
{
	struct image image;
	const Elf64_Phdr *headers = image.headers;
	size_t count = image_read(&image, module->start);
	uintptr_t bias = headers_bias(headers, count, module->start);

	for (size_t i = 0; i < count; i++) {
		uintptr_t start = bias + headers[i].p_vaddr;
		uintptr_t end = start + headers[i].p_memsz;

		if (headers[i].p_type != PT_LOAD || !(headers[i].p_flags & PF_R))
			continue;
		if (start < module->start || end > module->end || start >= end)
			continue;
		module_add_extent(module, start, end);
	}
	return count > 0;
}

/* A module as the lines of the maps show it: consecutive lines of one file, the first from its beginning. */
struct group {
	struct unwind_module module;
	uint64_t device, inode;
	bool open, executable;
};

static bool group_takes(const struct group *group, const struct line *line)
{
	return group->open && line->inode != 0 && line->inode == group->inode && line->device == group->device &&
		!(line->offset == 0 && group->executable);
}

static void group_add(struct group *group, const struct line *line)
{
	if (line->readable)
		module_add_extent(&group->module, line->start, line->end);
	group->module.end = line->end;
	group->executable |= line->executable;
}

/* Whether the group is a module with code; then its frame header is known too. */
static bool group_finish(struct group *group)
{
	struct image image;
	const Elf64_Phdr *headers = image.headers;
	uintptr_t bias;
	size_t count;

	if (!group->open || !group->executable)
		return false;
	count = image_read(&image, group->module.start);
	bias = headers_bias(headers, count, group->module.start);
	for (size_t i = 0; i < count; i++)
		if (headers[i].p_type == PT_GNU_EH_FRAME)
			group->module.frame_header = bias + headers[i].p_vaddr;
	return count > 0;
}

/* Goes through the maps once, enters every module, and hands out the one that holds pc. */
static bool modules_scan(uintptr_t pc, uint32_t generation, bool enter, struct unwind_module *module)
{
	struct group group = { .open = false };
	struct maps maps;
	struct line line;
	size_t next = 0;
	bool found = false, more;

	if (!maps_open(&maps))
		return false;
	do {
		more = maps_next(&maps, &line);
		if (more && group_takes(&group, &line)) {
			group_add(&group, &line);
			continue;
		}
		/* Zeroed memory of a module lies between its lines or after them. */
		if (more && group.open && line.inode == 0 && !line.vdso && line.start == group.module.end)
			continue;
		if (group_finish(&group)) {
			if (enter)
				slot_write(&slots[next++ % SLOTS], generation, &group.module);
			if (pc >= group.module.start && pc < group.module.end) {
				*module = group.module;
				found = true;
			}
		}
		group.open = more && line.readable && line.offset == 0 && (line.inode != 0 || line.vdso);
		if (group.open) {
			group.module = (struct unwind_module){ .start = line.start };
			group.device = line.device;
			group.inode = line.inode;
			group.executable = false;
			group_add(&group, &line);
		}
	} while (more);
	sys_close(maps.fd);
	return found;
}

static bool module_find_by_maps(uintptr_t pc, uint32_t generation, struct unwind_module *module)
{
	uint64_t scan;

	for (size_t i = 0; i < SLOTS; i++)
		if (slot_read(&slots[i], generation, pc, module))
			return true;
	/* Generated code is in no module: do not look for it over and over. */
	scan = atomic_load_explicit(&scans, memory_order_relaxed);
	if (scan >> 32 != generation)
		scan = (uint64_t)generation << 32;
	else if ((uint32_t)scan >= RESCANS_MAX)
		return false;
	atomic_store_explicit(&scans, scan + 1, memory_order_relaxed);
	return modules_scan(pc, generation, true, module);
}

/* struct dl_find_object of glibc 2.35, which older headers lack. */
struct loader_object {
	unsigned long long flags;
	void *map_start, *map_end;
	void *link_map;
	void *eh_frame;               /* of .eh_frame_hdr, NULL when there is none */
	unsigned long long reserved[7];
};
typedef int loader_function(void *address, struct loader_object *object);

/*
 * _dl_find_object itself, or 1 when there is none, or 0 before it was looked for.  A weak reference would do, were
 * it not that the linker gives it a version, and glibc before 2.35 refuses to load a library that asks for it.
 * dlsym would do, did it not take the loader's lock.
 */
static _Atomic uintptr_t loader_found;
static uintptr_t loader_look_for(void)
{
	uintptr_t function = symbol_find_anywhere("_dl_find_object", NULL);

	return function ? function : 1;
}

static loader_function *loader(void)
{
	uintptr_t found = atomic_load_explicit(&loader_found, memory_order_relaxed);

	if (!found) {
		found = loader_look_for();
		atomic_store_explicit(&loader_found, found, memory_order_relaxed);
	}
	if (found == 1 || atomic_load_explicit(&loader_hidden, memory_order_relaxed))
		return NULL;
	return (loader_function *)found;
}

void unwind_modules_without_loader(bool without)
{
	atomic_store(&loader_hidden, without);
	unwind_modules_changed();
}

bool unwind_module_find(uintptr_t pc, uint32_t generation, struct unwind_module *module)
{
	loader_function *find_object = loader();
	struct loader_object object;
	struct slot *slot;

	if (!find_object)
		return module_find_by_maps(pc, generation, module);
	if (find_object((void *)pc, &object) != 0)
		return false;
	slot = &slots[((uintptr_t)object.map_start >> 12) * 0x9e3779b1u % SLOTS];
	if (slot_read(slot, generation, pc, module))
		return true;
	*module = (struct unwind_module){
		.start = (uintptr_t)object.map_start,
		.end = (uintptr_t)object.map_end,
		.frame_header = (uintptr_t)object.eh_frame,
	};
	/* Some tools move a file's program headers out of its first segment: then the maps must do. */
	if (!module_from_image(module) && !modules_scan(pc, generation, false, module))
		return false;
	slot_write(slot, generation, module);
	return true;
}

#endif
