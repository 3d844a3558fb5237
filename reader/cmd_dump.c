/* SPDX-License-Identifier: MIT */
/*
 * sctmem dump: what is in a capture, record by record, as it lies there: no merging, no replay, no symbols.  For
 * people who look into a capture, and for programs that want the raw events (--json: one object a line).
 *
 * Streams come one after another, each in its own order, which is the order of its thread.  What cannot be read is
 * said at its place, with the offset in the file.
 */
#include <inttypes.h>
#include <string.h>

#include "capture.h"
#include "dump.h"
#include "find.h"
#include "memory.h"
#include "output.h"
#include "view.h"

struct dump {
	bool json, force, header_only;
	const char *output;
	uint64_t stream;              /* UINT64_MAX: all */
	struct view_range range;
};

static const struct option_spec dump_selection[] = {
	OPTION_NUMBER(0, "stream", "N", struct dump, stream, 0, UINT32_MAX, "only this stream"),
	OPTION_CUSTOM(0, "time", "A..B", struct dump, range, struct view_range, view_parse_range, NULL,
		"only records between these times; either may be left out"),
	OPTION_FLAG(0, "header", struct dump, header_only, "only the header and the status"),
	OPTION_LAST
};

static const struct option_spec dump_output[] = {
	OPTION_FLAG('j', "json", struct dump, json, "write a JSON object a line"),
	OPTION_TEXT('o', "output", "FILE", struct dump, output, "write to FILE instead of standard output"),
	OPTION_FLAG('f', "force", struct dump, force, "replace FILE when it exists"),
	OPTION_LAST
};

static const struct option_group dump_groups[] = {
	{ .title = "What is looked at", .options = dump_selection },
	{ .title = "Output", .options = dump_output },
	{ 0 }
};

struct dumper {
	const struct dump *settings;
	struct capture *capture;
	struct capture_buffer buffer;
	struct dump_writer writer;
};

static bool wanted(const struct dump *settings, const struct capture_part *part)
{
	if (settings->stream != UINT64_MAX && part->stream != settings->stream)
		return false;
	/* Blocks in the file say when they begin and end; the words of a stream do not. */
	return part->kind != CAPTURE_BLOCK_EVENTS ||
		(part->last_time_ns >= settings->range.from_ns && part->first_time_ns <= settings->range.to_ns);
}

static bool dump_part(struct dumper *dumper, const struct capture_stream_parts *stream, const struct capture_part *part,
	struct error *error)
{
	struct events_cursor cursor;
	struct capture_event event;
	uint64_t number = 0;

	if (!wanted(dumper->settings, part))
		return true;
	switch (capture_read(dumper->capture, stream, part, &dumper->buffer, &cursor)) {
	case CAPTURE_READ_NO_MEMORY:
		return fail_memory(error);
	case CAPTURE_READ_DAMAGED:
		dump_damage(&dumper->writer, part, "cannot be read", 0);
		return true;
	case CAPTURE_READ:
		break;
	}
	while (events_next(&cursor, &event)) {
		number++;
		if (event.time_ns >= dumper->settings->range.from_ns && event.time_ns <= dumper->settings->range.to_ns)
			dump_event(&dumper->writer, &event);
		/* A reader that has gone makes the rest pointless. */
		if (ferror(dumper->writer.text.file))
			return true;
	}
	if (cursor.bad)
		dump_damage(&dumper->writer, part, "contradicts itself after this many records", number);
	return true;
}

static bool dump_all(struct dumper *dumper, struct error *error)
{
	struct capture *capture = dumper->capture;

	dump_header(&dumper->writer, capture);
	if (dumper->settings->header_only)
		return true;
	for (size_t i = 0; i < capture->part_count; i++)
		if (capture->parts[i].kind == CAPTURE_BLOCK_WORDS && !dump_part(dumper, NULL, &capture->parts[i], error))
			return false;
	for (size_t i = 0; i < capture->stream_count; i++) {
		const struct capture_stream_parts *stream = &capture->streams[i];

		for (size_t j = 0; j < stream->count; j++)
			if (!dump_part(dumper, stream, &stream->parts[j], error))
				return false;
	}
	dump_summary(&dumper->writer, capture);
	return true;
}

static bool dump_one(const struct dump *settings, const char *path, FILE *file, struct error *error)
{
	struct dumper dumper = { .settings = settings };
	bool done;

	if (!capture_open(&dumper.capture, path, error))
		return false;
	dumper.writer = (struct dump_writer){
		.text = text_begin(file), .as_json = settings->json, .json = json_begin(file, true),
	};
	dumper.writer.text.width = 0;
	done = dump_all(&dumper, error);
	capture_buffer_finish(&dumper.buffer);
	capture_close(dumper.capture);
	return done;
}

static bool dump_run(struct invocation *invocation, struct error *error)
{
	struct dump settings = { .stream = UINT64_MAX, .range = { 0, UINT64_MAX } };
	struct output output = { 0 };
	char *newest = NULL;
	bool done = false;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (invocation->arguments.count == 0 && !find_newest_said(&newest, error))
		return false;
	if (!output_open(&output, settings.output, settings.force, error))
		goto out;
	done = newest ? dump_one(&settings, newest, output.file, error) : true;
	for (int i = 0; done && i < invocation->arguments.count; i++)
		done = dump_one(&settings, invocation->arguments.argv[i], output.file, error);
	done = done && output_commit(&output, error);
out:
	output_close(&output);
	free(newest);
	return done;
}

static const struct command_example dump_examples[] = {
	{ "sctmem dump capture.bin | less", "everything, a record a line" },
	{ "sctmem dump --header capture.bin", "whose capture it is and how it ended" },
	{ "sctmem dump --json --time 1..1.5 capture.bin", "half a second, as JSON lines" },
	{ 0 }
};

const struct command dump_command = {
	.name = "dump",
	.summary = "print the records of a capture, one a line",
	.arguments = "[CAPTURE...]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Prints the header, the status and every record of a capture as it lies in the file, stream by stream; "
		"formats/capture.md explains them. Damaged parts are named with their offset and skipped.\n\n"
		"A record's line is: time in seconds, stream, thread, kind, and what the kind has: address, size, stack.",
	.groups = dump_groups,
	.examples = dump_examples,
	.run = dump_run,
};
