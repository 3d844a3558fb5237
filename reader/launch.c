/* SPDX-License-Identifier: MIT */
/*
 * See launch.h.
 *
 *     parent                               child
 *     blocks the signals it forwards
 *     forks ------------------------------ default handlers, the old mask, environment
 *     forwards, waits                      execs; when that fails, says why through a pipe that exec closes
 *     names the captures on stderr
 *
 * A program apart is in a session of its own, so that it cannot read or write our terminal, not even by /dev/tty; what
 * is typed there (Ctrl-C) reaches it through us.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capture.h"
#include "find.h"
#include "memory.h"
#include "pattern.h"
#include "recorded.h"
#include "text.h"

enum {
	CLOCK_SLACK_NS = 20000000,        /* the library's clock goes in steps of a few milliseconds */
	OUTPUT_FAILED = 1 << 16,          /* with an errno: of the file for its output */
};

/*
 * A glob for all names that the library may make of the pattern: conversions stand for anything, and a suffix for
 * children and successors comes behind.
 */
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
static volatile sig_atomic_t child_pid, child_apart, told;

static void forward_signal(int signal, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	if (signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT)
		told = signal;
	/* What the terminal sends (Ctrl-C, hang-up) reaches the whole foreground group: the child has it already. */
	if (child_apart ? kill(-child_pid, signal) != 0 : info->si_code != SI_KERNEL)
		kill(child_pid, signal);
	errno = saved;
}

/* Not the stop signals: a stop must stop us too, which the terminal sends to both. */
static const int forwarded[LAUNCH_SIGNALS] = {
	SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT, SIGURG, SIGIO, SIGPWR,
};

static void take_signals(struct launch *launch)
{
	struct sigaction action = { .sa_sigaction = forward_signal, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < LAUNCH_SIGNALS; i++) {
		sigaction(forwarded[i], NULL, &launch->before[i]);
		/* What concerns our terminal is nothing to who has none. */
		if (launch->apart && (forwarded[i] == SIGWINCH || forwarded[i] == SIGCONT))
			continue;
		/* nohup and the like: who ignores a signal wants its children to. */
		if (launch->before[i].sa_handler != SIG_IGN)
			sigaction(forwarded[i], &action, NULL);
	}
}

/* "sctmem.python3.123.out", beside the captures where that is one folder. */
static char *name_output(const struct launch *launch, pid_t pid)
{
	const char *slash = strrchr(launch->pattern, '/'), *name = strrchr(launch->name, '/');
	const size_t folder = slash ? (size_t)(slash - launch->pattern) + 1 : 0;
	const size_t size = folder + strlen(launch->name) + 48;
	char *output = memory_new(size, 1);
	size_t used = 0;

	if (launch->output_given) {
		free(output);
		return memory_text(launch->output_given);
	}
	/* A % of the folder's is doubled; another stands for what only the library knows. */
	for (size_t i = 0; i < folder; i++) {
		if (launch->pattern[i] == '%' && launch->pattern[++i] != '%') {
			used = 0;
			break;
		}
		output[used++] = launch->pattern[i];
	}
	snprintf(output + used, size - used, "sctmem.%s.%" PRIu32 ".out", name ? name + 1 : launch->name, (uint32_t)pid);
	return output;
}

static int open_output(const struct launch *launch, const char *path)
{
	struct stat status;
	int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int file;

	/* /dev/null and the like are there already, and what is there is replaced when that was asked for. */
	if (stat(path, &status) != 0 || (S_ISREG(status.st_mode) && !launch->recording->force))
		flags |= O_EXCL;
	else if (S_ISREG(status.st_mode))
		flags |= O_TRUNC;
	file = open(path, flags, 0600);
	if (file >= 0)
		fcntl(file, F_SETFL, O_APPEND);
	return file;
}

/* In the child. */
static bool leave_terminal(const struct launch *launch)
{
	char *path = name_output(launch, getpid());
	const int output = open_output(launch, path), input = open("/dev/null", O_RDONLY);

	setsid();
	for (int i = 1; i <= 2 && output >= 0; i++)
		if (isatty(i))
			dup2(output, i);
	if (input > 0) {
		dup2(input, 0);
		close(input);
	}
	free(path);
	return output >= 0;
}

_Noreturn static void start_child(struct launch *launch, int failure)
{
	int code;

	for (size_t i = 0; i < LAUNCH_SIGNALS; i++)
		sigaction(forwarded[i], &launch->before[i], NULL);
	sigaction(SIGCHLD, &launch->child_before, NULL);
	if (launch->apart && !leave_terminal(launch)) {
		code = errno | OUTPUT_FAILED;
		goto out;
	}
	sigprocmask(SIG_SETMASK, &launch->mask, NULL);
	/* In the child: our own environment stays as it was. */
	recording_set_environment(launch->recording, launch->pattern, launch->library);
	execv(launch->path, launch->argv);
	code = errno;
	/* A script without "#!": the shell's, as execvp would do. */
	if (code == ENOEXEC) {
		size_t count = 0;

		while (launch->argv[count])
			count++;

		char **argv = memory_new(count + 2, sizeof *argv);

		argv[0] = (char *)"sh";
		argv[1] = launch->path;
		memcpy(argv + 2, launch->argv + 1, count * sizeof *argv);
		execv("/bin/sh", argv);
	}
out:
	if (write(failure, &code, sizeof code) != (ssize_t)sizeof code)
		_exit(STATUS_NOT_EXECUTABLE);
	_exit(code == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
}

static bool fail_start(const struct launch *launch, int code, struct error *error)
{
	char shown[1024];

	if (code & OUTPUT_FAILED)
		return fail(error, STATUS_OUTPUT, "cannot make %s, for what the program writes: %s; choose another with "
			"--program-output", text_escape(shown, sizeof shown, launch->output), strerror(code & ~OUTPUT_FAILED));
	return fail(error, code == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE, "cannot execute %s: %s%s",
		launch->path, strerror(code), code == ENOENT ? "; is the interpreter that it names installed?" : "");
}

/* From here on a signal is for us alone. */
static void give_signals_back(struct launch *launch)
{
	for (size_t i = 0; i < LAUNCH_SIGNALS; i++)
		sigaction(forwarded[i], &launch->before[i], NULL);
	sigprocmask(SIG_SETMASK, &launch->mask, NULL);
}

bool launch_start(struct launch *launch, struct error *error)
{
	struct timespec now;
	sigset_t all;
	int ends[2], code = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	launch->since_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - CLOCK_SLACK_NS;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return fail(error, STATUS_NOT_EXECUTABLE, "cannot start %s: %s", launch->path, strerror(errno));
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &launch->mask);
	child_apart = launch->apart;
	take_signals(launch);
	/* Ignored, it would take the exit status from us. */
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, &launch->child_before);
	fflush(NULL);
	launch->pid = fork();
	if (launch->pid == 0)
		start_child(launch, ends[1]);
	child_pid = launch->pid;
	code = errno;
	close(ends[1]);
	if (launch->pid > 0) {
		if (launch->apart)
			launch->output = name_output(launch, launch->pid);
		sigprocmask(SIG_SETMASK, &launch->mask, NULL);
		/* Nothing to read: exec has closed the other end. */
		if (read(ends[0], &code, sizeof code) != (ssize_t)sizeof code)
			code = 0;
	}
	close(ends[0]);
	if (code == 0)
		return true;
	launch_wait(launch);
	return fail_start(launch, code, error);
}

bool launch_poll(struct launch *launch)
{
	if (!launch->ended && launch->pid > 0)
		launch->ended = waitpid(launch->pid, &launch->wait_status, WNOHANG) == launch->pid;
	return launch->ended;
}

int launch_told(void)
{
	return told;
}

void launch_signal(const struct launch *launch, int signal)
{
	if (launch->pid > 0 && !launch->ended)
		kill(launch->pid, signal);
}

void launch_wait(struct launch *launch)
{
	while (launch->pid > 0 && !launch->ended) {
		if (waitpid(launch->pid, &launch->wait_status, 0) == launch->pid)
			launch->ended = true;
		else if (errno != EINTR)
			break;
	}
	give_signals_back(launch);
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
static void put_main_first(struct found *found, size_t count, uint32_t pid)
{
	for (size_t i = 1; i < count; i++)
		if (found[i].pid == pid && (found[0].pid != pid ||
			found[i].start_realtime_ns >= found[0].start_realtime_ns)) {
			struct found first = found[i];

			found[i] = found[0];
			found[0] = first;
		}
}

void launch_report(const struct launch *launch)
{
	const char *follow = launch->recording->follow;
	const uint32_t pid = (uint32_t)launch->pid;
	char *glob = make_glob(launch->pattern);
	struct found *found;
	size_t all = find_matching(glob, launch->since_ns, &found);
	/* Descendants by exec may have parents that did not record. */
	bool strict = strstr(launch->pattern, "%p") && !(follow && strncmp(follow, "exec", 4) == 0);
	size_t count = strict ? keep_family(found, all, pid) : all;
	char shown[1024];

	if (count > 0) {
		put_main_first(found, count, pid);
		recorded_print(found[0].path, true, count - 1);
	} else {
		fprintf(stderr, "sctmem: no capture was written; to know why: sctmem doctor %s\n",
			text_escape(shown, sizeof shown, launch->name));
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

int launch_exit_status(const struct launch *launch)
{
	if (WIFSIGNALED(launch->wait_status))
		die_of(WTERMSIG(launch->wait_status));
	return WIFEXITED(launch->wait_status) ? WEXITSTATUS(launch->wait_status) : 128 + WTERMSIG(launch->wait_status);
}

/* The program, or python3 for a script that cannot be run by itself. */
static bool resolve(struct launch *launch, char **arguments, int count, struct error *error)
{
	launch->argv = memory_new((size_t)count + 2, sizeof *launch->argv);
	if (program_find(arguments[0], launch->path, error)) {
		memcpy(launch->argv, arguments, (size_t)count * sizeof *arguments);
		return true;
	}
	if (!program_is_python_script(arguments[0], launch->path))
		return false;
	launch->argv[0] = (char *)"python3";
	memcpy(launch->argv + 1, arguments, (size_t)count * sizeof *arguments);
	return true;
}

bool launch_find(struct launch *launch, const struct recording *recording, char **arguments, int count,
	struct error *error)
{
	launch->recording = recording;
	launch->name = arguments[0];
	launch->pattern = pattern_make(recording->output);
	return resolve(launch, arguments, count, error) && program_find_library(launch->library, error) &&
		check_pattern(recording, launch->pattern, error);
}

void launch_finish(struct launch *launch)
{
	free(launch->argv);
	free(launch->pattern);
	free(launch->output);
	launch->argv = NULL;
	launch->pattern = launch->output = NULL;
}
