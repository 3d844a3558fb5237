/* SPDX-License-Identifier: MIT */
/* What the capture file is called, and who this process is: program name, parent that records, predecessor. */
#ifndef SCTMEM_PRELOAD_NAMING_H
#define SCTMEM_PRELOAD_NAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "output.h"

struct naming {
	struct output_origin origin;  /* in; parent_* are filled in for an exec in place */
	uint32_t sequence;            /* out */
};

/*
 * Makes a new file, mode 0600, that did not exist (unless replacing was asked for), and returns its descriptor or
 * -1.  `path` gets its absolute name.  When the name is taken by an earlier capture of this very process (it then
 * executed us in place), that one is renamed to NAME.0, NAME.1 ...; when it is taken by anything else, ours is
 * called NAME.1, NAME.2 ...
 */
int naming_create(struct naming *naming, char *path, size_t size);

/*
 * The further files of a run that is written in segments: NAME.bin, NAME.000002.bin, NAME.000003.bin ...  A number that
 * is taken is passed over: nothing is ever overwritten.
 */
enum { NAMING_SEGMENTS_MAX = 8192 };     /* of which so many can be found again: more than are ever kept */
struct naming_segments {
	const char *path;             /* of the first */
	uint32_t numbers[NAMING_SEGMENTS_MAX];   /* in the newest ones' names, by segment modulo this */
};
void naming_segments_begin(struct naming_segments *segments, const char *path);
/*
 * Makes the file of a segment (from 2), whose predecessor's was made; `path` gets its name.  The descriptor, or -errno.
 * May be called again for the same one, when nothing came of it.
 */
int naming_segment_create(struct naming_segments *segments, uint64_t segment, char *path, size_t size);
/* Removes the file of a segment (from 1) of the run, unless something else has its name.  false: it is still there. */
bool naming_segment_remove(const struct naming_segments *segments, uint64_t segment, uint64_t run_id);

/* The last part of the executable's path. */
const char *naming_program(void);
const char *naming_libc_version(void);

/* Whether the parent process is being recorded now; its capture's path and start then. */
bool naming_parent_records(char *path, size_t size, uint64_t *start_realtime_ns);

/*
 * For a child that is not recorded: maps the first page of its recorded ancestor's capture, read-only, so that its own
 * children find that they descend from a recorded process too.
 */
void naming_join_family(const char *path);

#endif
