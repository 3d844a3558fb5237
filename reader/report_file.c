/* SPDX-License-Identifier: MIT */
/*
 * See report_file.h.  The page itself is report_html.c's; here are its options and its file.
 */
#include "report_file.h"

#include <string.h>
#include <unistd.h>

#include "insights.h"
#include "leaks.h"
#include "memory.h"
#include "output.h"
#include "report_html.h"

enum { REPORT_TIMELINE_POINTS = 1000 };

const struct option_spec report_file_options[] = {
	OPTION_FLAG('l', "leaks", struct report_file, leaks, "begin with what was never freed: --metric leaked"),
	OPTION_FLAG('i', "inverted", struct report_file, inverted,
		"begin with the allocating functions, callers above them"),
	OPTION_TEXT(0, "title", "TEXT", struct report_file, title, "the page's title (default: the command line)"),
	OPTION_TEXT(0, "suppressions", "FILE", struct report_file, suppressions,
		"leaks that are accepted, as sctmem leaks takes them: the view of leaks sets them apart"),
	OPTION_FLAG(0, "no-source", struct report_file, no_source, "leave out the source code"),
	OPTION_FLAG(0, "all-source", struct report_file, all_source, "put in also source files that look confidential"),
	OPTION_NUMBER(0, "slices", "N", struct report_file, slices, 0, 10000,
		"cut the run into at most N slices of time, to look at any instant and window in the page (default 256; 0: none)"),
	OPTION_FLAG(0, "insights", struct report_file, insights, "run the analyses of sctmem insights, too"),
	OPTION_FLAG_OFF(0, "no-insights", struct report_file, insights, "leave them out, which reads faster"),
	OPTION_LAST
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

/* Who keeps what lives at the end, for the view of leaks; suppressions get their hits. */
static void mark_keepers(struct profile *profile, struct suppressions *suppressions)
{
	struct leak_rules rules;

	leak_rules_init(&rules, profile, suppressions);
	for (size_t i = 0; i < profile->site_count; i++) {
		struct site *site = &profile->sites[i];

		site->keeper = (uint8_t)(profile_counts(profile, site) ? leak_rules_book(&rules, site) :
			leak_rules_keeper(&rules, site));
	}
	leak_rules_finish(&rules);
}

bool report_file_write(const struct report_file *settings, const struct view *view, struct invocation *invocation,
	struct error *error)
{
	struct view chosen = *view;
	struct profile *profile = NULL;
	struct calltree tree = { 0 };
	struct insights insights = { 0 };
	struct suppressions suppressions = { 0 };
	struct output output = { 0 };
	char *name = NULL;
	bool done = false;

	chosen.analyses = settings->insights ? (1u << ANALYSIS_COUNT) - 1 : 0;

	if (settings->leaks && view->metric >= 0 && view->metric != METRIC_LEAKED)
		return fail(error, STATUS_USAGE, "--leaks is --metric leaked: it cannot go with --metric %s",
			metric_name((enum metric)view->metric));
	if (settings->no_source && settings->all_source)
		return fail(error, STATUS_USAGE, "--no-source and --all-source say the opposite of each other");

	chosen.slices = settings->slices;
	/* A file that is in the way is said before the work is done. */
	if ((settings->suppressions && !suppressions_read(&suppressions, settings->suppressions, error)) ||
		(view->output && !output_open(&output, view->output, view->force, error)) ||
		!view_load(&chosen, invocation, true, REPORT_TIMELINE_POINTS, &profile, error))
		goto out;
	if (!view->output) {
		name = default_name(profile);
		if (!output_open(&output, name, view->force, error))
			goto out;
	}

	if (settings->insights) {
		calltree_init(&tree, profile, CALLTREE_HIDDEN_DEFAULT);
		insights_init(&insights, &tree);
	}
	mark_keepers(profile, &suppressions);
	view_drop_few_slices(profile);
	enum metric metric = settings->leaks ? METRIC_LEAKED : view_metric(view, METRIC_PEAK);
	const struct report_options options = {
		.view = settings->begin,
		/* The page calls what is live at the chosen moment leaked; at the end it is. */
		.metric = metric_name(metric == METRIC_LIVE ? METRIC_LEAKED : metric),
		.inverted = settings->inverted,
		.title = settings->title,
		.source = settings->no_source ? REPORT_SOURCE_NONE :
			settings->all_source ? REPORT_SOURCE_ALL : REPORT_SOURCE_OPEN,
		.insights = settings->insights ? &insights : NULL,
		.suppressions = &suppressions,
	};

	done = report_html_write(profile, &options, output.file, error) && output_commit(&output, error);
	if (done && name) {
		char shown[1024];

		fprintf(stderr, "sctmem: wrote %s\n", text_escape(shown, sizeof shown, name));
	}
out:
	suppressions_finish(&suppressions);
	insights_finish(&insights);
	calltree_finish(&tree);
	profile_free(profile);
	output_close(&output);
	free(name);
	return done;
}
