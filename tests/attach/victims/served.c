/* SPDX-License-Identifier: MIT */
/*
 * A program that is under load and keeps a journal of what it is asked for.
 *
 *     served THREADS [IN]   each thread allocates, fills, checks and frees blocks of ordinary sizes all the time
 *
 * IN: the main thread lives in a handler of SIGUSR2, which has interrupted
 *     sigprocmask, siglongjmp, raise, kill    what lets a signal through or sends it
 *     sort                                    a function that the C library's qsort has called
 *
 * One command a line on standard input, one answer a line on standard output:
 *
 *     work N    the main thread allocates N blocks of COUNTED_SIZE bytes and frees every second of them
 *     drop      it frees the rest
 *     load      how many rounds the threads have made
 *     wait      it waits in each of the kernel's ways for a moment, and says whether any was disturbed
 *     signals N it waits, N times, for SIGUSR1 to end a wait; says how often one was handled without ending any
 *     open FILE opens a library; its constructor allocates
 *     end       joins all threads and exits with 42; any fault found on the way makes it 1
 */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { COUNTED_SIZE = 7919, THREADS_MAX = 64, HELD = 64, KEPT_MAX = 1 << 20 };

static atomic_bool ending;
static atomic_long rounds, faults;
static void *kept[KEPT_MAX];
static long kept_count;

static void check(int good, const char *what)
{
	if (!good) {
		atomic_fetch_add(&faults, 1);
		fprintf(stderr, "fault: %s, errno %d\n", what, errno);
	}
}

/* What the threads' sums have to come to. */
static double sum_alone = 0.5;

static void sum_up(void)
{
	for (int i = 0; i < 200; i++)
		for (int k = 1; k < 50; k++)
			sum_alone = sum_alone * 1.0000001 + 1.0 / k;
}

/* Blocks are filled with a byte that is made from their address, so that a block that two have got is found. */
static void *load(void *argument)
{
	unsigned seed = (unsigned)(size_t)argument;
	unsigned char *held[HELD] = { 0 };
	size_t sizes[HELD] = { 0 };

	while (!atomic_load_explicit(&ending, memory_order_relaxed)) {
		double sum = 0.5;

		for (int i = 0; i < 200; i++) {
			unsigned at = (unsigned)rand_r(&seed) % HELD;

			if (held[at]) {
				unsigned char fill = (unsigned char)((size_t)held[at] >> 4 ^ at);

				for (size_t byte = 0; byte < sizes[at]; byte++)
					if (held[at][byte] != fill) {
						check(0, "a block was overwritten");
						break;
					}
			}
			sizes[at] = 1 + (unsigned)rand_r(&seed) % 600;
			held[at] = i % 3 ? (free(held[at]), malloc(sizes[at])) : realloc(held[at], sizes[at]);
			if (!held[at])
				sizes[at] = 0;
			memset(held[at], (int)((size_t)held[at] >> 4 ^ at) & 0xff, sizes[at]);
			/* Vector registers and errno are the thread's own, too. */
			errno = (int)at;
			for (int k = 1; k < 50; k++)
				sum = sum * 1.0000001 + 1.0 / k;
			check(errno == (int)at, "errno has changed");
		}
		check(sum == sum_alone, "a sum came out otherwise");
		if (seed % 4)
			usleep(500);
		atomic_fetch_add(&rounds, 1);
	}
	for (int i = 0; i < HELD; i++)
		free(held[i]);
	return NULL;
}

static void work(long count)
{
	for (long i = 0; i < count && kept_count < KEPT_MAX; i++) {
		kept[kept_count++] = malloc(COUNTED_SIZE);
		if (i % 2) {
			free(kept[--kept_count]);
		}
	}
	printf("worked %ld freed %ld\n", count, count / 2);
}

static void drop(void)
{
	long count = kept_count;

	while (kept_count > 0)
		free(kept[--kept_count]);
	printf("dropped %ld\n", count);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *raise_later(void *semaphores)
{
	usleep(150000);
	semctl(*(int *)semaphores, 0, SETVAL, 1);
	return NULL;
}

/* They have no limit of time, and the kernel makes neither of them again. */
static void wait_for_others(void)
{
	const struct itimerval soon = { .it_value.tv_usec = 150000 };
	struct sembuf take = { .sem_op = -1 };
	pthread_t helper;
	sigset_t alarm;
	int semaphores = semget(IPC_PRIVATE, 1, 0600);

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	setitimer(ITIMER_REAL, &soon, NULL);
	check(sigwaitinfo(&alarm, NULL) == SIGALRM, "sigwaitinfo was cut short");
	check(semaphores >= 0 && pthread_create(&helper, NULL, raise_later, &semaphores) == 0, "a helper of semop");
	check(semop(semaphores, &take, 1) == 0, "semop was cut short");
	pthread_join(helper, NULL);
	semctl(semaphores, 0, IPC_RMID);
}

static atomic_long handled;

static void count_signal(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

/* It comes in the wait alone; so each that is handled ends one. */
static void wait_for_signals(long count)
{
	const struct sigaction action = { .sa_handler = count_signal };
	int epoll = epoll_create1(0);
	struct epoll_event event;
	sigset_t blocked, before;
	long ended = 0;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &blocked, &before);
	sigaction(SIGUSR1, &action, NULL);
	printf("waits\n");
	while (ended < count) {
		const long seen = atomic_load(&handled);

		check(epoll_pwait(epoll, &event, 1, -1, &before) < 0 && errno == EINTR, "epoll_pwait ended otherwise");
		ended += atomic_load(&handled) != seen;
	}
	printf("signals %ld unnoticed %ld\n", ended, atomic_load(&handled) - ended);
	close(epoll);
}

/* No wait may be cut short or fail. */
static void wait_all(void)
{
	const struct timespec while_ns = { .tv_nsec = 150000000 };
	struct timeval while_us = { .tv_usec = 150000 };
	struct timespec until;
	int ends[2], epoll = epoll_create1(0);
	struct epoll_event event;
	double start;
	sem_t semaphore;

	check(pipe(ends) == 0, "pipe");
	start = seconds();
	check(nanosleep(&while_ns, NULL) == 0 && seconds() - start >= 0.15, "nanosleep was cut short");
	start = seconds();
	check(poll(&(struct pollfd){ .fd = ends[0], .events = POLLIN }, 1, 150) == 0 && seconds() - start >= 0.149,
		"poll was cut short");
	start = seconds();
	check(select(0, NULL, NULL, NULL, &while_us) == 0 && seconds() - start >= 0.149, "select was cut short");
	start = seconds();
	check(epoll_wait(epoll, &event, 1, 150) == 0 && seconds() - start >= 0.149, "epoll_wait was cut short");
	sem_init(&semaphore, 0, 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 150000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	check(sem_timedwait(&semaphore, &until) != 0 && errno == ETIMEDOUT, "sem_timedwait was cut short");
	wait_for_others();
	close(epoll);
	close(ends[0]);
	close(ends[1]);
	printf("waited %ld\n", atomic_load(&faults));
}

/* The number of the signal whose handler it is, or 0. */
static void serve(int number)
{
	char line[4096];

	(void)number;
	printf("ready %d\n", (int)getpid());
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "work ", 5) == 0)
			work(atol(line + 5));
		else if (strcmp(line, "drop") == 0)
			drop();
		else if (strncmp(line, "signals ", 8) == 0)
			wait_for_signals(atol(line + 8));
		else if (strcmp(line, "wait") == 0)
			wait_all();
		else if (strcmp(line, "load") == 0)
			printf("load %ld\n", atomic_load(&rounds));
		else if (strncmp(line, "open ", 5) == 0)
			printf("opened %d\n", dlopen(line + 5, RTLD_NOW) != NULL);
		else if (strcmp(line, "end") == 0)
			break;
	}
}

static int compare(const void *a, const void *b)
{
	raise(SIGUSR2);
	return *(const char *)a - *(const char *)b;
}

static void serve_in_handler(const char *in)
{
	const struct sigaction action = { .sa_handler = serve };
	char letters[] = { 'b', 'a' };
	sigset_t blocked;
	sigjmp_buf back;

	sigaction(SIGUSR2, &action, NULL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	if (strcmp(in, "raise") == 0)
		raise(SIGUSR2);
	else if (strcmp(in, "kill") == 0)
		kill(getpid(), SIGUSR2);
	else if (strcmp(in, "sort") == 0)
		qsort(letters, sizeof letters, 1, compare);
	else if (sigsetjmp(back, 1) == 0) {
		sigprocmask(SIG_BLOCK, &blocked, NULL);
		raise(SIGUSR2);
		if (strcmp(in, "siglongjmp") == 0)
			siglongjmp(back, 1);
		sigprocmask(SIG_UNBLOCK, &blocked, NULL);
	}
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 2;
	pthread_t ids[THREADS_MAX];
	sigset_t alarm;

	/* In all threads: it is waited for. */
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm, NULL);
	sum_up();
	setvbuf(stdout, NULL, _IOLBF, 4096);
	for (int i = 0; i < threads && i < THREADS_MAX; i++)
		pthread_create(&ids[i], NULL, load, (void *)(size_t)(i + 1));
	if (argc < 3)
		serve(0);
	else
		serve_in_handler(argv[2]);
	atomic_store(&ending, 1);
	for (int i = 0; i < threads && i < THREADS_MAX; i++)
		pthread_join(ids[i], NULL);
	drop();
	printf("faults %ld\n", atomic_load(&faults));
	return atomic_load(&faults) ? 1 : 42;
}
