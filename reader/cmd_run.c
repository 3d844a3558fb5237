/* SPDX-License-Identifier: MIT */
/*
 * sctmem run: starts a program with the library preloaded and behaves, to whoever started us, as if we were the
 * program: its input and output are ours, signals that are sent to us reach it, its exit status is ours, and when a
 * signal ended it, the same signal ends us.
 *
 *     parent                               child
 *     blocks the signals it forwards
 *     forks ------------------------------ default handlers, the old mask, environment
 *     forwards, waits                      execs; when that fails, says why through a pipe that exec closes
 *     names the captures on stderr
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capture.h"
#include "command.h"
#include "find.h"
#include "memory.h"
#include "pattern.h"
#include "program.h"
#include "recorded.h"
#include "recording_options.h"
#include "text.h"

enum {
	CLOCK_SLACK_NS = 20000000,        /* the library's clock goes in steps of a few milliseconds */
};

static const struct option_group run_groups[] = {
	{ .title = "Output", .options = recording_output_options },
	{ .title = "What is recorded", .options = recording_what_options },
	{ .title = "Where and from when on", .options = recording_started_options },
	{ 0 }
};

/* A glob for all names that the library may make of the pattern: conversions stand for anything, and a suffix for
 * children and successors comes behind. */
static char *make_glob(const char *pattern)
{
	char *glob = memory_new(2 * strlen(pattern) + 2, 1), *to = glob;

	for (; *pattern; pattern++) {
		if (*pattern == '%' && pattern[1] && strchr("pehn", pattern[1])) {
			*to++ = '*';
			pattern++;
			continue;
		}
		if (*pattern == '%' && pattern[1])
			pattern++;
		if (strchr("*?[\\", *pattern))
			*to++ = '\\';
		*to++ = *pattern;
	}
	*to = '*';
	return glob;
}

static bool check_pattern(const struct recording *settings, const char *pattern, struct error *error)
{
	char *folder = memory_text(pattern);
	char *slash = strrchr(folder, '/');
	struct stat status;
	bool good = true;

	if (slash)
		slash[slash == folder ? 1 : 0] = 0;
	if (!strchr(pattern, '%') && lstat(pattern, &status) == 0) {
		if (!S_ISREG(status.st_mode))
			good = fail(error, STATUS_OUTPUT, "%s is not a regular file; choose another with -o", pattern);
		else if (!settings->force)
			good = fail(error, STATUS_OUTPUT, "%s exists; -f replaces it", pattern);
		else if (status.st_size > 0 && !capture_has_magic(pattern))
			good = fail(error, STATUS_OUTPUT, "%s is no capture, and -f replaces captures only; remove it first, "
				"or choose another name with -o", pattern);
	}
	if (good && !strchr(folder, '%') && access(folder, W_OK | X_OK) != 0)
		good = fail(error, STATUS_OUTPUT, "cannot write in %s: %s; choose another place with -o", folder,
			strerror(errno));
	free(folder);
	return good;
}

/* Written before the signals are unblocked; read by the handler. */
static volatile sig_atomic_t child_pid;

static void forward_signal(int signal, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	/* What the terminal sends (Ctrl-C, hang-up) reaches the whole foreground group: the child has it already. */
	if (info->si_code != SI_KERNEL)
		kill(child_pid, signal);
	errno = saved;
}

/* Not the stop signals: a stop must stop us too, which the terminal sends to both. */
static const int forwarded[] = {
	SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT, SIGURG, SIGIO, SIGPWR,
};
enum { FORWARDED_COUNT = sizeof forwarded / sizeof forwarded[0] };

static void take_signals(struct sigaction *before)
{
	struct sigaction action = { .sa_sigaction = forward_signal, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < FORWARDED_COUNT; i++) {
		sigaction(forwarded[i], NULL, &before[i]);
		/* nohup and the like: who ignores a signal wants its children to. */
		if (before[i].sa_handler != SIG_IGN)
			sigaction(forwarded[i], &action, NULL);
	}
}

struct child_start {
	char **argv;
	const char *path;
	const struct recording *settings;
	const char *pattern, *library;
	const struct sigaction *before, *child_before;
	const sigset_t *mask;
	int failure;                  /* write end of the pipe */
};

_Noreturn static void start_child(const struct child_start *start)
{
	int code;

	for (size_t i = 0; i < FORWARDED_COUNT; i++)
		sigaction(forwarded[i], &start->before[i], NULL);
	sigaction(SIGCHLD, start->child_before, NULL);
	sigprocmask(SIG_SETMASK, start->mask, NULL);
	/* In the child: our own environment stays as it was. */
	recording_set_environment(start->settings, start->pattern, start->library);
	execv(start->path, start->argv);
	code = errno;
	/* A script without "#!": the shell's, as execvp would do. */
	if (code == ENOEXEC) {
		size_t count = 0;

		while (start->argv[count])
			count++;

		char **argv = memory_new(count + 2, sizeof *argv);

		argv[0] = (char *)"sh";
		argv[1] = (char *)start->path;
		memcpy(argv + 2, start->argv + 1, count * sizeof *argv);
		execv("/bin/sh", argv);
	}
	if (write(start->failure, &code, sizeof code) != (ssize_t)sizeof code)
		_exit(STATUS_NOT_EXECUTABLE);
	_exit(code == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
}

static bool spawn_and_wait(struct child_start *start, int *wait_status, struct error *error)
{
	struct sigaction before[FORWARDED_COUNT], child_before;
	sigset_t all, mask;
	int ends[2], code = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return fail(error, STATUS_NOT_EXECUTABLE, "cannot start %s: %s", start->path, strerror(errno));
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &mask);
	take_signals(before);
	/* Ignored, it would take the exit status from us. */
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, &child_before);
	start->before = before;
	start->child_before = &child_before;
	start->mask = &mask;
	start->failure = ends[1];
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		start_child(start);
	child_pid = pid;
	code = errno;
	close(ends[1]);
	if (pid > 0) {
		sigprocmask(SIG_SETMASK, &mask, NULL);
		/* Nothing to read: exec has closed the other end. */
		if (read(ends[0], &code, sizeof code) != (ssize_t)sizeof code)
			code = 0;
		while (waitpid(pid, wait_status, 0) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	/* From here on a signal is for us alone. */
	for (size_t i = 0; i < FORWARDED_COUNT; i++)
		sigaction(forwarded[i], &before[i], NULL);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (code != 0)
		return fail(error, code == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE, "cannot execute %s: %s%s",
			start->path, strerror(code), code == ENOENT ? "; is the interpreter that it names installed?" : "");
	return true;
}

/* Keeps only captures of the child and its recorded descendants: others may write in the folder at the same time. */
static size_t keep_family(struct found *found, size_t count, uint32_t pid)
{
	size_t kept = 0;

	for (bool more = true; more;) {
		more = false;
		for (size_t i = kept; i < count; i++) {
			bool member = found[i].pid == pid;

			for (size_t j = 0; j < kept && !member; j++)
				member = found[i].parent_pid == found[j].pid || found[i].pid == found[j].pid;
			if (!member)
				continue;

			struct found moved = found[i];

			found[i] = found[kept];
			found[kept++] = moved;
			more = true;
		}
	}
	return kept;
}

/* The program's own capture; when it executed another in place, that one's. */
static void put_main_first(struct found *found, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (found[i].pid == (uint32_t)child_pid && (found[0].pid != (uint32_t)child_pid ||
			found[i].start_realtime_ns >= found[0].start_realtime_ns)) {
			struct found first = found[i];

			found[i] = found[0];
			found[0] = first;
		}
}

static void print_captures(const struct recording *settings, const char *pattern, const char *program,
	uint64_t since_ns)
{
	char *glob = make_glob(pattern);
	struct found *found;
	size_t all = find_matching(glob, since_ns, &found);
	/* Descendants by exec may have parents that did not record. */
	bool strict = strstr(pattern, "%p") && !(settings->follow && strncmp(settings->follow, "exec", 4) == 0);
	size_t count = strict ? keep_family(found, all, (uint32_t)child_pid) : all;
	char shown[1024];

	if (count > 0) {
		put_main_first(found, count);
		recorded_print(found[0].path, true, count - 1);
	} else {
		fprintf(stderr, "sctmem: no capture was written; to know why: sctmem doctor %s\n",
			text_escape(shown, sizeof shown, program));
	}
	find_free(found, all);
	free(glob);
}

/* Ends us by the signal that ended the program, without a core of our own. */
static void die_of(int signal)
{
	struct rlimit none = { 0, 0 };
	sigset_t set;

	setrlimit(RLIMIT_CORE, &none);
	fflush(NULL);
	sigemptyset(&set);
	sigaddset(&set, signal);
	/* Fails for SIGKILL, which needs none of it. */
	sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	kill(getpid(), signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* What to execute: the program, or python3 for a script that cannot be run by itself. */
static bool resolve(struct invocation *invocation, char path[PROGRAM_PATH_SIZE], char ***argv, struct error *error)
{
	struct arguments *arguments = &invocation->arguments;
	size_t count = (size_t)arguments->count;

	*argv = memory_new(count + 2, sizeof **argv);
	if (program_find(arguments->argv[0], path, error)) {
		memcpy(*argv, arguments->argv, count * sizeof **argv);
		return true;
	}
	if (!program_is_python_script(arguments->argv[0], path))
		return false;
	(*argv)[0] = (char *)"python3";
	memcpy(*argv + 1, arguments->argv, count * sizeof **argv);
	return true;
}

static bool run_run(struct invocation *invocation, struct error *error)
{
	struct recording settings = RECORDING_NOTHING_ASKED;
	char path[PROGRAM_PATH_SIZE], library[PROGRAM_PATH_SIZE];
	char **argv = NULL, *pattern = NULL;
	struct timespec now;
	int wait_status = 0;
	bool done = false;

	if (!command_parse(invocation, &settings, error) || !recording_check(&settings, error))
		return false;
	if (invocation->arguments.count == 0)
		return fail(error, STATUS_USAGE, "no program to run: sctmem run -- python3 app.py");
	pattern = pattern_make(settings.output);
	if (!resolve(invocation, path, &argv, error) || !program_find_library(library, error) ||
		!check_pattern(&settings, pattern, error))
		goto out;

	struct child_start start = {
		.argv = argv, .path = path, .settings = &settings, .pattern = pattern, .library = library,
	};

	clock_gettime(CLOCK_REALTIME, &now);
	if (!spawn_and_wait(&start, &wait_status, error))
		goto out;
	if (!settings.quiet)
		print_captures(&settings, pattern, invocation->arguments.argv[0],
			(uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - CLOCK_SLACK_NS);
	if (WIFSIGNALED(wait_status))
		die_of(WTERMSIG(wait_status));
	invocation->status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
	done = true;
out:
	free(argv);
	free(pattern);
	return done;
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
