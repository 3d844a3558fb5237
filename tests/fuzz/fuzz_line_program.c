/* SPDX-License-Identifier: MIT */
/*
 * Property: a line table, whatever is in it, is read within its bounds, makes no more rows than it has bytes, and
 * answers every address and file number without reading elsewhere.  The input is .debug_line; its second half also
 * serves as the sections of strings.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "reader/line_program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size + 1);
	require(bytes != NULL);
	memcpy(bytes + 1, data, size);
	struct line_section half = { bytes + 1 + size / 2, size - size / 2 };
	struct line_sections sections = { .line = { bytes + 1, size }, .line_str = half, .str = half };
	struct line_program program = { 0 };
	if (line_program_read(&program, &sections, 0, 1, UINT64_MAX)) {
		require(program.row_count <= size && program.sequence_count <= size);
		for (size_t i = 0; i < program.sequence_count; i++) {
			const struct line_sequence *sequence = &program.sequences[i];
			uint64_t addresses[] = { sequence->start, sequence->end - 1, sequence->end };
			for (size_t j = 0; j < 3; j++) {
				uint32_t file = 0, line = 0;
				const char *folder = NULL, *name;
				bool found = line_program_find(&program, addresses[j], &file, &line);
				require(found || j == 2 || program.sequence_count > 1);
				name = found ? line_program_file(&program, file, &folder) : NULL;
				require((name == NULL || strlen(name) < size) && (folder == NULL || strlen(folder) < size));
			}
		}
	} else {
		require(program.rows == NULL && program.files == NULL);
	}
	line_program_finish(&program);
	free(bytes);
	return 0;
}
