/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into the command, not the target: kills it at its n-th call of ptrace, before or after that is made.
 *
 *     KILL_AT=n KILL_WHEN=before|after        KILL_COUNT=FILE: only counts, into FILE
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long calls;

static void look(const char *when)
{
	const char *at = getenv("KILL_AT"), *which = getenv("KILL_WHEN");

	if (at && which && atol(at) == calls && strcmp(which, when) == 0)
		kill(getpid(), SIGKILL);
}

long ptrace(int request, ...)
{
	va_list list;

	va_start(list, request);
	long pid = va_arg(list, int);
	void *address = va_arg(list, void *), *data = va_arg(list, void *);
	va_end(list);
	calls++;
	look("before");
	long result = syscall(SYS_ptrace, (long)request, pid, address, data);
	int saved = errno;

	look("after");
	errno = saved;
	return result;
}

static __attribute__((destructor)) void report(void)
{
	const char *path = getenv("KILL_COUNT");
	FILE *file = path ? fopen(path, "w") : NULL;

	if (file) {
		fprintf(file, "%ld\n", calls);
		fclose(file);
	}
}
