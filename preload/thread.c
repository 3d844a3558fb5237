/* SPDX-License-Identifier: MIT */
/*
 * Threads come and go without telling us: a state is made at a thread's first event.  How it ends:
 *
 *   our TLS destructor runs      in its last round the state is marked DYING; the thread may free even after that, so
 *                                the state stays its own
 *   a new thread needs a state   it takes over a DYING one whose thread the kernel no longer knows, with its stream:
 *                                a THREAD record tells the reader who writes from there on
 *
 *   the destructor never ran     (the thread ended by a bare system call, or began to record after its destructors):
 *                                a few states are looked at with each new thread, whether their thread still exists
 *
 * So thousands of short threads share a few states, and no event after the last destructor is lost.
 */
#include "thread.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "arena.h"
#include "cull.h"
#include "control.h"
#include "lifecycle.h"
#include "order.h"
#include "output.h"
#include "real.h"
#include "stack.h"
#include "stream.h"
#include "sys.h"
#include "tick.h"

#include "banned.h"

/* Rounds of TLS destructors.  The thread sanitizer has taken its own leave before the last. */
#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 1 };
#else
enum { ROUNDS = PTHREAD_DESTRUCTOR_ITERATIONS };
#endif
enum { LOST_LOOKS = 16 };             /* states looked at with each new thread, whether their thread is still there */

static struct thread no_thread;       /* its gate is WIPED for ever */
static struct thread lost_thread = { .gate = GATE_STOPPED };   /* of all threads for whom there was no memory */
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
	if (++thread->rounds < ROUNDS) {
		thread->own_call = true;
		pthread_setspecific(key, thread);
		thread->own_call = false;
		return;
	}
	if (thread->gate == GATE_IDLE) {
		thread->gate = GATE_OURS;
		thread_note_name(thread);
		sample_put_rest(thread);
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

static size_t state_size(void)
{
	return (sizeof(struct thread) + 4095) & ~(size_t)4095;
}

void thread_reset(void)
{
	atomic_store(&all_threads, NULL);
	atomic_store(&stream_count, 0);
	atomic_store(&thread_count, 0);
	atomic_store(&dying_count, 0);
	thread_self = &no_thread;
}

void thread_hurry(void)
{
	for (struct thread *thread = atomic_load(&all_threads); thread; thread = thread->next) {
		struct thread *nested = thread->nested;

		/* It may be setting the same field to what there is: then it has looked, or its window is new. */
		__atomic_store_n(&thread->capacity, 0, __ATOMIC_SEQ_CST);
		if (nested)
			__atomic_store_n(&nested->capacity, 0, __ATOMIC_SEQ_CST);
	}
}

static bool is_closed(const struct thread *thread)
{
	return thread->gate == GATE_REAL || thread->gate == GATE_PYTHON || thread->gate == GATE_OURS;
}

/* Where it is in no hook; one that is sees at its event that recording is over. */
static void close_gate(struct thread *thread)
{
	uint8_t idle = GATE_IDLE, paused = GATE_PAUSED;

	if (!__atomic_compare_exchange_n(&thread->gate, &idle, GATE_STOPPED, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		__atomic_compare_exchange_n(&thread->gate, &paused, GATE_STOPPED, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

void thread_stop_all(void)
{
	for (struct thread *outer = atomic_load(&all_threads); outer; outer = outer->next)
		for (struct thread *thread = outer; thread; thread = thread->nested)
			close_gate(thread);
}

void thread_wait_stopped(void)
{
	enum { TURNS_MAX = 1000, PAUSE_NS = 100000 };
	const int self = sys_tid();

	for (struct thread *thread = atomic_load(&all_threads); thread; thread = thread->next)
		for (int turn = 0; turn < TURNS_MAX && thread->tid != self && thread->owner == OWNER_ALIVE; turn++) {
			close_gate(thread);
			if (!is_closed(thread))
				break;
			sys_call(SYS_nanosleep, (long)&(struct timespec){ .tv_nsec = PAUSE_NS }, 0, 0, 0, 0, 0);
		}
}

size_t thread_pointers(uintptr_t *pointers, size_t max)
{
	size_t count = 0;

	for (struct thread *thread = atomic_load(&all_threads); thread && count < max; thread = thread->next)
		if (atomic_load_explicit(&thread->owner, memory_order_acquire) == OWNER_ALIVE)
			pointers[count++] = thread->pointer;
	return count;
}

/* Threads go on pointing at their states; emptied, they read as WIPED. */
static void wipe(struct thread *thread)
{
	enum { DONT_NEED = 4 };

	if (!thread)
		return;
	stream_close(thread);
	stack_finish(thread);
	sys_call(SYS_madvise, (long)thread, (long)state_size(), DONT_NEED, 0, 0, 0);
}

void thread_wipe(void)
{
	struct thread *next;

	for (struct thread *thread = atomic_load(&all_threads); thread; thread = next) {
		next = thread->next;
		wipe(thread->nested);
		wipe(thread);
	}
	thread_reset();
}

/* Tries to make the state of a thread that has ended ours. */
static bool take(struct thread *thread, int owner, int tid, int pid)
{
	int was = atomic_load_explicit(&thread->tid, memory_order_relaxed);

	/* A thread of our own number can only be one that has ended. */
	if (was != tid && sys_thread_exists(pid, was))
		return false;
	/* Between the two looks another may have taken it and ended as well: the number tells. */
	if (!atomic_compare_exchange_strong(&thread->owner, &owner, OWNER_TAKEN))
		return false;
	if (atomic_load_explicit(&thread->tid, memory_order_relaxed) != was) {
		atomic_store(&thread->owner, owner);
		return false;
	}
	return true;
}

/* A state whose thread has ended, now ours; NULL: there is none. */
static struct thread *take_over(int tid)
{
	static _Atomic uint32_t turn;
	uint32_t others = 0, from = atomic_fetch_add_explicit(&turn, LOST_LOOKS, memory_order_relaxed);
	int pid = sys_pid();
	bool any_dying = atomic_load(&dying_count) != 0;

	for (struct thread *thread = atomic_load(&all_threads); thread; thread = thread->next) {
		int owner = atomic_load_explicit(&thread->owner, memory_order_acquire);

		if (owner == OWNER_DYING && any_dying && take(thread, owner, tid, pid)) {
			atomic_fetch_sub(&dying_count, 1);
			return thread;
		}
	}
	uint32_t count = atomic_load(&stream_count);

	/* Those whose destructor never ran, some at a time: each look is a system call. */
	for (struct thread *thread = atomic_load(&all_threads); thread; thread = thread->next, others++) {
		if (count > LOST_LOOKS && (others + count - from % count) % count >= LOST_LOOKS)
			continue;
		if (atomic_load_explicit(&thread->owner, memory_order_acquire) == OWNER_ALIVE
				&& take(thread, OWNER_ALIVE, tid, pid))
			return thread;
	}
	return NULL;
}

static struct thread *new_state(void)
{
	size_t size = state_size();
	struct thread *thread = arena_pages(size);

	if (!thread)
		return NULL;
	/* Not wiped at a fork means not known as a child: better not to record than to write into the parent's file. */
	if (!sys_wipe_on_fork(thread, size, true) || !stack_init(thread)) {
		arena_give(thread, size);
		return NULL;
	}
	thread->stream = atomic_fetch_add(&stream_count, 1);
	cull_stream_begins(thread->stream);
	if (thread->stream >= ORDER_PAUSED || !stream_open(thread)) {
		stream_stop(CAPTURE_STOPPED_STORAGE);
		stack_finish(thread);
		arena_give(thread, size);
		return NULL;
	}
	return thread;
}

/* Makes a state the calling thread's and says so in its stream. */
static bool introduce(struct thread *thread, uint32_t index, int tid)
{
	thread->tid = tid;
	thread->pointer = (uintptr_t)__builtin_thread_pointer();
	thread->rounds = 0;
	thread->name[0] = 0;
	thread->own_call = false;
	thread->entered_sp = UINTPTR_MAX;
	thread->used = thread->window->used;
	thread->tick_seen = TICK_NOTHING;
	stack_forget(thread);
	thread->index = index;
	sample_begin(thread);
	if (cull_on && !thread->owned && thread->owner != OWNER_NONE)
		thread->owned = arena_alloc(CULL_OWNED_BYTES);
	if (!stream_room(thread, 1))
		return false;
	if (thread->window->used == 0 && thread->window->sequence == 0) {
		thread->tick_ns = sys_elapsed_ns(lifecycle_start_ns(), sys_clock_ns(CLOCK_MONOTONIC_COARSE));
		thread->window->first_time_ns = thread->tick_ns;
	}
	stream_put(thread, stream_head(CAPTURE_THREAD, thread->index));
	stream_commit(thread);
	thread_note_name(thread);
	return true;
}

static void count_lost(uint64_t *counter)
{
	atomic_fetch_add((_Atomic uint64_t *)counter, 1);
}

/* A state of its own for the calling thread; NULL: there is no memory or recording has stopped. */
static struct thread *outer_state(int tid)
{
	struct thread *thread = take_over(tid);

	if (thread)
		return thread;
	thread = new_state();
	if (!thread)
		return NULL;
	thread->owner = OWNER_TAKEN;
	thread->next = atomic_load(&all_threads);
	while (!atomic_compare_exchange_weak(&all_threads, &thread->next, thread))
		;
	return thread;
}

struct thread *thread_attach(void)
{
	int tid = sys_tid();
	struct thread *thread = outer_state(tid);

	if (!thread) {
		count_lost(&output_status()->lost_threads);
		count_lost(&output_status()->lost_memory);
		thread_self = &lost_thread;   /* asking again at each event would only be slow */
		return NULL;
	}
	thread->gate = GATE_OURS;
	if (!introduce(thread, atomic_fetch_add(&thread_count, 1), tid)) {
		thread->gate = GATE_STOPPED;
		thread_self = thread;
		return NULL;
	}
	atomic_store_explicit(&thread->owner, OWNER_ALIVE, memory_order_release);
	thread->own_call = true;
	thread_self = thread;
	if (atomic_load(&key_state) == 2)
		pthread_setspecific(key, thread);    /* may ask for memory: own_call keeps that out */
	thread->own_call = false;
	thread->gate = GATE_IDLE;
	return thread;
}

/* The gate was closed at a stack pointer that has since been left behind, by longjmp out of a signal handler. */
static bool was_left_behind(const struct thread *thread, uintptr_t sp)
{
	enum { SAME_STACK_MAX = 1 << 20 };
	stack_t alternate;

	if (sp < thread->entered_sp || sp - thread->entered_sp >= SAME_STACK_MAX)
		return false;
	/* A handler's own stack may happen to lie right above. */
	if (sys_call(SYS_sigaltstack, 0, (long)&alternate, 0, 0, 0, 0) != 0 || alternate.ss_flags & SS_DISABLE)
		return true;
	bool now = sp - (uintptr_t)alternate.ss_sp < alternate.ss_size;
	bool then = thread->entered_sp - (uintptr_t)alternate.ss_sp < alternate.ss_size;

	return then || !now;
}

uint8_t thread_gate_after(struct thread *thread)
{
	if (thread->failed && (!lifecycle_is_recording() || order_is_stopped()))
		return GATE_STOPPED;
	if (!thread->failed && !control_is_paused())
		return GATE_IDLE;
	thread->failed = false;
	return GATE_PAUSED;
}

/* Starts afresh after a longjmp over our own code.  false: recording has stopped. */
static bool leave_behind(struct thread *thread)
{
	uint8_t gate = thread->gate;

	thread->gate = GATE_OURS;
	thread->own_call = false;
	if (gate == GATE_OURS) {
		/* Memos may be half written. */
		stack_forget(thread);
		memset(thread->cache, 0, sizeof(thread->cache));
		/* Words put but not committed are dropped, since their record was never whole; but not what they said. */
		thread->used = thread->window->used;
		if (stream_room(thread, 2)) {
			order_repeat(thread);
			stream_put(thread, stream_head(CAPTURE_TIME, thread->tick_ns));
			stream_commit(thread);
		} else {
			thread->failed = true;
		}
	}
	if (thread->nested && is_closed(thread->nested))
		leave_behind(thread->nested);
	thread->gate = thread_gate_after(thread);
	return thread->gate == GATE_IDLE;
}

static void keep_on_fork(struct thread *thread, bool keep)
{
	if (!thread)
		return;
	thread->kept = keep;
	sys_wipe_on_fork(thread, state_size(), !keep);
}

void thread_before_fork(uintptr_t sp)
{
	struct thread *thread = thread_self;

	if (!is_closed(thread) || (was_left_behind(thread, sp) && leave_behind(thread)))
		return;
	keep_on_fork(thread, true);
	keep_on_fork(thread->nested, true);
}

bool thread_forked_parent(void)
{
	struct thread *thread = thread_self;

	if (!thread->kept)
		return false;
	keep_on_fork(thread, false);
	keep_on_fork(thread->nested, false);
	return true;
}

bool thread_forked_child(void)
{
	struct thread *thread = thread_self;

	if (!thread->kept)
		return false;
	for (; thread; thread = thread->nested) {
		thread->failed = true;
		if (thread->kept)
			output_detach(thread->window);
	}
	return true;
}

/* A signal handler has interrupted our own code: it gets a state and a stream of its own. */
static struct thread *nested_state(struct thread *outer, uintptr_t sp)
{
	struct thread *nested = outer->nested;

	if (!nested) {
		nested = new_state();
		if (!nested || !introduce(nested, outer->index, outer->tid))
			return NULL;
		nested->gate = GATE_IDLE;
		outer->nested = nested;
	}
	if (is_closed(nested))
		return was_left_behind(nested, sp) && leave_behind(nested) ? nested : NULL;
	if (nested->gate == GATE_PAUSED)
		nested->gate = GATE_IDLE;     /* nobody would be here if it still were */
	if (nested->gate != GATE_IDLE)
		return NULL;
	/* The outer state has passed to another thread since. */
	if (nested->index != outer->index) {
		nested->gate = GATE_OURS;
		bool ok = introduce(nested, outer->index, outer->tid);

		nested->gate = ok ? GATE_IDLE : GATE_STOPPED;
	}
	return nested->gate == GATE_IDLE ? nested : NULL;
}

static struct thread *find_nested(struct thread *thread, uintptr_t sp)
{
	if (control_is_paused())
		return NULL;
	if (was_left_behind(thread, sp))
		return leave_behind(thread) ? thread : NULL;
	/* Called by ourselves, by a PyMem hook, or by an allocator that comes back to us.  libc's never does. */
	if (thread->own_call || thread->gate == GATE_PYTHON || (thread->gate == GATE_REAL && !real_is_libc))
		return NULL;
	if (thread->nested && thread->nested->gate == GATE_PYTHON)
		return NULL;                  /* backing store, in a signal handler */
	struct thread *nested = nested_state(thread, sp);

	if (!nested)
		count_lost(&output_status()->lost_reentry);
	return nested;
}

/* No state yet, or that of a fork's parent.  The caller of `paused` wants one also while nothing is recorded. */
static struct thread *find_new(bool paused)
{
	/* A thread without a state may be the one that forked, too. */
	if (!(lifecycle_is_child() ? lifecycle_child() : lifecycle_ready()))
		return NULL;
	if (!paused && control_is_paused() && !control_look())
		return NULL;
	/* Starting may have attached this thread already. */
	if (thread_self != &no_thread && (thread_self->gate == GATE_IDLE || thread_self->gate == GATE_PAUSED))
		return thread_self;
	return thread_attach();
}

struct thread *thread_own(void)
{
	switch (thread_self->gate) {
	case GATE_WIPED:
		return find_new(true);
	case GATE_IDLE:
	case GATE_PAUSED:
		return thread_self;
	default:
		return NULL;
	}
}

/* Apart, so that thread_find needs no frame of its own where nothing is recorded. */
static __attribute__((noinline)) struct thread *find_slowly(struct thread *thread, uintptr_t sp)
{
	switch (thread->gate) {
	case GATE_STOPPED:
		if (thread == &lost_thread && lifecycle_is_recording() && !lifecycle_is_child())
			count_lost(&output_status()->lost_memory);
		return NULL;
	case GATE_WIPED:
		return find_new(false);
	case GATE_PAUSED:
		if (control_is_paused() && !control_look())
			return NULL;
		thread->gate = GATE_IDLE;
		return thread;
	default:
		return lifecycle_is_recording() ? find_nested(thread, sp) : NULL;
	}
}

struct thread *thread_find(uintptr_t sp)
{
	return control_is_quiet() ? NULL : find_slowly(thread_self, sp);
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
