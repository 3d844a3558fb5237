/* SPDX-License-Identifier: MIT */
/*
 * sctmem flamegraph: writes the page.  The page itself is report_html.c's; here are its options and its file.
 */
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "output.h"
#include "report_html.h"
#include "view.h"

enum { FLAMEGRAPH_TIMELINE_POINTS = 1000 };

struct flamegraph {
	struct view view;
	bool leaks, inverted, no_source;
	const char *title;
};

static const struct option_spec flamegraph_options[] = {
	OPTION_FLAG('l', "leaks", struct flamegraph, leaks, "begin with what was never freed: --metric leaked"),
	OPTION_FLAG('i', "inverted", struct flamegraph, inverted, "begin with the allocating functions, callers above them"),
	OPTION_TEXT(0, "title", "TEXT", struct flamegraph, title, "the page's title (default: the command line)"),
	OPTION_FLAG(0, "no-source", struct flamegraph, no_source, "leave out the lines of source that frames name"),
	OPTION_LAST
};

static const struct option_group flamegraph_groups[] = {
	VIEW_SELECTION(offsetof(struct flamegraph, view)),
	VIEW_METRIC(offsetof(struct flamegraph, view)),
	{ .title = "Page", .options = flamegraph_options },
	VIEW_OUTPUT(offsetof(struct flamegraph, view)),
	{ 0 }
};

/* capture.bin -> capture.html, in the current folder. */
static char *default_name(const struct profile *profile)
{
	const char *path = profile->capture_count ? profile->captures[0].path : "sctmem";
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t size = strlen(name);
	char *html = memory_new(size + sizeof ".html", 1);

	if (size > 4 && strcmp(name + size - 4, ".bin") == 0)
		size -= 4;
	snprintf(html, size + sizeof ".html", "%.*s.html", (int)size, name);
	return html;
}

static bool flamegraph_run(struct invocation *invocation, struct error *error)
{
	struct flamegraph settings = { .view = VIEW_DEFAULT };
	struct profile *profile = NULL;
	struct output output = { 0 };
	char *name = NULL;
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (settings.leaks && settings.view.metric >= 0 && settings.view.metric != METRIC_LEAKED)
		return fail(error, STATUS_USAGE, "--leaks is --metric leaked: it cannot go with --metric %s",
			metric_name((enum metric)settings.view.metric));

	/* A file that is in the way is said before the work is done. */
	if ((settings.view.output && !output_open(&output, settings.view.output, settings.view.force, error)) ||
		!view_load(&settings.view, invocation, true, FLAMEGRAPH_TIMELINE_POINTS, &profile, error))
		goto out;
	if (!settings.view.output) {
		name = default_name(profile);
		if (!output_open(&output, name, settings.view.force, error))
			goto out;
	}

	enum metric metric = settings.leaks ? METRIC_LEAKED : view_metric(&settings.view, METRIC_PEAK);
	const struct report_options options = {
		/* The page calls what is live at the chosen moment leaked; at the end it is. */
		.metric = metric_name(metric == METRIC_LIVE ? METRIC_LEAKED : metric),
		.inverted = settings.inverted,
		.title = settings.title,
		.source = !settings.no_source,
	};

	done = report_html_write(profile, &options, output.file, error) && output_commit(&output, error);
	if (done && name) {
		char shown[1024];

		fprintf(stderr, "sctmem: wrote %s\n", text_escape(shown, sizeof shown, name));
	}
out:
	profile_free(profile);
	output_close(&output);
	free(name);
	return done;
}

static const struct command_example flamegraph_examples[] = {
	{ "sctmem flamegraph", "the newest capture here, as a page beside it" },
	{ "sctmem flamegraph --leaks -o leaks.html capture.bin", "what was never freed" },
	{ "sctmem flamegraph --at 90 -f capture.bin", "what was live after a minute and a half, replacing the last page" },
	{ 0 }
};

const struct command flamegraph_command = {
	.name = "flamegraph",
	.summary = "write an HTML page: flame graph, time line, table",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Writes one self-contained HTML file with a flame graph, a time line of heap and resident memory and a table. "
		"It needs no network and can be sent to others. Without -o it is called as the capture, ending in .html, in "
		"the current folder.\n\n"
		"The page switches between peak, leaked, total and temporary memory by itself; --metric says where it begins.",
	.groups = flamegraph_groups,
	.examples = flamegraph_examples,
	.run = flamegraph_run,
};
