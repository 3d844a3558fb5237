/* SPDX-License-Identifier: MIT */
/*
 * A traced process and the capture that it writes, named by the user as a process id, a capture, or not at all (the
 * newest capture here).  For the verbs that follow or steer a running process.
 *
 *     123           /proc/123/maps: a file mapped shared and writable that begins as a capture does, and whose header
 *                   names that very process (a child that has not begun its own still maps its parent's)
 *     capture.bin   the process that its header names, if it still has the file mapped
 *
 * Of a run in segments the newest is meant, whichever is named, or the name of the first that is gone.
 */
#ifndef SCTMEM_READER_TARGET_H
#define SCTMEM_READER_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "formats/capture.h"

struct target {
	char *path;                   /* of the capture, as it can be opened from here */
	char *run;                    /* under which it is read with all that belongs to it: its first segment; or as named */
	int file;                     /* open for reading, and for writing where that was asked for */
	uint32_t pid;                 /* as it is called here; 0: not known (another host or name space) */
	bool alive;                   /* it still has the capture mapped */
	bool unlinked;                /* the capture has no name any more */
	struct capture_header header;
};

/* `name` NULL: the newest capture here, which is said on stderr.  false: error tells why, and what to do. */
MUST_CHECK bool target_open(struct target *target, const char *name, bool writable, struct error *error);
void target_close(struct target *target);

/* Whether the process is still there and still has the capture mapped. */
bool target_is_alive(const struct target *target);
/* The state of its main thread as /proc says: R, S, D, T ...; 0: not known. */
char target_process_state(const struct target *target);

/* The status, read anew. */
MUST_CHECK bool target_read_status(const struct target *target, struct capture_status *status, struct error *error);

#endif
