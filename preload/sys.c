/* SPDX-License-Identifier: MIT */
/*
 * System calls by hand, so that recording an event can never disturb errno, be cancelled, or come back to us
 * through another library's wrapper of the same call.
 */
#include "sys.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>

#include "symbol.h"

#include "banned.h"

#if defined(__x86_64__)
long sys_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall" : "=a"(result)
		: "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
long sys_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "sys_call: this machine's system call convention is not known"
#endif

#ifdef __SANITIZE_THREAD__
/* The sanitizer has to hear of memory that changes hands. */
void *sys_map_memory(size_t size)
{
	void *result = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return result == MAP_FAILED ? NULL : result;
}

void sys_unmap(void *address, size_t size)
{
	munmap(address, size);
}
#else
void *sys_map_memory(size_t size)
{
	long result = sys_call(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return sys_failed(result) ? NULL : (void *)result;
}

void sys_unmap(void *address, size_t size)
{
	sys_call(SYS_munmap, (long)address, (long)size, 0, 0, 0, 0);
}
#endif

void *sys_map_file(int fd, uint64_t offset, size_t size)
{
	long result = sys_call(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (long)offset);

	return sys_failed(result) ? NULL : (void *)result;
}

bool sys_map_over(void *address, size_t size)
{
	return !sys_failed(sys_call(SYS_mmap, (long)address, (long)size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

bool sys_wipe_on_fork(void *address, size_t size, bool wipe)
{
	enum { WIPE_ON_FORK = 18, KEEP_ON_FORK = 19 };   /* MADV_WIPEONFORK, Linux 4.14 */

	return sys_call(SYS_madvise, (long)address, (long)size, wipe ? WIPE_ON_FORK : KEEP_ON_FORK, 0, 0, 0) == 0;
}

int sys_open(const char *path, int flags, int mode)
{
	return (int)sys_call(SYS_openat, AT_FDCWD, (long)path, flags, mode, 0, 0);
}

int sys_move_high(int fd)
{
	enum { HIGHEST = 900 };

	/* As far up as the limit of descriptors allows. */
	for (int from = HIGHEST; from > fd; from /= 4) {
		long high = sys_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, from, 0, 0, 0);

		if (!sys_failed(high)) {
			sys_close(fd);
			return (int)high;
		}
	}
	return fd;
}

void sys_close(int fd)
{
	sys_call(SYS_close, fd, 0, 0, 0, 0, 0);
}

long sys_read(int fd, void *buffer, size_t size)
{
	return sys_call(SYS_read, fd, (long)buffer, (long)size, 0, 0, 0);
}

long sys_pread(int fd, void *buffer, size_t size, uint64_t offset)
{
	return sys_call(SYS_pread64, fd, (long)buffer, (long)size, (long)offset, 0, 0);
}

bool sys_pwrite_all(int fd, const void *buffer, size_t size, uint64_t offset)
{
	const char *at = buffer;

	while (size > 0) {
		long written = sys_call(SYS_pwrite64, fd, (long)at, (long)size, (long)offset, 0, 0);

		if (sys_failed(written) || written == 0)
			return false;
		at += written;
		offset += (uint64_t)written;
		size -= (size_t)written;
	}
	return true;
}

bool sys_write_all(int fd, const void *buffer, size_t size)
{
	const char *at = buffer;

	while (size > 0) {
		long written = sys_call(SYS_write, fd, (long)at, (long)size, 0, 0, 0);

		if (written == -4 /* EINTR */)
			continue;
		if (written <= 0)
			return false;
		at += written;
		size -= (size_t)written;
	}
	return true;
}

long sys_read_file(const char *path, char *buffer, size_t size)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);
	size_t length = 0;

	if (fd < 0)
		return -1;
	while (length < size - 1) {
		long got = sys_read(fd, buffer + length, size - 1 - length);

		if (got <= 0)
			break;
		length += (size_t)got;
	}
	sys_close(fd);
	buffer[length] = 0;
	return (long)length;
}

bool sys_stat(int fd, struct stat *out)
{
	return sys_call(SYS_fstat, fd, (long)out, 0, 0, 0, 0) == 0;
}

/* File systems without fallocate get their space by zeros really written. */
static bool write_zeros(int fd, uint64_t offset, uint64_t size)
{
	static const char zeros[4096];

	while (size > 0) {
		size_t part = size < sizeof(zeros) ? (size_t)size : sizeof(zeros);
		long written = sys_call(SYS_pwrite64, fd, (long)zeros, (long)part, (long)offset, 0, 0);

		if (written == -4 /* EINTR */)
			continue;
		if (written <= 0)
			return false;
		offset += (uint64_t)written;
		size -= (uint64_t)written;
	}
	return true;
}

bool sys_allocate(int fd, uint64_t offset, uint64_t size)
{
	struct rlimit limit;
	long result;

	/* Growing past RLIMIT_FSIZE would send SIGXFSZ to the program. */
	if (sys_call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&limit, 0, 0) == 0 && offset + size > limit.rlim_cur)
		return false;
	do
		result = sys_call(SYS_fallocate, fd, 0, (long)offset, (long)size, 0, 0);
	while (result == -4 /* EINTR */);
	if (result == -95 /* EOPNOTSUPP */ || result == -38 /* ENOSYS */)
		return write_zeros(fd, offset, size);
	return result == 0;
}

int sys_pid(void)
{
	return (int)sys_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

int sys_tid(void)
{
	return (int)sys_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

bool sys_thread_exists(int pid, int tid)
{
	return sys_call(SYS_tgkill, pid, tid, 0, 0, 0, 0) != -3 /* ESRCH */;
}

bool sys_task_is_dead(int tid)
{
	char path[32] = "/proc/", text[256], digits[12];
	size_t at = sizeof(digits), length = strlen(path);

	if (sys_call(SYS_kill, tid, 0, 0, 0, 0, 0) == -3 /* ESRCH */)
		return true;
	for (int rest = tid; rest > 0; rest /= 10)
		digits[--at] = (char)('0' + rest % 10);
	memcpy(path + length, digits + at, sizeof(digits) - at);
	memcpy(path + length + sizeof(digits) - at, "/stat", 6);
	/* "tid (name) state ..." */
	char *name_end = sys_read_file(path, text, sizeof(text)) > 0 ? strrchr(text, ')') : NULL;

	return name_end && (name_end[2] == 'Z' || name_end[2] == 'X');
}

void sys_yield(void)
{
	sys_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

void sys_wait_turn(unsigned *tries)
{
	enum { YIELDS_MAX = 64 };
	const struct timespec while_ns = { .tv_nsec = 100000 };

	/* A thread under a real-time policy that only yields would keep a lesser one from ever ending its turn. */
	if (++*tries <= YIELDS_MAX)
		sys_yield();
	else
		sys_call(SYS_nanosleep, (long)&while_ns, 0, 0, 0, 0, 0);
}

void sys_signals_block(uint64_t *saved)
{
	const uint64_t all = ~(uint64_t)0;

	sys_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)saved, sizeof(all), 0, 0);
}

void sys_signals_restore(const uint64_t *saved)
{
	sys_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)saved, 0, sizeof(*saved), 0, 0);
}

bool sys_is_filtered(void)
{
	return sys_call(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0, 0) != 0;
}

bool sys_copy_safely(void *to, uintptr_t from, size_t size)
{
	struct iovec local = { to, size }, remote = { (void *)from, size };

	return sys_call(SYS_process_vm_readv, sys_pid(), (long)&local, 1, (long)&remote, 1, 0) == (long)size;
}

int (*sys_clock)(clockid_t clock, struct timespec *now) = clock_gettime;

/* Each event asks: the way through libc would be a quarter of the price. */
void sys_find_clock(void)
{
	const struct link_map *map;
	uintptr_t found = symbol_find_anywhere("__vdso_clock_gettime", &map);

	if (found && strncmp(map->l_name, "linux-vdso.", 11) == 0)
		sys_clock = (int (*)(clockid_t, struct timespec *))found;
}

uint64_t sys_clock_ns(int clock)
{
	struct timespec now;

	sys_clock(clock, &now);       /* the vDSO's: no system call, no errno */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
