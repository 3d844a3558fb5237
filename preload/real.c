/* SPDX-License-Identifier: MIT */
/*
 * Finding the next definition of each hooked function.  dlsym may itself ask for memory, and other libraries'
 * constructors run before ours: until the pointers are set, stand-ins serve requests from a small static store whose
 * blocks are never given back.
 *
 * With SCTMEM_BACKEND=jemalloc the allocation functions come from libjemalloc instead.  It is loaded here, once, while
 * the small store still serves, so that no block of another allocator ever reaches it.
 *
 * The first request may come from anywhere in libc, with locks held (newlocale() holds that of setlocale() and
 * gettext()): beyond dlsym, dladdr and, when asked for, dlopen, nothing of libc may be called here; not even dlerror,
 * which translates its messages.
 */
#include "real.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "config.h"
#include "lifecycle.h"
#include "symbol.h"
#include "sys.h"

#pragma weak gnu_get_libc_version      /* another libc does not have it: lifecycle.c */

enum { EARLY_SIZE = REAL_EARLY_SIZE, EARLY_ALIGN = 16 };

char real_early_store[EARLY_SIZE] __attribute__((aligned(EARLY_ALIGN)));
static _Atomic size_t early_used;

/* Each block is preceded by its size, for realloc. */
static void *early_aligned(size_t alignment, size_t size)
{
	size_t room, at;

	if (size > EARLY_SIZE || alignment > 4096) {
		errno = ENOMEM;
		return NULL;
	}
	if (alignment < EARLY_ALIGN)
		alignment = EARLY_ALIGN;
	room = (size + EARLY_ALIGN + alignment + EARLY_ALIGN - 1) & ~(size_t)(EARLY_ALIGN - 1);
	at = atomic_fetch_add(&early_used, room);
	if (at + room > EARLY_SIZE) {
		errno = ENOMEM;
		return NULL;
	}
	uintptr_t block = ((uintptr_t)real_early_store + at + EARLY_ALIGN + alignment - 1) & ~(uintptr_t)(alignment - 1);

	memcpy((void *)(block - sizeof(size)), &size, sizeof(size));
	return (void *)block;
}

static void *early_malloc(size_t size)
{
	return early_aligned(EARLY_ALIGN, size);
}

static void *early_calloc(size_t count, size_t size)
{
	return size && count > EARLY_SIZE / size ? NULL : early_malloc(count * size);
}

static void *early_realloc(void *block, size_t size)
{
	void *moved = early_malloc(size);
	size_t old;

	if (moved && block) {
		memcpy(&old, (char *)block - sizeof(old), sizeof(old));
		memcpy(moved, block, old < size ? old : size);
	}
	return moved;
}

static void *early_reallocarray(void *block, size_t count, size_t size)
{
	return size && count > EARLY_SIZE / size ? NULL : early_realloc(block, count * size);
}

static void early_free(void *block)
{
	(void)block;
}

static void forward_free_sized(void *block, size_t size)
{
	(void)size;
	real_free(block);
}

static void forward_free_aligned_sized(void *block, size_t alignment, size_t size)
{
	(void)alignment;
	(void)size;
	real_free(block);
}

static void forward_cfree(void *block)
{
	real_free(block);
}

static int early_posix_memalign(void **out, size_t alignment, size_t size)
{
	void *block = early_aligned(alignment, size);

	if (!block)
		return ENOMEM;
	*out = block;
	return 0;
}

static void *early_valloc(size_t size)
{
	return early_aligned(4096, size);
}

static size_t early_malloc_usable_size(void *block)
{
	size_t size = 0;

	if (real_is_early(block))
		memcpy(&size, (char *)block - sizeof(size), sizeof(size));
	return size;
}

static void *early_result(long result)
{
	if (sys_failed(result)) {
		errno = (int)-result;
		return (void *)-1;
	}
	return (void *)result;
}

static void *early_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return early_result(sys_call(SYS_mmap, (long)address, (long)length, protection, flags, fd, offset));
}

static void *early_mremap(void *address, size_t old_length, size_t new_length, int flags, ...)
{
	va_list arguments;
	void *wanted;

	va_start(arguments, flags);
	wanted = flags & MREMAP_FIXED ? va_arg(arguments, void *) : NULL;
	va_end(arguments);
	return early_result(sys_call(SYS_mremap, (long)address, (long)old_length, (long)new_length, flags, (long)wanted,
		0));
}

static int early_munmap(void *address, size_t length)
{
	return early_result(sys_call(SYS_munmap, (long)address, (long)length, 0, 0, 0, 0)) ? -1 : 0;
}

/*
 * The rest cannot be stood in for.  A library's constructor may be the first to call one of them: that finds the real
 * functions, and the call goes on there by a jump, since dlopen looks at who called it.
 */
static int early_brk(void *end)
{
	lifecycle_ready();
	if (real_brk != early_brk)
		return real_brk(end);
	errno = ENOMEM;
	return -1;
}

static void *early_sbrk(intptr_t increment)
{
	lifecycle_ready();
	if (real_sbrk != early_sbrk)
		return real_sbrk(increment);
	errno = ENOMEM;
	return (void *)-1;
}

static void *early_dlopen(const char *file, int mode)
{
	lifecycle_ready();
	return real_dlopen != early_dlopen ? real_dlopen(file, mode) : NULL;
}

static void *early_dlmopen(Lmid_t name_space, const char *file, int mode)
{
	lifecycle_ready();
	return real_dlmopen != early_dlmopen ? real_dlmopen(name_space, file, mode) : NULL;
}

static int early_dlclose(void *handle)
{
	lifecycle_ready();
	return real_dlclose != early_dlclose ? real_dlclose(handle) : -1;
}

static pid_t early__Fork(void)
{
	lifecycle_ready();
	if (real__Fork != early__Fork)
		return real__Fork();
	errno = ENOSYS;
	return -1;
}

static char *early_setlocale(int category, const char *locale)
{
	lifecycle_ready();
	return real_setlocale != early_setlocale ? real_setlocale(category, locale) : NULL;
}

static int early_prctl(int option, long a, long b, long c, long d)
{
	lifecycle_ready();
	if (real_prctl != early_prctl)
		return real_prctl(option, a, b, c, d);
	errno = ENOSYS;
	return -1;
}

static long early_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	lifecycle_ready();
	if (real_syscall != early_syscall)
		return real_syscall(number, a, b, c, d, e, f);
	errno = ENOSYS;
	return -1;
}

#define early_free_sized forward_free_sized
#define early_free_aligned_sized forward_free_aligned_sized
#define early_cfree early_free
#define early_aligned_alloc early_aligned
#define early_memalign early_aligned
#define early_pvalloc early_valloc
#define early_mmap64 early_mmap
#define HOOK(ret, name, params) ret (*real_##name) params = early_##name;
#include "functions.def"
#undef HOOK

static void *forward_reallocarray(void *block, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return real_realloc(block, bytes);
}

static void *forward_pvalloc(size_t size)
{
	if (size > SIZE_MAX - 4095) {
		errno = ENOMEM;
		return NULL;
	}
	return real_memalign(4096, (size + 4095) & ~(size_t)4095);
}

/* The functions that make, change and take blocks: all of one allocator.  A way round for those that it lacks. */
static const struct {
	const char *name;
	void *pointer;                /* the address of real_* */
	void *fallback;
} allocator[] = {
	{ "free", &real_free, NULL },     /* first: blocks may reach it before the last pointer is set */
	{ "malloc", &real_malloc, NULL },
	{ "calloc", &real_calloc, NULL },
	{ "realloc", &real_realloc, NULL },
	{ "posix_memalign", &real_posix_memalign, NULL },
	{ "aligned_alloc", &real_aligned_alloc, NULL },
	{ "memalign", &real_memalign, NULL },
	{ "valloc", &real_valloc, NULL },
	{ "malloc_usable_size", &real_malloc_usable_size, NULL },
	{ "reallocarray", &real_reallocarray, (void *)forward_reallocarray },
	{ "pvalloc", &real_pvalloc, (void *)forward_pvalloc },
	{ "cfree", &real_cfree, (void *)forward_cfree },
	{ "free_sized", &real_free_sized, (void *)forward_free_sized },
	{ "free_aligned_sized", &real_free_aligned_sized, (void *)forward_free_aligned_sized },
};
enum { ALLOCATOR_FUNCTIONS = sizeof(allocator) / sizeof(allocator[0]) };

bool real_is_libc;

static bool same_object(void *a, void *b)
{
	Dl_info first, second;

	return dladdr(a, &first) && dladdr(b, &second) && first.dli_fbase == second.dli_fbase;
}

/* We are behind everybody else: the real functions are what the others are led to. */
static bool late;

/* Whether the program has a definition besides ours. */
static bool is_defined(const char *name)
{
	return late ? symbol_find_elsewhere(name, NULL) != 0 : symbol_find_next((void *)real_resolve, name) != 0;
}

/* RTLD_DEFAULT would find ourselves: we are linked to look at home first. */
static void *find_real(const char *name)
{
	return late ? (void *)symbol_find_elsewhere(name, NULL) : dlsym(RTLD_NEXT, name);
}

/* Finds the functions by a handle, all in the object that has malloc; false: one is missing there. */
static bool find_allocator(void *handle, void *found[ALLOCATOR_FUNCTIONS])
{
	for (int i = 0; i < ALLOCATOR_FUNCTIONS; i++) {
		/* What may be missing is not asked of dlsym: its complaint would be the program's next dlerror. */
		if (handle != RTLD_NEXT)
			found[i] = (void *)symbol_find(handle, allocator[i].name);
		else if (!allocator[i].fallback || is_defined(allocator[i].name))
			found[i] = find_real(allocator[i].name);
		else
			found[i] = NULL;
		if (!found[i])
			found[i] = allocator[i].fallback;
		if (!found[i] && handle != RTLD_NEXT)
			return false;
	}
	return true;
}

#ifdef HAVE_JEMALLOC
/* jemalloc's functions; false: it is not there, or cannot be loaded now. */
static bool find_jemalloc(void *found[ALLOCATOR_FUNCTIONS])
{
	void *control = (void *)symbol_find_next((void *)real_resolve, "mallctl");

	/* The program may have it already. */
	if (control && same_object(control, dlsym(RTLD_NEXT, "malloc")))
		return find_allocator(RTLD_NEXT, found);
	void *handle = real_dlopen("libjemalloc.so.2", RTLD_NOW | RTLD_LOCAL);

	return handle && find_allocator(handle, found);
}
#else
static bool find_jemalloc(void *found[ALLOCATOR_FUNCTIONS])
{
	(void)found;
	return false;
}
#endif

/* Whatever is not part of the allocator. */
static void resolve(void *pointer, const char *name)
{
	void *found;

	for (int i = 0; i < ALLOCATOR_FUNCTIONS; i++)
		if (strcmp(name, allocator[i].name) == 0)
			return;
	/* What an older libc lacks is not asked of dlsym: its complaint would be the program's next dlerror. */
	if (gnu_get_libc_version && !is_defined(name))
		return;
	found = find_real(name);
	if (found)
		memcpy(pointer, &found, sizeof(found));
}

void real_resolve(void)
{
	static _Atomic int state;     /* 0 not begun, 1 under way, 2 done */
	void *found[ALLOCATOR_FUNCTIONS];
	int begun = 0;

	if (!atomic_compare_exchange_strong(&state, &begun, 1))
		return;
	int saved = errno;

	late = symbol_we_are_late();
#define HOOK(ret, name, params) resolve(&real_##name, #name);
#include "functions.def"
#undef HOOK
	if (config.jemalloc && !find_jemalloc(found))
		config.jemalloc = false;
	if (!config.jemalloc)
		find_allocator(RTLD_NEXT, found);
	for (int i = 0; i < ALLOCATOR_FUNCTIONS; i++)
		if (found[i])
			memcpy(allocator[i].pointer, &found[i], sizeof(found[i]));
	real_is_libc = gnu_get_libc_version && same_object((void *)real_malloc, (void *)gnu_get_libc_version);
	errno = saved;
	atomic_store(&state, 2);
}
