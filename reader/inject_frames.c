/* SPDX-License-Identifier: MIT */
/*
 * The stack of a stopped thread, unwound by elfutils, decides:
 *
 *     main, work, PyEval ...    <- libc, loader            not safe: who knows which lock it holds
 *     main, work, PyEval ...    <- poll, read, sem_wait    safe: these hold none while they wait
 *     main, work, PyEval ...                               safe: whatever it holds is the program's own
 *     main, malloc, ...  qsort, compare ...                not safe: the C library lies further out as well
 *
 * Where a signal handler runs, what it has interrupted must be safe in the same way: some programs do all their work
 * in handlers.  A signal that was due comes in the call that lets it through, such as sigprocmask.
 *
 * The first frames of a thread are the C library's, too (__libc_start_main, start_thread): these do not count.
 */
#include "inject_frames.h"

#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

enum {
	FRAMES_MAX = 1024,
	START_FRAMES_MAX = 3,         /* of libc at a thread's beginning */
};

enum place { PLACE_PROGRAM, PLACE_LIBC, PLACE_ALLOCATOR };

struct frames {
	const struct remote *remote;
	Dwfl *dwfl;
	uint64_t trampoline;          /* where signal handlers return to; 0: not found */
	uint64_t pcs[FRAMES_MAX];
	size_t count;
};

/* What may wait without holding anything of the C library's but a FILE's own lock. */
static const char *const waiting[] = {
	"read", "pread64", "preadv", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg", "accept", "accept4", "connect",
	"write", "writev", "pwrite64", "send", "sendto", "sendmsg", "poll", "ppoll", "select", "pselect", "epoll_wait",
	"epoll_pwait", "epoll_pwait2", "nanosleep", "clock_nanosleep", "usleep", "sleep", "pause", "sigsuspend", "sigwait",
	"sigwaitinfo", "sigtimedwait", "wait", "waitpid", "wait3", "wait4", "waitid", "pthread_cond_wait",
	"pthread_cond_timedwait", "pthread_cond_clockwait", "sem_wait", "sem_timedwait", "sem_clockwait", "pthread_join",
	"pthread_timedjoin_np", "pthread_clockjoin_np", "pthread_barrier_wait", "pthread_mutex_lock", "cnd_wait",
	"cnd_timedwait", "thrd_join", "thrd_sleep", "mtx_lock", "syscall", "flock", "fsync", "fdatasync", "msgrcv", "semop",
	"semtimedop", "futex_wait", "sched_yield",
	/* On a terminal or a pipe. */
	"fgets", "getline", "getdelim", "fread", "fgetc", "getc", "getchar", "_IO_getc", "scanf", "fscanf",
	"__isoc99_scanf", "__isoc99_fscanf", "fwrite", "fflush", "puts", "fputs", "putchar",
	NULL,
};

/* What lets a signal through, or sends it: it holds nothing when that comes. */
static const char *const signalling[] = {
	"sigprocmask", "pthread_sigmask", "sigsetmask", "sigrelse", "siglongjmp", "longjmp", "__longjmp_chk", "setcontext",
	"swapcontext", "raise", "kill", "killpg", "tgkill", "sigqueue", "alarm", "ualarm", "setitimer",
	"timer_settime",
	NULL,
};

static const uint8_t restorer[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };   /* mov $15, %rax; syscall */

/* elfutils hands callbacks nothing of ours.  One process is looked at at a time. */
static const struct remote *looked_at;

static int find_elf(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base, char **file_name, Elf **elf)
{
	char path[PATH_MAX + 64];
	int fd = -1;

	if (looked_at && !looked_at->same_root && name[0] == '/') {
		remote_path(looked_at, name, path, sizeof path);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return dwfl_linux_proc_find_elf(module, user, name, base, file_name, elf);
	*file_name = strdup(path);
	return fd;
}

/* The tables in the program itself are enough. */
static int find_no_debuginfo(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base, const char *file,
	const char *link, GElf_Word checksum, char **debuginfo)
{
	(void)module, (void)user, (void)name, (void)base, (void)file, (void)link, (void)checksum, (void)debuginfo;
	return -1;
}

static int read_tables(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr start, void *argument)
{
	Dwarf_Addr bias;

	(void)user, (void)name, (void)start, (void)argument;
	dwfl_module_eh_cfi(module, &bias);
	return DWARF_CB_OK;
}

struct frames *frames_new(const struct remote *remote)
{
	static const Dwfl_Callbacks callbacks = { .find_elf = find_elf, .find_debuginfo = find_no_debuginfo };
	struct frames *frames = memory_new(1, sizeof *frames);
	const struct remote_module *libc = NULL;

	frames->remote = remote;
	looked_at = remote;
	frames->dwfl = dwfl_begin(&callbacks);
	if (!frames->dwfl || dwfl_linux_proc_report(frames->dwfl, remote->pid) != 0 ||
		dwfl_report_end(frames->dwfl, NULL, NULL) != 0 ||
		dwfl_linux_proc_attach(frames->dwfl, remote->pid, true) != 0) {
		frames_free(frames);
		return NULL;
	}
	dwfl_getmodules(frames->dwfl, read_tables, NULL, 0);
	if (remote_find(remote, "gnu_get_libc_version", &libc))
		frames->trampoline = remote_find_code(remote, libc, restorer, sizeof restorer);
	return frames;
}

void frames_free(struct frames *frames)
{
	if (frames && frames->dwfl)
		dwfl_end(frames->dwfl);
	free(frames);
}

static int take_frame(Dwfl_Frame *frame, void *argument)
{
	struct frames *frames = argument;
	Dwarf_Addr pc;
	bool exact;

	if (frames->count == FRAMES_MAX || !dwfl_frame_pc(frame, &pc, &exact))
		return DWARF_CB_ABORT;
	/* A return address may lie behind the end of its function. */
	frames->pcs[frames->count++] = exact ? pc : pc - 1;
	return DWARF_CB_OK;
}

static enum place place_of(const struct frames *frames, uint64_t pc)
{
	const struct remote_module *module = remote_module_at(frames->remote, pc);
	const char *slash = module ? strrchr(module->path, '/') : NULL;

	if (!slash)
		return PLACE_PROGRAM;
	if (remote_symbol(frames->remote, module, "gnu_get_libc_version") || strncmp(slash, "/ld-", 4) == 0 ||
		strncmp(slash, "/ld.so", 6) == 0 || strncmp(slash, "/libpthread", 11) == 0 ||
		strncmp(slash, "/libdl", 6) == 0)
		return PLACE_LIBC;
	return remote_symbol(frames->remote, module, "malloc") ? PLACE_ALLOCATOR : PLACE_PROGRAM;
}

/* libc's own frames at the beginning of a thread; the program's _start may lie further out still. */
static size_t without_start(const struct frames *frames)
{
	size_t count = frames->count, libc = 0;

	if (count > 1 && place_of(frames, frames->pcs[count - 1]) != PLACE_LIBC)
		count--;
	while (count > 0 && libc < START_FRAMES_MAX && place_of(frames, frames->pcs[count - 1]) == PLACE_LIBC) {
		count--;
		libc++;
	}
	return libc ? count : frames->count;
}

static bool is_trampoline(const struct frames *frames, uint64_t pc)
{
	return frames->trampoline && pc - (frames->trampoline - 1) <= sizeof restorer;
}

/* What a stopped thread, or one interrupted by a signal, was doing: pcs[at..end), the innermost first. */
static bool is_safe(const struct frames *frames, size_t at, size_t end)
{
	size_t libc = at;

	while (libc < end && place_of(frames, frames->pcs[libc]) == PLACE_LIBC)
		libc++;
	if (libc > at && !remote_function_is(frames->remote, frames->pcs[libc - 1], waiting) &&
		!(at > 0 && remote_function_is(frames->remote, frames->pcs[libc - 1], signalling)))
		return false;
	for (; libc < end; libc++)
		if (place_of(frames, frames->pcs[libc]) != PLACE_PROGRAM)
			return false;
	return true;
}

enum frames_verdict frames_look(struct frames *frames, pid_t thread)
{
	size_t end, at = 0;

	frames->count = 0;
	if (dwfl_getthread_frames(frames->dwfl, thread, take_frame, frames) != 0 || frames->count == 0)
		return FRAMES_UNKNOWN;
	end = without_start(frames);
	if (end == 0)
		return FRAMES_UNSAFE;         /* starting or ending */
	for (size_t i = 0; i <= end; i++) {
		if (i < end && !is_trampoline(frames, frames->pcs[i]))
			continue;
		if (!is_safe(frames, at, i))
			return FRAMES_UNSAFE;
		at = i + 1;
	}
	return FRAMES_SAFE;
}

bool frames_outside(struct frames *frames, pid_t thread, uint64_t start, uint64_t end)
{
	frames->count = 0;
	if (dwfl_getthread_frames(frames->dwfl, thread, take_frame, frames) != 0 || frames->count == 0)
		return false;
	for (size_t i = 0; i < frames->count; i++)
		if (frames->pcs[i] - start < end - start)
			return false;
	return true;
}
