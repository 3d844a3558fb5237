/* SPDX-License-Identifier: MIT */
/*
 * The journal: a victim's own account of what it allocated, to compare the capture with.
 *
 * One line an event, in the order in which they happened, written with write(2) from a static buffer, so that keeping
 * the journal allocates nothing and is not seen by the library under test:
 *
 *     + KIND ADDRESS SIZE SITE     an allocation returned; KIND as in formats/capture.h, SITE a function's name or -
 *     - ADDRESS                    the block was given back (free, or realloc that moved or shrank it)
 *     m ADDRESS SIZE FLAGS         a mapping appeared, replacing what was there; FLAGS as in capture.h
 *     u ADDRESS SIZE               a range was unmapped
 *     c NUMBER                     a checkpoint, see journal_checkpoint
 *
 * A checkpoint is also visible in the capture, as a malloc of a size that nobody else asks for; so the events between
 * two checkpoints can be compared one for one, and what libc allocates before and after them does not matter.
 * The journal is not locked: victims with threads write it under a lock of their own.
 */
#ifndef SCTMEM_TESTS_JOURNAL_H
#define SCTMEM_TESTS_JOURNAL_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JOURNAL_BUFFER_SIZE = 1 << 16, JOURNAL_LINE_MAX = 160, JOURNAL_CHECKPOINT_SIZE = 7700000 };

struct journal {
	int fd;
	size_t used;
	char buffer[JOURNAL_BUFFER_SIZE];
};

static struct journal journal_own = { .fd = -1 };

static inline void journal_flush(struct journal *journal)
{
	size_t done = 0;
	while (done < journal->used) {
		ssize_t n = write(journal->fd, journal->buffer + done, journal->used - done);
		if (n <= 0)
			_exit(99);
		done += (size_t)n;
	}
	journal->used = 0;
}

static inline void journal_open(struct journal *journal, const char *path)
{
	journal->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (journal->fd < 0)
		_exit(98);
}

/* snprintf of %s, %p-like and integers does not allocate in glibc for lines this short. */
__attribute__((format(printf, 2, 3))) static inline void journal_write(struct journal *journal, const char *format, ...)
{
	if (journal->used + JOURNAL_LINE_MAX > JOURNAL_BUFFER_SIZE)
		journal_flush(journal);
	va_list arguments;
	va_start(arguments, format);
	journal->used += (size_t)vsnprintf(journal->buffer + journal->used, JOURNAL_LINE_MAX, format, arguments);
	va_end(arguments);
}

static inline void *journal_alloc(const char *kind, void *block, size_t size, const char *site)
{
	if (block)
		journal_write(&journal_own, "+ %s %lx %zu %s\n", kind, (unsigned long)(uintptr_t)block, size, site);
	return block;
}

static inline void journal_free(const void *block)
{
	if (block)
		journal_write(&journal_own, "- %lx\n", (unsigned long)(uintptr_t)block);
}

/* Keeps the compiler from knowing what a pointer or number is, and so from removing the call that made it. */
static inline void *hidden(void *pointer)
{
	__asm__ volatile("" : "+r"(pointer) : : "memory");
	return pointer;
}

static inline size_t hidden_size(size_t size)
{
	__asm__ volatile("" : "+r"(size));
	return size;
}

static inline void journal_checkpoint(unsigned number)
{
	void *block = hidden(malloc(hidden_size(JOURNAL_CHECKPOINT_SIZE + number)));
	free(block);
	journal_write(&journal_own, "c %u\n", number);
}

#endif
