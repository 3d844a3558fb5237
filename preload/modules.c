/* SPDX-License-Identifier: MIT */
/*
 * The table of modules, read from /proc/self/maps: that takes no loader lock (an allocation inside dlopen or inside a
 * dl_iterate_phdr callback must not wait for one) and sees every name space.  Read when a library may have come or
 * gone, and when a frame lies in no known module.
 *
 * Entries are never removed.  When a module is gone, its range enters `ranges` with a generation one higher than
 * before; frames met there later bear it, and so does the next module recorded there.
 */
#include "modules.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#include "arena.h"
#include "lifecycle.h"
#include "stream.h"
#include "sys.h"
#include "unwind.h"

#include "banned.h"

enum {
	MODULES_MAX = 16384,
	RANGES_MAX = 4096,
	PHDRS_MAX = 64,
	NOTES_MAX = 4096,
	PATH_SIZE = 4096,
	BUILD_ID_MAX = 64,
};

struct module {
	uintptr_t start, end;
	uint64_t device_inode;        /* tells files apart; 0: memory without a file */
	uint32_t generation;
	bool gone;
	bool seen;                    /* in the reading that is under way */
};

struct range {
	uintptr_t start, end;
	uint32_t generation;
};

_Atomic int modules_stale = 1;
_Atomic int modules_recycled;         /* ranges in use */

static struct module *modules;        /* guarded by refreshing; start and end also read without it */
static _Atomic uint32_t module_count;
static struct range ranges[RANGES_MAX];   /* [0, modules_recycled) are complete */
static _Atomic int refreshing;        /* tid; 0: nobody */

/* Mappings of one file that follow each other in the address space. */
struct group {
	uintptr_t start, end;
	uint64_t first_offset;        /* of the file, at start */
	uint64_t device_inode;
	bool executable;
	char path[PATH_SIZE];
};

uint32_t modules_generation_slow(uintptr_t address)
{
	int count = atomic_load_explicit(&modules_recycled, memory_order_acquire);

	for (int i = count - 1; i >= 0; i--)
		if (address >= ranges[i].start && address < ranges[i].end)
			return ranges[i].generation;
	return 0;
}

static bool is_known(uintptr_t address)
{
	uint32_t count = atomic_load_explicit(&module_count, memory_order_acquire);

	for (uint32_t i = count; i-- > 0;)
		if (address >= modules[i].start && address < modules[i].end && !modules[i].gone)
			return true;
	return false;
}

void modules_meet(uintptr_t address)
{
	if (!is_known(address))
		atomic_store_explicit(&modules_stale, 1, memory_order_release);
}

void modules_changed(void)
{
	unwind_modules_changed();
	atomic_store_explicit(&modules_stale, 1, memory_order_release);
}

static void recycle(struct module *module)
{
	int count = atomic_load_explicit(&modules_recycled, memory_order_relaxed);
	uint32_t generation = modules_generation_slow(module->start) + 1;

	module->gone = true;
	for (int i = count - 1; i >= 0; i--) {
		if (ranges[i].start == module->start && ranges[i].end == module->end) {
			ranges[i].generation = generation;    /* the same library again and again */
			return;
		}
	}
	if (count == RANGES_MAX)
		return;                       /* from here on two libraries at one address are not told apart */
	ranges[count] = (struct range){ module->start, module->end, generation };
	atomic_store_explicit(&modules_recycled, count + 1, memory_order_release);
}

/* What the file's program headers, as mapped, say. */
struct elf_facts {
	uint64_t bias;
	uint8_t build_id[BUILD_ID_MAX];
	uint32_t build_id_size;
};

static void find_build_id(struct elf_facts *facts, uintptr_t at, size_t size)
{
	uint8_t notes[NOTES_MAX] __attribute__((aligned(8)));

	if (size > sizeof(notes))
		size = sizeof(notes);
	if (!sys_copy_safely(notes, at, size))
		return;
	for (size_t i = 0; i + sizeof(ElfW(Nhdr)) <= size;) {
		const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)(notes + i);
		size_t name_size = ((size_t)note->n_namesz + 3) & ~(size_t)3;
		size_t body_size = ((size_t)note->n_descsz + 3) & ~(size_t)3;

		i += sizeof(*note);
		if (name_size > size - i || body_size > size - i - name_size)
			return;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(notes + i, "GNU", 4) == 0
				&& note->n_descsz <= BUILD_ID_MAX) {
			facts->build_id_size = note->n_descsz;
			memcpy(facts->build_id, notes + i + name_size, note->n_descsz);
			return;
		}
		i += name_size + body_size;
	}
}

/* Reads the ELF header at the start of a group; false: it is no ELF file mapped by the loader. */
static bool read_elf(const struct group *group, struct elf_facts *facts)
{
	ElfW(Ehdr) header;
	ElfW(Phdr) phdrs[PHDRS_MAX];
	size_t count;

	*facts = (struct elf_facts){ 0 };
	if (group->first_offset != 0 || !sys_copy_safely(&header, group->start, sizeof(header))
			|| memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(phdrs[0]))
		return false;
	count = header.e_phnum < PHDRS_MAX ? header.e_phnum : PHDRS_MAX;
	if (!sys_copy_safely(phdrs, group->start + header.e_phoff, count * sizeof(phdrs[0])))
		return false;
	bool found = false;

	for (size_t i = 0; i < count && !found; i++) {
		if (phdrs[i].p_type == PT_LOAD) {
			facts->bias = group->start - ((phdrs[i].p_vaddr - phdrs[i].p_offset) & ~(uint64_t)4095);
			found = true;
		}
	}
	for (size_t i = 0; i < count && found && facts->build_id_size == 0; i++)
		if (phdrs[i].p_type == PT_NOTE)
			find_build_id(facts, facts->bias + phdrs[i].p_vaddr, phdrs[i].p_memsz);
	return found;
}

static void record_module(struct thread *thread, const struct group *group, uint32_t generation)
{
	struct elf_facts facts = { 0 };
	size_t path_size = strlen(group->path);
	bool elf = group->device_inode != 0 && read_elf(group, &facts);
	struct capture_module module = {
		.start = group->start,
		.end = group->end,
		.bias = elf ? facts.bias : group->start - group->first_offset,
		.time_ns = thread->tick_ns,
		.generation = generation,
		.path_size = (uint32_t)path_size,
		.build_id_size = facts.build_id_size,
		.flags = strcmp(group->path, "[vdso]") == 0 ? 4 : 0,
	};
	const struct stream_part parts[] = {
		{ &module, sizeof(module) }, { group->path, path_size }, { facts.build_id, facts.build_id_size } };

	stream_metadata(thread, CAPTURE_MODULE, parts, 3);
}

/* A group has been read to its end. */
static void meet_group(struct thread *thread, const struct group *group)
{
	uint32_t count = atomic_load_explicit(&module_count, memory_order_relaxed);

	if (!group->executable)
		return;
	for (uint32_t i = 0; i < count; i++) {
		struct module *module = &modules[i];

		if (module->gone || module->start >= group->end || module->end <= group->start)
			continue;
		if (module->device_inode == group->device_inode && module->start == group->start) {
			module->seen = true;
			if (module->end == group->end)
				return;
			module->end = group->end;     /* mapped further since: record it with its new end */
			record_module(thread, group, module->generation);
			return;
		}
		recycle(module);
	}
	if (count == MODULES_MAX)
		return;
	modules[count] = (struct module){ .start = group->start, .end = group->end,
		.device_inode = group->device_inode, .generation = modules_generation_slow(group->start), .seen = true };
	record_module(thread, group, modules[count].generation);
	atomic_store_explicit(&module_count, count + 1, memory_order_release);
}

static const char *read_hex(const char *at, uint64_t *out)
{
	for (*out = 0;; at++) {
		unsigned digit = (unsigned)(*at - '0');

		if (digit > 9) {
			digit = (unsigned)(*at - 'a') + 10;
			if (digit < 10 || digit > 15)
				return at;
		}
		*out = *out << 4 | digit;
	}
}

/* One line of maps: "start-end perms offset major:minor inode   path". */
static void meet_line(struct thread *thread, struct group *group, const char *line)
{
	uint64_t start, end, offset, major, minor, inode = 0;
	const char *at = read_hex(line, &start);

	at = read_hex(at + 1, &end);
	const char *permissions = at + 1;

	at = read_hex(permissions + 5, &offset);
	at = read_hex(at + 1, &major);
	at = read_hex(at + 1, &minor);
	for (at++; *at >= '0' && *at <= '9'; at++)
		inode = inode * 10 + (uint64_t)(*at - '0');
	while (*at == ' ')
		at++;
	bool vdso = strcmp(at, "[vdso]") == 0;
	bool executable = permissions[2] == 'x';

	if (inode == 0 && !executable)
		return;                       /* data, stacks, and the holes between a module's segments */
	uint64_t device_inode = inode ? (major << 52 ^ minor << 44 ^ inode) | 1ull << 63 : 0;

	if (inode && device_inode == group->device_inode && offset > group->first_offset && start >= group->end) {
		group->end = end;
		group->executable |= executable;
		return;
	}
	meet_group(thread, group);
	size_t length = strlen(at);

	*group = (struct group){ .start = start, .end = end, .first_offset = offset, .device_inode = device_inode,
		.executable = executable };
	if (length < PATH_SIZE && (inode || vdso))
		memcpy(group->path, at, length + 1);
}

static bool read_maps(struct thread *thread)
{
	static char buffer[32768];            /* guarded by refreshing */
	static struct group group;
	int fd = sys_open("/proc/self/maps", 0 /* O_RDONLY */ | 02000000 /* O_CLOEXEC */, 0);
	size_t length = 0;

	if (fd < 0)
		return false;
	group = (struct group){ 0 };
	for (;;) {
		long got = sys_read(fd, buffer + length, sizeof(buffer) - 1 - length);

		if (got <= 0)
			break;
		length += (size_t)got;
		buffer[length] = 0;
		char *line = buffer, *end;

		while ((end = strchr(line, '\n'))) {
			*end = 0;
			meet_line(thread, &group, line);
			line = end + 1;
		}
		length -= (size_t)(line - buffer);
		memmove(buffer, line, length);
		if (length == sizeof(buffer) - 1)
			length = 0;           /* a path longer than any path */
	}
	sys_close(fd);
	meet_group(thread, &group);
	return true;
}

void modules_refresh(struct thread *thread)
{
	int tid = sys_tid(), holder = 0;

	while (!atomic_compare_exchange_weak_explicit(&refreshing, &holder, tid,
			memory_order_acquire, memory_order_relaxed)) {
		if (holder == tid || !lifecycle_is_recording())
			return;
		if (holder != 0)
			sys_yield();
		holder = 0;
	}
	if (!modules)
		modules = arena_pages(MODULES_MAX * sizeof(*modules));
	if (modules && atomic_exchange_explicit(&modules_stale, 0, memory_order_acq_rel)) {
		uint32_t count = atomic_load_explicit(&module_count, memory_order_relaxed);

		for (uint32_t i = 0; i < count; i++)
			modules[i].seen = false;
		if (read_maps(thread))
			for (uint32_t i = 0; i < count; i++)
				if (!modules[i].seen && !modules[i].gone)
					recycle(&modules[i]);
	}
	atomic_store_explicit(&refreshing, 0, memory_order_release);
}

void modules_reset(void)
{
	modules = NULL;
	atomic_store_explicit(&module_count, 0, memory_order_relaxed);
	atomic_store_explicit(&modules_recycled, 0, memory_order_relaxed);
	atomic_store_explicit(&refreshing, 0, memory_order_relaxed);
	atomic_store_explicit(&modules_stale, 1, memory_order_relaxed);
}
