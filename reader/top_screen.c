/* SPDX-License-Identifier: MIT */
/*
 * The terminal of `sctmem top`.  Everything that comes from the capture goes through text_write, so that no name can
 * act on the terminal.
 *
 *     line 0    sctmem top   PID  command                        state  time
 *     line 1    live, peak, resident, rates, threads
 *     line 2    live heap over time
 *     line 3    titles of the columns; the one that sorts is marked
 *     ...       rows; one is selected
 *     last      what can be done, the search being typed, or what is narrowed
 *
 * The terminal is given back on every way out: at the end, at exit() (no memory), and when a signal ends us, which then
 * does so after that.
 */
#include "top_screen.h"

#ifdef HAVE_NCURSES

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <curses.h>

#include "memory.h"
#include "text.h"

enum {
	TICK_MS = 50,                 /* how often keys and signals are looked at */
	COST_SHARE = 5,               /* looking takes at most one part in so many of the time */
	KEY_ESCAPE = 27,
	LINE_SIZE = 4096,
};

enum colour { COLOUR_NONE, COLOUR_TITLE, COLOUR_PYTHON, COLOUR_NATIVE, COLOUR_UP, COLOUR_DOWN, COLOUR_WARNING };

struct screen {
	struct top *top;
	uint32_t pid;
	uint64_t interval_ns;
	bool utf8, colours;
	size_t first, selected;       /* rows: the topmost shown, and the one with the cursor */
	bool paused, help, typing;
	char typed[sizeof ((struct top *)0)->search];
	size_t typed_size;
	char said[160];               /* shown once in the last line */
	bool said_by_look;            /* until the next one, not until a key */
};

static bool is_up;                    /* curses has the terminal */
static volatile sig_atomic_t ending;  /* the signal that ends us */

static void give_terminal_back(void)
{
	if (is_up)
		endwin();
	is_up = false;
}

static void on_signal(int number)
{
	ending = number;
}

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

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

static int rows_fit(int height)
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
	else if (screen->said[0])
		snprintf(line, sizeof line, "%s", screen->said);
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
		"up down pgup pgdn home end j k   move",
		"q     quit;  ? h  this page",
		"",
		"Live, total and blocks are of this moment; a hidden frame's memory is its caller's.",
	};

	for (int i = 0; i < (int)(sizeof lines / sizeof lines[0]) && i < height - 1; i++)
		put_text(screen, i, 0, lines[i], width);
	put_text(screen, height - 1, 0, "any key goes back", width - 1);
}

static void draw(struct screen *screen)
{
	int height, width;

	getmaxyx(stdscr, height, width);
	erase();
	if (screen->help) {
		draw_help(screen, height, width);
		refresh();
		return;
	}
	const int at = rows_at(height), fit = rows_fit(height);

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

/* ---- keys ---- */

static void sort_by(struct screen *screen, enum top_sort sort)
{
	screen->top->sort = sort;
	screen->first = screen->selected = 0;
	top_rows(screen->top);
}

static void show_view(struct screen *screen, enum top_view view)
{
	screen->top->view = view;
	screen->first = screen->selected = 0;
	snprintf(screen->said, sizeof screen->said, "view: %s", top_view_names[view]);
	top_rows(screen->top);
}

static void type_key(struct screen *screen, int key)
{
	if (key == '\n' || key == KEY_ENTER || key == '\r' || key == KEY_ESCAPE) {
		screen->typing = false;
		if (key == KEY_ESCAPE)
			screen->typed[screen->typed_size = 0] = 0;
	} else if (key == KEY_BACKSPACE || key == 127 || key == 8) {
		/* A whole character of UTF-8. */
		while (screen->typed_size && (screen->typed[--screen->typed_size] & 0xc0) == 0x80)
			;
		screen->typed[screen->typed_size] = 0;
	} else if (key >= 32 && key < 256 && screen->typed_size + 1 < sizeof screen->typed) {
		screen->typed[screen->typed_size++] = (char)key;
		screen->typed[screen->typed_size] = 0;
	} else {
		return;
	}
	strcpy(screen->top->search, screen->typed);
	screen->first = screen->selected = 0;
	top_rows(screen->top);
}

static void move_by(struct screen *screen, long rows)
{
	const long count = (long)screen->top->row_count;
	long at = (long)screen->selected + rows;

	screen->selected = (size_t)(at < 0 || count == 0 ? 0 : at >= count ? count - 1 : at);
}

static void turn_row(struct screen *screen)
{
	if (screen->top->view == TOP_TREE && screen->selected < screen->top->row_count &&
		screen->top->rows[screen->selected].has_children)
		top_turn(screen->top, &screen->top->rows[screen->selected]);
}

static void move_key(struct screen *screen, int key)
{
	const int page = rows_fit(getmaxy(stdscr));

	switch (key) {
	case KEY_UP: case 'k': move_by(screen, -1); break;
	case KEY_DOWN: case 'j': move_by(screen, 1); break;
	case KEY_PPAGE: move_by(screen, -page); break;
	case KEY_NPAGE: move_by(screen, page); break;
	case KEY_HOME: screen->selected = 0; break;
	case KEY_END: move_by(screen, (long)screen->top->row_count); break;
	default: break;
	}
}

/* false: the user leaves. */
static bool obey(struct screen *screen, int key)
{
	struct top *top = screen->top;

	screen->said[0] = 0;
	screen->said_by_look = false;
	if (key == KEY_RESIZE)
		return true;
	if (screen->help) {
		screen->help = false;
		return true;
	}
	if (screen->typing) {
		type_key(screen, key);
		return true;
	}
	switch (key) {
	case 'q': case 'Q': return false;
	case '?': case 'h': case 'H': case KEY_F(1): screen->help = true; break;
	case 'o': case '1': sort_by(screen, TOP_OWN); break;
	case 't': case '2': sort_by(screen, TOP_TOTAL); break;
	case 'b': case 'a': case '3': sort_by(screen, TOP_BLOCKS); break;
	case 'g': case '4': sort_by(screen, TOP_GROWTH); break;
	case 'n': case '5': sort_by(screen, TOP_ALLOCATED); break;
	case 'v': case '\t': show_view(screen, (top->view + 1) % TOP_VIEWS); break;
	case 'T': show_view(screen, top->view == TOP_TREE ? TOP_LINES : TOP_TREE); break;
	case 'l':
		top->language = (top->language + 1) % TOP_LANGUAGES;
		top_rows(top);
		break;
	case '<': case ',': top_next_thread(top, -1); break;
	case '>': case '.': top_next_thread(top, 1); break;
	case 'm':
		top->thread = UINT32_MAX;
		top_rows(top);
		break;
	case '/':
		screen->typing = true;
		screen->typed[screen->typed_size = 0] = 0;
		break;
	case KEY_ESCAPE:
		top->search[0] = 0;
		top_rows(top);
		break;
	case ' ': case 'p': screen->paused = !screen->paused; break;
	case 'z':
		top_reset(top);
		snprintf(screen->said, sizeof screen->said, "growth is measured from now on");
		break;
	case '\n': case '\r': case KEY_ENTER: case '+': case '-': turn_row(screen); break;
	default: move_key(screen, key);
	}
	return true;
}

/* ---- the loop ---- */

static void begin_colours(struct screen *screen)
{
	const char *none = getenv("NO_COLOR");

	if ((none && *none) || !has_colors() || start_color() == ERR)
		return;
	use_default_colors();
	screen->colours = init_pair(COLOUR_TITLE, COLOR_CYAN, -1) != ERR && init_pair(COLOUR_PYTHON, COLOR_GREEN, -1) != ERR &&
		init_pair(COLOUR_NATIVE, COLOR_YELLOW, -1) != ERR && init_pair(COLOUR_UP, COLOR_RED, -1) != ERR &&
		init_pair(COLOUR_DOWN, COLOR_BLUE, -1) != ERR && init_pair(COLOUR_WARNING, COLOR_RED, -1) != ERR;
}

/* When the next look is due: not so often that looking becomes most of what we do. */
static uint64_t next_look(const struct screen *screen)
{
	const uint64_t cost = screen->top->look_cost_ns * COST_SHARE;

	return screen->top->looked_ns + (cost > screen->interval_ns ? cost : screen->interval_ns);
}

static void say_where_it_goes_on(struct screen *screen)
{
	if (screen->said_by_look)
		screen->said[0] = 0;
	screen->said_by_look = screen->top->went_on;
	if (screen->top->went_on)
		snprintf(screen->said, sizeof screen->said, "the run goes on in segment %" PRIu32, screen->top->segment);
}

static bool loop(struct screen *screen, struct error *error)
{
	bool changed = true, alive = true;

	while (!ending) {
		if (changed)
			draw(screen);

		const int key = getch();

		changed = key != ERR;
		if (key != ERR && !obey(screen, key))
			return true;
		/* What has ended does not change any more. */
		if (alive && !screen->paused && now_ns() >= next_look(screen)) {
			if (!top_look(screen->top, error))
				return false;
			alive = profile_live_is_alive(screen->top->live);
			say_where_it_goes_on(screen);
			changed = true;
		}
	}
	return true;
}

bool top_screen_exists(void)
{
	return true;
}

bool top_screen_run(struct top *top, uint32_t pid, uint64_t interval_ns, struct error *error)
{
	struct screen screen = { .top = top, .pid = pid, .interval_ns = interval_ns, .utf8 = text_begin(stdout).utf8 };
	struct sigaction action = { .sa_handler = on_signal }, before[sizeof signals / sizeof signals[0]];
	const char *term = getenv("TERM");
	SCREEN *terminal;
	bool ok;

	/* Before curses looks: it sets handlers of its own only where there are none. */
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		sigaction(signals[i], &action, &before[i]);
	set_escdelay(50);
	terminal = newterm(NULL, stdout, stdin);
	if (!terminal) {
		for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
			sigaction(signals[i], &before[i], NULL);
		return fail(error, STATUS_USAGE, "this terminal (TERM=%s) cannot show a screen: use top --once",
			term ? term : "");
	}
	is_up = true;
	atexit(give_terminal_back);
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	curs_set(0);
	timeout(TICK_MS);
	begin_colours(&screen);
	ok = loop(&screen, error);
	give_terminal_back();
	delscreen(terminal);
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		sigaction(signals[i], &before[i], NULL);
	/* Whoever waits for us learns what ended us. */
	if (ending)
		raise(ending);
	return ok;
}

#else

bool top_screen_exists(void)
{
	return false;
}

bool top_screen_run(struct top *top, uint32_t pid, uint64_t interval_ns, struct error *error)
{
	(void)top;
	(void)pid;
	(void)interval_ns;
	return fail(error, STATUS_USAGE, "this sctmem was built without ncursesw, which the interactive top needs: "
		"use top --once, or build it where libncurses-dev is installed");
}

#endif
