/* SPDX-License-Identifier: MIT */
/*
 * What the victims of tests/fault share.  A counted block has SIZE_BASE + n bytes, a size that nobody else asks for:
 * the tests look for those in the capture.  Whatever a victim does not expect ends it with a status from 90 on.
 */
#ifndef SCTMEM_FAULT_COUNTED_H
#define SCTMEM_FAULT_COUNTED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE_BASE = 70000 };

__attribute__((noinline, unused)) static void *take(size_t n)
{
	void *block = malloc(SIZE_BASE + n);

	if (!block)
		_exit(90);
	memset(block, (int)n, 16);
	__asm__ volatile("" : "+r"(block) : : "memory");   /* else the compiler leaves malloc and free out */
	return block;
}

__attribute__((unused)) static void say(const char *text)
{
	if (write(1, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(91);
}

/* The exit status, or 128 and the signal. */
__attribute__((unused)) static int wait_for(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		_exit(92);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

__attribute__((unused)) static void require(int condition, const char *what)
{
	if (!condition) {
		perror(what);
		_exit(93);
	}
}

struct mode {
	const char *name;
	int (*run)(void);
};

/* main of most victims: runs the mode that the first argument names. */
__attribute__((unused)) static int run_mode(const struct mode *modes, int count, char **count_and_name)
{
	if (count == 2)
		for (const struct mode *mode = modes; mode->name; mode++)
			if (strcmp(mode->name, count_and_name[1]) == 0)
				return mode->run();
	return 2;
}

#endif
