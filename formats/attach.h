/* SPDX-License-Identifier: MIT */
/*
 * What `sctmem attach` and `sctmem detach` hand to the library in another process, and what it answers: one structure
 * in memory that the command maps there.  It calls
 *
 *     void sctmem_attach(struct attach_request *)        begins a capture and redirects the functions
 *     void sctmem_detach(struct attach_request *)        puts them back and ends the capture
 *     void sctmem_settle(struct attach_request *)        a little later: redirects what was under way meanwhile
 *
 * Both sides check `version`: a library that was loaded earlier may be of another version than the command.
 */
#ifndef SCTMEM_FORMATS_ATTACH_H
#define SCTMEM_FORMATS_ATTACH_H

#include <stdint.h>

#define ATTACH_VERSION 1u
#define ATTACH_ENTRY "sctmem_attach"
#define ATTACH_DETACH "sctmem_detach"
#define ATTACH_SETTLE "sctmem_settle"

enum {
	ATTACH_PATH_SIZE = 4096,
	ATTACH_SETTINGS_SIZE = 8192,
};

enum attach_result {
	ATTACH_NO_ANSWER = 0,         /* the call did not come to its end */
	ATTACH_DONE = 1,
	ATTACH_ALREADY = 2,           /* it records already (detach: it does not); `path` is that capture */
	ATTACH_NO_FILE = 3,           /* the capture cannot be made; `error` says why */
	ATTACH_NO_MEMORY = 4,
	ATTACH_OTHER_VERSION = 5,
	ATTACH_PRELOADED = 6,         /* the program was started with the library: that is sctmem ctl's business */
	ATTACH_BUSY = 7,              /* starting or ending right now */
	ATTACH_NOT_GLIBC = 8,
	ATTACH_NOT_QUIET = 9,         /* threads may still be in what the last detach left: try again */
	ATTACH_STARTED = 10,          /* the program was started with the library, and recording off: now it is on */
	ATTACH_STOPPED = 11,          /* and now it is off again */
};

enum attach_flag {
	ATTACH_QUIET = 1,             /* every thread has been seen outside the library since it was detached */
};

struct attach_request {
	uint32_t version;             /* in: ATTACH_VERSION */
	uint32_t flags;               /* in: enum attach_flag */
	uint32_t settings_size;       /* in: bytes of settings */
	uint32_t result;              /* out: enum attach_result */
	uint32_t error;               /* out: errno value of ATTACH_NO_FILE; 0: unknown */
	uint32_t modules;             /* out: modules looked through */
	uint32_t slots;               /* out: references that lead to us now (or back, for detach) */
	uint32_t slots_left;          /* out: those that could not be changed */
	uint32_t symbols;             /* out: definitions that lead to us now */
	uint32_t symbols_left;
	uint32_t python;              /* out: PY_VERSION_HEX of the runtime that was found; 0: none */
	uint32_t reserved[5];
	char path[ATTACH_PATH_SIZE];          /* out: the capture, ended by NUL */
	char settings[ATTACH_SETTINGS_SIZE];  /* in: "SCTMEM_X=value", each ended by NUL */
};

_Static_assert(sizeof(struct attach_request) == 64 + ATTACH_PATH_SIZE + ATTACH_SETTINGS_SIZE, "one for all compilers");

#endif
