/* SPDX-License-Identifier: MIT */
/*
 * A program whose resident pages are known:  pages MODE FILE
 *
 * It makes memory of each kind, takes a snapshot named "here", and prints what mincore says of it right behind that.
 * MODE: plain; closed, with all descriptors closed before; full, with no descriptor left to be had; filter, under a
 * seccomp filter that kills for what a sample needs; fork, a child does all of it, and the parent writes zeroed data
 * of its own; stopped, with a stretch that is not recorded before; forks, children are forked while another thread
 * takes samples; many, hundreds of snapshots and nothing else; swapped, a block of which half is swapped out; wide,
 * with more shared memory than can be looked at.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../preload/sctmem.h"

enum {
	PAGE = 4096, BLOCK = 48 << 20, MAPPING = 16 << 20, SMALL_COUNT = 6000, SMALL = 2000, STACK_BYTES = 1 << 20,
	WRITTEN = 25, ZEROED = 4 << 20, SHARED = 12 << 20, CACHED = 2 << 20, CACHED_WRITTEN = 10, OUT = 16 << 20,
};

#define WIDE ((size_t)48 << 30)

static pthread_barrier_t barrier;
static char zeroed[ZEROED];

/* An event. */
static void allocate(void)
{
	void *volatile block = malloc(100);

	free(block);
}

/* Bytes of [start, end) on resident pages. */
static size_t resident(uintptr_t start, uintptr_t end)
{
	size_t sum = 0;

	for (uintptr_t page = start & ~(uintptr_t)(PAGE - 1); page < end; page += PAGE) {
		unsigned char there = 0;

		mincore((void *)page, PAGE, &there);
		if (there & 1)
			sum += (page + PAGE < end ? page + PAGE : end) - (page > start ? page : start);
	}
	return sum;
}

static __attribute__((noinline)) char *make_block(void)
{
	char *block = malloc(BLOCK);

	madvise((void *)((uintptr_t)block & ~(uintptr_t)(PAGE - 1)), BLOCK, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < BLOCK; at += 5 * PAGE)
		block[at] = 1;
	/* A hole in what was touched. */
	madvise((void *)(((uintptr_t)block + PAGE) & ~(uintptr_t)(PAGE - 1)), 8 << 20, MADV_DONTNEED);
	return block;
}

static __attribute__((noinline)) char *make_mapping(void)
{
	char *mapping = mmap(NULL, MAPPING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(mapping, 1, MAPPING / 2);
	munmap(mapping + MAPPING - 10 * PAGE, 5 * PAGE);
	munmap(mapping + PAGE, PAGE);
	return mapping;
}

/* But for the holes, in which somebody else's memory may lie by now. */
static size_t resident_of_mapping(uintptr_t mapping)
{
	return resident(mapping, mapping + PAGE) + resident(mapping + 2 * PAGE, mapping + MAPPING - 10 * PAGE) +
		resident(mapping + MAPPING - 5 * PAGE, mapping + MAPPING);
}

/* Every other four pages of it are touched. */
static __attribute__((noinline)) char *make_shared(void)
{
	char *shared = mmap(NULL, SHARED, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	madvise(shared, SHARED, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < SHARED; at += PAGE)
		if (at / PAGE % 8 < 4)
			shared[at] = 1;
	return shared;
}

/* A page of each table of 512: the system looks at all of them. */
static __attribute__((noinline)) void make_wide(void)
{
	char *wide = mmap(NULL, WIDE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	for (size_t at = 0; at < WIDE; at += 512 * PAGE)
		wide[at] = 1;
}

/* All of it is there, but the process has touched only some. */
static void make_cached(void)
{
	static char bytes[PAGE];
	int fd = memfd_create("cached", 0);
	char *mapping;

	for (size_t at = 0; at < CACHED; at += PAGE)
		if (write(fd, bytes, PAGE) != PAGE)
			exit(3);
	mapping = mmap(NULL, CACHED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int i = 0; i < CACHED_WRITTEN; i++)
		mapping[i * 3 * PAGE] = 1;
	close(fd);
}

/* Freed heap that stays: the last block keeps it from going back. */
static __attribute__((noinline)) uintptr_t make_freed(uintptr_t *end)
{
	static char *blocks[SMALL_COUNT];
	uintptr_t start;

	for (int i = 0; i < SMALL_COUNT; i++)
		memset(blocks[i] = malloc(SMALL), 1, SMALL);
	start = (uintptr_t)blocks[0];
	*end = (uintptr_t)blocks[SMALL_COUNT - 1];
	for (int i = 0; i < SMALL_COUNT - 1; i++)
		free(blocks[i]);
	return start;
}

static char *make_file(const char *path)
{
	char page[PAGE] = { 1 };
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *mapping;

	for (int i = 0; i < 200; i++)
		if (write(fd, page, PAGE) != PAGE)
			exit(3);
	mapping = mmap(NULL, 200 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	for (int i = 0; i < 200; i++)
		mapping[i * PAGE] += i < WRITTEN;
	close(fd);
	return mapping;
}

static void *use_stack(void *unused)
{
	volatile char bytes[STACK_BYTES];

	/* Known to the recorder from here on. */
	allocate();
	for (int i = 0; i < STACK_BYTES; i += PAGE)
		bytes[i] = 1;
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return bytes[0] ? unused : NULL;
}

/* What the kernel counts, in bytes. */
static size_t counted(const char *name)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	size_t kib = 0;

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			kib = strtoul(line + strlen(name), NULL, 10);
	if (file)
		fclose(file);
	return kib << 10;
}

/* Pages of it that are swapped out, and such that were never there. */
static size_t in_pagemap(const char *block, size_t size, uint64_t mask, uint64_t bits)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t sum = 0;

	for (uintptr_t page = (uintptr_t)block / PAGE; page < ((uintptr_t)block + size) / PAGE; page++) {
		uint64_t entry;

		if (pread(fd, &entry, sizeof(entry), (off_t)(page * sizeof(entry))) == sizeof(entry))
			sum += (entry & mask) == bits ? PAGE : 0;
	}
	close(fd);
	return sum;
}

static __attribute__((noinline)) char *make_out(void)
{
	char *block = mmap(NULL, OUT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(block, OUT, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < OUT / 4 * 3; at += sizeof(int))
		*(int *)(block + at) = rand();
	madvise(block, OUT / 2, MADV_PAGEOUT);
	return block;
}

static int swap_out(void)
{
	const uint64_t present = (uint64_t)1 << 63, swapped = (uint64_t)1 << 62;
	char *block = make_out();

	allocate();
	if (sctmem_snapshot)
		sctmem_snapshot("here");
	printf("swapped %zu\nuntouched %zu\ncounted %zu\n", in_pagemap(block, OUT, swapped, swapped),
		in_pagemap(block, OUT, present | swapped, 0), counted("VmSwap:"));
	return 0;
}

/* It is in force from the program's start on: what it forbids is needed by nobody but whoever looks at pages. */
static void begin_under_filter(char **argv)
{
	const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mincore, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(code) / sizeof(*code), (struct sock_filter *)code };

	if (prctl(PR_GET_SECCOMP) == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
			exit(4);
		execv("/proc/self/exe", argv);
		exit(5);
	}
}

static int all(const char *mode, const char *path)
{
	char *block, *mapping, *file;
	uintptr_t freed, freed_end;
	pthread_t thread;
	int out = dup(1);

	if (strcmp(mode, "stopped") == 0 && sctmem_stop) {
		sctmem_stop();
		allocate();
		sctmem_start();
	}
	freed = make_freed(&freed_end);
	block = make_block();
	mapping = make_mapping();
	make_shared();
	make_cached();
	if (strcmp(mode, "wide") == 0)
		make_wide();
	file = make_file(path);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, use_stack, NULL);
	pthread_barrier_wait(&barrier);
	if (strcmp(mode, "closed") == 0)
		for (int fd = 3; fd < 1024; fd++)
			if (fd != out)
				close(fd);
	if (strcmp(mode, "full") == 0)
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 3, 3 });
	if (sctmem_snapshot)
		sctmem_snapshot("here");
	/* Nothing has been allocated since. */
	if (strcmp(mode, "filter") != 0) {
		dprintf(out, "block %zu\nmapping %zu\nfreed %zu\n", resident((uintptr_t)block, (uintptr_t)block + BLOCK),
			resident_of_mapping((uintptr_t)mapping), resident(freed, freed_end));
		dprintf(out, "shared %zu\nfiles %zu\n", counted("RssShmem:"), counted("RssFile:"));
	}
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	free(block);
	return file[0] != 2;
}

static int take_many(void)
{
	allocate();
	for (int i = 0; i < 400 && sctmem_snapshot; i++)
		sctmem_snapshot("again");
	return 0;
}

static _Atomic int over;

static void *take_samples(void *unused)
{
	while (!over)
		if (sctmem_snapshot)
			sctmem_snapshot("again");
	return unused;
}

/* Descriptors that a sample needs for a moment. */
static int proc_descriptors(void)
{
	char path[64], target[256];
	int count = 0;

	for (int fd = 0; fd < 1024; fd++) {
		ssize_t size;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		size = readlink(path, target, sizeof(target) - 1);
		if (size <= 0)
			continue;
		target[size] = 0;
		count += strstr(target, "/maps") || strstr(target, "/pagemap");
	}
	return count;
}

/* Whatever the other thread was at, no child keeps anything of it, and each can take samples of its own. */
static int fork_many(void)
{
	pthread_t thread;
	int failed = 0;

	allocate();
	pthread_create(&thread, NULL, take_samples, NULL);
	for (int i = 0; i < 60; i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			allocate();
			if (proc_descriptors())
				_exit(1);
			if (sctmem_snapshot)
				sctmem_snapshot("child");
			_exit(proc_descriptors() ? 1 : 0);
		}
		waitpid(child, &status, 0);
		failed += status != 0;
	}
	over = 1;
	pthread_join(thread, NULL);
	return failed;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	if (strcmp(argv[1], "forks") == 0)
		return fork_many();
	if (strcmp(argv[1], "many") == 0)
		return take_many();
	if (strcmp(argv[1], "swapped") == 0)
		return swap_out();
	if (strcmp(argv[1], "filter") == 0)
		begin_under_filter(argv);
	if (strcmp(argv[1], "fork") == 0) {
		pid_t child = fork();
		int status;

		if (child == 0)
			exit(all("plain", argv[2]));
		memset(zeroed, 1, ZEROED);
		waitpid(child, &status, 0);
		return WEXITSTATUS(status) + zeroed[PAGE] - 1;
	}
	return all(argv[1], argv[2]);
}
