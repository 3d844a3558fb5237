/* SPDX-License-Identifier: MIT */
/*
 * Children that share the memory of their parent:  vforks MODE
 *
 *   killed        a vfork child dies while the recorder makes its file grow; the parent goes on
 *   allocates     a vfork child allocates and executes
 *   cloned        a child by clone(CLONE_VM), with a stack of its own, allocates while the parent does
 *   spawned       posix_spawn with file actions, many times
 *
 * Each ends with block 1 kept and block 2 freed by the parent.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "counted.h"

extern char **environ;

/* Enough events for several windows, which compress badly enough to need room in the file. */
__attribute__((noinline)) static void churn(int count)
{
	static void *volatile kept[1000];
	unsigned dice = 1;

	for (int i = 0; i < count; i++) {
		dice = dice * 1103515245u + 12345u;
		void *volatile *place = &kept[dice / 65536 % 1000];

		void *old = *place;

		/* A child that is killed from here on leaves nothing behind that the parent would free again. */
		*place = NULL;
		free(old);
		*place = malloc(dice / 65536 % 5000 + 1);
	}
}

/* The kernel kills the process that calls fallocate. */
static void forbid_fallocate(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };

	require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "prctl");
	require(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

static int mode_killed(void)
{
	pid_t child = vfork();

	if (child == 0) {
		forbid_fallocate();
		churn(200000);
		_exit(7);
	}
	/* Once while it is a zombie, once when it is gone. */
	churn(200000);
	int status = wait_for(child);

	churn(200000);
	/* Bare, nobody calls fallocate. */
	return status == 7 || status == 128 + SIGSYS ? 0 : status;
}

static int mode_allocates(void)
{
	for (int i = 0; i < 20; i++) {
		pid_t child = vfork();

		if (child == 0) {
			free(take(10));
			execl("/bin/true", "true", (char *)NULL);
			_exit(96);
		}
		if (wait_for(child) != 0)
			return 97;
	}
	return 0;
}

static int cloned(void *argument)
{
	(void)argument;
	churn(100000);
	_exit(5);
}

static int mode_cloned(void)
{
	enum { STACK_SIZE = 1 << 20 };
	char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* Its thread-local data are the parent's: only one of the two may use libc at a time. */
	pid_t child = clone(cloned, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);

	churn(1000);
	return wait_for(child) == 5 ? 0 : 98;
}

static int mode_spawned(void)
{
	for (int i = 0; i < 50; i++) {
		posix_spawn_file_actions_t actions;
		char *arguments[] = { "true", NULL };
		pid_t child;

		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_addopen(&actions, 5, "/dev/null", 0, 0);
		if (posix_spawn(&child, "/bin/true", &actions, NULL, arguments, environ) || wait_for(child))
			return 99;
		posix_spawn_file_actions_destroy(&actions);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct mode modes[] = {
		{ "killed", mode_killed }, { "allocates", mode_allocates }, { "cloned", mode_cloned },
		{ "spawned", mode_spawned }, { NULL, NULL },
	};
	int status = run_mode(modes, argc, argv);

	take(1);
	free(take(2));
	return status;
}
