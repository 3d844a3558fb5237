/* SPDX-License-Identifier: MIT */
/*
 * A clock_gettime() that jumps, as a library to preload: built with -shared -fPIC -DJUMP=N.
 *
 *   1   an hour ahead at every 100th question, and back at the next 100th
 *   2   backwards: each question has an answer that is earlier by a minute than the one before
 *   3   stands still
 *   4   anything, also seconds below zero and nanoseconds of the most that there may be
 */
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static _Atomic unsigned long questions;
	unsigned long question = atomic_fetch_add(&questions, 1);
	int status = (int)syscall(SYS_clock_gettime, clock, now);

	if (JUMP == 1)
		now->tv_sec += question / 100 % 2 ? 3600 : 0;
	else if (JUMP == 2)
		now->tv_sec -= 60 * (time_t)question;
	else if (JUMP == 3)
		*now = (struct timespec){ .tv_sec = 1000 };
	else
		*now = (struct timespec){ .tv_sec = (time_t)(question * 2654435761u % 100000) - 50000,
			.tv_nsec = question % 2 ? 999999999 : 0 };
	return status;
}
