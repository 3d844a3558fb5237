/* SPDX-License-Identifier: MIT */
/*
 * A capture in segments (SCTMEM_ROTATE): when the next one begins, what its file needs of what earlier ones said, and
 * which old ones go (SCTMEM_KEEP).  rotate.c tells how.
 */
#ifndef SCTMEM_PRELOAD_ROTATE_H
#define SCTMEM_PRELOAD_ROTATE_H

#include "config.h"
#include "stream.h"

static inline bool rotate_is_on(void)
{
	return __builtin_expect(config_rotates(), 0);
}

/* Whether the present segment has come to its end.  Asked whenever a window is full. */
bool rotate_is_due(void);

/* Begins the next segment, with all signals blocked; where that cannot be, goes on, and tries again later. */
void rotate(struct thread *thread);

/*
 * The same at once, whether it is due or not; also while nothing is recorded.  True: there is a segment that was begun
 * after this was called, and it has all that it needs.
 */
bool rotate_now(struct thread *thread);

/* Keeps a copy of a metadata record that every segment has to hold.  false: no memory. */
bool rotate_remember(unsigned kind, const struct stream_part *parts, size_t count, size_t words);

/* For a new capture, before its first record. */
void rotate_begin(void);

#endif
