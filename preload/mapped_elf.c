/* SPDX-License-Identifier: MIT */
/* Read by the kernel, which says no where it may be gone: whoever looks at mappings holds no lock that keeps them. */
#include "mapped_elf.h"

#include <link.h>
#include <stddef.h>
#include <string.h>

#include "sys.h"

#include "banned.h"

enum {
	PHDRS_MAX = 64,
	NOTES_MAX = 4096,
	HEAD_BYTES = 1024,
};

/* The file's first bytes, copied at once: in most files they hold the headers and the notes. */
struct head {
	uintptr_t start;
	uint8_t bytes[HEAD_BYTES] __attribute__((aligned(8)));
};

static bool copy(const struct head *head, void *to, uintptr_t from, size_t size)
{
	const uintptr_t at = from - head->start;

	if (at > HEAD_BYTES || size > HEAD_BYTES - at)
		return sys_copy_safely(to, from, size);
	memcpy(to, head->bytes + at, size);
	return true;
}

static void find_build_id(const struct head *head, struct mapped_elf *elf, uintptr_t at, size_t size)
{
	uint8_t notes[NOTES_MAX] __attribute__((aligned(8)));

	if (size > sizeof(notes))
		size = sizeof(notes);
	if (!copy(head, notes, at, size))
		return;
	for (size_t i = 0; i + sizeof(ElfW(Nhdr)) <= size;) {
		const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)(notes + i);
		size_t name_size = ((size_t)note->n_namesz + 3) & ~(size_t)3;
		size_t body_size = ((size_t)note->n_descsz + 3) & ~(size_t)3;

		i += sizeof(*note);
		if (name_size > size - i || body_size > size - i - name_size)
			return;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(notes + i, "GNU", 4) == 0
				&& note->n_descsz <= MAPPED_BUILD_ID_MAX) {
			elf->build_id_at = at + i + name_size;
			elf->build_id_size = note->n_descsz;
			memcpy(elf->build_id, notes + i + name_size, note->n_descsz);
			return;
		}
		i += name_size + body_size;
	}
}

bool mapped_elf_read(uintptr_t start, struct mapped_elf *elf)
{
	struct head head = { .start = start };
	ElfW(Ehdr) header;
	ElfW(Phdr) phdrs[PHDRS_MAX];
	size_t count;
	bool found = false;

	*elf = (struct mapped_elf){ 0 };
	if (!sys_copy_safely(head.bytes, start, HEAD_BYTES))
		return false;
	memcpy(&header, head.bytes, sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(phdrs[0]))
		return false;
	count = header.e_phnum < PHDRS_MAX ? header.e_phnum : PHDRS_MAX;
	if (!copy(&head, phdrs, start + header.e_phoff, count * sizeof(phdrs[0])))
		return false;
	for (size_t i = 0; i < count && !found; i++) {
		if (phdrs[i].p_type == PT_LOAD) {
			elf->bias = start - ((phdrs[i].p_vaddr - phdrs[i].p_offset) & ~(uint64_t)4095);
			found = true;
		}
	}
	for (size_t i = 0; i < count && found && elf->build_id_size == 0; i++)
		if (phdrs[i].p_type == PT_NOTE)
			find_build_id(&head, elf, elf->bias + phdrs[i].p_vaddr, phdrs[i].p_memsz);
	return found;
}
