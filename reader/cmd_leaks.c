/* SPDX-License-Identifier: MIT */
/*
 * sctmem leaks: what was never freed, by stack, largest first, with what the interpreter keeps by design set apart.
 *
 * A Python process ends with most of its modules, types, functions and constants alive; they drown what the user
 * looks for.  They are told by their stacks, and shown as groups with their sums, so that list and groups together
 * are exactly the live bytes that every other view shows.
 */
#include <inttypes.h>
#include <string.h>

#include "calltree.h"
#include "formats/capture.h"
#include "json.h"
#include "memory.h"
#include "output.h"
#include "view.h"

enum keeper { KEEPER_PROGRAM, KEEPER_IMPORT, KEEPER_START, KEEPER_ARENA, KEEPER_COUNT };

static const struct { const char *word, *meaning; } keepers[] = {
	[KEEPER_PROGRAM] = { "program", "allocated by the program" },
	[KEEPER_IMPORT] = { "import",
		"kept by imports: modules, types, functions and constants of the standard library and packages" },
	[KEEPER_START] = { "interpreter",
		"kept by the interpreter: its start-up, and what it allocated outside any Python code" },
	[KEEPER_ARENA] = { "arena", "arenas of Python's allocator, whose blocks were not recorded" },
};

struct leaks {
	struct view view;
	uint64_t number, frames;
	bool all;
};

static const struct option_spec leaks_options[] = {
	OPTION_NUMBER('n', "number", "N", struct leaks, number, 0, UINT32_MAX, "stacks to list; 0: all (default 20)"),
	OPTION_NUMBER(0, "frames", "N", struct leaks, frames, 0, UINT32_MAX, "frames of each stack; 0: all (default 12)"),
	OPTION_FLAG('a', "all", struct leaks, all, "list what the interpreter keeps by design too, not its sum only"),
	OPTION_LAST
};

static const struct option_group leaks_groups[] = {
	VIEW_SELECTION(offsetof(struct leaks, view)),
	{ .title = "Stacks", .options = leaks_options },
	VIEW_OUTPUT_JSON(offsetof(struct leaks, view)),
	{ 0 }
};

struct held { uint64_t bytes, count; };

/* One stack in one group. */
struct leak {
	uint32_t node;                /* of the calltree */
	enum keeper keeper;
	struct held held;
};

struct report {
	const struct leaks *settings;
	const struct profile *profile;
	const struct calltree *tree;
	struct leak *leaks; size_t count, capacity;
	struct held sums[KEEPER_COUNT], all;
};

/* What the frames from the root to a node say. */
enum path_flag {
	PATH_PYTHON = 1 << 0,         /* a Python frame */
	PATH_INTERPRETER = 1 << 1,    /* a native frame of the runtime */
	PATH_IMPORT = 1 << 2,         /* an import is going on, and since then only library code: the user's own module
	                                 bodies are his program, not the interpreter's */
	PATH_USER = 1 << 3,           /* a Python frame that is neither the library's nor the import system's */
	PATH_SITE = 1 << 4,           /* the start-up's site module, before any user code: .pth files run under it */
};

static bool is_site(const char *file)
{
	size_t size = strlen(file);

	return strcmp(file, "<frozen site>") == 0 || (size > 8 && strcmp(file + size - 8, "/site.py") == 0);
}

static uint8_t *walk_paths(const struct profile *profile)
{
	uint8_t *paths = memory_new(profile->node_count, 1);

	for (uint32_t i = 1; i < profile->node_count; i++) {
		const struct frame *frame = &profile->frames[profile->nodes[i].frame];
		uint8_t path = paths[profile->nodes[i].parent];

		if (frame->kind == FRAME_PYTHON) {
			path |= PATH_PYTHON;
			if (!(path & PATH_USER) && is_site(frame->file))
				path |= PATH_SITE;
			if (frame->flags & FRAME_IMPORT || strcmp(frame->file, "<frozen zipimport>") == 0)
				path |= PATH_IMPORT;
			else if (!(frame->flags & FRAME_LIBRARY))
				path = (uint8_t)((path & ~PATH_IMPORT) | PATH_USER);
		} else if (frame->flags & FRAME_INTERPRETER) {
			path |= PATH_INTERPRETER;
		}
		paths[i] = path;
	}
	return paths;
}

static enum keeper keeper_of(uint8_t path, const struct site *site)
{
	if (site->domain == DOMAIN_ARENA)
		return KEEPER_ARENA;
	if (path & PATH_SITE || (!(path & PATH_PYTHON) && (path & PATH_INTERPRETER)))
		return KEEPER_START;
	if (path & PATH_IMPORT)
		return KEEPER_IMPORT;
	return KEEPER_PROGRAM;
}

static int compare_leaks(const void *a, const void *b)
{
	const struct leak *x = a, *y = b;

	if (x->held.bytes != y->held.bytes)
		return x->held.bytes > y->held.bytes ? -1 : 1;
	if (x->held.count != y->held.count)
		return x->held.count > y->held.count ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

static void hold(struct held *held, const struct cost *cost)
{
	held->bytes += cost->live_bytes;
	held->count += cost->live_count;
}

static void collect(struct report *report)
{
	const struct profile *profile = report->profile;
	uint8_t *paths = walk_paths(profile);
	struct held *by_node = memory_new(report->tree->count, KEEPER_COUNT * sizeof *by_node);

	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];

		if (!profile_counts(profile, site))
			continue;

		enum keeper keeper = keeper_of(paths[site->node], site);

		hold(&by_node[report->tree->node_of[site->node] * (size_t)KEEPER_COUNT + keeper], &site->cost);
		hold(&report->sums[keeper], &site->cost);
		hold(&report->all, &site->cost);
	}
	for (size_t i = 0; i < (size_t)report->tree->count * KEEPER_COUNT; i++) {
		enum keeper keeper = (enum keeper)(i % KEEPER_COUNT);

		if (by_node[i].count == 0 || (keeper != KEEPER_PROGRAM && !report->settings->all))
			continue;
		report->leaks = memory_grow(report->leaks, &report->capacity, report->count + 1, sizeof *report->leaks);
		report->leaks[report->count++] = (struct leak){
			.node = (uint32_t)(i / KEEPER_COUNT), .keeper = keeper, .held = by_node[i],
		};
	}
	if (report->count > 1)
		qsort(report->leaks, report->count, sizeof *report->leaks, compare_leaks);
	free(by_node);
	free(paths);
}

static void print_stack(const struct report *report, const struct text *text, uint32_t node)
{
	const struct calltree *tree = report->tree;
	uint64_t shown = 0, left = 0;
	char name[VIEW_FRAME_SIZE];

	if (node == 0)
		fputs("      <no stack>\n", text->file);
	for (; node != 0; node = tree->nodes[node].parent) {
		if (report->settings->frames && shown == report->settings->frames) {
			left++;
			continue;
		}
		shown++;
		fputs("      ", text->file);
		text_write(text, view_frame_text(name, sizeof name, &report->profile->frames[tree->nodes[node].frame]),
			text->width > 30 ? text->width - 6 : 0);
		putc('\n', text->file);
	}
	if (left)
		fprintf(text->file, "      ... %" PRIu64 " more frames; --frames 0 shows all\n", left);
}

static void print_sum(const struct text *text, const struct report *report, struct held held, const char *meaning)
{
	fprintf(text->file, "  %10s  %7s  %13s blocks  %s\n", text_bytes(held.bytes).text,
		text_percent(held.bytes, report->all.bytes).text, text_count(held.count).text, meaning);
}

static void print_text(const struct report *report, FILE *file, size_t number)
{
	struct text text = text_begin(file);
	bool ended = true;

	for (uint32_t i = 0; i < report->profile->capture_count; i++)
		ended = ended && report->profile->captures[i].state == CAPTURE_EXITED;
	text_heading(&text, "Memory %s: %s in %s blocks", metric_title(METRIC_LIVE, &report->settings->view),
		text_bytes(report->all.bytes).text, text_count(report->all.count).text);
	if (!ended)
		fputs("The program did not end by itself: this is what it held when the recording ended.\n", file);
	putc('\n', file);
	for (int keeper = KEEPER_PROGRAM; keeper < KEEPER_COUNT; keeper++)
		if (report->sums[keeper].count || keeper == KEEPER_PROGRAM)
			print_sum(&text, report, report->sums[keeper], keepers[keeper].meaning);
	print_sum(&text, report, report->all, "all");
	for (size_t i = 0; i < number; i++) {
		const struct leak *leak = &report->leaks[i];
		double share = report->all.bytes ? (double)leak->held.bytes / (double)report->all.bytes : 0;

		putc('\n', file);
		text_style(&text, TEXT_BOLD);
		fprintf(file, "%s", text_bytes(leak->held.bytes).text);
		text_style(&text, TEXT_PLAIN);
		fprintf(file, " in %s block%s, ", text_count(leak->held.count).text, leak->held.count == 1 ? "" : "s");
		text_style(&text, text_share_style(share));
		fputs(text_percent(leak->held.bytes, report->all.bytes).text, file);
		text_style(&text, TEXT_PLAIN);
		fprintf(file, "%s%s\n", leak->keeper == KEEPER_PROGRAM ? "" : ", kept by design: ",
			leak->keeper == KEEPER_PROGRAM ? "" : keepers[leak->keeper].word);
		print_stack(report, &text, leak->node);
	}
	if (number < report->count) {
		struct held rest = { 0 };

		for (size_t i = number; i < report->count; i++) {
			rest.bytes += report->leaks[i].held.bytes;
			rest.count += report->leaks[i].held.count;
		}
		fprintf(file, "\n%s more stacks hold %s in ", text_count(report->count - number).text,
			text_bytes(rest.bytes).text);
		fprintf(file, "%s blocks; -n 0 lists all\n", text_count(rest.count).text);
	}
	view_print_warnings(report->profile, &text);
}

static void write_held(struct json *json, struct held held)
{
	json_number(json, "bytes", held.bytes);
	json_number(json, "count", held.count);
}

static void write_json(const struct report *report, FILE *file, size_t number)
{
	struct json json = json_begin(file, false);
	const struct calltree *tree = report->tree;
	char name[VIEW_FRAME_SIZE];

	json_object(&json, NULL);
	json_object(&json, "total");
	write_held(&json, report->all);
	json_object_end(&json);
	json_object(&json, "groups");
	for (int keeper = KEEPER_PROGRAM; keeper < KEEPER_COUNT; keeper++) {
		json_object(&json, keepers[keeper].word);
		write_held(&json, report->sums[keeper]);
		json_object_end(&json);
	}
	json_object_end(&json);
	json_number(&json, "stack_count", report->count);
	json_array(&json, "leaks");
	for (size_t i = 0; i < number; i++) {
		json_object(&json, NULL);
		write_held(&json, report->leaks[i].held);
		json_text(&json, "group", keepers[report->leaks[i].keeper].word);
		json_array(&json, "stack");
		for (uint32_t node = report->leaks[i].node; node != 0; node = tree->nodes[node].parent)
			json_text(&json, NULL, view_frame_location(name, sizeof name,
				&report->profile->frames[tree->nodes[node].frame]));
		json_array_end(&json);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
}

static bool leaks_run(struct invocation *invocation, struct error *error)
{
	struct leaks settings = { .view = VIEW_DEFAULT, .number = 20, .frames = 12 };
	struct profile *profile = NULL;
	struct output output = { 0 };
	struct calltree tree = { 0 };
	struct report report = { .settings = &settings, .tree = &tree };
	bool done = false;

	if (!command_parse(invocation, &settings, error) ||
		!output_open(&output, settings.view.output, settings.view.force, error) ||
		!view_load(&settings.view, invocation, true, 0, &profile, error))
		goto out;
	calltree_init(&tree, profile, settings.view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	report.profile = profile;
	collect(&report);

	size_t number = settings.number && settings.number < report.count ? (size_t)settings.number : report.count;

	if (settings.view.json)
		write_json(&report, output.file, number);
	else
		print_text(&report, output.file, number);
	done = output_commit(&output, error);
out:
	free(report.leaks);
	calltree_finish(&tree);
	profile_free(profile);
	output_close(&output);
	return done;
}

static const struct command_example leaks_examples[] = {
	{ "sctmem leaks", "what the newest capture's program never freed" },
	{ "sctmem leaks --file myproject -n 5", "the five largest with a frame in myproject" },
	{ "sctmem leaks --time 60.. --at 5m", "allocated after the first minute and still there after five" },
	{ "sctmem leaks --all --json > leaks.json", "everything, for a script" },
	{ 0 }
};

const struct command leaks_command = {
	.name = "leaks",
	.summary = "list what was never freed, by stack",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Lists the stacks that allocated what was still live at the end, the largest first, each with the innermost "
		"frame first. The figures add up to the live memory that sctmem stats prints.\n\n"
		"What a Python interpreter keeps until its end by design is set apart as groups with their sums: what imports "
		"of the standard library and of packages created; what the interpreter's start-up (with the site module) and "
		"the interpreter outside any Python code allocated; arenas whose blocks were not recorded. The bodies of your "
		"own modules count as your program. --all lists the stacks of these groups too; -v shows the interpreter's "
		"own frames.",
	.groups = leaks_groups,
	.examples = leaks_examples,
	.run = leaks_run,
};
