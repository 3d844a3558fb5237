/* SPDX-License-Identifier: MIT */
/*
 * sctmem top: a running process, as its growing capture shows it: on a terminal (top_screen.c), or once as text or
 * JSON.  The process is not touched and notices nothing: its capture is all that is read.
 *
 * Or a program that is started for it, as by sctmem run, but without our terminal, which the screen needs.
 */
#include <inttypes.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "family_heaps.h"
#include "json.h"
#include "launch.h"
#include "memory.h"
#include "output.h"
#include "symbol_cache.h"
#include "target.h"
#include "top.h"
#include "top_screen.h"
#include "view.h"

enum { LARGE_BYTES = 64 << 20, OUTPUT_LINES = 10, OUTPUT_BYTES = 16 << 10 };
#define PROCESSES_NS 1000000000u      /* of processor time, for the heaps of the other processes */

struct settings {
	int sort, view, only;         /* enums of top.h */
	uint64_t interval_ns;
	uint64_t number;              /* of rows */
	const char *search, *program_output;
	bool once, json, no_symbols, no_cache;
	struct recording recording;   /* of a program that is started */
};

static bool parse_interval(const char *value, void *field, struct error *error)
{
	if (options_parse_time(value, field) && *(uint64_t *)field >= 50000000)
		return true;
	return fail(error, STATUS_USAGE, "not a time of 50ms or more, like 1, 500ms or 1m");
}

static const struct option_spec top_options[] = {
	OPTION_CHOICE('s', "sort", "NAME", struct settings, sort, top_sort_names,
		"own (default), total, blocks, growth (since the first look) or allocated (also what was freed)"),
	OPTION_CHOICE('b', "by", "NAME", struct settings, view, top_view_names,
		"lines (default), functions, files, modules, threads or tree"),
	OPTION_CHOICE(0, "only", "NAME", struct settings, only, top_language_names, "all (default), python or native code"),
	OPTION_TEXT(0, "search", "TEXT", struct settings, search, "only rows that hold this text"),
	OPTION_CUSTOM('i', "interval", "TIME", struct settings, interval_ns, uint64_t, parse_interval, NULL,
		"time between looks (default 1)"),
	OPTION_FLAG(0, "no-symbols", struct settings, no_symbols, "show native frames as module+0xoffset"),
	VIEW_NO_CACHE(struct settings, no_cache),
	OPTION_LAST
};

static const struct option_spec once_options[] = {
	OPTION_FLAG('1', "once", struct settings, once, "print it once; rates and growth are of one interval"),
	OPTION_NUMBER('n', "number", "N", struct settings, number, 0, UINT32_MAX, "rows that are printed (default 20)"),
	OPTION_FLAG('j', "json", struct settings, json, "write JSON (its keys: docs/json.md); once"),
	OPTION_LAST
};

static const struct option_spec program_options[] = {
	OPTION_TEXT(0, "program-output", "FILE", struct settings, program_output,
		"where its output goes, which the screen has no room for (default sctmem.PROGRAM.PID.out beside the capture)"),
	OPTION_LAST
};

static const struct option_group top_groups[] = {
	{ .title = "What is shown", .options = top_options },
	{ .title = "Without a terminal", .options = once_options },
	{ .title = "Of a program that is started", .options = program_options },
	{ .title = "Its capture", .options = recording_output_options, .offset = offsetof(struct settings, recording) },
	{ .title = "What is recorded of it", .options = recording_what_options,
		.offset = offsetof(struct settings, recording) },
	{ .title = "Where and from when on", .options = recording_started_options,
		.offset = offsetof(struct settings, recording) },
	{ 0 }
};

/*
 * The processes of the family.  What the others hold is read for as long as that is given; of those that are not read
 * by then it is not known.
 */
static void write_processes(struct json *json, const struct top *top)
{
	struct family_heaps heaps = { 0 };
	struct family_member *members;
	const size_t count = family_list(top->path, &members);

	family_heaps_want(&heaps, members, count);
	(void)family_heaps_look(&heaps, UINT64_MAX, PROCESSES_NS);
	json_array(json, "processes");
	for (size_t i = 0; i < count; i++) {
		const struct family_figure figure = top_figure(top, &heaps, &members[i]);

		json_object(json, NULL);
		json_number(json, "pid", members[i].pid);
		json_number(json, "parent_pid", members[i].parent_pid);
		json_text(json, "path", members[i].path);
		json_text(json, "command", members[i].command);
		json_bool(json, "shown", members[i].self);
		json_bool(json, "alive", members[i].alive);
		if (members[i].resident_bytes)
			json_number(json, "resident_bytes", members[i].resident_bytes);
		else
			json_null(json, "resident_bytes");
		if (figure.known) {
			json_number(json, "live_bytes", figure.heap.bytes);
			json_bool(json, "live_estimated", figure.heap.estimated);
			json_bool(json, "live_partial", figure.heap.partial);
			json_decimal(json, "live_age_s", (double)figure.age_ns / 1e9, 3);
		} else {
			json_null(json, "live_bytes");
		}
		json_object_end(json);
	}
	json_array_end(json);
	family_heaps_finish(&heaps);
	family_free(members, count);
}

static void write_json(const struct top *top, const struct target *target, uint64_t number)
{
	const struct top_numbers *numbers = &top->numbers;
	const struct profile *profile = profile_live_get(top->live);
	struct json json = json_begin(stdout, false);

	json_object(&json, NULL);
	json_number(&json, "pid", target->pid);
	json_text(&json, "path", target->run);
	json_number(&json, "segment_first", profile->captures[0].segment_first);
	json_number(&json, "segment_last", profile->captures[0].segment_last);
	json_number(&json, "segments_missing", profile->captures[0].segments_missing);
	json_text(&json, "state", top_state(top));
	json_decimal(&json, "time_s", (double)numbers->time_ns / 1e9, 9);
	json_number(&json, "live_bytes", numbers->live_bytes);
	json_number(&json, "live_count", numbers->live_blocks);
	json_number(&json, "peak_bytes", numbers->peak_bytes);
	json_number(&json, "resident_bytes", numbers->resident_bytes);
	json_number(&json, "resident_peak_bytes", numbers->resident_peak_bytes);
	json_decimal(&json, "growth_bytes", (double)numbers->growth_bytes, 0);
	if (numbers->allocations_per_s >= 0) {
		json_decimal(&json, "allocations_per_s", numbers->allocations_per_s, 1);
		json_decimal(&json, "bytes_per_s", numbers->bytes_per_s, 1);
	} else {
		json_null(&json, "allocations_per_s");
		json_null(&json, "bytes_per_s");
	}
	json_number(&json, "threads", profile->thread_count);
	json_number(&json, "lost_events", profile->captures[0].lost_events);
	json_number(&json, "forgotten_bytes", profile->captures[0].forgotten_bytes);
	view_write_sample(&json, profile);
	json_text(&json, "by", top_view_names[top->view]);
	json_text(&json, "sort", top_sort_names[top->sort]);
	json_number(&json, "row_count", top->row_count);
	json_array(&json, "rows");
	for (size_t i = 0; i < top->row_count && i < number; i++) {
		const struct top_row *row = &top->rows[i];

		json_object(&json, NULL);
		json_text(&json, "text", row->text);
		if (row->frame != UINT32_MAX) {
			const struct frame *frame = &profile->frames[row->frame];

			json_text(&json, "function", frame->function);
			json_text(&json, "file", frame->file);
			json_number(&json, "line", frame->line);
			json_text(&json, "module", frame->module);
			json_text(&json, "language", frame->kind == FRAME_PYTHON ? "python" : frame->kind == FRAME_NATIVE ? "native" : "");
		}
		if (top->view == TOP_TREE)
			json_number(&json, "depth", row->depth);
		json_number(&json, "own_bytes", row->own_bytes);
		json_number(&json, "total_bytes", row->total_bytes);
		json_number(&json, "own_count", row->own_blocks);
		json_decimal(&json, "growth_bytes", (double)row->growth_bytes, 0);
		json_number(&json, "allocated_bytes", row->allocated_bytes);
		json_object_end(&json);
	}
	json_array_end(&json);
	write_processes(&json, top);
	json_object_end(&json);
}

static void write_text(const struct top *top, const struct target *target, uint64_t number)
{
	static const struct text_column columns[] = {
		{ "own", true }, { "total", true }, { "blocks", true }, { "growth", true }, { "allocated", true }, { "where" },
	};
	const struct top_numbers *numbers = &top->numbers;
	const struct profile *profile = profile_live_get(top->live);
	struct text_table table = TEXT_TABLE(columns);
	struct text text = text_begin(stdout);

	printf("process %" PRIu32 ", %s, after %s", target->pid, top_state(top), text_time(numbers->time_ns).text);
	if (top->segment)
		printf(", segments %" PRIu32 " to %" PRIu32 " of the run%s", profile->captures[0].segment_first, top->segment,
			profile->captures[0].segment_first > 1 ? ": what was allocated before is not known" : "");
	putchar('\n');
	printf("live %s in %s blocks, peak %s, resident %s", text_bytes(numbers->live_bytes).text,
		text_count(numbers->live_blocks).text, text_bytes(numbers->peak_bytes).text,
		text_bytes(numbers->resident_bytes).text);
	if (numbers->allocations_per_s >= 0)
		printf(", %s allocations and %s a second", text_count((uint64_t)numbers->allocations_per_s).text,
			text_bytes((uint64_t)numbers->bytes_per_s).text);
	printf(", %" PRIu32 " thread%s\n\n", profile->thread_count, profile->thread_count == 1 ? "" : "s");
	for (size_t i = 0; i < top->row_count && i < number; i++) {
		const struct top_row *row = &top->rows[i];
		char growth[48], *where = memory_new(strlen(row->text) + row->depth + 1, 1);

		snprintf(growth, sizeof growth, "%s%s", row->growth_bytes < 0 ? "-" : row->growth_bytes > 0 ? "+" : "",
			text_bytes((uint64_t)llabs(row->growth_bytes)).text);
		text_table_add(&table, TEXT_PLAIN, text_bytes(row->own_bytes).text);
		text_table_add(&table, TEXT_PLAIN, text_bytes(row->total_bytes).text);
		text_table_add(&table, TEXT_PLAIN, text_count(row->own_blocks).text);
		text_table_add(&table, row->growth_bytes > 0 ? TEXT_HOT : TEXT_PLAIN, growth);
		text_table_add(&table, TEXT_PLAIN, text_bytes(row->allocated_bytes).text);
		memset(where, ' ', row->depth);
		strcpy(where + row->depth, row->text);
		text_table_add(&table, TEXT_PLAIN, where);
		free(where);
	}
	text_table_print(&table, &text, "");
	text_table_finish(&table);
	if (top->row_count > number)
		printf("and %s more\n", text_count(top->row_count - number).text);
	view_print_warnings(profile, &text);
}

/* Two looks, when there is something to compare. */
static bool look_once(struct top *top, const struct settings *settings, struct error *error)
{
	const struct timespec pause = { .tv_sec = (time_t)(settings->interval_ns / 1000000000),
		.tv_nsec = (long)(settings->interval_ns % 1000000000) };

	if (!top_look(top, error))
		return false;
	if (!profile_live_is_alive(top->live))
		return true;
	nanosleep(&pause, NULL);
	return top_look(top, error);
}

/* The first look takes all that was recorded before, which may take a while. */
static void say_size(const struct target *target)
{
	struct capture_status status;
	struct error ignored;

	if (target_read_status(target, &status, &ignored) && status.file_bytes > LARGE_BYTES)
		fprintf(stderr, "sctmem: reading what was recorded so far, %s\n", text_bytes(status.file_bytes).text);
}

static bool show(struct top *top, const struct target *target, struct launch *program, const struct settings *settings,
	struct error *error)
{
	top->sort = (enum top_sort)settings->sort;
	top->view = (enum top_view)settings->view;
	top->language = (enum top_language)settings->only;
	snprintf(top->search, sizeof top->search, "%s", settings->search ? settings->search : "");
	if (settings->once || settings->json) {
		if (!look_once(top, settings, error))
			return false;
		if (settings->json)
			write_json(top, target, settings->number);
		else
			write_text(top, target, settings->number);
		return output_flush_standard(error);
	}
	say_size(target);
	return top_look(top, error) && top_screen_run(top, target->pid, program, settings->interval_ns,
		error);
}

static bool show_capture(const struct target *target, struct launch *program, const struct settings *settings,
	struct error *error)
{
	struct profile_options options = profile_options_default;
	char cache[PATH_MAX];
	struct top top;

	options.no_symbols = settings->no_symbols;
	if (!settings->no_cache && symbol_cache_folder(cache, sizeof cache))
		options.cache_folder = cache;

	if (!top_open(&top, target->run, &options, error))
		return false;
	const bool ok = show(&top, target, program, settings, error);
	top_close(&top);
	return ok;
}

/* Waits until the program is recorded; false: it has ended, or we are to end, before it was. */
static bool find_program(struct launch *launch, struct target *target)
{
	enum { PATIENT_LOOKS = 100 };
	struct error ignored = { .text = "" };
	char pid[16], shown[1024];

	snprintf(pid, sizeof pid, "%d", (int)launch->pid);
	for (unsigned looks = 0; !launch_told(); looks++) {
		const bool ended = launch_poll(launch);

		if (!ended && target_open(target, pid, false, &ignored))
			return true;
		if (ended)
			break;
		if (looks == PATIENT_LOOKS)
			fprintf(stderr, "sctmem: waiting for %s to be recorded (Ctrl-C ends it)\n",
				text_escape(shown, sizeof shown, launch->name));
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return false;
}

/* What the user did not see: all of it is in the file, and its end is here where the program has failed. */
static void report_output(const struct launch *launch)
{
	struct text text = text_begin(stderr);
	char bytes[OUTPUT_BYTES + 1], shown[1024];
	FILE *file = fopen(launch->output, "re");
	const char *at;
	size_t got = 0;
	int lines = 0;

	if (!file)
		return;
	if (fseek(file, -(long)OUTPUT_BYTES, SEEK_END) != 0)
		rewind(file);
	got = fread(bytes, 1, OUTPUT_BYTES, file);
	fclose(file);
	bytes[got] = 0;
	if (got == 0) {
		unlink(launch->output);       /* made by us, and nothing was put into it */
		return;
	}
	fprintf(stderr, "sctmem: its output is in %s\n", text_escape(shown, sizeof shown, launch->output));
	if (launch->wait_status == 0)
		return;
	for (at = bytes + got - (bytes[got - 1] == '\n'); at > bytes; at--)
		if (at[-1] == '\n' && ++lines == OUTPUT_LINES)
			break;
	while (*at) {
		const size_t length = strcspn(at, "\n");
		char *line = memory_new(length + 1, 1);

		memcpy(line, at, length);
		text_write(&text, line, 0);
		putc('\n', stderr);
		free(line);
		at += length + (at[length] == '\n');
	}
}

static bool start_and_show(struct invocation *invocation, const struct settings *settings, struct error *error)
{
	struct launch launch = { .apart = true, .output_given = settings->program_output };
	struct target target = { .file = -1 };
	bool ok = launch_find(&launch, &settings->recording, invocation->arguments.argv, invocation->arguments.count, error) &&
		launch_start(&launch, error);
	char shown[1024];

	if (!ok) {
		launch_finish(&launch);
		return false;
	}
	if (find_program(&launch, &target))
		ok = show_capture(&target, &launch, settings, error);
	target_close(&target);
	if (!launch_poll(&launch))
		fprintf(stderr, "sctmem: waiting for %s to end\n", text_escape(shown, sizeof shown, launch.name));
	launch_wait(&launch);
	if (!settings->recording.quiet) {
		report_output(&launch);
		launch_report(&launch);
	}
	if (ok)
		invocation->status = launch_exit_status(&launch);
	launch_finish(&launch);
	return ok;
}

static bool find_any(void *to, const char *variable, const char *value, struct error *error)
{
	(void)to;
	(void)variable;
	(void)value;
	(void)error;
	return false;
}

static bool check_program(const struct arguments *arguments, const struct settings *settings, struct error *error)
{
	const bool started = arguments->before_dashes >= 0;

	if (!started && (settings->program_output || settings->recording.output || settings->recording.quiet ||
		!recording_hand_over(&settings->recording, find_any, NULL, error)))
		return fail(error, STATUS_USAGE, "options of a recording are for a program that top starts: "
			"sctmem top [OPTION...] -- PROGRAM");
	if (!started)
		return true;
	if (arguments->before_dashes > 0)
		return fail(error, STATUS_USAGE, "top shows either a process or a program that it starts: %s or what is after --",
			arguments->argv[0]);
	if (arguments->count == 0)
		return fail(error, STATUS_USAGE, "no program after --: sctmem top -- python3 app.py");
	if (settings->once || settings->json)
		return fail(error, STATUS_USAGE, "--once and --json look at a process that runs: sctmem run -- %s ..., then top",
			arguments->argv[0]);
	return recording_check(&settings->recording, error);
}

static bool top_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .interval_ns = 1000000000, .number = 20, .recording = RECORDING_NOTHING_ASKED };
	const struct arguments *arguments = &invocation->arguments;
	struct target target;
	bool ok;

	if (!command_parse(invocation, &settings, error) || !check_program(arguments, &settings, error))
		return false;
	if (arguments->before_dashes < 0 && arguments->count > 1)
		return fail(error, STATUS_USAGE, "top shows one process: %s is one too many", arguments->argv[1]);
	if (!settings.once && !settings.json && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)))
		return fail(error, STATUS_USAGE, "top needs a terminal for input and output: without one use top --once");
	if (!settings.once && !settings.json && !top_screen_exists())
		return top_screen_run(NULL, 0, NULL, 0, error);
	if (arguments->before_dashes >= 0)
		return start_and_show(invocation, &settings, error);
	if (!target_open(&target, arguments->count ? arguments->argv[0] : NULL, false, error))
		return false;
	ok = show_capture(&target, NULL, &settings, error);
	target_close(&target);
	return ok;
}

static const struct command_example top_examples[] = {
	{ "sctmem top 1234", "what lives in a process that runs under the library" },
	{ "sctmem top", "in the one that writes the newest capture here" },
	{ "sctmem top --sort growth --by functions 1234", "which functions hold more and more" },
	{ "sctmem top --once --json 1234", "for a script" },
	{ "sctmem top -- python3 app.py", "starts the program under the library and shows it" },
	{ 0 }
};

const struct command top_command = {
	.name = "top",
	.summary = "watch a running process: what lives, where, and what grows",
	.arguments = "[PID|CAPTURE | -- PROGRAM [ARGUMENT...]]",
	.operands = COMMAND_CAPTURES,
	.description =
		"Shows the live heap of a process that is being recorded, as its capture grows: figures and their time line, and "
		"the lines, functions, files, modules, threads or stacks that hold the memory. The process is not touched: only "
		"its capture is read, and at each look only what is new in it. When it ends, the last figures stay. A run in "
		"segments is followed from file to file; a process that executes another program is followed into that.\n\n"
		"After -- a program is started and recorded, as by sctmem run. It gets no terminal: its input is empty, and what it "
		"would write on the terminal goes into a file, the end of which w shows. Ctrl-C and other signals go to the program. "
		"When it has ended, its last figures stay until q; the exit status is its own.\n\n"
		"Keys: o, t, b, g and n sort by own, total, blocks, growth and all that was allocated; v changes the view, T is "
		"the tree, enter opens and closes; l shows Python or native code only; < and > one thread; / searches; space "
		"pauses; z measures growth from now on; f lists the processes of the run with their live "
		"heaps; ? helps; q quits.",
	.groups = top_groups,
	.examples = top_examples,
	.run = top_run,
};
