/* SPDX-License-Identifier: MIT */
/*
 * Calls every function that the library hooks, once or a few times, in each way that it can end, and keeps a journal
 * of what the C library promises about each call.   hooks JOURNAL FILE
 *
 * Single-threaded, without stdio, so that between checkpoints nothing else allocates.
 */
#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>

#include "journal.h"

#define SITE __attribute__((noinline)) static
#define HUGE_SIZE hidden_size((size_t)PTRDIFF_MAX + 1)
enum { FLAG_RESERVE = 1, FLAG_FILE = 4, FLAG_SHARED = 8 };

/* Not in every libc: the library brings them, and the program uses them when they are there. */
extern void cfree(void *) __attribute__((weak));
extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));

static void require(int truth, int line)
{
	if (!truth)
		_exit(line % 200 + 1);
}
#define REQUIRE(truth) require(!!(truth), __LINE__)

SITE void *site_malloc(size_t size)
{
	return journal_alloc("MALLOC", hidden(malloc(hidden_size(size))), size, __func__);
}

SITE void *site_calloc(size_t count, size_t size)
{
	unsigned char *block = hidden(calloc(hidden_size(count), hidden_size(size)));
	for (size_t i = 0; block && i < count * size; i++)
		REQUIRE(block[i] == 0);
	return journal_alloc("CALLOC", block, count * size, __func__);
}

/* Success gives the old block back even when it stays in place; failure leaves it. */
SITE void *site_realloc(void *old, size_t size)
{
	old = hidden(old);   /* gcc makes realloc(NULL, n) a malloc(n) where it sees it */
	uintptr_t address = (uintptr_t)hidden(old);
	void *block = hidden(realloc(old, hidden_size(size)));
	if (block || size == 0)
		journal_free((void *)address);
	return journal_alloc("REALLOC", block, size, __func__);
}

SITE void *site_reallocarray(void *old, size_t count, size_t size)
{
	uintptr_t address = (uintptr_t)hidden(old);
	void *block = hidden(reallocarray(old, hidden_size(count), hidden_size(size)));
	if (block)
		journal_free((void *)address);
	return journal_alloc("REALLOC", block, count * size, __func__);
}

SITE void site_free(void *block)
{
	journal_free(block);
	free(block);
}

static void requests(void)
{
	errno = EDOM;
	void *a = site_malloc(100);
	REQUIRE(a && errno == EDOM);
	void *zero = site_malloc(0);
	REQUIRE(zero);
	site_free(zero);
	REQUIRE(!site_malloc(HUGE_SIZE) && errno == ENOMEM);
	errno = EDOM;
	free(NULL);
	site_free(a);
	REQUIRE(errno == EDOM);
	a = site_malloc((size_t)3 << 20);   /* beyond the mmap threshold */
	site_free(a);
	a = site_malloc((size_t)5 << 30);   /* a size of more than 32 bits */
	REQUIRE(a);
	site_free(a);
	a = site_calloc(7, 33);
	REQUIRE(a);
	site_free(a);
	void *empty = site_calloc(0, 16);
	REQUIRE(empty);
	site_free(empty);
	REQUIRE(!calloc(HUGE_SIZE, hidden_size(16)) && errno == ENOMEM);
}

static void reallocations(void)
{
	void *a = site_realloc(NULL, 64);
	a = site_realloc(a, 40);            /* shrinks */
	a = site_realloc(a, 40);            /* stays */
	void *wall = site_malloc(64);       /* so that the next one cannot grow in place */
	a = site_realloc(a, 5000);
	a = site_realloc(a, 900000);        /* into a mapping of its own */
	memset(a, 'x', 900000);
	a = site_realloc(a, 4u << 20);      /* which moves by mremap inside libc */
	REQUIRE(((char *)a)[899999] == 'x');
	REQUIRE(!site_realloc(a, HUGE_SIZE) && errno == ENOMEM);
	REQUIRE(((char *)a)[0] == 'x');
	a = site_realloc(a, 100);
	REQUIRE(!site_realloc(a, 0));       /* glibc: free */
	a = site_reallocarray(NULL, 10, 10);
	a = site_reallocarray(a, 20, 10);
	REQUIRE(!site_reallocarray(a, HUGE_SIZE, 4) && errno == ENOMEM);
	site_free(a);
	site_free(wall);
}

static void alignments(void)
{
	void *a = NULL;
	REQUIRE(posix_memalign(&a, 256, hidden_size(300)) == 0 && ((uintptr_t)a & 255) == 0);
	journal_alloc("POSIX_MEMALIGN", a, 300, __func__);
	site_free(a);
	void *untouched = &a;
	volatile size_t wrong = 3;
	REQUIRE(posix_memalign(&untouched, wrong, 10) == EINVAL && untouched == &a);
	errno = EDOM;
	REQUIRE(posix_memalign(&untouched, 64, HUGE_SIZE) == ENOMEM);
	a = hidden(aligned_alloc(64, hidden_size(640)));
	site_free(journal_alloc("ALIGNED_ALLOC", a, 640, __func__));
	a = hidden(memalign(4096, hidden_size(77)));
	REQUIRE(((uintptr_t)a & 4095) == 0);
	site_free(journal_alloc("MEMALIGN", a, 77, __func__));
	a = hidden(valloc(hidden_size(1234)));
	site_free(journal_alloc("VALLOC", a, 1234, __func__));
	a = hidden(pvalloc(hidden_size(8192)));
	site_free(journal_alloc("PVALLOC", a, 8192, __func__));
	a = site_malloc(50);
	REQUIRE(malloc_usable_size(a) >= 50 && malloc_usable_size(NULL) == 0);
	site_free(a);
}

/* The deallocators that only some C libraries have. */
static void rare_frees(void)
{
	void *a = site_malloc(21);
	journal_free(a);
	if (cfree)
		cfree(a);
	else
		free(a);
	a = site_malloc(22);
	journal_free(a);
	if (free_sized)
		free_sized(a, 22);
	else
		free(a);
	a = hidden(aligned_alloc(128, hidden_size(256)));
	journal_alloc("ALIGNED_ALLOC", a, 256, __func__);
	journal_free(a);
	if (free_aligned_sized)
		free_aligned_sized(a, 128, 256);
	else
		free(a);
}

static char *mapped(void *address, size_t size, unsigned flags)
{
	REQUIRE(address != MAP_FAILED);
	journal_write(&journal_own, "m %lx %zu %u\n", (unsigned long)(uintptr_t)address, size, flags);
	return address;
}

static void unmap(char *address, size_t size)
{
	journal_write(&journal_own, "u %lx %zu\n", (unsigned long)(uintptr_t)address, size);
	REQUIRE(munmap(address, size) == 0);
}

enum { PAGE = 4096 };
static const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
static const int writable = PROT_READ | PROT_WRITE;

static void mappings(const char *path)
{
	char *a = mapped(mmap(NULL, 16 * PAGE, writable, anonymous, -1, 0), 16 * PAGE, 0);
	unmap(a + 4 * PAGE, 2 * PAGE);              /* splits it */
	journal_checkpoint(20);
	unmap(a, PAGE);                             /* cuts its head */
	mapped(mmap(a + 8 * PAGE, 2 * PAGE, PROT_READ, anonymous | MAP_FIXED, -1, 0), 2 * PAGE, 0);   /* replaces */
	journal_checkpoint(21);
	unmap(a, 16 * PAGE);                        /* everything, holes too */
	journal_checkpoint(22);
	char *reserve = mapped(mmap64(NULL, 1 << 24, PROT_NONE, anonymous, -1, 0), 1 << 24, FLAG_RESERVE);
	journal_checkpoint(23);
	mapped(mmap(reserve + PAGE, 4 * PAGE, writable, anonymous | MAP_FIXED, -1, 0), 4 * PAGE, 0);
	journal_checkpoint(24);
	unmap(reserve, 1 << 24);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	REQUIRE(fd >= 0 && ftruncate(fd, 3 * PAGE) == 0);
	char *file = mapped(mmap(NULL, 3 * PAGE, writable, MAP_SHARED, fd, 0), 3 * PAGE, FLAG_FILE | FLAG_SHARED);
	file[0] = 'f';
	journal_checkpoint(25);
	unmap(file, 3 * PAGE);
	file = mapped(mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0), 2 * PAGE, FLAG_FILE);
	REQUIRE(file[0] == 'f');
	journal_checkpoint(26);
	unmap(file, 2 * PAGE);
	close(fd);
	errno = 0;
	REQUIRE(mmap(NULL, 0, PROT_READ, anonymous, -1, 0) == MAP_FAILED && errno == EINVAL);
	REQUIRE(munmap((void *)1, PAGE) == -1);
	REQUIRE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 1023, 0) == MAP_FAILED && errno == EBADF);
}

static void remappings(void)
{
	char *a = mapped(mmap(NULL, 8 * PAGE, writable, anonymous, -1, 0), 8 * PAGE, 0);
	a[0] = 'r';
	char *shrunk = mremap(a, 8 * PAGE, 5 * PAGE, 0);
	REQUIRE(shrunk == a);
	journal_write(&journal_own, "u %lx %d\n", (unsigned long)(uintptr_t)(a + 5 * PAGE), 3 * PAGE);
	journal_checkpoint(30);
	char *target = mapped(mmap(NULL, 32 * PAGE, PROT_NONE, anonymous, -1, 0), 32 * PAGE, FLAG_RESERVE);
	journal_checkpoint(31);
	char *moved = mremap(a, 5 * PAGE, 10 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target);
	REQUIRE(moved == target && moved[0] == 'r');
	journal_write(&journal_own, "u %lx %d\n", (unsigned long)(uintptr_t)a, 5 * PAGE);
	mapped(moved, 10 * PAGE, 0);
	journal_checkpoint(32);
	errno = 0;
	REQUIRE(mremap(moved, 10 * PAGE, 1ul << 46, 0) == MAP_FAILED && errno != 0);   /* fails, stays */
	journal_checkpoint(33);
	unmap(target, 32 * PAGE);
	journal_checkpoint(34);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	journal_open(&journal_own, argv[1]);
	journal_checkpoint(1);
	requests();
	journal_checkpoint(2);
	reallocations();
	journal_checkpoint(3);
	alignments();
	journal_checkpoint(4);
	rare_frees();
	journal_checkpoint(5);
	mappings(argv[2]);
	remappings();
	journal_checkpoint(6);
	site_malloc(12345);                 /* stays: the leak to find */
	site_calloc(3, 1000);
	journal_checkpoint(7);
	char *before = sbrk(0);
	REQUIRE(sbrk(64 * PAGE) == before && sbrk(-64 * PAGE) != (void *)-1);
	journal_checkpoint(8);
	journal_flush(&journal_own);
	return 0;
}
