/* SPDX-License-Identifier: MIT */
/*
 * Marks in replay: where --from and --to begin and end what is looked at, where --at looks, and the windows between a
 * mark "begin NAME" and "end NAME", each of which is measured by itself in one pass over the events.
 *
 *     level 0   |--- test_a ----------|   |--- test_b ---|
 *     level 1        |- load -|                            a pass measures the windows of one level
 *
 * Windows may overlap in any way (threads, trace() within a test): one that begins takes the lowest level that is
 * free.  On a level they follow one another, so a block belongs to at most one window, by its site.
 */
#include "replay_cost.h"

#include <stdlib.h>
#include <string.h>

static void apply(struct replay *replay, bool in_marks)
{
	replay->in_marks = in_marks;
	replay->recording = replay->in_time && in_marks;
}

static void mark_range(struct replay *replay, const char *name)
{
	const struct replay_options *options = &replay->options;

	if (options->at_mark && !replay->at_mark_seen && strcmp(name, options->at_mark) == 0) {
		replay_take_live(replay);
		replay->at_mark_seen = true;
		replay->at_time_ns = replay->now_ns;
	}
	if (options->to_mark && replay->in_marks && strcmp(name, options->to_mark) == 0) {
		apply(replay, false);
		replay->marks_ended = true;
		/* The end of what is looked at is here, where nothing else was asked for. */
		if (options->at_ns == UINT64_MAX && options->at_to_mark && !replay->at_taken) {
			replay_take_live(replay);
			replay->at_time_ns = replay->now_ns;
		}
	} else if (options->from_mark && !replay->from_seen && strcmp(name, options->from_mark) == 0) {
		replay->from_seen = true;
		apply(replay, true);
	}
}

/* Keeps the window's sites as they are now; in their old place they go on without a code, and count for nothing. */
static bool close_window(struct replay *replay, bool seen)
{
	struct replay_window *window = &replay->windows[replay->window_count - 1];
	const size_t needed = 1 + replay->ended_count + replay->site_count - window->site_first;

	if (!array_reserve(&replay->ended_sites, &replay->ended_capacity, needed, sizeof(*replay->ended_sites),
		replay->error) ||
	    !array_reserve(&replay->ended_extras, &replay->ended_extra_capacity, needed, sizeof(*replay->ended_extras),
		replay->error))
		return false;
	if (replay->spreads && !array_reserve(&replay->ended_spreads, &replay->ended_spread_capacity, needed,
		sizeof(*replay->ended_spreads), replay->error))
		return false;
	if (replay->ended_count == 0)
		replay->ended_count = 1;      /* number 0 stays the site of nothing */
	for (size_t i = window->site_first; i < replay->site_count; i++) {
		struct replay_site *site = &replay->sites[i];
		struct replay_site_extra *extra = &replay->ended_extras[replay->ended_count];

		replay_touch(replay, site);
		if (replay->spreads) {
			replay->ended_spreads[replay->ended_count] = replay->spreads[i];
			replay->ended_spreads[replay->ended_count].at = replay->spreads[i].live;
		}
		replay->ended_sites[replay->ended_count++] = *site;
		*extra = replay->extras[i];
		extra->at_bytes = site->live_bytes;
		extra->at_count = site->live_count;
		site->key &= ~(uint64_t)0 >> 8;
	}
	window->site_end = (uint32_t)replay->ended_count;
	window->to_ns = replay->now_ns;
	window->peak_time_ns = replay->peak_time_ns;
	window->closed = seen;
	apply(replay, false);
	return true;
}

static bool open_window(struct replay *replay, struct replay_thread *thread, const char *name)
{
	if (!array_reserve(&replay->windows, &replay->window_capacity, replay->window_count + 1, sizeof(*replay->windows),
		replay->error))
		return false;
	replay->windows[replay->window_count++] = (struct replay_window){ .name = name, .from_ns = replay->now_ns,
		.site_first = (uint32_t)replay->site_count };
	map64_finish(&replay->site_by_key);
	if (!map64_init(&replay->site_by_key, 64, replay->error))
		return false;
	memset(replay->memo, 0, sizeof(replay->memo));
	replay->counted_bytes = replay->peak_bytes = 0;
	replay->peak_time_ns = replay->now_ns;
	replay->interval_max_bytes = 0;
	memset(replay->domain_bytes, 0, sizeof(replay->domain_bytes));
	replay->epoch++;
	for (size_t i = 0; replay->options.own_thread && i < replay->thread_count; i++)
		replay->threads[i].left_out = &replay->threads[i] != thread;
	apply(replay, true);
	return true;
}

/* The innermost open window of that name, this thread's own before another's; REPLAY_LEVELS_MAX: none. */
static unsigned find_open(const struct replay *replay, uint32_t thread, const char *name)
{
	unsigned found = REPLAY_LEVELS_MAX;

	for (unsigned level = REPLAY_LEVELS_MAX; level-- > 0;) {
		if (!replay->open[level] || strcmp(replay->open[level], name) != 0)
			continue;
		if (replay->open_threads[level] == thread)
			return level;
		if (found == REPLAY_LEVELS_MAX)
			found = level;
	}
	return found;
}

static bool mark_window(struct replay *replay, struct replay_thread *thread, const char *mark)
{
	const bool begins = strncmp(mark, "begin ", 6) == 0;
	const char *name = mark + (begins ? 6 : 4);
	unsigned level = 0;
	bool wanted = true;

	if (!begins && strncmp(mark, "end ", 4) != 0)
		return true;
	if (replay->options.window_names && !expression_matches(replay->options.window_names, name, &wanted, replay->error))
		return false;
	if (!wanted)
		return true;
	if (begins) {
		while (level < REPLAY_LEVELS_MAX && replay->open[level])
			level++;
		if (level == REPLAY_LEVELS_MAX) {
			replay->windows_deeper++;
			return true;
		}
		replay->open[level] = name;
		replay->open_threads[level] = (uint32_t)(thread - replay->threads);
		if (level + 1 > replay->level_count)
			replay->level_count = level + 1;
		return level != replay->options.window_level || open_window(replay, thread, name);
	}
	level = find_open(replay, (uint32_t)(thread - replay->threads), name);
	if (level == REPLAY_LEVELS_MAX)
		return true;
	replay->open[level] = NULL;
	return level != replay->options.window_level || close_window(replay, true);
}

bool replay_mark(struct replay *replay, struct replay_process *process, struct replay_thread *thread, uint64_t number)
{
	const char *name = capture_mark_name(process->capture, number);

	process->events--;            /* it is none of the program's */
	if (replay->options.windows)
		return mark_window(replay, thread, name);
	if (replay->options.from_mark || replay->options.to_mark || replay->options.at_mark)
		mark_range(replay, name);
	return true;
}

bool replay_end_windows(struct replay *replay)
{
	if (replay->options.window_level < REPLAY_LEVELS_MAX && replay->open[replay->options.window_level] &&
	    !close_window(replay, false))
		return false;
	free(replay->sites);
	free(replay->extras);
	free(replay->spreads);
	replay->spreads = replay->ended_spreads;
	replay->ended_spreads = NULL;
	replay->sites = replay->ended_sites;
	replay->extras = replay->ended_extras;
	replay->site_count = replay->ended_count;
	replay->ended_sites = NULL;
	replay->ended_extras = NULL;
	return true;
}
