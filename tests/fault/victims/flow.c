/* SPDX-License-Identifier: MIT */
/*
 * Control that does not flow as it is written:  flow MODE
 *
 *   storm          CHILDREN children, alive at the same time; child i takes block 10 + i % 50 and frees it
 *   daemon         forks twice, with a session of its own and descriptors closed; the daemon takes 10, frees 11
 *   atfork         all three handlers of pthread_atfork allocate (10, 11, 12), and so does a child's child
 *   raw            children by the bare system call, which no handler sees
 *   contexts       four coroutines on stacks of their own, switched in the middle of their work
 *   jumps          longjmp over many frames that allocate; setjmp in a loop
 *   cancel         threads with asynchronous cancellation, cancelled anywhere in a loop of mmap and munmap
 *   namespaces     unshare of mounts, IPC, host name and, for the next child, process ids
 *   root           changes its root directory to an empty one
 *   identity       drops to another user, for whom nothing can be opened any more
 *   closed_root    `root`, and closes all descriptors        closed_identity   `identity`, and closes them
 *
 * Each ends with block 1 kept and block 2 freed; so does each child that is recorded.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "counted.h"

#ifndef CHILDREN
#define CHILDREN 100
#endif

enum { CONTEXTS = 4, STACK_SIZE = 64 << 10, MAPPING_SIZE = 77 * 4096 };

static void end_blocks(void)
{
	take(1);
	free(take(2));
}

/* Enough to fill windows and to make the file grow, once the recorder has lost what it had open. */
static void churn(void)
{
	static void *kept[512];

	for (unsigned i = 0, dice = 7; i < 60000; i++) {
		dice = dice * 1103515245u + 12345u;
		free(kept[dice / 65536 % 512]);
		kept[dice / 65536 % 512] = malloc(dice / 65536 % 3000 + 1);
	}
}

static int mode_storm(void)
{
	pid_t children[CHILDREN];
	int gate[2], bad = 0;
	char byte;

	require(pipe(gate) == 0, "pipe");
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			close(gate[1]);
			require(read(gate[0], &byte, 1) == 0, "read");
			free(take(10 + (size_t)i % 50));
			end_blocks();
			_exit(i % 100);
		}
	}
	close(gate[1]);
	for (int i = 0; i < CHILDREN; i++)
		bad |= wait_for(children[i]) != i % 100;
	return bad;
}

static int mode_daemon(void)
{
	int told[2];
	char byte = 0;

	require(pipe(told) == 0, "pipe");
	if (fork() == 0) {
		setsid();
		if (fork() != 0)
			_exit(0);
		for (int i = 0; i < 1024; i++)
			if (i != told[1])
				close(i);
		umask(0);
		require(chdir("/") == 0, "chdir");
		take(10);
		free(take(11));
		end_blocks();
		_exit(write(told[1], "d", 1) != 1);
	}
	close(told[1]);
	require(read(told[0], &byte, 1) == 1 && byte == 'd', "read");
	/* End of file: the daemon has exited. */
	require(read(told[0], &byte, 1) == 0, "read");
	return wait(NULL) < 0;
}

static void before(void)
{
	free(take(10));
}

static void in_parent(void)
{
	free(take(11));
}

static void in_child(void)
{
	free(take(12));
}

static int mode_atfork(void)
{
	pthread_atfork(before, in_parent, in_child);
	pid_t child = fork();

	if (child == 0) {
		pid_t grandchild = fork();

		if (grandchild == 0) {
			end_blocks();
			_exit(3);
		}
		end_blocks();
		_exit(wait_for(grandchild) + 1);
	}
	return wait_for(child) != 4;
}

static int mode_raw(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (child == 0) {
		end_blocks();
		_exit(3);
	}
	return wait_for(child) != 3;
}

static ucontext_t main_context, contexts[CONTEXTS];

static void coroutine(int number)
{
	for (size_t i = 0; i < 100; i++) {
		void *block = take(10 + (size_t)number);

		swapcontext(&contexts[number], &contexts[(number + 1) % CONTEXTS]);
		free(block);
	}
}

static int mode_contexts(void)
{
	static char stacks[CONTEXTS][STACK_SIZE];

	for (int i = 0; i < CONTEXTS; i++) {
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = STACK_SIZE;
		contexts[i].uc_link = i == CONTEXTS - 1 ? &main_context : &contexts[i + 1];
		makecontext(&contexts[i], (void (*)(void))coroutine, 1, i);
	}
	swapcontext(&main_context, &contexts[0]);
	return 0;
}

static jmp_buf far_away;
static volatile int jumps = 1;

__attribute__((noinline)) static void deep(int depth)
{
	volatile char room[100];

	room[0] = (char)depth;
	free(take(10));
	if (depth > 0)
		deep(depth - 1);
	else if (jumps)
		longjmp(far_away, 1);
	room[1] = room[0];
}

static int mode_jumps(void)
{
	for (volatile int i = 0; i < 100; i++)
		if (setjmp(far_away) == 0)
			deep(i);
	return 0;
}

static void *map_for_ever(void *argument)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;) {
		char *memory = mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		munmap(memory, MAPPING_SIZE);
	}
	return argument;
}

static int mode_cancel(void)
{
	for (int i = 0; i < 100; i++) {
		pthread_t id;
		void *result;

		require(pthread_create(&id, NULL, map_for_ever, NULL) == 0, "pthread_create");
		usleep((unsigned)i * 5);
		pthread_cancel(id);
		require(pthread_join(id, &result) == 0 && result == PTHREAD_CANCELED, "pthread_join");
	}
	return 0;
}

static int mode_namespaces(void)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID))
		return 77;
	churn();
	pid_t child = fork();

	if (child == 0) {
		churn();
		end_blocks();
		_exit(getpid() == 1 ? 3 : 4);
	}
	return wait_for(child) != 3;
}

static void close_all(void)
{
	for (int i = 3; i < 1024; i++)
		close(i);
}

static int change_root(void)
{
	char folder[] = "/tmp/sctmem-root.XXXXXX";

	require(mkdtemp(folder) != NULL, "mkdtemp");
	/* Removed while it is the current one, it is as empty as can be, and nothing is left behind. */
	require(chdir(folder) == 0 && rmdir(folder) == 0, folder);
	return chroot(".") ? 77 : 0;
}

static int change_identity(void)
{
	return setgid(65534) || setuid(65534) ? 77 : 0;
}

static int mode_root(void)
{
	int status = change_root();

	churn();
	return status;
}

static int mode_identity(void)
{
	int status = change_identity();

	churn();
	return status;
}

static int mode_closed_root(void)
{
	int status = change_root();

	close_all();
	churn();
	return status;
}

static int mode_closed_identity(void)
{
	int status = change_identity();

	close_all();
	churn();
	return status;
}

int main(int argc, char **argv)
{
	static const struct mode modes[] = {
		{ "storm", mode_storm }, { "daemon", mode_daemon }, { "atfork", mode_atfork }, { "raw", mode_raw },
		{ "contexts", mode_contexts }, { "jumps", mode_jumps }, { "cancel", mode_cancel },
		{ "namespaces", mode_namespaces }, { "root", mode_root }, { "identity", mode_identity },
		{ "closed_root", mode_closed_root }, { "closed_identity", mode_closed_identity }, { NULL, NULL },
	};
	int status = run_mode(modes, argc, argv);

	end_blocks();
	return status;
}
