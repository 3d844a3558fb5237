/* SPDX-License-Identifier: MIT */
/*
 * Addresses of many modules looked up at once: a module is a job, and jobs are shared among threads, since opening one
 * module's debug information may take longer than all else that a command does.  Called by profile_frames.c, which
 * takes the results in the order of its own lists: what is printed does not depend on who was first.
 */
#ifndef SCTMEM_READER_SYMBOL_JOBS_H
#define SCTMEM_READER_SYMBOL_JOBS_H

#include "symbols.h"

struct symbol_result {
	size_t first;                 /* in the job's frames, innermost first */
	size_t count;
};

/* One module's addresses; what follows the line is filled by symbol_jobs_run and freed by symbol_job_finish. */
struct symbol_job {
	uint32_t module;
	const uint64_t *addresses;
	size_t count;
	/* ---- */
	struct symbol_result *results;   /* one an address */
	struct symbol_frame *frames;
	size_t frame_count, frame_capacity;
};

/* A job for each stretch of one module: addresses are sorted by it.  On the heap; the addresses stay the caller's. */
struct symbol_job *symbol_jobs_list(const uint32_t *modules, const uint64_t *addresses, size_t count,
	size_t *job_count);

/*
 * Runs all jobs, no two of the same module, on this thread and on up to `helpers` others.  done(), which may be NULL,
 * is called on this thread now and then, with the addresses looked up so far.
 */
void symbol_jobs_run(struct symbols *symbols, struct symbol_job *jobs, size_t job_count, unsigned helpers,
	void (*done)(void *context, size_t addresses), void *context);
void symbol_job_finish(struct symbol_job *job);

#endif
