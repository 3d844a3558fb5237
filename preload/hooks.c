/* SPDX-License-Identifier: MIT */
/*
 * The functions that the library stands in for; functions.def lists them.  A hook is the real call and a record
 * call, nothing else, in the order that record.h explains.
 */
/* Both mmap and mmap64 are defined here: neither may be renamed to the other. */
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "hooks.h"
#include "lifecycle.h"
#include "modules.h"
#include "python.h"
#include "real.h"
#include "record.h"
#include "sys.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT void *malloc(size_t size)
{
	struct thread *thread = record_enter();
	void *block = real_malloc(size);

	if (thread)
		record_allocated(thread, CAPTURE_MALLOC, block, size);
	return block;
}

EXPORT void *calloc(size_t count, size_t size)
{
	struct thread *thread = record_enter();
	void *block = real_calloc(count, size);

	if (thread)
		record_allocated(thread, CAPTURE_CALLOC, block, count * size);
	return block;
}

/* What the block that is being moved has room for tells sampling whether it has outgrown that. */
static __attribute__((noinline)) void note_usable(struct thread *thread, void *block)
{
	sample_moved_usable(thread, block, real_malloc_usable_size(block));
}

/* Inside a PyMem hook only blocks that the hook itself does not speak of are recorded. */
static void free_inside_python(void *block)
{
	struct thread *thread = record_inside_python();

	if (thread && block && thread->python_block != block)
		record_free(thread, CAPTURE_FREE, block);
}

static void free_block(void *block)
{
	struct thread *thread;

	if (!block || real_is_early(block))
		return;
	thread = record_enter();
	if (thread) {
		record_free(thread, CAPTURE_FREE, block);
		real_free(block);
		record_leave(thread);
	} else {
		free_inside_python(block);
		real_free(block);
	}
}

EXPORT void free(void *block)
{
	free_block(block);
}

EXPORT void cfree(void *block);
EXPORT void cfree(void *block)
{
	free_block(block);
}

EXPORT void free_sized(void *block, size_t size);
EXPORT void free_sized(void *block, size_t size)
{
	(void)size;
	free_block(block);
}

EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size);
EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size)
{
	(void)alignment;
	(void)size;
	free_block(block);
}

/* The allocator beneath a PyMem hook resizes something: what the hook speaks of, perhaps. */
static void resize_inside_python(void *block)
{
	struct thread *thread = record_inside_python();

	if (__builtin_expect(thread && thread->sampling && block, 0))
		note_usable(thread, block);
	free_inside_python(block);
}

/* A block from before the real functions were known moves to the real allocator; its old place is never reused. */
static void *realloc_early(void *block, size_t size)
{
	size_t old = malloc_usable_size(block);
	void *moved = malloc(size);

	if (moved)
		__builtin_memcpy(moved, block, old < size ? old : size);
	return moved;
}

static void *realloc_block(struct thread *thread, void *block, size_t size, const struct native_start *start)
{
	if (block)
		record_free(thread, CAPTURE_MOVE, block);     /* from here the old address may have a new owner */
	if (__builtin_expect(thread->sampling, 0) && block)
		note_usable(thread, block);
	void *moved = real_realloc(block, size);

	if (moved)
		record_allocation(thread, CAPTURE_REALLOC, moved, size, start);
	else if (block && size != 0)
		record_free(thread, CAPTURE_STAY, block);     /* the old block never left */
	else if (__builtin_expect(thread->sampling, 0) && block)
		record_move_ended(thread, block);
	record_leave(thread);
	return moved;
}

EXPORT void *realloc(void *block, size_t size)
{
	struct thread *thread;

	if (block && real_is_early(block))
		return realloc_early(block, size);
	thread = record_enter();
	if (!thread) {
		resize_inside_python(block);
		return real_realloc(block, size);
	}
	struct native_start start = RECORD_START();

	return realloc_block(thread, block, size, &start);
}

EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
	struct thread *thread;
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		return real_reallocarray(block, count, size);
	if (block && real_is_early(block))
		return realloc_early(block, bytes);
	thread = record_enter();
	if (!thread) {
		resize_inside_python(block);
		return real_reallocarray(block, count, size);
	}
	struct native_start start = RECORD_START();

	return realloc_block(thread, block, bytes, &start);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
	struct thread *thread = record_enter();
	int result = real_posix_memalign(out, alignment, size);

	if (thread)
		record_allocated(thread, CAPTURE_POSIX_MEMALIGN, result == 0 ? *out : NULL, size);
	return result;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	struct thread *thread = record_enter();
	void *block = real_aligned_alloc(alignment, size);

	if (thread)
		record_allocated(thread, CAPTURE_ALIGNED_ALLOC, block, size);
	return block;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
	struct thread *thread = record_enter();
	void *block = real_memalign(alignment, size);

	if (thread)
		record_allocated(thread, CAPTURE_MEMALIGN, block, size);
	return block;
}

EXPORT void *valloc(size_t size)
{
	struct thread *thread = record_enter();
	void *block = real_valloc(size);

	if (thread)
		record_allocated(thread, CAPTURE_VALLOC, block, size);
	return block;
}

EXPORT void *pvalloc(size_t size)
{
	struct thread *thread = record_enter();
	void *block = real_pvalloc(size);

	if (thread)
		record_allocated(thread, CAPTURE_PVALLOC, block, size);
	return block;
}

EXPORT size_t malloc_usable_size(void *block)
{
	size_t size = 0;

	if (!real_is_early(block))
		return real_malloc_usable_size(block);
	__builtin_memcpy(&size, (char *)block - sizeof(size), sizeof(size));
	return size;
}

static uint32_t map_flags(int protection, int flags, bool inside_python)
{
	uint32_t result = 0;

	if (protection == PROT_NONE)
		result |= CAPTURE_MAP_RESERVE;
	if (flags & MAP_NORESERVE)
		result |= CAPTURE_MAP_NORESERVE;
	if (!(flags & MAP_ANONYMOUS))
		result |= CAPTURE_MAP_FILE;
	if (flags & MAP_SHARED)
		result |= CAPTURE_MAP_SHARED;
	if (flags & (MAP_STACK | MAP_GROWSDOWN))
		result |= CAPTURE_MAP_STACK;
	if (inside_python)
		result |= CAPTURE_MAP_ARENA;
	return result;
}

EXPORT void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	struct thread *python = record_inside_python();
	struct thread *thread = python ? python : record_enter();
	void *result = real_mmap(address, length, protection, flags, fd, offset);

	if (!thread)
		return result;
	if (result != MAP_FAILED) {
		struct native_start start = RECORD_START();

		record_map(thread, result, length, map_flags(protection, flags, python != NULL), &start);
	}
	if (!python)
		record_leave(thread);
	return result;
}

EXPORT void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
	struct thread *python = record_inside_python();
	struct thread *thread = python ? python : record_enter();
	void *result = real_mmap64(address, length, protection, flags, fd, offset);

	if (!thread)
		return result;
	if (result != MAP_FAILED) {
		struct native_start start = RECORD_START();

		record_map(thread, result, length, map_flags(protection, flags, python != NULL), &start);
	}
	if (!python)
		record_leave(thread);
	return result;
}

EXPORT int munmap(void *address, size_t length)
{
	struct thread *python = record_inside_python();
	struct thread *thread = python ? python : record_enter();

	if (!thread)
		return real_munmap(address, length);
	record_unmap(thread, CAPTURE_UNMAP, address, length);
	int result = real_munmap(address, length);

	if (result != 0)
		record_unmap(thread, CAPTURE_UNMAP_FAILED, address, length);
	if (!python)
		record_leave(thread);
	return result;
}

enum { LEAVES_MAPPED = 4 };           /* MREMAP_DONTUNMAP, Linux 5.7 */

EXPORT void *mremap(void *address, size_t old_length, size_t new_length, int flags, ...)
{
	va_list arguments;
	void *wanted;

	/* With DONTUNMAP the kernel takes it for a hint. */
	va_start(arguments, flags);
	wanted = flags & (MREMAP_FIXED | LEAVES_MAPPED) ? va_arg(arguments, void *) : NULL;
	va_end(arguments);
	struct thread *python = record_inside_python();
	struct thread *thread = python ? python : record_enter();

	if (!thread)
		return real_mremap(address, old_length, new_length, flags, wanted);
	/* When the old range stays mapped, the result is a new mapping beside it. */
	bool leaves = !(flags & LEAVES_MAPPED) && old_length != 0;

	if (leaves)
		record_unmap(thread, CAPTURE_UNMAP, address, old_length);
	void *result = real_mremap(address, old_length, new_length, flags, wanted);

	if (result == MAP_FAILED) {
		if (leaves)
			record_unmap(thread, CAPTURE_UNMAP_FAILED, address, old_length);
	} else {
		struct native_start start = RECORD_START();

		record_map(thread, result, new_length, leaves ? CAPTURE_MAP_MOVED : 0, &start);
	}
	if (!python)
		record_leave(thread);
	return result;
}

/* The program itself moves the break: the range that it gains or gives back. */
static void record_break(struct thread *thread, char *from, char *to, const struct native_start *start)
{
	if (to > from)
		record_map(thread, from, (size_t)(to - from), CAPTURE_MAP_BREAK, start);
}

EXPORT int brk(void *end)
{
	struct thread *thread = record_enter();
	char *from;

	if (!thread)
		return real_brk(end);
	from = real_sbrk(0);
	if ((char *)end < from)
		record_unmap(thread, CAPTURE_UNMAP, end, (size_t)(from - (char *)end));
	int result = real_brk(end);

	if (result == 0) {
		struct native_start start = RECORD_START();

		record_break(thread, from, end, &start);
	} else if ((char *)end < from) {
		record_unmap(thread, CAPTURE_UNMAP_FAILED, end, (size_t)(from - (char *)end));
	}
	record_leave(thread);
	return result;
}

EXPORT void *sbrk(intptr_t increment)
{
	struct thread *thread = increment != 0 ? record_enter() : NULL;
	char *from;

	if (!thread)
		return real_sbrk(increment);
	from = real_sbrk(0);
	if (increment < 0)
		record_unmap(thread, CAPTURE_UNMAP, from + increment, (size_t)-increment);
	void *result = real_sbrk(increment);

	if (result != (void *)-1) {
		struct native_start start = RECORD_START();

		record_break(thread, result, (char *)result + increment, &start);
	} else if (increment < 0) {
		record_unmap(thread, CAPTURE_UNMAP_FAILED, from + increment, (size_t)-increment);
	}
	record_leave(thread);
	return result;
}

/*
 * dlopen looks at its return address: the caller's RUNPATH and name space decide what it finds.  So these must end in
 * a jump, not a call; tests/trace checks that they do.
 */
EXPORT void *dlopen(const char *file, int mode)
{
	modules_changed();
	return real_dlopen(file, mode);
}

EXPORT void *dlmopen(Lmid_t name_space, const char *file, int mode)
{
	modules_changed();
	return real_dlmopen(name_space, file, mode);
}

EXPORT int dlclose(void *handle)
{
	modules_closing();
	int result = real_dlclose(handle);

	modules_changed();
	record_modules();
	return result;
}

/* fork() comes here without being hooked: through pthread_atfork, whose handlers _Fork does not call. */
EXPORT pid_t _Fork(void)
{
	lifecycle_before_fork();
	pid_t child = real__Fork();

	if (child == 0)
		lifecycle_forked_child();
	else
		lifecycle_forked_parent();
	return child;
}

/* CPython calls it while it starts, before anything else that could be seen from outside. */
EXPORT char *setlocale(int category, const char *locale)
{
	if (lifecycle_is_recording())
		python_setlocale_called(__builtin_return_address(0));
	return real_setlocale(category, locale);
}

/*
 * A program that has its system calls filtered may be ended for one that is not its own.  So from then on nothing is
 * recorded: that takes no system call.  What a child by vfork does to itself is no reason, for its parent goes on.
 */
EXPORT int prctl(int option, long a, long b, long c, long d);
EXPORT int prctl(int option, long a, long b, long c, long d)
{
	const bool filters = option == PR_SET_SECCOMP && !lifecycle_is_guest();
	const uint64_t now_ns = filters ? sys_clock_ns(CLOCK_MONOTONIC) : 0;
	const int result = real_prctl(option, a, b, c, d);

	if (filters && result == 0)
		lifecycle_filtered(now_ns);
	return result;
}

/* By syscall(): the calls that may set a filter. */
__attribute__((used)) static long filtering_syscall(long number, long a, long b, long c, long d, long e)
{
	if (number == SYS_prctl)
		return prctl((int)a, b, c, d, e);
	const bool filters = (a == SECCOMP_SET_MODE_STRICT || a == SECCOMP_SET_MODE_FILTER) && !lifecycle_is_guest();
	const uint64_t now_ns = sys_clock_ns(CLOCK_MONOTONIC);

	/* Other threads may be in the middle of our code.  Who asks for nothing only asks whether it could. */
	if (filters && a == SECCOMP_SET_MODE_FILTER && b & (long)SECCOMP_FILTER_FLAG_TSYNC && c != 0)
		lifecycle_before_filter(now_ns);
	const long result = real_syscall(number, a, b, c, d, e, 0);

	/* Above 0 it is a descriptor that was asked for, or a thread that could not be made to follow: nothing was changed. */
	if (filters && (result == 0 || (result > 0 && b & (long)SECCOMP_FILTER_FLAG_NEW_LISTENER)))
		lifecycle_filtered(now_ns);
	return result;
}

/*
 * All others go on by a jump, with registers and stack as they are: a call may make another process return here, and
 * what lies where a seventh argument would may be any variable of the caller's.
 */
EXPORT long hooked_syscall(long number, ...) __asm__("syscall");
EXPORT __attribute__((naked)) long hooked_syscall(long number, ...)
{
	__asm__(
		"cmp %[seccomp], %%rdi\n\t"
		"je filtering_syscall\n\t"
		"cmp %[prctl], %%rdi\n\t"
		"je filtering_syscall\n\t"
		"jmp *real_syscall(%%rip)"
		: : [seccomp] "i"(SYS_seccomp), [prctl] "i"(SYS_prctl));
}

const struct hook hooks[HOOKS_COUNT] = {
#define HOOK(ret, name, params) [HOOK_##name] = { #name, (void *)name, (void *const *)&real_##name },
#include "functions.def"
#undef HOOK
};
