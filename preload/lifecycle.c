/* SPDX-License-Identifier: MIT */
/*
 * The only file that knows the order of things.
 *
 *   start   the first hooked call, or our constructor, whichever comes first (libraries that the program needs are
 *           initialised before us):  real functions -> configuration -> is this process to be recorded? -> file ->
 *           thread state -> modules -> recording
 *   fork    the child's pages of thread states are zeroed by the kernel; its first event finds that, forgets all that
 *           belongs to the parent's capture, and starts its own
 *   exec    nothing to do: the capture is complete; the new program starts like any other and finds its predecessor
 *   exit    a note in the header; whatever comes later is recorded all the same
 */
#include "lifecycle.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "config.h"
#include "intern.h"
#include "modules.h"
#include "naming.h"
#include "order.h"
#include "output.h"
#include "python.h"
#include "real.h"
#include "sys.h"
#include "thread.h"

enum phase { PHASE_NEW, PHASE_STARTING, PHASE_RECORDING, PHASE_OFF };

static _Atomic int phase;
static uint64_t start_ns;
static struct output_origin origin;
static char parent_path[4096];

uint64_t lifecycle_start_ns(void)
{
	return start_ns;
}

bool lifecycle_is_recording(void)
{
	return atomic_load_explicit(&phase, memory_order_relaxed) == PHASE_RECORDING;
}

void lifecycle_off(void)
{
	atomic_store(&phase, PHASE_OFF);
}

/* Whether this process is one that was asked for. */
static bool is_wanted(void)
{
	if (!config_glob_matches(config.program_glob, naming_program()))
		return false;
	if (naming_parent_records(parent_path, sizeof(parent_path), &origin.parent_start_realtime_ns)) {
		origin.origin = CAPTURE_ORIGIN_EXEC_CHILD;
		origin.parent_path = parent_path;
		return config.follow_exec && config_glob_matches(config.follow_glob, naming_program());
	}
	return true;
}

/* The thread that starts gets its state at once: modules are recorded through it. */
static bool begin(void)
{
	start_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE);
	origin.start_monotonic_ns = start_ns;
	if (!output_open(&origin))
		return false;
	atomic_store(&phase, PHASE_RECORDING);
	struct thread *thread = thread_attach();

	if (!thread)
		return false;
	thread->gate = GATE_OURS;
	modules_refresh(thread);
	thread->gate = GATE_IDLE;
	return true;
}

bool lifecycle_ready(void)
{
	int new = PHASE_NEW;
	int saved = errno;

	if (lifecycle_is_recording())
		return true;
	if (!environ || !atomic_compare_exchange_strong(&phase, &new, PHASE_STARTING))
		return false;
	real_resolve();
	config_read(environ);
	if (!is_wanted() || !begin())
		atomic_store(&phase, PHASE_OFF);
	errno = saved;
	return lifecycle_is_recording();
}

bool lifecycle_child(void)
{
	static char parent[4096];
	int saved = errno;

	if (!lifecycle_is_recording())
		return false;
	if (!config.follow_fork) {
		atomic_store(&phase, PHASE_OFF);
		return false;
	}
	origin = (struct output_origin){
		.origin = CAPTURE_ORIGIN_FORK,
		.parent_path = parent,
		.parent_stamp = order_stamp_now(),
		.parent_time_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE) - start_ns,
		.parent_start_realtime_ns = output_start_realtime_ns(),
	};
	memcpy(parent, output_path(), strlen(output_path()) + 1);
	atomic_store(&phase, PHASE_STARTING);
	output_forget();
	thread_reset();
	intern_reset();
	modules_reset();
	order_reset();
	arena_reset();
	python_fork_child();
	if (!begin())
		atomic_store(&phase, PHASE_OFF);
	errno = saved;
	return lifecycle_is_recording();
}

static __attribute__((constructor)) void loaded(void)
{
	int saved = errno;

	real_resolve();
	thread_start();
	if (lifecycle_ready()) {
		struct thread *thread = thread_self;

		thread->own_call = true;
		python_start();
		thread->own_call = false;
	}
	errno = saved;
}

static __attribute__((destructor)) void exiting(void)
{
	struct capture_status *status = output_status();
	struct thread *thread = thread_self;

	if (!lifecycle_is_recording() || thread->gate != GATE_IDLE)
		return;
	thread->gate = GATE_OURS;
	status->end_time_ns = sys_clock_ns(CLOCK_MONOTONIC) - start_ns;
	atomic_store((_Atomic uint64_t *)&status->state, CAPTURE_EXITED);
	if (thread_is_alone())
		output_trim();
	thread->gate = GATE_IDLE;
}
