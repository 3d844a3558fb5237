/* SPDX-License-Identifier: MIT */
/*
 * sctmem tree: the stacks as a tree of text, the biggest first, readable in a pipe.
 *
 *     100.0 %  10.0 MiB  <all>
 *      60.0 %   6.0 MiB  ├─ main (app.py:10)
 *                        │  load (app.py:20)          one callee that matters: no deeper
 *      40.0 %   4.0 MiB  │  ├─ parse (json.py:3)
 *
 * It shows the stacks of the N biggest places (-b) and says what it left out.
 */
#include <inttypes.h>
#include <string.h>

#include "calltree.h"
#include "json.h"
#include "memory.h"
#include "output.h"
#include "view.h"

enum { TREE_LEVELS_MAX = 400 };   /* of branches, chains not counted; deeper ones are cut and said */

struct tree_settings {
	struct view view;
	uint64_t biggest, depth;
	double min_percent;
};

static bool parse_percent(const char *value, void *field, struct error *error)
{
	char *end;
	double percent = strtod(value, &end);

	if (end == value || *end || !(percent >= 0) || percent > 100)
		return fail(error, STATUS_USAGE, "not a number from 0 to 100");
	*(double *)field = percent;
	return true;
}

static const struct option_spec tree_options[] = {
	OPTION_NUMBER('b', "biggest", "N", struct tree_settings, biggest, 1, UINT32_MAX,
		"stacks of the N biggest places (default 200)"),
	OPTION_NUMBER('d', "depth", "N", struct tree_settings, depth, 1, TREE_LEVELS_MAX,
		"levels of branches; straight lines count as one"),
	OPTION_CUSTOM(0, "min-percent", "P", struct tree_settings, min_percent, double, parse_percent, NULL,
		"leave out what is less than P percent of all (default 0.5)"),
	OPTION_LAST
};

static const struct option_group tree_groups[] = {
	VIEW_SELECTION(offsetof(struct tree_settings, view)),
	VIEW_METRIC(offsetof(struct tree_settings, view)),
	{ .title = "Pruning", .options = tree_options },
	VIEW_OUTPUT_JSON(offsetof(struct tree_settings, view)),
	{ 0 }
};

struct printer {
	const struct calltree *tree;
	const struct tree_settings *settings;
	enum metric metric;
	struct text text;
	struct json json;
	uint8_t *kept;                /* per node: on a path to one of the biggest places */
	uint64_t all, least;
	uint64_t pruned;              /* children that were left out */
	char prefix[TREE_LEVELS_MAX * 5 + 8];   /* the lines to the left; three columns a level, up to 5 bytes */
};

static uint64_t inclusive(const struct printer *printer, uint32_t node)
{
	return metric_bytes(&printer->tree->inclusive[node], printer->metric);
}

static int compare_own(const void *a, const void *b, void *context)
{
	const struct printer *printer = context;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	uint64_t left = metric_bytes(&printer->tree->own[x], printer->metric);
	uint64_t right = metric_bytes(&printer->tree->own[y], printer->metric);

	return left != right ? (left > right ? -1 : 1) : (x > y) - (x < y);
}

/* Marks the biggest places and all that leads to them. */
static void keep_biggest(struct printer *printer)
{
	const struct calltree *tree = printer->tree;
	uint32_t *order = memory_new(tree->count, sizeof *order);

	printer->kept = memory_new(tree->count, 1);
	for (uint32_t i = 0; i < tree->count; i++)
		order[i] = i;
	qsort_r(order, tree->count, sizeof *order, compare_own, printer);
	for (uint32_t i = 0; i < tree->count && i < printer->settings->biggest; i++)
		if (metric_bytes(&tree->own[order[i]], printer->metric) > 0)
			for (uint32_t node = order[i]; !printer->kept[node]; node = tree->nodes[node].parent)
				printer->kept[node] = 1;
	printer->kept[0] = 1;
	free(order);
}

static int compare_inclusive(const void *a, const void *b, void *context)
{
	const struct printer *printer = context;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	uint64_t left = inclusive(printer, x), right = inclusive(printer, y);

	return left != right ? (left > right ? -1 : 1) : (x > y) - (x < y);
}

/* The children to show, biggest first; *list is to be freed.  What is left out is counted. */
static size_t take_children(struct printer *printer, uint32_t node, uint32_t **list)
{
	const struct calltree *tree = printer->tree;
	size_t count = 0, capacity = 0;

	*list = NULL;
	for (uint32_t child = tree->nodes[node].first_child; child; child = tree->nodes[child].next_sibling) {
		uint64_t bytes = inclusive(printer, child);

		if (bytes == 0)
			continue;
		if (!printer->kept[child] || bytes < printer->least) {
			printer->pruned++;
			continue;
		}
		*list = memory_grow(*list, &capacity, count + 1, sizeof **list);
		(*list)[count++] = child;
	}
	if (count > 1)
		qsort_r(*list, count, sizeof **list, compare_inclusive, printer);
	return count;
}

/* How wide the column of intervals is; 0: there is none, since all figures are exact. */
static unsigned interval_width(const struct printer *printer)
{
	return printer->tree->own_spreads ? 24 : 0;
}

static void print_line(struct printer *printer, uint32_t node, const char *branch, bool figures)
{
	const struct text *text = &printer->text;
	const struct frame *frame = &printer->tree->profile->frames[printer->tree->nodes[node].frame];
	uint64_t bytes = inclusive(printer, node);
	uint64_t own = metric_bytes(&printer->tree->own[node], printer->metric);
	char name[VIEW_FRAME_SIZE];
	size_t room = 0;

	if (figures) {
		text_style(text, text_share_style(printer->all ? (double)bytes / (double)printer->all : 0));
		fprintf(text->file, "%8s %10s", text_percent(bytes, printer->all).text, text_bytes(bytes).text);
		text_style(text, TEXT_PLAIN);
	} else {
		fprintf(text->file, "%19s", "");
	}
	if (interval_width(printer)) {
		text_style(text, TEXT_DIM);
		fprintf(text->file, "%*s", (int)interval_width(printer), figures ? view_interval(view_bytes_interval(
			printer->tree->profile, printer->metric, &printer->tree->inclusive[node],
			&printer->tree->inclusive_spreads[node]), true).text : "");
		text_style(text, TEXT_PLAIN);
	}
	fprintf(text->file, " %10s  ", own ? text_bytes(own).text : "");
	text_style(text, TEXT_DIM);
	fputs(printer->prefix, text->file);
	fputs(branch, text->file);
	text_style(text, TEXT_PLAIN);
	if (text->width) {
		size_t left = 32 + interval_width(printer) + text_columns(text, printer->prefix) + text_columns(text, branch);

		room = text->width > left + 20 ? text->width - left : 20;
	}
	text_write(text, node == 0 ? "<all>" : view_frame_text(name, sizeof name, frame), room);
	putc('\n', text->file);
}

/*
 * A node, the chain of only children below it, and then its branches.  Recursion is as deep as branches go, which
 * depth_left bounds.
 */
static void print_node(struct printer *printer, uint32_t node, const char *branch, const char *below,
	unsigned depth_left)
{
	size_t length = strlen(printer->prefix);
	bool utf8 = printer->text.utf8;
	uint32_t *children;
	size_t count;

	print_line(printer, node, branch, true);
	if (length + strlen(below) + 8 >= sizeof printer->prefix)
		return;
	strcpy(printer->prefix + length, below);
	for (;;) {
		uint64_t bytes = inclusive(printer, node);

		count = take_children(printer, node, &children);
		if (node == 0 || count != 1)
			break;
		node = children[0];
		free(children);
		/* The figures only where the one above kept something for itself or for what is not shown. */
		print_line(printer, node, "", inclusive(printer, node) != bytes);
	}
	if (depth_left == 0)
		printer->pruned += count;
	for (size_t i = 0; i < count && depth_left > 0; i++) {
		bool last = i + 1 == count;

		print_node(printer, children[i], !utf8 ? (last ? "`- " : "|- ") : last ? "\u2514\u2500 " : "\u251c\u2500 ",
			last ? "   " : utf8 ? "\u2502  " : "|  ", depth_left - 1);
	}
	free(children);
	printer->prefix[length] = 0;
}

/* The same tree; chains are not merged, so its depth is that of stacks: without recursion. */
static void write_json_node(struct printer *printer, uint32_t node)
{
	const struct calltree *tree = printer->tree;
	const struct frame *frame = &tree->profile->frames[tree->nodes[node].frame];
	struct json *json = &printer->json;

	json_object(json, NULL);
	json_number(json, "id", node);
	if (node == 0) {
		json_null(json, "parent");
		json_text(json, "function", "<all>");
	} else {
		json_number(json, "parent", tree->nodes[node].parent);
		json_text(json, "function", frame->function);
		json_text(json, "file", frame->file);
		json_number(json, "line", frame->line);
		json_text(json, "module", frame->module);
	}
	json_number(json, "total_bytes", inclusive(printer, node));
	json_number(json, "total_count", metric_count(&tree->inclusive[node], printer->metric));
	json_number(json, "own_bytes", metric_bytes(&tree->own[node], printer->metric));
	json_number(json, "own_count", metric_count(&tree->own[node], printer->metric));
	if (tree->own_spreads)
		view_write_intervals(json, tree->profile, printer->metric, (const struct view_figure[]){
			{ "total", &tree->inclusive[node], &tree->inclusive_spreads[node] },
			{ "own", &tree->own[node], &tree->own_spreads[node] } }, 2);
	json_object_end(json);
}

static void write_json(struct printer *printer, FILE *file)
{
	printer->json = json_begin(file, false);
	json_object(&printer->json, NULL);
	json_text(&printer->json, "metric", metric_name(printer->metric));
	json_number(&printer->json, "total_bytes", printer->all);
	view_write_sample(&printer->json, printer->tree->profile);
	json_array(&printer->json, "nodes");
	for (uint32_t i = 0; i < printer->tree->count; i++)
		if (printer->kept[i] && (i == 0 || inclusive(printer, i) >= printer->least))
			write_json_node(printer, i);
	json_array_end(&printer->json);
	json_object_end(&printer->json);
}

static void print_text(struct printer *printer, FILE *file)
{
	printer->text = text_begin(file);
	text_heading(&printer->text, "Memory %s", metric_title(printer->metric, &printer->settings->view));
	text_style(&printer->text, TEXT_DIM);
	fprintf(file, "%8s %10s%*s %10s\n", "%", "total", (int)interval_width(printer),
		interval_width(printer) ? "95 % interval" : "", "own");
	text_style(&printer->text, TEXT_PLAIN);
	print_node(printer, 0, "", "", (unsigned)printer->settings->depth);
	if (printer->pruned)
		fprintf(file, "\n%s smaller branch%s not shown; see --biggest, --depth, --min-percent\n",
			text_count(printer->pruned).text, printer->pruned == 1 ? " is" : "es are");
	view_print_warnings(printer->tree->profile, &printer->text);
}

static bool tree_run(struct invocation *invocation, struct error *error)
{
	struct tree_settings settings = {
		.view = VIEW_DEFAULT, .biggest = 200, .depth = TREE_LEVELS_MAX, .min_percent = 0.5,
	};
	struct profile *profile = NULL;
	struct output output = { 0 };
	struct calltree tree = { 0 };
	struct printer printer = { .tree = &tree, .settings = &settings };
	bool done = false;

	if (!command_parse(invocation, &settings, error) ||
		!output_open(&output, settings.view.output, settings.view.force, error) ||
		!view_load(&settings.view, invocation, true, 0, &profile, error))
		goto out;
	calltree_init(&tree, profile, settings.view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	printer.metric = view_metric(&settings.view, METRIC_PEAK);
	printer.all = metric_bytes(&profile->total, printer.metric);
	printer.least = (uint64_t)((double)printer.all * settings.min_percent / 100);
	keep_biggest(&printer);
	if (settings.view.json)
		write_json(&printer, output.file);
	else
		print_text(&printer, output.file);
	done = output_commit(&output, error);
out:
	free(printer.kept);
	calltree_finish(&tree);
	profile_free(profile);
	output_close(&output);
	return done;
}

static const struct command_example tree_examples[] = {
	{ "sctmem tree | less", "what held memory at the peak" },
	{ "sctmem tree --metric leaked -b 20", "the twenty biggest places never freed, and how the program came there" },
	{ "sctmem tree --at 1m30s --min-percent 5", "a moment, the large parts only" },
	{ 0 }
};

const struct command tree_command = {
	.name = "tree",
	.summary = "print the stacks as a tree, the biggest first",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Prints the calls that led to memory as a tree: each line with the share and bytes of everything below it, "
		"and what was allocated right there. A call with a single callee that matters is followed by it in the same "
		"column, with figures where they differ.\n\n"
		"Frames inside the Python interpreter and inside allocators are left out unless -v is given.",
	.groups = tree_groups,
	.examples = tree_examples,
	.run = tree_run,
};
