/* SPDX-License-Identifier: MIT */
/*
 * Property: python_line reads no byte outside the table, whatever is in it; it answers true exactly when it gives a
 * line; and it gives columns only with a line.  Input: kind, first line and offset, then the table.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "reader/python_lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct { uint8_t kind; uint32_t first_line, units; } input;
	enum { HEAD = 9 };
	if (size < HEAD)
		return 0;
	input.kind = data[0];
	memcpy(&input.first_line, data + 1, 4);
	memcpy(&input.units, data + 5, 4);
	uint8_t *table = malloc(size - HEAD + 1);
	require(table != NULL);
	memcpy(table, data + HEAD, size - HEAD);
	struct python_position position;
	bool known = python_line(input.kind, table, size - HEAD, input.first_line, input.units, &position);
	require(known == (position.line != 0));
	if (!known)
		require((position.end_line | position.column | position.end_column) == 0);
	free(table);
	return 0;
}
