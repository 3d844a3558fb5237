/* SPDX-License-Identifier: MIT */
/*
 * Property: for any file, profile_build either fails with one line that names it, or gives a profile whose parts
 * agree: parents before children, sites in range, totals that are the sums of the sites; with all analyses, whose rows
 * are of sites in range.  No crash, no leak, no memory beyond what the file can stand for.
 *
 * Frames stay without symbols: those of hostile modules are fuzz_symbols' business.
 */
#include <string.h>
#include <unistd.h>

#include "check_profile.h"
#include "formats/capture.h"
#include "input.h"
#include "reader/profile_live.h"

/* The same bytes as a capture that grows, at its end. */
static void follow(const char *path, const struct profile_options *options)
{
	struct error error = { .text = "" };
	struct profile_live *live;

	if (!profile_live_open(&live, path, options, &error))
		return;
	for (int i = 0; i < 2 && profile_live_look(live, &error); i++)
		check_profile(profile_live_get(live));
	profile_live_close(live);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[INPUT_PATH_SIZE];
	struct profile_options options = profile_options_default;
	struct profile *profile;
	struct error error = { .text = "" };
	int file;

	if (size < CAPTURE_HEADER_SIZE_MIN)
		return 0;
	file = input_capture(data, size, path);
	options.no_symbols = true;
	options.timeline_points = 50;
	follow(path, &options);
	options.analyses = (1u << ANALYSIS_COUNT) - 1;
	options.at_peak = data[size - 1] & 1;
	if (profile_build(&profile, (const char *[]){ path }, 1, &options, &error)) {
		check_profile(profile);
		profile_free(profile);
	} else if (!strstr(error.text, path) && error.status != STATUS_MEMORY) {
		abort();
	}
	close(file);
	return 0;
}
