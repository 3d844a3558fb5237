/* SPDX-License-Identifier: MIT */
/*
 * The files in which a module's symbols are: the program or library itself, and its separate debug file.
 *
 * A file is used only when it is the one that was running: its build-id is that of the capture, where the capture
 * knows it.  A debug file must have the module's build-id, or, where there is none, the checksum that the module
 * names.  Nothing is asked of the network unless the options say so.
 */
#ifndef SCTMEM_READER_MODULE_FILES_H
#define SCTMEM_READER_MODULE_FILES_H

#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbols.h"

enum { BUILD_ID_SIZE_MAX = 64 };

struct elf_image {
	Elf *elf;                     /* NULL: there is none */
	int fd;                       /* valid when elf is; -1: the image is in memory */
};

/* All zeros is "nothing open". */
struct module_files {
	struct elf_image program;     /* none: the file is missing or another one now */
	struct elf_image debug;       /* the separate debug file, if there is one */
	const char *problem;          /* why there is no program; a constant, NULL when there is */
};

void module_files_open(struct module_files *files, const struct symbols_options *options, const char *path,
	const uint8_t *build_id, size_t build_id_size);
void module_files_close(struct module_files *files);

/* A section of this name has contents. */
bool elf_image_has_section(const struct elf_image *image, const char *name);

/* The part of the address space in which the file's code is; false when it has none. */
bool elf_image_text(const struct elf_image *image, uint64_t *start, uint64_t *end);

#endif
