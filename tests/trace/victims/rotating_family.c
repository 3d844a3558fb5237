/* SPDX-License-Identifier: MIT */
/*
 * Processes whose captures are in segments:  rotating_family MODE
 *
 *   fork    blocks are kept, many others come and go; a child does the same, frees half of those that it has from its
 *           parent, and has a child of its own, which frees one; the parent frees the other half
 *   exec    many blocks come and go; then the program executes itself, three times
 *   vfork   children by vfork that execute nothing, while threads make blocks come and go
 *
 * Kept blocks have sizes from KEPT_SIZE on; what a process frees of them is what it had.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEPT = 1000, KEPT_SIZE = 30000, ROUNDS = 150000, THREADS = 3 };

static void *kept[KEPT];
static atomic_bool over;

static __attribute__((noinline)) void *take(size_t size)
{
	void *block = malloc(size);

	__asm__ volatile("" : "+r"(block) : : "memory");
	return block;
}

static void churn(unsigned rounds)
{
	static __thread void *slots[64];
	unsigned random = rounds * 2654435761u + 1;

	for (unsigned i = 0; i < rounds; i++) {
		random = random * 1103515245u + 12345u;
		free(slots[(random >> 16) % 64]);
		slots[(random >> 16) % 64] = take(16 + (random >> 8) % 500);
	}
	for (unsigned i = 0; i < 64; i++) {
		free(slots[i]);
		slots[i] = NULL;
	}
}

static void free_kept(unsigned first)
{
	for (unsigned i = first; i < KEPT; i += 2) {
		free(kept[i]);
		kept[i] = NULL;
	}
}

static void wait_for(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		exit(3);
}

static int mode_fork(void)
{
	pid_t child;

	for (unsigned i = 0; i < KEPT; i++)
		kept[i] = take(KEPT_SIZE + i);
	churn(ROUNDS);
	child = fork();
	if (child == 0) {
		churn(ROUNDS);
		free_kept(0);
		churn(ROUNDS);
		child = fork();
		if (child == 0) {
			free(kept[1]);
			churn(ROUNDS);
			_exit(0);
		}
		wait_for(child);
		exit(0);
	}
	wait_for(child);
	churn(ROUNDS);
	free_kept(1);
	return 0;
}

static int mode_exec(const char *program, int left)
{
	char text[16];

	kept[0] = take(KEPT_SIZE);
	churn(ROUNDS);
	if (left == 0)
		return 0;
	snprintf(text, sizeof text, "%d", left - 1);
	execl(program, program, "exec", text, (char *)NULL);
	return 4;
}

static void *churn_on(void *argument)
{
	while (!atomic_load(&over))
		churn(1000);
	return argument;
}

static int mode_vfork(void)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, churn_on, NULL);
	for (int i = 0; i < 300; i++) {
		pid_t child = vfork();

		if (child == 0)
			_exit(0);
		wait_for(child);
		free(take(KEPT_SIZE));
	}
	atomic_store(&over, 1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

int main(int count, char **arguments)
{
	if (count > 1 && strcmp(arguments[1], "fork") == 0)
		return mode_fork();
	if (count > 1 && strcmp(arguments[1], "exec") == 0)
		return mode_exec(arguments[0], count > 2 ? atoi(arguments[2]) : 3);
	if (count > 1 && strcmp(arguments[1], "vfork") == 0)
		return mode_vfork();
	return 2;
}
