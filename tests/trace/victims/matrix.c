/* SPDX-License-Identifier: MIT */
/*
 * A small program of each kind of life, for the test of every view:  matrix MODE [STEPS]
 *
 *   plain     works in two threads, one after the other, between marks, and ends
 *   fork      works; a child by fork works on with what it inherited, and so does the parent
 *   wait      works, says its account, and waits until standard input ends;
 *             for each byte that it reads it allocates and frees a block
 *   asked     says "ready"; at the first line that it reads it works and says its account, and then waits likewise
 *   stops     works recorded, unrecorded and recorded again
 *   stopped   works recorded, and then unrecorded to its end
 *   nothing   ends
 *
 * What take() allocates it keeps account of, and says it as a line: ALLOCATIONS BYTES LIVE-BLOCKS LIVE-BYTES.  Of what
 * is done while recording is off it does not speak.  pass() makes what is no such block: resized, mapped, temporary.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern int sctmem_start(void) __attribute__((weak));
extern int sctmem_stop(void) __attribute__((weak));
extern void sctmem_mark(const char *name) __attribute__((weak));

enum { SLOTS = 300 };

static struct { void *block; size_t size; } slots[SLOTS];
static uint64_t random_state = 1;
static unsigned long long allocations, bytes, live_blocks, live_bytes;
static long steps = 3000;
static int silent;

static uint32_t draw(uint32_t below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((random_state >> 33) % below);
}

__attribute__((noinline)) void *take(size_t size, int zeroed)
{
	void *block = zeroed ? calloc(1, size) : malloc(size);

	__asm__ volatile("" : "+r"(block) : : "memory");
	allocations += !silent;
	bytes += silent ? 0 : size;
	live_blocks++;
	live_bytes += size;
	return block;
}

__attribute__((noinline)) void *deeper(unsigned depth, size_t size)
{
	void *block = depth ? deeper(depth - 1, size) : take(size, (int)(size & 1));

	__asm__ volatile("" : "+r"(block) : : "memory");
	return block;
}

__attribute__((noinline)) void pass(void)
{
	char *text = malloc(40), *map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t size = 80; size < 3000; size *= 2) {
		text = realloc(text, size);
		text[size - 1] = 1;
	}
	free(text);
	if (map != MAP_FAILED) {
		map[0] = 1;
		munmap(map + 16384, 16384);       /* a hole; what is around it stays */
	}
}

static void work(long count)
{
	for (long i = 0; i < count; i++) {
		const uint32_t at = draw(SLOTS);

		if (slots[at].block) {
			free(slots[at].block);
			live_blocks--;
			live_bytes -= slots[at].size;
			slots[at].block = NULL;
		}
		if (draw(4)) {
			slots[at].size = draw(50) ? 1 + draw(900) : 20000 + draw(60000);
			slots[at].block = deeper(draw(12), slots[at].size);
		}
		if (i % 1000 == 500)
			pass();
	}
}

static void *other_thread(void *count)
{
	work((long)(intptr_t)count);
	return NULL;
}

static void work_in_two_threads(void)
{
	pthread_t thread;

	if (sctmem_mark)
		sctmem_mark("begin first");
	work(steps / 2);
	if (sctmem_mark) {
		sctmem_mark("end first");
		sctmem_mark("begin second");
	}
	if (pthread_create(&thread, NULL, other_thread, (void *)(intptr_t)(steps / 2)) != 0)
		exit(1);
	pthread_join(thread, NULL);
	if (sctmem_mark)
		sctmem_mark("end second");
}

/* Without stdio, whose buffer would be a block. */
static void say_account(void)
{
	char line[200];
	const int size = snprintf(line, sizeof line, "%llu %llu %llu %llu\n", allocations, bytes, live_blocks, live_bytes);

	if (write(1, line, (size_t)size) != size)
		exit(1);
}

static void wait_for_the_end(void)
{
	char byte;

	while (read(0, &byte, 1) > 0) {
		void *volatile block = malloc(8);

		free(block);
	}
}

static void fork_and_work(void)
{
	const pid_t child = fork();

	if (child == 0)
		allocations = bytes = 0;
	work(steps / 4);
	if (child == 0) {
		say_account();
		exit(0);
	}
	waitpid(child, NULL, 0);
}

static void stop_and_work(int goes_on)
{
	if (!sctmem_stop || sctmem_stop() < 0)
		exit(1);
	silent = 1;
	work(steps / 4);
	if (goes_on) {
		if (sctmem_start() < 0)
			exit(1);
		silent = 0;
		work(steps / 4);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "nothing";
	char byte;

	steps = argc > 2 ? atol(argv[2]) : steps;
	if (strcmp(mode, "nothing") == 0)
		return 0;
	if (strcmp(mode, "asked") == 0 && (write(1, "ready\n", 6) != 6 || read(0, &byte, 1) != 1))
		return 1;
	work_in_two_threads();
	if (strcmp(mode, "fork") == 0)
		fork_and_work();
	if (strncmp(mode, "stop", 4) == 0)
		stop_and_work(strcmp(mode, "stops") == 0);
	say_account();
	if (strcmp(mode, "wait") == 0 || strcmp(mode, "asked") == 0)
		wait_for_the_end();
	return 0;
}
