/* SPDX-License-Identifier: MIT */
/*
 * See text.h.  The order: characters, numbers, drawing, tables, progress.
 */
#include "text.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "memory.h"

static const char *const style_codes[] = {
	[TEXT_PLAIN] = "0", [TEXT_BOLD] = "1", [TEXT_DIM] = "2", [TEXT_HOT] = "31", [TEXT_WARM] = "33",
	[TEXT_COOL] = "32", [TEXT_WARNING] = "1;33",
};

struct text text_begin(FILE *file)
{
	struct text text = { .file = file, .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 };
	const char *no_colour = getenv("NO_COLOR");
	const char *term = getenv("TERM");
	struct winsize size;

	if (!isatty(fileno(file)))
		return text;
	text.colour = !(no_colour && *no_colour) && term && strcmp(term, "dumb") != 0;
	text.width = 80;
	if (ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
		text.width = size.ws_col;
	return text;
}

void text_style(const struct text *text, enum text_style style)
{
	if (text->colour)
		fprintf(text->file, "\033[%sm", style_codes[style]);
}

enum text_style text_share_style(double share)
{
	return share >= 0.6 ? TEXT_HOT : share >= 0.2 ? TEXT_WARM : share >= 0.05 ? TEXT_COOL : TEXT_PLAIN;
}

size_t text_decode(const char *bytes, size_t size, uint32_t *character)
{
	const unsigned char *b = (const unsigned char *)bytes;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length;
	uint32_t value;

	if (size == 0)
		return 0;
	if (b[0] < 0x80) {
		*character = b[0];
		return 1;
	}
	if ((b[0] & 0xe0) == 0xc0)
		length = 2, value = b[0] & 0x1f;
	else if ((b[0] & 0xf0) == 0xe0)
		length = 3, value = b[0] & 0x0f;
	else if ((b[0] & 0xf8) == 0xf0)
		length = 4, value = b[0] & 0x07;
	else
		return 0;
	if (length > size)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (b[i] & 0x3f);
	}
	if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	*character = value;
	return length;
}

struct range { uint32_t first, last; };

static bool in_ranges(uint32_t character, const struct range *ranges, size_t count)
{
	for (size_t i = 0; i < count && ranges[i].first <= character; i++)
		if (character <= ranges[i].last)
			return true;
	return false;
}

bool text_is_unsafe(uint32_t character)
{
	/* Controls; soft hyphen; bidi marks, embeddings and isolates; invisible spaces and operators; line and
	 * paragraph separators; fillers; interlinear marks; private use (icon fonts draw anything); tags. */
	static const struct range unsafe[] = {
		{ 0, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x34f, 0x34f }, { 0x61c, 0x61c }, { 0x115f, 0x1160 },
		{ 0x17b4, 0x17b5 }, { 0x180b, 0x180f }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
		{ 0x3164, 0x3164 }, { 0xe000, 0xf8ff }, { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff }, { 0xffa0, 0xffa0 },
		{ 0xfff0, 0xfffb }, { 0xfffe, 0xffff }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff }, { 0xf0000, 0x10ffff },
	};

	if (character >= 0x20 && character < 0x7f)
		return false;
	return in_ranges(character, unsafe, sizeof unsafe / sizeof unsafe[0]);
}

/* Columns of a character that is not unsafe.  Own ranges: wcwidth depends on the locale's tables. */
static size_t character_columns(uint32_t character)
{
	static const struct range combining[] = {
		{ 0x300, 0x36f }, { 0x483, 0x489 }, { 0x591, 0x5bd }, { 0x610, 0x61a }, { 0x64b, 0x65f }, { 0x6d6, 0x6dc },
		{ 0x900, 0x902 }, { 0x93c, 0x93c }, { 0x941, 0x948 }, { 0xe31, 0xe31 }, { 0xe34, 0xe3a }, { 0xe47, 0xe4e },
		{ 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff }, { 0x20d0, 0x20ff }, { 0xfe20, 0xfe2f },
	};
	static const struct range wide[] = {
		{ 0x1100, 0x115f }, { 0x2e80, 0x303e }, { 0x3041, 0x33ff }, { 0x3400, 0x4dbf }, { 0x4e00, 0x9fff },
		{ 0xa000, 0xa4cf }, { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff }, { 0xfe30, 0xfe6f }, { 0xff00, 0xff60 },
		{ 0xffe0, 0xffe6 }, { 0x1f300, 0x1f64f }, { 0x1f680, 0x1f6ff }, { 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd },
	};

	if (character < 0x300)
		return 1;
	if (in_ranges(character, combining, sizeof combining / sizeof combining[0]))
		return 0;
	return in_ranges(character, wide, sizeof wide / sizeof wide[0]) ? 2 : 1;
}

/*
 * The next piece of untrusted bytes as it may be shown.  Returns how many bytes it takes from the input; `piece`
 * gets the text, `columns` its width.
 */
static size_t show_piece(const char *bytes, size_t size, bool utf8, char piece[16], size_t *columns)
{
	uint32_t character;
	size_t length = text_decode(bytes, size, &character);

	if (length == 0 || (!utf8 && character >= 0x80) || (text_is_unsafe(character) && character < 0x80)) {
		*columns = (size_t)snprintf(piece, 16, "\\x%02x", (unsigned char)bytes[0]);
		return 1;
	}
	if (text_is_unsafe(character)) {
		*columns = (size_t)snprintf(piece, 16, "\\u{%" PRIx32 "}", character);
		return length;
	}
	memcpy(piece, bytes, length);
	piece[length] = 0;
	*columns = character_columns(character);
	return length;
}

size_t text_columns(const struct text *text, const char *bytes)
{
	size_t size = strlen(bytes), all = 0;
	char piece[16];

	for (size_t at = 0; at < size;) {
		size_t columns;

		at += show_piece(bytes + at, size - at, text->utf8, piece, &columns);
		all += columns;
	}
	return all;
}

size_t text_write(const struct text *text, const char *bytes, size_t columns_max)
{
	const char *ellipsis = text->utf8 ? "\u2026" : "~";
	size_t size = strlen(bytes), written = 0;
	bool cut = columns_max > 0 && text_columns(text, bytes) > columns_max;
	size_t room = columns_max == 0 ? SIZE_MAX : cut ? columns_max - 1 : columns_max;
	char piece[16];

	for (size_t at = 0; at < size;) {
		size_t columns;

		at += show_piece(bytes + at, size - at, text->utf8, piece, &columns);
		if (columns > room - written)
			break;
		fputs(piece, text->file);
		written += columns;
	}
	if (!cut)
		return written;
	fputs(ellipsis, text->file);
	return written + 1;
}

char *text_escape(char *out, size_t size, const char *bytes)
{
	size_t left = strlen(bytes), used = 0, cut = 0;   /* cut: the last place that has room for "..." */
	char piece[16];

	while (left > 0) {
		size_t columns;
		size_t taken = show_piece(bytes, left, true, piece, &columns);
		size_t length = strlen(piece);

		if (used + sizeof "..." <= size)
			cut = used;
		if (used + length + 1 > size) {
			snprintf(out + cut, size - cut, "...");
			return out;
		}
		memcpy(out + used, piece, length);
		used += length;
		bytes += taken;
		left -= taken;
	}
	out[used] = 0;
	return out;
}

struct text_number text_bytes(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	struct text_number out;
	double value = (double)bytes;
	unsigned unit = 0;

	/* 1023.96 would be shown as 1024.0. */
	while (unit < 6 && value >= (unit == 0 ? 1024.0 : 1023.95)) {
		value /= 1024;
		unit++;
	}
	snprintf(out.text, sizeof out.text, "%.*f %s", unit == 0 ? 0 : 1, value, units[unit]);
	return out;
}

struct text_number text_count(uint64_t count)
{
	char digits[24];
	struct text_number out;
	int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
	char *at = out.text;

	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			*at++ = ',';
		*at++ = digits[i];
	}
	*at = 0;
	return out;
}

struct text_number text_time(uint64_t time_ns)
{
	struct text_number out;
	uint64_t seconds = (time_ns + 500000000) / 1000000000;

	if (time_ns < 1000000)
		snprintf(out.text, sizeof out.text, "%.3f ms", (double)time_ns / 1e6);
	else if (time_ns < 1000000000)
		snprintf(out.text, sizeof out.text, "%.1f ms", (double)time_ns / 1e6);
	else if (time_ns < 60000000000)
		snprintf(out.text, sizeof out.text, "%.3f s", (double)time_ns / 1e9);
	else if (seconds < 3600)
		snprintf(out.text, sizeof out.text, "%" PRIu64 " m %02" PRIu64 " s", seconds / 60, seconds % 60);
	else
		snprintf(out.text, sizeof out.text, "%" PRIu64 " h %02" PRIu64 " m", seconds / 3600, seconds / 60 % 60);
	return out;
}

struct text_number text_percent(uint64_t part, uint64_t whole)
{
	struct text_number out;

	snprintf(out.text, sizeof out.text, "%.1f %%", whole ? 100.0 * (double)part / (double)whole : 0.0);
	return out;
}

struct text_number text_date(uint64_t realtime_ns)
{
	struct text_number out;
	time_t seconds = (time_t)(realtime_ns / 1000000000);
	struct tm parts;

	if (!gmtime_r(&seconds, &parts) || strftime(out.text, sizeof out.text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		snprintf(out.text, sizeof out.text, "unknown");
	return out;
}

void text_bar(const struct text *text, double share, unsigned columns)
{
	/* Eighths of a column; their bytes are E2 96 8F (one eighth) to E2 96 88 (full). */
	unsigned eighths = share <= 0 ? 0 : (unsigned)((share > 1 ? 1 : share) * columns * 8 + 0.5);

	if (share > 0 && eighths == 0)
		eighths = 1;
	if (!text->utf8) {
		for (unsigned i = 0; i < (eighths + 7) / 8; i++)
			putc('#', text->file);
		return;
	}
	for (; eighths >= 8; eighths -= 8)
		fputs("\u2588", text->file);
	if (eighths > 0)
		fprintf(text->file, "\xe2\x96%c", (char)(0x90 - eighths));
}

void text_heading(const struct text *text, const char *format, ...)
{
	va_list list;

	text_style(text, TEXT_BOLD);
	va_start(list, format);
	vfprintf(text->file, format, list);
	va_end(list);
	text_style(text, TEXT_PLAIN);
	putc('\n', text->file);
}

void text_table_add(struct text_table *table, enum text_style style, const char *bytes)
{
	table->cells = memory_grow(table->cells, &table->cell_capacity, table->cell_count + 1, sizeof table->cells[0]);
	table->cells[table->cell_count++] = (struct text_cell){ .bytes = memory_text(bytes), .style = style };
}

static void print_cell(const struct text *text, const struct text_column *column, enum text_style style,
	const char *bytes, size_t width, bool last, size_t columns_max)
{
	size_t columns = text_columns(text, bytes);
	size_t padding = columns < width ? width - columns : 0;

	if (column->right)
		fprintf(text->file, "%*s", (int)padding, "");
	if (style != TEXT_PLAIN)
		text_style(text, style);
	text_write(text, bytes, last ? columns_max : 0);
	if (style != TEXT_PLAIN)
		text_style(text, TEXT_PLAIN);
	if (!column->right && !last)
		fprintf(text->file, "%*s", (int)padding, "");
}

enum { TABLE_COLUMNS_MAX = 16 };

/* One row; `cells` is NULL for the row of titles. */
static void print_row(const struct text_table *table, const struct text *text, const char *indent,
	const struct text_cell *cells, const size_t *widths)
{
	size_t left = strlen(indent);

	fputs(indent, text->file);
	for (unsigned i = 0; i < table->column_count; i++) {
		bool last = i + 1 == table->column_count;
		size_t room = text->width > left + 10 ? text->width - left : text->width ? 10 : 0;
		const char *bytes = cells ? cells[i].bytes : table->columns[i].title;

		if (last && !*bytes)
			break;
		if (i > 0)
			fputs("  ", text->file);
		print_cell(text, &table->columns[i], cells ? cells[i].style : TEXT_DIM, bytes, widths[i], last, room);
		left += widths[i] + 2;
	}
	putc('\n', text->file);
}

void text_table_print(const struct text_table *table, const struct text *text, const char *indent)
{
	size_t widths[TABLE_COLUMNS_MAX] = { 0 };
	bool titles = false;

	for (unsigned i = 0; i < table->column_count; i++) {
		widths[i] = text_columns(text, table->columns[i].title);
		titles = titles || widths[i] > 0;
	}
	for (size_t i = 0; i < table->cell_count; i++) {
		size_t columns = text_columns(text, table->cells[i].bytes);

		if (columns > widths[i % table->column_count])
			widths[i % table->column_count] = columns;
	}
	if (titles)
		print_row(table, text, indent, NULL, widths);
	for (size_t i = 0; i + table->column_count <= table->cell_count; i += table->column_count)
		print_row(table, text, indent, table->cells + i, widths);
}

void text_table_finish(struct text_table *table)
{
	for (size_t i = 0; i < table->cell_count; i++)
		free(table->cells[i].bytes);
	free(table->cells);
	table->cells = NULL;
	table->cell_count = table->cell_capacity = 0;
}

struct text_progress text_progress_begin(void)
{
	return (struct text_progress){ .started_ns = clock_now_ns(), .enabled = isatty(STDERR_FILENO) };
}

void text_progress_update(void *context, const char *what, uint64_t done, uint64_t all)
{
	struct text_progress *progress = context;

	if (!progress->enabled)
		return;

	uint64_t now = clock_now_ns();

	if (now - progress->started_ns < 1000000000 || now - progress->shown_ns < 100000000)
		return;
	progress->shown_ns = now;
	progress->shown = true;
	fprintf(stderr, "\r\033[K%s", what);
	if (all > 0)
		fprintf(stderr, " %.0f %%", 100.0 * (double)(done < all ? done : all) / (double)all);
	fflush(stderr);
}

void text_progress_end(struct text_progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = false;
}
