/* SPDX-License-Identifier: MIT */
/*
 * Having a running Python call the library by itself: CPython 3.14 and later runs a file of code that it is told of in
 * its own memory (PEP 768, sys.remote_exec).  For attaching.c, where the process cannot be borrowed a thread of.
 */
#ifndef SCTMEM_READER_REMOTE_EXEC_H
#define SCTMEM_READER_REMOTE_EXEC_H

#include "formats/attach.h"
#include "remote.h"

/* Whether that process can be asked; false: error says why not. */
MUST_CHECK bool remote_exec_possible(const struct remote *remote, struct error *error);

/*
 * Has its main thread load the library and call `entry` with the request, which becomes the answer.  It does when it
 * next comes by its eval loop; if that is not within wait_ms, what was asked is withdrawn.
 */
MUST_CHECK bool remote_exec_call(const struct remote *remote, const char *library, const char *entry,
	struct attach_request *request, uint64_t wait_ms, struct error *error);

#endif
