/* SPDX-License-Identifier: MIT */
/*
 * The screen of `sctmem top`.  Everything that comes from a capture, or from a program that we have started, goes
 * through text_write, so that no name can act on the terminal.
 *
 *     line 0    sctmem top   PID  command                        state  time
 *     line 1    live, peak, resident, rates, threads
 *     line 2    live heap over time
 *     line 3    titles of the columns; the one that sorts is marked
 *     ...       rows; one is selected
 *     last      what can be done, the search being typed, or what is narrowed
 *
 * Instead of the rows there can be a page: the keys, the processes of the family, what the program wrote last.
 */
#include "top_draw.h"

#ifdef HAVE_NCURSES

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <curses.h>

#include "memory.h"
#include "text.h"

enum { LINE_SIZE = 4096, OUTPUT_BYTES = 64 << 10 };

enum colour { COLOUR_NONE, COLOUR_TITLE, COLOUR_PYTHON, COLOUR_NATIVE, COLOUR_UP, COLOUR_DOWN, COLOUR_WARNING };

/* ---- text ---- */

/* Untrusted text at a place, in at most so many columns. */
static int put_text(const struct screen *screen, int line, int column, const char *bytes, int columns_max)
{
	char buffer[LINE_SIZE];
	size_t written;

	if (columns_max <= 0)
		return column;

	FILE *file = fmemopen(buffer, sizeof buffer, "w");

	if (!file)
		return column;
	const struct text text = { .file = file, .utf8 = screen->utf8 };

	written = text_write(&text, bytes, (size_t)(columns_max < 1000 ? columns_max : 1000));
	if (fclose(file) == 0)
		mvaddstr(line, column, buffer);
	return column + (int)written;
}

static void set_colour(const struct screen *screen, enum colour colour, bool on)
{
	if (!screen->colours)
		return;
	if (on)
		attron(COLOR_PAIR(colour));
	else
		attroff(COLOR_PAIR(colour));
}

/* Short enough for a column of nine: "1023.9 KiB" loses a digit. */
static void short_bytes(char *out, size_t size, uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	double value = (double)bytes;
	unsigned unit = 0;

	while (unit < 6 && value >= (unit == 0 ? 1000.0 : 999.95)) {
		value /= 1024;
		unit++;
	}
	snprintf(out, size, unit == 0 ? "%.0f%c" : "%.1f%c", value, units[unit]);
}

static void short_count(char *out, size_t size, double count)
{
	static const char *const units[] = { "", "k", "M", "G", "T" };
	unsigned unit = 0;

	while (unit < 4 && count >= 999.95) {
		count /= 1000;
		unit++;
	}
	snprintf(out, size, unit == 0 ? "%.0f%s" : "%.1f%s", count, units[unit]);
}

/* ---- the head ---- */

static void draw_title(const struct screen *screen, int width)
{
	const struct profile_capture *capture = &profile_live_get(screen->top->live)->captures[0];
	char right[128], segments[48] = "";
	int column;

	if (screen->top->segment)
		snprintf(segments, sizeof segments, "segments %" PRIu32 " to %" PRIu32 "  ", capture->segment_first,
			capture->segment_last);
	snprintf(right, sizeof right, " %s%s%s  %s ", screen->paused ? "[paused] " : "", segments, top_state(screen->top),
		text_time(screen->top->numbers.time_ns).text);
	attron(A_REVERSE);
	mvhline(0, 0, ' ', width);
	column = put_text(screen, 0, 0, "sctmem top ", width);

	char pid[32];

	snprintf(pid, sizeof pid, "%" PRIu32 " ", screen->pid);
	column = put_text(screen, 0, column, pid, width - column);
	for (const char *const *argument = capture->arguments; argument && *argument && column < width; argument++) {
		column = put_text(screen, 0, column, *argument, width - column);
		column = put_text(screen, 0, column, " ", width - column);
	}
	if ((int)strlen(right) < width)
		mvaddstr(0, width - (int)strlen(right), right);
	attroff(A_REVERSE);
}

static void draw_numbers(const struct screen *screen, int width)
{
	const struct top_numbers *numbers = &screen->top->numbers;
	const struct profile *profile = profile_live_get(screen->top->live);
	char rate[32] = "-", bytes[32] = "-", line[512];

	if (numbers->allocations_per_s >= 0) {
		short_count(rate, sizeof rate, numbers->allocations_per_s);
		short_bytes(bytes, sizeof bytes, (uint64_t)numbers->bytes_per_s);
	}
	snprintf(line, sizeof line, "live %s  peak %s  RSS %s  %s allocs/s  %s/s  threads %" PRIu32 "  growth %s%s",
		text_bytes(numbers->live_bytes).text, text_bytes(numbers->peak_bytes).text,
		text_bytes(numbers->resident_bytes).text, rate, bytes, profile->thread_count, numbers->growth_bytes < 0 ? "-" : "+",
		text_bytes((uint64_t)llabs(numbers->growth_bytes)).text);
	attron(A_BOLD);
	put_text(screen, 1, 0, line, width);
	attroff(A_BOLD);
}

/* The live heap over the run, in as many columns as there are: the highest of what falls into each. */
static void draw_line(const struct screen *screen, int line, int width)
{
	static const char *const blocks[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char ascii[] = " ._-=+*#@";
	const struct profile *profile = profile_live_get(screen->top->live);
	const struct top_numbers *numbers = &screen->top->numbers;
	const uint64_t end = profile->duration_ns ? profile->duration_ns : 1;
	uint64_t *highest = memory_new((size_t)width, sizeof *highest), most = 1, last = 0;
	int filled = 0;

	for (uint32_t i = 0; i < profile->timeline_count; i++) {
		const struct timeline_point *point = &profile->timeline[i];
		int column = (int)((double)point->time_ns / (double)end * (double)(width - 1));

		column = column >= width ? width - 1 : column;
		for (; filled < column; filled++)
			highest[filled] = highest[filled] > last ? highest[filled] : last;
		highest[column] = point->live_max_bytes > highest[column] ? point->live_max_bytes : highest[column];
		last = point->live_bytes;
	}
	for (; filled < width; filled++)
		highest[filled] = highest[filled] > last ? highest[filled] : last;
	highest[width - 1] = numbers->live_bytes;
	for (int i = 0; i < width; i++)
		most = highest[i] > most ? highest[i] : most;
	move(line, 0);
	for (int i = 0; i < width; i++) {
		const int height = (int)((double)highest[i] / (double)most * 8.0 + 0.5);

		if (screen->utf8)
			addstr(blocks[height]);
		else
			addch((chtype)ascii[height]);
	}
	free(highest);
}

/* What must be known before a number is trusted, in one line; "" when all is well. */
static void trouble_of(const struct screen *screen, char *out, size_t size)
{
	const struct profile_capture *capture = &profile_live_get(screen->top->live)->captures[0];

	out[0] = 0;
	if (capture->segments_missing)
		snprintf(out, size, "%" PRIu32 " of the run's segments are not here: what was allocated there is in no figure",
			capture->segments_missing);
	else if (capture->damaged)
		snprintf(out, size, "the capture is damaged: what was allocated there is in no figure, what was freed there is "
			"live");
	else if (capture->lost_events)
		snprintf(out, size, "%s events were lost", text_count(capture->lost_events).text);
	else if (capture->paused && capture->events == 0)
		snprintf(out, size, "nothing is recorded yet: sctmem ctl %" PRIu32 " start", screen->pid);
	else if (capture->paused)
		snprintf(out, size, "recording is stopped: this is what lived then (sctmem ctl %" PRIu32 " start)", screen->pid);
	else if (capture->forgotten_count)
		snprintf(out, size, "recording was stopped meanwhile: %s that lived then are not followed any more",
			text_bytes(capture->forgotten_bytes).text);
	else if (capture->segment_first > 1)
		snprintf(out, size, "the run's first segments are not here: what was allocated in them is not known");
	else if (capture->gap_count)
		snprintf(out, size, "recording began later than the process: what was allocated before is not known");
	else if (profile_live_get(screen->top->live)->sample_mean_bytes)
		snprintf(out, size, "sampled, one block about every %s: figures of blocks are estimates",
			text_bytes(profile_live_get(screen->top->live)->sample_mean_bytes).text);
	else if (capture->contradictions)
		snprintf(out, size, "%s events contradict the others", text_count(capture->contradictions).text);
}

/* ---- rows ---- */

struct column {
	const char *title;
	int width;
	enum top_sort sort;
	int needs;                    /* columns of the terminal from which on it is shown */
};

static const struct column columns[] = {
	{ "OWN", 8, TOP_OWN, 0 },
	{ "TOTAL", 8, TOP_TOTAL, 40 },
	{ "BLOCKS", 8, TOP_BLOCKS, 60 },
	{ "GROWTH", 9, TOP_GROWTH, 50 },
	{ "ALLOC'D", 8, TOP_ALLOCATED, 76 },
};

enum { COLUMNS = sizeof columns / sizeof columns[0] };

static void cell_text(char *out, size_t size, const struct top_row *row, enum top_sort sort)
{
	char bytes[24];

	switch (sort) {
	case TOP_OWN:
		short_bytes(out, size, row->own_bytes);
		break;
	case TOP_TOTAL:
		short_bytes(out, size, row->total_bytes);
		break;
	case TOP_BLOCKS:
		short_count(out, size, (double)row->own_blocks);
		break;
	case TOP_ALLOCATED:
		short_bytes(out, size, row->allocated_bytes);
		break;
	default:
		short_bytes(bytes, sizeof bytes, (uint64_t)llabs(row->growth_bytes));
		snprintf(out, size, "%s%s", row->growth_bytes < 0 ? "-" : row->growth_bytes > 0 ? "+" : "",
			row->growth_bytes ? bytes : "0");
		break;
	}
}

static bool is_shown(const struct column *column, int width, enum top_sort sort)
{
	return width >= column->needs || column->sort == sort;
}

static void draw_titles(const struct screen *screen, int line, int width)
{
	static const char *const where[] = { "LINE", "FUNCTION", "FILE", "MODULE", "THREAD", "STACK" };
	int column = 0;

	set_colour(screen, COLOUR_TITLE, true);
	attron(A_UNDERLINE);
	mvhline(line, 0, ' ', width);
	for (size_t i = 0; i < COLUMNS; i++) {
		char title[32];

		if (!is_shown(&columns[i], width, screen->top->sort))
			continue;
		snprintf(title, sizeof title, "%*s", columns[i].width,
			columns[i].title);
		if (columns[i].sort == screen->top->sort)
			attron(A_REVERSE);
		put_text(screen, line, column, title, width - column);
		if (columns[i].sort == screen->top->sort)
			attroff(A_REVERSE);
		column += columns[i].width + 1;
	}
	put_text(screen, line, column + 1, where[screen->top->view], width - column - 1);
	attroff(A_UNDERLINE);
	set_colour(screen, COLOUR_TITLE, false);
}

static void draw_row(const struct screen *screen, int line, int width, const struct top_row *row, bool selected)
{
	const struct profile *profile = &screen->top->profile;
	enum colour colour = COLOUR_NONE;
	int column = 0;

	if (row->frame != UINT32_MAX)
		colour = profile->frames[row->frame].kind == FRAME_PYTHON ? COLOUR_PYTHON
			: profile->frames[row->frame].kind == FRAME_NATIVE ? COLOUR_NATIVE : COLOUR_NONE;
	if (selected)
		attron(A_REVERSE);
	mvhline(line, 0, ' ', width);
	for (size_t i = 0; i < COLUMNS; i++) {
		char cell[32], padded[40];
		const bool grows = columns[i].sort == TOP_GROWTH && row->growth_bytes != 0;

		if (!is_shown(&columns[i], width, screen->top->sort))
			continue;
		cell_text(cell, sizeof cell, row, columns[i].sort);
		snprintf(padded, sizeof padded, "%*s", columns[i].width, cell);
		if (grows)
			set_colour(screen, row->growth_bytes > 0 ? COLOUR_UP : COLOUR_DOWN, true);
		put_text(screen, line, column, padded, width - column);
		if (grows)
			set_colour(screen, row->growth_bytes > 0 ? COLOUR_UP : COLOUR_DOWN, false);
		column += columns[i].width + 1;
	}
	column++;
	if (screen->top->view == TOP_TREE) {
		column += (int)(row->depth < (unsigned)width / 4 ? row->depth : (unsigned)width / 4);
		column = put_text(screen, line, column, !row->has_children ? "  " : row->open ? "- " : "+ ", width - column);
	}
	set_colour(screen, colour, true);
	put_text(screen, line, column, row->text, width - column);
	set_colour(screen, colour, false);
	if (selected)
		attroff(A_REVERSE);
}

/* How many rows fit, and where they begin. */
static int rows_at(int height)
{
	return height >= 8 ? 4 : height >= 5 ? 3 : 1;
}

int top_rows_fit(int height)
{
	return height - rows_at(height) - 1 > 0 ? height - rows_at(height) - 1 : 1;
}

static void keep_in_view(struct screen *screen, int fit)
{
	const size_t count = screen->top->row_count;

	if (count == 0) {
		screen->first = screen->selected = 0;
		return;
	}
	if (screen->selected >= count)
		screen->selected = count - 1;
	if (screen->selected < screen->first)
		screen->first = screen->selected;
	if (screen->selected >= screen->first + (size_t)fit)
		screen->first = screen->selected - (size_t)fit + 1;
}

/* In words; valid until the next call. */
static const char *how_it_ended(const struct launch *program)
{
	static char text[64];
	const int status = program->wait_status;

	if (WIFSIGNALED(status))
		snprintf(text, sizeof text, "the program was ended by signal %d", WTERMSIG(status));
	else
		snprintf(text, sizeof text, "the program has ended with status %d", WEXITSTATUS(status));
	return text;
}

static void draw_foot(struct screen *screen, int height, int width)
{
	const struct top *top = screen->top;
	char line[512], trouble[256], narrowed[512] = "";

	if (height < 2)
		return;
	trouble_of(screen, trouble, sizeof trouble);
	if (*top->search || top->language != TOP_ALL || top->thread != UINT32_MAX)
		snprintf(narrowed, sizeof narrowed, "%s%s%s%s%s%.*d", *top->search ? " search '" : "", top->search,
			*top->search ? "'" : "", top->language != TOP_ALL ? " only " : "",
			top->language != TOP_ALL ? top_language_names[top->language] : "", 0, 0);
	if (top->thread != UINT32_MAX) {
		const size_t used = strlen(narrowed);

		snprintf(narrowed + used, sizeof narrowed - used, " thread %" PRIu32,
			profile_live_get(top->live)->threads[top->thread].tid);
	}
	if (screen->typing)
		snprintf(line, sizeof line, "search: %s_", screen->typed);
	else if (screen->leaving)
		snprintf(line, sizeof line, "the program still runs: e ends it, w waits for it without this screen, esc goes back");
	else if (screen->said[0])
		snprintf(line, sizeof line, "%s", screen->said);
	else if (screen->program && screen->program->ended)
		snprintf(line, sizeof line, "%s: these are its last figures. q quits, ? helps%s", how_it_ended(screen->program),
			narrowed);
	else if (!profile_live_is_alive(top->live))
		snprintf(line, sizeof line, "the process has ended (%s): these are its last figures. q quits, ? helps%s",
			top_state(top), narrowed);
	else if (*trouble)
		snprintf(line, sizeof line, "%s", trouble);
	else
		snprintf(line, sizeof line, "q quit  ? help  o/t/b/g/n sort  v view  / search  space %s%s",
			screen->paused ? "go on" : "pause", narrowed);
	set_colour(screen, *trouble ? COLOUR_WARNING : COLOUR_TITLE, true);
	mvhline(height - 1, 0, ' ', width);
	/* The last cell is left alone: writing it scrolls some terminals. */
	put_text(screen, height - 1, 0, line, width - 1);
	set_colour(screen, *trouble ? COLOUR_WARNING : COLOUR_TITLE, false);
}

static void draw_help(const struct screen *screen, int height, int width)
{
	static const char *const lines[] = {
		"sctmem top: keys",
		"",
		"o 1   sort by own: what lives that was allocated right here",
		"t 2   by total: and in what it called",
		"b 3   by blocks that live",
		"g 4   by growth since the first look, or since z",
		"n 5   by all that was ever allocated",
		"v     next view: lines, functions, files, modules, threads, tree",
		"T     the tree; enter opens and closes, + and - too",
		"l     all, Python only, native only",
		"< >   one thread: the one before, the next;  m  all threads",
		"/     search; esc ends it",
		"space pause and go on;  z  measure growth from now on",
		"f     the processes of this run, what lives in each; enter shows another",
		"w     what the program wrote last, where top has started it",
		"up down pgup pgdn home end j k   move",
		"q     quit;  ? h  this page",
		"",
		"Live, total and blocks are of this moment; a hidden frame's memory is its caller's.",
	};

	for (int i = 0; i < (int)(sizeof lines / sizeof lines[0]) && i < height - 1; i++)
		put_text(screen, i, 0, lines[i], width);
	put_text(screen, height - 1, 0, "any key goes back", width - 1);
}

/* Its live heap, where that is known, and how old the figure is, where it is not of now. */
static void heap_text(const struct screen *screen, const struct family_member *member, char *out, size_t size)
{
	const struct family_figure figure = top_figure(screen->top, &screen->heaps, member);
	char bytes[24], age[32] = "";

	if (!figure.known) {
		snprintf(out, size, "%s", figure.reading ? "..." : "-");
		return;
	}
	short_bytes(bytes, sizeof bytes, figure.heap.bytes);
	if (figure.age_ns >= FAMILY_HEAPS_FRESH_NS)
		snprintf(age, sizeof age, " %" PRIu64 "s", figure.age_ns / 1000000000);
	snprintf(out, size, "%s%s%s%s", figure.heap.estimated ? "~" : "", bytes, figure.heap.partial ? "?" : "", age);
}

/* A process of the family a line; whom it comes from is told by how far its command is moved in. */
static void draw_family(struct screen *screen, int height, int width)
{
	const size_t fit = height > 3 ? (size_t)height - 3 : 1;

	attron(A_UNDERLINE);
	mvhline(1, 0, ' ', width);
	put_text(screen, 1, 0, "    PID  STATE    LIVE         RSS     CAPTURE    COMMAND", width);
	attroff(A_UNDERLINE);
	if (screen->family_selected < screen->family_first)
		screen->family_first = screen->family_selected;
	if (screen->family_selected >= screen->family_first + fit)
		screen->family_first = screen->family_selected - fit + 1;
	for (size_t i = 0; i < fit && screen->family_first + i < screen->family_count; i++) {
		const struct family_member *member = &screen->family[screen->family_first + i];
		const int line = 2 + (int)i, indent = 2 * (int)(member->depth < 10 ? member->depth : 10);
		char text[128], heap[48], resident[24] = "-", file[24];

		if (member->resident_bytes)
			short_bytes(resident, sizeof resident, member->resident_bytes);
		short_bytes(file, sizeof file, member->file_bytes);
		heap_text(screen, member, heap, sizeof heap);
		snprintf(text, sizeof text, "%c%7" PRIu32 "  %-7s  %-12s %-7s %-9s ", member->self ? '*' : ' ', member->pid,
			member->alive ? "runs" : "ended", heap, resident, file);
		if (screen->family_first + i == screen->family_selected)
			attron(A_REVERSE);
		mvhline(line, 0, ' ', width);
		put_text(screen, line, 0, text, width);
		put_text(screen, line, (int)strlen(text) + indent, member->command, width - (int)strlen(text) - indent);
		attroff(A_REVERSE);
	}
	put_text(screen, height - 1, 0, "enter shows the process, esc goes back   LIVE: ~ an estimate, ? not all is known, "
		"5s as of then, ... not yet read", width - 1);
}

/* The last lines of the file that the program writes into. */
static void draw_output(const struct screen *screen, int height, int width)
{
	const char *path = screen->program->output;
	char *bytes = memory_new(OUTPUT_BYTES + 1, 1), *end;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), column;
	struct stat status;
	ssize_t got = 0;

	if (file >= 0 && fstat(file, &status) == 0 && S_ISREG(status.st_mode))
		got = pread(file, bytes, OUTPUT_BYTES, status.st_size > OUTPUT_BYTES ? status.st_size - OUTPUT_BYTES : 0);
	if (file >= 0)
		close(file);
	end = bytes + (got > 0 ? got : 0);
	if (end > bytes && end[-1] == '\n')
		end--;
	column = put_text(screen, 1, 0, "the program's output, in ", width);
	put_text(screen, 1, column, path, width - column);
	if (end == bytes)
		put_text(screen, 3, 0, "nothing yet", width);
	for (int line = height - 2; line >= 2 && end > bytes; line--) {
		char *start = end;

		while (start > bytes && start[-1] != '\n')
			start--;
		*end = 0;
		put_text(screen, line, 0, start, width);
		end = start > bytes ? start - 1 : bytes;
	}
	put_text(screen, height - 1, 0, "any key goes back", width - 1);
	free(bytes);
}

static bool draw_page(struct screen *screen, int height, int width)
{
	if (screen->page == PAGE_ROWS || (screen->page != PAGE_HELP && height < 4))
		return false;
	if (screen->page == PAGE_HELP) {
		draw_help(screen, height, width);
		return true;
	}
	draw_title(screen, width);
	if (screen->page == PAGE_FAMILY)
		draw_family(screen, height, width);
	else
		draw_output(screen, height, width);
	return true;
}

void top_draw(struct screen *screen)
{
	int height, width;

	getmaxyx(stdscr, height, width);
	erase();
	if (draw_page(screen, height, width)) {
		refresh();
		return;
	}
	const int at = rows_at(height), fit = top_rows_fit(height);

	draw_title(screen, width);
	if (at >= 3)
		draw_numbers(screen, width);
	if (at >= 4)
		draw_line(screen, 2, width);
	if (at >= 3)
		draw_titles(screen, at - 1, width);
	keep_in_view(screen, fit);
	for (int i = 0; i < fit && at + i < height - 1; i++) {
		const size_t row = screen->first + (size_t)i;

		if (row < screen->top->row_count)
			draw_row(screen, at + i, width, &screen->top->rows[row], row == screen->selected);
	}
	if (screen->top->row_count == 0 && at < height - 1)
		put_text(screen, at, 1, *screen->top->search ? "nothing matches" : "nothing lives", width - 1);
	draw_foot(screen, height, width);
	refresh();
}

void top_begin_colours(struct screen *screen)
{
	const char *none = getenv("NO_COLOR");

	if ((none && *none) || !has_colors() || start_color() == ERR)
		return;
	use_default_colors();
	screen->colours = init_pair(COLOUR_TITLE, COLOR_CYAN, -1) != ERR && init_pair(COLOUR_PYTHON, COLOR_GREEN, -1) != ERR &&
		init_pair(COLOUR_NATIVE, COLOR_YELLOW, -1) != ERR && init_pair(COLOUR_UP, COLOR_RED, -1) != ERR &&
		init_pair(COLOUR_DOWN, COLOR_BLUE, -1) != ERR && init_pair(COLOUR_WARNING, COLOR_RED, -1) != ERR;
}

#endif
