/* SPDX-License-Identifier: MIT */
/*
 * One thread of the process is stopped, and made to call functions; the others run on, since the call may need what
 * they hold.  Whatever becomes of us meanwhile, the thread finds its way back: under every call lies, on the stack,
 * what the kernel would have put there for a signal handler.
 *
 *     stack of the call     | return to: restorer | struct ucontext: all registers as they were, the signal mask |
 *                                                   the XSAVE area: vectors, and tiles in use, as they were |
 *
 * So when the function returns, the thread executes rt_sigreturn, and is what it was.  That is what happens when we
 * have been killed; PTRACE_O_EXITKILL is not set, so the kernel lets the thread go.  No byte of the program's code is
 * changed: a breakpoint that is left behind would kill it.
 *
 * While we live we catch it before that.  Calls of mmap and munmap need some of the thread's own stack, below what it
 * uses; it is stopped at each system call, until it makes rt_sigreturn.  All others have a stack of their own, and
 * return into a few instructions of ours: these store the result, and wait two seconds to be taken up again, before
 * they, too, go the way back.  So a call costs two stops, however many system calls it makes.  (Under a filter of
 * system calls, or where no such code may be mapped, it is done in the first way.)
 *
 * Order matters, too: registers first, then the mask and the vector registers, which the way back restores.
 *
 * A thread that waited in the kernel goes on waiting: it makes the same system call again (restart_syscall for those
 * that the kernel restarts so, with the time that is left).  Some (epoll_wait, sigwaitinfo, semop) are never restarted
 * by the kernel and say EINTR after any stop; where they wait without a limit, or for a short time, they are made again
 * all the same, also where the thread is let go of untouched, unless a signal is to be delivered.
 */
#include "inject.h"

#include <cpuid.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "clock.h"
#include "memory.h"

enum {
	VECTORS_MAX = 16384,
	RED_ZONE = 128,
	OWN_STACK_NEEDED = 24 << 10,  /* mapped below a thread's sp, for the first call */
	RESTORER_LENGTH = 9,
	CODE_LENGTH = 60,
	CODE_WAY_BACK = 6,            /* its last bytes, which make the system call */
	PLACE_RESULT = INJECT_DATA - 8, PLACE_FLAG = INJECT_DATA - 16, PLACE_TIME = INJECT_DATA - 32,
	CALL_MS_MAX = 20000,          /* a loader reading from a slow disk */
	STOP_MS_MAX = 2000,
	EPOLL_MS_MAX = 1000,
	RESTART_FIRST = 512, RESTART_BLOCK = 516,   /* the kernel's ERESTARTSYS ... ERESTART_RESTARTBLOCK */
	INVALID_FLAGS = 0x12345,      /* of an alternate signal stack: leaves the thread's own as it is */
	MAGIC1 = 0x46505853, MAGIC2 = 0x46505845,
};

static const uint8_t restorer_code[RESTORER_LENGTH] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };

static void pause_ns(long ns)
{
	nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

static bool is_over(struct inject *inject, struct error *error)
{
	inject->ended = true;
	inject->thread = 0;
	return fail(error, STATUS_NO_INPUT, "process %d ended meanwhile", (int)inject->remote->pid);
}

/* ---- stopping, and letting go ---- */

/* Waits for the thread's next stop.  Its own signals on the way are its own. */
static bool wait_stop(struct inject *inject, uint64_t limit_ms, enum __ptrace_request go, int *status,
	struct error *error)
{
	uint64_t end = clock_now_ns() + limit_ms * 1000000;

	for (unsigned turn = 0;; turn++) {
		pid_t got = waitpid(inject->thread, status, __WALL | WNOHANG);

		if (got < 0 || (got > 0 && !WIFSTOPPED(*status)))
			return is_over(inject, error);
		if (got > 0) {
			int signal = WSTOPSIG(*status);

			if (*status >> 16 || signal == (SIGTRAP | 0x80))
				return true;
			/* Delivered, as if nobody were there. */
			if (ptrace(go, inject->thread, 0, signal) != 0 && errno == ESRCH)
				return is_over(inject, error);
			continue;
		}
		if (clock_now_ns() > end)
			return fail(error, STATUS_CANNOT_TRACE, "a thread of process %d does not answer", (int)inject->remote->pid);
		if (turn > 200)
			pause_ns(20000);
	}
}

static void let_go(struct inject *inject)
{
	if (inject->thread && ptrace(PTRACE_DETACH, inject->thread, 0, 0) != 0) {
		int status;

		/* It can be let go only while it is stopped. */
		ptrace(PTRACE_INTERRUPT, inject->thread, 0, 0);
		for (int turn = 0; turn < 1000 && waitpid(inject->thread, &status, __WALL | WNOHANG) == 0; turn++)
			pause_ns(100000);
		ptrace(PTRACE_DETACH, inject->thread, 0, 0);
	}
	if (inject->thread && inject->started_ns)
		inject->stopped_ns += clock_now_ns() - inject->started_ns;
	inject->thread = 0;
	inject->started_ns = 0;
}

static bool get_vectors(struct inject *inject)
{
	struct iovec area = { memory_new(VECTORS_MAX, 1), VECTORS_MAX };

	free(inject->vectors);
	inject->vectors = area.iov_base;
	if (ptrace(PTRACE_GETREGSET, inject->thread, NT_X86_XSTATE, &area) != 0)
		return false;
	inject->vectors_size = area.iov_len;
	return true;
}

static bool set_vectors(const struct inject *inject, const uint8_t *vectors)
{
	struct iovec area = { (void *)vectors, inject->vectors_size };

	return ptrace(PTRACE_SETREGSET, inject->thread, NT_X86_XSTATE, &area) == 0;
}

static long error_of(const struct user_regs_struct *registers)
{
	long result = (long)registers->rax;

	return (long)registers->orig_rax >= 0 && result < 0 && result >= -4095 ? -result : 0;
}

/*
 * Whether a wait that the kernel never restarts ends only when what it waits for has come, or soon.  One with a signal
 * mask of its own (r8) counts on every signal ending it, also one that comes right now.
 */
static bool may_wait_again(const struct user_regs_struct *registers)
{
	switch (registers->orig_rax) {
	case SYS_epoll_wait:
		return (int)registers->r10 <= EPOLL_MS_MAX;
	case SYS_epoll_pwait:
		return (int)registers->r10 <= EPOLL_MS_MAX && registers->r8 == 0;
	case SYS_epoll_pwait2:
		return registers->r10 == 0 && registers->r8 == 0;
	case SYS_semtimedop:
		return registers->r10 == 0;
	case SYS_rt_sigtimedwait:
		return registers->rdx == 0;
	default:
		return registers->orig_rax == SYS_semop;
	}
}

/* What the thread's system call was to be, as it has to be made again. */
static bool continues(const struct user_regs_struct *registers, uint64_t *number)
{
	long error = error_of(registers);

	*number = registers->orig_rax;
	if (error >= RESTART_FIRST && error <= RESTART_BLOCK) {
		if (error == RESTART_BLOCK)
			*number = SYS_restart_syscall;
		return true;
	}
	return error == EINTR && may_wait_again(registers);
}

/* Whether signals wait for the thread that it does not block; true also where it cannot be told. */
static bool has_signals(pid_t thread, uint64_t blocked)
{
	char path[64], line[256];
	uint64_t signals, pending = 0;
	unsigned found = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof line, file)) {
		if (sscanf(line, "SigPnd: %" SCNx64, &signals) != 1 && sscanf(line, "ShdPnd: %" SCNx64, &signals) != 1)
			continue;
		pending |= signals;
		found++;
	}
	if (file)
		fclose(file);
	return found != 2 || (pending & ~blocked);
}

/*
 * By its instruction, from outside the kernel: a thread that is let go of counts as having a signal until it is there,
 * and a wait that is never restarted would end at once.
 */
static void make_call_again(struct user_regs_struct *registers)
{
	registers->rax = registers->orig_rax;
	registers->orig_rax = (uint64_t)-1;
	registers->rip -= 2;
}

/* Lets go of a thread that was only looked at. */
static void let_go_untouched(struct inject *inject)
{
	struct user_regs_struct registers = inject->registers;

	if (inject->thread && inject->in_call && error_of(&registers) == EINTR && may_wait_again(&registers) &&
		!has_signals(inject->thread, inject->mask)) {
		make_call_again(&registers);
		ptrace(PTRACE_SETREGS, inject->thread, 0, &registers);
	}
	let_go(inject);
}

/* ---- the way back ---- */

/*
 * The components of the XSAVE area that a frame restores.  A thread has tile data only after it has asked the kernel
 * for them, and an area that is longer than the thread's own counts as damaged: so only where they are in use.
 */
static uint64_t frame_features(const struct inject *inject)
{
	const uint64_t tile_data = (uint64_t)1 << 18;
	uint64_t features, in_use;

	memcpy(&features, inject->vectors + 464, sizeof features);
	memcpy(&in_use, inject->vectors + 512, sizeof in_use);
	return features & (in_use | ~tile_data);
}

/* The area with these components, in the standard format.  XRSTOR touches all of it, also what is not in use. */
static uint32_t frame_vectors_size(const struct inject *inject, uint64_t features)
{
	uint32_t size = 576;

	for (unsigned i = 2; i < 63; i++) {
		unsigned a, b, c, d;

		if (!(features >> i & 1))
			continue;
		__cpuid_count(0xd, i, a, b, c, d);
		if (b != 0 && a + b > size)
			size = a + b;
	}
	return size < inject->vectors_size ? size : (uint32_t)inject->vectors_size;
}

/*
 * Writes return address and ucontext, so that they end at or below `top`; *sp is where the called function finds its
 * return address.  The kernel's ucontext is the beginning of libc's: its signal mask has eight bytes.
 */
static bool write_way_back(const struct inject *inject, uint64_t top, uint64_t returns_to, uint64_t *sp)
{
	enum { CONTEXT_SIZE = offsetof(ucontext_t, uc_sigmask) + 8 };
	static uint8_t frame[VECTORS_MAX + 4096];
	const struct user_regs_struct *from = &inject->registers;
	ucontext_t context = { 0 };
	greg_t *to = context.uc_mcontext.gregs;
	const uint64_t features = frame_features(inject);
	const uint32_t size = frame_vectors_size(inject, features);
	/* The kernel may want to read as much as the thread's longest area has: that is mapped. */
	const uint64_t vectors = (top - inject->vectors_size - 4) & ~(uint64_t)63;
	uint64_t number;
	/* At a function's first instruction, sp is 8 above a multiple of 16. */
	const uint64_t start = ((vectors - CONTEXT_SIZE - 8) & ~(uint64_t)15) - 8;

	context.uc_stack.ss_flags = INVALID_FLAGS;
	to[REG_R8] = (greg_t)from->r8, to[REG_R9] = (greg_t)from->r9, to[REG_R10] = (greg_t)from->r10;
	to[REG_R11] = (greg_t)from->r11, to[REG_R12] = (greg_t)from->r12, to[REG_R13] = (greg_t)from->r13;
	to[REG_R14] = (greg_t)from->r14, to[REG_R15] = (greg_t)from->r15, to[REG_RDI] = (greg_t)from->rdi;
	to[REG_RSI] = (greg_t)from->rsi, to[REG_RBP] = (greg_t)from->rbp, to[REG_RBX] = (greg_t)from->rbx;
	to[REG_RDX] = (greg_t)from->rdx, to[REG_RAX] = (greg_t)from->rax, to[REG_RCX] = (greg_t)from->rcx;
	to[REG_RSP] = (greg_t)from->rsp, to[REG_RIP] = (greg_t)from->rip, to[REG_EFL] = (greg_t)from->eflags;
	to[REG_CSGSFS] = (greg_t)((from->cs & 0xffff) | (from->ss & 0xffff) << 48);
	context.uc_mcontext.fpregs = (void *)vectors;
	memcpy(&context.uc_sigmask, &inject->mask, sizeof inject->mask);
	/* After rt_sigreturn the kernel restarts nothing; the instruction is executed again. */
	if (inject->in_call && continues(from, &number)) {
		to[REG_RAX] = (greg_t)from->orig_rax;
		to[REG_RIP] -= 2;
	}

	memset(frame, 0, sizeof frame);
	memcpy(frame, &returns_to, 8);
	memcpy(frame + 8, &context, CONTEXT_SIZE);
	uint8_t *area = frame + (vectors - start);

	memcpy(area, inject->vectors, size);
	/* struct _fpx_sw_bytes */
	const struct { uint32_t magic, extended_size; uint64_t features; uint32_t size, padding[7]; } described = {
		MAGIC1, size + 4, features, size, { 0 },
	};
	const uint32_t magic = MAGIC2;

	memcpy(area + 464, &described, sizeof described);
	memcpy(area + size, &magic, sizeof magic);
	*sp = start;
	return remote_write(inject->remote, start, frame, (size_t)(vectors - start) + size + 4);
}

/* Runs to the function's end; the last system call's result tells what a raw one returned. */
static bool run_to_end(struct inject *inject, uint64_t end_pc, uint64_t *last, struct error *error)
{
	uint64_t limit = clock_now_ns() + (uint64_t)CALL_MS_MAX * 1000000;
	struct user_regs_struct registers;
	int status;

	for (bool entering = true;; entering = !entering) {
		if (ptrace(PTRACE_SYSCALL, inject->thread, 0, 0) != 0)
			return is_over(inject, error);
		if (!wait_stop(inject, CALL_MS_MAX, PTRACE_SYSCALL, &status, error))
			return false;
		/* A stop that somebody else asked for: not one of a system call. */
		if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
			entering = !entering;
			continue;
		}
		if (ptrace(PTRACE_GETREGS, inject->thread, 0, &registers) != 0)
			return is_over(inject, error);
		if (entering && registers.rip == end_pc && registers.orig_rax == SYS_rt_sigreturn)
			return true;
		if (!entering)
			*last = registers.rax;
		if (clock_now_ns() > limit)
			return fail(error, STATUS_CANNOT_TRACE, "a call in process %d takes too long; it goes on by itself",
				(int)inject->remote->pid);
	}
}

/*
 * The thread stands at the entry of rt_sigreturn.  Where a filter of system calls is in force, that one is made, and
 * is surely permitted; else none is, so that what the kernel keeps of an interrupted wait is not lost.
 */
static bool leave_end(struct inject *inject, struct error *error)
{
	struct user_regs_struct registers;
	int status;

	if (!inject->seccomp) {
		if (ptrace(PTRACE_GETREGS, inject->thread, 0, &registers) != 0)
			return is_over(inject, error);
		registers.orig_rax = (uint64_t)-1;
		/* It stays resumable: were it let go now, it would make the call after all. */
		registers.rip -= registers.rip == inject->restorer + RESTORER_LENGTH ? RESTORER_LENGTH : CODE_WAY_BACK;
		if (ptrace(PTRACE_SETREGS, inject->thread, 0, &registers) != 0)
			return is_over(inject, error);
	}
	if (ptrace(PTRACE_SYSCALL, inject->thread, 0, 0) != 0)
		return is_over(inject, error);
	return wait_stop(inject, STOP_MS_MAX, PTRACE_SYSCALL, &status, error);
}

/* Sends the thread into the function.  Below `top` everything is free. */
static bool send(struct inject *inject, uint64_t top, uint64_t returns_to, uint64_t function,
	const uint64_t arguments[INJECT_ARGUMENTS], struct error *error)
{
	struct user_regs_struct registers = inject->registers;
	uint8_t *fresh = memory_new(VECTORS_MAX, 1);
	const uint32_t mxcsr = 0x1f80;
	uint64_t all = ~(uint64_t)0, sp;
	bool done = false;

	/* The C calling convention's: all else is in its initial state. */
	memcpy(fresh + 24, &mxcsr, sizeof mxcsr);
	memcpy(fresh + 464, inject->vectors + 464, 8);
	if (!write_way_back(inject, top, returns_to, &sp)) {
		remote_failed(inject->remote, "write to the memory of", error);
		goto out;
	}
	registers.rip = function;
	registers.rsp = sp;
	registers.rbp = 0;
	registers.rdi = arguments[0], registers.rsi = arguments[1], registers.rdx = arguments[2];
	registers.rcx = arguments[3], registers.r8 = arguments[4], registers.r9 = arguments[5];
	registers.rax = 0;
	registers.orig_rax = (uint64_t)-1;
	registers.eflags = 0x202;
	if (ptrace(PTRACE_SETREGS, inject->thread, 0, &registers) != 0) {
		remote_failed(inject->remote, "set the registers of", error);
		goto out;
	}
	ptrace(PTRACE_SETSIGMASK, inject->thread, sizeof all, &all);
	set_vectors(inject, fresh);
	done = true;
out:
	free(fresh);
	return done;
}

/* The same to the end: the thread stands at the entry of rt_sigreturn then. */
static bool call_on(struct inject *inject, uint64_t top, uint64_t returns_to, uint64_t end_pc, uint64_t function,
	const uint64_t arguments[INJECT_ARGUMENTS], uint64_t *last, struct error *error)
{
	return send(inject, top, returns_to, function, arguments, error) && run_to_end(inject, end_pc, last, error);
}

/*
 * Waits until our instructions have stored the result, and stops the thread where it waits in them.  When that came
 * too late it has gone the way back: the call was made all the same, and the thread is not ours any more.
 */
static bool run_to_flag(struct inject *inject, struct error *error)
{
	const uint64_t limit = clock_now_ns() + (uint64_t)CALL_MS_MAX * 1000000;
	struct user_regs_struct registers;
	uint64_t flag = 0;
	int status;

	if (ptrace(PTRACE_CONT, inject->thread, 0, 0) != 0)
		return is_over(inject, error);
	for (unsigned turn = 0; flag == 0; turn++) {
		if (!remote_read(inject->remote, inject->memory + PLACE_FLAG, &flag, sizeof flag))
			return is_over(inject, error);
		pid_t got = waitpid(inject->thread, &status, __WALL | WNOHANG);

		if (got < 0 || (got > 0 && !WIFSTOPPED(status)))
			return is_over(inject, error);
		/* Nothing can be delivered now but what was on its way. */
		if (got > 0)
			ptrace(PTRACE_CONT, inject->thread, 0, status >> 16 ? 0 : WSTOPSIG(status));
		if (clock_now_ns() > limit)
			return fail(error, STATUS_CANNOT_TRACE, "a call in process %d takes too long; it goes on by itself",
				(int)inject->remote->pid);
		if (turn < 100)
			sched_yield();
		else
			pause_ns(30000);
	}
	ptrace(PTRACE_INTERRUPT, inject->thread, 0, 0);
	if (!wait_stop(inject, STOP_MS_MAX, PTRACE_CONT, &status, error))
		return false;
	if (ptrace(PTRACE_GETREGS, inject->thread, 0, &registers) != 0)
		return is_over(inject, error);
	if (registers.rip - inject->code <= CODE_LENGTH)
		return true;
	let_go(inject);
	return true;
}

static bool call_quickly(struct inject *inject, uint64_t function, const uint64_t arguments[INJECT_ARGUMENTS],
	uint64_t *result, struct error *error)
{
	static const uint64_t time_and_flag[4] = { 2, 0, 0, 0 };      /* two seconds; no flag; no result */

	if (!remote_write(inject->remote, inject->memory + PLACE_TIME, time_and_flag, sizeof time_and_flag))
		return remote_failed(inject->remote, "write to the memory of", error);
	if (!send(inject, inject->memory + INJECT_MEMORY, inject->code, function, arguments, error) ||
		!run_to_flag(inject, error))
		return false;
	if (!remote_read(inject->remote, inject->memory + PLACE_RESULT, result, sizeof *result))
		*result = 0;
	return true;
}

/* At the entry of rt_sigreturn: everything as it was, by hand. */
static void restore(struct inject *inject)
{
	struct user_regs_struct registers = inject->registers;
	uint64_t number;

	/* The way back that lies on the stack does it all, but for a wait's remaining time. */
	if (inject->seccomp || !inject->in_call)
		return;
	set_vectors(inject, inject->vectors);
	ptrace(PTRACE_SETSIGMASK, inject->thread, sizeof inject->mask, &inject->mask);
	if (error_of(&registers) == EINTR && continues(&registers, &number)) {
		make_call_again(&registers);
	} else if (continues(&registers, &number)) {
		registers.orig_rax = number;
		registers.rax = (uint64_t)-ENOSYS;
	} else {
		registers.orig_rax = (uint64_t)-1;
	}
	ptrace(PTRACE_SETREGS, inject->thread, 0, &registers);
}

/* syscall(2) of the C library, on the thread's own stack. */
static bool call_syscall(struct inject *inject, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
	uint64_t *result, struct error *error)
{
	const uint64_t arguments[INJECT_ARGUMENTS] = { number, a, b, c, d, (uint64_t)-1 };

	/* Its seventh argument is the first word of the ucontext: 0, as it happens. */
	return call_on(inject, inject->registers.rsp - RED_ZONE, inject->restorer,
		inject->restorer + RESTORER_LENGTH, inject->do_syscall, arguments, result, error);
}

bool inject_call(struct inject *inject, uint64_t function, const uint64_t arguments[INJECT_ARGUMENTS],
	uint64_t *result, struct error *error)
{
	uint64_t top = inject->memory + INJECT_MEMORY, last = 0;
	uint64_t returns_to = inject->code ? inject->code : inject->restorer;
	uint64_t end_pc = inject->code ? inject->code + CODE_LENGTH : inject->restorer + RESTORER_LENGTH;

	if (!inject->thread)
		return fail(error, STATUS_NO_INPUT, "process %d ended meanwhile", (int)inject->remote->pid);
	*result = 0;
	if (inject->quick)
		return call_quickly(inject, function, arguments, result, error);
	if (!call_on(inject, top, returns_to, end_pc, function, arguments, &last, error))
		return false;
	if (inject->code && !remote_read(inject->remote, inject->memory + PLACE_RESULT, result, sizeof *result))
		*result = 0;
	return leave_end(inject, error);
}

/* ---- choosing a thread ---- */

static bool is_good_call(long number)
{
	static const int good[] = { SYS_read, SYS_recvfrom, SYS_recvmsg, SYS_accept, SYS_accept4, SYS_wait4, SYS_waitid,
		SYS_pause, SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6, SYS_nanosleep, SYS_clock_nanosleep };

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		if (number == good[i])
			return true;
	return false;
}

/* How well a thread suits, by what the kernel says of it; nothing is stopped for that. */
static int rank_thread(pid_t pid, pid_t thread)
{
	char path[96], line[256] = "";
	long number;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", (int)pid, (int)thread);
	file = fopen(path, "re");
	if (file && !fgets(line, sizeof line, file))
		line[0] = 0;
	if (file)
		fclose(file);
	if (strncmp(line, "running", 7) == 0)
		return 2;
	if (sscanf(line, "%ld", &number) != 1)
		return 4;
	if (number == SYS_epoll_wait || number == SYS_epoll_pwait)
		return 3;
	return is_good_call(number) ? 0 : number == SYS_futex ? 1 : 4;
}

struct candidate {
	pid_t thread;
	int rank;
};

static int compare_rank(const void *a, const void *b)
{
	return ((const struct candidate *)a)->rank - ((const struct candidate *)b)->rank;
}

static size_t list_threads(pid_t pid, struct candidate **list)
{
	char path[64];
	size_t count = 0, capacity = 0;
	struct dirent *entry;
	DIR *folder;

	*list = NULL;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		*list = memory_grow(*list, &capacity, count + 1, sizeof **list);
		(*list)[count].thread = (pid_t)atoi(entry->d_name);
		(*list)[count].rank = rank_thread(pid, (*list)[count].thread);
		count++;
	}
	if (folder)
		closedir(folder);
	if (count)
		qsort(*list, count, sizeof **list, compare_rank);
	return count;
}

/* Room for the first call's way back below what the thread uses of its stack. */
static bool has_stack(const struct inject *inject)
{
	const struct remote_mapping *mapping = remote_mapping_at(inject->remote, inject->registers.rsp);

	return mapping && mapping->writable && inject->registers.rsp - mapping->start >= OWN_STACK_NEEDED;
}

/* Stops the thread and takes note of everything.  false with ended unset: it was not suitable. */
static bool stop_thread(struct inject *inject, pid_t thread, struct error *error)
{
	int status;

	inject->thread = thread;
	inject->in_call = false;
	if (ptrace(PTRACE_SEIZE, thread, 0, PTRACE_O_TRACESYSGOOD) != 0) {
		int code = errno;

		inject->thread = 0;
		return remote_refused(inject->remote, code, error);
	}
	inject->started_ns = clock_now_ns();
	ptrace(PTRACE_INTERRUPT, thread, 0, 0);
	if (!wait_stop(inject, STOP_MS_MAX, PTRACE_CONT, &status, error))
		return false;
	if (WSTOPSIG(status) != SIGTRAP)
		return fail(error, STATUS_CANNOT_TRACE, "process %d is stopped (by a signal, or in its terminal's background): let "
			"it go on first, with kill -CONT %d", (int)inject->remote->pid, (int)inject->remote->pid);
	if (ptrace(PTRACE_GETREGS, thread, 0, &inject->registers) != 0 || !get_vectors(inject) ||
		ptrace(PTRACE_GETSIGMASK, thread, sizeof inject->mask, &inject->mask) != 0)
		return remote_failed(inject->remote, "read the registers of", error);
	inject->in_call = (long)inject->registers.orig_rax >= 0;
	return true;
}

/* Waiting in the kernel for something that neither the loader nor an allocator ever waits for. */
static bool waits_innocently(const struct inject *inject)
{
	return inject->in_call && error_of(&inject->registers) >= RESTART_FIRST &&
		is_good_call((long)inject->registers.orig_rax);
}

/* One thread, looked at once.  1: borrowed; 0: not now; -1: no use to go on. */
static int try_thread(struct inject *inject, pid_t thread, struct error *error)
{
	enum frames_verdict verdict;

	inject->tries++;
	if (!stop_thread(inject, thread, error)) {
		bool gone = inject->ended;

		let_go(inject);
		/* A thread may end at any time; that its process has is seen by the next listing. */
		inject->ended = false;
		return gone || error->status == STATUS_NO_INPUT ? 0 : -1;
	}
	if (inject->registers.cs != 0x33) {
		fail(error, STATUS_CANNOT_TRACE, "process %d is a 32-bit program: there is no library for it",
			(int)inject->remote->pid);
		let_go_untouched(inject);
		return -1;
	}
	verdict = frames_look(inject->frames, thread);
	if ((verdict == FRAMES_SAFE || (verdict == FRAMES_UNKNOWN && waits_innocently(inject))) && has_stack(inject))
		return 1;
	let_go_untouched(inject);
	return 0;
}

static bool borrow_thread(struct inject *inject, uint64_t wait_ms, struct error *error)
{
	uint64_t end = clock_now_ns() + wait_ms * 1000000;
	long pause = 100000;

	do {
		struct candidate *list;
		size_t count = list_threads(inject->remote->pid, &list);
		int result = 0;

		for (size_t i = 0; i < count && result == 0; i++)
			result = try_thread(inject, list[i].thread, error);
		free(list);
		if (result > 0)
			return true;
		if (result < 0)
			return false;
		if (count == 0 || remote_has_ended(inject->remote->pid))
			return is_over(inject, error);
		pause_ns(pause);
		if (pause < 5000000)
			pause += pause / 4;
	} while (clock_now_ns() < end);
	return fail(error, STATUS_CANNOT_TRACE, "no thread of process %d came to a safe place in %.1f s (%llu looks): all of "
		"them were inside the C library, its loader or an allocator, or on stacks that cannot be followed; try again, or "
		"wait longer with --wait", (int)inject->remote->pid, (double)wait_ms / 1000, (unsigned long long)inject->tries);
}

/* ---- beginning and ending ---- */

/*
 *     result = rax; flag = 1; pselect6(0, NULL, NULL, NULL, &time, NULL); rt_sigreturn()
 *
 * pselect6, because it leaves alone what the kernel has noted of a wait that was interrupted.
 */
static bool write_code(struct inject *inject)
{
	uint8_t code[CODE_LENGTH] = {
		0x48, 0xa3, 0, 0, 0, 0, 0, 0, 0, 0,           /* mov %rax, result */
		0xb8, 1, 0, 0, 0,                             /* mov $1, %eax */
		0x48, 0xa3, 0, 0, 0, 0, 0, 0, 0, 0,           /* mov %rax, flag */
		0xb8, 0x0e, 0x01, 0, 0,                       /* mov $270, %eax */
		0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2,   /* xor edi, esi, edx, r10d */
		0x49, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,           /* mov $time, %r8 */
		0x45, 0x31, 0xc9, 0x0f, 0x05,                 /* xor r9d; syscall */
		0x6a, 0x0f, 0x58, 0x90, 0x0f, 0x05,           /* push $15; pop %rax; nop; syscall */
	};
	const uint64_t places[] = { inject->memory + PLACE_RESULT, inject->memory + PLACE_FLAG, inject->memory + PLACE_TIME };

	memcpy(code + 2, &places[0], 8);
	memcpy(code + 17, &places[1], 8);
	memcpy(code + 41, &places[2], 8);
	if (inject->seccomp)
		memset(code + 25, 0x90, CODE_LENGTH - CODE_WAY_BACK - 25);
	return remote_write(inject->remote, inject->code, code, sizeof code);
}

static bool map_memory(struct inject *inject, struct error *error)
{
	uint64_t result;

	if (!call_syscall(inject, SYS_mmap, 0, INJECT_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
			MAP_NORESERVE, &result, error) || !leave_end(inject, error))
		return false;
	if (result > (uint64_t)-4096)
		return fail(error, STATUS_CANNOT_TRACE, "process %d cannot map a megabyte of memory: %s; it goes on as it was",
			(int)inject->remote->pid, strerror((int)-(int64_t)result));
	inject->memory = result;
	/* A page of code, never writable, is refused by few. */
	if (!call_syscall(inject, SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, &result, error) ||
			!leave_end(inject, error))
		return false;
	if (result <= (uint64_t)-4096)
		inject->code = result;
	if (inject->code && !write_code(inject))
		inject->code = 0;
	inject->quick = inject->code && !inject->seccomp;
	return true;
}

static bool save_errno(struct inject *inject, struct error *error)
{
	static const uint64_t none[INJECT_ARGUMENTS];
	uint64_t function = remote_find(inject->remote, "__errno_location", NULL);

	if (!function || !inject->code)
		return true;
	if (!inject_call(inject, function, none, &inject->errno_address, error))
		return false;
	if (!remote_read(inject->remote, inject->errno_address, &inject->errno_value, sizeof inject->errno_value))
		inject->errno_address = 0;
	return true;
}

bool inject_begin(struct inject *inject, struct remote *remote, uint64_t wait_ms, struct error *error)
{
	const struct remote_module *libc = NULL;

	*inject = (struct inject){ .remote = remote, .seccomp = remote->seccomp != 0 };
	if (!remote_find(remote, "gnu_get_libc_version", &libc))
		return fail(error, STATUS_CANNOT_TRACE, "process %d does not run on the GNU C library", (int)remote->pid);
	inject->restorer = remote_find_code(remote, libc, restorer_code, sizeof restorer_code);
	inject->do_syscall = remote_symbol(remote, libc, "syscall");
	if (!inject->restorer || !inject->do_syscall)
		return fail(error, STATUS_CANNOT_TRACE, "the C library of process %d is not one that is known", (int)remote->pid);
	inject->frames = frames_new(remote);
	if (!inject->frames)
		return fail(error, STATUS_CANNOT_TRACE, "the stacks of process %d cannot be followed", (int)remote->pid);
	return borrow_thread(inject, wait_ms, error) && map_memory(inject, error) && save_errno(inject, error);
}

bool inject_end(struct inject *inject)
{
	struct error ignored = { 0 };
	uint64_t result;

	if (inject->thread && inject->code && call_syscall(inject, SYS_munmap, inject->code, 4096, 0, 0, &result, &ignored))
		leave_end(inject, &ignored);
	if (inject->thread && inject->memory) {
		if (inject->errno_address)
			remote_write(inject->remote, inject->errno_address, &inject->errno_value, sizeof inject->errno_value);
		if (call_syscall(inject, SYS_munmap, inject->memory, INJECT_MEMORY, 0, 0, &result, &ignored))
			restore(inject);
	}
	let_go(inject);
	frames_free(inject->frames);
	free(inject->vectors);
	inject->frames = NULL;
	inject->vectors = NULL;
	return !inject->ended;
}

bool inject_all_outside(struct remote *remote, const char *symbol)
{
	struct inject inject = { .remote = remote, .frames = frames_new(remote) };
	const struct remote_module *module = NULL;
	struct candidate *list;
	size_t count = list_threads(remote->pid, &list);
	bool outside = inject.frames && remote_find(remote, symbol, &module);

	for (size_t i = 0; i < count && outside; i++) {
		struct error ignored;

		/* One that has ended is nowhere. */
		outside = stop_thread(&inject, list[i].thread, &ignored) ?
			frames_outside(inject.frames, inject.thread, module->start, module->end) : inject.ended;
		let_go_untouched(&inject);
		inject.ended = false;
	}
	free(list);
	frames_free(inject.frames);
	free(inject.vectors);
	return outside;
}
