/* SPDX-License-Identifier: MIT */
/*
 * A thread's stream: words into its window, full windows into blocks.
 * Used by record.c, intern.c, modules.c and thread.c on the calling thread's own state only.
 */
#ifndef SCTMEM_PRELOAD_STREAM_H
#define SCTMEM_PRELOAD_STREAM_H

#include "output.h"
#include "thread.h"

/* Gives the state a window; false: no storage. */
bool stream_open(struct thread *thread);

/* Gives the window's memory back; what is in it is in the file. */
void stream_close(struct thread *thread);

/* Whether the run has begun a new segment, and the window still lies in an older one. */
static inline bool stream_is_behind(const struct thread *thread)
{
	return __builtin_expect(thread->segment != atomic_load(&output_segment), 0);
}

/* Sends the window's words off as an EVENTS block and empties it.  false: storage is at its end, nothing changed. */
bool stream_flush(struct thread *thread);

/* Makes room for `words` words.  false: recording has been stopped. */
static inline bool stream_room(struct thread *thread, size_t words)
{
	return __builtin_expect(thread->used + words <= thread->capacity, 1) || stream_flush(thread);
}

/* Records become part of the capture here: a kill after it cannot lose them, one before it leaves no trace. */
static inline void stream_advance(struct thread *thread, uint64_t used)
{
	struct capture_stream *window = thread->window;

	thread->used = used;
	atomic_store_explicit((_Atomic uint64_t *)&window->used, used, memory_order_release);
}

static inline void stream_commit(struct thread *thread)
{
	stream_advance(thread, thread->used);
}

static inline void stream_put(struct thread *thread, uint64_t word)
{
	thread->words[thread->used++] = word;
}

static inline uint64_t stream_head(unsigned kind, uint64_t operand)
{
	return (uint64_t)kind | operand << 8;
}

/* A metadata record: a fixed part and up to three strings behind it.  Too large for a window: a block of its own. */
struct stream_part {
	const void *bytes;
	size_t size;
};
bool stream_metadata(struct thread *thread, unsigned kind, const struct stream_part *parts, size_t count);

/* Stops all recording, for good; what is recorded stays.  `state` is an enum capture_state. */
void stream_stop(uint64_t state);
/* The same as of a time of CLOCK_MONOTONIC that was asked for before: without any system call. */
void stream_stop_at(uint64_t state, uint64_t now_ns);

#endif
