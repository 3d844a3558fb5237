/* SPDX-License-Identifier: MIT */
/*
 * The slices of time of a run (profile.h) with the sites of a diff, so that a page of differences can tell any window
 * of either.  Used by diff.c.
 */
#ifndef SCTMEM_READER_DIFF_SLICES_H
#define SCTMEM_READER_DIFF_SLICES_H

#include "profile.h"

#define DIFF_SITE_NONE UINT32_MAX

/*
 * They become those of `to`, which is to free them (profile_free_slices), in the place of what it had.  site_of: the
 * site of `to` for each of `from`; DIFF_SITE_NONE: it is not in it, nor are its cells then.
 */
void diff_slices_take(struct profile *to, const struct profile *from, const uint32_t *site_of);

#endif
