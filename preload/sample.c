/* SPDX-License-Identifier: MIT */
/* See sample.h.  Called by record.c and hooks.c, with the thread's gate closed. */
#include "sample.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "cull.h"
#include "stream.h"
#include "sys.h"
#include "thread.h"

#include "banned.h"

enum {
	STEP_MEAN_BITS = 10,          /* of the first one's mean; each has two more */
	STEPS_MAX = 15,               /* the last one's mean is 2^36 bytes or more: about nothing */
	STEPS_SLOW_MAX = 12,          /* 10 ms between looks at resident memory become 41 s */
};

static _Atomic uint64_t mean_bytes;   /* 0: every block is recorded */
static _Atomic unsigned step;         /* how often it grew because of the file's size */
static _Atomic bool announced;        /* the newest step is in the capture */
static bool on;

void sample_start(void)
{
	on = config.sample_bytes != 0 || config.max_size != 0;
	atomic_store_explicit(&step, 0, memory_order_relaxed);
	atomic_store_explicit(&announced, true, memory_order_relaxed);
	atomic_store_explicit(&mean_bytes, config.sample_bytes, memory_order_relaxed);
}

bool sample_is_on(void)
{
	return on;
}

/* The step at which a file of this size has to be: one more each time that half of the rest is used. */
static unsigned step_at(uint64_t size)
{
	uint64_t usable = config.max_size - config.max_size / 16, left = size < usable ? usable - size : 0;
	unsigned steps = 0;

	while (steps < STEPS_MAX && left <= usable / 2) {
		left *= 2;
		steps++;
	}
	return steps;
}

/* The first step goes to the sums, where they are possible and not there yet. */
static uint64_t mean_at(unsigned steps)
{
	const unsigned before = cull_on && !config.aggregate;

	return steps > before ? (uint64_t)1 << (STEP_MEAN_BITS + 2 * (steps - before - 1)) : 0;
}

void sample_file_grew(uint64_t size)
{
	unsigned now = config.max_size ? step_at(size) : 0;
	uint64_t mean = mean_at(now);

	/* One thread at a time makes the file grow. */
	if (now <= atomic_load_explicit(&step, memory_order_relaxed))
		return;
	atomic_store_explicit(&step, now, memory_order_relaxed);
	if (!cull_begin() && mean <= atomic_load_explicit(&mean_bytes, memory_order_relaxed))
		return;
	atomic_store_explicit(&mean_bytes, mean, memory_order_relaxed);
	atomic_store_explicit(&announced, false, memory_order_release);
}

unsigned sample_slowness(void)
{
	unsigned now = atomic_load_explicit(&step, memory_order_relaxed);

	return now < STEPS_SLOW_MAX ? now : STEPS_SLOW_MAX;
}

/* "... about every 4096 bytes". */
static size_t put_number(char *at, uint64_t number)
{
	char digits[20];
	size_t count = 0;

	do
		digits[count++] = (char)('0' + number % 10);
	while (number /= 10);
	for (size_t i = 0; i < count; i++)
		at[i] = digits[count - 1 - i];
	return count;
}

void sample_announce(struct thread *thread)
{
	static const char nears[] = "the capture nears SCTMEM_MAX_SIZE: from here on ";
	static const char sums[] = "blocks that are soon freed again are recorded as sums";
	static const char before[] = "one block is recorded about every ", after[] = " bytes";
	bool told = false;
	char number[24];

	if (__builtin_expect(atomic_load_explicit(&announced, memory_order_acquire), 1) ||
		!atomic_compare_exchange_strong(&announced, &told, true))
		return;
	uint64_t mean = atomic_load_explicit(&mean_bytes, memory_order_relaxed);
	const struct capture_sampling sampling = { .mean_bytes = mean };
	const struct stream_part part = { &sampling, sizeof(sampling) };
	const struct stream_part aggregates[] = { { nears, sizeof(nears) - 1 }, { sums, sizeof(sums) - 1 } };
	const struct stream_part samples[] = { { nears, sizeof(nears) - 1 }, { before, sizeof(before) - 1 },
		{ number, put_number(number, mean) }, { after, sizeof(after) - 1 } };

	if (mean == 0) {
		stream_metadata(thread, CAPTURE_NOTE, aggregates, 2);
		return;
	}
	/* The reader learns of the mean also where no block is drawn any more. */
	if (stream_metadata(thread, CAPTURE_NOTE, samples, 4) && stream_metadata(thread, CAPTURE_SAMPLING, &part, 1)) {
		thread->sample.window = thread->window->sequence + 1;
		thread->sample.named = mean;
	}
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
	/* Every block is recorded, and the next will be, too. */
	if (sample->mean == 0 && atomic_load_explicit(&mean_bytes, memory_order_relaxed) == 0) {
		sample->decided = 0;
		/* So what was moved is weighed as this one is, and goes on as in a capture of all blocks. */
		return remember(block, &verdict) ? verdict & ~(unsigned)SAMPLE_MOVE_ENDS : verdict;
	}
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
