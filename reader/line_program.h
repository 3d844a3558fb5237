/* SPDX-License-Identifier: MIT */
/*
 * One unit's DWARF line table, versions 2 to 5: from addresses to files and lines, and from file numbers to paths.
 *
 * libdw has this too, but makes an object of every row: a millisecond for a middling source file, which is most of
 * the time that a small report takes.  Here rows take 16 bytes and some nanoseconds.  What this module does not read
 * (foreign byte order, VLIW machines) it refuses, and dwarf_index.c turns to libdw.
 *
 * Tables are untrusted: every read is bounded, and a table can make no more rows than it has bytes.
 */
#ifndef SCTMEM_READER_LINE_PROGRAM_H
#define SCTMEM_READER_LINE_PROGRAM_H

#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line_section {
	const uint8_t *bytes;
	size_t size;
};

/* Contents of the sections, decompressed; they stay as long as the Elf is open. */
struct line_sections {
	struct line_section line, line_str, str;
};

struct line_row {
	uint64_t address;
	uint32_t file, line;
};

/* Rows first .. first + count - 1, addresses rising; the last row's code ends at `end`. */
struct line_sequence {
	uint64_t start, end;
	size_t first, count;
};

struct line_file {
	const char *name;
	uint64_t folder;              /* index in folders */
};

/* All zeros is an empty table. */
struct line_program {
	struct line_row *rows;
	size_t row_count, row_capacity;
	struct line_sequence *sequences;
	size_t sequence_count, sequence_capacity;
	const char **folders;         /* NULL: the unit's own */
	size_t folder_count, folder_capacity;
	struct line_file *files;      /* by the number that rows and calls have */
	size_t file_count, file_capacity;
};

/* Call when libdw has opened the file: it decompresses sections in place.  False: use libdw instead. */
bool line_sections_find(struct line_sections *sections, Elf *elf);

/* The table at `offset`; sequences that begin outside of the text are left out.  False: use libdw instead. */
bool line_program_read(struct line_program *program, const struct line_sections *sections, uint64_t offset,
	uint64_t text_start, uint64_t text_end);
bool line_program_find(const struct line_program *program, uint64_t address, uint32_t *file, uint32_t *line);

/* NULL when there is no such file; *folder is NULL for the unit's own. */
const char *line_program_file(const struct line_program *program, uint64_t number, const char **folder);
void line_program_finish(struct line_program *program);

#endif
