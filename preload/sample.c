/* SPDX-License-Identifier: MIT */
/* See sample.h.  Called by record.c and hooks.c, with the thread's gate closed. */
#include "sample.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "stream.h"
#include "sys.h"
#include "thread.h"

#include "banned.h"

static _Atomic uint64_t mean_bytes;   /* 0: every block is recorded */
static bool on;

void sample_start(void)
{
	on = config.sample_bytes != 0;
	atomic_store_explicit(&mean_bytes, config.sample_bytes, memory_order_relaxed);
}

bool sample_is_on(void)
{
	return on;
}

/* splitmix64: each number of the sequence follows from one addition. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* The natural logarithm of a number in (0, 1], to eleven digits, without libm. */
static double log_of(double x)
{
	uint64_t bits;
	int exponent;

	memcpy(&bits, &x, sizeof(bits));
	exponent = (int)(bits >> 52) - 1023;
	bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
	memcpy(&x, &bits, sizeof(x));
	if (x > 1.4142135623730951) {
		x /= 2;
		exponent++;
	}
	double s = (x - 1) / (x + 1), q = s * s;
	double series = 1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11 + q / 13)))));

	return 2 * s * series + exponent * 0.6931471805599453;
}

/* The bytes to the next point: exponentially distributed, rounded down, which keeps each block's probability exact. */
static void draw(struct sample *sample)
{
	double uniform;

	sample->mean = atomic_load_explicit(&mean_bytes, memory_order_relaxed);
	sample->left = 0;
	if (sample->mean) {
		uniform = (double)((next_random(&sample->random) >> 11) + 1) * 0x1p-53;
		sample->left = (int64_t)(-log_of(uniform) * (double)sample->mean);
	}
	sample->left_noted = sample->left;
}

void sample_begin(struct thread *thread)
{
	struct sample *sample = &thread->sample;
	/* Threads draw apart from each other, also where the user asked for the same numbers each time. */
	uint64_t seed = config.sample_seed ? config.sample_seed
		: sys_clock_ns(CLOCK_MONOTONIC) ^ (uint64_t)sys_pid() << 40 ^ (uintptr_t)thread;

	thread->sampling = on;
	if (!on)
		return;
	*sample = (struct sample){ .random = seed + ((uint64_t)thread->index + 1) * 0xd1342543de82ef95u };
	next_random(&sample->random);
	draw(sample);
}

static bool remember(const void *block, unsigned *verdict)
{
	bool ok = known_add(block);

	*verdict |= ok ? SAMPLE_RECORD : SAMPLE_FAILED;
	return ok;
}

/* The second half of a realloc; true: the block is the one that it was, and *verdict says all. */
static bool goes_on(struct sample *sample, const void *block, size_t size, unsigned *verdict)
{
	bool same = block == sample->moved && size <= sample->moved_usable;

	if (same && sample->moved_known && KNOWN_HAS_PLACE(block))
		remember(block, verdict);
	else if (same && sample->moved_known)
		*verdict |= SAMPLE_RECORD;
	else if (sample->moved_known)
		*verdict |= SAMPLE_MOVE_ENDS;
	sample->moved = NULL;
	return same;
}

unsigned sample_allocation(struct thread *thread, unsigned kind, const void *block, size_t size)
{
	struct sample *sample = &thread->sample;
	unsigned verdict = 0;
	int64_t bytes = (int64_t)(size + !size);

	if (__builtin_expect(SAMPLE_IS_REALLOC(kind), 0) && sample->moved && goes_on(sample, block, size, &verdict))
		return verdict;
	if (__builtin_expect(!KNOWN_HAS_PLACE(block), 0))
		return verdict | SAMPLE_RECORD;
	sample->left -= bytes;
	if (__builtin_expect(sample->left >= 0, 1)) {
		sample->passed++;
		return verdict;
	}
	sample->passed_bytes += (uint64_t)(sample->left_noted - (sample->left + bytes));
	sample->decided = sample->mean;
	draw(sample);
	remember(block, &verdict);
	return verdict;
}

bool sample_end(struct thread *thread, unsigned kind, const void *block)
{
	struct sample *sample = &thread->sample;
	bool known;

	if (kind == CAPTURE_STAY) {
		sample->moved = NULL;
		return sample->moved_known && (!KNOWN_HAS_PLACE(block) || known_add(block));
	}
	known = KNOWN_HAS_PLACE(block) ? known_remove(block) : true;
	if (kind == CAPTURE_MOVE || kind == CAPTURE_MOVE_PYTHON) {
		sample->moved = block;
		sample->moved_usable = SIZE_MAX;
		sample->moved_known = known;
	}
	return known;
}

bool sample_move_ends(struct thread *thread)
{
	thread->sample.moved = NULL;
	return thread->sample.moved_known;
}

void sample_moved_usable(struct thread *thread, const void *inner, size_t usable)
{
	uintptr_t before = (uintptr_t)thread->sample.moved - (uintptr_t)inner;

	/* An allocator in between may keep something of its own in front of the block. */
	if (before < usable)
		thread->sample.moved_usable = usable - before;
}

static void put_passed(struct thread *thread)
{
	struct sample *sample = &thread->sample;

	stream_put(thread, stream_head(CAPTURE_SKIP, sample->passed));
	stream_put(thread, sample->passed_bytes);
	sample->passed = sample->passed_bytes = 0;
}

static void make_up_bytes(struct sample *sample)
{
	sample->passed_bytes += (uint64_t)(sample->left_noted - sample->left);
	sample->left_noted = sample->left;
}

void sample_put(struct thread *thread, bool allocation)
{
	struct sample *sample = &thread->sample;
	uint64_t window = thread->window->sequence + 1;

	/* A window begins with every block recorded: then none has to be read for the next to be understood. */
	if (sample->window != window) {
		sample->window = window;
		sample->named = 0;
	}
	if (allocation && sample->decided != sample->named) {
		sample->named = sample->decided;
		stream_put(thread, stream_head(CAPTURE_SAMPLING, sizeof(struct capture_sampling)));
		stream_put(thread, sample->decided);
	}
	if (!allocation)
		make_up_bytes(sample);
	if (sample->passed)
		put_passed(thread);
}

void sample_put_rest(struct thread *thread)
{
	if (!thread->sampling)
		return;
	make_up_bytes(&thread->sample);
	if (!thread->sample.passed || !stream_room(thread, 2))
		return;
	put_passed(thread);
	stream_commit(thread);
}
