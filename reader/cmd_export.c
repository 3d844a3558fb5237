/* SPDX-License-Identifier: MIT */
/*
 * sctmem export: a profile in the formats of other tools.  The formats are export_*.c; here are the options.
 */
#include <string.h>
#include <unistd.h>

#include "calltree.h"
#include "export.h"
#include "export_events.h"
#include "export_table.h"
#include "output.h"
#include "view.h"

struct export_settings {
	struct view view;
	int format;                   /* index of export_formats; -1: by the output's name */
	int table;                    /* index of export_table_names; -1: not given */
};

static const char *const format_names[] = {
#define X(name) #name,
	EXPORT_FORMATS(X)
#undef X
	NULL,
};

static const struct option_spec export_options[] = {
	OPTION_CHOICE('F', "format", "NAME", struct export_settings, format, format_names,
		"what to write; without it, what the ending of -o FILE says"),
	OPTION_CHOICE(0, "table", "NAME", struct export_settings, table, export_table_names,
		"of csv and arrow: sites (default), stacks, frames, threads, timeline, marks, blocks"),
	OPTION_TIMES('v', "verbose", struct export_settings, view.verbose,
		"write the interpreter's and the allocators' own frames too"),
	OPTION_LAST
};

static const struct option_group export_groups[] = {
	{ .title = "Format", .options = export_options },
	VIEW_SELECTION(offsetof(struct export_settings, view)),
	VIEW_METRIC(offsetof(struct export_settings, view)),
	VIEW_OUTPUT(offsetof(struct export_settings, view)),
	{ 0 }
};

static bool ends_with(const char *text, const char *ending)
{
	const size_t size = strlen(text), wanted = strlen(ending);

	return size > wanted && strcmp(text + size - wanted, ending) == 0;
}

static const struct export_format *choose_format(const struct export_settings *settings, struct error *error)
{
	if (settings->format >= 0)
		return export_formats[settings->format];
	if (!settings->view.output) {
		fail(error, STATUS_USAGE, "which format? name it: --format pprof; see: sctmem help export");
		return NULL;
	}
	for (const struct export_format *const *format = export_formats; *format; format++) {
		if (ends_with(settings->view.output, (*format)->ending))
			return *format;
	}
	fail(error, STATUS_USAGE, "the ending of %s names no format; use --format, or an ending of: sctmem help export",
		settings->view.output);
	return NULL;
}

static bool check_settings(const struct export_settings *settings, const struct export_format *format,
	struct error *error)
{
	const struct view *view = &settings->view;

	if (view->metric >= 0 && !(format->flags & (EXPORT_ONE_METRIC | EXPORT_FIRST_METRIC)))
		return fail(error, STATUS_USAGE, "%s carries all metrics: --metric cannot go with it", format->name);
	if (settings->table >= 0 && !(format->flags & EXPORT_TABLE))
		return fail(error, STATUS_USAGE, "%s has no tables to choose from: --table goes with csv and arrow", format->name);
	if (format->flags & EXPORT_BINARY && (!view->output || strcmp(view->output, "-") == 0) && isatty(STDOUT_FILENO))
		return fail(error, STATUS_USAGE, "%s is binary and not for a terminal; name a file with -o, or use a pipe",
			format->name);
	return true;
}

/* For formats and tables that carry each event, which must be seen while the captures are replayed. */
static bool open_events(struct export_settings *settings, const struct export_format *format,
	struct export_events *events, struct error *error)
{
	const bool blocks = format->flags & EXPORT_TABLE && settings->table >= 0 &&
		table_needs_events((unsigned)settings->table);

	if (!blocks && !(format->flags & EXPORT_EVENTS))
		return true;
	settings->view.observer = &events->observer;
	return export_events_open(events, blocks, error);
}

static bool export_run(struct invocation *invocation, struct error *error)
{
	struct export_settings settings = { .view = VIEW_DEFAULT, .format = -1, .table = -1 };
	const struct export_format *format;
	struct profile *profile = NULL;
	struct output output = { 0 };
	struct calltree tree = { 0 };
	struct export export = { 0 };
	struct export_events events = { 0 };
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	format = choose_format(&settings, error);
	if (!format || !check_settings(&settings, format, error) ||
		!output_open(&output, settings.view.output, settings.view.force, error) ||
		!open_events(&settings, format, &events, error) ||
		!view_load(&settings.view, invocation, true, format->timeline_points, &profile, error))
		goto out;

	const struct text text = text_begin(stderr);

	view_print_warnings(profile, &text);
	calltree_init(&tree, profile, settings.view.verbose ? 0 : CALLTREE_HIDDEN_DEFAULT);
	export_init(&export, profile, &tree, &settings.view, view_metric(&settings.view, METRIC_PEAK), output.file);
	export.table = settings.table < 0 ? 0 : (unsigned)settings.table;
	export.events = events.file ? &events : NULL;
	done = format->write(&export, error) && output_commit(&output, error);
	export_finish(&export);
out:
	export_events_close(&events);
	calltree_finish(&tree);
	profile_free(profile);
	output_close(&output);
	return done;
}

static const struct command_example export_examples[] = {
	{ "sctmem export --format pprof -o profile.pb.gz && go tool pprof -http : profile.pb.gz",
		"the newest capture here, in pprof's page" },
	{ "sctmem export -o profile.speedscope.json capture.bin", "the ending names the format" },
	{ "sctmem export -F folded -m leaked capture.bin | flamegraph.pl > leaks.svg", "what was never freed" },
	{ "sctmem export -F callgrind -o callgrind.out.1 capture.bin && kcachegrind callgrind.out.1", "callers and callees" },
	{ 0 }
};

const struct command export_command = {
	.name = "export",
	.summary = "write the profile in the format of another tool",
	.arguments = "--format NAME [CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Writes what was recorded as a file that other tools open. The figures are those of sctmem stats, to the "
		"byte.\n\n"
		"pprof (.pb.gz), speedscope (.speedscope.json), firefox (.firefox.json) and callgrind (.callgrind) carry all "
		"metrics, and --metric says which is shown first. folded (.folded), gprof2dot (.gprof2dot.json), pstats (.pstats) "
		"and heapprofile (.heapprofile) carry the metric asked for, peak without --metric. chrome (.trace.json) and "
		"massif (.massif) show memory over time. csv (.csv) and arrow (.arrow) hold one table, which --table names.\n\n"
		"dhat (.dhat.json), heaptrack (.heaptrack.gz) and the table of blocks are made of the single events, which lie in "
		"TMPDIR meanwhile, 5 to 25 bytes each.\n\n"
		"docs/exports.md says what each carries, what it leaves out, and what opens it.",
	.groups = export_groups,
	.examples = export_examples,
	.run = export_run,
};
