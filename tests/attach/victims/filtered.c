/* SPDX-License-Identifier: MIT */
/* served.c's first and last line only, under seccomp: strict, or a filter that ends the process for what it names. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };
	char line[64];

	if (argc < 2)
		return 2;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (strcmp(argv[1], "strict") == 0 ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) :
			prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 3;
	if (write(1, "ready\n", 6) != 6 || read(0, line, sizeof line) <= 0)
		return 4;
	/* _exit makes a call that strict mode does not allow. */
	syscall(SYS_exit, 42);
	return 5;
}
