/* SPDX-License-Identifier: MIT */
/*
 * The terminal and the keys of `sctmem top`; what the screen looks like is top_draw.c's.
 *
 * The terminal is given back on every way out: at the end, at exit() (no memory), and when a signal ends us, which then
 * does so after that.  A program that we have started is sent the signals that we get (launch.c): Ctrl-C ends it, and
 * not us; a signal that wants us to end does so when the program has.
 */
#include "top_screen.h"

#ifdef HAVE_NCURSES

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curses.h>

#include "clock.h"
#include "target.h"
#include "text.h"
#include "top_draw.h"

enum {
	TICK_MS = 50,                 /* how often keys and signals are looked at */
	COST_SHARE = 5,               /* looking takes at most one part in so many of the time */
	HEAPS_NS = TICK_MS * 1000000 / COST_SHARE,
	REDRAW_NS = 500000000,
	KEY_ESCAPE = 27,
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
enum { SIGNALS = sizeof signals / sizeof signals[0] };

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
	const int page = top_rows_fit(getmaxy(stdscr));

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

/* ---- other processes ---- */

static void list_family(struct screen *screen)
{
	family_free(screen->family, screen->family_count);
	screen->family_count = family_list(screen->top->path, &screen->family);
}

static void show_family(struct screen *screen)
{
	list_family(screen);
	if (screen->family_count == 0) {
		snprintf(screen->said, sizeof screen->said, "the capture's folder cannot be searched");
		return;
	}
	screen->page = PAGE_FAMILY;
	screen->family_first = screen->family_selected = 0;
	for (size_t i = 0; i < screen->family_count; i++)
		if (screen->family[i].self)
			screen->family_selected = i;
}

/* Those that are on the screen, and whoever is next to be. */
static void want_heaps(struct screen *screen)
{
	const size_t first = screen->family_first, lines = (size_t)getmaxy(stdscr);
	const size_t count = first < screen->family_count ? screen->family_count - first : 0;

	family_heaps_want(&screen->heaps, screen->family + first, count < lines ? count : lines);
}

/* Shows another capture; where that cannot be, says why and stays. */
static void show_other(struct screen *screen, const char *path, uint32_t pid)
{
	struct error error = { .text = "" };

	if (top_switch(screen->top, path, &error)) {
		screen->pid = pid;
		screen->first = screen->selected = 0;
		screen->alive = profile_live_is_alive(screen->top->live);
	} else {
		snprintf(screen->said, sizeof screen->said, "%.150s", error.text);
	}
}

static void family_key(struct screen *screen, int key)
{
	const size_t last = screen->family_count - 1;
	const struct family_member *member = &screen->family[screen->family_selected];

	switch (key) {
	case KEY_UP: case 'k': screen->family_selected -= screen->family_selected > 0; break;
	case KEY_DOWN: case 'j': screen->family_selected += screen->family_selected < last; break;
	case KEY_HOME: screen->family_selected = 0; break;
	case KEY_END: screen->family_selected = last; break;
	case '\n': case '\r': case KEY_ENTER:
		screen->page = PAGE_ROWS;
		if (!member->self)
			show_other(screen, member->path, member->pid);
		break;
	case KEY_ESCAPE: case 'q': case 'f': screen->page = PAGE_ROWS; break;
	default: break;
	}
}

/*
 * A process that has executed another program goes on in a capture of that; looked for while there is a process of its
 * number, which was the one that we have seen alive.
 */
static void find_successor(struct screen *screen)
{
	struct error ignored = { .text = "" };
	struct target target;
	char pid[16];

	if (!screen->was_alive || screen->alive || (screen->program && screen->program->ended))
		return;
	snprintf(pid, sizeof pid, "%" PRIu32, screen->pid);
	if (!target_open(&target, pid, false, &ignored))
		return;
	if (target.header.start_realtime_ns != profile_live_get(screen->top->live)->captures[0].start_realtime_ns) {
		show_other(screen, target.run, screen->pid);
		if (screen->alive)
			snprintf(screen->said, sizeof screen->said, "the process has executed another program, which is shown now");
	}
	target_close(&target);
}

/* What is to become of the program.  false: the user leaves. */
static bool decide(struct screen *screen, int key)
{
	screen->leaving = false;
	if (key == 'w')
		return false;
	if (key == 'e') {
		/* Who has been asked and stays is not asked again. */
		launch_signal(screen->program, screen->asked_to_end ? SIGKILL : SIGTERM);
		snprintf(screen->said, sizeof screen->said, screen->asked_to_end ? "killed" :
			"asked to end (SIGTERM); q and e once more kill it");
		screen->asked_to_end = true;
	}
	return true;
}

/* false: the user leaves. */
static bool obey(struct screen *screen, int key)
{
	struct top *top = screen->top;

	screen->said[0] = 0;
	screen->said_by_look = false;
	if (key == KEY_RESIZE)
		return true;
	if (screen->leaving)
		return decide(screen, key);
	if (screen->page == PAGE_FAMILY) {
		family_key(screen, key);
		return true;
	}
	if (screen->page != PAGE_ROWS) {
		screen->page = PAGE_ROWS;
		return true;
	}
	if (screen->typing) {
		type_key(screen, key);
		return true;
	}
	switch (key) {
	case 'q': case 'Q':
		screen->leaving = screen->program && !launch_poll(screen->program);
		return screen->leaving;
	case '?': case 'h': case 'H': case KEY_F(1): screen->page = PAGE_HELP; break;
	case 'f': show_family(screen); break;
	case 'w':
		if (screen->program)
			screen->page = PAGE_OUTPUT;
		else
			snprintf(screen->said, sizeof screen->said, "what it writes is known of programs that top has started");
		break;
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

static bool look(struct screen *screen, struct error *error)
{
	if (screen->alive) {
		if (!top_look(screen->top, error))
			return false;
		screen->was_alive = true;
		screen->alive = profile_live_is_alive(screen->top->live);
		say_where_it_goes_on(screen);
	} else {
		find_successor(screen);
		screen->top->looked_ns = clock_now_ns();
	}
	if (screen->page == PAGE_FAMILY) {
		list_family(screen);
		if (screen->family_count == 0)
			screen->page = PAGE_ROWS;
		else if (screen->family_selected >= screen->family_count)
			screen->family_selected = screen->family_count - 1;
	}
	return true;
}

static bool loop(struct screen *screen, struct error *error)
{
	bool changed = true;
	uint64_t drawn_ns = 0;

	while (!ending && !(screen->program && launch_told())) {
		/* Figures of the family grow old, also while nothing else happens. */
		if (changed || (screen->page == PAGE_FAMILY && clock_now_ns() - drawn_ns >= REDRAW_NS)) {
			top_draw(screen);
			drawn_ns = clock_now_ns();
		}

		const int key = getch();
		const bool running = screen->program && !screen->program->ended;

		changed = key != ERR;
		if (key != ERR && !obey(screen, key))
			return true;
		/* What it had written by its end is looked at once more. */
		if (running && launch_poll(screen->program)) {
			changed = true;
			screen->leaving = false;
			screen->said[0] = 0;
			if (screen->alive && !look(screen, error))
				return false;
		}
		/* What has ended does not change any more. */
		if (!screen->paused && clock_now_ns() >= next_look(screen)) {
			if (!look(screen, error))
				return false;
			changed = true;
		}
		if (screen->page == PAGE_FAMILY && !screen->paused) {
			want_heaps(screen);
			changed |= family_heaps_look(&screen->heaps, screen->interval_ns, HEAPS_NS);
		}
	}
	return true;
}

bool top_screen_exists(void)
{
	return true;
}

/* Those that end us.  Where there is a program it gets them, and we see what becomes of it. */
static void take_signals(const struct screen *screen, struct sigaction *before, bool on)
{
	struct sigaction action = { .sa_handler = on_signal };

	for (size_t i = 0; i < SIGNALS; i++)
		if (!screen->program || signals[i] == SIGPIPE)
			sigaction(signals[i], on ? &action : &before[i], on ? &before[i] : NULL);
}

bool top_screen_run(struct top *top, uint32_t pid, struct launch *program, uint64_t interval_ns, struct error *error)
{
	struct screen screen = { .top = top, .pid = pid, .interval_ns = interval_ns, .program = program,
		.utf8 = text_begin(stdout).utf8, .alive = profile_live_is_alive(top->live) };
	struct sigaction before[SIGNALS];
	const char *term = getenv("TERM");
	SCREEN *terminal;
	bool ok;

	screen.was_alive = screen.alive;
	/* Before curses looks: it sets handlers of its own only where there are none. */
	take_signals(&screen, before, true);
	set_escdelay(50);
	terminal = newterm(NULL, stdout, stdin);
	if (!terminal) {
		take_signals(&screen, before, false);
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
	top_begin_colours(&screen);
	ok = loop(&screen, error);
	give_terminal_back();
	delscreen(terminal);
	family_free(screen.family, screen.family_count);
	family_heaps_finish(&screen.heaps);
	take_signals(&screen, before, false);
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

bool top_screen_run(struct top *top, uint32_t pid, struct launch *program, uint64_t interval_ns, struct error *error)
{
	(void)top;
	(void)pid;
	(void)program;
	(void)interval_ns;
	return fail(error, STATUS_USAGE, "this sctmem was built without ncursesw, which the interactive top needs: "
		"use top --once, or build it where libncurses-dev is installed");
}

#endif
