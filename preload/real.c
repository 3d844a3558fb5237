/* SPDX-License-Identifier: MIT */
/*
 * Finding the next definition of each hooked function.  dlsym may itself ask for memory, and other libraries'
 * constructors run before ours: until the pointers are set, stand-ins serve requests from a small static store whose
 * blocks are never given back.
 */
#include "real.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdatomic.h>
#include <string.h>

#include "sys.h"

enum { EARLY_SIZE = 256 << 10, EARLY_ALIGN = 16 };

static char early_store[EARLY_SIZE] __attribute__((aligned(EARLY_ALIGN)));
static _Atomic size_t early_used;

bool real_is_early(const void *block)
{
	return (const char *)block >= early_store && (const char *)block < early_store + EARLY_SIZE;
}

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
	uintptr_t block = ((uintptr_t)early_store + at + EARLY_ALIGN + alignment - 1) & ~(uintptr_t)(alignment - 1);

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
	return early_result(sys_call(SYS_mremap, (long)address, (long)old_length, (long)new_length, flags, 0, 0));
}

static int early_munmap(void *address, size_t length)
{
	return early_result(sys_call(SYS_munmap, (long)address, (long)length, 0, 0, 0, 0)) ? -1 : 0;
}

static int early_brk(void *end)
{
	(void)end;
	errno = ENOMEM;
	return -1;
}

static void *early_sbrk(intptr_t increment)
{
	(void)increment;
	errno = ENOMEM;
	return (void *)-1;
}

static void *early_dlopen(const char *file, int mode)
{
	(void)file;
	(void)mode;
	return NULL;
}

static void *early_dlmopen(Lmid_t name_space, const char *file, int mode)
{
	(void)name_space;
	return early_dlopen(file, mode);
}

static int early_dlclose(void *handle)
{
	(void)handle;
	return -1;
}

static char *early_setlocale(int category, const char *locale)
{
	(void)category;
	(void)locale;
	return NULL;
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

/* Names that this libc may lack get a way round through those that it has. */
static void *fallback(const char *name)
{
	if (strcmp(name, "free_sized") == 0)
		return (void *)forward_free_sized;
	if (strcmp(name, "free_aligned_sized") == 0)
		return (void *)forward_free_aligned_sized;
	if (strcmp(name, "cfree") == 0)
		return (void *)forward_cfree;
	return NULL;
}

static void resolve(void *pointer, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found)
		found = fallback(name);
	if (found)
		memcpy(pointer, &found, sizeof(found));
}

bool real_is_libc;

static bool same_object(void *a, void *b)
{
	Dl_info first, second;

	return dladdr(a, &first) && dladdr(b, &second) && first.dli_fbase == second.dli_fbase;
}

void real_resolve(void)
{
	static _Atomic int state;     /* 0 not begun, 1 under way, 2 done */
	int begun = 0;

	if (!atomic_compare_exchange_strong(&state, &begun, 1))
		return;
	int saved = errno;

	/* A block from the real allocator may reach free before the last pointer is set: free goes first. */
	resolve(&real_free, "free");
#define HOOK(ret, name, params) resolve(&real_##name, #name);
#include "functions.def"
#undef HOOK
	real_is_libc = same_object((void *)real_malloc, (void *)gnu_get_libc_version);
	errno = saved;
	atomic_store(&state, 2);
}
