/* SPDX-License-Identifier: MIT */
/*
 * The one line about a capture that was just made.  Called by cmd_run.c, cmd_attach.c and cmd_detach.c.
 */
#include "recorded.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "profile.h"
#include "text.h"

enum { TOTALS_BYTES_MAX = 1 << 30 };  /* above, reading the capture would keep the user waiting */

static void print_totals(const char *path, bool ended)
{
	struct profile_options options = profile_options_default;
	struct profile *profile = NULL;
	struct error error = { 0 };
	struct stat status;

	options.need_stacks = false;
	options.timeline_points = 0;
	if (stat(path, &status) == 0 && status.st_size <= TOTALS_BYTES_MAX &&
		profile_build(&profile, &path, 1, &options, &error)) {
		fprintf(stderr, ": %speak %s, ", profile->sample_mean_bytes ? "a sample; about " : "",
			text_bytes(profile->total.peak_bytes).text);
		fprintf(stderr, "%s allocations of %s, ", text_count(profile->total.total_count).text,
			text_bytes(profile->total.total_bytes).text);
		fprintf(stderr, "%s %s", text_bytes(profile->total.live_bytes).text, ended ? "never freed" : "of it live");
	}
	profile_free(profile);
}

void recorded_print(const char *path, bool ended, size_t more)
{
	char folder[PATH_MAX] = "", shown[1024];
	const char *name = path;

	if (getcwd(folder, sizeof folder - 1))
		strcat(folder, "/");
	if (folder[0] && strncmp(path, folder, strlen(folder)) == 0)
		name += strlen(folder);
	fprintf(stderr, "sctmem: wrote %s", text_escape(shown, sizeof shown, name));
	print_totals(path, ended);
	if (more)
		fprintf(stderr, "; and %zu more of its other processes and programs", more);
	putc('\n', stderr);
}
