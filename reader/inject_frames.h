/* SPDX-License-Identifier: MIT */
/*
 * Whether a stopped thread of another process is in a place where a call may be made on its behalf: one where it holds
 * no lock that the call would wait for.  For inject.c.
 */
#ifndef SCTMEM_READER_INJECT_FRAMES_H
#define SCTMEM_READER_INJECT_FRAMES_H

#include "remote.h"

struct frames;

enum frames_verdict {
	FRAMES_SAFE,
	FRAMES_UNSAFE,                /* in the C library, the loader, an allocator: another moment */
	FRAMES_UNKNOWN,               /* the stack cannot be followed to its end */
};

/* Reads unwind tables, which takes a while: before anything is stopped.  NULL: it cannot be done. */
struct frames *frames_new(const struct remote *remote);
void frames_free(struct frames *frames);

/* The calling thread has stopped `thread` by ptrace. */
enum frames_verdict frames_look(struct frames *frames, pid_t thread);

/* Whether it is certain that no frame of a stopped thread lies in [start, end). */
bool frames_outside(struct frames *frames, pid_t thread, uint64_t start, uint64_t end);

#endif
