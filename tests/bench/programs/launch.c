/* SPDX-License-Identifier: MIT */
/*
 * Runs a command and writes what it took:  launch [-e NAME=VALUE]... RESULT COMMAND [ARGUMENT...]
 *
 * The measuring is done here and not in the Python driver for three reasons: a process's peak begins with that of the
 * process that forked it, so the forker has to be small; the peers run in another root, and entering that is not to be
 * counted; and LD_PRELOAD is for the command alone.  Children that the command leaves behind (a collector, say) are
 * adopted and waited for, so their processor time counts as well.
 *
 * RESULT becomes one JSON object.  The exit status is 0 when the command could be started, whatever became of it:
 * `status` says that, as shells number it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CANNOT_START = 127, VARIABLES_MAX = 32 };

struct request {
	char *variables[VARIABLES_MAX];     /* NAME=VALUE, for the command only */
	int variable_count;
	const char *result;
	char **command;
};

static void die(const char *what, const char *name)
{
	fprintf(stderr, "launch: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static long long elapsed_ns(const struct timespec *from, const struct timespec *to)
{
	return (to->tv_sec - from->tv_sec) * 1000000000LL + to->tv_nsec - from->tv_nsec;
}

static long long microseconds(const struct timeval *time)
{
	return time->tv_sec * 1000000LL + time->tv_usec;
}

static void become(const struct request *request)
{
	for (int i = 0; i < request->variable_count; i++)
		putenv(request->variables[i]);
	execvp(request->command[0], request->command);
	fprintf(stderr, "launch: cannot run %s: %s\n", request->command[0], strerror(errno));
	_exit(CANNOT_START);
}

static void measure(const struct request *request, FILE *result)
{
	struct timespec start, end;
	struct rusage usage, all;
	int status = 0;

	clock_gettime(CLOCK_MONOTONIC, &start);
	const pid_t child = fork();

	if (child < 0)
		die("cannot fork for", request->command[0]);
	if (child == 0)
		become(request);
	while (wait4(child, &status, 0, &usage) < 0)
		if (errno != EINTR)
			die("cannot wait for", request->command[0]);
	clock_gettime(CLOCK_MONOTONIC, &end);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	getrusage(RUSAGE_CHILDREN, &all);
	fprintf(result, "{\"status\": %d, \"wall_ns\": %lld, \"user_us\": %lld, \"system_us\": %lld, \"peak_kib\": %ld}\n",
		WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), elapsed_ns(&start, &end),
		microseconds(&all.ru_utime), microseconds(&all.ru_stime), usage.ru_maxrss);
}

int main(int count, char **arguments)
{
	struct request request = { 0 };
	FILE *result;
	int option;

	/* + stops at the first word that is no option: the rest is the command's. */
	while ((option = getopt(count, arguments, "+e:")) != -1) {
		if (option == 'e' && request.variable_count < VARIABLES_MAX)
			request.variables[request.variable_count++] = optarg;
		else
			return 2;
	}
	if (count - optind < 2) {
		fprintf(stderr, "usage: launch [-e NAME=VALUE]... RESULT COMMAND [ARGUMENT...]\n");
		return 2;
	}
	request.result = arguments[optind];
	request.command = arguments + optind + 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	/* e: the command shall not inherit it. */
	result = fopen(request.result, "we");
	if (!result)
		die("cannot write", request.result);
	measure(&request, result);
	if (fclose(result) != 0)
		die("cannot write", request.result);
	return 0;
}
