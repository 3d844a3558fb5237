/* SPDX-License-Identifier: MIT */
/*
 * From an instruction of a Python code object to the place in the source that it came from.
 *
 * A capture holds each code object's line table as the interpreter had it, and for each Python frame the
 * offset of the instruction.  The reader brings the two together here, once per distinct frame.
 *
 * Tables are untrusted bytes: every read is bounded, an entry that is cut short or senseless ends the search,
 * and the answer then is "unknown".  No allocation, no state.
 */
#ifndef SCTMEM_READER_PYTHON_LINES_H
#define SCTMEM_READER_PYTHON_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lines and columns count from 1; 0 is unknown.  Columns count UTF-8 bytes; only Python 3.11 and later has them. */
struct python_position {
	uint32_t line, end_line;
	uint32_t column, end_column;  /* the first byte of the expression, and the one after its last */
};

/*
 * `units` is the instruction's offset in code units of two bytes.  Returns whether a line is known; `out` is
 * always filled.  False for instructions that the compiler gave no line, for offsets outside the code, for
 * table kinds not known and for damaged tables.
 */
bool python_line(unsigned table_kind /* enum capture_line_table */, const uint8_t *table, size_t table_size,
	uint32_t first_line, uint32_t units, struct python_position *out);

#endif
