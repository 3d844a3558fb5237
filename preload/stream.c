/* SPDX-License-Identifier: MIT */
/*
 * The window of a stream and what becomes of it.
 *
 *     words 0 .. used       complete records, in the file already (the window is a shared mapping of it)
 *           used .. capacity   room
 *
 * A full window is re-coded as columns, compressed and appended as an EVENTS block; only then is the window emptied,
 * under the next sequence number.  A kill in between leaves both, and the reader prefers the block.  Signals are
 * blocked meanwhile: a handler that jumped out would leave a window that is in the file already and is filled on.
 */
#include "stream.h"

#include <lz4.h>
#include <string.h>
#include <time.h>

#include "arena.h"
#include "config.h"
#include "cull.h"
#include "formats/events.h"
#include "lifecycle.h"
#include "order.h"
#include "output.h"
#include "rotate.h"
#include "sys.h"
#include "tick.h"

#include "banned.h"

enum {
	WINDOW_WORDS_MAX = 16384 - 16,    /* 128 KiB with its headers */
	WINDOW_WORDS_MIN = 2048 - 16,
	SCRATCH_POOL = 16,
	ROOM_MAX = WINDOW_WORDS_MIN / 2 + 1,      /* words: nobody asks for more at once */
};

/* What one flush needs besides the window.  Kept in a pool: there are as many as there were flushes at once. */
struct scratch {
	uint8_t *columns, *encoded, *packed;
	size_t packed_size;
	struct cull_memory *cull;     /* with room for a window's words behind it; NULL: not needed yet, or none to be had */
	LZ4_stream_t state;
};

static struct scratch *_Atomic pool[SCRATCH_POOL];

static size_t window_words_max(void)
{
	return cull_on ? CULL_WINDOW_WORDS_MAX : WINDOW_WORDS_MAX;
}

static size_t scratch_bytes(size_t *encoded_at, size_t *packed_at)
{
	size_t words = window_words_max() + 1024;

	*encoded_at = (sizeof(struct scratch) + events_scratch_size(words) + 63) & ~(size_t)63;
	*packed_at = (*encoded_at + events_encoded_max(words) + 63) & ~(size_t)63;
	return *packed_at + (size_t)LZ4_COMPRESSBOUND(events_encoded_max(words));
}

static size_t cull_bytes(void)
{
	return cull_memory_size() + CULL_WINDOW_WORDS_MAX * sizeof(uint64_t);
}

static struct scratch *scratch_take(void)
{
	size_t encoded_at, packed_at, size;

	for (int i = 0; i < SCRATCH_POOL; i++) {
		struct scratch *scratch = atomic_exchange_explicit(&pool[i], NULL, memory_order_acquire);

		if (scratch)
			return scratch;
	}
	size = scratch_bytes(&encoded_at, &packed_at);
	struct scratch *scratch = arena_pages(size);

	if (scratch) {
		scratch->columns = (uint8_t *)(scratch + 1);
		scratch->encoded = (uint8_t *)scratch + encoded_at;
		scratch->packed = (uint8_t *)scratch + packed_at;
		scratch->packed_size = size - packed_at;
	}
	return scratch;
}

static void scratch_give(struct scratch *scratch)
{
	size_t encoded_at, packed_at;

	for (int i = 0; i < SCRATCH_POOL; i++) {
		struct scratch *none = NULL;

		if (atomic_compare_exchange_strong_explicit(&pool[i], &none, scratch,
				memory_order_release, memory_order_relaxed))
			return;
	}
	if (scratch->cull)
		arena_give(scratch->cull, cull_bytes());
	arena_give(scratch, scratch_bytes(&encoded_at, &packed_at));
}

void stream_stop_at(uint64_t state, uint64_t now_ns)
{
	_Atomic uint64_t *status = (_Atomic uint64_t *)&output_status()->state;
	uint64_t running = CAPTURE_RUNNING;

	if (atomic_compare_exchange_strong(status, &running, state))
		output_status()->end_time_ns = sys_elapsed_ns(lifecycle_start_ns(), now_ns);
	order_stop();
	lifecycle_off();
}

void stream_stop(uint64_t state)
{
	stream_stop_at(state, sys_clock_ns(CLOCK_MONOTONIC));
}

static void note_memory(void)
{
	atomic_store_explicit((_Atomic uint64_t *)&output_status()->tracer_bytes, arena_bytes(), memory_order_relaxed);
}

/* The last words are kept free, so that a record begun can always be ended. */
static uint64_t window_capacity(const struct capture_stream *window)
{
	const size_t most = window_words_max();

	return window->capacity < most ? window->capacity : most;
}

bool stream_open(struct thread *thread)
{
	const size_t most = window_words_max();
	const uint64_t file_bytes = config.rotate_size ? config.rotate_size : config.max_size;
	uint32_t segment = atomic_load(&output_segment);
	size_t words = thread->stream < 4 ? most : thread->stream < 64 ? most / 4
		: WINDOW_WORDS_MIN;

	/* A file is to hold more than the windows of some threads. */
	if (file_bytes && words > file_bytes / 8 / 32)
		words = file_bytes / 8 / 32 > WINDOW_WORDS_MIN ? file_bytes / 8 / 32 : WINDOW_WORDS_MIN;
	struct capture_stream *window = output_stream(thread->stream, words);

	if (!window)
		return false;
	thread->window = window;
	thread->words = (uint64_t *)(window + 1);
	__atomic_store_n(&thread->capacity, window_capacity(window), __ATOMIC_SEQ_CST);
	thread->segment = segment;
	/* One that began just now may have found no thread here to hurry. */
	if (stream_is_behind(thread))
		__atomic_store_n(&thread->capacity, 0, __ATOMIC_SEQ_CST);
	thread->used = 0;
	note_memory();
	return true;
}

void stream_close(struct thread *thread)
{
	if (thread->window)
		sys_unmap((char *)thread->window - sizeof(struct capture_block),
			sizeof(struct capture_block) + sizeof(*thread->window) + thread->window->capacity * 8);
	thread->window = NULL;
}

/*
 * What is to be written of the window: its words, or less of them (cull.h).  A signal handler's state, and one that has
 * such a state, is left alone: numbers of allocations of one thread are spread over two streams then.
 */
static const uint64_t *cull(struct thread *thread, struct scratch *scratch, size_t *count)
{
	uint64_t moments[CULL_MOMENTS_MAX];
	size_t moment_count;

	*count = thread->used;
	if (!thread->owned)
		return thread->words;
	if (!cull_has_begun()) {
		thread->moves = (struct cull_moves){ .unknown = thread->nested || thread->sample.moved };
		return thread->words;
	}
	if (!scratch->cull)
		scratch->cull = arena_pages(cull_bytes());
	if (thread->nested || !scratch->cull) {
		thread->moves.unknown = true;
		return thread->words;
	}
	const bool known = cull_moments(thread->window->first_stamp, moments, &moment_count);
	uint64_t *out = (uint64_t *)((char *)scratch->cull + cull_memory_size());
	const size_t left = cull_window(scratch->cull, thread->words, thread->used, thread->owned, thread->window,
		&thread->moves, moments, moment_count, out);

	/* Also where it is not used: for what the window's end leaves waiting. */
	if (left == 0 || !known)
		return thread->words;
	*count = left;
	return out;
}

static bool append_words(struct thread *thread)
{
	struct capture_stream *window = thread->window;
	struct scratch *scratch;
	struct events_summary summary;

	scratch = scratch_take();
	if (!scratch) {
		stream_stop(CAPTURE_STOPPED_MEMORY);
		return false;
	}
	size_t count;
	const uint64_t *words = cull(thread, scratch, &count);
	size_t size = events_encode(words, count, window, scratch->encoded, scratch->columns, &summary);
	int packed = LZ4_compress_fast_extState(&scratch->state, (char *)scratch->encoded, (char *)scratch->packed,
		(int)size, (int)scratch->packed_size, 1);
	bool smaller = packed > 0 && (size_t)packed < size;
	struct capture_block header = {
		.kind = CAPTURE_BLOCK_EVENTS,
		.flags = CAPTURE_BLOCK_SECOND | (smaller ? CAPTURE_BLOCK_LZ4 : 0),
		.raw_size = (uint32_t)size,
		.stream = thread->stream,
		.sequence = (uint32_t)window->sequence,
		.first_time_ns = summary.first_time_ns,
		.last_time_ns = summary.last_time_ns,
		.event_count = summary.event_count,
	};
	bool ok = output_append(&header, smaller ? scratch->packed : scratch->encoded, smaller ? (size_t)packed : size);

	scratch_give(scratch);
	if (!ok) {
		stream_stop(CAPTURE_STOPPED_STORAGE);
		return false;
	}
	note_memory();
	return true;
}

static void begin_window(struct thread *thread, const struct capture_stream *carry)
{
	struct capture_stream *window = thread->window;

	if (thread->owned)
		memset(thread->owned, 0, CULL_OWNED_BYTES);
	thread->used = 0;
	thread->tick_seen |= TICK_DOUBT;
	stream_commit(thread);
	/* A window of the old number without words until the last store makes it the next one. */
	window->first_stamp = carry->first_stamp;
	window->first_time_ns = carry->first_time_ns;
	window->first_thread = carry->first_thread;
	atomic_store_explicit((_Atomic uint64_t *)&window->sequence, carry->sequence, memory_order_release);
}

/*
 * The window's words are in a block by now.  The next window lies in the present segment's file, and the old one stays
 * as it is: of it and the block the reader takes the block.
 */
static bool change_over(struct thread *thread)
{
	struct capture_stream *old = thread->window;
	const size_t size = sizeof(struct capture_block) + sizeof(*old) + old->capacity * 8;

	if (!stream_open(thread)) {
		stream_stop(CAPTURE_STOPPED_STORAGE);
		return false;
	}
	sys_unmap((char *)old - sizeof(struct capture_block), size);
	return true;
}

/* Sends the words off, if there are any, and goes on in the next window, in whatever file is the present one. */
static bool flush_anywhere(struct thread *thread)
{
	struct capture_stream carry = *thread->window;

	if (thread->used > 0) {
		if (!append_words(thread))
			return false;
		carry.sequence++;
	}
	carry.first_stamp = thread->stamp;
	carry.first_time_ns = thread->tick_ns;
	carry.first_thread = thread->index;
	if (!stream_is_behind(thread)) {
		begin_window(thread, &carry);
		return true;
	}
	if (!change_over(thread))
		return false;
	begin_window(thread, &carry);
	return true;
}

bool stream_flush(struct thread *thread)
{
	uint64_t signals;

	if (!lifecycle_is_recording())
		return false;
	/* rotate.c has taken the room away. */
	if (thread->capacity == 0) {
		__atomic_store_n(&thread->capacity, window_capacity(thread->window), __ATOMIC_SEQ_CST);
		if (!stream_is_behind(thread) && thread->used + ROOM_MAX <= thread->capacity)
			return true;
	}
	sys_signals_block(&signals);
	bool ok = flush_anywhere(thread);

	if (ok && rotate_is_due()) {
		rotate(thread);
		ok = !stream_is_behind(thread) || flush_anywhere(thread);
	}

	sys_signals_restore(&signals);
	return ok;
}

static void copy_parts(uint8_t *to, const struct stream_part *parts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		memcpy(to, parts[i].bytes, parts[i].size);
		to += parts[i].size;
	}
}

static bool put_large(unsigned kind, const struct stream_part *parts, size_t count, size_t size)
{
	size_t words = 1 + (size + 7) / 8;
	uint64_t *buffer = sys_map_memory(words * 8);
	struct capture_block header = { .kind = CAPTURE_BLOCK_WORDS, .raw_size = (uint32_t)(words * 8) };

	if (!buffer)
		return false;
	buffer[0] = stream_head(kind, size);
	copy_parts((uint8_t *)(buffer + 1), parts, count);
	bool ok = output_append(&header, buffer, words * 8);

	sys_unmap(buffer, words * 8);
	return ok;
}

bool stream_metadata(struct thread *thread, unsigned kind, const struct stream_part *parts, size_t count)
{
	size_t size = 0;

	for (size_t i = 0; i < count; i++)
		size += parts[i].size;
	size_t words = 1 + (size + 7) / 8;

	if (words > WINDOW_WORDS_MIN / 2) {
		if (rotate_is_on() && !rotate_remember(kind, parts, count, words))
			atomic_fetch_add((_Atomic uint64_t *)&output_status()->lost_memory, 1);
		if (size <= CAPTURE_RECORD_BYTES_MAX && put_large(kind, parts, count, size))
			return true;
		stream_stop(CAPTURE_STOPPED_STORAGE);
		return false;
	}
	/* What the file of a later segment gets a copy of is in the list of such before it is looked which file this is. */
	if (rotate_is_on() && !rotate_remember(kind, parts, count, words))
		atomic_fetch_add((_Atomic uint64_t *)&output_status()->lost_memory, 1);
	if (stream_is_behind(thread) && !stream_flush(thread))
		return false;
	if (!stream_room(thread, words))
		return false;
	thread->words[thread->used + words - 1] = 0;
	copy_parts((uint8_t *)(thread->words + thread->used + 1), parts, count);
	thread->words[thread->used] = stream_head(kind, size);
	thread->used += words;
	stream_commit(thread);
	return true;
}
