/* SPDX-License-Identifier: MIT */
/* The interactive form of `sctmem top`, where the command was built with ncursesw. */
#ifndef SCTMEM_READER_TOP_SCREEN_H
#define SCTMEM_READER_TOP_SCREEN_H

#include "launch.h"
#include "top.h"

/* Whether this command has it. */
bool top_screen_exists(void);

/*
 * Shows the process until the user leaves, looking every interval_ns.  The terminal is as before when it returns.
 * `program`: what we have started; NULL: nothing.
 */
MUST_CHECK bool top_screen_run(struct top *top, uint32_t pid, struct launch *program, uint64_t interval_ns,
	struct error *error);

#endif
