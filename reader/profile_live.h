/* SPDX-License-Identifier: MIT */
/*
 * The profile of a capture that grows: the structure that every view is made from (profile.h), brought up to date at
 * each look, at a cost that grows with what is new and with the distinct stacks.
 *
 *     profile_live_open -> [profile_live_look -> profile_live_get] ... -> profile_live_close
 *
 * Frames and nodes keep their indices from look to look, and sites are sorted as in every profile; so two looks can
 * be compared.  "live" is what lives at this moment.  Windows, slices and observed sites are not made.
 */
#ifndef SCTMEM_READER_PROFILE_LIVE_H
#define SCTMEM_READER_PROFILE_LIVE_H

#include "profile.h"

struct profile_live;

/*
 * options: of these temporary_limit, timeline_points, no_symbols, debuginfod and cache_folder are looked at; the
 * folder's name must live as long as the profile.
 */
MUST_CHECK bool profile_live_open(struct profile_live **out, const char *path, const struct profile_options *options,
	struct error *error);
void profile_live_close(struct profile_live *live);

/* Takes what has come since the last look. */
MUST_CHECK bool profile_live_look(struct profile_live *live, struct error *error);

/* What is known of the heap without knowing who holds it. */
struct profile_live_heap {
	uint64_t bytes;               /* that live */
	bool behind;                  /* there is more than was taken: they lived */
	uint64_t moment_ns;           /* then, by CLOCK_MONOTONIC */
	bool estimated;               /* of a sample */
	bool partial;                 /* something is not known: what was lost, not recorded, or is in a file that is gone */
};

/*
 * Takes what has come, as a look does, and describes nothing but the heap: no stack, no name.  Ends soon after our
 * thread has had until_ns of processor time (CLOCK_THREAD_CPUTIME_ID), however much there is; the next goes on there.
 */
MUST_CHECK bool profile_live_measure(struct profile_live *live, uint64_t until_ns, struct profile_live_heap *heap,
	struct error *error);
/* Of the last of either. */
struct profile_live_heap profile_live_heap(const struct profile_live *live);

/* Valid until the next look. */
const struct profile *profile_live_get(const struct profile_live *live);
/* Resident memory now, as last sampled; bytes of the file read so far. */
uint64_t profile_live_resident(const struct profile_live *live);
uint64_t profile_live_bytes_read(const struct profile_live *live);
/* Whether the process still runs and writes. */
bool profile_live_is_alive(const struct profile_live *live);

#endif
