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

/* Recording is over for this process. */
void lifecycle_off(void);

/* CLOCK_MONOTONIC at time 0 of the capture. */
uint64_t lifecycle_start_ns(void);

#endif
