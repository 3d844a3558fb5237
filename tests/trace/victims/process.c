/* SPDX-License-Identifier: MIT */
/*
 * Processes that fork, execute and die:  process MODE [ARGUMENT]
 *
 *   fork          children of children, each with blocks of its own
 *   inherited     children free blocks that their parent made, and the parent frees its copies later
 *   busy          forks while other threads allocate all the time
 *   exec          executes itself in place (mode executed) after some allocations
 *   spawn         posix_spawn, vfork + exec and system() of itself
 *   leave         _exit(5) with live blocks            quick    quick_exit(6)
 *   abort, segv   dies by a signal
 *   write         prints a line after each 100 blocks, for ever, until killed
 *   close         closes all descriptors from 3 up, goes on, opens files at those numbers and checks them
 *   handlers      atexit handlers allocate and free
 *   group         forks two children; all three write as in `write`
 *
 * Counted blocks have sizes of SIZE_BASE + n, as in threads.c.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
enum { SIZE_BASE = 70000 };

__attribute__((noinline)) static void *take(size_t n)
{
	void *block = malloc(SIZE_BASE + n);
	if (!block)
		_exit(90);
	memset(block, (int)n, 16);
	return block;
}

static void say(const char *text)
{
	if (write(1, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(91);
}

static int wait_for(pid_t pid)
{
	int status;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		_exit(92);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Parent keeps 1, child keeps 11 and frees 12, grandchild keeps 21. */
static int mode_fork(void)
{
	take(1);
	pid_t child = fork();
	if (child == 0) {
		take(11);
		free(take(12));
		pid_t grandchild = fork();
		if (grandchild == 0) {
			take(21);
			exit(3);
		}
		exit(wait_for(grandchild) == 3 ? 4 : 93);
	}
	return wait_for(child) == 4 ? 0 : 94;
}

static int mode_inherited(void)
{
	void *blocks[10];
	for (size_t i = 0; i < 10; i++)
		blocks[i] = take(i);
	pid_t child = fork();
	if (child == 0) {
		for (size_t i = 0; i < 6; i++)
			free(blocks[i]);
		take(100);
		exit(0);
	}
	int status = wait_for(child);
	for (size_t i = 0; i < 3; i++)
		free(blocks[i]);
	return status;
}

static atomic_bool enough;

static void *churn(void *argument)
{
	while (!atomic_load(&enough))
		for (size_t i = 1; i < 50; i++) {
			void *block = malloc(i * 24 + (size_t)(uintptr_t)argument);
			__asm__ volatile("" : "+r"(block) : : "memory");   /* else gcc leaves both calls out */
			free(block);
		}
	return NULL;
}

static int mode_busy(void)
{
	pthread_t ids[3];
	for (uintptr_t i = 0; i < 3; i++)
		if (pthread_create(&ids[i], NULL, churn, (void *)i))
			return 95;
	int bad = 0;
	for (size_t i = 0; i < 40; i++) {
		pid_t child = fork();
		if (child == 0) {
			take(i);
			free(take(500));
			_exit(0);
		}
		bad |= wait_for(child);
	}
	atomic_store(&enough, true);
	for (int i = 0; i < 3; i++)
		pthread_join(ids[i], NULL);
	return bad ? 96 : 0;
}

static int mode_exec(const char *self)
{
	take(1);
	take(2);
	char *arguments[] = { (char *)self, "executed", NULL };
	execv(self, arguments);
	return 97;
}

static int mode_spawn(const char *self)
{
	char *arguments[] = { (char *)self, "executed", NULL };
	pid_t child;
	take(1);
	if (posix_spawn(&child, self, NULL, NULL, arguments, environ) || wait_for(child) != 8)
		return 98;
	child = vfork();
	if (child == 0) {
		execv(self, arguments);
		_exit(99);
	}
	if (wait_for(child) != 8)
		return 99;
	char command[4200];
	snprintf(command, sizeof command, "'%s' executed", self);
	int status = system(command);
	take(2);
	return WIFEXITED(status) && WEXITSTATUS(status) == 8 ? 0 : 100;
}

__attribute__((noreturn)) static void write_for_ever(void)
{
	char line[64];
	for (size_t i = 1;; i++) {
		void *block = take(i % 1000);
		if (i % 2)
			free(block);
		if (i % 100 == 0) {
			snprintf(line, sizeof line, "%d %zu\n", (int)getpid(), i);
			say(line);
		}
	}
}

static int mode_close(const char *folder)
{
	take(1);
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	int highest = limit.rlim_cur < 1024 ? (int)limit.rlim_cur : 1024;
	for (int fd = 3; fd < highest; fd++)
		close(fd);
	for (size_t i = 0; i < 5000; i++)
		free(take(100 + i % 50));
	char path[4200];
	int fds[20];
	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof path, "%s/own.%d", folder, i);
		fds[i] = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
		if (fds[i] != 3 + i || write(fds[i], path, 10) != 10)
			return 101;
	}
	for (size_t i = 0; i < 200000; i++)
		free(take(200 + i % 50));
	for (int i = 0; i < 20; i++) {
		struct stat file;
		if (fstat(fds[i], &file) || file.st_size != 10)
			return 102;
		close(fds[i]);
	}
	take(2);
	return 0;
}

static void *at_exit_block;

static void first_handler(void)
{
	free(at_exit_block);
	take(52);
	say("first handler\n");
}

static void second_handler(void)
{
	at_exit_block = take(51);
	say("second handler\n");
}

__attribute__((destructor)) static void destructor(void)
{
	if (at_exit_block)
		take(53);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	if (!strcmp(mode, "fork"))
		return mode_fork();
	if (!strcmp(mode, "inherited"))
		return mode_inherited();
	if (!strcmp(mode, "busy"))
		return mode_busy();
	if (!strcmp(mode, "exec"))
		return mode_exec(argv[0]);
	if (!strcmp(mode, "spawn"))
		return mode_spawn(argv[0]);
	if (!strcmp(mode, "close"))
		return mode_close(argv[2]);
	if (!strcmp(mode, "group") && fork() != 0)
		(void)!fork();
	if (!strcmp(mode, "group") || !strcmp(mode, "write"))
		write_for_ever();
	take(61);
	free(take(62));
	if (!strcmp(mode, "executed"))
		return 8;
	if (!strcmp(mode, "leave"))
		_exit(5);
	if (!strcmp(mode, "quick"))
		quick_exit(6);
	if (!strcmp(mode, "abort"))
		abort();
	if (!strcmp(mode, "segv"))
		raise(SIGSEGV);
	if (!strcmp(mode, "handlers")) {
		atexit(first_handler);
		atexit(second_handler);
		return 9;
	}
	return 2;
}
