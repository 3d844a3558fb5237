/* SPDX-License-Identifier: MIT */
/* sctmem compact: a smaller capture that answers the same.  The work is compact.c's. */
#include <string.h>

#include "command.h"
#include "compact.h"
#include "output.h"
#include "text.h"

struct settings {
	const char *output;
	bool force, quiet;
	uint64_t points, temporary_limit;
};

static const struct option_spec compact_options_list[] = {
	OPTION_TEXT('o', "output", "FILE", struct settings, output, "the smaller capture"),
	OPTION_FLAG('f', "force", struct settings, force, "replace FILE when it exists"),
	OPTION_FLAG('q', "quiet", struct settings, quiet, "do not say how much smaller it is"),
	OPTION_LAST
};

static const struct option_spec compact_kept[] = {
	OPTION_NUMBER(0, "points", "N", struct settings, points, 1, 1000000,
		"moments, evenly spaced, at which the live heap stays exact (default 1000)"),
	OPTION_NUMBER(0, "temporary-limit", "N", struct settings, temporary_limit, 0, UINT32_MAX,
		"what is freed within N allocations of its thread counts as temporary (default 1)"),
	OPTION_LAST
};

static const struct option_group compact_groups[] = {
	{ .title = "Output", .options = compact_options_list },
	{ .title = "What stays exact", .options = compact_kept },
	{ 0 }
};

static bool compact_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .points = 1000, .temporary_limit = 1 };
	struct text_progress progress = text_progress_begin();
	struct output output = { 0 };
	struct compact_result result;
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (invocation->arguments.count != 1)
		return fail(error, STATUS_USAGE, "name one capture to make smaller");
	if (!settings.output || strcmp(settings.output, "-") == 0)
		return fail(error, STATUS_USAGE, "name the smaller capture with -o FILE");
	const struct compact_options options = { .points = (uint32_t)settings.points,
		.temporary_limit = (uint32_t)settings.temporary_limit, .progress = text_progress_update,
		.progress_context = &progress };
	if (output_open(&output, settings.output, settings.force, error) &&
		compact_capture(invocation->arguments.argv[0], &options, output.file, &result, error))
		done = output_commit(&output, error);
	output_close(&output);
	text_progress_end(&progress);
	if (done && !settings.quiet) {
		fprintf(stderr, "sctmem: %s of %s", text_bytes(result.bytes_after).text, text_bytes(result.bytes_before).text);
		fprintf(stderr, ", %s of %s events kept\n", text_count(result.kept).text, text_count(result.events).text);
	}
	return done;
}

static const struct command_example compact_examples[] = {
	{ "sctmem compact night.bin -o small.bin", "the same totals, peak and leaks, in a fraction of the bytes" },
	{ "sctmem compact --points 10000 night.bin -o small.bin", "ten times as many moments at which the heap stays exact" },
	{ 0 }
};

const struct command compact_command = {
	.name = "compact",
	.summary = "make a smaller capture that answers the same",
	.arguments = "CAPTURE -o FILE",
	.operands = COMMAND_CAPTURES,
	.description =
		"Drops what was allocated and freed again between two moments, and keeps its sums by stack, thread, function and "
		"size. The result is read by every command. Totals, the peak and what it was made of, leaks, temporary blocks and "
		"what windows between marks allocated and kept are the same to the byte.\n\n"
		"What changes: between the moments (--points) less is live than was; times of totals are those of the next moment; "
		"windows' own peaks may be lower; exports of each event lack those that were dropped. Every view says so.",
	.groups = compact_groups,
	.examples = compact_examples,
	.run = compact_run,
};
