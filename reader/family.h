/* SPDX-License-Identifier: MIT */
/*
 * The recorded processes that belong together: parents, children and successors by exec of the one that a capture is
 * of, as the headers of the captures in its folder name them.  For views that let one choose among them.
 */
#ifndef SCTMEM_READER_FAMILY_H
#define SCTMEM_READER_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct family_member {
	char *path;                   /* of the capture, or of the run in segments */
	char *command;                /* its arguments, with spaces between them; unescaped */
	uint32_t pid, parent_pid;
	uint64_t start_realtime_ns;
	uint64_t file_bytes;          /* as the recorder says; of the newest segment */
	uint64_t resident_bytes;      /* of a running process here; 0: not known */
	uint32_t segment;             /* the newest; 0: one file */
	unsigned depth;               /* below the eldest */
	bool alive;
	bool self;                    /* the one that was asked for */
};

/* Parents before children; *members is to be freed with family_free.  Returns their number; 0: it is no capture. */
size_t family_list(const char *path, struct family_member **members);
void family_free(struct family_member *members, size_t count);

#endif
