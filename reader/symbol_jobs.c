/* SPDX-License-Identifier: MIT */
/*
 * Looking up the addresses of many modules on several threads; see symbol_jobs.h.
 *
 * The jobs with most addresses are begun first: a long one begun last would leave the other threads idle.
 */
#include "symbol_jobs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum { HELPERS_MAX = 7 };

/* What the threads share. */
struct shared {
	struct symbols *symbols;
	struct symbol_job **order;
	size_t job_count;
	atomic_size_t next;           /* job to take; only counted, so relaxed */
	atomic_size_t addresses;      /* looked up, for progress */
};

static void keep_frames(void *context, size_t index, const struct symbol_frame *frames, size_t frame_count)
{
	struct symbol_job *job = context;

	job->frames = memory_grow(job->frames, &job->frame_capacity, job->frame_count + frame_count, sizeof(*job->frames));
	memcpy(job->frames + job->frame_count, frames, frame_count * sizeof(*frames));
	job->results[index] = (struct symbol_result){ .first = job->frame_count, .count = frame_count };
	job->frame_count += frame_count;
}

/* One job; false: there is none left. */
static bool run_one(struct shared *shared)
{
	const size_t number = atomic_fetch_add_explicit(&shared->next, 1, memory_order_relaxed);

	if (number >= shared->job_count)
		return false;
	struct symbol_job *job = shared->order[number];
	job->results = memory_new(job->count, sizeof(*job->results));
	symbols_resolve_many(shared->symbols, job->module, job->addresses, job->count, keep_frames, job);
	atomic_fetch_add_explicit(&shared->addresses, job->count, memory_order_relaxed);
	return true;
}

static void *help(void *argument)
{
	while (run_one(argument))
		;
	return NULL;
}

static int compare_jobs(const void *a, const void *b)
{
	const struct symbol_job *left = *(struct symbol_job *const *)a, *right = *(struct symbol_job *const *)b;

	if (left->count != right->count)
		return left->count > right->count ? -1 : 1;
	return left->module < right->module ? -1 : left->module > right->module;
}

struct symbol_job *symbol_jobs_list(const uint32_t *modules, const uint64_t *addresses, size_t count,
	size_t *job_count)
{
	struct symbol_job *jobs = memory_new(count + 1, sizeof(*jobs));

	*job_count = 0;
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || modules[i] != modules[i - 1])
			jobs[(*job_count)++] = (struct symbol_job){ .module = modules[i], .addresses = addresses + i };
		jobs[*job_count - 1].count++;
	}
	return jobs;
}

void symbol_jobs_run(struct symbols *symbols, struct symbol_job *jobs, size_t job_count, unsigned helpers,
	void (*done)(void *context, size_t addresses), void *context)
{
	struct shared shared = { .symbols = symbols, .job_count = job_count };
	pthread_t threads[HELPERS_MAX];
	unsigned started = 0;

	shared.order = memory_new(job_count, sizeof(*shared.order));
	for (size_t i = 0; i < job_count; i++)
		shared.order[i] = &jobs[i];
	if (job_count)
		qsort(shared.order, job_count, sizeof(*shared.order), compare_jobs);
	if (helpers > HELPERS_MAX)
		helpers = HELPERS_MAX;
	/* A thread that cannot be had is not missed. */
	while (started < helpers && started + 1 < job_count && pthread_create(&threads[started], NULL, help, &shared) == 0)
		started++;
	while (run_one(&shared)) {
		if (done)
			done(context, atomic_load_explicit(&shared.addresses, memory_order_relaxed));
	}
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	free(shared.order);
}

void symbol_job_finish(struct symbol_job *job)
{
	free(job->results);
	free(job->frames);
	job->results = NULL;
	job->frames = NULL;
	job->frame_count = job->frame_capacity = 0;
}
