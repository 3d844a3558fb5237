/* SPDX-License-Identifier: MIT */
/* What the headers of an ELF file say, as the loader has mapped them. */
#ifndef SCTMEM_PRELOAD_MAPPED_ELF_H
#define SCTMEM_PRELOAD_MAPPED_ELF_H

#include <stdbool.h>
#include <stdint.h>

enum { MAPPED_BUILD_ID_MAX = 64 };

struct mapped_elf {
	uint64_t bias;                /* what to add to addresses in the file */
	uintptr_t build_id_at;        /* where the build-id is mapped; 0: it has none */
	uint32_t build_id_size;
	uint8_t build_id[MAPPED_BUILD_ID_MAX];
};

/* Of the file whose first bytes are mapped at `start`; false: it is no ELF file that the loader has mapped. */
bool mapped_elf_read(uintptr_t start, struct mapped_elf *elf);

#endif
