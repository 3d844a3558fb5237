/* SPDX-License-Identifier: MIT */
/*
 * The recorder inside a test program, without the hooks: takes the place of lifecycle.c and real.c.  A test starts it,
 * makes events through record.h, stops it, and reads the capture with recorded.h.
 */
#ifndef SCTMEM_TESTS_RECORDER_H
#define SCTMEM_TESTS_RECORDER_H

#include <stdbool.h>
#include <stddef.h>

#include "preload/record.h"

/* A fresh capture `folder`/capture.bin; no stacks, no samples.  All that an earlier start left is forgotten. */
bool recorder_start(const char *folder);
/* As it would be in a new process, but without a capture: for tests of modules that need none. */
void recorder_forget(void);
void recorder_stop(void);
bool recorder_is_on(void);
const char *recorder_path(void);

/* An empty folder that recorder_folder_remove() takes away with all that is in it. */
bool recorder_folder_make(char *path, size_t size);
void recorder_folder_remove(const char *path);

/* The same as set-up and tear-down of a test, in recorder_folder; the second starts a capture in it, too. */
extern char recorder_folder[4096];
int recorder_set_up(void **state);
int recorder_set_up_started(void **state);
int recorder_tear_down(void **state);
/* Empties recorder_folder and starts a capture there. */
bool recorder_anew(void);

/* One event each, as a hook makes them. */
void recorder_allocation(const void *block, size_t size);
void recorder_free(const void *block);

#endif
