/* SPDX-License-Identifier: MIT */
/*
 * System calls that touch nothing but the kernel: no errno, no cancellation point, no libc state.  Each returns
 * what the kernel does: a value, or -errno between -4095 and -1.
 */
#ifndef SCTMEM_PRELOAD_SYS_H
#define SCTMEM_PRELOAD_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <sys/stat.h>
#include <sys/syscall.h>

long sys_call(long number, long a, long b, long c, long d, long e, long f);

static inline bool sys_failed(long result)
{
	return (unsigned long)result >= (unsigned long)-4095;
}

/* Private anonymous memory, zeroed; NULL when there is none. */
void *sys_map_memory(size_t size);
/* A shared window of a file; NULL when it cannot be had. */
void *sys_map_file(int fd, uint64_t offset, size_t size);
void sys_unmap(void *address, size_t size);
/* Fresh memory in the place of what is mapped there. */
bool sys_map_over(void *address, size_t size);
/* Whether a fork child finds zeros there, or what the parent had. */
bool sys_wipe_on_fork(void *address, size_t size, bool wipe);

int sys_open(const char *path, int flags, int mode);
/* The same file under a high number, out of the range that programs count on; fd itself when that cannot be. */
int sys_move_high(int fd);
void sys_close(int fd);
long sys_read(int fd, void *buffer, size_t size);
long sys_pread(int fd, void *buffer, size_t size, uint64_t offset);
bool sys_pwrite_all(int fd, const void *buffer, size_t size, uint64_t offset);
bool sys_write_all(int fd, const void *buffer, size_t size);
/* Reads up to size - 1 bytes of a file and ends them with a NUL; the length, or -1. */
long sys_read_file(const char *path, char *buffer, size_t size);
bool sys_stat(int fd, struct stat *out);
/* Grows a file by [offset, offset + size) with space really taken, so that writing to a mapping cannot fail. */
bool sys_allocate(int fd, uint64_t offset, uint64_t size);

int sys_pid(void);
int sys_tid(void);
/* Whether the thread of this process still exists. */
bool sys_thread_exists(int pid, int tid);
/* Whether a task, of this process or another, is gone or only waits to be reaped. */
bool sys_task_is_dead(int tid);
void sys_yield(void);
/* Waits for another thread that is in the same short section; `tries` counts the waits so far. */
void sys_wait_turn(unsigned *tries);
/* No signal handler runs on this thread from here to sys_signals_restore; *saved is the mask as it was. */
void sys_signals_block(uint64_t *saved);
void sys_signals_restore(const uint64_t *saved);
/* Copies memory of this process that may be unmapped; false when it is. */
bool sys_copy_safely(void *to, uintptr_t from, size_t size);
/* A filter (seccomp) is in force, which may end the process for a call that it does not know. */
bool sys_is_filtered(void);

uint64_t sys_clock_ns(int clock);
/*
 * From one answer of a clock to another, both untrusted: the program may have brought a clock that jumps.  0 when the
 * later is the earlier, and what the format has bits for at most.
 */
static inline uint64_t sys_elapsed_ns(uint64_t from_ns, uint64_t to_ns)
{
	const uint64_t elapsed = to_ns - from_ns;

	if (__builtin_expect(elapsed >> 56 == 0, 1))
		return elapsed;
	return (int64_t)elapsed < 0 ? 0 : ((uint64_t)1 << 56) - 1;
}

/* The kernel's own clock_gettime() once sys_find_clock() was called, until then and where there is none libc's. */
extern int (*sys_clock)(clockid_t clock, struct timespec *now);
void sys_find_clock(void);

#endif
