/* SPDX-License-Identifier: MIT */
/*
 * The library in a program of its own, which does to it what programs do: test_record.c runs one case after the other
 * and reads what was recorded.  Exit code 0: the program saw nothing unusual; else the line of what it saw.
 *
 * Sizes tell the events of a case from others: 7001 and so on.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) do { if (!(condition)) _exit(__LINE__ > 255 ? __LINE__ - 255 : __LINE__); } while (0)

static void *volatile sink;

static void *keep(void *block)
{
	sink = block;                 /* or the compiler leaves out malloc and free together */
	return block;                 /* not what is in sink: another thread may have put its own there */
}

static void set_timer(long microseconds)
{
	struct itimerval timer = { { 0, microseconds }, { 0, microseconds } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

static volatile sig_atomic_t signals;

/* mmap, because malloc must not be called in a handler; the hooks do not know the difference. */
static void map_and_unmap(int number)
{
	int saved = errno;
	void *map = mmap(NULL, 7001 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)number;
	if (map != MAP_FAILED)
		munmap(map, 7001 * 4096);
	signals++;
	errno = saved;
}

static int handlers_that_record(void)
{
	struct timespec begin, now;

	signal(SIGALRM, map_and_unmap);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	set_timer(100);
	do {
		for (int i = 0; i < 1000; i++)
			free(keep(malloc(7002)));
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < 500);
	set_timer(0);
	CHECK(signals > 50);
	printf("%d\n", (int)signals);
	return 0;
}

static char alternate_stack[65536];

static int handlers_on_an_alternate_stack(void)
{
	stack_t stack = { .ss_sp = alternate_stack, .ss_size = sizeof(alternate_stack) };
	struct sigaction action = { .sa_handler = map_and_unmap, .sa_flags = SA_ONSTACK };

	CHECK(sigaltstack(&stack, NULL) == 0);
	sigaction(SIGALRM, &action, NULL);
	set_timer(100);
	for (int i = 0; i < 400000; i++)
		free(keep(malloc(7002)));
	set_timer(0);
	printf("%d\n", (int)signals);
	return 0;
}

static sigjmp_buf out;
static volatile sig_atomic_t jumping;

static void jump_out(int number)
{
	(void)number;
	if (jumping)
		siglongjmp(out, 1);
}

/* A program whose handler jumps, and which maps and unmaps meanwhile; then allocates in peace. */
static int handlers_that_jump_out(void)
{
	static volatile int jumps;

	signal(SIGALRM, jump_out);
	set_timer(300);
	while (jumps < 400) {
		if (sigsetjmp(out, 1) != 0)
			jumps++;
		jumping = 1;
		for (int i = 0; i < 100000 && jumps < 400; i++) {
			void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			munmap(map, 4096);
		}
		jumping = 0;
	}
	set_timer(0);
	for (int i = 0; i < 1000; i++)
		free(keep(malloc(7003)));
	return 0;
}

static int errno_is_kept(void)
{
	void *block;

	for (int i = 0; i < 30000; i++) {         /* several windows are flushed on the way */
		errno = EXDEV;
		block = malloc(100);
		CHECK(errno == EXDEV);
		block = realloc(block, 200);
		CHECK(errno == EXDEV);
		free(keep(block));
		CHECK(errno == EXDEV);
		CHECK(posix_memalign(&block, 64, 100) == 0 && errno == EXDEV);
		free(block);
		CHECK(errno == EXDEV);
	}
	errno = 0;
	CHECK(keep(malloc(PTRDIFF_MAX)) == NULL && errno == ENOMEM);
	return 0;
}

static int forks(void)
{
	int status;

	free(keep(malloc(7001)));
	for (int i = 0; i < 3; i++) {
		pid_t child = fork();

		if (child == 0) {
			for (int k = 0; k < 10; k++)
				keep(malloc(7004));
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	free(keep(malloc(7001)));
	return 0;
}

static void *fork_first_of_all(void *argument)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		for (int k = 0; k < 20000; k++)
			keep(malloc(7004));
		_exit(0);
	}
	waitpid(child, &status, 0);
	return argument;
}

/* The thread that forks has never allocated: it has no state that the kernel could have wiped. */
static int a_thread_without_a_state_forks(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, fork_first_of_all, NULL) == 0);
	for (int i = 0; i < 50000; i++)
		free(keep(malloc(7001)));
	pthread_join(thread, NULL);
	for (int i = 0; i < 50000; i++)
		free(keep(malloc(7001)));
	return 0;
}

static int vforks(void)
{
	int status;

	for (int i = 0; i < 20; i++) {
		pid_t child = vfork();

		if (child == 0) {
			free(keep(malloc(7004)));
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		free(keep(malloc(7001)));
	}
	return 0;
}

static pthread_key_t key;

static void free_late(void *block)
{
	free(block);
}

static void *live_shortly(void *argument)
{
	free(keep(malloc(7001)));
	pthread_setspecific(key, malloc(7005));
	return argument;
}

static int ten_thousand_threads(void)
{
	CHECK(pthread_key_create(&key, free_late) == 0);
	for (int i = 0; i < 2500; i++) {
		pthread_t threads[4];

		for (int t = 0; t < 4; t++)
			CHECK(pthread_create(&threads[t], NULL, live_shortly, NULL) == 0);
		for (int t = 0; t < 4; t++)
			CHECK(pthread_join(threads[t], NULL) == 0);
	}
	return 0;
}

static pthread_key_t chain;
static int rounds_left = 3;

/* Comes again in each round of destructors, the last included. */
static void free_and_come_again(void *block)
{
	free(block);
	if (rounds_left-- > 0)
		pthread_setspecific(chain, malloc(7005));
}

static void *end_with_destructors(void *argument)
{
	pthread_setspecific(chain, malloc(7005));
	return argument;
}

static int destructors_of_every_round(void)
{
	pthread_t thread;

	CHECK(pthread_key_create(&chain, free_and_come_again) == 0);
	CHECK(pthread_create(&thread, NULL, end_with_destructors, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(rounds_left < 0);
	return 0;
}

static int sizes_of_all_kinds(void)
{
	void *block, *other;
	size_t large = ((size_t)5 << 30) + 7001;
	volatile size_t half = SIZE_MAX / 2;  /* the compiler warns of what it can see */

	block = keep(malloc(large));
	CHECK(block);
	free(block);
	CHECK((block = keep(malloc(0))) != NULL);
	free(block);
	free(keep(NULL));
	CHECK((block = keep(calloc(7, 1001))) != NULL);
	free(block);
	CHECK(keep(calloc(half, 3)) == NULL);

	/* realloc to 0 frees here; a realloc that fails leaves the block. */
	block = keep(malloc(7002));
	CHECK(realloc(block, 0) == NULL);
	block = keep(malloc(7003));
	CHECK(realloc(block, PTRDIFF_MAX) == NULL);
	CHECK(reallocarray(block, half, 3) == NULL && errno == ENOMEM);
	block = keep(reallocarray(block, 7, 1002));
	CHECK(block && malloc_usable_size(block) >= 7014);
	free(block);

	other = (void *)1;
	CHECK(posix_memalign(&other, 3, 7006) == EINVAL && other == (void *)1);
	CHECK(posix_memalign(&other, 64, 7006) == 0 && (uintptr_t)other % 64 == 0);
	free(other);
	CHECK((block = keep(aligned_alloc(4096, 7007))) != NULL && (uintptr_t)block % 4096 == 0);
	free(block);
	CHECK((block = keep(memalign(256, 7008))) != NULL);
	free(block);
	CHECK((block = keep(valloc(7009))) != NULL);
	free(block);
	CHECK((block = keep(pvalloc(7010))) != NULL);
	free(block);
	return 0;
}

static int mappings_of_all_kinds(void)
{
	char *map = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(map != MAP_FAILED);
	CHECK(munmap(map + 4 * 4096, 4 * 4096) == 0);
	errno = 0;
	CHECK(munmap(map + 1, 4096) == -1 && errno == EINVAL);
	CHECK(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	CHECK(mremap(map + 1, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED);
	char *moved = mremap(map, 4 * 4096, 32 * 4096, MREMAP_MAYMOVE);

	CHECK(moved != MAP_FAILED);
	char *beside = mremap(moved, 32 * 4096, 32 * 4096, MREMAP_MAYMOVE | 4 /* DONTUNMAP */, NULL);

	if (beside != MAP_FAILED) {
		CHECK(beside != moved && moved[0] == 0);
		CHECK(munmap(beside, 32 * 4096) == 0);
	}
	char *fixed = mremap(moved, 32 * 4096, 32 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, moved + (1 << 30));

	CHECK(fixed == moved + (1 << 30));
	CHECK(munmap(fixed, 32 * 4096) == 0 && munmap(map + 8 * 4096, 8 * 4096) == 0);
	return 0;
}

static int resident_memory(void)
{
	enum { SIZE = 64 << 20 };
	char *block = malloc(SIZE);
	int status;

	memset(block, 1, SIZE);
	pid_t child = fork();

	if (child == 0) {
		/* Its own memory is far less once it has given this back. */
		free(block);
		for (int i = 0; i < 20; i++) {
			free(keep(malloc(7004)));
			usleep(10000);
		}
		_exit(0);
	}
	for (int i = 0; i < 20; i++) {
		free(keep(malloc(7001)));
		usleep(10000);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} cases[] = {
#define CASE(name) { #name, name }
		CASE(handlers_that_record), CASE(handlers_on_an_alternate_stack), CASE(handlers_that_jump_out),
		CASE(errno_is_kept), CASE(forks), CASE(a_thread_without_a_state_forks), CASE(vforks),
		CASE(ten_thousand_threads), CASE(destructors_of_every_round), CASE(sizes_of_all_kinds),
		CASE(mappings_of_all_kinds), CASE(resident_memory),
	};

	for (size_t i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (strcmp(argv[1], cases[i].name) == 0)
			return cases[i].run();
	return 99;
}
