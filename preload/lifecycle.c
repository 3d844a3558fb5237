/* SPDX-License-Identifier: MIT */
/*
 * The only file that knows the order of things.
 *
 *   start   the first hooked call, or our constructor, whichever comes first (libraries that the program needs are
 *           initialised before us):  real functions -> configuration -> is this process to be recorded? -> file ->
 *           thread state -> modules -> recording
 *   fork    the child's pages of thread states are zeroed by the kernel, and so is `birth`; its first event finds that,
 *           forgets all that belongs to the parent's capture, and starts its own; but a child that was forked by a
 *           signal handler on top of our own code returns into that code, and records nothing
 *   exec    nothing to do: the capture is complete; the new program starts like any other and finds its predecessor
 *   exit    a note in the header; whatever comes later is recorded all the same
 *   attach  of a library that was put into a running program: it is dormant until then, and again when detached
 */
#include "lifecycle.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "config.h"
#include "control.h"
#include "cull.h"
#include "intern.h"
#include "modules.h"
#include "naming.h"
#include "order.h"
#include "output.h"
#include "pages.h"
#include "python.h"
#include "real.h"
#include "record.h"
#include "rotate.h"
#include "sample.h"
#include "stream.h"
#include "symbol.h"
#include "sys.h"
#include "thread.h"

enum phase { PHASE_NEW, PHASE_STARTING, PHASE_RECORDING, PHASE_OFF, PHASE_DORMANT };

static _Atomic int phase;
static bool injected;                 /* put into a running program */
static bool attached_before;
static bool backend_failed;           /* jemalloc was asked for and could not be loaded */
static uint64_t start_ns;
static int process;                   /* that records */
static struct output_origin origin;
static char parent_path[4096];
/* A page that the kernel zeroes in a fork child. */
static struct birth {
	_Atomic uint32_t noted;       /* 1 once we record */
	struct control_quiet quiet;
} *birth;
/* Where the parent stood at the fork: noted in the child, at once, when it was made by fork(). */
static struct {
	bool noted;
	uint64_t stamp, now_ns;
} fork_point;

uint64_t lifecycle_start_ns(void)
{
	return start_ns;
}

bool lifecycle_is_recording(void)
{
	return atomic_load_explicit(&phase, memory_order_acquire) == PHASE_RECORDING;
}

bool lifecycle_is_child(void)
{
	return lifecycle_is_recording() && atomic_load_explicit(&birth->noted, memory_order_relaxed) == 0;
}

void lifecycle_before_fork(void)
{
	pages_before_fork();
	if (lifecycle_is_recording() && !lifecycle_is_child())
		thread_before_fork((uintptr_t)__builtin_frame_address(0));
}

void lifecycle_forked_parent(void)
{
	static atomic_flag noted = ATOMIC_FLAG_INIT;

	pages_forked_parent();
	if (lifecycle_is_recording() && !lifecycle_is_child() && thread_forked_parent()
			&& !atomic_flag_test_and_set(&noted))
		record_note("a child was forked while a signal handler had interrupted the recorder: it is not recorded");
}

void lifecycle_forked_child(void)
{
	pages_forked_child();
	if (!lifecycle_is_child())
		return;
	/* The code of ours that the handler returns to belongs to the parent's capture: it runs to its end, into nothing. */
	if (thread_forked_child()) {
		output_abandon();
		lifecycle_off();
		return;
	}
	/* Threads of the parent go on; what they do after the fork is not the child's past. */
	fork_point.stamp = order_stamp_now();
	fork_point.now_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE);
	fork_point.noted = true;
}

void lifecycle_off(void)
{
	atomic_store(&phase, PHASE_OFF);
}

bool lifecycle_is_guest(void)
{
	return lifecycle_is_recording() && !lifecycle_is_child() && sys_pid() != process;
}

bool lifecycle_filtered(uint64_t now_ns)
{
	/* A fork child that has not begun leaves alone what is its parent's. */
	if (lifecycle_is_child())
		lifecycle_off();
	if (!lifecycle_is_recording())
		return false;
	stream_stop_at(CAPTURE_STOPPED_FILTER, now_ns);
	thread_stop_all();
	return true;
}

void lifecycle_before_filter(uint64_t now_ns)
{
	if (lifecycle_filtered(now_ns))
		thread_wait_stopped();
}

/*
 * Under another libc these three are missing.  Weak, they let the program start all the same: strong, its loader would
 * refuse to run it at all.
 */
#pragma weak gnu_get_libc_version
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object)
	__attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

static bool is_glibc(void)
{
	static const char refusal[] = "sctmem: this program does not run on glibc: it runs unrecorded\n";

	if (gnu_get_libc_version)
		return true;
	sys_write_all(2, refusal, sizeof(refusal) - 1);
	return false;
}

/* Whether this process is one that was asked for. */
static bool is_wanted(void)
{
	if (!config_glob_matches(config.program_glob, naming_program()))
		return false;
	if (naming_parent_records(parent_path, sizeof(parent_path), &origin.parent_start_realtime_ns)) {
		origin.origin = CAPTURE_ORIGIN_EXEC_CHILD;
		origin.parent_path = parent_path;
		if (config.follow_exec && config_glob_matches(config.follow_glob, naming_program()))
			return true;
		naming_join_family(parent_path);
		return false;
	}
	return is_glibc();
}

/* Once, at the start, where standard error is still what the user gave us.  Children and later troubles are silent. */
static void say_why_not(void)
{
	static const struct {
		int error;
		const char *text;
	} reasons[] = {
		{ EACCES, "permission denied" }, { ENOENT, "no such folder" }, { EROFS, "read-only file system" },
		{ ENOSPC, "no space left" }, { EDQUOT, "disk quota exceeded" }, { ENOTDIR, "not a folder" },
		{ ENAMETOOLONG, "name too long" }, { EISDIR, "is a folder" }, { EFBIG, "file size limit" },
		{ EMFILE, "too many open files" },
	};
	const char *reason = "the file cannot be made or mapped";

	if (origin.origin != CAPTURE_ORIGIN_START)
		return;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].error == output_failure())
			reason = reasons[i].text;
	const char *const parts[] = { "sctmem: cannot create ", output_path(), ": ", reason,
		"; this program runs unrecorded (SCTMEM_OUT names another file)\n" };
	char line[5120];
	size_t length = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t size = strlen(parts[i]);

		if (length + size > sizeof(line))
			return;
		memcpy(line + length, parts[i], size);
		length += size;
	}
	sys_write_all(2, line, length);
}

/* The thread that starts gets its state at once: modules are recorded through it.  Not so when nothing is recorded. */
static bool begin(bool paused)
{
	start_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE);
	process = sys_pid();
	origin.start_monotonic_ns = start_ns;
	thread_start();
	rotate_begin();
	sample_start();
	cull_start();
	birth = arena_pages(4096);
	if (!birth || !sys_wipe_on_fork(birth, 4096, true))
		return false;
	if (!output_open(&origin)) {
		say_why_not();
		return false;
	}
	atomic_store_explicit(&birth->noted, 1, memory_order_relaxed);
	control_begin(paused, &birth->quiet);
	atomic_store(&phase, PHASE_RECORDING);
	if (paused)
		return true;
	struct thread *thread = thread_attach();

	if (!thread)
		return false;
	thread->gate = GATE_OURS;
	if (injected || origin.origin == CAPTURE_ORIGIN_FORK)
		modules_refresh(thread);
	else
		modules_begin(thread);
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
	sys_find_clock();
	config_read(environ);
	bool wanted = is_wanted(), jemalloc = config.jemalloc;

	/* A program that is not recorded is not to be changed either. */
	config.jemalloc = jemalloc && wanted;
	real_resolve();
	if (!wanted || !begin(!config.start))
		atomic_store(&phase, PHASE_OFF);
	else if (jemalloc && !config.jemalloc)
		record_note("backend jemalloc is not available");
	if (config.aggregate && !cull_on && lifecycle_is_recording())
		record_note("SCTMEM_AGGREGATE has no effect with SCTMEM_SAMPLE: of a sample each block stands for others");
	backend_failed = jemalloc && wanted && !config.jemalloc;
	errno = saved;
	return lifecycle_is_recording();
}

bool lifecycle_child(void)
{
	static char parent[4096];
	int saved = errno, recording = PHASE_RECORDING;

	if (!atomic_compare_exchange_strong(&phase, &recording, config.follow_fork ? PHASE_STARTING : PHASE_OFF)
			|| !config.follow_fork)
		return false;
	if (!fork_point.noted) {
		fork_point.stamp = order_stamp_now();
		fork_point.now_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE);
	}
	origin = (struct output_origin){
		.origin = CAPTURE_ORIGIN_FORK,
		.parent_path = parent,
		.parent_stamp = fork_point.stamp,
		.parent_time_ns = sys_elapsed_ns(start_ns, fork_point.now_ns),
		.parent_start_realtime_ns = output_start_realtime_ns(),
	};
	const bool paused = control_is_paused();

	memcpy(parent, output_path(), strlen(output_path()) + 1);
	fork_point.noted = false;
	output_forget();
	record_reset();
	thread_reset();
	intern_reset();
	modules_reset();
	order_reset();
	arena_reset();
	python_fork_child();
	if (!begin(paused))
		atomic_store(&phase, PHASE_OFF);
	errno = saved;
	return lifecycle_is_recording();
}

enum lifecycle_attachable lifecycle_attachable(void)
{
	switch (atomic_load(&phase)) {
	case PHASE_RECORDING:
		return injected ? LIFECYCLE_RECORDING : LIFECYCLE_PRELOADED;
	case PHASE_STARTING:
		return LIFECYCLE_CHANGING;
	default:
		return injected ? LIFECYCLE_DORMANT : LIFECYCLE_PRELOADED;
	}
}

static void hear_of_forks(void)
{
	if (__register_atfork)
		__register_atfork(lifecycle_before_fork, lifecycle_forked_parent, lifecycle_forked_child, __dso_handle);
}

/* Nothing of an earlier attachment is left to be found; its threads have been seen to be elsewhere. */
static void forget_everything(void)
{
	output_release();
	record_reset();
	thread_wipe();
	intern_release();
	modules_reset();
	order_reset();
	arena_reset();
}

bool lifecycle_attach(char *const *settings)
{
	int before = atomic_load(&phase);

	if (!injected || (before != PHASE_DORMANT && before != PHASE_OFF) ||
		!atomic_compare_exchange_strong(&phase, &before, PHASE_STARTING))
		return false;
	if (attached_before)
		forget_everything();
	else
		hear_of_forks();
	attached_before = true;
	config_reset();
	config_read(settings);
	config.jemalloc = false;
	real_resolve();
	origin = (struct output_origin){ .origin = CAPTURE_ORIGIN_ATTACH };
	if (!begin(false)) {
		atomic_store(&phase, PHASE_DORMANT);
		return false;
	}
	/* The loader's own allocations for our look-ups are not the program's. */
	struct thread *thread = record_enter();

	if (thread) {
		thread->gate = GATE_OURS;
		thread->own_call = true;
	}
	python_attach();
	if (thread) {
		thread->own_call = false;
		record_leave(thread);
	}
	return true;
}

void lifecycle_detach(void)
{
	int recording = PHASE_RECORDING;
	struct thread *thread = record_enter();

	if (thread) {
		thread->gate = GATE_OURS;
		thread->own_call = true;
	}
	if (atomic_compare_exchange_strong(&phase, &recording, PHASE_DORMANT)) {
		struct capture_status *status = output_status();

		/* From here on no event can be recorded; a thread that is in the middle of one ends it. */
		order_stop();
		status->end_time_ns = sys_clock_ns(CLOCK_MONOTONIC) - start_ns;
		atomic_store((_Atomic uint64_t *)&status->state, CAPTURE_STOPPED_USER);
	}
	python_detach();
	if (thread) {
		thread->own_call = false;
		record_leave(thread);
	}
	if (recording == PHASE_RECORDING)
		output_trim();
	record_reset();
	output_close();
}

static __attribute__((constructor)) void loaded(void)
{
	int saved = errno;

	if (gnu_get_libc_version && symbol_we_are_late()) {
		injected = true;
		atomic_store(&phase, PHASE_DORMANT);
		return;
	}
	bool recording = lifecycle_ready();

	real_resolve();
	/* A library that we failed to load must not be what the program's dlerror speaks of.  Here no lock is held. */
	if (backend_failed)
		dlerror();
	thread_start();
	hear_of_forks();
	if (recording) {
		/* The loader's own allocations for our look-ups are not the program's. */
		struct thread *thread = record_enter();

		if (thread) {
			thread->gate = GATE_OURS;
			thread->own_call = true;
		}
		python_start();
		if (thread) {
			thread->own_call = false;
			record_leave(thread);
		}
	}
	errno = saved;
}

static __attribute__((destructor)) void exiting(void)
{
	struct capture_status *status = output_status();
	struct thread *thread = thread_self;
	const uint8_t gate = thread->gate;

	/* Not in a fork child; and where nothing was ever recorded this thread has no state. */
	if (!lifecycle_is_recording() || lifecycle_is_child() ||
		(gate != GATE_IDLE && gate != GATE_PAUSED && !(gate == GATE_WIPED && control_is_paused())))
		return;
	if (gate != GATE_WIPED) {
		thread->gate = GATE_OURS;
		if (gate == GATE_IDLE) {
			modules_list(thread);
			record_last_pages(thread);
		}
		sample_put_rest(thread);
	}
	status->end_time_ns = sys_elapsed_ns(start_ns, sys_clock_ns(CLOCK_MONOTONIC));
	atomic_store((_Atomic uint64_t *)&status->state, CAPTURE_EXITED);
	output_trim();
	if (gate != GATE_WIPED)
		thread->gate = gate;
}
