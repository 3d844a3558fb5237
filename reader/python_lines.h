/* SPDX-License-Identifier: MIT */
/*
 * From an instruction of a Python code object to the place in the source that it came from.
 *
 * A capture holds each code object's line table as the interpreter had it, and for each Python frame the
 * offset of the instruction.  The reader brings the two together here, once per distinct frame, with one walk over
 * each table whatever the number of frames is.
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

/* A code object's line table. */
struct python_table {
	unsigned kind;                /* enum capture_line_table */
	const uint8_t *bytes;
	size_t size;
	uint32_t first_line;
};

/*
 * `units` are offsets of instructions in code units of two bytes, in ascending order.  Each gets its place in `out`;
 * line 0 for instructions that the compiler gave no line, for offsets outside the code, for table kinds not known and
 * for damaged tables; the first line for CAPTURE_UNITS_NOT_BEGUN.
 */
void python_lines(const struct python_table *table, const uint32_t *units, size_t count, struct python_position *out);

/* The same for one instruction; returns whether a line is known. */
bool python_line(unsigned table_kind, const uint8_t *table, size_t table_size, uint32_t first_line, uint32_t units,
	struct python_position *out);

#endif
