/* SPDX-License-Identifier: MIT */
/*
 * What analyses must know of a capture from its first event on, though it stands further behind: so all windows are
 * looked through once before the replay, and those that say something of it are decoded.  Used by analyses.c.
 *
 *     MODULE, PYTHON --> which allocators a process has, and so what its blocks really take
 *     PAGES, MARK ----> which sample of pages is the one that is shown: each that is evaluated costs as much as there
 *                       is live memory
 */
#ifndef SCTMEM_READER_FORESIGHT_H
#define SCTMEM_READER_FORESIGHT_H

#include <stdint.h>

#include "error.h"
#include "size_class.h"

/* Of one process. */
struct foresight {
	struct size_classes classes;
	uint64_t pages_from_ns;       /* samples of pages from before it are not the newest before the moment */
};

/* The moment is at_ns by the capture's clock, or its first mark of that name; NULL: no mark is meant. */
MUST_CHECK bool foresight_read(const char *path, uint64_t at_ns, const char *mark, struct foresight *foresight,
	struct error *error);

#endif
