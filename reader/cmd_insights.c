/* SPDX-License-Identifier: MIT */
/*
 * sctmem insights: what the analyses find (docs/analyses.md).
 *
 * They need a record of each live block, so they cost more than the other views; that is why they are a verb of their
 * own and not a part of stats.
 */
#include <string.h>

#include "calltree.h"
#include "insights.h"
#include "output.h"
#include "view.h"

struct settings {
	struct view view;
	uint64_t number;
	unsigned analyses;            /* bits; 0: all, and those in full that have something to say */
	uint64_t temporary_ns;
};

static const char *const analysis_words[] = {
#define X(number, name) [number] = #name,
	ANALYSES(X)
#undef X
	"all", NULL,
};

static bool parse_analyses(const char *value, void *field, struct error *error)
{
	unsigned mask = 0;

	for (const char *at = value; *at;) {
		const size_t size = strcspn(at, ",");
		unsigned i = 0;

		while (analysis_words[i] && (strlen(analysis_words[i]) != size || memcmp(analysis_words[i], at, size) != 0))
			i++;
		if (!analysis_words[i])
			return fail(error, STATUS_USAGE, "not a list of temporary, lifetimes, rates, churn, growth, slop, arenas, "
				"pages, resident, untouched, cross_thread, pairs, or all");
		mask |= i == ANALYSIS_COUNT ? (1u << ANALYSIS_COUNT) - 1 : 1u << i;
		at += size + (at[size] == ',');
	}
	*(unsigned *)field |= mask;
	return true;
}

static bool parse_time(const char *value, void *field, struct error *error)
{
	return options_parse_time(value, field) || fail(error, STATUS_USAGE, "not a time like 10ms or 1.5s");
}

static const struct option_spec insights_options[] = {
	OPTION_CUSTOM('a', "analysis", "NAME[,NAME]", struct settings, analyses, unsigned, parse_analyses, analysis_words,
		"only these, in full: temporary, lifetimes, rates, churn, growth, slop, arenas, pages, resident, "
		"untouched, cross_thread, pairs; or all"),
	OPTION_NUMBER('n', "number", "N", struct settings, number, 0, 1000000, "places in each table (default 5)"),
	OPTION_CUSTOM(0, "temporary-time", "TIME", struct settings, temporary_ns, uint64_t, parse_time, NULL,
		"what is freed within TIME is temporary, too (default 10ms)"),
	OPTION_LAST
};

static const struct option_group insights_groups[] = {
	VIEW_SELECTION(offsetof(struct settings, view)),
	{ .title = "Analyses", .options = insights_options },
	VIEW_OUTPUT_JSON(offsetof(struct settings, view)),
	{ 0 }
};

static bool insights_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .view = VIEW_DEFAULT, .number = 5, .temporary_ns = 10000000 };
	struct profile *profile = NULL;
	struct output output = { 0 };
	struct calltree tree = { 0 };
	struct insights insights = { 0 };
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	settings.view.analyses = settings.analyses ? settings.analyses : (1u << ANALYSIS_COUNT) - 1;
	settings.view.temporary_ns = settings.temporary_ns;
	if (!output_open(&output, settings.view.output, settings.view.force, error) ||
		!view_load(&settings.view, invocation, true, 0, &profile, error))
		goto out;
	calltree_init(&tree, profile, settings.view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	insights_init(&insights, &tree);
	if (settings.view.json) {
		insights_write_json(&insights, output.file, settings.number);
	} else {
		struct text text = text_begin(output.file);

		insights_write_text(&insights, &text, settings.number, settings.analyses != 0);
		view_print_warnings(profile, &text);
	}
	done = output_commit(&output, error);
out:
	insights_finish(&insights);
	calltree_finish(&tree);
	profile_free(profile);
	output_close(&output);
	return done;
}

static const struct command_example insights_examples[] = {
	{ "sctmem insights", "what is worth a look in the newest capture" },
	{ "sctmem insights -a growth -n 20", "the places that grow blocks by realloc, with the size to reserve" },
	{ "sctmem insights -a arenas,pages --at 90", "who kept memory from going back to the system at second 90" },
	{ "sctmem insights --json capture.bin | jq .analyses.slop.places.total", "for a script" },
	{ 0 }
};

const struct command insights_command = {
	.name = "insights",
	.summary = "analyse how memory is used: temporary blocks, lifetimes, growth, slop, arenas, threads",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Runs the analyses of docs/analyses.md, and shows those in full that found something; the others have one "
		"line each.\n\n"
		"temporary: allocations freed at once. lifetimes: how long blocks live, by place. rates: who allocates how "
		"much, over time. churn: equal sizes again and again. growth: blocks that grow by realloc, and what to "
		"reserve. slop: what allocators take beyond what is asked for. arenas: memory that Python's allocator cannot "
		"give back, and who holds it. pages: resident against live memory, and whose blocks lie thinly on pages. "
		"resident: where resident memory is, as measured at snapshots, at the program's end and as it grows. "
		"untouched: memory asked for and never used. cross_thread: who frees what others allocated. pairs: allocating "
		"place and thread, freeing thread, lifetime.\n\n"
		"arenas, pages and resident look at one moment: the end, or what --at says. What is an estimate says so.",
	.groups = insights_groups,
	.examples = insights_examples,
	.run = insights_run,
};
