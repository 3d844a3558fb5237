/* SPDX-License-Identifier: MIT */
/*
 * The hot path; see record.h for who calls what when.
 *
 *     record_allocation -> stack_capture -> order_event -> clock -> two words
 *
 * Order is correctness: an address belongs to a block from its allocation record to its free record.  Allocations are
 * stamped after the real call and frees before it, so that across threads no two owners ever overlap.
 */
#include "record.h"

#include <string.h>
#include <time.h>

#include "arena.h"
#include "config.h"
#include "cull.h"
#include "descriptor.h"
#include "intern.h"
#include "lifecycle.h"
#include "modules.h"
#include "order.h"
#include "output.h"
#include "pages.h"
#include "python.h"
#include "sample.h"
#include "stack.h"
#include "stream.h"
#include "sys.h"
#include "tick.h"

#include "banned.h"

/* Whoever has less than this at the end is not looked at for where it is: that would be a part of a short life. */
#define LAST_PAGES_MIN_BYTES ((uint64_t)2 << 20)

/* Room for any event with what may come before it: TIME, SAMPLE, STAMP (cull.h: twice), SAMPLING, SKIP, SIZE_HIGH. */
enum { EVENT_WORDS_MAX = 14 };

static _Atomic uint64_t next_sample_ns;    /* UINT64_MAX: a thread is at it */
static _Atomic uint64_t anonymous_bytes;   /* of the newest sample */
/*
 * Pages are looked at unasked, too, each time that a quarter more is private than when it was due last: who is killed
 * for its memory has no end at which to do it.  On average that takes a thousandth of the time.
 */
enum { GROWN_MIN_BYTES = 8 << 20, GROWN_CREDIT_NS = 2000000, GROWN_SHARE = 1000 };
static _Atomic uint64_t grown_due_bytes = GROWN_MIN_BYTES;
static _Atomic uint64_t grown_spent_ns;
static struct descriptor statm = { .fd = -1 };    /* used by the thread that samples */

/* Numbers of /proc/self/statm: total, resident, shared ... in pages. */
static bool read_resident(uint64_t *resident, uint64_t *anonymous)
{
	char text[128];
	uint64_t numbers[3] = { 0 };

	int error;

	if (!descriptor_is_ours(&statm) && !descriptor_open(&statm, "/proc/self/statm", &error))
		return false;
	long size = sys_pread(statm.fd, text, sizeof(text) - 1, 0);

	if (size <= 0)
		return false;
	text[size] = 0;
	const char *at = text;

	for (int i = 0; i < 3; i++) {
		for (; *at >= '0' && *at <= '9'; at++)
			numbers[i] = numbers[i] * 10 + (uint64_t)(*at - '0');
		if (*at != ' ')
			return false;
		at++;
	}
	*resident = numbers[1] * 4096;
	*anonymous = (numbers[1] - numbers[2]) * 4096;
	return true;
}

static void sample(struct thread *thread, uint64_t now_ns)
{
	uint64_t due = atomic_load_explicit(&next_sample_ns, memory_order_relaxed), resident, anonymous;

	if (now_ns < due || config.sample_ms == 0 || !atomic_compare_exchange_strong_explicit(&next_sample_ns, &due,
			UINT64_MAX, memory_order_acquire, memory_order_relaxed))
		return;
	/* What lives now is told by events, so the sample needs a stamp from after others can know of it. */
	if (cull_on) {
		cull_moment_begin();
		order_event(thread);          /* false: nobody records any more, so the old one will do */
	}
	bool ok = read_resident(&resident, &anonymous);

	if (cull_on)
		cull_moment_end(thread->stamp, CULL_SAMPLE);
	atomic_store_explicit(&next_sample_ns, now_ns + ((uint64_t)config.sample_ms * 1000000u << sample_slowness()),
		memory_order_release);
	if (!ok)
		return;
	atomic_store_explicit(&anonymous_bytes, anonymous, memory_order_relaxed);
	if (__builtin_expect(anonymous >= atomic_load_explicit(&grown_due_bytes, memory_order_relaxed), 0))
		thread->asked = true;
	stream_put(thread, stream_head(CAPTURE_SAMPLE, resident));
	stream_put(thread, anonymous);
	stream_put(thread, arena_bytes());
}

static __attribute__((noinline)) void tick(struct thread *thread, uint64_t now_ns)
{
	thread->tick_ns = now_ns;
	stream_put(thread, stream_head(CAPTURE_TIME, now_ns));
	tick_moved();
	sample(thread, now_ns);
	if (__builtin_expect(control_is_asked(), 0))
		thread->asked = true;         /* done when the hook is */
}

void record_reset(void)
{
	/* The descriptor is of the parent's memory. */
	descriptor_close(&statm);
	pages_reset();
	tick_reset();
	/* What is due stays: a child begins with its parent's memory. */
	atomic_store(&grown_spent_ns, 0);
	atomic_store(&next_sample_ns, 0);
}

/*
 * The coarse clock has moved: a TIME record, if it has done so since the thread's last one.  false: there is no room
 * for the event, whose own was given to it.
 */
static __attribute__((noinline)) bool clock_moved(struct thread *thread, const struct timespec *now)
{
	/* The coarse clock lags: the first events of a capture could otherwise lie before its start. */
	uint64_t now_ns = sys_elapsed_ns(lifecycle_start_ns(),
		(uint64_t)now->tv_sec * 1000000000u + (uint64_t)now->tv_nsec);

	if (now_ns <= thread->tick_ns)
		return true;
	tick(thread, now_ns);
	if (!thread->own_call)
		thread_note_name(thread);
	return stream_room(thread, EVENT_WORDS_MAX);
}

/* Asks the clock, if it may have moved; as above. */
static inline bool note_time(struct thread *thread)
{
	const uint32_t word = tick_now();
	struct timespec now;

	if (__builtin_expect(word == thread->tick_seen, 1))
		return true;
	sys_clock(CLOCK_MONOTONIC_COARSE, &now);

	uint64_t raw = (uint64_t)now.tv_sec << 30 | (uint64_t)now.tv_nsec;

	if (word % 2 == 0)
		thread->tick_seen = tick_see(word, thread->tick_seen, raw == thread->tick_raw);
	if (__builtin_expect(raw == thread->tick_raw, 1))
		return true;
	thread->tick_raw = raw;
	return clock_moved(thread, &now);
}

/* What comes before every event's own words.  false: it cannot be recorded. */
static inline bool begin_event(struct thread *thread)
{
	if (!stream_room(thread, EVENT_WORDS_MAX) || !order_event(thread)) {
		thread->failed = true;
		return false;
	}
	thread->events++;
	if (note_time(thread))
		return true;
	thread->failed = true;
	return false;
}

/* Of the word that comes next; what longjmp left there is overwritten. */
static void note_owned(struct thread *thread, bool owned)
{
	uint64_t *word = &thread->owned[thread->used / 64], bit = (uint64_t)1 << thread->used % 64;

	*word = owned ? *word | bit : *word & ~bit;
}

/* All in registers: what is stored through a pointer might be the next pointer, for all the compiler knows. */
static inline void put_allocation_words(struct thread *thread, unsigned kind, const void *block, size_t size,
	uint32_t stack)
{
	uint64_t used = thread->used, *words = thread->words + used;

	words[0] = stream_head(kind, (uintptr_t)block);
	words[1] = (uint32_t)size | (uint64_t)stack << 32;
	stream_advance(thread, used + 2);
}

static inline void put_end_word(struct thread *thread, unsigned kind, const void *block)
{
	uint64_t used = thread->used;

	thread->words[used] = stream_head(kind, (uintptr_t)block);
	stream_advance(thread, used + 1);
}

/* An allocation's own words; the event has begun. */
static inline void put_allocation(struct thread *thread, unsigned kind, const void *block, size_t size, uint32_t stack)
{
	if (__builtin_expect(cull_on, 0))
		cull_own(thread->stream, block);
	if (__builtin_expect(size >> 32 != 0, 0))
		stream_put(thread, stream_head(CAPTURE_SIZE_HIGH, size >> 32));
	put_allocation_words(thread, kind, block, size, stack);
}

static inline void put_end(struct thread *thread, unsigned kind, const void *block)
{
	if (__builtin_expect(cull_on, 0) && thread->owned)
		note_owned(thread, cull_owns(thread->stream, block));
	put_end_word(thread, kind, block);
}

void record_move_ended(struct thread *thread, const void *block)
{
	uint8_t gate = thread->gate;

	if (!sample_move_ends(thread))
		return;
	thread->gate = GATE_OURS;
	if (begin_event(thread))
		put_end(thread, CAPTURE_MOVE_ENDS, block);
	thread->gate = gate;
}

/* Our own code runs; and a Python runtime that has been found is looked after in time. */
static inline void begin_allocation(struct thread *thread)
{
	thread->gate = GATE_OURS;
	if (__builtin_expect(atomic_load_explicit(&python_state, memory_order_relaxed) == PYTHON_FOUND, 0)) {
		thread->own_call = true;
		python_poll();
		thread->own_call = false;
	}
}

/*
 * What nearly every event finds: there is room, this thread recorded last, the clock is where it was, and nothing is
 * culled.  Then its words are all that there is to do, without a call, for which registers would have to be saved.
 */
static inline bool is_plain(const struct thread *thread)
{
	return __builtin_expect(thread->used + EVENT_WORDS_MAX <= thread->capacity && order_is_own(thread) &&
		tick_now() == thread->tick_seen && !cull_on, 1);
}

static __attribute__((noinline)) void allocation_slowly(struct thread *thread, unsigned kind, const void *block,
	size_t size, uint32_t stack, uint8_t gate)
{
	if (begin_event(thread))
		put_allocation(thread, kind, block, size, stack);
	thread->gate = gate;
}

void record_every_allocation(struct thread *thread, unsigned kind, const void *block, size_t size,
	const struct native_start *start)
{
	uint8_t gate = thread->gate;

	begin_allocation(thread);
	uint32_t stack = stack_capture(thread, start);

	if (__builtin_expect(!is_plain(thread) || size >> 32 != 0, 0)) {
		allocation_slowly(thread, kind, block, size, stack, gate);
		return;
	}
	thread->events++;
	put_allocation_words(thread, kind, block, size, stack);
	thread->gate = gate;
}

static __attribute__((noinline)) void end_slowly(struct thread *thread, unsigned kind, const void *block, uint8_t gate)
{
	if (begin_event(thread))
		put_end(thread, kind, block);
	thread->gate = gate;
}

void record_every_end(struct thread *thread, unsigned kind, const void *block)
{
	uint8_t gate = thread->gate;

	thread->gate = GATE_OURS;
	if (__builtin_expect(!is_plain(thread), 0)) {
		end_slowly(thread, kind, block, gate);
		return;
	}
	thread->events++;
	put_end_word(thread, kind, block);
	thread->gate = gate;
}

void record_sampled_allocation(struct thread *thread, unsigned kind, const void *block, size_t size,
	const struct native_start *start)
{
	const void *moved = thread->sample.moved;
	uint8_t gate = thread->gate;

	begin_allocation(thread);
	unsigned verdict = sample_allocation(thread, kind, block, size);

	if (verdict & SAMPLE_MOVE_ENDS && begin_event(thread))
		put_end(thread, CAPTURE_MOVE_ENDS, moved);
	if (verdict & SAMPLE_FAILED)
		atomic_fetch_add((_Atomic uint64_t *)&output_status()->lost_memory, 1);
	if (verdict & SAMPLE_RECORD) {
		sample_announce(thread);
		uint32_t stack = stack_capture(thread, start);

		if (begin_event(thread)) {
			sample_put(thread, true);
			put_allocation(thread, kind, block, size, stack);
		}
	}
	thread->gate = gate;
}

void record_sampled_end(struct thread *thread, unsigned kind, const void *block)
{
	uint8_t gate = thread->gate;

	if (!sample_end(thread, kind, block))
		return;
	thread->gate = GATE_OURS;
	if (begin_event(thread)) {
		sample_put(thread, false);
		put_end(thread, kind, block);
	}
	thread->gate = gate;
}

void record_map(struct thread *thread, const void *address, size_t length, uint32_t flags,
	const struct native_start *start)
{
	uint8_t gate = thread->gate;

	thread->gate = GATE_OURS;
	uint32_t stack = stack_capture(thread, start);

	if (begin_event(thread)) {
		stream_put(thread, stream_head(CAPTURE_MAP, (uintptr_t)address));
		stream_put(thread, length);
		stream_put(thread, flags | (uint64_t)stack << 32);
		stream_commit(thread);
	}
	thread->gate = gate;
}

void record_unmap(struct thread *thread, unsigned kind, const void *address, size_t length)
{
	uint8_t gate = thread->gate;

	thread->gate = GATE_OURS;
	if (begin_event(thread)) {
		stream_put(thread, stream_head(kind, (uintptr_t)address));
		stream_put(thread, length);
		stream_commit(thread);
	}
	thread->gate = gate;
}

struct thread *record_inside_python(void)
{
	struct thread *thread = thread_self;

	return thread->gate == GATE_PYTHON ? thread : NULL;
}

/* Metadata is written from inside our own code (a walk that meets new code), or from python.c on its own. */
static bool put_metadata(unsigned kind, const struct stream_part *parts, size_t count)
{
	struct thread *thread = thread_self;

	if (thread->gate == GATE_IDLE || thread->gate == GATE_PAUSED || thread->gate == GATE_WIPED) {
		/* Also while nothing is recorded: what comes later may need it. */
		thread = thread_own();
		if (!thread)
			return false;
		thread->gate = GATE_OURS;
		bool ok = stream_metadata(thread, kind, parts, count);

		thread->gate = thread_gate_after(thread);
		return ok;
	}
	if (thread->gate == GATE_STOPPED)
		return false;
	/* A signal handler's walk writes through the state that is recording now. */
	while (thread->nested && thread->gate == GATE_OURS && thread->nested->gate != GATE_IDLE &&
		thread->nested->gate != GATE_PAUSED)
		thread = thread->nested;
	return stream_metadata(thread, kind, parts, count);
}

void record_code(uint32_t id, uint32_t first_line, uint32_t table_kind, const char *file, size_t file_size,
	const char *name, size_t name_size, const void *table, size_t table_size)
{
	struct capture_code code = { .id = id, .first_line = first_line, .table_kind = table_kind,
		.file_size = (uint32_t)file_size, .name_size = (uint32_t)name_size, .table_size = (uint32_t)table_size };
	const struct stream_part parts[] = {
		{ &code, sizeof(code) }, { file, file_size }, { name, name_size }, { table, table_size } };

	put_metadata(CAPTURE_CODE, parts, 4);
}

void record_python_runtime(uint32_t version, uint32_t flags, const char *path, const char *allocator)
{
	struct capture_python python = { .version = version, .flags = flags, .time_ns = thread_self->tick_ns,
		.path_size = (uint32_t)strlen(path), .allocator_size = (uint32_t)strlen(allocator) };
	const struct stream_part parts[] = {
		{ &python, sizeof(python) }, { path, python.path_size }, { allocator, python.allocator_size } };

	put_metadata(CAPTURE_PYTHON, parts, 3);
}

void record_now(struct thread *thread)
{
	uint64_t due = atomic_load_explicit(&next_sample_ns, memory_order_relaxed);

	/* At once, unless another thread is at it: then it is as new as can be. */
	if (due != UINT64_MAX)
		atomic_compare_exchange_strong_explicit(&next_sample_ns, &due, 0, memory_order_relaxed, memory_order_relaxed);
	note_time(thread);
	if (stream_room(thread, EVENT_WORDS_MAX))
		sample(thread, thread->tick_ns);
}

/* Whether a sample is due since memory has grown; from now on it is when a quarter more is there. */
static bool take_due(void)
{
	uint64_t due = atomic_load(&grown_due_bytes), now = atomic_load(&anonymous_bytes);

	return now >= due && atomic_compare_exchange_strong(&grown_due_bytes, &due, now + now / 4);
}

/* Where not every block is recorded nothing could be told of them, and the room in the file is for other things. */
static uint64_t take_pages(struct thread *thread, enum pages_reason reason)
{
	if (sample_is_on())
		return 0;
	modules_list(thread);
	return pages_take(thread, reason);
}

void record_grown_pages(struct thread *thread)
{
	const uint64_t elapsed_ns = sys_elapsed_ns(lifecycle_start_ns(), sys_clock_ns(CLOCK_MONOTONIC));

	if (control_is_paused() || !take_due() ||
	    atomic_load(&grown_spent_ns) > GROWN_CREDIT_NS + elapsed_ns / GROWN_SHARE)
		return;
	cull_moment_begin();
	if (begin_event(thread))
		atomic_fetch_add(&grown_spent_ns, take_pages(thread, PAGES_GROWN));
	cull_moment_end(thread->stamp, CULL_SAMPLE);
}

bool record_put_mark(struct thread *thread, const char *name, size_t size, bool snapshot)
{
	const struct stream_part parts[] = { { name, size < 4096 ? size : 4096 } };

	cull_moment_begin();
	bool ok = begin_event(thread);

	if (ok && snapshot) {
		record_now(thread);
		take_due();
		take_pages(thread, PAGES_ASKED);
	}
	ok = ok && stream_metadata(thread, CAPTURE_MARK, parts, 1);
	cull_moment_end(thread->stamp, CULL_MARK);
	return ok;
}

void record_last_pages(struct thread *thread)
{
	if (config.sample_ms == 0 || control_is_paused())
		return;
	cull_moment_begin();
	if (begin_event(thread)) {
		record_now(thread);
		if (atomic_load_explicit(&anonymous_bytes, memory_order_relaxed) >= LAST_PAGES_MIN_BYTES)
			take_pages(thread, PAGES_EXIT);
	}
	cull_moment_end(thread->stamp, CULL_SAMPLE);
}

void record_modules(void)
{
	struct thread *thread = atomic_load(&modules_stale) ? record_enter() : NULL;

	if (!thread)
		return;
	thread->gate = GATE_OURS;
	modules_refresh(thread);
	record_leave(thread);
}

void record_note(const char *text)
{
	struct thread *thread = record_enter();
	const struct stream_part parts[] = { { text, strlen(text) } };

	if (!thread)
		return;
	thread->gate = GATE_OURS;
	stream_metadata(thread, CAPTURE_NOTE, parts, 1);
	record_leave(thread);
}
