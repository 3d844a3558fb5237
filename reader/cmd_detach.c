/* SPDX-License-Identifier: MIT */
/*
 * sctmem detach: ends what sctmem attach began.  All references lead to the real functions again; the library stays
 * in the process, dormant, since somebody may have kept the address of one of its functions.
 */
#include <stdio.h>

#include "attaching.h"
#include "command.h"
#include "program.h"
#include "recorded.h"
#include "text.h"

struct detach {
	bool quiet, any_seccomp;
	int method;                   /* enum attaching_method */
	uint64_t wait_s;
};

static const struct option_spec detach_options[] = {
	OPTION_FLAG('q', "quiet", struct detach, quiet, "do not say what was recorded"),
	OPTION_NUMBER(0, "wait", "SECONDS", struct detach, wait_s, 1, 3600,
		"how long to wait for a thread in a safe place (default 10)"),
	OPTION_CHOICE('m', "method", "auto|ptrace|remote-exec", struct detach, method, attaching_methods,
		"borrow a thread by ptrace, or have Python 3.14+ do it by itself; auto (default): the second where only that can be"),
	OPTION_FLAG(0, "any-seccomp", struct detach, any_seccomp,
		"go on although a filter of system calls may end the process"),
	OPTION_LAST
};

static const struct option_group detach_groups[] = {
	{ .title = "Options", .options = detach_options },
	{ 0 }
};

/* What can be done with the process now; what was recorded is asked for as any capture is. */
static void say_next(const struct attaching *attaching)
{
	const int pid = (int)attaching->remote.pid;

	if (attaching->request.result == ATTACH_STOPPED)
		fprintf(stderr, "sctmem: process %d goes on with recording off; on again, into the same capture: "
			"sctmem ctl %d start; watch it: sctmem top %d\n", pid, pid, pid);
	else
		fprintf(stderr, "sctmem: process %d goes on unrecorded; again, into a new capture: sctmem attach %d, and then "
			"sctmem top %d watches it and sctmem ctl %d stop|start pauses it\n", pid, pid, pid, pid);
}

static bool detach_run(struct invocation *invocation, struct error *error)
{
	struct detach settings = { .wait_s = 10 };
	struct attaching attaching = { .remote.memory = -1 };
	char library[PROGRAM_PATH_SIZE], path[PROGRAM_PATH_SIZE + 64];
	bool done = false;
	pid_t pid;

	if (!command_parse(invocation, &settings, error))
		return false;
	if (invocation->arguments.count != 1)
		return fail(error, STATUS_USAGE, "which process? sctmem detach PID");
	attaching.wait_ms = settings.wait_s * 1000;
	attaching.any_seccomp = settings.any_seccomp;
	attaching.method = settings.method;
	if (!attaching_parse(invocation->arguments.argv[0], &pid, error) || !program_find_library(library, error) ||
		!attaching_open(&attaching, pid, error))
		goto out;
	if (!attaching_has_library(&attaching)) {
		fail(error, STATUS_NO_INPUT, "process %d is not recorded by sctmem", (int)pid);
		goto out;
	}
	if (!attaching_end(&attaching, library, error))
		goto out;
	if (attaching.request.result == ATTACH_ALREADY) {
		fail(error, STATUS_NO_INPUT, "process %d is not recorded any more", (int)pid);
	} else if (attaching.request.result != ATTACH_DONE && attaching.request.result != ATTACH_STOPPED) {
		attaching_refused(&attaching, error);
	} else {
		attaching_capture(&attaching, path, sizeof path);
		if (!settings.quiet) {
			recorded_print(path, false, 0);
			say_next(&attaching);
		}
		done = true;
	}
out:
	attaching_close(&attaching);
	return done;
}

static const struct command_example detach_examples[] = {
	{ "sctmem detach 4711", "end the recording that sctmem attach 4711 began" },
	{ 0 }
};

const struct command detach_command = {
	.name = "detach",
	.summary = "end the recording of a process that attach began",
	.arguments = "PID",
	.operands = COMMAND_PROCESS,
	.description =
		"Leads the process's calls back to the real functions and ends its capture. It can be attached again later, "
		"into another capture. The library itself stays in the process: it does nothing then, and takes the memory "
		"that it had taken.",
	.groups = detach_groups,
	.examples = detach_examples,
	.run = detach_run,
};
