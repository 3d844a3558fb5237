/* SPDX-License-Identifier: MIT */
/*
 * Signal handlers that allocate:  signals MODE
 *
 *   raise    the handler runs inside raise(), also on an alternate stack
 *   timer    the handler interrupts main anywhere in a loop of mmap and munmap, where malloc's own lock is never held
 *            (so that the handler may call malloc), but our library may be at work
 *   jump     the handler leaves by siglongjmp; the stacks of what is allocated afterwards are main's
 *
 * Prints:  HANDLER_ALLOCATIONS MAPPINGS.  The handler's blocks have sizes of SIZE_BASE + n, as in threads.c.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

enum { SIZE_BASE = 70000, MAPPING_SIZE = 77 * 4096 };

static volatile sig_atomic_t handled;
static sigjmp_buf escape;
static volatile sig_atomic_t jumps;

__attribute__((noinline)) static void handler_allocates(void)
{
	void *block = malloc(SIZE_BASE + (size_t)(handled % 100));
	__asm__ volatile("" : "+r"(block) : : "memory");   /* else gcc leaves both calls out */
	free(block);
}

static void on_signal(int number)
{
	(void)number;
	handler_allocates();
	handled = handled + 1;
	if (jumps)
		siglongjmp(escape, 1);
}

static void install(int number, int flags)
{
	struct sigaction action;
	memset(&action, 0, sizeof action);
	action.sa_handler = on_signal;
	action.sa_flags = flags;
	if (sigaction(number, &action, NULL))
		exit(3);
}

static void mode_raise(void)
{
	static char alternate[1 << 16];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
	install(SIGUSR1, 0);
	install(SIGUSR2, SA_ONSTACK);
	sigaltstack(&stack, NULL);
	for (int i = 0; i < 200; i++)
		raise(i % 2 ? SIGUSR1 : SIGUSR2);
}

static int mode_timer(void)
{
	int mappings = 0;
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	install(SIGALRM, SA_RESTART);
	setitimer(ITIMER_REAL, &often, NULL);
	while (handled < 1000 && mappings < 2000000) {
		char *memory = mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED || munmap(memory, MAPPING_SIZE))
			exit(4);
		mappings++;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	return mappings;
}

__attribute__((noinline)) static void deep(int depth)
{
	volatile char room[200];
	room[0] = (char)depth;
	if (depth)
		deep(depth - 1);
	else
		raise(SIGUSR1);
	room[1] = room[0];
}

static void mode_jump(void)
{
	install(SIGUSR1, SA_NODEFER);
	jumps = 1;
	for (volatile int i = 0; i < 100; i++) {
		if (sigsetjmp(escape, 1) == 0)
			deep(i % 20);
		void *block = malloc(SIZE_BASE + 500);
		__asm__ volatile("" : "+r"(block) : : "memory");
		free(block);
	}
}

int main(int argc, char **argv)
{
	int mappings = 0;
	const char *mode = argc == 2 ? argv[1] : "";
	if (!strcmp(mode, "raise"))
		mode_raise();
	else if (!strcmp(mode, "timer"))
		mappings = mode_timer();
	else if (!strcmp(mode, "jump"))
		mode_jump();
	else
		return 2;
	printf("%d %d\n", (int)handled, mappings);
	return 0;
}
