/* SPDX-License-Identifier: MIT */
/*
 * The odd ways to end:  ends MODE
 *
 *   term, term_handled     SIGTERM; with a handler that allocates, frees and exits
 *   segv_handled           a handler on an alternate stack allocates, then the default action kills
 *   overflow               recursion that allocates until the stack is full
 *   overflow_handled       the same; a handler on an alternate stack allocates and leaves by siglongjmp, then again
 *   quick_handlers         quick_exit with handlers that allocate
 *   thread_exits           a thread calls exit() while others allocate
 *   exit_twice             an exit handler that forks; the child exits as well
 *   memory                 takes and touches memory until it is killed for it (in a memory cgroup)
 *
 * Blocks 1 (kept) and 2 (freed) come first in each.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>

#include "counted.h"

static sigjmp_buf escape;
static char alternate[1 << 16];
static volatile int *volatile nowhere = (int *)16;
static volatile int depth_max = 1 << 30;

static void on_signal(int number)
{
	take(11);
	free(take(12));
	if (number == SIGTERM)
		exit(7);
	signal(number, SIG_DFL);
}

static void on_overflow(int number)
{
	(void)number;
	free(take(13));
	siglongjmp(escape, 1);
}

static void handle(int number, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };

	require(sigaltstack(&stack, NULL) == 0 && sigaction(number, &action, NULL) == 0, "sigaction");
}

static int mode_term(void)
{
	raise(SIGTERM);
	return 94;
}

static int mode_term_handled(void)
{
	handle(SIGTERM, on_signal);
	raise(SIGTERM);
	return 94;
}

static int mode_segv_handled(void)
{
	handle(SIGSEGV, on_signal);
	*nowhere = 1;
	return 94;
}

__attribute__((noinline)) static int deep(volatile int depth)
{
	volatile char room[500];

	room[0] = (char)depth;
	free(malloc((size_t)depth % 100 + 1));
	return depth < depth_max ? deep(depth + 1) + room[0] : 0;
}

static int mode_overflow(void)
{
	return deep(0);
}

static int mode_overflow_handled(void)
{
	handle(SIGSEGV, on_overflow);
	for (volatile int i = 0; i < 3; i++) {
		if (sigsetjmp(escape, 1) == 0)
			deep(0);
		take(20 + (size_t)i);
	}
	return 6;
}

static void at_end(void)
{
	take(30);
	free(take(31));
}

static int mode_quick_handlers(void)
{
	at_quick_exit(at_end);
	quick_exit(5);
}

static void *churn(void *argument)
{
	for (;;)
		free(malloc(100));
	return argument;
}

static void *exits(void *argument)
{
	free(take(40));
	exit(4);
	return argument;
}

static int mode_thread_exits(void)
{
	pthread_t id;

	for (int i = 0; i < 3; i++)
		require(pthread_create(&id, NULL, churn, NULL) == 0, "pthread_create");
	require(pthread_create(&id, NULL, exits, NULL) == 0, "pthread_create");
	churn(NULL);
	return 94;
}

static void forks(void)
{
	static int once;
	pid_t child = once++ ? -1 : fork();

	if (child == 0) {
		free(take(50));
		exit(3);
	}
	if (child > 0 && wait_for(child) != 3)
		_exit(95);
	take(51);
}

static int mode_exit_twice(void)
{
	atexit(forks);
	return 9;
}

static int mode_memory(void)
{
	for (;;) {
		char *block = malloc(1 << 20);

		if (!block)
			return 94;
		memset(block, 1, 1 << 20);
	}
}

int main(int argc, char **argv)
{
	static const struct mode modes[] = {
		{ "term", mode_term }, { "term_handled", mode_term_handled }, { "segv_handled", mode_segv_handled },
		{ "overflow", mode_overflow }, { "overflow_handled", mode_overflow_handled },
		{ "quick_handlers", mode_quick_handlers }, { "thread_exits", mode_thread_exits },
		{ "exit_twice", mode_exit_twice }, { "memory", mode_memory }, { NULL, NULL },
	};

	take(1);
	free(take(2));
	return run_mode(modes, argc, argv);
}
