/* SPDX-License-Identifier: MIT */
/*
 * Calls of functions in another process, on one of its own threads, by ptrace.  For cmd_attach.c and cmd_detach.c.
 *
 *     inject_begin()     borrows a thread in a safe place, and maps some memory there
 *     inject_call()      as often as is needed
 *     inject_end()       gives all back
 *
 * The thread is resumable at every instant: inject.c tells how.
 */
#ifndef SCTMEM_READER_INJECT_H
#define SCTMEM_READER_INJECT_H

#include <sys/user.h>

#include "inject_frames.h"
#include "remote.h"

enum { INJECT_ARGUMENTS = 6 };

struct inject {
	struct remote *remote;
	struct frames *frames;
	pid_t thread;                 /* 0: none is borrowed */
	uint64_t started_ns;          /* when it was stopped, */
	uint64_t stopped_ns;          /* and for how long, at the end */
	uint64_t tries;               /* how often a thread was looked at */
	bool in_call;                 /* it was waiting in the kernel, and is to wait on */
	bool ended;                   /* it, or its process, is no more */
	struct user_regs_struct registers;    /* as they were */
	uint8_t *vectors;             /* XSAVE area as it was */
	size_t vectors_size;
	uint64_t mask;                /* of signals, as it was */
	uint64_t restorer, do_syscall;        /* in its C library */
	uint64_t memory;              /* mapped there, writable */
	uint64_t code;                /* mapped there: our few instructions; 0: not permitted */
	uint64_t errno_address;       /* of the thread's errno; 0: not known */
	int errno_value;
	bool seccomp;                 /* filters of system calls are in force */
	bool quick;                   /* calls return into our few instructions and wait there */
};

enum { INJECT_MEMORY = 1 << 20, INJECT_DATA = 1 << 16 };   /* of which the first part is for data */

/* Waits at most wait_ms for a safe moment. */
MUST_CHECK bool inject_begin(struct inject *inject, struct remote *remote, uint64_t wait_ms, struct error *error);

/* The result is not known where our own instructions were not permitted: then *result is 0. */
MUST_CHECK bool inject_call(struct inject *inject, uint64_t function, const uint64_t arguments[INJECT_ARGUMENTS],
	uint64_t *result, struct error *error);

/* Also after a failure.  false: the process ended meanwhile. */
bool inject_end(struct inject *inject);

/* Whether every thread was seen outside the module that exports `symbol`, each for a moment. */
bool inject_all_outside(struct remote *remote, const char *symbol);

#endif
