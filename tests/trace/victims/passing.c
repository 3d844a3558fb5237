/* SPDX-License-Identifier: MIT */
/*
 * Threads that allocate and free at speed, and pass blocks to each other through slots:  passing THREADS ROUNDS MODE
 *
 *   plain     ends
 *   fork      halfway, while the others wait, forks; the child works on alone, says its account and ends
 *   exec      likewise, but the child becomes this program anew, in mode plain
 *   stop      of each three rounds recording is off in the second
 *   kill      after each round waits for a byte of standard input
 *
 * What take() allocates it keeps account of, and says it as a line: ALLOCATIONS BYTES LIVE-BLOCKS LIVE-BYTES, at the
 * end and (but in fork, exec and stop) at the mark that is set after each round, while all threads wait.  Of what is
 * done while recording is off it does not speak.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern int sctmem_start(void) __attribute__((weak));
extern int sctmem_stop(void) __attribute__((weak));
extern void sctmem_mark(const char *name) __attribute__((weak));

enum { SLOTS = 64, THREADS_MAX = 16, OPERATIONS = 6000 };

/* The size lies in the block itself, so that whoever frees it knows it. */
static size_t *slots[SLOTS];
static struct account { unsigned long long allocations, bytes, freed_blocks, freed_bytes; } accounts[THREADS_MAX];
static pthread_barrier_t barrier;
static int threads, rounds, silent;
static char **arguments;

__attribute__((noinline)) void *take(struct account *account, size_t size)
{
	size_t *block = malloc(size);

	__asm__ volatile("" : "+r"(block) : : "memory");
	*block = size;
	account->allocations += !silent;
	account->bytes += silent ? 0 : size;
	return block;
}

/* What is resized is no block of take(): how often it moves is the allocator's affair. */
__attribute__((noinline)) void grow(unsigned *seed)
{
	char *text = malloc(8 + (size_t)rand_r(seed) % 100);

	for (int i = 0; i < 3; i++)
		text = realloc(text, 8 + (size_t)rand_r(seed) % 1000);
	free(text);
}

static void give(struct account *account, size_t *block)
{
	if (!block)
		return;
	account->freed_blocks++;
	account->freed_bytes += *block;
	free(block);
}

static void work(struct account *account, unsigned *seed)
{
	for (int i = 0; i < OPERATIONS; i++) {
		const unsigned drawn = (unsigned)rand_r(seed);
		size_t *block = take(account, 16 + drawn % 200);

		if (drawn % 5 == 0)
			grow(seed);
		if (drawn % 3)
			give(account, block);
		else
			give(account, __atomic_exchange_n(&slots[drawn / 8 % SLOTS], block, __ATOMIC_ACQ_REL));
	}
}

/* Without stdio, whose buffer would be a block. */
static void say_account(void)
{
	struct account sum = { 0 };
	char line[200];

	for (int i = 0; i < threads; i++) {
		sum.allocations += accounts[i].allocations;
		sum.bytes += accounts[i].bytes;
		sum.freed_blocks += accounts[i].freed_blocks;
		sum.freed_bytes += accounts[i].freed_bytes;
	}
	const int size = snprintf(line, sizeof line, "%llu %llu %llu %llu\n", sum.allocations, sum.bytes,
		sum.allocations - sum.freed_blocks, sum.bytes - sum.freed_bytes);

	if (write(1, line, (size_t)size) != size)
		exit(1);
}

static void fork_and_work(int anew)
{
	const pid_t child = fork();
	unsigned seed = 99;

	if (child != 0) {
		waitpid(child, NULL, 0);
		return;
	}
	if (anew) {
		execv("/proc/self/exe", (char *[]){ arguments[0], arguments[1], arguments[2], "plain", NULL });
		_exit(1);
	}
	memset(accounts, 0, sizeof(accounts));
	for (int i = 0; i < rounds; i++)
		work(&accounts[0], &seed);
	say_account();
	_exit(0);
}

/* Between two rounds, by one thread, while the others wait. */
static void between(int round)
{
	const char *mode = arguments[3];
	char name[32], byte;

	snprintf(name, sizeof(name), "round %d", round);
	if (sctmem_mark)
		sctmem_mark(name);
	if (round == rounds / 2 && (strcmp(mode, "fork") == 0 || strcmp(mode, "exec") == 0))
		fork_and_work(strcmp(mode, "exec") == 0);
	if (strcmp(mode, "stop") == 0 && round % 3 != 2) {
		silent = round % 3 == 0;
		if (!sctmem_stop || (silent ? sctmem_stop() : sctmem_start()) < 0)
			exit(1);
	}
	if (strcmp(mode, "plain") == 0 || strcmp(mode, "kill") == 0)
		say_account();
	if (strcmp(mode, "kill") == 0 && read(0, &byte, 1) != 1)
		exit(1);
}

static void *thread_work(void *argument)
{
	const int number = (int)(intptr_t)argument;
	unsigned seed = (unsigned)number + 1;

	for (int round = 0; round < rounds; round++) {
		work(&accounts[number], &seed);
		pthread_barrier_wait(&barrier);
		if (number == 0)
			between(round);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t others[THREADS_MAX];

	arguments = argv;
	threads = argc > 3 ? atoi(argv[1]) : 0;
	rounds = argc > 3 ? atoi(argv[2]) : 0;
	if (threads < 1 || threads > THREADS_MAX || pthread_barrier_init(&barrier, NULL, (unsigned)threads) != 0)
		return 1;
	for (int i = 1; i < threads; i++)
		if (pthread_create(&others[i], NULL, thread_work, (void *)(intptr_t)i) != 0)
			return 1;
	thread_work(NULL);
	for (int i = 1; i < threads; i++)
		pthread_join(others[i], NULL);
	say_account();
	return 0;
}
