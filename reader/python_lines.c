/* SPDX-License-Identifier: MIT */
/*
 * CPython's three formats of line tables.  All of them are lists of steps, to be summed up from the start:
 *
 *   LNOTAB     3.8, 3.9   pairs { bytes of code: u8, lines: s8 }.  A line begins where its pair's bytes, summed, end:
 *              the lines before that belong to the line before.  There is no end: the last line goes on.
 *
 *   PEP626     3.10       pairs { bytes of code: u8, lines: s8 }.  A pair describes the bytes that it steps over.
 *              -128 lines: these bytes have no line, and the running line stays as it was.
 *
 *   LOCATIONS  3.11 ...   entries of 1 to ~20 bytes, each for 1 to 8 code units:
 *
 *              | 1 | code: 4 bits | units - 1: 3 bits |  then, by code,
 *
 *              0 .. 9    short     | 0 | column & 7: 3 | width: 4 |   the same line; code is column / 8
 *              10 .. 12  one line  | column: 8 | end column: 8 |      code - 10 lines on
 *              13        no column   svarint lines on
 *              14        long        svarint lines on, varint lines to the end, varints column + 1, end column + 1
 *              15        no place
 *
 *              varint: groups of six bits, lowest first, bit 6 set in all but the last; svarint: the lowest bit is
 *              the sign.  Bit 7 is set in the first byte of an entry and nowhere else but in column bytes.
 *
 * The running line is kept in 64 bits and can only move by what one step can hold, so no table overflows it.
 */
#include "python_lines.h"

#include <string.h>

#include "formats/capture.h"

enum {
	CODE_SHORT_LAST = 9,
	CODE_ONE_LINE_FIRST = 10,
	CODE_ONE_LINE_LAST = 12,
	CODE_NO_COLUMNS = 13,
	CODE_LONG = 14,
	CODE_NONE = 15,

	NO_LINE_PEP626 = -128,
	VARINT_SHIFT_MAX = 30,        /* CPython's values are ints: at most six groups */
};

struct cursor {
	const uint8_t *at, *end;
};

/* Lines outside this range are those of a damaged table. */
static uint32_t checked_line(int64_t line)
{
	return line > 0 && line <= INT32_MAX ? (uint32_t)line : 0;
}

static void lnotab_lines(const struct python_table *table, const uint32_t *units, size_t count,
	struct python_position *out)
{
	uint64_t address = 0;
	int64_t line = table->first_line;
	size_t i = 0;

	for (size_t n = 0; n < count; n++) {
		for (; i + 2 <= table->size && address + table->bytes[i] <= (uint64_t)units[n] * 2; i += 2) {
			address += table->bytes[i];
			line += (int8_t)table->bytes[i + 1];
		}
		out[n].line = out[n].end_line = checked_line(line);
	}
}

static void pep626_lines(const struct python_table *table, const uint32_t *units, size_t count,
	struct python_position *out)
{
	uint64_t end = 0;
	int64_t line = table->first_line;
	bool has_line = false;
	size_t i = 0;

	for (size_t n = 0; n < count; n++) {
		const uint64_t offset = (uint64_t)units[n] * 2;

		for (; offset >= end && i + 2 <= table->size; i += 2) {
			const int step = (int8_t)table->bytes[i + 1];

			end += table->bytes[i];
			has_line = step != NO_LINE_PEP626;
			if (has_line)
				line += step;
		}
		if (offset < end && has_line)
			out[n].line = out[n].end_line = checked_line(line);
	}
}

static bool take_varint(struct cursor *cursor, uint32_t *value)
{
	uint64_t sum = 0;
	for (unsigned shift = 0; cursor->at < cursor->end && shift <= VARINT_SHIFT_MAX; shift += 6) {
		uint8_t byte = *cursor->at++;
		sum |= (uint64_t)(byte & 63) << shift;
		if (!(byte & 64)) {
			*value = (uint32_t)sum;
			return sum <= UINT32_MAX;
		}
	}
	return false;
}

static bool take_signed_varint(struct cursor *cursor, int64_t *value)
{
	uint32_t raw = 0;
	if (!take_varint(cursor, &raw))
		return false;
	*value = raw & 1 ? -(int64_t)(raw >> 1) : (int64_t)(raw >> 1);
	return true;
}

/* What follows an entry's first byte, for the codes with columns in whole bytes. */
static bool take_byte_columns(struct cursor *cursor, unsigned code, struct python_position *place)
{
	bool is_short = code <= CODE_SHORT_LAST;
	if (cursor->end - cursor->at < (is_short ? 1 : 2))
		return false;
	uint32_t column, end_column;
	if (is_short) {
		uint8_t byte = *cursor->at++;
		column = code << 3 | (byte >> 4 & 7);
		end_column = column + (byte & 15);
	} else {
		column = *cursor->at++;
		end_column = *cursor->at++;
	}
	place->column = column + 1;
	place->end_column = end_column + 1;
	return true;
}

/* Moves `line` on and fills `place`; the cursor is behind the entry's first byte.  False: the entry is damaged. */
static bool take_location(struct cursor *cursor, unsigned code, int64_t *line, struct python_position *place)
{
	int64_t step = 0;
	uint32_t end_step = 0;

	memset(place, 0, sizeof(*place));
	if (code == CODE_NONE)
		return true;
	if (code <= CODE_ONE_LINE_LAST) {
		if (code >= CODE_ONE_LINE_FIRST)
			step = code - CODE_ONE_LINE_FIRST;
		if (!take_byte_columns(cursor, code, place))
			return false;
	} else {
		if (!take_signed_varint(cursor, &step))
			return false;
		/* CPython stores column + 1, 0 for none: just what a position holds. */
		if (code == CODE_LONG && !(take_varint(cursor, &end_step) && take_varint(cursor, &place->column) &&
				take_varint(cursor, &place->end_column)))
			return false;
	}
	*line += step;
	place->line = checked_line(*line);
	place->end_line = checked_line(*line + end_step);
	return true;
}

static void location_positions(const struct python_table *table, const uint32_t *units, size_t count,
	struct python_position *out)
{
	struct cursor cursor = { table->bytes, table->bytes + table->size };
	struct python_position place = { 0 };
	int64_t line = table->first_line;
	uint64_t end = 0;

	for (size_t n = 0; n < count; n++) {
		while (units[n] >= end) {
			if (cursor.at == cursor.end)
				return;
			const uint8_t first = *cursor.at++;
			if (!(first & 0x80) || !take_location(&cursor, first >> 3 & 15, &line, &place))
				return;
			end += (first & 7) + 1u;
		}
		/* A place without a line is no place. */
		if (place.line != 0)
			out[n] = place;
	}
}

void python_lines(const struct python_table *table, const uint32_t *units, size_t count, struct python_position *out)
{
	if (count != 0)
		memset(out, 0, count * sizeof(*out));
	struct python_table checked = *table;
	if (checked.bytes == NULL)
		checked.size = 0;
	switch (checked.kind) {
	case CAPTURE_LINES_LNOTAB:
		lnotab_lines(&checked, units, count, out);
		break;
	case CAPTURE_LINES_PEP626:
		pep626_lines(&checked, units, count, out);
		break;
	case CAPTURE_LINES_LOCATIONS:
		if (checked.size != 0)
			location_positions(&checked, units, count, out);
		break;
	default:
		break;
	}
	/* In ascending order they come last.  The interpreters, too, say the first line for such frames. */
	for (size_t n = count; n-- > 0 && units[n] == CAPTURE_UNITS_NOT_BEGUN;)
		out[n] = (struct python_position){ .line = table->first_line, .end_line = table->first_line };
}

bool python_line(unsigned table_kind, const uint8_t *table, size_t table_size, uint32_t first_line, uint32_t units,
	struct python_position *out)
{
	const struct python_table whole = { .kind = table_kind, .bytes = table, .size = table_size,
		.first_line = first_line };

	python_lines(&whole, &units, 1, out);
	return out->line != 0;
}
