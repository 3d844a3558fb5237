/* SPDX-License-Identifier: MIT */
/*
 * A program that has its system calls filtered, so that one which it does not make itself ends it:
 *
 *     filters HOW ACTION [THREADS]
 *
 *     HOW       prctl, syscall, indirect (prctl by syscall()), strict (read, write and exit alone), probe (asks whether
 *               there are filters, and sets none), child (a fork child does it; the parent goes on without)
 *     ACTION    kill, or errno: what becomes of calls that are not allowed
 *     THREADS   that allocate at the same time, and are made to follow
 *
 * It allocates before: BEFORE blocks of COUNTED bytes that stay; then thousands with stacks of their own.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BEFORE = 100, COUNTED = 7919, AFTER = 300000, THREADS_MAX = 8 };

static const unsigned allowed[] = { SYS_read, SYS_write, SYS_exit_group, SYS_exit, SYS_brk, SYS_mmap, SYS_munmap,
	SYS_mremap, SYS_futex, SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_mprotect, SYS_madvise };
static void *kept[BEFORE];
static volatile int ending;
static atomic_int begun;

__attribute__((noinline)) static void *take(int depth, size_t size)
{
	void *block = depth ? take(depth - 1, size) : malloc(size);

	__asm__ volatile("" : "+r"(block));
	return block;
}

static void churn(int count)
{
	void *blocks[64] = { 0 };

	for (int i = 0; i < count; i++) {
		free(blocks[i % 64]);
		blocks[i % 64] = take(i % 50, 16 + (size_t)i * 7 % 900);
	}
	for (int i = 0; i < 64; i++)
		free(blocks[i]);
}

static void *churn_on(void *unused)
{
	/* An allocator asks for much at a thread's first block. */
	churn(1000);
	begun++;
	while (!ending)
		churn(1000);
	return unused;
}

static void fail(const char *what)
{
	dprintf(2, "%s: %s\n", what, strerror(errno));
	_exit(1);
}

static void set_filter(const char *how, const char *action, unsigned flags)
{
	enum { COUNT = sizeof(allowed) / sizeof(allowed[0]) };
	struct sock_filter code[COUNT + 3];
	struct sock_fprog program = { COUNT + 3, code };
	long result;

	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < COUNT; i++)
		code[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (uint8_t)(COUNT - i), 0);
	code[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
		strcmp(action, "kill") == 0 ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM);
	code[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		fail("no new privileges");
	if (strcmp(how, "strict") == 0)
		result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	else if (strcmp(how, "indirect") == 0)
		result = syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
	else if (strcmp(how, "syscall") == 0 || flags)
		result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	else
		result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	if (result != 0)
		fail("the filter");
}

/* As libraries find out what there is: with nothing to set. */
static void probe(void)
{
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) != -1 || errno != EFAULT)
		fail("probing by seccomp");
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != -1 || errno != EFAULT)
		fail("probing by prctl");
}

/* All six arguments arrive, and what is said of an error. */
static void check_syscall(void)
{
	void *page = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		fail("mmap by syscall");
	memset(page, 1, 4096);
	if (syscall(SYS_munmap, page, 4096) != 0 || syscall(SYS_close, -1) != -1 || errno != EBADF)
		fail("close by syscall");
	if (syscall(SYS_gettid) != getpid())
		fail("gettid by syscall");
}

int main(int argc, char **argv)
{
	const int threads = argc > 3 ? atoi(argv[3]) : 0;
	const char *how = argv[1];
	pthread_t ids[THREADS_MAX];
	pid_t child = 0;

	check_syscall();
	for (int i = 0; i < BEFORE; i++)
		kept[i] = take(i % 5, COUNTED);
	for (int i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, churn_on, NULL);
	while (begun < threads)
		usleep(1000);
	if (strcmp(how, "child") == 0) {
		child = fork();
		how = child ? "none" : "prctl";
	}
	if (strcmp(how, "probe") == 0)
		probe();
	else if (strcmp(how, "none") != 0)
		set_filter(how, argv[2], threads ? SECCOMP_FILTER_FLAG_TSYNC : 0);
	/* Strict mode lets no allocator ask for memory. */
	churn(strcmp(how, "strict") == 0 ? 5 : AFTER);
	ending = 1;
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	if (write(1, "done\n", 5) != 5)
		return 1;
	if (strcmp(how, "strict") == 0)
		syscall(SYS_exit, 0);
	if (child) {
		int status;

		if (waitpid(child, &status, 0) != child || status != 0)
			fail("the child");
	}
	return 0;
}
