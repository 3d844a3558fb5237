/* SPDX-License-Identifier: MIT */
/*
 * Signal handlers that interrupt the recorder itself and do what they should not:  handlers MODE
 *
 *   fork, _Fork   a timer's handler forks; parent and child both go on where they were interrupted
 *   exec          the same; the handler's child executes true
 *
 * main maps and unmaps memory, where libc holds no lock, so that the handler finds our library at work, or the system
 * call beneath it.  Each child takes block 1 and frees block 2 once it is back in main, and ends with 7; so does a last
 * one, which main itself forks.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "counted.h"

#ifndef FORKS
#define FORKS 30
#endif

enum { MAPPING_SIZE = 77 * 4096 };

static volatile sig_atomic_t forks, is_child, bad;
static pid_t (*how)(void);

static void on_timer(int number)
{
	(void)number;
	if (is_child || forks == FORKS)
		return;
	pid_t child = how();

	if (child == 0) {
		is_child = 1;
		return;
	}
	bad |= wait_for(child) != 7;
	forks = forks + 1;
}

static pid_t fork_and_execute(void)
{
	pid_t child = _Fork();

	if (child == 0) {
		execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
		_exit(96);
	}
	return child;
}

static int run(pid_t (*function)(void))
{
	struct itimerval often = { { 0, 700 }, { 0, 700 } }, never = { { 0, 0 }, { 0, 0 } };

	how = function;
	signal(SIGALRM, on_timer);
	setitimer(ITIMER_REAL, &often, NULL);
	while (forks < FORKS && !is_child) {
		char *memory = mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		require(memory != MAP_FAILED && munmap(memory, MAPPING_SIZE) == 0, "mmap");
	}
	setitimer(ITIMER_REAL, &never, NULL);
	/* What came of the forks in handlers is over: a child from here is like any other. */
	pid_t last = is_child ? -1 : fork();

	if (last > 0)
		bad |= wait_for(last) != 7;
	else if (last == 0)
		is_child = 1;
	take(1);
	free(take(2));
	return is_child ? 7 : bad;
}

static int mode_fork(void)
{
	return run(fork);
}

static int mode__Fork(void)
{
	return run(_Fork);
}

static int mode_exec(void)
{
	return run(fork_and_execute);
}

int main(int argc, char **argv)
{
	static const struct mode modes[] = {
		{ "fork", mode_fork }, { "_Fork", mode__Fork }, { "exec", mode_exec }, { NULL, NULL },
	};

	return run_mode(modes, argc, argv);
}
