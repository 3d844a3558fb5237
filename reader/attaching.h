/* SPDX-License-Identifier: MIT */
/*
 * Putting the library into a running process and calling its entries (formats/attach.h).  For cmd_attach.c and
 * cmd_detach.c.
 */
#ifndef SCTMEM_READER_ATTACHING_H
#define SCTMEM_READER_ATTACHING_H

#include "formats/attach.h"
#include "inject.h"
#include "remote.h"

enum attaching_method { ATTACHING_AUTO, ATTACHING_PTRACE, ATTACHING_REMOTE_EXEC };

extern const char *const attaching_methods[];   /* their names, as options take them */

struct attaching {
	struct remote remote;
	struct attach_request request;
	uint64_t wait_ms;             /* for a safe moment */
	int method;                   /* enum attaching_method; after attaching_open: what is taken, not AUTO */
	bool any_seccomp;             /* go on although a filter of system calls may end the process */
	uint64_t stopped_ns;          /* how long the thread that was borrowed was stopped, in all */
};

/* "1234": a process.  false: it is no number. */
MUST_CHECK bool attaching_parse(const char *text, pid_t *pid, struct error *error);

/* Looks at the process and finds out all that can be known before it is touched. */
MUST_CHECK bool attaching_open(struct attaching *attaching, pid_t pid, struct error *error);
void attaching_close(struct attaching *attaching);

/* Whether the library is there already, for whatever reason. */
bool attaching_has_library(const struct attaching *attaching);

/* Adds a setting to the request, "SCTMEM_X" and its value. */
MUST_CHECK bool attaching_set(struct attaching *attaching, const char *name, const char *value, struct error *error);

/* Loads the library, unless it is there, and begins.  request.result and what goes with it tell the outcome. */
MUST_CHECK bool attaching_begin(struct attaching *attaching, const char *library, struct error *error);
/* A little later: what was just being resolved is redirected too. */
MUST_CHECK bool attaching_settle(struct attaching *attaching, const char *library, struct error *error);
MUST_CHECK bool attaching_end(struct attaching *attaching, const char *library, struct error *error);

/* The capture's path as it is seen from here. */
void attaching_capture(const struct attaching *attaching, char *path, size_t size);

/* What the library answered when it is not DONE, as an error. */
bool attaching_refused(const struct attaching *attaching, struct error *error);

#endif
