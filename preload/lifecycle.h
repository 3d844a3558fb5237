/* SPDX-License-Identifier: MIT */
/* The order of start, fork and exit; lifecycle.c is the only file that knows it. */
#ifndef SCTMEM_PRELOAD_LIFECYCLE_H
#define SCTMEM_PRELOAD_LIFECYCLE_H

#include <stdbool.h>
#include <stdint.h>

/* Starts recording if it is time for it; true when this process records now. */
bool lifecycle_ready(void);

/* Whether this process is a fork child of one that recorded, and has not begun its own capture. */
bool lifecycle_is_child(void);

/* Begins a fork child's capture.  True when it goes on recording, into its own file. */
bool lifecycle_child(void);

/* Around a fork, on the thread that forks. */
void lifecycle_before_fork(void);
void lifecycle_forked_parent(void);
void lifecycle_forked_child(void);

bool lifecycle_is_recording(void);

/*
 * For attach.c.  A library that was put into a running program is dormant until it is attached; detached, it is
 * again.  `settings` are as in an environment.  false: nothing is recorded, output_failure() may tell why.
 */
enum lifecycle_attachable { LIFECYCLE_DORMANT, LIFECYCLE_RECORDING, LIFECYCLE_PRELOADED, LIFECYCLE_CHANGING };
enum lifecycle_attachable lifecycle_attachable(void);
bool lifecycle_attach(char *const *settings);
void lifecycle_detach(void);

/* Recording is over for this process. */
void lifecycle_off(void);
/* Whether the calling process is another that shares the memory of the one that records: made by vfork, or CLONE_VM. */
bool lifecycle_is_guest(void);
/* The same, without any system call: the program has had its own filtered, at this time.  Whether it was recorded. */
bool lifecycle_filtered(uint64_t now_ns);
/* Before that: it is about to have those of all threads filtered, who are to be out of our code by then. */
void lifecycle_before_filter(uint64_t now_ns);

/* CLOCK_MONOTONIC at time 0 of the capture. */
uint64_t lifecycle_start_ns(void);

#endif
