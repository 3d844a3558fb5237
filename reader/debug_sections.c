/* SPDX-License-Identifier: MIT */
/* Hiding and decompressing debug sections: the largest on this thread, the others meanwhile on a second one. */
#include "debug_sections.h"

#include <gelf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#else
#include <zlib.h>
#endif

#include "memory.h"

enum {
	GROWTH_MAX = 1032,            /* deflate gives no more bytes from one */
	HELPED_SIZE = 32 << 10,       /* compressed; below, a thread costs more than it saves */
	HUGE_SIZE = 2 << 20,
};

struct debug_section {
	Elf_Scn *section;
	const uint8_t *packed;
	size_t packed_size;
	uint8_t *bytes;               /* NULL: not decompressed */
	size_t size;
	GElf_Xword alignment;
};

/* What the two threads share. */
struct inflation {
	struct debug_sections *sections;
	atomic_size_t next;           /* section to take; only counted, so relaxed */
};

static bool is_unused_section(const char *name)
{
	static const char *const unused[] = { ".debug_loc", ".debug_loclists", ".debug_frame", ".debug_macro",
		".debug_macinfo", ".debug_pubnames", ".debug_pubtypes" };

	for (size_t i = 0; i < sizeof(unused) / sizeof(*unused); i++) {
		if (strcmp(name, unused[i]) == 0)
			return true;
	}
	return false;
}

static void hide(Elf_Scn *section, GElf_Shdr *header)
{
	header->sh_type = SHT_NOBITS;
	header->sh_flags &= ~(GElf_Xword)SHF_COMPRESSED;
	gelf_update_shdr(section, header);
}

static void list_section(struct debug_sections *sections, Elf *elf, Elf_Scn *section)
{
	const size_t head_size = gelf_getclass(elf) == ELFCLASS32 ? sizeof(Elf32_Chdr) : sizeof(Elf64_Chdr);
	const Elf_Data *data = elf_rawdata(section, NULL);
	GElf_Chdr head;

	if (data == NULL || data->d_buf == NULL || data->d_size <= head_size || gelf_getchdr(section, &head) == NULL ||
			head.ch_type != ELFCOMPRESS_ZLIB)
		return;
	const size_t packed_size = data->d_size - head_size;
	if (head.ch_size == 0 || head.ch_size / GROWTH_MAX > packed_size)
		return;
	sections->sections = memory_grow(sections->sections, &sections->capacity, sections->count + 1,
		sizeof(*sections->sections));
	sections->sections[sections->count++] = (struct debug_section){ .section = section, .size = head.ch_size,
		.packed = (const uint8_t *)data->d_buf + head_size, .packed_size = packed_size,
		.alignment = head.ch_addralign };
}

/* True when it is exactly as long as it says; its checksum is right, too. */
static bool inflate_into(uint8_t *bytes, size_t size, const uint8_t *packed, size_t packed_size)
{
#ifdef HAVE_LIBDEFLATE
	struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
	const bool ok = decompressor != NULL &&
		libdeflate_zlib_decompress(decompressor, packed, packed_size, bytes, size, NULL) == LIBDEFLATE_SUCCESS;
	libdeflate_free_decompressor(decompressor);
	return ok;
#else
	uLongf written = size;
	return uncompress(bytes, &written, packed, packed_size) == Z_OK && written == size;
#endif
}

/* Of huge pages as far as it fills them: half of the time would be spent in faults for small ones. */
static uint8_t *new_bytes(size_t size)
{
	if (size < HUGE_SIZE)
		return malloc(size);
	uint8_t *bytes = aligned_alloc(HUGE_SIZE, size);
	if (bytes != NULL)
		madvise(bytes, size & ~(size_t)(HUGE_SIZE - 1), MADV_HUGEPAGE);
	return bytes;
}

static void *inflate_sections(void *argument)
{
	struct inflation *inflation = argument;
	size_t number;

	while ((number = atomic_fetch_add_explicit(&inflation->next, 1, memory_order_relaxed)) < inflation->sections->count) {
		struct debug_section *section = &inflation->sections->sections[number];

		section->bytes = new_bytes(section->size);
		if (section->bytes == NULL ||
				inflate_into(section->bytes, section->size, section->packed, section->packed_size))
			continue;
		free(section->bytes);
		section->bytes = NULL;
	}
	return NULL;
}

static void inflate_all(struct debug_sections *sections)
{
	struct inflation inflation = { .sections = sections };
	pthread_t helper;
	size_t packed_size = 0;

	for (size_t i = 0; i < sections->count; i++)
		packed_size += sections->sections[i].packed_size;
	/* A thread that cannot be had is not missed. */
	const bool helped = sections->count > 1 && packed_size >= HELPED_SIZE &&
		pthread_create(&helper, NULL, inflate_sections, &inflation) == 0;
	inflate_sections(&inflation);
	if (helped)
		pthread_join(helper, NULL);
}

static void point_at(Elf_Data *data, const struct debug_section *section)
{
	data->d_buf = section->bytes;
	data->d_size = section->size;
	data->d_type = ELF_T_BYTE;
	data->d_align = 1;
}

/*
 * libdw looks at the header and asks for the data, line_program.c asks for the raw data.  These come first here: of
 * raw data that are bytes libelf makes the data without copying the compressed ones.
 */
static void show(const struct debug_section *section)
{
	Elf_Data *raw = elf_rawdata(section->section, NULL), *data;
	GElf_Shdr header;

	if (section->bytes == NULL || raw == NULL || gelf_getshdr(section->section, &header) == NULL)
		return;
	header.sh_flags &= ~(GElf_Xword)SHF_COMPRESSED;
	header.sh_size = section->size;
	header.sh_addralign = section->alignment;
	if (gelf_update_shdr(section->section, &header) == 0)
		return;
	point_at(raw, section);
	if ((data = elf_getdata(section->section, NULL)) != NULL)
		point_at(data, section);
}

static int compare_sections(const void *a, const void *b)
{
	const struct debug_section *left = a, *right = b;

	return left->packed_size > right->packed_size ? -1 : left->packed_size < right->packed_size;
}

void debug_sections_prepare(struct debug_sections *sections, Elf *elf)
{
	size_t names_index;
	GElf_Shdr header;

	*sections = (struct debug_sections){ 0 };
	if (elf_getshdrstrndx(elf, &names_index) != 0)
		return;
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
		if (gelf_getshdr(section, &header) == NULL || !(header.sh_flags & SHF_COMPRESSED))
			continue;
		const char *name = elf_strptr(elf, names_index, header.sh_name);
		if (name != NULL && is_unused_section(name))
			hide(section, &header);
		else if (name != NULL && strncmp(name, ".debug_", 7) == 0)
			list_section(sections, elf, section);
	}
	if (sections->count == 0)
		return;
	qsort(sections->sections, sections->count, sizeof(*sections->sections), compare_sections);
	inflate_all(sections);
	for (size_t i = 0; i < sections->count; i++)
		show(&sections->sections[i]);
}

void debug_sections_finish(struct debug_sections *sections)
{
	for (size_t i = 0; i < sections->count; i++)
		free(sections->sections[i].bytes);
	free(sections->sections);
	*sections = (struct debug_sections){ 0 };
}
