/* SPDX-License-Identifier: MIT */
/*
 * Programs that start and stop their own recording, or wait for others to:  control MODE
 *
 *   self       counts what it allocates and frees while recording is on, between many stops and starts
 *   threads    three threads pass blocks to each other while the first one stops and starts
 *   signal     a timer's handler stops and starts, wherever it interrupts main
 *   fork       stopped, it forks; the child starts, allocates, and forks one that only allocates
 *   idle       reads bytes from standard input and allocates once for each; says "ready" first
 *   busy       allocates and frees until standard input ends
 *
 * What is counted has sizes of 70000 + n, as in threads.c.  self prints:  ALLOCATIONS FREES.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern int sctmem_start(void) __attribute__((weak));
extern int sctmem_stop(void) __attribute__((weak));
extern void sctmem_snapshot(const char *name) __attribute__((weak));

enum { SIZE_BASE = 70000, BOXES = 64 };

static unsigned long allocations, frees;

static void *keep(void *block)
{
	__asm__ volatile("" : "+r"(block) : : "memory");   /* else gcc leaves malloc and free out */
	return block;
}

/* Starts and stops where the library is there. */
static int turn(int on)
{
	if (!sctmem_start || !sctmem_stop)
		return -1;
	return on ? sctmem_start() : sctmem_stop();
}

static void mode_self(void)
{
	void *blocks[20] = { 0 };

	for (int round = 0; round < 40; round++) {
		const int on = round % 2 == 0;

		if (sctmem_start && turn(on) != (round > 0 || !on) && !(round == 0 && turn(1) == 0))
			exit(3);
		for (int i = 0; i < 50; i++) {
			void **block = &blocks[(round * 7 + i) % 20];

			if (*block) {
				free(*block);
				frees += on;
				*block = NULL;
			} else {
				*block = keep(malloc(SIZE_BASE + (size_t)(i % 100)));
				allocations += on;
			}
		}
		if (on && sctmem_snapshot)
			sctmem_snapshot("round");
	}
	printf("%lu %lu\n", allocations, frees);
}

static _Atomic(void *) boxes[BOXES];
static atomic_bool over;

static void *pass_blocks(void *argument)
{
	unsigned random = (unsigned)(size_t)argument * 2654435761u + 1;

	while (!atomic_load(&over)) {
		random = random * 1664525u + 1013904223u;
		free(atomic_exchange(&boxes[random >> 26], keep(malloc(16 + (random >> 8 & 1023)))));
	}
	return NULL;
}

static void mode_threads(void)
{
	pthread_t threads[3];

	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, pass_blocks, (void *)(i + 1));
	for (int i = 0; i < 60; i++) {
		turn(0);
		usleep(300);
		turn(1);
		usleep(700);
	}
	atomic_store(&over, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < BOXES; i++)
		free(atomic_load(&boxes[i]));
}

static volatile sig_atomic_t handled;

static void on_timer(int number)
{
	(void)number;
	turn(handled % 2);
	handled = handled + 1;
}

static void mode_signal(void)
{
	struct sigaction action = { .sa_handler = on_timer };
	struct itimerval timer = { { 0, 700 }, { 0, 700 } };
	void *blocks[64] = { 0 };
	unsigned random = 1;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	while (handled < 300) {
		random = random * 1664525u + 1013904223u;
		void **block = &blocks[random >> 26];

		free(*block);
		*block = keep(malloc(16 + (random >> 8 & 255)));
	}
	timer = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &timer, NULL);
	turn(1);
	for (int i = 0; i < 64; i++)
		free(blocks[i]);
}

static void wait_for(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		exit(4);
}

static void mode_fork(void)
{
	pid_t child = fork();

	if (child == 0) {
		turn(1);
		free(keep(malloc(SIZE_BASE + 1)));
		child = fork();
		if (child == 0) {
			free(keep(malloc(SIZE_BASE + 2)));
			_exit(0);
		}
		wait_for(child);
		turn(0);
		child = fork();
		if (child == 0) {
			free(keep(malloc(SIZE_BASE + 3)));
			_exit(0);
		}
		wait_for(child);
		_exit(0);
	}
	wait_for(child);
	free(keep(malloc(SIZE_BASE + 4)));
}

static void mode_idle(void)
{
	char byte;

	if (write(1, "ready\n", 6) != 6)
		exit(5);
	while (read(0, &byte, 1) == 1) {
		free(keep(malloc(SIZE_BASE)));
		if (write(1, &byte, 1) != 1)
			exit(5);
	}
}

static void mode_busy(void)
{
	fd_set input;
	struct timeval none;

	if (write(1, "ready\n", 6) != 6)
		exit(5);
	do {
		for (int i = 0; i < 1000; i++)
			free(keep(malloc(SIZE_BASE + (size_t)i % 100)));
		FD_ZERO(&input);
		FD_SET(0, &input);
		none = (struct timeval){ 0 };
	} while (select(1, &input, NULL, NULL, &none) == 0);
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{ "self", mode_self }, { "threads", mode_threads }, { "signal", mode_signal }, { "fork", mode_fork },
		{ "idle", mode_idle }, { "busy", mode_busy },
	};

	for (size_t i = 0; count == 2 && i < sizeof modes / sizeof modes[0]; i++)
		if (strcmp(arguments[1], modes[i].name) == 0) {
			modes[i].run();
			return 0;
		}
	return 2;
}
