/* SPDX-License-Identifier: MIT */
/*
 * Frames hold what a walk read from the stack to get to the next one out:
 *
 *     bucket (pc, sp) -> an allocating function --> ... --> scanner --> interpreter loop, [sp, CFA): the root
 *                        another one --> ... ------------------^        (one frame, two inside of it: two chains)
 *
 * A chain is the same stack if the start is that of its innermost frame and the words are those that were read:
 * what a step yields depends on nothing else.  As in stack_native.c each address that is read is the CFA of a frame
 * that is proved to be live.  Only chains of regular frames are kept; the root is either the frame before which the
 * walk ended, or stands for the bottom of the stack; frames[0] is a root that no walk ends at.
 *
 * Where a word differs, the caller is another frame.  If that one is known too, the search goes on from there, and the
 * frames inside of it are put a second time, on top of it:
 *
 *     known                a --> b --> c --> d --> root            a --> b --> x --> y --> root
 *     live     a --> b --> x --> d:  x is met at b, d at x;  new:  a --> b --> x' --> d --> root
 *
 * Frames never change, but for the caller's notes in them; they are forgotten all at once when there is no more room.
 * A handler that interrupts this on its own thread has a state of its own; if it jumps out, what it leaves is a frame
 * that nothing leads to.
 */
#include "stack_chains.h"

#include <stdatomic.h>

#include "banned.h"

enum chain_flag {
	CHAIN_BP_USED = 1 << 0,       /* the CFA is computed from bp */
	CHAIN_BP_LIVE = 1 << 1,       /* bp decides what is further out: here, or in a frame that has the same */
	CHAIN_BP_CHECKED = 1 << 2,    /* the saved bp does */
	CHAIN_BOTTOM = 1 << 3,        /* a root that stands for no frame */
};

enum {
	BUCKETS = CHAINS_FRAMES / 2,
	PATH_MAX = 32,                /* a stack may differ in that many of its innermost frames */
	TWINS_MAX = 8,                /* frames that are looked at for an equal one */
};

/* What `frames` points to. */
struct chain_memory {
	struct chain_frame frames[CHAINS_FRAMES];
	uint16_t buckets[BUCKETS];
};

_Static_assert(sizeof(struct chain_frame) == 40 && CHAINS_FRAMES <= 1 << 16, "small, and numbers have 16 bits");

/* What is found below the outermost frame, where no word tells that the stack ends: the root's pc is one less. */
static const uintptr_t no_return_address;

size_t chains_size(void)
{
	return sizeof(struct chain_memory);
}

static inline uint16_t *bucket_of(const struct chains *chains, uintptr_t pc, uintptr_t sp)
{
	struct chain_memory *memory = (struct chain_memory *)chains->frames;

	return &memory->buckets[(pc ^ pc >> 11 ^ sp >> 4) % BUCKETS];
}

/* Whether a walk that is to end at stop_cfa ends at this frame, which is a root or may be. */
static inline bool is_end(const struct chain_frame *root, uintptr_t stop_cfa)
{
	return root->flags & CHAIN_BOTTOM ? stop_cfa == 0 : stop_cfa >= root->sp && stop_cfa < root->cfa;
}

/* A frame ends where the one outside of it begins. */
static inline bool is_of_use(const struct chains *chains, const struct chain_frame *frame, uintptr_t stop_cfa)
{
	return frame->outer ? stop_cfa < frame->sp || stop_cfa >= chain_outer(chains, frame)->sp :
		is_end(frame, stop_cfa);
}

/* The newest frame at this place that is of use for a walk to stop_cfa; NULL: none. */
static inline struct chain_frame *frame_at(const struct chains *chains, uintptr_t pc, uintptr_t sp, uintptr_t bp,
	uintptr_t stop_cfa)
{
	struct chain_frame *frames = chains->frames;

	for (uint32_t i = *bucket_of(chains, pc, sp); i; i = frames[i].next) {
		struct chain_frame *frame = &frames[i];

		if (frame->pc == pc && frame->sp == sp && (!(frame->flags & CHAIN_BP_LIVE) || frame->bp == bp) &&
				is_of_use(chains, frame, stop_cfa))
			return frame;
	}
	return NULL;
}

void chains_forget(struct chains *chains)
{
	struct chain_memory *memory = (struct chain_memory *)chains->frames;

	if (chains->used == 0)
		return;
	for (uint32_t i = 0; i < BUCKETS; i++)
		memory->buckets[i] = 0;
	chains->epoch++;
	/* Not before nothing leads to a frame that may become another. */
	atomic_signal_fence(memory_order_seq_cst);
	chains->used = 0;
}

static inline bool is_twin(const struct chain_frame *a, const struct chain_frame *b)
{
	return a->outer == b->outer && a->pc == b->pc && a->sp == b->sp && a->bp == b->bp && a->slot == b->slot &&
		a->flags == b->flags && (a->outer || a->cfa == b->cfa);
}

/* A frame like that, which is the first to be met at its place from now on.  NULL: no room. */
static struct chain_frame *put(struct chains *chains, const struct chain_frame *wanted)
{
	struct chain_frame *frames = chains->frames, *before = NULL;
	uint16_t *bucket = bucket_of(chains, wanted->pc, wanted->sp);
	uint32_t number = *bucket;

	for (uint32_t looked = 0; number && looked < TWINS_MAX; looked++) {
		struct chain_frame *frame = &frames[number];

		if (is_twin(frame, wanted)) {
			if (before) {
				before->next = frame->next;
				frame->next = *bucket;
				*bucket = (uint16_t)number;
			}
			return frame;
		}
		before = frame;
		number = frame->next;
	}
	if (chains->used == 0)
		chains->used = 1;             /* number 0 is no frame */
	if (chains->used == CHAINS_FRAMES)
		return NULL;
	number = chains->used++;
	frames[number] = *wanted;
	frames[number].next = *bucket;
	atomic_signal_fence(memory_order_seq_cst);
	*bucket = (uint16_t)number;
	return &frames[number];
}

/* A frame by its place, its bp, and what its rule says of bp; the rest follows from its caller. */
static inline struct chain_frame *put_inside(struct chains *chains, struct chain_frame frame,
	const struct chain_frame *outer)
{
	frame.outer = (uint16_t)(outer - chains->frames);
	frame.flags &= CHAIN_BP_USED;
	if (outer->flags & CHAIN_BP_LIVE)
		frame.flags |= frame.slot ? CHAIN_BP_CHECKED : CHAIN_BP_LIVE;
	if (frame.flags & CHAIN_BP_USED)
		frame.flags |= CHAIN_BP_LIVE;
	if (!(frame.flags & CHAIN_BP_LIVE))
		frame.bp = 0;
	frame.node = frame.base = 0;
	frame.place = 0;
	return put(chains, &frame);
}

/* The frames of a stack on the way out, the innermost first: as many as can be put anew. */
struct path {
	const struct chain_frame *frames[PATH_MAX];
	uintptr_t bps[PATH_MAX + 1];  /* bp in each of them, and in the caller of the last */
	uint32_t count;
};

/* Adds the frames from `from` to `to`, whose caller is another one than outer says.  false: they are too many. */
NATIVE_READS_STACKS static bool path_extend(const struct chains *chains, struct path *path,
	const struct chain_frame *from, const struct chain_frame *to)
{
	for (;; from = chain_outer(chains, from)) {
		uintptr_t bp = path->bps[path->count];

		if (path->count == PATH_MAX)
			return false;
		if (from->slot)
			bp = native_word_at(chain_outer(chains, from)->sp - 8 * (uintptr_t)from->slot);
		path->frames[path->count++] = from;
		path->bps[path->count] = bp;
		if (from == to)
			return true;
	}
}

/* Whether the stack from `frame` out is as it was: the root; or the outermost frame that has another caller now. */
NATIVE_READS_STACKS static inline __attribute__((always_inline)) const struct chain_frame *prove(
	const struct chains *chains, const struct chain_frame *frame)
{
	while (frame->outer) {
		const struct chain_frame *outer = frame - 1;

		/* Most frames were put right behind their caller; then the next one can be loaded before this one is. */
		__asm__("" : "+r"(outer));
		if (__builtin_expect(chain_outer(chains, frame) != outer, 0))
			outer = chain_outer(chains, frame);
		if (__builtin_expect(native_word_at(outer->sp - 8) != outer->pc + 1, 0))
			break;
		if (frame->flags & CHAIN_BP_CHECKED && native_word_at(outer->sp - 8 * (uintptr_t)frame->slot) != outer->bp)
			break;
		frame = outer;
	}
	return frame;
}

/*
 * The stack from `inner` out differs in the caller of `last`.  Goes on from the frame that is the caller now, if that
 * is known, and puts the frames inside of it anew.
 */
NATIVE_READS_STACKS static __attribute__((noinline)) const struct chain_frame *join(struct chains *chains,
	const struct chain_frame *inner, const struct chain_frame *last, uintptr_t bp, uintptr_t stop_cfa)
{
	struct path path;

	path.count = 0;
	for (path.bps[0] = bp; last->outer; last = prove(chains, inner)) {
		uintptr_t cfa = chain_outer(chains, last)->sp;

		if (!path_extend(chains, &path, inner, last))
			return NULL;
		inner = frame_at(chains, native_word_at(cfa - 8) - 1, cfa, path.bps[path.count], stop_cfa);
		if (!inner)
			return NULL;
	}
	if (!is_end(last, stop_cfa))
		return NULL;
	for (; path.count > 0 && inner; path.count--) {
		struct chain_frame frame = *path.frames[path.count - 1];

		frame.bp = path.bps[path.count - 1];
		inner = put_inside(chains, frame, inner);
	}
	return inner;
}

struct chain_frame *chains_find(struct chains *chains, const struct native_start *start, uintptr_t stop_cfa)
{
	const struct chain_frame *frame, *last;

	chains->tries++;
	if (chains->used == 0 || chains->generation != unwind_generation())
		return NULL;
	frame = frame_at(chains, start->pc - 1, start->sp, start->bp, stop_cfa);
	if (!frame)
		return NULL;
	last = prove(chains, frame);
	if (__builtin_expect(last->outer, 0))
		frame = join(chains, frame, last, start->bp, stop_cfa);
	else if (is_end(last, stop_cfa))
		chains->hits++;
	else
		return NULL;
	return (struct chain_frame *)frame;
}

static struct chain_frame *put_root(struct chains *chains, const struct native_stack *stack)
{
	const struct native_frame *beyond = &stack->beyond;
	struct chain_frame root = { .pc = (uintptr_t)-1, .sp = (uintptr_t)(&no_return_address + 1),
		.flags = CHAIN_BOTTOM };

	if (stack->end == NATIVE_END_BEYOND) {
		root = (struct chain_frame){ .pc = beyond->pc, .sp = beyond->sp, .cfa = beyond->cfa };
		if (beyond->flags & NATIVE_BP_LIVE) {
			root.flags = CHAIN_BP_LIVE;
			root.bp = beyond->bp;
		}
	}
	return put(chains, &root);
}

/* frames[i] of the walk, whose caller is `outer`. */
static struct chain_frame *put_walked(struct chains *chains, const struct native_stack *stack, uint32_t i,
	const struct chain_frame *outer)
{
	const struct native_frame *frame = &stack->frames[i], *caller = i > 0 ? frame - 1 : &stack->beyond;
	struct chain_frame added = { .pc = frame->pc, .sp = frame->sp, .bp = frame->bp,
		.flags = frame->flags & NATIVE_BP_USED ? CHAIN_BP_USED : 0 };

	if (!(outer->flags & CHAIN_BOTTOM))
		added.slot = (uint8_t)(caller->flags >> NATIVE_SLOT_SHIFT & UNWIND_SLOT_MAX);
	return put_inside(chains, added, outer);
}

/* Puts the walk's frames from the outermost that is not known yet. */
static struct chain_frame *put_all(struct chains *chains, struct native_stack *stack)
{
	struct chain_frame *frame;
	uint32_t i = stack->kept;

	while (i > 0 && stack->frames[i - 1].chain == 0)
		i--;
	frame = i > 0 ? &chains->frames[stack->frames[i - 1].chain] : put_root(chains, stack);
	for (; frame && i < stack->count; i++) {
		frame = put_walked(chains, stack, i, frame);
		stack->frames[i].chain = frame ? (uint16_t)(frame - chains->frames) : 0;
	}
	return frame;
}

static bool is_regular(const struct native_stack *stack)
{
	if (stack->guessed || stack->stopped || stack->truncated || stack->irregular)
		return false;
	if (stack->end == NATIVE_END_BEYOND)
		return !(stack->beyond.flags & NATIVE_IRREGULAR);
	return stack->end == NATIVE_END_BOTTOM && stack->count > 0 && stack->stop_cfa == 0;
}

static void forget_all(struct chains *chains, struct native_stack *stack)
{
	chains_forget(chains);
	for (uint32_t i = 0; i < stack->count; i++)
		stack->frames[i].chain = 0;
}

struct chain_frame *chains_add(struct chains *chains, struct native_stack *stack)
{
	struct chain_frame *frame;

	if (!chains->frames || !is_regular(stack))
		return NULL;
	if (chains->generation != stack->generation || chains->used == 0) {
		forget_all(chains, stack);
		chains->generation = stack->generation;
	}
	frame = put_all(chains, stack);
	if (frame || stack->count >= CHAINS_FRAMES / 4)
		return frame;
	forget_all(chains, stack);
	return put_all(chains, stack);
}
