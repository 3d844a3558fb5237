/* SPDX-License-Identifier: MIT */
/*
 * sctmem windows: the stretches of a run between a mark "begin NAME" and "end NAME" (a test, a request, a phase), each
 * measured by itself: its own peak, what it allocated, what of that was still live at its end.
 *
 * One pass over the capture measures all windows that do not overlap; nested ones take a pass for each level, at most
 * REPLAY_LEVELS_MAX.  A window's figures are those of `--from "begin NAME" --to "end NAME"` in every other verb.
 */
#include <inttypes.h>
#include <string.h>

#include "json.h"
#include "leaks.h"
#include "memory.h"
#include "output.h"
#include "view.h"

struct settings {
	struct view view;
	const char *name;
	uint64_t places, stacks, frames;
	bool own_thread, marks, by_stack;
};

static const struct option_spec windows_options[] = {
	OPTION_CUSTOM(0, "name", "REGEX", struct settings, name, const char *, view_parse_pattern, NULL,
		"only windows whose name matches (as in Perl)"),
	OPTION_FLAG(0, "own-thread", struct settings, own_thread, "only what the thread that began the window allocated"),
	OPTION_FLAG(0, "marks", struct settings, marks, "list the marks instead, all of them"),
	OPTION_NUMBER('n', "number", "N", struct settings, places, 0, UINT32_MAX,
		"places that weigh most at its peak, for each window (default 0)"),
	OPTION_FLAG(0, "by-stack", struct settings, by_stack, "-n counts whole stacks instead of places"),
	OPTION_NUMBER(0, "kept", "N", struct settings, stacks, 0, UINT32_MAX,
		"stacks of what it kept, for each window, largest first (default 0)"),
	OPTION_NUMBER(0, "frames", "N", struct settings, frames, 0, UINT32_MAX, "frames of each stack; 0: all (default 12)"),
	OPTION_LAST
};

static const struct option_group windows_groups[] = {
	VIEW_SELECTION(offsetof(struct settings, view)),
	{ .title = "Windows", .options = windows_options },
	VIEW_OUTPUT_JSON(offsetof(struct settings, view)),
	{ 0 }
};

/* Where the sites of a window were allocated: a frame of the profile, and with --by-stack a node of the calltree. */
struct place { uint32_t frame, node; struct cost cost; };

static int compare_names(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->frame != y->frame)
		return x->frame < y->frame ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

static int compare_peaks(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->cost.peak_bytes != y->cost.peak_bytes)
		return x->cost.peak_bytes > y->cost.peak_bytes ? -1 : 1;
	if (x->cost.total_bytes != y->cost.total_bytes)
		return x->cost.total_bytes > y->cost.total_bytes ? -1 : 1;
	return compare_names(a, b);
}

static struct place *find_places(const struct calltree *tree, const struct profile_window *window, bool by_stack,
	size_t *count)
{
	const struct profile *profile = tree->profile;
	struct place *places = memory_new(window->site_count, sizeof *places);
	size_t found = 0;

	*count = 0;
	for (size_t i = window->site_first; i < window->site_first + window->site_count; i++) {
		const struct site *site = &profile->sites[i];

		if (!profile_counts(profile, site))
			continue;

		uint32_t node = tree->node_of[site->node];

		places[found].frame = (uint32_t)(calltree_location(tree, node) - profile->frames);
		places[found].node = by_stack ? node : 0;
		places[found++].cost = site->cost;
	}
	if (found > 1)
		qsort(places, found, sizeof *places, compare_names);
	for (size_t i = 0; i < found; i++) {
		if (*count && compare_names(&places[*count - 1], &places[i]) == 0)
			cost_add(&places[*count - 1].cost, &places[i].cost);
		else
			places[(*count)++] = places[i];
	}
	if (*count > 1)
		qsort(places, *count, sizeof *places, compare_peaks);
	return places;
}

/* One level's windows, and what is written of them. */
struct level {
	const struct settings *settings;
	const struct profile *profile;
	struct calltree tree;
	struct leak_rules rules;
	unsigned number;
};

/* A figure, and of a sample the interval behind it. */
static void add_bytes(const struct profile *profile, const struct profile_window *window, enum metric metric,
	struct text_table *table)
{
	text_table_add(table, TEXT_PLAIN, text_bytes(metric_bytes(&window->total, metric)).text);
	if (profile->sample_mean_bytes)
		text_table_add(table, TEXT_DIM, view_interval(view_bytes_interval(profile, metric, &window->total,
			&window->total_spread), true).text);
}

static void add_row(const struct profile *profile, const struct profile_window *window, struct text_table *table)
{

	text_table_add(table, TEXT_PLAIN, text_time(window->from_ns).text);
	text_table_add(table, TEXT_PLAIN, window->closed ? text_time(window->to_ns - window->from_ns).text : "not ended");
	add_bytes(profile, window, METRIC_PEAK, table);
	add_bytes(profile, window, METRIC_TOTAL, table);
	text_table_add(table, TEXT_PLAIN, text_count(window->total.total_count).text);
	add_bytes(profile, window, METRIC_LIVE, table);
	text_table_add(table, TEXT_PLAIN, window->name);
}

static void print_stack(const struct level *level, uint32_t node, const struct text *text)
{
	const struct calltree *tree = &level->tree;
	char name[VIEW_FRAME_SIZE];
	uint64_t shown = 0;

	for (; node != 0; node = tree->nodes[node].parent, shown++)
		if (!level->settings->frames || shown < level->settings->frames) {
			fputs("      ", text->file);
			text_write(text, view_frame_text(name, sizeof name, &level->profile->frames[tree->nodes[node].frame]),
				text->width > 30 ? text->width - 6 : 0);
			putc('\n', text->file);
		}
}

static void write_stack(struct json *json, const struct level *level, uint32_t node)
{
	const struct calltree *tree = &level->tree;
	char name[VIEW_FRAME_SIZE];
	uint64_t shown = 0;

	json_array(json, "stack");
	for (; node != 0; node = tree->nodes[node].parent, shown++)
		if (!level->settings->frames || shown < level->settings->frames)
			json_text(json, NULL,
				view_frame_location(name, sizeof name, &level->profile->frames[tree->nodes[node].frame]));
	json_array_end(json);
}

static void print_place_stacks(const struct level *level, const struct place *places, size_t count,
	const struct text *text)
{
	for (size_t i = 0; i < count && i < level->settings->places && places[i].cost.peak_bytes; i++) {
		fprintf(text->file, "  %s in ", text_bytes(places[i].cost.peak_bytes).text);
		fprintf(text->file, "%s blocks\n", text_count(places[i].cost.peak_count).text);
		print_stack(level, places[i].node, text);
	}
}

static void print_places(const struct level *level, const struct profile_window *window, const struct text *text)
{
	static const struct text_column columns[] = { { "", true }, { "", true }, { "", false } };
	struct text_table table = TEXT_TABLE(columns);
	char name[VIEW_FRAME_SIZE];
	size_t count;
	struct place *places = find_places(&level->tree, window, level->settings->by_stack, &count);

	if (level->settings->by_stack) {
		print_place_stacks(level, places, count, text);
		free(places);
		return;
	}
	for (size_t i = 0; i < count && i < level->settings->places && places[i].cost.peak_bytes; i++) {
		text_table_add(&table, TEXT_PLAIN, text_bytes(places[i].cost.peak_bytes).text);
		text_table_add(&table, TEXT_PLAIN, text_percent(places[i].cost.peak_bytes, window->total.peak_bytes).text);
		text_table_add(&table, TEXT_PLAIN,
			view_frame_text(name, sizeof name, &level->profile->frames[places[i].frame]));
	}
	text_table_print(&table, text, "  ");
	text_table_finish(&table);
	free(places);
}

static void print_kept(const struct level *level, const struct profile_window *window, const struct text *text)
{
	struct leaks leaks;

	leaks_init(&leaks, &level->tree, &level->rules, window->site_first, window->site_count);
	for (size_t i = 0; i < leaks.count && i < level->settings->stacks; i++) {
		const struct leak *leak = &leaks.list[i];

		fprintf(text->file, "  kept %s in ", text_bytes(leak->held.bytes).text);
		fprintf(text->file, "%s blocks, %s\n", text_count(leak->held.count).text, keeper_word(leak->keeper));
		print_stack(level, leak->node, text);
	}
	leaks_finish(&leaks);
}

static void print_level(const struct level *level, const struct text *text)
{
	static const struct text_column columns[] = {
		{ "start", true }, { "time", true }, { "peak", true }, { "total", true }, { "allocations", true },
		{ "kept", true }, { "window", false },
	};
	static const struct text_column sampled[] = {
		{ "start", true }, { "time", true }, { "peak", true }, { "95 % interval", true }, { "total", true },
		{ "95 % interval", true }, { "allocations", true }, { "kept", true }, { "95 % interval", true },
		{ "window", false },
	};
	const struct profile *profile = level->profile;
	struct text_table table = TEXT_TABLE_EITHER(profile->sample_mean_bytes, sampled, columns);

	if (level->number > 0)
		fprintf(text->file, "\nwithin %u other%s:\n", level->number, level->number == 1 ? "" : "s");
	for (uint32_t i = 0; i < profile->window_count; i++)
		add_row(profile, &profile->windows[i], &table);
	text_table_print(&table, text, "");
	text_table_finish(&table);
	for (uint32_t i = 0; i < profile->window_count; i++) {
		const struct profile_window *window = &profile->windows[i];

		if (!level->settings->places && !level->settings->stacks)
			break;
		putc('\n', text->file);
		text_style(text, TEXT_BOLD);
		text_write(text, window->name, 0);
		text_style(text, TEXT_PLAIN);
		fprintf(text->file, ": peak %s\n", text_bytes(window->total.peak_bytes).text);
		if (level->settings->places)
			print_places(level, window, text);
		if (level->settings->stacks)
			print_kept(level, window, text);
	}
}

static void write_sum(struct json *json, const char *key, uint64_t bytes, uint64_t count)
{
	json_object(json, key);
	json_number(json, "bytes", bytes);
	json_number(json, "count", count);
	json_object_end(json);
}

static void write_places(struct json *json, const struct level *level, const struct profile_window *window)
{
	char name[VIEW_FRAME_SIZE];
	size_t count;
	struct place *places = find_places(&level->tree, window, level->settings->by_stack, &count);

	json_array(json, "places");
	for (size_t i = 0; i < count && i < level->settings->places; i++) {
		json_object(json, NULL);
		json_text(json, "location",
			view_frame_location(name, sizeof name, &level->profile->frames[places[i].frame]));
		json_number(json, "peak_bytes", places[i].cost.peak_bytes);
		json_number(json, "peak_count", places[i].cost.peak_count);
		json_number(json, "total_bytes", places[i].cost.total_bytes);
		json_number(json, "total_count", places[i].cost.total_count);
		if (level->settings->by_stack)
			write_stack(json, level, places[i].node);
		json_object_end(json);
	}
	json_array_end(json);
	free(places);
}

static void write_kept(struct json *json, const struct level *level, const struct profile_window *window)
{
	struct leaks leaks;

	leaks_init(&leaks, &level->tree, &level->rules, window->site_first, window->site_count);
	json_object(json, "groups");
	for (int keeper = 0; keeper < KEEPER_COUNT; keeper++) {
		json_object(json, keeper_word((enum keeper)keeper));
		leaks_write_held(json, level->profile, &leaks.sums[keeper]);
		json_object_end(json);
	}
	json_object_end(json);
	json_number(json, "stack_count", leaks.count);
	json_array(json, "leaks");
	for (size_t i = 0; i < leaks.count && i < level->settings->stacks; i++) {
		json_object(json, NULL);
		leaks_write_held(json, level->profile, &leaks.list[i].held);
		json_text(json, "group", keeper_word(leaks.list[i].keeper));
		write_stack(json, level, leaks.list[i].node);
		json_object_end(json);
	}
	json_array_end(json);
	leaks_finish(&leaks);
}

static void write_level(struct json *json, const struct level *level)
{
	for (uint32_t i = 0; i < level->profile->window_count; i++) {
		const struct profile_window *window = &level->profile->windows[i];

		json_object(json, NULL);
		json_text(json, "name", window->name);
		json_number(json, "level", level->number);
		json_bool(json, "closed", window->closed);
		json_decimal(json, "start_s", (double)window->from_ns / 1e9, 9);
		json_decimal(json, "end_s", (double)window->to_ns / 1e9, 9);
		write_sum(json, "peak", window->total.peak_bytes, window->total.peak_count);
		write_sum(json, "total", window->total.total_bytes, window->total.total_count);
		write_sum(json, "temporary", window->total.temporary_bytes, window->total.temporary_count);
		write_sum(json, "kept", window->total.live_bytes, window->total.live_count);
		if (level->profile->sample_mean_bytes)
			view_write_spread(json, "interval_95", level->profile, &window->total, &window->total_spread);
		write_kept(json, level, window);
		write_places(json, level, window);
		json_object_end(json);
	}
}

static void write_marks(const struct profile *profile, FILE *file, bool as_json)
{
	struct json json = json_begin(file, false);
	struct text text = text_begin(file);

	if (as_json) {
		json_object(&json, NULL);
		json_array(&json, "marks");
	}
	for (uint32_t i = 0; i < profile->mark_count; i++) {
		if (as_json) {
			json_object(&json, NULL);
			json_decimal(&json, "time_s", (double)profile->marks[i].time_ns / 1e9, 9);
			json_text(&json, "name", profile->marks[i].name);
			json_object_end(&json);
			continue;
		}
		fprintf(file, "%12s  ", text_time(profile->marks[i].time_ns).text);
		text_write(&text, profile->marks[i].name, 0);
		putc('\n', file);
	}
	if (as_json) {
		json_array_end(&json);
		json_object_end(&json);
	}
}

/* What is the same for all levels, at the end. */
static void finish_report(const struct settings *settings, const struct profile *profile, struct json *json,
	const struct text *text)
{
	if (settings->view.json) {
		json_array_end(json);
		json_number(json, "levels", profile->window_levels);
		json_number(json, "windows_not_measured", profile->windows_deeper);
		view_write_sample(json, profile);
		json_object_end(json);
		return;
	}
	if (profile->window_levels == 0)
		fputs("no window: a program makes them with the marks \"begin NAME\" and \"end NAME\" (sctmem_mark)\n", text->file);
	if (profile->windows_deeper)
		fprintf(text->file, "%s windows within too many others were not measured\n",
			text_count(profile->windows_deeper).text);
	view_print_warnings(profile, text);
}

static bool write_windows(struct settings *settings, struct invocation *invocation, FILE *file, struct error *error)
{
	struct suppressions none = { 0 };
	struct json json = json_begin(file, false);
	struct text text = text_begin(file);
	unsigned levels = 1;

	if (settings->view.json) {
		json_object(&json, NULL);
		json_array(&json, "windows");
	}
	for (unsigned number = 0; number < levels; number++) {
		struct level level = { .settings = settings, .number = number };
		struct profile *profile = NULL;

		settings->view.window_level = number;
		if (!view_load(&settings->view, invocation, true, 0, &profile, error))
			return false;
		levels = profile->window_levels;
		level.profile = profile;
		calltree_init(&level.tree, profile, settings->view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
		leak_rules_init(&level.rules, profile, &none);
		if (settings->view.json)
			write_level(&json, &level);
		else if (levels > 0)
			print_level(&level, &text);
		if (number + 1 >= levels)
			finish_report(settings, profile, &json, &text);
		leak_rules_finish(&level.rules);
		calltree_finish(&level.tree);
		profile_free(profile);
	}
	return true;
}

static bool windows_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .view = VIEW_DEFAULT, .frames = 12 };
	struct output output = { 0 };
	struct profile *profile = NULL;
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (settings.view.at.given || settings.view.from || settings.view.to)
		return fail(error, STATUS_USAGE, "windows says by itself from where to where: leave --at, --from and --to out");
	settings.view.windows = !settings.marks;
	settings.view.window_names = settings.name;
	settings.view.own_thread = settings.own_thread;
	if (!output_open(&output, settings.view.output, settings.view.force, error))
		goto out;
	if (!settings.marks)
		done = write_windows(&settings, invocation, output.file, error);
	else if ((done = view_load(&settings.view, invocation, false, 0, &profile, error)))
		write_marks(profile, output.file, settings.view.json);
	done = done && output_commit(&output, error);
out:
	profile_free(profile);
	output_close(&output);
	return done;
}

static const struct command_example windows_examples[] = {
	{ "sctmem windows", "peak, total and what was kept, for each window of the newest capture" },
	{ "sctmem windows --name '^test_io' -n 3", "those of some tests, with the three heaviest places of each" },
	{ "sctmem windows --kept 10 --json capture.bin", "for a script, with the stacks of what was kept" },
	{ "sctmem windows --marks", "the marks themselves" },
	{ 0 }
};

const struct command windows_command = {
	.name = "windows",
	.summary = "measure each stretch between a mark \"begin NAME\" and \"end NAME\" by itself",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"A program sets marks with sctmem_mark(). A window is what lies between a mark \"begin NAME\" and the next "
		"\"end NAME\": a test, a request, a phase. For each window this verb shows what it allocated, the peak of "
		"that, and what of it was still live at the window's end. What was there before does not count.\n\n"
		"Windows may overlap or lie in each other. The figures of a window are those that every other verb gives "
		"with --from 'begin NAME' --to 'end NAME'.",
	.groups = windows_groups,
	.examples = windows_examples,
	.run = windows_run,
};
