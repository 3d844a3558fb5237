/* SPDX-License-Identifier: MIT */
/* sctmem symbolize: the names of native frames go into captures, of runs in segments each of its files. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "json.h"
#include "memory.h"
#include "output.h"
#include "segments.h"
#include "symbolize.h"
#include "symbolize_files.h"
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

static bool symbolize_one(const struct settings *settings, struct symbols *symbols, const struct symbolize_file *file,
	struct symbolize_result *result, struct error *error)
{
	struct text_progress progress = text_progress_begin();
	const struct symbolize_options options = { .symbols = symbols, .progress = text_progress_update,
		.progress_context = &progress };
	struct output output = { 0 };
	bool done;

	if (!file->copy) {
		done = symbolize_capture(file->path, &options, NULL, result, error);
	} else {
		done = output_open(&output, file->copy, settings->force, error) &&
			symbolize_capture(file->path, &options, output.file, result, error) && output_commit(&output, error);
		output_close(&output);
	}
	text_progress_end(&progress);
	return done;
}

/* A copy of some segments would be taken for one of the run: it goes, but for what took an older file's place. */
static void remove_copies(const struct symbolize_files *files, const bool *made)
{
	for (size_t i = 0; i < files->count; i++)
		if (made[i])
			unlink(files->files[i].copy);
}

/* What was done, for the end of the JSON, and what could not be yet. */
struct report {
	struct json json;
	bool begun;                   /* where the first capture is refused there is nothing but the error */
	char **recording; size_t recording_count, recording_capacity;
};

static void tell(const struct settings *settings, struct report *report, const char *path,
	const struct symbolize_result *result)
{
	if (settings->json && !report->begun) {
		report->begun = true;
		json_object(&report->json, NULL);
		json_array(&report->json, "captures");
	}
	if (settings->json)
		write_result(&report->json, path, result);
	else if (!settings->quiet)
		print_result(path, result);
}

static void tell_recording(const struct settings *settings, struct report *report, const char *path)
{
	char shown[1024];

	report->recording = memory_grow(report->recording, &report->recording_capacity, report->recording_count + 1,
		sizeof(*report->recording));
	report->recording[report->recording_count++] = memory_text(path);
	if (!settings->json && !settings->quiet)
		fprintf(stderr, "sctmem: %s is still being recorded: it gets its names when that is over\n",
			text_escape(shown, sizeof(shown), path));
}

static void finish_report(struct report *report)
{
	if (report->begun) {
		json_array_end(&report->json);
		json_array(&report->json, "recording");
		for (size_t i = 0; i < report->recording_count; i++)
			json_text(&report->json, NULL, report->recording[i]);
		json_array_end(&report->json);
		json_object_end(&report->json);
	}
	for (size_t i = 0; i < report->recording_count; i++)
		free(report->recording[i]);
	free(report->recording);
}

static bool is_gone(const char *path)
{
	return access(path, F_OK) != 0 && errno == ENOENT;
}

/* All files of what is named. */
static bool symbolize_named(const struct settings *settings, struct symbols *symbols, const char *path, bool alone,
	struct report *report, struct error *error)
{
	struct symbolize_files files;
	bool done = symbolize_files_list(&files, path, settings->output, alone, error);
	bool *made = memory_new(files.count + 1, sizeof(*made));

	for (size_t i = 0; done && i < files.count; i++) {
		const struct symbolize_file *file = &files.files[i];
		const bool replaces = file->copy && access(file->copy, F_OK) == 0;
		struct symbolize_result result;

		done = symbolize_one(settings, symbols, file, &result, error);
		if (done) {
			made[i] = file->copy && !replaces;
			tell(settings, report, file->path, &result);
		} else if (i > 0 && files.growing && is_gone(file->path)) {
			done = true;              /* the oldest goes while we are at it (--keep) */
		}
	}
	if (done && files.recording)
		tell_recording(settings, report, files.recording);
	if (!done)
		remove_copies(&files, made);
	free(made);
	symbolize_files_finish(&files);
	return done;
}

/* The run that each argument is a file of, or 0. */
static uint64_t *list_runs(const struct arguments *arguments)
{
	uint64_t *runs = memory_new((size_t)arguments->count, sizeof(*runs));
	uint32_t segment;

	for (int i = 0; i < arguments->count; i++)
		if (!segments_peek(arguments->argv[i], &runs[i], &segment))
			runs[i] = 0;
	return runs;
}

/* Whether another file of its run is named, too: then each is itself, as in every view. */
static bool is_one_of_several(const uint64_t *runs, int count, int number)
{
	for (int i = 0; i < count; i++)
		if (i != number && runs[number] && runs[i] == runs[number])
			return true;
	return false;
}

static bool symbolize_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { 0 };
	const struct arguments *arguments = &invocation->arguments;
	bool done = true;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (arguments->count == 0)
		return fail(error, STATUS_USAGE, "name the captures that get names");
	if ((settings.output != NULL) == settings.in_place || (settings.output && strcmp(settings.output, "-") == 0))
		return fail(error, STATUS_USAGE, "say where the names go: -o FILE for a copy, or --in-place");
	if (settings.output && arguments->count != 1)
		return fail(error, STATUS_USAGE, "-o FILE takes one capture; several get names with --in-place");

	struct report report = { .json = json_begin(stdout, false) };
	struct symbols *symbols = symbols_new(&(struct symbols_options){ .debuginfod = settings.debuginfod });
	uint64_t *runs = list_runs(arguments);

	for (int i = 0; done && i < arguments->count; i++)
		done = symbolize_named(&settings, symbols, arguments->argv[i], is_one_of_several(runs, arguments->count, i),
			&report, error);
	free(runs);
	finish_report(&report);
	symbols_free(symbols);
	return done && (!settings.json || output_flush_standard(error));
}

static const struct command_example symbolize_examples[] = {
	{ "sctmem symbolize night.bin -o named.bin", "a copy that can be read on any machine" },
	{ "sctmem symbolize --in-place server.*.bin", "each capture of a family gets its names" },
	{ "sctmem symbolize --in-place long.bin", "all files of a run in segments: long.bin, long.000002.bin ..." },
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
		"can be made (-o), of that moment.\n\n"
		"A run in segments (--rotate) is named by its first file, also when that has been removed: then each of its files "
		"gets the names of all its stacks, so that it can be read without the others; -o COPY.bin writes COPY.bin, "
		"COPY.000002.bin and so on. While it is still being recorded, --in-place leaves the newest file out. Another of "
		"its files, or several of them, are just these.",
	.groups = symbolize_groups,
	.examples = symbolize_examples,
	.run = symbolize_run,
};
