/* SPDX-License-Identifier: MIT */
/*
 * sctmem run: starts a program with the library preloaded and behaves, to whoever started us, as if we were the
 * program: its input and output are ours, signals that are sent to us reach it, its exit status is ours, and when a
 * signal ended it, the same signal ends us.  How, is told in launch.c.
 */
#include "command.h"
#include "launch.h"
#include "recording_options.h"

static const struct option_group run_groups[] = {
	{ .title = "Output", .options = recording_output_options },
	{ .title = "What is recorded", .options = recording_what_options },
	{ .title = "Where and from when on", .options = recording_started_options },
	{ 0 }
};

static bool run_run(struct invocation *invocation, struct error *error)
{
	struct recording settings = RECORDING_NOTHING_ASKED;
	struct launch launch = { 0 };
	bool ok;

	if (!command_parse(invocation, &settings, error) || !recording_check(&settings, error))
		return false;
	if (invocation->arguments.count == 0)
		return fail(error, STATUS_USAGE, "no program to run: sctmem run -- python3 app.py");
	ok = launch_find(&launch, &settings, invocation->arguments.argv, invocation->arguments.count, error) &&
		launch_start(&launch, error);
	if (ok) {
		launch_wait(&launch);
		if (!settings.quiet)
			launch_report(&launch);
		invocation->status = launch_exit_status(&launch);
	}
	launch_finish(&launch);
	return ok;
}

static const struct command_example run_examples[] = {
	{ "sctmem run -- python3 app.py --its-own-options", "record into sctmem.python3.11.<pid>.bin" },
	{ "sctmem run -o app.bin -f app.py", "a script needs no interpreter before it; -f: replace the last capture" },
	{ "sctmem run --follow 'exec:python*' -- make test", "every Python that make starts, each in its own capture" },
	{ "sctmem run --native full -- ./server", "whole native stacks under Python too" },
	{ 0 }
};

const struct command run_command = {
	.name = "run",
	.summary = "run a program and record its memory",
	.arguments = "[--] PROGRAM [ARGUMENT...]",
	.operands = COMMAND_PROGRAM,
	.description =
		"Runs PROGRAM with libsctmem.so preloaded. Its input, output, signals and exit status are what they would be "
		"without sctmem; if a signal ends it, the same signal ends sctmem. A capture can be read at any moment, also "
		"while the program runs and after it was killed.\n\n"
		"A Python script that is not executable is run with python3. The variables of sctmem(1), ENVIRONMENT, hold "
		"where no option is given. At the end the captures are named on standard error.",
	.groups = run_groups,
	.examples = run_examples,
	.run = run_run,
};
