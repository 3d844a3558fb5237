/* SPDX-License-Identifier: MIT */
/*
 * sctmem attach: begins to record a process that runs already and was not started by sctmem run.
 *
 *     look at the process ---> borrow a thread, load the library, begin ---> say so
 *                              a moment later once more (attaching_settle)
 *     --duration:              wait, or until Ctrl-C or its end, then as detach does
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "attaching.h"
#include "clock.h"
#include "command.h"
#include "memory.h"
#include "pattern.h"
#include "program.h"
#include "recorded.h"
#include "recording_options.h"
#include "text.h"

enum { SETTLE_MS = 30 };

struct attach {
	struct recording recording;
	bool any_seccomp;
	int method;                   /* enum attaching_method */
	uint64_t duration_ns;         /* 0: until detached */
	uint64_t wait_s;
};

static bool parse_duration(const char *value, void *field, struct error *error)
{
	uint64_t *duration_ns = field;

	if (!options_parse_time(value, duration_ns) || *duration_ns == 0)
		return fail(error, STATUS_USAGE, "is not a time: 30, 90s, 5m, 1h30m");
	return true;
}

static const struct option_spec attach_when[] = {
	OPTION_CUSTOM('d', "duration", "TIME", struct attach, duration_ns, uint64_t, parse_duration, NULL,
		"wait so long, then detach; Ctrl-C detaches at once"),
	OPTION_NUMBER(0, "wait", "SECONDS", struct attach, wait_s, 1, 3600,
		"how long to wait for a thread in a safe place (default 10)"),
	OPTION_CHOICE('m', "method", "auto|ptrace|remote-exec", struct attach, method, attaching_methods,
		"borrow a thread by ptrace, or have Python 3.14+ do it by itself; auto (default): the second where only that can be"),
	OPTION_FLAG(0, "any-seccomp", struct attach, any_seccomp,
		"go on although a filter of system calls may end the process"),
	OPTION_LAST
};

static const struct option_group attach_groups[] = {
	{ .title = "Output", .options = recording_output_options, .offset = offsetof(struct attach, recording) },
	{ .title = "What is recorded", .options = recording_what_options, .offset = offsetof(struct attach, recording) },
	{ .title = "In which processes", .options = recording_running_options,
		.offset = offsetof(struct attach, recording) },
	{ .title = "How long, and how", .options = attach_when },
	{ 0 }
};

static bool set_one(void *attaching, const char *variable, const char *value, struct error *error)
{
	return attaching_set(attaching, variable, value, error);
}

/* What to do now; not where we end it ourselves. */
static void say_next(const struct attaching *attaching)
{
	const int pid = (int)attaching->remote.pid;

	if (attaching->request.result == ATTACH_STARTED)
		fprintf(stderr, "sctmem: watch it: sctmem top %d; name a moment: sctmem ctl %d mark NAME; "
			"switch it off again: sctmem ctl %d stop\n", pid, pid, pid);
	else
		fprintf(stderr, "sctmem: watch it: sctmem top %d; pause or name a moment: sctmem ctl %d stop|start|mark NAME; "
			"end it: sctmem detach %d\n", pid, pid, pid);
}

static void say_begun(const struct attaching *attaching, const char *path)
{
	const struct attach_request *request = &attaching->request;
	char shown[1024], name[256];

	fprintf(stderr, "sctmem: process %d (%s", (int)attaching->remote.pid,
		text_escape(name, sizeof name, attaching->remote.name));
	if (request->python)
		fprintf(stderr, ", Python %u.%u", request->python >> 24, request->python >> 16 & 0xff);
	fprintf(stderr, ") is recorded into %s", text_escape(shown, sizeof shown, path));
	if (request->result == ATTACH_STARTED)
		fputs(", as it was started with the library and SCTMEM_START=off", stderr);
	if (attaching->method == ATTACHING_REMOTE_EXEC)
		fputs("; its main thread did it by itself\n", stderr);
	else
		fprintf(stderr, "; one thread stood still for %s\n", text_time(attaching->stopped_ns).text);
	if (request->slots_left + request->symbols_left)
		fprintf(stderr, "sctmem: %u references could not be redirected: what is called through them is not recorded\n",
			request->slots_left + request->symbols_left);
}

/* Waits on a process that is not our child: by a descriptor of it, from Linux 5.3 on, else by looking. */
static bool wait_for(pid_t pid, uint64_t duration_ns)
{
	sigset_t stops, before;
	bool alive = true;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	sigemptyset(&stops);
	sigaddset(&stops, SIGINT);
	sigaddset(&stops, SIGTERM);
	sigaddset(&stops, SIGHUP);
	sigprocmask(SIG_BLOCK, &stops, &before);

	const uint64_t end = clock_now_ns() + duration_ns;

	while (alive) {
		struct timespec none = { 0 }, step = { .tv_nsec = 50000000 };
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

		if (clock_now_ns() >= end || sigtimedwait(&stops, NULL, &none) > 0)
			break;
		ppoll(&poll_fd, 1, &step, NULL);
		alive = fd >= 0 ? !(poll_fd.revents & POLLIN) : kill(pid, 0) == 0 || errno == EPERM;
	}
	if (fd >= 0)
		close(fd);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return alive;
}

static bool record_for(struct attaching *attaching, const struct attach *settings, const char *library,
	const char *path, struct error *error)
{
	pid_t pid = attaching->remote.pid;
	bool alive = wait_for(pid, settings->duration_ns);

	if (alive) {
		struct attaching end = { .wait_ms = settings->wait_s * 1000, .any_seccomp = settings->any_seccomp,
			.method = attaching->method };
		bool done = attaching_open(&end, pid, error) && attaching_end(&end, library, error);

		attaching_close(&end);
		/* It may have ended by itself just now. */
		if (!done && error->status != STATUS_NO_INPUT)
			return false;
	}
	if (!settings->recording.quiet)
		recorded_print(path, !alive, 0);
	return true;
}

static bool attach_run(struct invocation *invocation, struct error *error)
{
	struct attach settings = { .recording = RECORDING_NOTHING_ASKED, .wait_s = 10 };
	struct attaching attaching = { .remote.memory = -1 };
	char library[PROGRAM_PATH_SIZE], path[PROGRAM_PATH_SIZE + 64];
	char *pattern = NULL;
	bool done = false;
	pid_t pid;

	if (!command_parse(invocation, &settings, error) || !recording_check(&settings.recording, error))
		return false;
	if (invocation->arguments.count != 1)
		return fail(error, STATUS_USAGE, "which process? sctmem attach PID; see: ps, pgrep -a python");
	attaching.wait_ms = settings.wait_s * 1000;
	attaching.any_seccomp = settings.any_seccomp;
	attaching.method = settings.method;
	if (!attaching_parse(invocation->arguments.argv[0], &pid, error) || !program_find_library(library, error) ||
		!attaching_open(&attaching, pid, error))
		goto out;
	/* Under another root our folder is not there: the process's own is meant. */
	pattern = attaching.remote.same_root ? pattern_make(settings.recording.output) :
		memory_text(settings.recording.output ? settings.recording.output : "sctmem.%e.%p.bin");
	if (!attaching_set(&attaching, "SCTMEM_OUT", pattern, error) ||
		!recording_hand_over(&settings.recording, set_one, &attaching, error) ||
		!attaching_begin(&attaching, library, error))
		goto out;
	if (attaching.request.result != ATTACH_DONE && attaching.request.result != ATTACH_STARTED) {
		attaching_refused(&attaching, error);
		goto out;
	}
	attaching_capture(&attaching, path, sizeof path);
	if (!settings.recording.quiet) {
		say_begun(&attaching, path);
		if (settings.duration_ns == 0)
			say_next(&attaching);
	}
	/* If it cannot be, what another thread was resolving in that very moment is missed: nothing to fail for. */
	if (attaching.request.result == ATTACH_DONE &&
		(nanosleep(&(struct timespec){ .tv_nsec = SETTLE_MS * 1000000L }, NULL) != 0 ||
		!attaching_settle(&attaching, library, error)))
		*error = (struct error){ 0 };
	done = settings.duration_ns == 0 || record_for(&attaching, &settings, library, path, error);
out:
	attaching_close(&attaching);
	free(pattern);
	return done;
}

static const struct command_example attach_examples[] = {
	{ "sctmem attach 4711", "record process 4711 from now on; sctmem detach 4711 ends it" },
	{ "sctmem attach -o growing.bin -d 5m 4711", "five minutes of it" },
	{ "sctmem attach --native full $(pgrep -o redis-server)", "a native program" },
	{ 0 }
};

const struct command attach_command = {
	.name = "attach",
	.summary = "record a process that runs already",
	.arguments = "PID",
	.operands = COMMAND_PROCESS,
	.description =
		"Loads libsctmem.so into process PID, on one of its own threads, which is stopped for some milliseconds; the "
		"others run on. From then on every allocation and free is recorded as in a program that sctmem run started. "
		"What the process had allocated before is not known: when it is freed, that is counted apart, and it is never "
		"shown as live or leaked.\n\n"
		"It needs the permission to look into the process: the same user, or root, and what the system's settings and "
		"containers allow beyond that. When anything fails the process goes on as it was. Programs it executes are not "
		"recorded; its children by fork are.\n\n"
		"The capture is written by the process, with its rights. Where its root folder is another (a container), -o is "
		"a path in there, and the message says where that is from here.",
	.groups = attach_groups,
	.examples = attach_examples,
	.run = attach_run,
};
