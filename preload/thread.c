/* SPDX-License-Identifier: MIT */
/*
 * Threads come and go without telling us: a state is made at a thread's first event.  How it ends:
 *
 *   our TLS destructor runs      in its last round the state is marked DYING; the thread may free even after that, so
 *                                the state stays its own
 *   a new thread needs a state   it takes over a DYING one whose thread the kernel no longer knows, with its stream:
 *                                a THREAD record tells the reader who writes from there on
 *
 * So thousands of short threads share a few states, and no event after the last destructor is lost.
 */
#include "thread.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>

#include "arena.h"
#include "lifecycle.h"
#include "order.h"
#include "output.h"
#include "real.h"
#include "stack.h"
#include "stream.h"
#include "sys.h"

#include "banned.h"

static struct thread no_thread;       /* its gate is WIPED for ever */
_Thread_local struct thread *thread_self __attribute__((tls_model("initial-exec"))) = &no_thread;

static struct thread *_Atomic all_threads;
static _Atomic uint32_t stream_count, thread_count, dying_count;
static _Atomic int key_state;         /* 0 none, 1 being made, 2 made */
static pthread_key_t key;

/* Runs in each round of TLS destructors; after the last one the state may pass on once the thread is gone. */
static void thread_ends(void *value)
{
	struct thread *thread = value;

	if (thread != thread_self || thread->gate == GATE_WIPED)
		return;
	if (++thread->rounds < PTHREAD_DESTRUCTOR_ITERATIONS) {
		thread->own_call = true;
		pthread_setspecific(key, thread);
		thread->own_call = false;
		return;
	}
	if (thread->gate == GATE_IDLE) {
		thread->gate = GATE_OURS;
		thread_note_name(thread);
		thread->gate = GATE_IDLE;
	}
	atomic_fetch_add(&dying_count, 1);
	atomic_store_explicit(&thread->owner, OWNER_DYING, memory_order_release);
}

void thread_start(void)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&key_state, &none, 1))
		atomic_store(&key_state, pthread_key_create(&key, thread_ends) == 0 ? 2 : 0);
}

void thread_reset(void)
{
	atomic_store(&all_threads, NULL);
	atomic_store(&stream_count, 0);
	atomic_store(&thread_count, 0);
	atomic_store(&dying_count, 0);
	thread_self = &no_thread;
}

bool thread_is_alone(void)
{
	for (struct thread *thread = atomic_load(&all_threads); thread; thread = thread->next)
		if (thread != thread_self && thread->owner == OWNER_ALIVE && thread->tid != thread_self->tid)
			return false;
	return true;
}

/* A state whose thread has ended, now ours; NULL: there is none. */
static struct thread *take_over(int tid)
{
	int pid = sys_pid();

	if (atomic_load(&dying_count) == 0)
		return NULL;
	for (struct thread *thread = atomic_load(&all_threads); thread; thread = thread->next) {
		int dying = OWNER_DYING;

		if (atomic_load_explicit(&thread->owner, memory_order_acquire) != OWNER_DYING)
			continue;
		if (thread->tid != tid && sys_thread_exists(pid, thread->tid))
			continue;
		if (atomic_compare_exchange_strong(&thread->owner, &dying, OWNER_ALIVE)) {
			atomic_fetch_sub(&dying_count, 1);
			return thread;
		}
	}
	return NULL;
}

static struct thread *new_state(void)
{
	size_t size = (sizeof(struct thread) + 4095) & ~(size_t)4095;
	struct thread *thread = arena_pages(size);

	if (!thread)
		return NULL;
	/* Not wiped at a fork means not known as a child: better not to record than to write into the parent's file. */
	if (!sys_wipe_on_fork(thread, size) || !stack_init(thread))
		return NULL;
	thread->stream = atomic_fetch_add(&stream_count, 1);
	if (thread->stream >= ORDER_RETIRED - 1 || !stream_open(thread))
		return NULL;
	thread->owner = OWNER_ALIVE;
	thread->next = atomic_load(&all_threads);
	while (!atomic_compare_exchange_weak(&all_threads, &thread->next, thread))
		;
	return thread;
}

/* Makes a state the calling thread's and says so in its stream. */
static bool introduce(struct thread *thread, uint32_t index, int tid)
{
	thread->tid = tid;
	thread->rounds = 0;
	thread->name[0] = 0;
	thread->own_call = false;
	stack_forget(thread);
	thread->index = index;
	if (!stream_room(thread, 1))
		return false;
	if (thread->window->used == 0 && thread->window->sequence == 0) {
		uint64_t now = sys_clock_ns(CLOCK_MONOTONIC_COARSE);

		thread->tick_ns = now > lifecycle_start_ns() ? now - lifecycle_start_ns() : 0;
		thread->window->first_time_ns = thread->tick_ns;
	}
	stream_put(thread, stream_head(CAPTURE_THREAD, thread->index));
	stream_commit(thread);
	thread_note_name(thread);
	return true;
}

static void count_lost_thread(void)
{
	atomic_fetch_add((_Atomic uint64_t *)&output_status()->lost_threads, 1);
	atomic_fetch_add((_Atomic uint64_t *)&output_status()->lost_memory, 1);
}

struct thread *thread_attach(void)
{
	int tid = sys_tid();
	struct thread *thread = take_over(tid);

	if (!thread)
		thread = new_state();
	if (!thread || !introduce(thread, atomic_fetch_add(&thread_count, 1), tid)) {
		count_lost_thread();
		return NULL;
	}
	thread->gate = GATE_OURS;
	thread->own_call = true;
	thread_self = thread;
	if (atomic_load(&key_state) == 2)
		pthread_setspecific(key, thread);    /* may ask for memory: own_call keeps that out */
	thread->own_call = false;
	thread->gate = GATE_IDLE;
	return thread;
}

/* A signal handler has interrupted our own code: it gets a state and a stream of its own. */
static struct thread *nested_state(struct thread *outer)
{
	if (!outer->nested) {
		struct thread *nested = new_state();

		if (!nested || !introduce(nested, outer->index, outer->tid))
			return NULL;
		nested->gate = GATE_IDLE;
		outer->nested = nested;
	}
	return outer->nested->gate == GATE_IDLE ? outer->nested : NULL;
}

/* The gate was closed at a stack pointer that has since been left behind, by longjmp out of a signal handler. */
static bool was_left_behind(const struct thread *thread, uintptr_t sp)
{
	enum { SAME_STACK_MAX = 1 << 20 };

	return sp >= thread->entered_sp && sp - thread->entered_sp < SAME_STACK_MAX;
}

static struct thread *find_nested(struct thread *thread, uintptr_t sp)
{
	if (was_left_behind(thread, sp)) {
		if (thread->gate == GATE_OURS)
			stack_forget(thread);
		/* Words put but not committed are dropped: their record was never whole. */
		thread->used = thread->window->used;
		thread->gate = GATE_IDLE;
		return thread;
	}
	/* Called by ourselves, by a PyMem hook, or by an allocator that comes back to us.  libc's never does. */
	if (thread->own_call || thread->gate == GATE_PYTHON || (thread->gate == GATE_REAL && !real_is_libc))
		return NULL;
	struct thread *nested = nested_state(thread);

	if (!nested)
		atomic_fetch_add((_Atomic uint64_t *)&output_status()->lost_reentry, 1);
	return nested;
}

struct thread *thread_find(uintptr_t sp)
{
	struct thread *thread = thread_self;

	switch (thread->gate) {
	case GATE_STOPPED:
		return NULL;
	case GATE_WIPED:
		if (thread == &no_thread) {
			if (!lifecycle_ready())
				return NULL;
		} else if (!lifecycle_child()) {
			return NULL;
		}
		/* Starting may have attached this thread already. */
		if (thread_self != &no_thread && thread_self->gate == GATE_IDLE)
			return thread_self;
		return thread_attach();
	default:
		return lifecycle_is_recording() ? find_nested(thread, sp) : NULL;
	}
}

void thread_note_name(struct thread *thread)
{
	char name[16] = { 0 };

	if (thread->tid != sys_tid() || sys_call(SYS_prctl, PR_GET_NAME, (long)name, 0, 0, 0, 0) != 0)
		return;
	if (thread->name[0] && memcmp(name, thread->name, sizeof(name)) == 0)
		return;
	memcpy(thread->name, name, sizeof(name));
	struct capture_thread_info info = { .index = thread->index, .tid = (uint32_t)thread->tid,
		.start_time_ns = thread->tick_ns, .name_size = (uint32_t)strnlen(name, sizeof(name)),
		.flags = thread->tid == sys_pid() ? 1 : 0 };
	const struct stream_part parts[] = { { &info, sizeof(info) }, { name, info.name_size } };

	stream_metadata(thread, CAPTURE_THREAD_INFO, parts, 2);
}
