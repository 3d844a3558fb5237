/* SPDX-License-Identifier: MIT */
/*
 * sctmem stats: every figure of a capture that is not a place, and the few places that matter most.
 *
 * Whoever compares views compares them with this one: the numbers are the fields of struct profile, unrounded in
 * --json and beside the rounded ones in the text.
 */
#include <inttypes.h>
#include <string.h>

#include "calltree.h"
#include "json.h"
#include "output.h"
#include "rank.h"
#include "stats.h"
#include "view.h"

struct stats {
	struct view view;
	uint64_t number;
};

static const struct option_spec stats_options[] = {
	OPTION_NUMBER('n', "number", "N", struct stats, number, 0, 10000, "places in each list of the largest (default 5)"),
	OPTION_LAST
};

static const struct option_group stats_groups[] = {
	VIEW_SELECTION(offsetof(struct stats, view)),
	{ .title = "Figures", .options = stats_options },
	VIEW_OUTPUT_JSON(offsetof(struct stats, view)),
	{ 0 }
};

static bool stats_run(struct invocation *invocation, struct error *error)
{
	struct stats settings = { .view = VIEW_DEFAULT, .number = 5 };
	struct profile *profile = NULL;
	struct output output = { 0 };
	struct calltree tree = { 0 };
	struct rank rank = { 0 };
	bool done = false;

	if (!command_parse(invocation, &settings, error) ||
		!output_open(&output, settings.view.output, settings.view.force, error) ||
		!view_load(&settings.view, invocation, true, 0, &profile, error))
		goto out;
	calltree_init(&tree, profile, settings.view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	rank_init(&rank, &tree, RANK_LOCATION);
	if (settings.view.json) {
		stats_write_json(output.file, profile, &rank, settings.number);
	} else {
		struct text text = text_begin(output.file);

		stats_write_text(&text, profile, &rank, settings.number, &settings.view);
	}
	done = output_commit(&output, error);
out:
	rank_finish(&rank);
	calltree_finish(&tree);
	profile_free(profile);
	output_close(&output);
	return done;
}

static const struct command_example stats_examples[] = {
	{ "sctmem stats", "the newest capture in this folder" },
	{ "sctmem stats --json capture.bin | jq .metadata.peak_memory", "one figure for a script" },
	{ "sctmem stats -n 20 --time 10..20 capture.bin", "what was allocated between two moments, 20 places" },
	{ "sctmem stats 'capture.bin' capture.bin.*", "a process and its children as one" },
	{ 0 }
};

const struct command stats_command = {
	.name = "stats",
	.summary = "print the figures: totals, peak, leaks, sizes, allocators, threads",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Prints what a program allocated in all, how much of it was live at the peak and at the end, by kind of "
		"memory, by allocator and by size, with the places that allocated most, and how far the capture can be "
		"trusted: lost events, cut stacks, damage.\n\n"
		"Counted memory is heap (malloc and its kin), python (blocks of Python's allocators) and mapped (anonymous "
		"mappings by the program). File mappings and reserved address space are shown but not counted; Python's "
		"arenas are counted only where the blocks inside them were not recorded.\n\n"
		"Without CAPTURE the newest one in the current folder is read. Several captures are merged into one view of "
		"all their processes.",
	.groups = stats_groups,
	.examples = stats_examples,
	.run = stats_run,
};
