/* SPDX-License-Identifier: MIT */
/*
 * The hot path: from a hooked call to words in the thread's window.  Called by hooks.c and python.c only.
 *
 *     hook:   thread = record_enter()           NULL: just make the real call
 *             [record_free / record_move]       before the real call: from then on the address may be another's
 *             real call
 *             [record_allocation]               after it
 *             record_leave(thread)
 *
 * Nothing here touches errno, takes a lock, or can fail loudly: what cannot be recorded is counted.
 */
#ifndef SCTMEM_PRELOAD_RECORD_H
#define SCTMEM_PRELOAD_RECORD_H

#include "control.h"
#include "python.h"
#include "stack_native.h"
#include "thread.h"

/* Where the caller of a hook stands.  Expanded in the hook itself, which thereby keeps a frame pointer. */
#define RECORD_START() ((struct native_start){ \
	.pc = (uintptr_t)__builtin_return_address(0), \
	.sp = (uintptr_t)__builtin_frame_address(0) + 16, \
	.bp = *(uintptr_t *)__builtin_frame_address(0) })

/* Closes the gate. */
static inline struct thread *record_enter_as(enum thread_gate gate)
{
	struct thread *thread = thread_self;
	uintptr_t sp = (uintptr_t)__builtin_frame_address(0);

	if (__builtin_expect(thread->gate != GATE_IDLE, 0)) {
		thread = thread_find(sp);
		if (!thread)
			return NULL;
	}
	thread->entered_sp = sp;
	thread->gate = (uint8_t)gate;
	return thread;
}

/* For the real call. */
static inline struct thread *record_enter(void)
{
	return record_enter_as(GATE_REAL);
}

static inline void record_leave(struct thread *thread)
{
	if (__builtin_expect(thread->attention != 0, 0))
		control_leave(thread);
	else
		thread->gate = GATE_IDLE;
}

/* The same for a PyMem hook: what its allocator does beneath is backing store.  `block`: what is freed or moved. */
static inline struct thread *record_python_enter(const void *block)
{
	struct thread *thread = record_enter_as(GATE_PYTHON);

	if (thread)
		thread->python_block = block;
	return thread;
}

/* Each is called with the gate at REAL (or PYTHON) and leaves it as it was. */
void record_every_allocation(struct thread *thread, unsigned kind, const void *block, size_t size,
	const struct native_start *start);
void record_every_end(struct thread *thread, unsigned kind, const void *block);
void record_sampled_allocation(struct thread *thread, unsigned kind, const void *block, size_t size,
	const struct native_start *start);
void record_sampled_end(struct thread *thread, unsigned kind, const void *block);

/* Where thread->sampling is set: whether an allocation is one of the many that are not drawn; then it is done with. */
static inline bool record_passes(struct thread *thread, unsigned kind, const void *block, size_t size)
{
	return __builtin_expect(atomic_load_explicit(&python_state, memory_order_relaxed) != PYTHON_FOUND, 1) &&
		sample_passes(&thread->sample, kind, block, size);
}

static inline void record_allocation(struct thread *thread, unsigned kind, const void *block, size_t size,
	const struct native_start *start)
{
	if (__builtin_expect(!thread->sampling, 1))
		record_every_allocation(thread, kind, block, size, start);
	else if (!record_passes(thread, kind, block, size))
		record_sampled_allocation(thread, kind, block, size, start);
}

/*
 * The end of a hook whose real call has returned `block`, which may be NULL.  Expanded in the hook itself, for which
 * RECORD_START() stands; it is worked out only for what is recorded.
 */
static inline __attribute__((always_inline)) void record_allocated(struct thread *thread, unsigned kind,
	const void *block, size_t size)
{
	if (block && __builtin_expect(!thread->sampling, 1)) {
		const struct native_start start = RECORD_START();

		record_every_allocation(thread, kind, block, size, &start);
	} else if (block && !record_passes(thread, kind, block, size)) {
		const struct native_start start = RECORD_START();

		record_sampled_allocation(thread, kind, block, size, &start);
	}
	record_leave(thread);
}

/* Where thread->sampling is set: whether the block was not recorded. */
static inline bool record_is_unknown(const void *block)
{
	return KNOWN_HAS_PLACE(block) && !known_contains(block);
}

/* FREE, MOVE, STAY and their Python forms. */
static inline void record_free(struct thread *thread, unsigned kind, const void *block)
{
	if (__builtin_expect(!thread->sampling, 1))
		record_every_end(thread, kind, block);
	else if ((kind != CAPTURE_FREE && kind != CAPTURE_FREE_PYTHON) || !record_is_unknown(block))
		record_sampled_end(thread, kind, block);
}

void record_map(struct thread *thread, const void *address, size_t length, uint32_t flags,
	const struct native_start *start);
void record_unmap(struct thread *thread, unsigned kind, const void *address, size_t length);

/* realloc(block, 0), whose MOVE was recorded, has freed it.  Only where thread->sampling is set. */
void record_move_ended(struct thread *thread, const void *block);

/* mmap from inside a PyMem hook: backing store of Python's allocator.  NULL: the gate is not at PYTHON. */
struct thread *record_inside_python(void);

/* For python.c. */
void record_code(uint32_t id, uint32_t first_line, uint32_t table_kind, const char *file, size_t file_size,
	const char *name, size_t name_size, const void *table, size_t table_size);
void record_python_runtime(uint32_t version, uint32_t flags, const char *path, const char *allocator);

/* Modules have gone: takes note before others can be mapped in their place and be taken for them. */
void record_modules(void);

/* In a fork child: the samples of resident memory begin anew. */
void record_reset(void);

/* For control.c, with the gate at OURS: the time and a sample of resident memory, and a mark, with one or without. */
void record_now(struct thread *thread);
bool record_put_mark(struct thread *thread, const char *name, size_t size, bool snapshot);
/* At the end of a hook: which pages are resident, if a sample has said that memory has grown. */
void record_grown_pages(struct thread *thread);
/* Which pages are resident now that the program ends; its gate is at OURS. */
void record_last_pages(struct thread *thread);

/* A remark about the recording itself, for whoever reads the capture. */
void record_note(const char *text);

#endif
