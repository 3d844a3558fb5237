/* SPDX-License-Identifier: MIT */
/* sctmem symbolize: the names of native frames go into the capture.  The work is symbolize.c's. */
#include <string.h>

#include "command.h"
#include "json.h"
#include "output.h"
#include "symbolize.h"
#include "text.h"

struct settings {
	const char *output;
	bool in_place, force, quiet, json, debuginfod;
};

static const struct option_spec symbolize_where[] = {
	OPTION_TEXT('o', "output", "FILE", struct settings, output, "write a copy with the names"),
	OPTION_FLAG(0, "in-place", struct settings, in_place, "append them to each capture itself"),
	OPTION_FLAG('f', "force", struct settings, force, "replace FILE when it exists"),
	OPTION_FLAG('j', "json", struct settings, json, "write what was done as JSON (its keys: docs/json.md)"),
	OPTION_FLAG('q', "quiet", struct settings, quiet, "do not say how many names were added"),
	OPTION_LAST
};

static const struct option_spec symbolize_sources[] = {
	OPTION_FLAG(0, "debuginfod", struct settings, debuginfod, "fetch missing debug information from DEBUGINFOD_URLS"),
	OPTION_LAST
};

static const struct option_group symbolize_groups[] = {
	{ .title = "Where to", .options = symbolize_where },
	{ .title = "Where names come from", .options = symbolize_sources },
	{ 0 }
};

static void write_result(struct json *json, const char *path, const struct symbolize_result *result)
{
	json_object(json, NULL);
	json_text(json, "path", path);
	json_number(json, "frames", result->frames);
	json_number(json, "named", result->named);
	json_number(json, "not_named", result->frames - result->named);
	json_number(json, "added", result->added);
	json_number(json, "renewed", result->renewed);
	json_number(json, "bytes_added", result->bytes_added);
	json_object_end(json);
}

static void print_result(const char *path, const struct symbolize_result *result)
{
	const struct text text = text_begin(stderr);

	fputs("sctmem: ", stderr);
	text_write(&text, path, 0);
	fprintf(stderr, ": %s of %s native frames have names", text_count(result->named).text,
		text_count(result->frames).text);
	if (result->added + result->renewed == 0)
		fputs(", and had them before: nothing to do\n", stderr);
	else
		fprintf(stderr, ", %s of them new, %s with more lines; %s added\n", text_count(result->added).text,
			text_count(result->renewed).text, text_bytes(result->bytes_added).text);
}

static bool symbolize_one(const struct settings *settings, const char *path, struct symbolize_result *result,
	struct error *error)
{
	struct text_progress progress = text_progress_begin();
	const struct symbolize_options options = { .debuginfod = settings->debuginfod, .progress = text_progress_update,
		.progress_context = &progress };
	struct output output = { 0 };
	bool done;

	if (settings->in_place) {
		done = symbolize_capture(path, &options, NULL, result, error);
	} else {
		done = output_open(&output, settings->output, settings->force, error) &&
			symbolize_capture(path, &options, output.file, result, error) && output_commit(&output, error);
		output_close(&output);
	}
	text_progress_end(&progress);
	return done;
}

static bool symbolize_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { 0 };
	bool done = true;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (invocation->arguments.count == 0)
		return fail(error, STATUS_USAGE, "name the captures that get names");
	if ((settings.output != NULL) == settings.in_place || (settings.output && strcmp(settings.output, "-") == 0))
		return fail(error, STATUS_USAGE, "say where the names go: -o FILE for a copy, or --in-place");
	if (settings.output && invocation->arguments.count != 1)
		return fail(error, STATUS_USAGE, "-o FILE takes one capture; several get names with --in-place");
	struct json json = json_begin(stdout, false);
	bool begun = false;           /* where the first capture is refused there is nothing but the error */

	for (int i = 0; done && i < invocation->arguments.count; i++) {
		const char *path = invocation->arguments.argv[i];
		struct symbolize_result result;

		done = symbolize_one(&settings, path, &result, error);
		if (done && settings.json && !begun) {
			begun = true;
			json_object(&json, NULL);
			json_array(&json, "captures");
		}
		if (done && settings.json)
			write_result(&json, path, &result);
		else if (done && !settings.quiet)
			print_result(path, &result);
	}
	if (begun) {
		json_array_end(&json);
		json_object_end(&json);
	}
	return done && (!settings.json || output_flush_standard(error));
}

static const struct command_example symbolize_examples[] = {
	{ "sctmem symbolize night.bin -o named.bin", "a copy that can be read on any machine" },
	{ "sctmem symbolize --in-place server.*.bin", "each capture of a family gets its names" },
	{ "sctmem symbolize --in-place --debuginfod night.bin", "also where debug information is not installed" },
	{ 0 }
};

const struct command symbolize_command = {
	.name = "symbolize",
	.summary = "put the names of native functions into a capture",
	.arguments = "CAPTURE... -o FILE|--in-place",
	.operands = COMMAND_CAPTURES,
	.description =
		"Looks up the native frames of a capture (function, file, line, what was inlined) and writes the names into it, so "
		"that every view says the same on a machine that has neither the programs nor their debug information. Names of "
		"Python frames are in each capture anyway. Source text is not taken along.\n\n"
		"Views use names that a capture has with it first, and look up the rest; --symbols local has them looked up anew. "
		"A second run adds what is still missing, or has more lines now. What was recorded stays as it is: names are "
		"appended, and a run that is killed leaves a whole capture. While a capture is still being recorded only a copy "
		"can be made (-o), of that moment.",
	.groups = symbolize_groups,
	.examples = symbolize_examples,
	.run = symbolize_run,
};
